//! Certificate revocation lists (RFC 5280 §5): which of a root's certificates are no longer to be trusted.
//!
//! A generation has [`SHARDS`] lists, so that each stays small however many devices there are: a serial number falls
//! into one of them for good, and its certificate names that list's address. A list that is made anew replaces the one
//! before it, under a higher number.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, KeyIdMethod,
    RevocationReason, RevokedCertParams, SerialNumber,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::algorithm::{BadSignature, Encoding, KeyAlgorithm};
use crate::certificate::Certificate;
use crate::root::prepared::{IssueError, Issuer, Pass, Prepared, Unsigned};
use crate::root::{Serial, second};

/// Lists a generation. With 100 000 devices a list covers some 1 600 certificates; if every one of them were revoked it
/// would have 70 KiB.
pub const SHARDS: u8 = 64;

/// From thisUpdate to nextUpdate. A list is made anew at half of it, hence half is how long nobody may notice that they
/// are not.
pub const LIFETIME: Duration = Duration::days(7);

/// One of a generation's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Numbers")]
pub struct CrlShard {
    generation: u32,
    shard: u8,
}

/// What is not the name of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a revocation list is /crl/GENERATION/SHARD.crl, with generations from 1 and shards from 0 to 63")]
pub struct NotAShard;

impl CrlShard {
    pub fn new(generation: u32, shard: u8) -> Result<Self, NotAShard> {
        if generation == 0 || shard >= SHARDS { Err(NotAShard) } else { Ok(Self { generation, shard }) }
    }

    /// The list of the certificate that `generation` (from 1) signed under this serial number: its lowest six bits of
    /// the first octet, which are random in every [`Serial`].
    pub const fn of(generation: u32, serial: &Serial) -> Self {
        Self { generation, shard: serial.octets()[0] % SHARDS }
    }

    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// From 0 to 63.
    pub const fn shard(self) -> u8 {
        self.shard
    }

    /// `base`: where the lists are served, such as `https://pki.example.com`, with or without a slash at its end.
    pub fn url(self, base: &str) -> String {
        format!("{}{self}", base.trim_end_matches('/'))
    }
}

/// As a path: `/crl/3/17.crl`.
impl fmt::Display for CrlShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/crl/{}/{}.crl", self.generation, self.shard)
    }
}

impl FromStr for CrlShard {
    type Err = NotAShard;

    /// Only as it is written: a list has one address.
    fn from_str(path: &str) -> Result<Self, NotAShard> {
        let numbers = path.strip_prefix("/crl/").and_then(|rest| rest.strip_suffix(".crl")).ok_or(NotAShard)?;
        let (generation, shard) = numbers.split_once('/').ok_or(NotAShard)?;
        let read = Self::new(generation.parse().map_err(|_| NotAShard)?, shard.parse().map_err(|_| NotAShard)?)?;
        if read.to_string() == path { Ok(read) } else { Err(NotAShard) }
    }
}

#[derive(Deserialize)]
struct Numbers {
    generation: u32,
    shard: u8,
}

impl TryFrom<Numbers> for CrlShard {
    type Error = NotAShard;

    fn try_from(numbers: Numbers) -> Result<Self, NotAShard> {
        Self::new(numbers.generation, numbers.shard)
    }
}

/// Why a certificate is revoked (RFC 5280 §5.3.1), by Venafi's numbers, which are the RFC's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    #[default]
    Unspecified = 0,
    KeyCompromise = 1,
    CaCompromise = 2,
    AffiliationChanged = 3,
    Superseded = 4,
    CessationOfOperation = 5,
}

impl Reason {
    const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
    ];

    /// `None` beyond 5: holds are not known here, nor what takes one back.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }

    const fn rcgen(self) -> Option<RevocationReason> {
        match self {
            // §5.3.1: the extension "SHOULD be absent instead of using the unspecified (0) reasonCode value".
            Self::Unspecified => None,
            Self::KeyCompromise => Some(RevocationReason::KeyCompromise),
            Self::CaCompromise => Some(RevocationReason::CaCompromise),
            Self::AffiliationChanged => Some(RevocationReason::AffiliationChanged),
            Self::Superseded => Some(RevocationReason::Superseded),
            Self::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
        }
    }
}

/// A certificate that is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    pub serial: Serial,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    #[serde(default)]
    pub reason: Reason,
}

