//! The problems that an import can have. Each kind has a code, and a message that says what is wrong and what to do.

mod detail;

use std::fmt;

use thiserror::Error;
use time::OffsetDateTime;

use detail::Seconds;

use super::{CERTIFICATES, DEPTH, ITERATIONS, NAMES, SIGNATURES};

pub use detail::{ConstraintFault, Fault, Field, Location, Unreadable};

/// Every code and its meaning, the most basic first: problems are reported in this order. `SCM.0…` are the vendor's
/// (Huawei Cloud Certificate Manager, error codes of SCM v3), `SCM.2…` are ours.
pub const CODES: [(&str, &str); 46] = [
    ("SCM.2001", "too large"),
    ("SCM.0054", "certificate missing"),
    ("SCM.0053", "certificate's PEM header or footer"),
    ("SCM.2002", "private key missing"),
    ("SCM.0114", "private key's PEM header or footer"),
    ("SCM.2003", "private key among the certificates"),
    ("SCM.2004", "not a certificate"),
    ("SCM.2005", "certificate in place of the private key"),
    ("SCM.2006", "not a private key"),
    ("SCM.2007", "several private keys"),
    ("SCM.2008", "private key encrypted"),
    ("SCM.2009", "PKCS#12 unreadable"),
    ("SCM.2010", "PKCS#12 encryption unsupported"),
    ("SCM.2011", "PKCS#12 iterations"),
    ("SCM.2012", "PKCS#12 password"),
    ("SCM.2013", "certificate unreadable"),
    ("SCM.2014", "too many certificates"),
    ("SCM.2015", "more than the leaf in certificate"),
    ("SCM.0012", "private key cannot be parsed"),
    ("SCM.2016", "private key's algorithm unsupported"),
    ("SCM.2017", "private key weak"),
    ("SCM.2018", "key does not match"),
    ("SCM.2020", "self-signed"),
    ("SCM.2019", "CA certificate where a leaf is expected"),
    ("SCM.2021", "expired"),
    ("SCM.2022", "not yet valid"),
    ("SCM.2023", "version"),
    ("SCM.2024", "extension twice"),
    ("SCM.2025", "extension malformed"),
    ("SCM.2026", "critical extension unknown"),
    ("SCM.2027", "certificate's key weak"),
    ("SCM.2028", "certificate's key unsupported"),
    ("SCM.2029", "signature weak"),
    ("SCM.2030", "signature's algorithm unsupported"),
    ("SCM.2031", "no DNS name and no IP address"),
    ("SCM.2032", "name malformed"),
    ("SCM.2033", "too many names"),
    ("SCM.2034", "key usage or purpose"),
    ("SCM.0079", "CA's subject does not match the issuer"),
    ("SCM.2035", "signature does not verify"),
    ("SCM.2036", "chain incomplete"),
    ("SCM.2037", "chain too long or too tangled"),
    ("SCM.2038", "issuer is no CA"),
    ("SCM.2039", "path length"),
    ("SCM.2040", "key identifiers differ"),
    ("SCM.2041", "name constraints"),
];

