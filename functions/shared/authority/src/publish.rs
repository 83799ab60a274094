//! Bundles: signed by every live generation whose key can sign, and stored in the same write as the change they
//! announce.

use std::collections::BTreeSet;

use rootcast_core::anchors::Anchors;
use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::job::{Job, JobId};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_core::rollover::renewal::{Lost, is_better, is_daily, is_due, percent_left};
use rootcast_ledger::{Authority, BundleRecord, Change, Conducting, RootRecord};
use rootcast_pki::bundle::{Bundle, SignedBundle};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use time::{Duration, OffsetDateTime};
use tracing::{info, warn};

use crate::keys::{KeyOf, key_and_certificate};
use crate::{AuthorityError, CertificateAuthority, RootRequest, Settings};

/// After a bundle could not be signed as well as it is. A process that starts meanwhile tries at once.
const PUT_OFF: Duration = Duration::HOUR;

impl CertificateAuthority {
    /// Adds the new root to the bundle, or puts it in the place of every other one if one of them is compromised: then it
    /// signs from this write on. Without a job there are no devices to wait for, and the root is activated at
    /// once. Returns the job, which is new if devices were approved since the root was claimed.
    pub(crate) async fn publish_root(
        &self,
        mut authority: Authority,
        mut root: RootRecord,
        mut job: Option<Job>,
        (settings, request): (&Settings, &RootRequest),
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Option<JobId>, AuthorityError> {
        let mut roots = self.ledger.roots(&authority).await?;
        roots.retain(|other| other.generation != root.generation);
        let (mut old, mut acts, mut fleet, mut issuing) = (None, Vec::new(), Vec::new(), Vec::new());
        let mut new_job = false;
        if job.is_none() {
            // A device that is approved meanwhile has proved nothing: the switch requires that the fleet is still
            // empty.
            let shards = self.ledger.fleet_shards().await?;
            fleet = (0..).zip(&shards).map(|(shard, record)| (shard, record.revision)).collect();
            if shards.iter().any(|shard| shard.approved > 0) {
                // Devices were approved since the root was claimed, so it needs a job after all.
                let id = self.ledger.next_job_id().await?;
                let new = request.job(settings, id, root.generation, authority.signing);
                acts.push(Act::new(Subject::Job(new.id), Action::Create, by, now).with("generation", root.generation));
                authority.running = Some(new.id);
                job = Some(Job::new(new, now));
                (new_job, fleet) = (true, Vec::new());
            }
        }
        let replaces = !authority.replacing.is_empty();
        let (mut gone, mut compromised) = (BTreeSet::new(), BTreeSet::new());
        if replaces {
            let id = job.as_ref().map(|job| job.id);
            let replaced = self.replace_roots(&mut authority, &mut root, &mut roots, id, by, now).await?;
            (gone, compromised, issuing) = (replaced.gone, replaced.compromised, replaced.issuing);
            acts.extend(replaced.acts);
        } else if job.is_none() {
            old = roots.iter().find(|other| Some(other.generation) == authority.signing).cloned();
            let switched = self.switch(&mut authority, &mut root, old.as_mut(), by, now).await?;
            acts.push(switched.act);
            issuing = switched.issuing;
        } else {
            root.life().publish(now);
        }
        roots.push(root.clone());
        let bundle = self.sign_bundle(&authority, &roots, Some(root.generation), now).await?;
        authority.publish(&bundle);
        authority.claim = None;
        if let Some(job) = &mut job {
            if replaces {
                job.compromised = compromised;
                job.replace(authority.bundle, now);
                let act = Act::new(Subject::Job(job.id), Action::Activate, by, now);
                acts.push(act.with("generation", root.generation).with("reason", &job.reason));
            } else {
                job.publish(authority.bundle);
            }
            job.updated = now;
            job.unusable_keys.extend(&bundle.unsigned_by);
        }
        if !bundle.unsigned_by.is_empty() {
            match &job {
                Some(job) if !new_job => {
                    acts.push(unsigned(Act::new(Subject::Job(job.id), Action::Publish, by, now), &bundle));
                }
                _ => acts = acts.into_iter().map(|act| unsigned(act, &bundle)).collect(),
            }
        }
        let gone = roots.iter().filter(|other| gone.contains(&other.generation));
        acts.sort_by_key(|act| act.subject.to_string());
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: std::iter::once(&root).chain(&old).chain(gone).collect(),
                issuing: issuing.iter().collect(),
                bundle: Some(&bundle),
                job: job.as_ref(),
                new_job,
                acts,
                fleet,
                ..Change::default()
            })
            .await?;
        Ok(job.map(|job| job.id))
    }

    /// Withdraws the root of an aborted job: publishes a bundle without it, and abandons the root. `held`: the
    /// conductor's lease.
    pub async fn withdraw_root(
        &self,
        job: &mut Job,
        held: Option<&Conducting>,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut authority = self.ledger.authority().await?;
        let mut roots = self.ledger.roots(&authority).await?;
        let root = roots.iter_mut().find(|root| root.generation == job.generation);
        let root = root.ok_or(AuthorityError::Missing("root"))?;
        root.life().abandon(now);
        let root = root.clone();
        let signed = Box::pin(self.sign_bundle(&authority, &roots, None, now));
        let bundle = self.awake("a root is withdrawn from the bundle", by, now, signed).await?;
        authority.publish(&bundle);
        job.withdraw(authority.bundle, now);
        job.updated = now;
        let mut act = Act::new(Subject::Root(root.generation), Action::Withdraw, by, now).with("job", job.id);
        if !bundle.unsigned_by.is_empty() {
            job.note_unusable(bundle.unsigned_by.iter().copied(), &without_signatures(&bundle));
            act = unsigned(act, &bundle);
        }
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: vec![&root],
                bundle: Some(&bundle),
                job: Some(job),
                acts: vec![act],
                conducting: held,
                ..Change::default()
            })
            .await?;
        job.revision += 1;
        info!(root.generation = root.generation, "an aborted root is withdrawn");
        Ok(())
    }

    /// Signs the next version. A device that holds any of its anchors can verify it, if that root's key can still sign.
    /// Withdrawn roots stay listed, for devices that missed the withdrawal.
    ///
    /// `new` must sign. Of the other roots, a key that is disabled, pending deletion or gone is skipped: workers need
    /// the bundle too, and take it from its record without the signature. So is one whose policy denies it, if there
    /// is no `new` root that could wait, and another root signs.
    pub(crate) async fn sign_bundle(
        &self,
        authority: &Authority,
        roots: &[RootRecord],
        new: Option<u32>,
        now: OffsetDateTime,
    ) -> Result<BundleRecord, AuthorityError> {
        let anchors = self.ledger.anchors(authority).await?;
        self.sign_bundle_with(authority, roots, &anchors, new, now).await
    }

    /// The same, with these trust anchors of others, which sign nothing.
    pub(crate) async fn sign_bundle_with(
        &self,
        authority: &Authority,
        roots: &[RootRecord],
        anchors: &Anchors,
        new: Option<u32>,
        now: OffsetDateTime,
    ) -> Result<BundleRecord, AuthorityError> {
        let ours = live(roots).filter_map(|root| root.certificate.clone());
        let bundle = Bundle {
            version: authority.highest_bundle() + 1,
            anchors: ours.chain(anchors.live().cloned()).collect(),
            others: anchors.live().map(Certificate::fingerprint).collect(),
            withdrawn: withdrawn(roots, now).chain(anchors.withdrawn()).collect(),
            issued: now,
            exp: None,
        };
        let superseded = live(roots).filter(|root| root.state == GenerationState::Superseded);
        let superseded = superseded.filter_map(|root| root.certificate.as_ref()).map(Certificate::fingerprint);
        let signed = self.sign_dated(bundle, roots, new, now).await?;
        Ok(BundleRecord { superseded: superseded.collect(), ..signed })
    }

    /// Signs the current bundle again, with the same version and content, when half of its life is over. Nothing is
    /// signed while a root is being made, whose bundle comes next; nor a bundle that a lost one came after. One that
    /// lacks signatures is signed again each day. One that would lose signatures is kept as long as it can be.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the authority has changed since it was read.
    pub async fn renew_bundle(&self, authority: &Authority, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let busy = authority.is_claimed(now) || authority.bundle < authority.highest_bundle();
        let (expires, life) = (authority.bundle_expires, self.bundle_life);
        let due = is_due(expires, life, now);
        if authority.bundle == 0 || busy || !(due || is_daily(expires, life, now)) || self.bundle_put_off.is_on(now) {
            return Ok(());
        }
        let published = self.ledger.bundle(authority.bundle).await?.ok_or(AuthorityError::Missing("bundle"))?;
        if !due && published.unsigned_by.is_empty() {
            return Ok(());
        }
        let roots = self.ledger.roots(authority).await?;
        let signed = Box::pin(self.sign_dated(published.bundle.clone(), &roots, None, now));
        let renewed = self.awake("the bundle is signed again", &Actor::function("conduct"), now, signed).await?;
        let renewed = BundleRecord { superseded: published.superseded.clone(), ..renewed };
        let lost = match &renewed.unsigned_by {
            _ if renewed.is_unsigned() && !published.is_unsigned() => Lost::All,
            missing if missing.iter().any(|root| !published.unsigned_by.contains(root)) => Lost::Some,
            _ => Lost::None,
        };
        if !is_better(lost, expires, life, now) {
            warn!(
                bundle.version = authority.bundle,
                "the published bundle is kept: signed again, it lacks signatures that it has"
            );
            self.bundle_put_off.set(now + PUT_OFF);
            return Ok(());
        }
        let authority = Authority { bundle_expires: renewed.bundle.exp, ..authority.clone() };
        let change = Change { authority: Some(&authority), renewed: Some(&renewed), ..Change::default() };
        self.ledger.commit(change).await?;
        info!(bundle.version = renewed.bundle.version, "the bundle is signed again");
        Ok(())
    }

    /// What is left of the published bundle's life, in percent; `None` if there is none that expires.
    pub fn bundle_life_left(&self, authority: &Authority, now: OffsetDateTime) -> Option<u64> {
        authority.bundle_expires.map(|expires| percent_left(expires, self.bundle_life, now))
    }

    async fn sign_dated(
        &self,
        bundle: Bundle,
        roots: &[RootRecord],
        new: Option<u32>,
        now: OffsetDateTime,
    ) -> Result<BundleRecord, AuthorityError> {
        let issued = now.replace_nanosecond(0).unwrap_or(now);
        let bundle = Bundle { issued, exp: Some(issued + self.bundle_life), ..bundle };
        let mut signed = SignedBundle::new(&bundle);
        let (mut unsigned_by, mut denied) = (Vec::new(), None);
        let signers: Vec<KeyOf<'_>> = live(roots).map(KeyOf::from).collect();
        self.wake(&signers, false).await?;
        for root in live(roots) {
            let Err(error) = self.add_signature(root, &mut signed, now).await else { continue };
            let is_skipped = match &error {
                AuthorityError::KeyUnusable { .. } => Some(root.generation) != new,
                _ if error.is_waking() => false,
                AuthorityError::TooEarly { .. } => new.is_none() && !KeyOf::from(root).is_young(now),
                _ => false,
            };
            if !is_skipped {
                return Err(error);
            }
            warn!(
                root.generation = root.generation,
                bundle.version = bundle.version,
                error = &error as &dyn std::error::Error,
                "the bundle lacks this root's signature"
            );
            unsigned_by.push(root.generation);
            denied = denied.or(matches!(error, AuthorityError::TooEarly { .. }).then_some(error));
        }
        if let Some(error) = denied.filter(|_| unsigned_by.len() == live(roots).count()) {
            return Err(error);
        }
        let record = BundleRecord { bundle, jws: signed.to_json(), unsigned_by, superseded: Vec::new() };
        if !record.unsigned_by.is_empty() {
            warn!(bundle.version = record.bundle.version, "{}", without_signatures(&record));
        }
        Ok(record)
    }

    async fn add_signature(
        &self,
        root: &RootRecord,
        signed: &mut SignedBundle,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let (key, certificate) = key_and_certificate(root)?;
        self.patiently(root, now, || self.vault.confirm(key, certificate)).await?;
        let unsigned = &*signed;
        let signature = self.patiently(root, now, || self.vault.signature_of(key, certificate, unsigned)).await?;
        Ok(signed.add(certificate, &signature)?)
    }
}

