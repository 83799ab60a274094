//! What a root generation signs: itself, the links to its neighbours, TLS server certificates, and the lists of those
//! that are revoked ([`crate::crl`]).
//!
//! A certificate comes into being in two phases. A spec, which is recorded first, is *prepared* into the exact bytes to
//! be signed; the key, which is elsewhere, signs their digest; and only [`Prepared::complete`] makes a [`Certificate`]
//! of both, after verifying the signature. A crash in between repeats the same bytes from the same spec.

mod leaf;
pub(crate) mod prepared;

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyIdMethod, KeyUsagePurpose};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

pub use self::leaf::{LeafSpec, prepare_server_leaf};
use self::prepared::Issuer;
pub use self::prepared::{IssueError, Prepared, Unsigned};
use crate::algorithm::{KeyAlgorithm, UnsupportedKey};
use crate::certificate::{Certificate, parse};
use crate::name::{self, Subject, common_name};

/// A certificate's serial number: 16 octets, positive (RFC 5280 §4.1.2.2 allows 20).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial([u8; 16]);

impl Serial {
    /// The two top bits become `01`: positive, never zero, and 16 octets long however it is encoded. 126 random bits
    /// remain; the CA/Browser Forum's baseline requirements (§7.1) ask for 64.
    pub const fn from_random(mut random: [u8; 16]) -> Self {
        random[0] = random[0] & 0b0011_1111 | 0b0100_0000;
        Self(random)
    }

    /// The INTEGER's content.
    pub const fn octets(&self) -> &[u8; 16] {
        &self.0
    }
}

/// All that decides the bytes of a root, beside its key. Recorded before the signature.
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
    /// To the second, as every date in a certificate.
    #[serde(with = "time::serde::timestamp")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
}

/// The self-signed root of a generation (RFC 9810's NewWithNew): SKI and AKI, keyCertSign and cRLSign, and no pathLen,
/// since OpenSSL, Go and Python refuse a link certificate above a root that has one.
pub fn prepare_root(spec: &RootSpec, spki_der: &[u8]) -> Result<Prepared, IssueError> {
    let algorithm = KeyAlgorithm::of_spki(spki_der)?;
    if algorithm != spec.algorithm {
        return Err(IssueError::KeyMismatch { expected: spec.algorithm, found: algorithm });
    }
    let identifier = key_identifier(spki_der)?;
    let mut params = authority(&identifier);
    params.distinguished_name = spec.subject.with_common_name(&common_name(&spec.root_name, spec.generation)?);
    params.serial_number = Some(spec.serial.0.to_vec().into());
    (params.not_before, params.not_after) = validity(spec.not_before, spec.not_after)?;
    let issuer = Issuer { name: params.distinguished_name.clone(), identifier, spki_der: spki_der.to_vec(), algorithm };
    Prepared::certificate(params, spki_der, issuer)
}

/// Which way a link certificate leads (RFC 9810 §4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkKind {
    /// The new key under the old one: whoever still holds only the old root accepts the new.
    NewWithOld,
    /// The old key under the new one: whoever holds only the new root accepts what the old one signed.
    OldWithNew,
}

/// All that decides the bytes of a link, beside the two roots. Recorded before the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkSpec {
    pub kind: LinkKind,
    pub serial: Serial,
}

/// `subject`'s name and key, signed by `issuer`.
///
/// Validity (RFC 9810 §4.4): NewWithOld starts with NewWithNew and ends with OldWithOld at the latest; OldWithNew
/// starts and ends with OldWithOld. Hence each starts with its subject, and ends with its subject or its issuer,
/// whichever is first, for a certificate never outlives its issuer. OldWithNew's start lies before its issuer's on
/// purpose: the RFC wants the old key's whole time covered, and RFC 5280 §6.1 checks both only against the present.
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
    params.serial_number = Some(spec.serial.0.to_vec().into());
    (params.not_before, params.not_after) =
        validity(subject.not_before(), subject.not_after().min(issuer.not_after()))?;
    Prepared::certificate(params, subject.spki_der(), Issuer::of(issuer)?)
}

/// RFC 7093 §2 method 1: the first 160 bits of SHA-256 over the subjectPublicKey's bits. (SHA-1, RFC 5280's own
/// example, is refused by FIPS builds; rcgen's default hashes the whole SPKI, which is none of the methods.)
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

/// In UTC, to the second, and within what RFC 5280 §4.1.2.5 can write.
pub(crate) fn second(at: OffsetDateTime) -> Result<OffsetDateTime, IssueError> {
    let at = at.checked_to_offset(UtcOffset::UTC).ok_or(IssueError::Validity)?;
    let at = at.replace_nanosecond(0).map_err(|_| IssueError::Validity)?;
    if at.year() < 1950 { Err(IssueError::Validity) } else { Ok(at) }
}

/// Text that is not a serial number of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a serial number has 32 hexadecimal digits, the first of which is 4, 5, 6 or 7")]
pub struct NotASerial;

impl TryFrom<String> for Serial {
    type Error = NotASerial;

    fn try_from(text: String) -> Result<Self, NotASerial> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotASerial)?;
        if Self::from_random(bytes).0 != bytes {
            return Err(NotASerial);
        }
        Ok(Self(bytes))
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
