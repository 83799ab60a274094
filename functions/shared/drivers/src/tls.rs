//! TLS to a device: its pin takes the place of a chain, and the handshake's signature is verified all the same.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use rootcast_core::device::Pin;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::fingerprint::Fingerprint;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};

/// Who may be at the other end.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// The holder of one of these.
    Pinned(Vec<Pin>),
    /// Anybody who proves to hold the key of the certificate shown: for looking at that certificate only.
    Anybody,
}

/// One configuration a device: sessions that are resumed were verified against the same pins.
pub(crate) fn client_config(expected: Expected) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(PinVerifier { expected, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| Failure::new(ErrorClass::TlsHandshake, format!("TLS cannot be set up: {why}.")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // Servers that close after each answer get a short handshake the next time.
    config.resumption = Resumption::in_memory_sessions(2);
    Ok(config)
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo.
pub(crate) fn key_fingerprint(certificate: &CertificateDer<'_>) -> Result<Fingerprint, rustls::Error> {
    Ok(Fingerprint::of(&ParsedCertificate::try_from(certificate)?.subject_public_key_info()))
}

/// Device certificates are self-signed, expired, or name somebody else: only the pin says whether it is the device.
/// That makes the signature over the handshake the one proof that the peer holds the key, so it must be checked.
#[derive(Debug)]
struct PinVerifier {
    expected: Expected,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Fingerprint::of(certificate);
        let matches = |pin: &Pin| match pin {
            Pin::Certificate(pinned) => *pinned == shown,
            Pin::Key(pinned) => key_fingerprint(certificate).is_ok_and(|key| key == *pinned),
        };
        match &self.expected {
            Expected::Anybody => Ok(ServerCertVerified::assertion()),
            Expected::Pinned(pins) if pins.iter().any(matches) => Ok(ServerCertVerified::assertion()),
            Expected::Pinned(_) => Err(CertificateError::Other(OtherError(Arc::new(NotThePin { shown }))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Another certificate than the approved one.
#[derive(Debug)]
struct NotThePin {
    shown: Fingerprint,
}

impl fmt::Display for NotThePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the device shows the certificate sha256:{}, which is not approved", self.shown)
    }
}

impl StdError for NotThePin {}

/// What a failed connection to `whom` means. A peer that shows the approved certificate without its key is no better
/// than one that shows another certificate.
pub(crate) fn failure(whom: &dyn fmt::Display, error: &(dyn StdError + 'static)) -> Failure {
    let Some(tls) = find::<rustls::Error>(error) else {
        let mut root = error;
        while let Some(source) = root.source() {
            root = source;
        }
        return Failure::new(ErrorClass::Connect, format!("{whom}: {root}."));
    };
    let (class, why) = match tls {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) if other.is::<NotThePin>() => {
            (ErrorClass::PinMismatch, other.to_string())
        }
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            let why = "the peer shows the approved certificate but does not hold its key";
            (ErrorClass::PinMismatch, why.to_owned())
        }
        other => (ErrorClass::TlsHandshake, other.to_string()),
    };
    Failure::new(class, format!("{whom}: {why}."))
}

/// Looks through a chain of sources; [`std::io::Error`] hides what it wraps from that chain.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    if let Some(found) = error.downcast_ref::<T>() {
        return Some(found);
    }
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match wrapped {
        Some(inner) => find(inner),
        None => find(error.source()?),
    }
}
