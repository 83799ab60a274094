//! The bundle: the trust anchors that a device should hold, under a version that only grows. Its signed form can be
//! fetched without trusting the server's TLS certificate.

mod jws;

use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use self::jws::{JwsError, SignedBundle, jws_signature, verify_bundle, verify_jws};
use crate::certificate::Certificate;
use crate::fingerprint::Fingerprint;

/// The trust anchors of one version. The serialised form contains the content hash, which is verified when it is
/// parsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Bundle {
    /// From 1. Only grows: a device that has seen 3 refuses 2 (RFC 7030's `/cacerts` has no such protection).
    pub version: u64,
    pub anchors: Vec<Certificate>,
    /// Those of the anchors that are not ours. No bundle is accepted by them: see [`Bundle::signers`].
    pub others: Vec<Fingerprint>,
    /// Former anchors that must be removed.
    pub withdrawn: Vec<Fingerprint>,
    /// When it was signed, in whole seconds. A bundle is signed again with the same version and content before it expires.
    pub issued: OffsetDateTime,
    /// From then on it is refused (RFC 7519 §4.1.4), in whole seconds. `None`: signed before bundles expired.
    pub exp: Option<OffsetDateTime>,
}

/// What a verifier remembers of the last bundle that it accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub version: u64,
    /// [`Bundle::content`]
    pub content: Fingerprint,
}

/// Why a bundle with a good signature is refused: somebody sends an old one again, or holds back a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Untimely {
    #[error("bundle {version} does not say until when it is valid: an earlier version of Rootcast signed it")]
    Undated { version: u64 },
    #[error("bundle {version} expired at {at}: either a newer one is held back, or nothing signs it any more")]
    Expired { version: u64, at: OffsetDateTime },
    #[error("bundle {version} is older than bundle {seen}, which was accepted before")]
    Older { version: u64, seen: u64 },
    #[error("bundle {version} has another content than the bundle {version} that was accepted before")]
    Differs { version: u64 },
}

impl Bundle {
    /// What to remember of it.
    pub fn seen(&self) -> Seen {
        Seen { version: self.version, content: self.content() }
    }

    /// SHA-256 of version, number of anchors, anchors and withdrawn anchors: not of the dates, which change when it is
    /// signed again, nor of what a later release adds, since verifiers remember it.
    pub fn content(&self) -> Fingerprint {
        let counts = [self.version, self.anchors.len() as u64].map(u64::to_be_bytes);
        let mut bytes = counts.concat();
        let anchors = self.anchors.iter().map(Certificate::fingerprint);
        for anchor in anchors.chain(self.withdrawn.iter().copied()) {
            bytes.extend_from_slice(anchor.as_bytes());
        }
        Fingerprint::of(&bytes)
    }

    /// Whether a verifier that accepted `seen` last may accept this one now.
    ///
    /// # Errors
    /// It is expired, older than `seen`, or of the same version with another content.
    pub fn check(&self, now: OffsetDateTime, seen: Option<Seen>) -> Result<(), Untimely> {
        let version = self.version;
        match seen {
            Some(seen) if version < seen.version => return Err(Untimely::Older { version, seen: seen.version }),
            Some(seen) if version == seen.version && self.content() != seen.content => {
                return Err(Untimely::Differs { version });
            }
            _ => {}
        }
        match self.exp {
            None => Err(Untimely::Undated { version }),
            Some(at) if now >= at => Err(Untimely::Expired { version, at }),
            Some(_) => Ok(()),
        }
    }

    /// The anchors by which the next bundle may be verified: our own. Whoever trusted the others for that too would let
    /// them choose his trust anchors.
    pub fn signers(&self) -> impl Iterator<Item = &Certificate> {
        self.anchors.iter().filter(|anchor| !self.others.contains(&anchor.fingerprint()))
    }

    /// [`content_hash`] of the anchors.
    pub fn sha256(&self) -> Fingerprint {
        content_hash(self.anchors.iter().map(Certificate::fingerprint))
    }

    /// The signed payload: the bundle as JSON, always the same bytes.
    pub fn payload(&self) -> Vec<u8> {
        let document = Document::from(self.clone());
        let mut payload = json!({
            "version": document.version,
            "sha256": document.sha256.to_string(),
            "anchors": document.anchors.into_iter().map(String::from).collect::<Vec<_>>(),
            "withdrawn": document.withdrawn,
            "issued": document.issued,
        });
        if let Some(exp) = document.exp {
            payload["exp"] = exp.into();
        }
        if !document.others.is_empty() {
            payload["others"] = json!(document.others);
        }
        payload.to_string().into_bytes()
    }
}

