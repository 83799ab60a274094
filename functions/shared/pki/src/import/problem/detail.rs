//! The location of a problem, and the faults that some problems distinguish.

use std::fmt;

use thiserror::Error;
use time::OffsetDateTime;

use crate::import::COMPARISONS;

/// Why name constraints (RFC 5280 §4.2.1.10) refuse a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConstraintFault {
    #[error("{0} is not within a permitted subtree")]
    NotPermitted(String),
    #[error("{0} is within an excluded subtree")]
    Excluded(String),
    #[error("they limit names of the kind {0}, which cannot be compared here")]
    Unsupported(&'static str),
    #[error("comparing would take more than {COMPARISONS} steps")]
    TooMany,
}

/// A field of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Certificate,
    CertificateChain,
    PrivateKey,
    Pkcs12,
}

/// A location in the material: a field, and a line in it, counted from 1 (0: the whole field).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    pub field: Field,
    pub line: usize,
}

impl Default for Location {
    /// The whole of the first field.
    fn default() -> Self {
        Self { field: Field::Certificate, line: 0 }
    }
}

/// What is wrong with a PEM header or footer (RFC 7468 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("the PEM header is missing")]
    NoHeader,
    #[error("a PEM header or footer is malformed")]
    Malformed,
    #[error("line breaks are missing: other text is in the line of a PEM header or footer")]
    NoLineBreak,
    #[error("it has NUL characters, as text in UTF-16 that was read as another encoding; send it as UTF-8")]
    Wide,
    #[error("the PEM footer is missing")]
    NoFooter,
    #[error("a PEM footer does not belong to the header before it")]
    Mismatch,
}

/// Why something in place of a certificate is none, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unreadable {
    #[error("it is not base64; send it as the authority issued it")]
    Base64,
    #[error("it is PKCS#7; send the certificates that `openssl pkcs7 -print_certs` extracts")]
    Pkcs7,
    #[error("a date of validity in it is malformed (RFC 5280 §4.1.2.5), which TLS clients refuse; have it issued anew")]
    Date,
    #[error("its serial number is not DER, which OpenSSL refuses; have it issued anew")]
    Serial,
    #[error("a string in its subject or issuer is malformed, or of a type that OpenSSL refuses; have it issued anew")]
    Name,
    #[error(
        "bytes follow it, as OpenSSL's trust settings do; remove them with `openssl x509 -in FILE -out CERTIFICATE.pem`"
    )]
    Trailing,
    #[error("it is not the DER of an X.509 certificate; send it as the authority issued it")]
    Other,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::CertificateChain => "certificate_chain",
            Self::PrivateKey => "private_key",
            Self::Pkcs12 => "the PKCS#12 file",
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => self.field.fmt(f),
            line => write!(f, "{}, line {line}", self.field),
        }
    }
}

/// A time for people: UTC, to the second.
pub(super) struct Seconds(pub(super) OffsetDateTime);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0.to_offset(time::UtcOffset::UTC);
        write!(f, "{} {:02}:{:02}:{:02} UTC", at.date(), at.hour(), at.minute(), at.second())
    }
}
