//! The certificate authority's records: root generations, bundles, and the pointer to the signing generation.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{ConditionCheck, TransactWriteItem};
use rootcast_core::access::issuance::IssuancePolicy;
use rootcast_core::anchors::Anchors;
use rootcast_core::audit::{self, Act, Action, Actor, Subject};
use rootcast_core::deployment::lifecycle::Lifecycle;
use rootcast_core::installation::InstallationId;
use rootcast_core::job::JobId;
use rootcast_core::preflight::since::LastPreflight;
use rootcast_core::rollover::compromise::Known;
use rootcast_core::rollover::generation::{GenerationState, RootLife};
use rootcast_core::rollover::restore::Counters;
use rootcast_core::rollover::rotation::{RolledBack, Rotation};
use rootcast_core::rollover::template::{RolloutName, Rollouts};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::bundle::Bundle;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::{LinkSpec, RootSpec};
use rootcast_pki::signer::IssuingId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::commit::{Condition, put};
use crate::item::{Item, from_item, id_key};
use crate::{LeafPass, Ledger, LedgerError, Retirement};

pub(crate) const AUTHORITY: &str = "authority";
pub(crate) const ANCHORS: &str = "anchors";
const POLICY: &str = "policy";
const ROLLOUTS: &str = "rollouts";
const ISSUANCE_POLICY: &str = "issuance-policy";
const ROTATION: &str = "rotation";

pub(crate) fn root_id(generation: u32) -> String {
    format!("root#{generation:010}")
}

pub(crate) fn bundle_id(version: u64) -> String {
    format!("bundle#{version:010}")
}

/// The version of the records' schema. Raise it when an earlier version of Rootcast would misread what this one writes, not for a
/// field that it may ignore.
pub const SCHEMA: u32 = 1;

/// A single record: which root signs, and who is creating one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authority {
    /// 0 before the first write.
    pub revision: u64,
    /// [`SCHEMA`] of the last writer. 0: written before schemas had versions.
    pub schema: u32,
    /// Created with the first write. `None`: written before installations had ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installation: Option<InstallationId>,
    /// Earlier generations have no record here: they belong to a previous stack of the same name.
    pub first_generation: u32,
    /// The signing generation.
    pub signing: Option<u32>,
    /// The issuing authority that signs devices' certificates. `None`: there is none yet, or roots sign them themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuing: Option<IssuingId>,
    /// When the next issuing authority is made: at half of this one's life.
    #[serde(with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub issuing_due: Option<OffsetDateTime>,
    /// Revoked issuing authorities of which not every certificate is known to be revoked and renewed yet.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub compromised: BTreeSet<IssuingId>,
    /// The same, of roots.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub compromised_roots: BTreeSet<u32>,
    /// Compromised roots whose successor is not published yet: the next root takes the place of all others.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub replacing: BTreeSet<u32>,
    /// There are trust anchors of others, or were: their list is read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_anchors: bool,
    /// The version of the current bundle; 0 if there is none.
    pub bundle: u64,
    /// The last version given out, if higher than `bundle`: its record was lost.
    pub last_bundle: u64,
    pub last_generation: u32,
    /// The rollover that has not ended; there is at most one.
    pub running: Option<JobId>,
    /// That rollover visits no trust store now, so that devices which join are brought to the bundle by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joins_during: Option<JobId>,
    /// A root is being created.
    pub claim: Option<Claim>,
    /// Generations that were made after a crash and without a job, or whose job ended within minutes: the conductor looks
    /// for keys that nothing uses.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unswept: BTreeSet<u32>,
    /// Generations whose keys are being put out of use, or are pending deletion.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub retiring: BTreeSet<u32>,
    /// When an aborted rollover last ended.
    #[serde(with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub aborted: Option<OffsetDateTime>,
    /// The last rollover that was turned back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBack>,
    /// The last preflight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preflight: Option<LastPreflight>,
    /// Until when the current bundle is valid. `None`: there is none, or it was signed before bundles expired.
    #[serde(with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub bundle_expires: Option<OffsetDateTime>,
}

impl Authority {
    /// The recorded counters; `None` before the first write. Jobs are counted elsewhere.
    pub fn counters(&self) -> Option<Counters> {
        let counted = Counters { generation: self.last_generation, job: 0, bundle: self.highest_bundle() };
        (self.revision > 0).then_some(counted)
    }

