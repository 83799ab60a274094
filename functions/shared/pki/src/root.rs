//! The signatures of a root generation: the root itself, links to its neighbours, issuing authorities, TLS server
//! certificates, and revocation lists ([`crate::crl`]).
//!
//! A certificate is made in two phases. A spec, which is recorded first, is *prepared* into the exact bytes to be
//! signed. The key, which is elsewhere, signs their digest. Only [`Prepared::complete`] makes a [`Certificate`] of
//! both, after verifying the signature. After a crash in between, the same spec gives the same bytes again.

mod issuing;
mod leaf;
pub(crate) mod prepared;

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, IsCa, KeyIdMethod, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset};
use x509_parser::oid_registry::OID_X509_EXT_NAME_CONSTRAINTS;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

pub use self::issuing::{IssuingSpec, prepare_issuing};
pub use self::leaf::{LeafSpec, prepare_server_leaf};
use self::prepared::Issuer;
pub use self::prepared::{IssueError, Prepared, Unsigned};
use crate::algorithm::{KeyAlgorithm, UnsupportedKey};
use crate::certificate::{Certificate, parse};
use crate::crl::is_url;
use crate::name::{self, Subject, common_name};
use crate::permitted::PermittedNames;

/// A certificate's serial number: 16 octets, positive (RFC 5280 §4.1.2.2 allows 20).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial([u8; 16]);

impl Serial {
    /// Sets the two top bits to `01`: the number is positive, not zero, and 16 octets long in any encoding. 126 random
    /// bits remain; the CA/Browser Forum's baseline requirements (§7.1) demand 64.
    pub const fn from_random(mut random: [u8; 16]) -> Self {
        random[0] = random[0] & 0b0011_1111 | 0b0100_0000;
        Self(random)
    }

    /// For a device's certificate: the three top bits are `001`, which says that the certificate names one of the thousand lists
    /// of its signer (`CrlId::of`). 125 random bits remain.
    pub const fn of_leaf(mut random: [u8; 16]) -> Self {
        random[0] = random[0] & 0b0001_1111 | 0b0010_0000;
        Self(random)
    }

    /// `None`: no serial number of ours.
    pub const fn from_octets(octets: [u8; 16]) -> Option<Self> {
        if matches!(octets[0] >> 5, 0b001..=0b011) { Some(Self(octets)) } else { None }
    }

    /// The INTEGER's content.
    pub const fn octets(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Everything that determines the bytes of a root, except its key. Recorded before the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RootSpec {
    /// From 1.
    pub generation: u32,
    /// The CN without the generation.
    pub root_name: String,
    pub subject: Subject,
    pub algorithm: KeyAlgorithm,
    pub serial: Serial,
    /// In whole seconds, like every date in a certificate.
    #[serde(with = "time::serde::timestamp")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
    /// The names that it may certify. In the certificate they are critical constraints: a client that does not know
    /// them refuses the root.
    #[serde(default, skip_serializing_if = "PermittedNames::is_unlimited")]
    pub permitted: PermittedNames,
    /// URL of its own list of authorities. OpenSSL's `-crl_check_all` asks for a list that covers the root as well, and
    /// takes this one only if the root names it. `None`: reserved before roots had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<String>,
}

/// Most octets of the URL in a root: every bundle has room for it.
pub const ROOT_CRL: usize = 192;

/// The self-signed root of a generation (RFC 9810's NewWithNew): with SKI and AKI, keyCertSign and cRLSign. Without
/// pathLen, since OpenSSL, Go and Python refuse a link certificate above a root that has one.
pub fn prepare_root(spec: &RootSpec, spki_der: &[u8]) -> Result<Prepared, IssueError> {
    let algorithm = KeyAlgorithm::of_spki(spki_der)?;
    if algorithm != spec.algorithm {
        return Err(IssueError::KeyMismatch { expected: spec.algorithm, found: algorithm });
    }
    if spec.crl.as_ref().is_some_and(|url| url.len() > ROOT_CRL) {
        return Err(IssueError::CrlUrl);
    }
    let identifier = key_identifier(spki_der)?;
    let mut params = authority(&identifier);
    params.crl_distribution_points = distribution_points(spec.crl.as_deref())?;
    params.distinguished_name = spec.subject.with_common_name(&common_name(&spec.root_name, spec.generation)?);
    params.serial_number = Some(spec.serial.0.to_vec().into());
    params.name_constraints = spec.permitted.constraints();
    (params.not_before, params.not_after) = validity(spec.not_before, spec.not_after)?;
    let issuer = Issuer { name: params.distinguished_name.clone(), identifier, spki_der: spki_der.to_vec(), algorithm };
    Prepared::certificate(params, spki_der, issuer)
}

/// The direction of a link certificate (RFC 9810 §4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkKind {
    /// The new key, signed by the old one: clients that only have the old root accept the new one.
    NewWithOld,
    /// The old key, signed by the new one: clients that only have the new root accept what the old one signed.
    OldWithNew,
}

/// Everything that determines the bytes of a link, except the two roots. Recorded before the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkSpec {
    pub kind: LinkKind,
    pub serial: Serial,
    /// URL of its issuer's list of authorities. `None`: reserved before roots had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<String>,
}

