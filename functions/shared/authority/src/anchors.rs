//! The trust anchors of others: they go out in the bundle, and leave it, with a job like a rollover's.
//!
//! Everything of a change is stored in one write, after the bundle is signed: the list, the bundle, the job. Whoever dies
//! before has changed nothing, and whoever asks again after it is told what became of the first request.

use rootcast_core::anchors::{Anchor, AnchorChange, AnchorId, Anchors};
use rootcast_core::audit::{Act, Action, Actor, Policy, Subject};
use rootcast_core::job::{Job, JobId, JobOutcome};
use rootcast_core::preflight::since::LastPreflight;
use rootcast_core::rollover::rollout::Rollout;
use rootcast_ledger::{Authority, BundleRecord, Change, Conducting, LedgerError, RootRecord};
use rootcast_pki::bundle::{LARGEST_ANCHOR, fits};
use time::OffsetDateTime;
use tracing::info;

use crate::publish::withdrawn;
use crate::{AuthorityError, CertificateAuthority};

/// Tries despite changes of the authority's record, the fleet or the audit chain by others.
const ATTEMPTS: u32 = 3;
/// A bundle keeps room for this many more roots, of any kind: as many as a device of profile `lenovo-xcc` has places.
const SPARE_ROOTS: usize = 4;

/// A change of the trust anchors of others that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorsChanged {
    pub ids: Vec<AnchorId>,
    /// `None`: there are no devices, and the change is complete.
    pub job: Option<JobId>,
    /// Trust anchors of the bundle, ours included.
    pub in_bundle: usize,
}

/// Who asks, when, and how the devices get it.
#[derive(Debug, Clone, Copy)]
pub struct AnchorRequest<'a> {
    pub change: &'a AnchorChange,
    pub rollout: &'a Rollout,
    pub requested_for: Option<&'a str>,
    pub by: &'a Actor,
    pub now: OffsetDateTime,
}

impl CertificateAuthority {
    /// Changes the trust anchors of others, and begins the job that brings the change to the devices.
    ///
    /// # Errors
    /// [`AuthorityError::Busy`] if a job is running, or a root is being made.
    pub async fn change_anchors(&self, request: AnchorRequest<'_>) -> Result<AnchorsChanged, AuthorityError> {
        for _ in 0..ATTEMPTS {
            let changing = Box::pin(self.try_to_change_anchors(request));
            match self.awake("the trusted certificates are changed", request.by, request.now, changing).await {
                Err(AuthorityError::Ledger(LedgerError::Conflict)) => {}
                other => return other,
            }
        }
        Err(LedgerError::Conflict.into())
    }

