//! Certificate revocation lists (RFC 5280 §5): which of a signer's certificates are revoked.
//!
//! A signer has [`LISTS`] lists, so that each stays small with any number of devices; each is made when the first certificate
//! names it. A serial number determines its list for good, and the certificate contains that list's address. A new list
//! replaces the previous one under a higher number.

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
use x509_parser::prelude::{CertificateRevocationList, FromDer, RevokedCertificate};

use crate::algorithm::{BadSignature, Encoding, KeyAlgorithm};
use crate::certificate::Certificate;
use crate::root::prepared::{IssueError, Issuer, Pass, Prepared, Unsigned};
use crate::root::{Serial, second};
use crate::signer::SignerId;

/// Lists per signer, for the certificates of devices. Of two million certificates (a million devices, each renewed once), the
/// fullest list covers some 2 150; with all of them revoked, it has 110 KiB, and its record 150 of 400 KiB.
pub const LISTS: u16 = 1024;
/// The lists of certificates from before there were [`LISTS`]: the first numbers. Their serial numbers begin with the bits `01`.
pub const FORMER_LISTS: u16 = 64;
/// Numbers of lists.
const NUMBERS: u16 = FORMER_LISTS + LISTS;

/// Lifetime of an issuing authority's lists.
pub const LIFETIME: Duration = Duration::days(7);
/// Lifetime of the lists of the device certificates that a root signed itself: with an issuing authority below it, it
/// signs none.
const ROOT_LIFETIME: Duration = Duration::days(30);
/// Lifetime of a root's list of authorities.
const AUTHORITIES_LIFETIME: Duration = Duration::days(182);

/// A revocation list. Each signer has a list for each shard of the certificates that it signed for devices. Each root has
/// one more, for the authorities that it certified: issuing authorities, and other roots by their links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Numbers", into = "Numbers")]
pub struct CrlId {
    signer: SignerId,
    /// `None`: the root's list of authorities.
    shard: Option<u16>,
}

/// The text names no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a revocation list is /crl/SIGNER/SHARD.crl, with signers like 2 or 2.1 and shards from 0 to 1087, or /crl/GENERATION/authorities.crl"
)]
pub struct NotACrl;

const AUTHORITIES: &str = "authorities";

impl CrlId {
    pub fn new(signer: SignerId, shard: u16) -> Result<Self, NotACrl> {
        if signer.generation() == 0 || shard >= NUMBERS {
            Err(NotACrl)
        } else {
            Ok(Self { signer, shard: Some(shard) })
        }
    }

    /// The list for the device certificate with this serial number. Selected by the first ten random bits, or by the first six
    /// of a number from before there were [`LISTS`].
    pub const fn of(signer: SignerId, serial: &Serial) -> Self {
        let [first, second, ..] = *serial.octets();
        let shard = match first >> 6 {
            0b00 => FORMER_LISTS + (((first & 0b0001_1111) as u16) << 5 | (second >> 3) as u16),
            _ => first as u16 % FORMER_LISTS,
        };
        Self { signer, shard: Some(shard) }
    }

    /// The list for the authorities that the root of this generation (from 1) certified.
    pub const fn authorities(generation: u32) -> Self {
        Self { signer: SignerId::root(generation), shard: None }
    }

    /// Every list of a signer. A list is there only if a certificate names it.
    pub fn all(signer: SignerId) -> impl Iterator<Item = Self> {
        let authorities = signer.is_root().then_some(Self { signer, shard: None });
        (0..NUMBERS).map(move |shard| Self { signer, shard: Some(shard) }).chain(authorities)
    }

    pub const fn signer(self) -> SignerId {
        self.signer
    }

    /// From 0 to 1087. `None`: the list is for authorities.
    pub const fn shard(self) -> Option<u16> {
        self.shard
    }

    /// From thisUpdate to nextUpdate. A list is renewed after half of it, so a failure to renew may stay unnoticed for
    /// the other half. A root's key sleeps, and each list wakes it.
    pub const fn lifetime(self) -> Duration {
        match self.shard {
            None => AUTHORITIES_LIFETIME,
            Some(_) if self.signer.is_root() => ROOT_LIFETIME,
            Some(_) => LIFETIME,
        }
    }

    /// `base`: where the lists are served, such as `https://pki.example.com`, with or without a trailing slash.
    pub fn url(self, base: &str) -> String {
        format!("{}{self}", base.trim_end_matches('/'))
    }
}

/// As a path: `/crl/2.1/17.crl`, or `/crl/2/authorities.crl`.
impl fmt::Display for CrlId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shard {
            Some(shard) => write!(f, "/crl/{}/{shard}.crl", self.signer),
            None => write!(f, "/crl/{}/{AUTHORITIES}.crl", self.signer),
        }
    }
}

impl FromStr for CrlId {
    type Err = NotACrl;