/// Prepares a link with `subject`'s name and key, signed by `issuer`.
///
/// Validity (RFC 9810 §4.4): NewWithOld starts with NewWithNew and ends with OldWithOld at the latest; OldWithNew
/// starts and ends with OldWithOld. So each starts with its subject, and ends with its subject or its issuer, whichever
/// is first, because a certificate never outlives its issuer. OldWithNew starts before its issuer on purpose: the RFC
/// requires it to cover the old key's whole validity, and RFC 5280 §6.1 compares both only with the current time.
///
/// Its subject's name constraints are copied: a way around the root itself must not lead around them.
pub fn prepare_link(spec: &LinkSpec, subject: &Certificate, issuer: &Certificate) -> Result<Prepared, IssueError> {
    let (old, new) = match spec.kind {
        LinkKind::NewWithOld => (issuer, subject),
        LinkKind::OldWithNew => (subject, issuer),
    };
    if new.not_before() < old.not_before() {
        return Err(IssueError::LinkDirection);
    }
    let parsed = parse(subject.der())?;
    let identifier = subject.subject_key_identifier().filter(|_| subject.is_ca()).ok_or(IssueError::NotAnAuthority)?;
    let mut params = authority(identifier);
    params.distinguished_name = name::for_rcgen(parsed.subject()).ok_or(IssueError::ForeignName)?;
    let constraints = parsed.iter_extensions().find(|extension| extension.oid == OID_X509_EXT_NAME_CONSTRAINTS);
    if let Some(extension) = constraints {
        let mut copy = CustomExtension::from_oid_content(NAME_CONSTRAINTS, extension.value.to_vec());
        copy.set_criticality(true);
        params.custom_extensions = vec![copy];
    }
    params.crl_distribution_points = distribution_points(spec.crl.as_deref())?;
    params.serial_number = Some(spec.serial.0.to_vec().into());
    (params.not_before, params.not_after) =
        validity(subject.not_before(), subject.not_after().min(issuer.not_after()))?;
    Prepared::certificate(params, subject.spki_der(), Issuer::of(issuer)?)
}

fn distribution_points(url: Option<&str>) -> Result<Vec<CrlDistributionPoint>, IssueError> {
    let Some(url) = url else { return Ok(Vec::new()) };
    if !is_url(url) {
        return Err(IssueError::CrlUrl);
    }
    Ok(vec![CrlDistributionPoint { uris: vec![url.to_owned()] }])
}

/// id-ce-nameConstraints (RFC 5280 §4.2.1.10).
const NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];

/// RFC 7093 §2 method 1: the first 160 bits of SHA-256 over the subjectPublicKey's bits. FIPS builds refuse SHA-1, RFC
/// 5280's own example; rcgen's default hashes the whole SPKI, which is none of the methods.
fn key_identifier(spki_der: &[u8]) -> Result<Vec<u8>, UnsupportedKey> {
    let (_, spki) = SubjectPublicKeyInfo::from_der(spki_der).map_err(|_| UnsupportedKey)?;
    Ok(digest(&SHA256, &spki.subject_public_key.data).as_ref().iter().take(20).copied().collect())
}

fn authority(key_identifier: &[u8]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier.to_vec());
    params.use_authority_key_identifier_extension = true;
    params
}

fn validity(from: OffsetDateTime, to: OffsetDateTime) -> Result<(OffsetDateTime, OffsetDateTime), IssueError> {
    let (from, to) = (second(from)?, second(to)?);
    if from >= to { Err(IssueError::Validity) } else { Ok((from, to)) }
}

/// In UTC and whole seconds, and within the range that RFC 5280 §4.1.2.5 can express.
pub(crate) fn second(at: OffsetDateTime) -> Result<OffsetDateTime, IssueError> {
    let at = at.checked_to_offset(UtcOffset::UTC).ok_or(IssueError::Validity)?;
    let at = at.replace_nanosecond(0).map_err(|_| IssueError::Validity)?;
    if at.year() < 1950 { Err(IssueError::Validity) } else { Ok(at) }
}

/// The text is not one of our serial numbers.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a serial number has 32 hexadecimal digits, the first of which is 4, 5, 6 or 7")]
pub struct NotASerial;

impl TryFrom<String> for Serial {
    type Error = NotASerial;

    fn try_from(text: String) -> Result<Self, NotASerial> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotASerial)?;
        Self::from_octets(bytes).ok_or(NotASerial)
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