/// Roots that left the bundle. One that has expired is no danger where it is left, so the list stays as short as the lives of
/// roots.
pub(crate) fn withdrawn(roots: &[RootRecord], now: OffsetDateTime) -> impl Iterator<Item = Fingerprint> {
    let gone = roots.iter().filter(|root| !root.state.is_live()).filter_map(|root| root.certificate.as_ref());
    gone.filter(move |root| root.not_after() > now).map(Certificate::fingerprint)
}

fn live(roots: &[RootRecord]) -> impl Iterator<Item = &RootRecord> {
    roots.iter().filter(|root| root.state.is_live())
}

/// Which signatures the bundle lacks, in a sentence.
pub(crate) fn without_signatures(record: &BundleRecord) -> String {
    let missing = listed(&record.unsigned_by);
    if record.is_unsigned() {
        return format!(
            "Bundle {} can no longer be signed: the keys of root generations {missing} are disabled, pending deletion, gone or denied by policy. The workers bring it to the devices, and devices that fetch it themselves cannot verify it.",
            record.bundle.version
        );
    }
    format!(
        "Bundle {} lacks the signatures of root generations {missing}, whose keys are disabled, pending deletion, gone or denied by policy: a device that holds only those roots cannot verify it.",
        record.bundle.version
    )
}

pub(crate) fn unsigned(act: Act, record: &BundleRecord) -> Act {
    act.with("unsignedBy", listed(&record.unsigned_by))
}

fn listed(generations: &[u32]) -> String {
    generations.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