    /// Whether a root is being made: whoever makes it relies on this record to stay as it is.
    pub fn is_claimed(&self, now: OffsetDateTime) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.until > now)
    }

    /// The bundle becomes the current one.
    pub fn publish(&mut self, bundle: &BundleRecord) {
        (self.bundle, self.bundle_expires) = (bundle.bundle.version, bundle.bundle.exp);
    }

    /// Whether devices that join are brought to the bundle by themselves now.
    pub fn lets_join(&self) -> bool {
        self.running.is_none() || self.running == self.joins_during
    }

    /// The highest bundle version ever given out.
    pub fn highest_bundle(&self) -> u64 {
        self.bundle.max(self.last_bundle)
    }
}

/// Held while a root is created, until the root is published or the time is over. Then the next caller resumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    pub generation: u32,
    /// `None` if there are no devices.
    pub job: Option<JobId>,
    #[serde(with = "time::serde::timestamp")]
    pub until: OffsetDateTime,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RootRecord {
    pub revision: u64,
    pub generation: u32,
    pub state: GenerationState,
    /// Everything that determines the certificate's bytes, recorded before signing.
    pub spec: RootSpec,
    /// ARN of the KMS key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When that key was created or found.
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub key_made: Option<OffsetDateTime>,
    /// SHA-256 of the TBSCertificate to be signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tbs: Option<Fingerprint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// This generation's key, signed by the previous one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_with_old: Option<LinkRecord>,
    /// The previous generation's key, signed by this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_with_new: Option<LinkRecord>,
    /// Number of the last issuing authority below it; 0: there was none.
    #[serde(default)]
    pub last_issuing: u32,
    /// How its keys are put out of use, after it left the devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retirement: Option<Retirement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compromise: Option<Compromise>,
    /// The stages until the root signs.
    pub lifecycle: Lifecycle,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
}

impl RootRecord {
    /// What decides what follows from a compromise.
    pub fn known(&self) -> Known {
        Known {
            generation: self.generation,
            state: self.state,
            is_made: self.certificate.is_some(),
            compromised: self.compromise.as_ref().map(|compromise| compromise.at),
        }
    }

    /// What changes of it as its life goes on.
    pub const fn life(&mut self) -> RootLife<'_> {
        RootLife { state: &mut self.state, lifecycle: &mut self.lifecycle }
    }

    /// Whether its own key, or that of the issuing authority with this number below it, is needed, or kept by a person. After
    /// the retirement, an authority may still sign lists.
    pub fn needs_key(&self, issuing: Option<u32>, now: OffsetDateTime) -> bool {
        let retired = |retirement: &Retirement| {
            retirement.kept.is_some() || issuing.is_some_and(|number| retirement.needs(number, now).is_some())
        };
        match self.state {
            GenerationState::Abandoned => false,
            GenerationState::Retired => self.retirement.as_ref().is_some_and(retired),
            _ => true,
        }
    }

    /// What signing needs; `None` before the root is published.
    pub fn key_and_certificate(&self) -> Option<(&str, &Certificate)> {
        Some((self.key.as_deref()?, self.certificate.as_ref()?))
    }
}

/// Somebody else may have the root's key: it is disabled, and nothing wakes or deletes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compromise {
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    /// The principal that said so.
    pub by: String,
    /// How far everything that was signed below the root is revoked.
    #[serde(default)]
    pub pass: LeafPass,
}

/// A link certificate: first reserved, then signed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LinkRecord {
    pub spec: LinkSpec,
    pub tbs: Fingerprint,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// A published bundle. Its content never changes; it is signed again before it expires.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleRecord {
    pub bundle: Bundle,
    /// JWS in general JSON serialisation (RFC 7515 §7.2.1), signed by every live generation whose key is usable.
    pub jws: String,
    /// Live generations whose KMS key was disabled, pending deletion or gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsigned_by: Vec<u32>,
    /// Those of the anchors that neither sign nor are about to: a device holds them if it has places left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<Fingerprint>,
}

impl BundleRecord {
    /// The anchors that every device has to hold, the newest of our roots first: a device may have places for some
    /// only, and then the next root is worth more than an older one. Nothing verifies with an expired one, and devices
    /// refuse to store it.
    pub fn required(&self, now: OffsetDateTime) -> impl Iterator<Item = &Certificate> {
        let ours = self.bundle.signers().collect::<Vec<_>>().into_iter().rev();
        let others = self.bundle.anchors.iter().filter(|anchor| self.bundle.others.contains(&anchor.fingerprint()));
        let required = ours.filter(|root| !self.superseded.contains(&root.fingerprint())).chain(others);
        required.filter(move |anchor| anchor.not_after() > now)
    }