    async fn try_to_change_anchors(&self, request: AnchorRequest<'_>) -> Result<AnchorsChanged, AuthorityError> {
        let AnchorRequest { change, rollout, requested_for, now, .. } = request;
        let mut authority = self.ledger.authority().await?;
        if let Some(claim) = &authority.claim {
            return Err(AuthorityError::Busy(claim.job.or(authority.running)));
        }
        if authority.running.is_some() {
            return Err(AuthorityError::Busy(authority.running));
        }
        if let Some(compromised) = authority.replacing.last() {
            return Err(AuthorityError::Compromised(*compromised));
        }
        let signing = authority.signing.ok_or(AuthorityError::NoRoot)?;
        let (shards, mut anchors, roots) = tokio::try_join!(
            self.ledger.fleet_shards(),
            self.ledger.anchors(&authority),
            self.ledger.roots(&authority)
        )?;
        let ours = roots.iter().filter_map(|root| root.certificate.as_ref());
        let ids = anchors.change(change, ours, now)?;
        let named = ids.iter().filter_map(|id| anchors.get(*id)).map(named).collect();
        // What is removed makes room, even if there is not enough yet.
        let grows = matches!(change, AnchorChange::Add(_));
        if grows && !has_room(&roots, &anchors, SPARE_ROOTS, now) {
            return Err(AuthorityError::ManyAnchors(anchors.live().count()));
        }
        let has_devices = shards.iter().any(|shard| shard.approved > 0);
        // A bundle's version or a job's id that was given out before would be refused by devices, or mistaken for another.
        self.admitted(&authority, has_devices).await?;
        let bundle = self.sign_bundle_with(&authority, &roots, &anchors, None, now).await?;
        let in_bundle = bundle.bundle.anchors.len();
        authority.publish(&bundle);
        authority.has_anchors = true;
        // Drawn last: a request that is refused, or that loses against another one, should leave no gap.
        let job = if has_devices { Some(self.ledger.next_job_id().await?) } else { None };
        let asked = requested_for.map_or_else(|| said(change, &ids), ToOwned::to_owned);
        let mut job = job.map(|id| Job::of_anchors(id, signing, authority.bundle, rollout.clone(), Some(asked), now));
        // A device that is approved meanwhile has none of it: a change without a job requires that the fleet is still empty.
        let fleet =
            (0..).zip(&shards).map(|(shard, record)| (shard, record.revision)).filter(|_| job.is_none()).collect();
        match &mut job {
            Some(job) => {
                anchors.begin(job.id);
                authority.running = Some(job.id);
                authority.preflight = authority.preflight.map(LastPreflight::overtake);
                job.unusable_keys.extend(&bundle.unsigned_by);
            }
            None => anchors.settle(None),
        }
        let acts = recorded(request, &ids, named, &bundle, job.as_ref());
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                anchors: Some(&anchors),
                bundle: Some(&bundle),
                job: job.as_ref(),
                new_job: job.is_some(),
                acts,
                fleet,
                ..Change::default()
            })
            .await?;
        let job = job.map(|job| job.id);
        info!(
            bundle.version = authority.bundle,
            job.id = job.map(|id| id.0),
            "the trusted certificates are changed: {}",
            said(change, &ids)
        );
        Ok(AnchorsChanged { ids, job, in_bundle })
    }

    /// The job is aborted: publishes a bundle with the trust anchors of before. `held`: the conductor's lease.
    pub async fn turn_back_anchors(
        &self,
        job: &mut Job,
        held: Option<&Conducting>,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut authority = self.ledger.authority().await?;
        let (mut anchors, roots) = tokio::try_join!(self.ledger.anchors(&authority), self.ledger.roots(&authority))?;
        anchors.turn_back(job.id);
        let signed = Box::pin(self.sign_bundle_with(&authority, &roots, &anchors, None, now));
        let bundle = self.awake("the trusted certificates of before are published", by, now, signed).await?;
        authority.publish(&bundle);
        job.withdraw(authority.bundle, now);
        job.updated = now;
        job.unusable_keys.extend(&bundle.unsigned_by);
        let act = Act::new(Subject::Policy(Policy::Anchors), Action::Withdraw, by, now)
            .with("job", job.id)
            .with("bundle", authority.bundle);
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                anchors: Some(&anchors),
                bundle: Some(&bundle),
                job: Some(job),
                acts: vec![act],
                conducting: held,
                ..Change::default()
            })
            .await?;
        job.revision += 1;
        info!(job.id = job.id.0, bundle.version = authority.bundle, "the trusted certificates of before are published");
        Ok(())
    }

    /// The survey found every device with what it is to hold, be it what it held before: the list says so, and the job ends. The write requires that
    /// the fleet has not changed since.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the fleet, the job or the authority has changed: nothing is written then.
    pub async fn settle_anchors(
        &self,
        job: &mut Job,
        outcome: JobOutcome,
        held: Option<&Conducting>,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let authority = Authority { running: None, ..self.ledger.authority().await? };
        let mut anchors = self.ledger.anchors(&authority).await?;
        anchors.settle(Some(job.id));
        let (why, fleet) = (job.reason.clone(), job.survey.revisions());
        job.end(outcome, &why);
        job.updated = now;
        // An abort is no success: the devices are as before.
        let action = if outcome == JobOutcome::Aborted { Action::Withdraw } else { Action::Activate };
        let act = Act::new(Subject::Policy(Policy::Anchors), action, by, now)
            .with("job", job.id)
            .with("bundle", job.bundle_version)
            .with("reason", why);
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                anchors: Some(&anchors),
                job: Some(job),
                acts: vec![act],
                fleet,
                conducting: held,
                ..Change::default()
            })
            .await?;
        job.revision += 1;
        Ok(())
    }
}

/// Whether a bundle has room for these, and for `spare` more roots.
pub(crate) fn has_room(roots: &[RootRecord], anchors: &Anchors, spare: usize, now: OffsetDateTime) -> bool {
    let ours = roots.iter().filter(|root| root.state.is_live()).filter_map(|root| root.certificate.as_ref());
    let former = withdrawn(roots, now).count();
    let sizes = ours.chain(anchors.live()).map(|certificate| certificate.der().len());
    fits(sizes.chain(std::iter::repeat_n(LARGEST_ANCHOR, spare)), former + anchors.withdrawn().count())
}

/// The change, in a few words.
fn said(change: &AnchorChange, ids: &[AnchorId]) -> String {
    let verb = match change {
        AnchorChange::Add(_) => "add",
        AnchorChange::Remove(_) => "remove",
    };
    match ids {
        [first, .., last] => format!("{verb} trusted certificates {first} to {last}"),
        _ => format!("{verb} trusted certificate {}", ids.first().map_or_else(String::new, ToString::to_string)),
    }
}

/// By its id and fingerprint.
fn named(anchor: &Anchor) -> String {
    format!("{}={}", anchor.id, anchor.certificate.fingerprint())
}

/// The audit entries of the request: in the list's chain with each certificate's id and fingerprint, and in the job's.
fn recorded(
    request: AnchorRequest<'_>,
    ids: &[AnchorId],
    named: Vec<String>,
    bundle: &BundleRecord,
    job: Option<&Job>,
) -> Vec<Act> {
    let AnchorRequest { change, requested_for, by, now, .. } = request;
    let action = match change {
        AnchorChange::Add(_) => Action::Create,
        AnchorChange::Remove(_) => Action::Delete,
    };
    let mut act = Act::new(Subject::Policy(Policy::Anchors), action, by, now).with("bundle", bundle.bundle.version);
    if let Some(reason) = requested_for {
        act = act.with("reason", reason);
    }
    if !bundle.unsigned_by.is_empty() {
        let missing = bundle.unsigned_by.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        act = act.with("unsignedBy", missing);
    }
    let of_job = job.map(|job| {
        let act = Act::new(Subject::Job(job.id), Action::Create, by, now).with("bundle", bundle.bundle.version);
        act.with("anchors", said(change, ids))
    });
    let act = job.iter().fold(act, |act, job| act.with("job", job.id));
    act.naming("anchors", named).into_iter().chain(of_job).collect()
}
