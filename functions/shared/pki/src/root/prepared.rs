//! Two passes, because rcgen signs in one synchronous call, but the key is remote. The first pass records the bytes to
//! be signed; the second one attaches the signature to the same bytes.

use std::cell::RefCell;
use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, KeyIdMethod, PublicKeyData, SignatureAlgorithm, SigningKey};
use thiserror::Error;
use x509_parser::prelude::{FromDer, TbsCertificate};

use crate::algorithm::{KeyAlgorithm, UnsupportedKey, VerifyError};
use crate::certificate::{Certificate, InvalidCertificate, parse};
use crate::fingerprint::Fingerprint;
use crate::import::ConstraintFault;
use crate::name::{self, InvalidName};
use crate::subject::InvalidSubject;

/// A certificate, or with another `T` a different X.509 object, that lacks only its signature. [`Prepared::complete`]
/// consumes it.
pub struct Prepared<T = UnsignedCertificate> {
    what: T,
    issuer: Issuer,
    tbs: Vec<u8>,
}

/// An object that rcgen encodes and an authority signs.
pub trait Unsigned {
    type Signed;

    /// Encodes it. This calls the issuer's key once, with the bytes to be signed.
    fn write(&self, issuer: &rcgen::Issuer<'_, Pass<'_>>) -> Result<Vec<u8>, rcgen::Error>;

    /// Parses it with another parser, and verifies the signature with the issuer's key.
    fn read(&self, der: Vec<u8>, issuer_spki: &[u8]) -> Result<Self::Signed, IssueError>;
}

/// Why a certificate or a list cannot be prepared or completed.
#[derive(Debug, Error)]
pub enum IssueError {
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error(transparent)]
    Subject(#[from] InvalidSubject),
    #[error(transparent)]
    Key(#[from] UnsupportedKey),
    #[error("the key is {found:?} where the record says {expected:?}")]
    KeyMismatch { expected: KeyAlgorithm, found: KeyAlgorithm },
    #[error("a validity starts in 1950 or later and ends at least a second after it starts")]
    Validity,
    #[error("a certificate must lie within its issuer's validity")]
    OutlivesIssuer,
    #[error("the certificate is not a certificate authority's with a key identifier")]
    NotAnAuthority,
    #[error("the new root of a link may not be older than the old one")]
    LinkDirection,
    #[error("the certificate's name has a form that is never written here")]
    ForeignName,
    #[error("its issuer does not certify such names: {0}")]
    Constraints(ConstraintFault),
    #[error(
        "a revocation list's address must be an http or https URL in ASCII of at most 1024 characters, or 192 in a root's certificate"
    )]
    CrlUrl,
    #[error("it could not be written: {0}")]
    Encoding(#[source] rcgen::Error),
    #[error("what was written does not read back: {0}")]
    ReadBack(#[from] InvalidCertificate),
    #[error("the list that was written does not read back")]
    ReadBackList,
    #[error("the signature is not accepted: {0}")]
    Signature(#[source] VerifyError),
}

impl<T: Unsigned> Prepared<T> {
    pub(crate) fn new(what: T, issuer: Issuer) -> Result<Self, IssueError> {
        let tbs = RefCell::new(Vec::new());
        write(&what, Pass { issuer: &issuer, work: Work::Record(&tbs) })?;
        Ok(Self { what, issuer, tbs: tbs.into_inner() })
    }

    /// The exact bytes to be signed (RFC 5280 §4.1.1.1, `tbsCertificate`; §5.1.1.1, `tbsCertList`).
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs
    }

    /// Identifies the intent. Recorded before the signature, and the same again after a crash.
    pub fn tbs_sha256(&self) -> Fingerprint {
        Fingerprint::of(&self.tbs)
    }

    /// The digest that the issuer's key signs, with its algorithm's hash.
    pub fn digest(&self) -> Vec<u8> {
        self.issuer.algorithm.digest(&self.tbs)
    }

    pub fn issuer_algorithm(&self) -> KeyAlgorithm {
        self.issuer.algorithm
    }

    /// Attaches the signature in KMS's encoding (ECDSA as DER, RSA PKCS #1 v1.5) to the recorded bytes, parses the
    /// result with another parser, and verifies it with the issuer's public key. Only verified objects are returned.
    pub fn complete(self, signature: &[u8]) -> Result<T::Signed, IssueError> {
        let pass = Pass { issuer: &self.issuer, work: Work::Sign { tbs: &self.tbs, signature } };
        let der = write(&self.what, pass)?;
        self.what.read(der, &self.issuer.spki_der)
    }
}

impl<T: Unsigned> fmt::Debug for Prepared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prepared({})", self.tbs_sha256())
    }
}