    /// The others, the newest first.
    pub fn optional(&self, now: OffsetDateTime) -> impl Iterator<Item = &Certificate> {
        let is_superseded = |anchor: &&Certificate| self.superseded.contains(&anchor.fingerprint());
        self.bundle.anchors.iter().rev().filter(is_superseded).filter(move |anchor| anchor.not_after() > now)
    }

    /// Whether the bundle has roots, but no signature.
    pub fn is_unsigned(&self) -> bool {
        !self.unsigned_by.is_empty() && self.unsigned_by.len() == self.bundle.signers().count()
    }
}

/// The parameters of the *next* root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub algorithm: KeyAlgorithm,
    /// The stored rollout of what begins by itself: the next root's rollover, and the renewals of devices' certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutName>,
    /// When the root that signs is replaced by itself; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// When somebody last said that, the same or another.
    #[serde(default, with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub rotation_set: Option<OffsetDateTime>,
    #[serde(default)]
    pub revision: u64,
}

/// When the rotation policy last began a rollover.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRotation {
    #[serde(default, with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub begun: Option<OffsetDateTime>,
    /// 0 before the first write.
    pub revision: u64,
}

/// Which names certificates may carry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuancePolicyRecord {
    pub policy: IssuancePolicy,
    /// 0 before the first write.
    pub revision: u64,
}

impl Authority {
    /// Requires in a transaction that the record is unchanged since it was read.
    pub(crate) fn demand_as_read(&self, table: &str) -> Result<TransactWriteItem, LedgerError> {
        let condition = Condition::as_read(self.revision, "id");
        let check = ConditionCheck::builder()
            .table_name(table)
            .set_key(Some(id_key(AUTHORITY)))
            .condition_expression(condition.expression)
            .set_expression_attribute_values(condition.values)
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "authority", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}

impl Ledger {
    pub async fn authority(&self) -> Result<Authority, LedgerError> {
        let authority: Authority = self.certificate_record("authority", AUTHORITY).await?.unwrap_or_default();
        match authority.schema {
            newer if newer > SCHEMA => Err(LedgerError::Newer { schema: newer }),
            _ => Ok(authority),
        }
    }

    /// The trust anchors of others. No call if there never were any.
    pub async fn anchors(&self, authority: &Authority) -> Result<Anchors, LedgerError> {
        if !authority.has_anchors {
            return Ok(Anchors::default());
        }
        Ok(self.certificate_record("anchors", ANCHORS).await?.unwrap_or_default())
    }

    pub async fn policy(&self) -> Result<Policy, LedgerError> {
        Ok(self.certificate_record("policy", POLICY).await?.unwrap_or_default())
    }

    /// Writes the policy as the one after `read`, as it was read. `by`: for the policy's audit chain, which says what changes.
    pub async fn set_policy(
        &self,
        read: &Policy,
        policy: Policy,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), LedgerError> {
        let next = Policy { revision: read.revision + 1, ..policy.clone() };
        let named = |policy: &Policy| policy.rollout.as_ref().map(RolloutName::to_string);
        let said = |policy: &Policy| policy.rotation.map_or_else(|| "never".to_owned(), |rule| rule.to_string());
        let act = Act::new(Subject::Policy(audit::Policy::Certificate), Action::SetPolicy, by, now)
            .changing("specName", Some(read.algorithm.spec_name()), Some(policy.algorithm.spec_name()))
            .changing("rotation", Some(&said(read)), Some(&said(&policy)))
            .changing("rollout", named(read).as_deref(), named(&policy).as_deref());
        self.replace("policy", &next, POLICY, read.revision, act).await
    }

    pub async fn rollouts(&self) -> Result<Rollouts, LedgerError> {
        Ok(self.certificate_record("rollouts", ROLLOUTS).await?.unwrap_or_default())
    }

    /// Writes the stored rollouts, of which `changed` is another now or gone.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if somebody else wrote them since.
    pub async fn set_rollouts(
        &self,
        rollouts: Rollouts,
        changed: &RolloutName,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), LedgerError> {
        let read = rollouts.revision;
        let template = rollouts.get(changed).map(serde_json::to_string).transpose();
        let template =
            template.map_err(|source| LedgerError::Unwritable { what: "rollouts", source: Box::new(source) })?;
        let act = Act::new(Subject::Policy(audit::Policy::Rollouts), Action::SetPolicy, by, now)
            .with("rollout", changed)
            .with("revision", read + 1)
            .saying("policy", template.as_deref().unwrap_or("deleted"));
        let next = Rollouts { revision: read + 1, ..rollouts };
        let condition = Some(Condition::as_read(read, "id"));
        let put = put(self.certificates()?, "rollouts", &next, id_key(ROLLOUTS), condition)?;
        self.write_audited_in_parts(put, &act).await
    }

