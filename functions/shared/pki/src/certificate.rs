//! Parsed X.509 certificates, with their DER.

use std::fmt;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::algorithm::{Encoding, KeyAlgorithm, UnsupportedKey, VerifyError};
use crate::fingerprint::Fingerprint;
use crate::name;

/// A well-formed certificate. It may be signed by anyone, and need not be trusted.
///
/// Serialised as the base64 of its DER.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Certificate {
    der: Vec<u8>,
    fingerprint: Fingerprint,
    spki_der: Vec<u8>,
    subject_dn: String,
    issuer_dn: String,
    serial: String,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    signature_algorithm: String,
    subject_key_identifier: Option<Vec<u8>>,
    is_ca: bool,
}

/// Why bytes or text are not a certificate.
#[derive(Debug, Error)]
pub enum InvalidCertificate {
    #[error("not a DER certificate: {0}")]
    Der(#[source] x509_parser::error::X509Error),
    #[error("bytes follow the certificate")]
    Trailing,
    #[error("not PEM: {0}")]
    Pem(#[source] pem::PemError),
    #[error("the PEM text holds {0} certificates where one is expected")]
    Count(usize),
    #[error("the PEM text holds a {0} where a CERTIFICATE is expected")]
    Label(String),
    #[error("not base64: {0}")]
    Base64(#[source] base64::DecodeError),
}

impl Certificate {
    pub fn from_der(der: impl Into<Vec<u8>>) -> Result<Self, InvalidCertificate> {
        Ok(Self::of(&parse(&der.into())?))
    }

    /// From a certificate that is already parsed.
    pub(crate) fn of(parsed: &X509Certificate<'_>) -> Self {
        let der = parsed.as_raw();
        let subject_key_identifier =
            parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
                _ => None,
            });
        Self {
            fingerprint: Fingerprint::of(der),
            spki_der: parsed.public_key().raw.to_vec(),
            subject_dn: name::display(parsed.subject()),
            issuer_dn: name::display(parsed.issuer()),
            serial: hex::encode(parsed.raw_serial()),
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
            signature_algorithm: java_name(&parsed.signature_algorithm.algorithm.to_id_string()),
            subject_key_identifier,
            is_ca: parsed.is_ca(),
            der: der.to_vec(),
        }
    }

    /// Exactly one `CERTIFICATE`, and nothing else.
    pub fn from_pem(text: &str) -> Result<Self, InvalidCertificate> {
        let mut found = split_pem_bundle(text)?;
        match (found.pop(), found.len()) {
            (Some(only), 0) => Ok(only),
            (Some(_), others) => Err(InvalidCertificate::Count(others + 1)),
            (None, _) => Err(InvalidCertificate::Count(0)),
        }
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// RFC 7468, lines end in LF.
    pub fn pem(&self) -> String {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new(LABEL, self.der.as_slice()), config)
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// SHA-1 of the DER in upper-case hexadecimal. An identifier in other systems, never used as proof.
    pub fn thumbprint(&self) -> String {
        hex::encode_upper(digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.der))
    }

    /// SubjectPublicKeyInfo, as returned by `kms:GetPublicKey`.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// `CN=..,OU=..,O=..,ST=..,C=..`
    pub fn subject_dn(&self) -> &str {
        &self.subject_dn
    }

    /// `CN=..,OU=..,O=..,ST=..,C=..`
    pub fn issuer_dn(&self) -> &str {
        &self.issuer_dn
    }

    /// The INTEGER's bytes in lower-case hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// The last second of validity (RFC 5280 §4.1.2.5).
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// Java's name, such as `SHA384withECDSA`; the OID if this crate knows no name.
    pub fn signature_algorithm_name(&self) -> &str {
        &self.signature_algorithm
    }

    pub fn subject_key_identifier(&self) -> Option<&[u8]> {
        self.subject_key_identifier.as_deref()
    }

    /// Whether BasicConstraints say cA.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// pathLenConstraint: how many authorities may follow below it (RFC 5280 §4.2.1.9).
    pub fn path_length(&self) -> Option<u32> {
        let parsed = parse(&self.der).ok()?;
        parsed.basic_constraints().ok()??.value.path_len_constraint
    }

    pub fn key_algorithm(&self) -> Result<KeyAlgorithm, UnsupportedKey> {
        KeyAlgorithm::of_spki(&self.spki_der)
    }

    /// Whether `issuer`'s key signed this certificate. Checks the signature only.
    pub fn verify_signed_by(&self, issuer: &Self) -> Result<(), VerifyError> {
        self.verify_signed_with(&issuer.spki_der)
    }

    pub(crate) fn verify_signed_with(&self, spki_der: &[u8]) -> Result<(), VerifyError> {
        let parsed = parse(&self.der).map_err(|_| UnsupportedKey)?;
        // RFC 5280 §4.1.1.2: the algorithm stands in two places, and only one is signed, so they must be equal.
        if parsed.signature_algorithm != parsed.tbs_certificate.signature {
            return Err(crate::algorithm::BadSignature.into());
        }
        KeyAlgorithm::verify(spki_der, Encoding::Der, parsed.tbs_certificate.as_ref(), &parsed.signature_value.data)
    }
}

/// A certificate's DER as bytes where the format has bytes, a quarter less than its base64; both are read. For `serde(with)`.
pub mod as_bytes {
    use std::fmt;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    use super::Certificate;