/// One problem. Names in it are truncated and escaped; it never contains any part of a key or a password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    #[error("{part} is larger than {limit} bytes; send the leaf, its key and its chain, and nothing else")]
    TooLarge { part: &'static str, limit: usize },
    #[error("{0} holds no certificate; {way}", way = certificate_way(*.0))]
    CertificateMissing(Location),
    #[error("{place}: {fault}; each header and footer stands on a line of its own, as -----BEGIN CERTIFICATE-----")]
    CertificateFraming { place: Location, fault: Fault },
    #[error(
        "there is no private key; send it as PEM (unencrypted PKCS#8, PKCS#1 or SEC1), or as part of the PKCS#12 file"
    )]
    KeyMissing,
    #[error("{place}: {fault}; each header and footer stands on a line of its own, as -----BEGIN PRIVATE KEY-----")]
    KeyFraming { place: Location, fault: Fault },
    #[error("{0}: a private key stands where certificates are expected; send it in private_key only")]
    KeyAmongCertificates(Location),
    #[error("{place}: {label} where a CERTIFICATE is expected; {}", label_way(.label))]
    NotACertificate { place: Location, label: String },
    #[error("{0}: a certificate stands where the private key is expected; send it in certificate")]
    CertificateAsKey(Location),
    #[error("{place}: {label} where a PRIVATE KEY is expected; convert it with `openssl pkey`, or remove it")]
    NotAKey { place: Location, label: String },
    #[error("there are {} private keys{}; send one leaf with its key", .count, of(.leaves))]
    SeveralKeys { count: usize, leaves: Vec<String> },
    #[error("the private key is encrypted; decrypt it first, as with `openssl pkey -in key.pem -out plain.pem`")]
    KeyEncrypted,
    #[error("the PKCS#12 file cannot be read: {0}; export it anew, as with `openssl pkcs12 -export`")]
    Pkcs12Unreadable(&'static str),
    #[error("this is no PKCS#12 file: {0}")]
    NotPkcs12(&'static str),
    #[error("the PKCS#12 file is protected by {0}; export it anew with AES and SHA-256, as OpenSSL 3 does by default")]
    Pkcs12Encryption(String),
    #[error("opening the PKCS#12 file would take more than {ITERATIONS} iterations; export it anew with fewer")]
    Pkcs12Iterations,
    #[error("the password does not open the PKCS#12 file, or the file is damaged; check both")]
    Pkcs12Password,
    #[error("{place}: the certificate cannot be read: {fault}")]
    CertificateUnreadable { place: Location, fault: Unreadable },
    #[error(
        "{0} has a date of validity in a form that DER forbids (RFC 5280 §4.1.2.5), which TLS clients refuse; have it issued anew"
    )]
    MalformedDate(String),
    #[error("there are more than {CERTIFICATES} certificates; send the leaf and its chain only")]
    TooManyCertificates,
    #[error("certificate holds {0} certificates beside a certificate_chain; send the leaf only in certificate")]
    LeafNotAlone(usize),
    #[error("the private key cannot be parsed: {0}; send it as unencrypted PKCS#8, as `openssl pkey` writes it")]
    KeyUnreadable(&'static str),
    #[error("the private key is for {0}; use RSA, P-256, P-384, P-521, Ed25519 or ML-DSA")]
    KeyUnsupported(String),
    #[error("the private key is weak: {0}; have a certificate issued for a new key")]
    KeyWeak(String),
    #[error("the private key is not that of {subject}{}; send the key of its request", but_of(.belongs))]
    KeyMismatch { subject: String, belongs: Option<String> },
    #[error("{subject} is a CA's certificate ({why}), where a server's or client's is expected; send the leaf")]
    LeafIsCa { subject: String, why: &'static str },
    #[error("{0} is signed by itself; have it issued by an authority, and send that one's chain")]
    SelfSigned(String),
    #[error("{subject} expired at {}; {}", Seconds(*.at), expired_way(*.issuer))]
    Expired { subject: String, at: OffsetDateTime, issuer: bool },
    #[error("{subject} is not valid before {}; send it then, or check the issuer's clock", Seconds(*.at))]
    NotYetValid { subject: String, at: OffsetDateTime },
    #[error("{0} is not a certificate of version 3 (RFC 5280 §4.1.2.1); have it issued anew")]
    Version(String),
    #[error("{subject} holds the extension {extension} twice (RFC 5280 §4.2); have it issued anew")]
    DuplicateExtension { subject: String, extension: String },
    #[error("{subject} holds a malformed extension {extension}; have it issued anew")]
    MalformedExtension { subject: String, extension: String },
    #[error(
        "{subject} has a critical extension {extension} that is not known here; have it issued without, or not critical"
    )]
    UnknownCritical { subject: String, extension: String },
    #[error("{subject} has a weak key: {what}; have it issued for a stronger one")]
    WeakKey { subject: String, what: String },
    #[error("{subject} has a key for {what}; use RSA, P-256, P-384, P-521, Ed25519 or ML-DSA")]
    UnsupportedKey { subject: String, what: String },
    #[error("{subject} is signed with {what}, which is broken; have it issued anew with SHA-256 or better")]
    WeakSignature { subject: String, what: String },
    #[error("{subject} is signed with {what}, which cannot be verified here; have it issued with another algorithm")]
    UnsupportedSignature { subject: String, what: String },
    #[error(
        "{0} names no server: it has no SAN with a DNS name or an IP address, and its CN is neither; have it issued with one"
    )]
    NoName(String),
    #[error("{subject} holds the name {name}, which is no {kind}; have it issued without")]
    BadName { subject: String, name: String, kind: &'static str },
    #[error("{0} has more than {NAMES} alternative names; split it into several certificates")]
    TooManyNames(String),
    #[error("{subject} may not be used for TLS: {why}; have it issued for a server or a client")]
    Usage { subject: String, why: &'static str },
    #[error("{issuer} does not match the issuer that {subject} names, {expected}; send the issuer's own certificate")]
    IssuerMismatch { subject: String, expected: String, issuer: String },
    #[error("the signature of {subject} does not verify with the key of {issuer}; send both as they were issued")]
    BadSignature { subject: String, issuer: String },
    #[error(
        "the chain is incomplete: {subject} was issued by {issuer}, whose certificate is neither there nor known here; append it, as its authority publishes it, or send allow_incomplete_chain: true to store the chain unproven"
    )]
    ChainIncomplete { subject: String, issuer: String },
    #[error(
        "no chain of at most {DEPTH} issuers was found with {SIGNATURES} signatures tried; send only those that lead to one root"
    )]
    ChainTooLong,
    #[error("{subject} may not issue certificates: {why}; send a chain of CA certificates")]
    IssuerNotCa { subject: String, why: &'static str },
    #[error("{subject} allows {allowed} CA certificates below it, and there are {found}; use another chain")]
    PathLength { subject: String, allowed: u32, found: usize },
    #[error(
        "{subject} names another key of its issuer than {issuer} has (AKI and SKI differ); send the matching issuer"
    )]
    KeyIdentifier { subject: String, issuer: String },
    #[error("the name constraints of {issuer} do not allow {subject}: {what}; have it issued by another authority")]
    NameConstraints { issuer: String, subject: String, what: ConstraintFault },
}

