//! Issuing authorities: `issuing#{generation}#{number}` in the certificates table. And which roots' keys sleep: `sleep`.

use std::collections::{BTreeMap, BTreeSet};

use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::Reason;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::IssuingSpec;
use rootcast_pki::signer::IssuingId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::item::{from_item, id_key};
use crate::{Ledger, LedgerError, RootRecord, SignedPlace};

pub(crate) fn issuing_id(id: IssuingId) -> String {
    format!("issuing#{:010}#{:010}", id.generation, id.number)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IssuingState {
    /// Serial, dates and algorithm are recorded. There may be a key and a certificate, but it has signed nothing.
    Reserved,
    /// It signs the certificates of devices.
    Signing,
    /// Signed before. It finishes the certificates that were begun with it, and signs its revocation lists.
    Superseded,
    /// Its certificate is revoked. It signs only its revocation lists.
    Revoked,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuingRecord {
    pub revision: u64,
    pub state: IssuingState,
    /// Everything that determines the certificate's bytes, recorded before signing.
    pub spec: IssuingSpec,
    /// ARN of the KMS key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub key_made: Option<OffsetDateTime>,
    /// SHA-256 of the TBSCertificate to be signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tbs: Option<Fingerprint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// What follows its certificate in a chain: the links that lead from its root to the oldest live one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Certificate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<IssuingRevocation>,
    /// How far what it signed is revoked and renewed. Only of a revoked one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<LeafPass>,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
}

/// The entry in the root's list of authorities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuingRevocation {
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    pub reason: Reason,
    /// The principal.
    pub by: String,
}

/// Revokes and renews the certificates that a revoked issuing authority signed, in rounds from the newest to the oldest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeafPass {
    /// When the round began; `None`: the next one is due later.
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub began: Option<OffsetDateTime>,
    /// Where the round goes on; `None`: at the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<SignedPlace>,
    /// Certificates that it revoked.
    pub revoked: u64,
    /// Renewals that it asked for.
    pub renewed: u64,
    /// Devices of the last round that could not have one because a job worked on them.
    #[serde(default)]
    pub busy: u64,
    /// Devices of the last round that could not have one because they are not approved: each gets one when it is.
    #[serde(default)]
    pub unapproved: u64,
    /// When the next round for the busy ones begins.
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub again: Option<OffsetDateTime>,
    /// After the last round.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_done: bool,
}

impl IssuingRecord {
    pub const fn id(&self) -> IssuingId {
        self.spec.id
    }

    /// What signing needs; `None` before its certificate is made.
    pub fn key_and_certificate(&self) -> Option<(&str, &Certificate)> {
        Some((self.key.as_deref()?, self.certificate.as_ref()?))
    }

    /// What follows a certificate that it signed: its own certificate, and the path to the oldest live root.
    pub fn chain(&self) -> impl Iterator<Item = &Certificate> {
        self.certificate.iter().chain(&self.path)
    }
}

/// Which roots' keys sleep, and which are awake: one record. A key sleeps if it is disabled in KMS by us.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SleepRecord {
    /// 0 before the first write.
    pub revision: u64,
    /// Generations whose key was put to sleep.
    pub asleep: BTreeSet<u32>,
    /// Recorded before the key is enabled, and removed after it is disabled: after a crash, the schedule finds it here.
    pub awake: BTreeMap<u32, Waking>,
}

/// Why a root's key is awake, and who puts it to sleep again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waking {
    /// Random, of this waking. Who woke it does not put it to sleep if another one took it over.
    pub owner: String,
    #[serde(with = "time::serde::timestamp")]
    pub since: OffsetDateTime,
    /// After this, whoever woke it is dead.
    #[serde(with = "time::serde::timestamp")]
    pub until: OffsetDateTime,
    /// What is signed, in a few words.
    pub why: String,
}

pub(crate) const SLEEP: &str = "sleep";

impl Ledger {
    pub async fn issuing(&self, id: IssuingId) -> Result<Option<IssuingRecord>, LedgerError> {
        let found: Option<IssuingRecord> = self.certificate_record("issuing authority", &issuing_id(id)).await?;
        found.iter().for_each(|issuing| self.read(issuing));
        Ok(found)
    }

    /// All issuing authorities below these roots, oldest first.
    pub async fn issuings(&self, roots: &[RootRecord]) -> Result<Vec<IssuingRecord>, LedgerError> {
        let below = |root: &RootRecord| {
            let generation = root.generation;
            (1..=root.last_issuing).map(move |number| id_key(issuing_id(IssuingId { generation, number })))
        };
        let keys = roots.iter().flat_map(below).collect();
        let found = self.batch_get_of(self.certificates()?, keys, "BatchGetItem issuing authorities").await?;
        let found = found.into_iter().map(|item| from_item("issuing authority", item));
        let mut found = found.collect::<Result<Vec<IssuingRecord>, _>>()?;
        found.sort_by_key(IssuingRecord::id);
        found.iter().for_each(|issuing| self.read(issuing));
        Ok(found)
    }

    pub async fn sleep(&self) -> Result<SleepRecord, LedgerError> {
        Ok(self.certificate_record("sleep", SLEEP).await?.unwrap_or_default())
    }
}