/// All that decides the bytes of a list, beside its issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlSpec {
    /// Higher than every number that this list had before (§5.2.3).
    pub number: u64,
    /// To the second, as every date in a list.
    pub this_update: OffsetDateTime,
    pub next_update: OffsetDateTime,
    /// Its addresses, every one that a certificate names: whoever reads another list by mistake finds out (§5.2.5).
    pub urls: Vec<String>,
    pub revoked: Vec<Revoked>,
}

/// A list that lacks only its signature.
pub type PreparedCrl = Prepared<UnsignedCrl>;

/// A list of the certificates below `issuer`: version 2, with CRL number, authority key identifier and a critical
/// issuing distribution point, which says that it covers those addresses and no authorities' certificates.
pub fn prepare_crl(spec: &CrlSpec, issuer: &Certificate) -> Result<PreparedCrl, IssueError> {
    if spec.urls.is_empty() || !spec.urls.iter().all(|url| is_url(url)) {
        return Err(IssueError::CrlUrl);
    }
    let issuer = Issuer::of(issuer)?;
    let revoked = |each: &Revoked| {
        let revocation_time = second(each.at)?;
        let serial_number = SerialNumber::from_slice(each.serial.octets());
        Ok(RevokedCertParams {
            serial_number,
            revocation_time,
            reason_code: each.reason.rcgen(),
            invalidity_date: None,
        })
    };
    let params = CertificateRevocationListParams {
        this_update: second(spec.this_update)?,
        next_update: second(spec.next_update)?,
        crl_number: spec.number.into(),
        issuing_distribution_point: Some(CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: spec.urls.clone() },
            scope: Some(CrlScope::UserCertsOnly),
        }),
        revoked_certs: spec.revoked.iter().map(revoked).collect::<Result<_, IssueError>>()?,
        key_identifier_method: KeyIdMethod::PreSpecified(issuer.identifier.clone()),
    };
    Prepared::new(UnsignedCrl(params), issuer)
}

/// A signed list. Serialised as the base64 of its DER.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Crl(Vec<u8>);

impl Crl {
    pub fn der(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<String> for Crl {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, base64::DecodeError> {
        STANDARD.decode(text).map(Self)
    }
}

impl From<Crl> for String {
    fn from(crl: Crl) -> Self {
        STANDARD.encode(crl.0)
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl({} bytes)", self.0.len())
    }
}

/// A list's content.
pub struct UnsignedCrl(CertificateRevocationListParams);

impl Unsigned for UnsignedCrl {
    type Signed = Crl;

    fn write(&self, issuer: &rcgen::Issuer<'_, Pass<'_>>) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.signed_by(issuer)?.der().to_vec())
    }

    fn read(&self, der: Vec<u8>, issuer_spki: &[u8]) -> Result<Crl, IssueError> {
        let Ok(([], list)) = CertificateRevocationList::from_der(&der) else { return Err(IssueError::ReadBackList) };
        if list.iter_revoked_certificates().count() != self.0.revoked_certs.len() {
            return Err(IssueError::ReadBackList);
        }
        // As of a certificate (§5.1.1.2): the algorithm is said twice, and once is not signed.
        if list.signature_algorithm != list.tbs_cert_list.signature {
            return Err(IssueError::Signature(BadSignature.into()));
        }
        let (signed, signature) = (list.tbs_cert_list.as_ref(), &list.signature_value.data);
        KeyAlgorithm::verify(issuer_spki, Encoding::Der, signed, signature).map_err(IssueError::Signature)?;
        Ok(Crl(der))
    }
}

/// Whether a list is to be made anew: half of its time is over.
pub fn is_due(this_update: OffsetDateTime, next_update: OffsetDateTime, now: OffsetDateTime) -> bool {
    now - this_update >= (next_update - this_update) / 2
}

/// Whether a list names a revoked certificate that ends then. Beyond that end it is named once more at least (§3.3).
pub fn names(not_after: OffsetDateTime, this_update: OffsetDateTime) -> bool {
    this_update <= not_after + LIFETIME
}

/// What may stand in a certificate as a list's address: an IA5String that is an http or https URL.
pub(crate) fn is_url(text: &str) -> bool {
    let plain = text.len() <= 1024 && text.bytes().all(|byte| byte.is_ascii_graphic());
    plain && url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}