    pub async fn last_rotation(&self) -> Result<LastRotation, LedgerError> {
        Ok(self.certificate_record("rotation", ROTATION).await?.unwrap_or_default())
    }

    /// # Errors
    /// [`LedgerError::Conflict`] if somebody else noted one since `read` was read.
    pub async fn note_rotation(&self, read: &LastRotation, now: OffsetDateTime) -> Result<(), LedgerError> {
        let next = LastRotation { begun: Some(now), revision: read.revision + 1 };
        let condition = Some(Condition::as_read(read.revision, "id"));
        self.transact(vec![put(self.certificates()?, "rotation", &next, id_key(ROTATION), condition)?]).await
    }

    pub async fn issuance_policy(&self) -> Result<IssuancePolicyRecord, LedgerError> {
        Ok(self.certificate_record("issuance policy", ISSUANCE_POLICY).await?.unwrap_or_default())
    }

    /// Writes the policy as the one after `read`, the revision that was read, and returns it.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if another one was written since.
    pub async fn set_issuance_policy(
        &self,
        policy: IssuancePolicy,
        read: u64,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<IssuancePolicyRecord, LedgerError> {
        // A revision that no read has shown.
        let revision = read.checked_add(1).ok_or(LedgerError::Conflict)?;
        let next = IssuancePolicyRecord { policy, revision };
        let act = Act::new(Subject::Policy(audit::Policy::Issuance), Action::SetPolicy, by, now);
        self.replace("issuance policy", &next, ISSUANCE_POLICY, read, act).await?;
        Ok(next)
    }

    /// Writes a policy with its audit entries, which have the whole text, if its revision is still the one that was read.
    async fn replace<T: Serialize>(
        &self,
        what: &'static str,
        record: &T,
        id: &str,
        read: u64,
        act: Act,
    ) -> Result<(), LedgerError> {
        let said = serde_json::to_string(record)
            .map_err(|source| LedgerError::Unwritable { what, source: Box::new(source) })?;
        let acts = act.with("revision", read + 1).saying("policy", &said);
        let put = put(self.certificates()?, what, record, id_key(id), Some(Condition::as_read(read, "id")))?;
        self.write_audited_in_parts(put, &acts).await
    }

    pub async fn root(&self, generation: u32) -> Result<Option<RootRecord>, LedgerError> {
        let root: Option<RootRecord> = self.certificate_record("root", &root_id(generation)).await?;
        root.iter().for_each(|root| self.read(root));
        Ok(root)
    }

    pub async fn bundle(&self, version: u64) -> Result<Option<BundleRecord>, LedgerError> {
        self.certificate_record("bundle", &bundle_id(version)).await
    }

    /// All generations of this installation, oldest first.
    pub async fn roots(&self, authority: &Authority) -> Result<Vec<RootRecord>, LedgerError> {
        let keys = (authority.first_generation.max(1)..=authority.last_generation)
            .map(|generation| id_key(root_id(generation)))
            .collect();
        let found = self.batch_get_of(self.certificates()?, keys, "BatchGetItem roots").await?;
        let mut roots =
            found.into_iter().map(|item| from_item("root", item)).collect::<Result<Vec<RootRecord>, _>>()?;
        roots.sort_by_key(|root| root.generation);
        roots.iter().for_each(|root| self.read(root));
        Ok(roots)
    }

    pub(crate) async fn certificate_record<T: serde::de::DeserializeOwned>(
        &self,
        what: &'static str,
        id: &str,
    ) -> Result<Option<T>, LedgerError> {
        let item = self.certificate_item(id_key(id)).await?;
        item.map(|item| from_item(what, item)).transpose()
    }

    /// A consistent read of the certificates table.
    pub(crate) async fn certificate_item(&self, key: Item) -> Result<Option<Item>, LedgerError> {
        let get = self.client.get_item().table_name(self.certificates()?).set_key(Some(key)).consistent_read(true);
        Ok(get.send().await.map_err(LedgerError::aws("GetItem certificates"))?.item)
    }
}
