//! Somebody else may have a root's key. It is disabled first of all; then another root takes the place of every other one.
//!
//! The order: what is to be done is recorded, together with the end of whatever rollover runs; the key is disabled; the next
//! root is made; then one write publishes a bundle that has it alone, and lets it sign. No link leads to it or back: through
//! one, whoever trusts the new root would trust the old key. Whoever repeats the request goes on where it stopped.

use std::collections::BTreeSet;

use rootcast_core::audit::{Act, Action, Actor, Policy, Subject};
use rootcast_core::job::{Activation, Command, Job, JobId, JobPurpose, JobState, Phase};
use rootcast_core::rollover::compromise::{NotReplaced, Response, respond};
use rootcast_core::rollover::generation::{GenerationState, activate};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_ledger::{
    Authority, Change, Compromise, IssuingRecord, IssuingRevocation, IssuingState, Kept, LeafPass, LedgerError,
    Retirement, RootRecord, SleepRecord,
};
use rootcast_pki::crl::Reason;
use time::{Duration, OffsetDateTime};
use tracing::{error, info, warn};

use crate::retire::SETTLED;
use crate::{AuthorityError, CertificateAuthority, Made, RootRequest, Settings};

/// Tries despite changes of the records by others.
const ATTEMPTS: u32 = 5;
/// So long after it was disabled, whoever had just woken the key may enable it.
const AWAKE: Duration = Duration::minutes(5);

/// The operator's request.
#[derive(Debug, Clone)]
pub struct CompromiseRequest {
    /// `None`: the root that signs.
    pub generation: Option<u32>,
    pub rollout: Rollout,
    pub requested_for: Option<String>,
}

/// The root that takes the place of a compromised one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InItsPlace {
    pub made: Made,
    /// Whether KMS has disabled the compromised key.
    pub is_disabled: bool,
}