    pub fn serialize<S: Serializer>(certificate: &Certificate, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(certificate.der())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Certificate, D::Error> {
        deserializer.deserialize_any(Der)
    }

    struct Der;

    impl Visitor<'_> for Der {
        type Value = Certificate;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a certificate's DER, or its base64")
        }

        fn visit_bytes<E: Error>(self, der: &[u8]) -> Result<Certificate, E> {
            Certificate::from_der(der).map_err(E::custom)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Certificate, E> {
            STANDARD.decode(text).map_err(E::custom).and_then(|der| self.visit_bytes(&der))
        }
    }
}

/// Every certificate of a PEM text, in order. Text between the blocks is skipped (RFC 7468 §5.2).
pub fn split_pem_bundle(text: &str) -> Result<Vec<Certificate>, InvalidCertificate> {
    let blocks = pem::parse_many(text).map_err(InvalidCertificate::Pem)?;
    let read = |block: pem::Pem| match block.tag() {
        LABEL => Certificate::from_der(block.into_contents()),
        other => Err(InvalidCertificate::Label(other.to_owned())),
    };
    blocks.into_iter().map(read).collect()
}

const LABEL: &str = "CERTIFICATE";

pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, InvalidCertificate> {
    match X509Certificate::from_der(der) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(InvalidCertificate::Trailing),
        Err(error) => Err(InvalidCertificate::Der(match error {
            x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => error,
            x509_parser::nom::Err::Incomplete(_) => x509_parser::error::X509Error::InvalidCertificate,
        })),
    }
}

/// Name among [Java's `Signature`
/// algorithms](https://docs.oracle.com/en/java/javase/21/docs/specs/security/standard-names.html).
fn java_name(oid: &str) -> String {
    match oid {
        "1.2.840.113549.1.1.5" => "SHA1withRSA",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.2.840.113549.1.1.11" => "SHA256withRSA",
        "1.2.840.113549.1.1.12" => "SHA384withRSA",
        "1.2.840.113549.1.1.13" => "SHA512withRSA",
        "1.2.840.10045.4.3.2" => "SHA256withECDSA",
        "1.2.840.10045.4.3.3" => "SHA384withECDSA",
        "1.2.840.10045.4.3.4" => "SHA512withECDSA",
        "1.3.101.112" => "Ed25519",
        other => other,
    }
    .to_owned()
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} {})", self.subject_dn, self.fingerprint)
    }
}

impl TryFrom<String> for Certificate {
    type Error = InvalidCertificate;

    fn try_from(text: String) -> Result<Self, InvalidCertificate> {
        Self::from_der(STANDARD.decode(text).map_err(InvalidCertificate::Base64)?)
    }
}

impl From<Certificate> for String {
    fn from(certificate: Certificate) -> Self {
        STANDARD.encode(certificate.der)
    }
}