    /// Accepts only the canonical spelling, so that a list has one address.
    fn from_str(path: &str) -> Result<Self, NotACrl> {
        let names = path.strip_prefix("/crl/").and_then(|rest| rest.strip_suffix(".crl")).ok_or(NotACrl)?;
        let (signer, shard) = names.split_once('/').ok_or(NotACrl)?;
        let signer: SignerId = signer.parse().map_err(|_| NotACrl)?;
        let read = match shard {
            AUTHORITIES if signer.is_root() => Self::authorities(signer.generation()),
            _ => Self::new(signer, shard.parse().map_err(|_| NotACrl)?)?,
        };
        if read.to_string() == path { Ok(read) } else { Err(NotACrl) }
    }
}

#[derive(Serialize, Deserialize)]
struct Numbers {
    #[serde(flatten)]
    signer: SignerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shard: Option<u16>,
}

impl TryFrom<Numbers> for CrlId {
    type Error = NotACrl;

    fn try_from(Numbers { signer, shard }: Numbers) -> Result<Self, NotACrl> {
        match shard {
            Some(shard) => Self::new(signer, shard),
            None if signer.is_root() => Ok(Self::authorities(signer.generation())),
            None => Err(NotACrl),
        }
    }
}

impl From<CrlId> for Numbers {
    fn from(CrlId { signer, shard }: CrlId) -> Self {
        Self { signer, shard }
    }
}

/// Why a certificate is revoked (RFC 5280 §5.3.1). Venafi's numbers are the RFC's.
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

    /// `None` above 5: certificateHold and removeFromCRL are not supported.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }

    /// Whether it says more than an earlier reason: a key may turn out to be compromised after it was replaced.
    pub const fn outranks(self, earlier: Self) -> bool {
        self.is_compromise() && !earlier.is_compromise()
    }

    const fn is_compromise(self) -> bool {
        matches!(self, Self::KeyCompromise | Self::CaCompromise)
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

/// A revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    pub serial: Serial,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    #[serde(default)]
    pub reason: Reason,
}

/// Everything that determines the bytes of a list, except its issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlSpec {
    pub list: CrlId,
    /// Higher than every earlier number of this list (§5.2.3).
    pub number: u64,
    /// In whole seconds, like every date in a list.
    pub this_update: OffsetDateTime,
    pub next_update: OffsetDateTime,
    /// Every address that certificates name for this list, so that a client that fetched another list by mistake
    /// notices (§5.2.5).
    pub urls: Vec<String>,
    pub revoked: Vec<Revoked>,
}

/// A list that lacks only its signature.
pub type PreparedCrl = Prepared<UnsignedCrl>;

/// Prepares a list of the certificates below `issuer`: version 2, with CRL number, authority key identifier and a
/// critical issuing distribution point. The latter says that the list covers these addresses, and either certificates of
/// authorities or no such certificates.
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
            scope: Some(if spec.list.shard.is_some() { CrlScope::UserCertsOnly } else { CrlScope::CaCertsOnly }),
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

    /// The revoked certificates that it contains.
    ///
    /// # Errors
    /// [`IssueError::ReadBackList`] if it is not one of our lists.
    pub fn revoked(&self) -> Result<Vec<Revoked>, IssueError> {
        let Ok(([], list)) = CertificateRevocationList::from_der(&self.0) else { return Err(IssueError::ReadBackList) };
        let entry = |each: &RevokedCertificate<'_>| {
            let octets: [u8; 16] = each.raw_serial().try_into().ok()?;
            let reason = each.reason_code().map_or(Some(Reason::Unspecified), |(_, code)| Reason::from_number(code.0));
            Some(Revoked {
                serial: Serial::from_octets(octets)?,
                at: each.revocation_date.to_datetime(),
                reason: reason?,
            })
        };
        let read: Option<Vec<Revoked>> = list.iter_revoked_certificates().map(entry).collect();
        read.ok_or(IssueError::ReadBackList)
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

/// A list's contents.
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
        // §5.1.1.2, as for a certificate: the algorithm stands in two places, and only one is signed, so they must be
        // equal.
        if list.signature_algorithm != list.tbs_cert_list.signature {
            return Err(IssueError::Signature(BadSignature.into()));
        }
        let (signed, signature) = (list.tbs_cert_list.as_ref(), &list.signature_value.data);
        KeyAlgorithm::verify(issuer_spki, Encoding::Der, signed, signature).map_err(IssueError::Signature)?;
        Ok(Crl(der))
    }
}

/// Whether a list must be renewed: half of its lifetime is over.
pub fn is_due(this_update: OffsetDateTime, next_update: OffsetDateTime, now: OffsetDateTime) -> bool {
    now - this_update >= (next_update - this_update) / 2
}

/// Whether a list contains a revoked certificate that expires at `not_after`. After that, it appears in at least one
/// more list (§3.3).
pub fn names(list: CrlId, not_after: OffsetDateTime, this_update: OffsetDateTime) -> bool {
    this_update <= not_after + list.lifetime()
}

/// Whether the text can be a list's address in a certificate: an IA5String that is an http or https URL.
pub(crate) fn is_url(text: &str) -> bool {
    let plain = text.len() <= 1024 && text.bytes().all(|byte| byte.is_ascii_graphic());
    plain && url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}