impl Problem {
    /// As in [`CODES`].
    pub fn code(&self) -> &'static str {
        CODES[self.rank()].0
    }

    /// The index in [`CODES`].
    fn rank(&self) -> usize {
        match self {
            Self::TooLarge { .. } => 0,
            Self::CertificateMissing(_) => 1,
            Self::CertificateFraming { .. } => 2,
            Self::KeyMissing => 3,
            Self::KeyFraming { .. } => 4,
            Self::KeyAmongCertificates(_) => 5,
            Self::NotACertificate { .. } => 6,
            Self::CertificateAsKey(_) => 7,
            Self::NotAKey { .. } => 8,
            Self::SeveralKeys { .. } => 9,
            Self::KeyEncrypted => 10,
            Self::Pkcs12Unreadable(_) | Self::NotPkcs12(_) => 11,
            Self::Pkcs12Encryption(_) => 12,
            Self::Pkcs12Iterations => 13,
            Self::Pkcs12Password => 14,
            Self::CertificateUnreadable { .. } | Self::MalformedDate(_) => 15,
            Self::TooManyCertificates => 16,
            Self::LeafNotAlone(_) => 17,
            Self::KeyUnreadable(_) => 18,
            Self::KeyUnsupported(_) => 19,
            Self::KeyWeak(_) => 20,
            Self::KeyMismatch { .. } => 21,
            Self::SelfSigned(_) => 22,
            Self::LeafIsCa { .. } => 23,
            Self::Expired { .. } => 24,
            Self::NotYetValid { .. } => 25,
            Self::Version(_) => 26,
            Self::DuplicateExtension { .. } => 27,
            Self::MalformedExtension { .. } => 28,
            Self::UnknownCritical { .. } => 29,
            Self::WeakKey { .. } => 30,
            Self::UnsupportedKey { .. } => 31,
            Self::WeakSignature { .. } => 32,
            Self::UnsupportedSignature { .. } => 33,
            Self::NoName(_) => 34,
            Self::BadName { .. } => 35,
            Self::TooManyNames(_) => 36,
            Self::Usage { .. } => 37,
            Self::IssuerMismatch { .. } => 38,
            Self::BadSignature { .. } => 39,
            Self::ChainIncomplete { .. } => 40,
            Self::ChainTooLong => 41,
            Self::IssuerNotCa { .. } => 42,
            Self::PathLength { .. } => 43,
            Self::KeyIdentifier { .. } => 44,
            Self::NameConstraints { .. } => 45,
        }
    }
}