impl CertificateAuthority {
    /// Has another root take the place of a compromised one, or finishes that. A root that does not sign yet is only taken
    /// off the devices: its rollover is aborted.
    ///
    /// # Errors
    /// [`AuthorityError::NotReplaced`]; [`AuthorityError::Busy`] while another one does the same. After every other error, the
    /// same request goes on.
    pub async fn replace_compromised(
        &self,
        settings: &Settings,
        request: &CompromiseRequest,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<InItsPlace, AuthorityError> {
        let response = self.mark(request, by, now).await?;
        let authority = self.ledger.authority().await?;
        // Whatever KMS says: the devices must lose that root all the more.
        let is_disabled = self.disable_keys(&authority, |_| true).await.is_ok();
        let made = match response {
            Response::Abort { generation, job } => Made { generation, job: Some(job) },
            Response::Done { job, .. } => {
                let generation = authority.signing.unwrap_or(authority.last_generation);
                Made { generation, job }
            }
            Response::Replace { .. } => {
                let root = RootRequest {
                    activation: Activation::Immediate,
                    rollout: request.rollout.clone(),
                    hold_down: Some(0),
                    until: Some(Phase::LAST),
                    requested_for: request.requested_for.clone(),
                };
                self.make_next_root(settings, &root, true, by, now).await?
            }
        };
        Ok(InItsPlace { made, is_disabled })
    }

    /// Records that the root is compromised, and ends whatever rollover runs, unless that is done.
    async fn mark(
        &self,
        request: &CompromiseRequest,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Response, AuthorityError> {
        for _ in 0..ATTEMPTS {
            match self.try_to_mark(request, by, now).await {
                Err(AuthorityError::Ledger(LedgerError::Conflict)) => {}
                other => return other,
            }
        }
        Err(LedgerError::Conflict.into())
    }

    async fn try_to_mark(
        &self,
        request: &CompromiseRequest,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Response, AuthorityError> {
        let authority = self.ledger.authority().await?;
        let roots = self.ledger.roots(&authority).await?;
        let known: Vec<_> = roots.iter().map(RootRecord::known).collect();
        let running = match authority.running {
            Some(id) => Some(self.ledger.job(id).await?.ok_or(AuthorityError::Missing("job"))?),
            None => None,
        };
        let response =
            respond(request.generation, authority.signing, &authority.replacing, &known, running.as_ref(), now)?;
        match response {
            Response::Done { .. } => {}
            Response::Abort { generation, .. } => {
                self.mark_unsigned(authority, &roots, running, (generation, request), by, now).await?;
            }
            // Another request is making the next root.
            Response::Replace { .. } if !authority.replacing.is_empty() && authority.is_claimed(now) => {
                return Err(AuthorityError::Busy(authority.claim.and_then(|claim| claim.job)));
            }
            Response::Replace { generation } if authority.replacing.contains(&generation) => {}
            Response::Replace { generation } => {
                self.mark_and_take_over(authority, roots, running, (generation, request), by, now).await?;
            }
        }
        Ok(response)
    }

    /// Of a root that does not sign yet: its rollover is aborted, if it is not already.
    async fn mark_unsigned(
        &self,
        mut authority: Authority,
        roots: &[RootRecord],
        running: Option<Job>,
        (generation, request): (u32, &CompromiseRequest),
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let root = roots.iter().find(|root| root.generation == generation).ok_or(AuthorityError::Missing("root"))?;
        let root = marked(root, by, now);
        authority.compromised_roots.insert(generation);
        let job = running.and_then(|job| job.command(Command::Abort, now).ok());
        let mut acts = vec![said(generation, request, by, now)];
        acts.extend(job.as_ref().map(|job| Act::new(Subject::Job(job.id), Action::Abort, by, now)));
        let sleep = self.without_sleep(generation).await?;
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: vec![&root],
                sleep: sleep.as_ref(),
                job: job.as_ref(),
                acts,
                ..Change::default()
            })
            .await?;
        info!(root.generation = generation, caller = by.principal, "a root that does not sign yet is compromised");
        Ok(())
    }

    /// What other jobs had left, the next root's job does: its bundle goes to every device.
    async fn mark_and_take_over(
        &self,
        mut authority: Authority,
        mut roots: Vec<RootRecord>,
        mut running: Option<Job>,
        (generation, request): (u32, &CompromiseRequest),
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut acts = vec![said(generation, request, by, now)];
        authority.compromised_roots.insert(generation);
        authority.replacing.insert(generation);
        authority.running = None;
        authority.joins_during = None;
        let mut anchors = None;
        if let Some(job) = running.as_mut().filter(|job| job.state != JobState::Ended) {
            // Whoever ends a job has the unused keys of its root given up: of one that is being withdrawn, too.
            authority.unswept.extend(roots.iter().map(|root| root.generation).filter(|root| *root == job.generation));
            if job.purpose == JobPurpose::Anchors {
                let mut settled = self.ledger.anchors(&authority).await?;
                if job.abort_requested && job.phase != Phase::Withdraw {
                    settled.turn_back(job.id);
                }
                settled.settle(Some(job.id));
                anchors = Some(settled);
                acts.push(Act::new(Subject::Policy(Policy::Anchors), Action::Activate, by, now).with("job", job.id));
            }
            job.take_over(now);
            acts.push(Act::new(Subject::Job(job.id), Action::Abort, by, now).with("compromised", generation));
        }
        // One that is being made was to follow a root that nobody should believe.
        authority.claim = None;
        let mut changed = BTreeSet::from([generation]);
        for root in &mut roots {
            if root.generation == generation {
                *root = marked(root, by, now);
                if root.retirement.is_some() {
                    // Its deletion is cancelled.
                    authority.retiring.insert(generation);
                }
            } else if matches!(root.state, GenerationState::Reserved | GenerationState::Published) {
                root.life().abandon(now);
                authority.unswept.insert(root.generation);
                changed.insert(root.generation);
                acts.push(Act::new(Subject::Root(root.generation), Action::Withdraw, by, now));
            }
        }
        let sleep = self.without_sleep(generation).await?;
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: roots.iter().filter(|root| changed.contains(&root.generation)).collect(),
                sleep: sleep.as_ref(),
                anchors: anchors.as_ref(),
                job: running.as_ref(),
                acts,
                ..Change::default()
            })
            .await?;
        info!(
            root.generation = generation,
            job.id = running.map(|job| job.id.0),
            caller = by.principal,
            "a root is compromised; what ran is taken over"
        );
        Ok(())
    }

    /// The record of sleeping keys without this one, which is never ours to wake again.
    async fn without_sleep(&self, generation: u32) -> Result<Option<SleepRecord>, AuthorityError> {
        let mut sleep = self.ledger.sleep().await?;
        let slept = sleep.asleep.remove(&generation) | sleep.awake.remove(&generation).is_some();
        Ok(slept.then_some(sleep))
    }

    /// Disables the keys of compromised roots, again and again for some minutes: whoever had just woken one may enable it
    /// after the first time. No call if no root was compromised lately.
    pub async fn disable_compromised(&self, authority: &Authority, now: OffsetDateTime) -> Result<(), AuthorityError> {
        if authority.compromised_roots.is_empty() {
            return Ok(());
        }
        self.disable_keys(authority, |compromise| now < compromise.at + AWAKE).await
    }

    /// One key that refuses keeps no other enabled.
    async fn disable_keys(
        &self,
        authority: &Authority,
        is_it: impl Fn(&Compromise) -> bool,
    ) -> Result<(), AuthorityError> {
        let mut outcome = Ok(());
        for root in self.ledger.roots(authority).await? {
            let Some(key) = root.key.as_deref().filter(|_| root.compromise.as_ref().is_some_and(&is_it)) else {
                continue;
            };
            match self.vault.disable(key).await {
                // It cannot sign already: it is pending deletion, or gone.
                Err(source) if source.is_unusable() => {}
                Err(source) => {
                    let why = &source as &dyn std::error::Error;
                    error!(root.generation = root.generation, key, error = why, "a compromised key is NOT disabled");
                    outcome = Err(source.into());
                }
                Ok(()) => info!(root.generation = root.generation, key, "a compromised root's key is disabled"),
            }
        }
        outcome
    }

    /// Does everything of the switch to the root that replaces compromised ones, except the write: in memory, the new one
    /// signs, and every other one is gone, with the issuing authorities below it. Returns what changes besides.
    pub(crate) async fn replace_roots(
        &self,
        authority: &mut Authority,
        root: &mut RootRecord,
        roots: &mut [RootRecord],
        job: Option<JobId>,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Replaced, AuthorityError> {
        self.check(root, now).await?;
        self.mark_as_signing(root, now).await?;
        let mut replaced = Replaced::default();
        if let Some(old) = roots.iter().find(|other| Some(other.generation) == authority.signing) {
            replaced.issuing.extend(self.give_up_left_over(authority, old, by, now).await?);
        }
        let with_job = |act: Act| job.into_iter().fold(act, |act, job| act.with("job", job));
        let compromised = std::mem::take(&mut authority.replacing);
        for other in roots.iter_mut().filter(|other| other.state.is_live()) {
            other.state = GenerationState::Distrusted;
            let act = Act::new(Subject::Root(other.generation), Action::Distrust, by, now);
            replaced.acts.push(with_job(act).with("by", root.generation));
            replaced.gone.insert(other.generation);
            if job.is_none() {
                // No device is left that trusts it.
                other.retirement = Some(retirement(other, Some(now), now));
                authority.retiring.insert(other.generation);
            }
        }
        for issuing in self.ledger.issuings(roots).await? {
            let is_compromised = compromised.contains(&issuing.id().generation);
            if is_compromised && matches!(issuing.state, IssuingState::Signing | IssuingState::Superseded) {
                replaced.issuing.push(revoked(issuing, by, now));
            } else if issuing.state == IssuingState::Signing {
                replaced.issuing.push(IssuingRecord { state: IssuingState::Superseded, ..issuing });
            }
        }
        (authority.issuing, authority.issuing_due) = (None, None);
        activate(&mut authority.signing, root.generation, root.life(), None, now);
        let act = Act::new(Subject::Root(root.generation), Action::Activate, by, now);
        replaced.acts.push(with_job(act).with("compromised", listed(&compromised)));
        replaced.compromised = compromised;
        Ok(replaced)
    }
}