/// A certificate's contents.
pub struct UnsignedCertificate {
    params: CertificateParams,
    key: rcgen::SubjectPublicKeyInfo,
}

impl Unsigned for UnsignedCertificate {
    type Signed = Certificate;

    fn write(&self, issuer: &rcgen::Issuer<'_, Pass<'_>>) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.params.signed_by(&self.key, issuer)?.der().to_vec())
    }

    fn read(&self, der: Vec<u8>, issuer_spki: &[u8]) -> Result<Certificate, IssueError> {
        let certificate = Certificate::from_der(der)?;
        certificate.verify_signed_with(issuer_spki).map_err(IssueError::Signature)?;
        Ok(certificate)
    }
}

impl Prepared {
    pub(super) fn certificate(params: CertificateParams, spki_der: &[u8], issuer: Issuer) -> Result<Self, IssueError> {
        let key = rcgen::SubjectPublicKeyInfo::from_der(spki_der).map_err(|_| UnsupportedKey)?;
        let prepared = Self::new(UnsignedCertificate { params, key }, issuer)?;
        // The key must be encoded as it was read: a link certificate's SPKI equals the root's, byte for byte.
        match TbsCertificate::from_der(prepared.tbs_der()) {
            Ok(([], read)) if read.subject_pki.raw == spki_der => Ok(prepared),
            _ => Err(UnsupportedKey.into()),
        }
    }
}

/// The signing root.
pub(crate) struct Issuer {
    pub(super) name: DistinguishedName,
    pub(crate) identifier: Vec<u8>,
    pub(super) spki_der: Vec<u8>,
    pub(super) algorithm: KeyAlgorithm,
}

impl Issuer {
    /// An issuer that may sign certificates and revocation lists. Every root of ours may do both.
    pub(crate) fn of(certificate: &Certificate) -> Result<Self, IssueError> {
        let parsed = parse(certificate.der())?;
        let may_sign =
            matches!(parsed.key_usage(), Ok(Some(usage)) if usage.value.key_cert_sign() && usage.value.crl_sign());
        let identifier = certificate.subject_key_identifier().filter(|_| certificate.is_ca() && may_sign);
        Ok(Self {
            name: name::for_rcgen(parsed.subject()).ok_or(IssueError::ForeignName)?,
            identifier: identifier.ok_or(IssueError::NotAnAuthority)?.to_vec(),
            spki_der: certificate.spki_der().to_vec(),
            algorithm: certificate.key_algorithm()?,
        })
    }
}

fn write(what: &impl Unsigned, pass: Pass<'_>) -> Result<Vec<u8>, IssueError> {
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = pass.issuer.name.clone();
    issuer.key_identifier_method = KeyIdMethod::PreSpecified(pass.issuer.identifier.clone());
    what.write(&rcgen::Issuer::new(issuer, pass)).map_err(IssueError::Encoding)
}

/// The key for rcgen: records the bytes to be signed, or returns the signature.
pub struct Pass<'a> {
    issuer: &'a Issuer,
    work: Work<'a>,
}

enum Work<'a> {
    Record(&'a RefCell<Vec<u8>>),
    Sign { tbs: &'a [u8], signature: &'a [u8] },
}

impl SigningKey for Pass<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match &self.work {
            Work::Record(tbs) => {
                tbs.replace(message.to_vec());
                Ok(Vec::new())
            }
            Work::Sign { tbs, signature } if message == *tbs => Ok(signature.to_vec()),
            Work::Sign { .. } => Err(rcgen::Error::RemoteKeyError),
        }
    }
}

impl PublicKeyData for Pass<'_> {
    fn der_bytes(&self) -> &[u8] {
        // rcgen only asks for it to derive a key identifier or a serial, and both are given.
        &[]
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.issuer.algorithm.rcgen()
    }
}