/// Most problems reported: more than anyone would read, and a bound on the output for hostile input.
const REPORTED: usize = 64;

/// All problems, at least one, in the order of [`CODES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `None` if there is no problem.
    pub(super) fn of(mut found: Vec<Problem>) -> Option<Self> {
        found.sort_by_key(Problem::rank);
        found.dedup();
        found.truncate(REPORTED);
        (!found.is_empty()).then_some(Self(found))
    }

    pub(super) fn only(problem: Problem) -> Self {
        Self(vec![problem])
    }

    pub fn first(&self) -> &Problem {
        &self.0[0]
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The message of the first problem.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first().fmt(f)
    }
}

impl std::error::Error for Problems {}

fn certificate_way(place: Location) -> &'static str {
    match place.field {
        Field::Pkcs12 => "export it with the leaf, as with `openssl pkcs12 -export`",
        _ => "send it as PEM, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----",
    }
}

fn label_way(label: &str) -> &'static str {
    match label {
        "TRUSTED CERTIFICATE" => "convert it with `openssl x509 -in FILE -out CERTIFICATE.pem`",
        "PKCS7" | "CMS" => "extract its certificates with `openssl pkcs7 -in FILE -print_certs`",
        label if label.ends_with("CERTIFICATE REQUEST") => "send the certificate that the authority issued for it",
        _ => "send certificates only",
    }
}

fn expired_way(issuer: bool) -> &'static str {
    if issuer { "send a chain that does not lead through it" } else { "have it renewed" }
}

fn but_of(belongs: &Option<String>) -> String {
    belongs.as_ref().map_or_else(String::new, |other| format!(", but of {other}"))
}

/// The first few: a keystore may hold many.
fn of(leaves: &[String]) -> String {
    let named = leaves.iter().take(4).cloned().collect::<Vec<_>>().join(" and ");
    if named.is_empty() { String::new() } else { format!(", those of {named}") }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn problem_codes_are_unique() {
        let codes: HashSet<_> = CODES.iter().map(|(code, _)| code).collect();
        let meanings: HashSet<_> = CODES.iter().map(|(_, meaning)| meaning).collect();
        assert_eq!((codes.len(), meanings.len()), (CODES.len(), CODES.len()));
        assert!(codes.iter().all(|code| (3..=36).contains(&code.len())), "as the vendor's error_code");
    }

    #[test]
    fn problems_are_sorted_and_deduplicated() {
        let subject = || "CN=a".to_owned();
        let found = vec![
            Problem::ChainTooLong,
            Problem::NoName(subject()),
            Problem::KeyMissing,
            Problem::ChainTooLong,
            Problem::SelfSigned(subject()),
        ];
        let codes: Vec<_> = Problems::of(found).iter().flat_map(Problems::iter).map(Problem::code).collect();
        assert_eq!(codes, ["SCM.2002", "SCM.2020", "SCM.2031", "SCM.2037"]);
        assert_eq!(Problems::of(Vec::new()), None);
    }

    #[test]
    fn messages_stay_short_with_long_names() {
        let name = super::super::text::shown(&"\u{7f}".repeat(5_000));
        let longest = Problem::NameConstraints {
            issuer: name.clone(),
            subject: name.clone(),
            what: ConstraintFault::NotPermitted(name),
        };
        assert!(longest.to_string().chars().count() < 700, "{longest}");
    }
}