/// What the publication of a root changes that replaces compromised ones.
#[derive(Default)]
pub(crate) struct Replaced {
    /// The compromised ones.
    pub(crate) compromised: BTreeSet<u32>,
    /// Every root that leaves the bundle.
    pub(crate) gone: BTreeSet<u32>,
    pub(crate) issuing: Vec<IssuingRecord>,
    pub(crate) acts: Vec<Act>,
}

/// How the keys of a root that left the bundle are put out of use: a compromised one is evidence, and stays.
/// `signed`: until when it may have signed.
pub(crate) fn retirement(root: &RootRecord, signed: Option<OffsetDateTime>, now: OffsetDateTime) -> Retirement {
    let kept = root.compromise.as_ref().map(|compromise| Kept { at: compromise.at, by: compromise.by.clone() });
    Retirement { again: signed.map(|at| at + SETTLED), kept, ..Retirement::new(now) }
}

fn marked(root: &RootRecord, by: &Actor, now: OffsetDateTime) -> RootRecord {
    let pass = LeafPass { began: Some(now), ..LeafPass::default() };
    let mut root = root.clone();
    let is_there = |retirement: &&mut Retirement| retirement.deletion.is_none_or(|at| at > now);
    if let Some(retirement) = root.retirement.as_mut().filter(is_there).filter(|retirement| retirement.kept.is_none()) {
        retirement.kept = Some(Kept { at: now, by: by.principal.clone() });
        (retirement.done, retirement.again) = (false, None);
    }
    root.compromise.get_or_insert(Compromise { at: now, by: by.principal.clone(), pass });
    root
}

fn revoked(issuing: IssuingRecord, by: &Actor, now: OffsetDateTime) -> IssuingRecord {
    let revocation = IssuingRevocation { at: now, reason: Reason::CaCompromise, by: by.principal.clone() };
    // What it signed is revoked with everything else below its root.
    let pass = Some(LeafPass { is_done: true, ..LeafPass::default() });
    IssuingRecord { state: IssuingState::Revoked, revoked: Some(revocation), pass, ..issuing }
}

fn said(generation: u32, request: &CompromiseRequest, by: &Actor, now: OffsetDateTime) -> Act {
    warn!(root.generation = generation, caller = by.principal, "a root is said to be compromised");
    let act = Act::new(Subject::Root(generation), Action::Compromise, by, now);
    request.requested_for.iter().fold(act, |act, reason| act.with("reason", reason))
}

pub(crate) fn listed(generations: &BTreeSet<u32>) -> String {
    generations.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

impl From<NotReplaced> for AuthorityError {
    fn from(why: NotReplaced) -> Self {
        match why {
            NotReplaced::NoRoot => Self::NoRoot,
            NotReplaced::Unknown(generation) => Self::NoGeneration(generation),
            why => Self::NotReplaced(why),
        }
    }
}