/// Largest record of a bundle in bytes: DynamoDB's 400 KB per item, less the 2 KB that the ledger reserves for keys.
const LARGEST_RECORD: usize = 398 << 10;
/// Largest DER of a root: an RSA key and a signature of 4 096 bits, and twice a name of maximum length with four bytes
/// per character; the longest name constraints; and the longest address of a revocation list.
pub const LARGEST_ANCHOR: usize = 6 << 10;
/// A bundle always has room for this many roots, of any kind.
pub const ROOTS_THAT_FIT: u32 = 20;

const _: () = assert!(record_size_of(ROOTS_THAT_FIT as usize, LARGEST_ANCHOR) < LARGEST_RECORD);

/// Whether the record of a bundle fits, if it is signed by all of its anchors. `anchors`: DER size of each in bytes.
pub fn fits(anchors: impl Iterator<Item = usize>, withdrawn: usize) -> bool {
    let anchors: usize = anchors.map(|der| record_size_of(1, der)).sum();
    HEAD + anchors + withdrawn * WITHDRAWN <= LARGEST_RECORD
}

/// Version, times, hash, and field names.
const HEAD: usize = 2 << 10;
/// 64 digits, quotes and comma; and again in the payload, in base64.
const WITHDRAWN: usize = 67 + 67 * 4 / 3 + 1;

/// Each anchor in base64, and again in the payload, in base64 twice; and its signature: 683 characters for an RSA key
/// of 4 096 bits, its header, and field names.
const fn record_size_of(anchors: usize, der: usize) -> usize {
    let base64 = der.div_ceil(3) * 4 + 3;
    anchors * (base64 + base64 * 4 / 3 + 1 + 683 + 250)
}

/// Identifies a set of anchors in any order: SHA-256 over the anchors' own SHA-256 fingerprints (32 bytes each), sorted
/// and deduplicated. Computed for bundles, and for the anchors that were read back from a device.
pub fn content_hash(fingerprints: impl Iterator<Item = Fingerprint>) -> Fingerprint {
    let mut sorted: Vec<Fingerprint> = fingerprints.collect();
    sorted.sort_unstable();
    sorted.dedup();
    let bytes: Vec<u8> = sorted.iter().flat_map(Fingerprint::as_bytes).copied().collect();
    Fingerprint::of(&bytes)
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u64,
    sha256: Fingerprint,
    anchors: Vec<Certificate>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Fingerprint>,
    withdrawn: Vec<Fingerprint>,
    issued: String,
    /// NumericDate (RFC 7519 §2)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
}

/// Why a serialised bundle is inconsistent.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidBundle {
    #[error("the bundle's sha256 is not that of its anchors")]
    Hash,
    #[error("the bundle's issued is not an RFC 3339 time")]
    Issued,
    #[error("the bundle's exp is not a time in seconds since 1970")]
    Exp,
}

impl TryFrom<Document> for Bundle {
    type Error = InvalidBundle;

    fn try_from(document: Document) -> Result<Self, InvalidBundle> {
        let Document { version, sha256, anchors, others, withdrawn, issued, exp } = document;
        let issued = OffsetDateTime::parse(&issued, &Rfc3339).map_err(|_| InvalidBundle::Issued)?;
        let exp = exp.map(OffsetDateTime::from_unix_timestamp).transpose().map_err(|_| InvalidBundle::Exp)?;
        let bundle = Self { version, anchors, others, withdrawn, issued, exp };
        if bundle.sha256() != sha256 {
            return Err(InvalidBundle::Hash);
        }
        Ok(bundle)
    }
}

impl From<Bundle> for Document {
    fn from(bundle: Bundle) -> Self {
        let sha256 = bundle.sha256();
        let Bundle { version, anchors, others, withdrawn, issued, exp } = bundle;
        let at = issued.to_utc();
        let (year, month, day) = at.to_calendar_date();
        let (hour, minute, second) = at.as_hms();
        let issued = format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month));
        Self { version, sha256, anchors, others, withdrawn, issued, exp: exp.map(OffsetDateTime::unix_timestamp) }
    }
}
