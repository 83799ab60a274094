//! TLS to a device: its pin replaces the chain of trust, and the handshake's signature is still verified.
//!
//! Of the certificate only the key is read, and not by webpki, which refuses what devices show and operators deploy:
//! version 1, negative serial numbers, and critical extensions that it does not know.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use rootcast_core::device::Pin;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};

/// The expected peer.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// A holder of one of these certificates or keys.
    Pinned(Vec<Pin>),
    /// Any peer that proves possession of its certificate's key: only for reading the certificate.
    Anybody,
}

/// One configuration per device: a resumed session was verified with the same pins.
pub(crate) fn client_config(expected: Expected) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(PinVerifier { expected, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| Failure::new(ErrorClass::TlsHandshake, format!("TLS cannot be set up: {why}.")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // For servers that close the connection after each answer, which makes the next handshake short.
    config.resumption = Resumption::in_memory_sessions(2);
    Ok(config)
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo.
pub(crate) fn key_fingerprint(certificate: &CertificateDer<'_>) -> Result<Fingerprint, rustls::Error> {
    Ok(Fingerprint::of(&public_key(certificate)?))
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, rustls::Error> {
    let parsed = Certificate::from_der(certificate.as_ref()).map_err(|_| CertificateError::BadEncoding)?;
    Ok(parsed.spki_der().to_vec().into())
}

/// rustls has this for whole certificates only. An algorithm fits one kind of key, and a scheme of TLS 1.2 has several:
/// it does not name the curve.
fn verify_tls12_signature_with_raw_key(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    signed: &DigitallySignedStruct,
    provider: &CryptoProvider,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let key = webpki::RawPublicKeyEntity::try_from(key).map_err(|_| CertificateError::BadEncoding)?;
    let mapping = provider.signature_verification_algorithms.mapping;
    let algorithms = mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme).flat_map(|(_, fitting)| *fitting);
    for algorithm in algorithms {
        match key.verify_signature(*algorithm, message, signed.signature()) {
            Ok(()) => return Ok(HandshakeSignatureValid::assertion()),
            Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => {}
            Err(_) => return Err(CertificateError::BadSignature.into()),
        }
    }
    Err(rustls::Error::General("the peer's key is of a kind that is not known here".to_owned()))
}

/// Device certificates are self-signed, expired, or name another host: only the pin identifies the device. So the
/// signature over the handshake is the only proof that the peer has the key, and must be verified.
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
        verify_tls12_signature_with_raw_key(message, &public_key(certificate)?, signature, &self.provider)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &public_key(certificate)?, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The peer's certificate is not the approved one.
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

/// Classifies a failed connection to `whom`. A peer that shows the approved certificate without having its key is
/// treated like a peer with another certificate.
pub(crate) fn failure(whom: &dyn fmt::Display, error: &(dyn StdError + 'static)) -> Failure {
    let Some(tls) = find::<rustls::Error>(error) else {
        let mut root = error;
        while let Some(source) = root.source() {
            root = source;
        }
        return Failure::new(ErrorClass::Connect, format!("{whom}: {}.", without_urls(&root.to_string())));
    };
    let (class, why) = match tls {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) if other.is::<NotThePin>() => {
            (ErrorClass::PinMismatch, other.to_string())
        }
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            let why = "the peer shows the approved certificate but does not hold its key";
            (ErrorClass::PinMismatch, why.to_owned())
        }
        other => (ErrorClass::TlsHandshake, without_urls(&other.to_string())),
    };
    Failure::new(class, format!("{whom}: {why}."))
}

/// A library's words, without the addresses of its manual and of the request, which the failure names itself.
pub(crate) fn without_urls(words: &str) -> String {
    let kept: Vec<&str> = words.split_whitespace().filter(|word| !word.contains("://")).collect();
    kept.join(" ").trim_end_matches([':', ' ', '.']).to_owned()
}

/// Searches the error's chain of sources; [`std::io::Error`] hides its inner error from this chain.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// rustls and reqwest add addresses: of a manual, and of the request, which the failure names in its own words.
    #[test]
    fn a_failures_words_have_no_address_of_a_library() {
        let closed = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof";
        let sent = "error sending request for url (https://10.0.0.7/redfish/v1/)";
        for (words, kept) in [
            (closed, "https://10.0.0.7: GET /x: peer closed connection without sending TLS close_notify."),
            (sent, "https://10.0.0.7: GET /x: error sending request for url."),
        ] {
            let failure = failure(&"https://10.0.0.7: GET /x", &std::io::Error::other(words));
            assert_eq!((failure.class, failure.message.as_str()), (ErrorClass::Connect, kept));
        }
        let general = rustls::Error::General(closed.to_owned());
        assert!(!failure(&"x", &general).message.contains("docs.rs"));
    }
}
