#![doc = include_str!("../README.md")]

mod compromised;
mod config;
mod deploy;
mod dispatch;
mod event;
mod in_use;
mod issuing;
mod joining;
mod old_roots;
mod preflight;
mod reissue;
mod renewing;
mod reopen;
mod second_half;
mod sweep;

use std::time::Duration;

use rootcast_authority::{AuthorityError, CertificateAuthority};
use rootcast_core::audit::Actor;
use rootcast_core::deployment::renewal::PercentLeft;
use rootcast_core::job::message::Control;
use rootcast_core::job::{Activation, Job, JobId, JobOutcome, JobPurpose, JobRecord, JobState, Tally};
use rootcast_core::metric::Metric;
use rootcast_core::rollover::plan::{Action, Step, plan, way_out};
use rootcast_core::rollover::survey::Purpose;
use rootcast_ledger::{Authority, Change, Conducting, FleetShard, Ledger, LedgerError, Misconfigured};
use rootcast_queue::{Queue, QueueError};
use thiserror::Error;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{debug, info, warn};

pub use event::{Wake, handle};

/// Reserved for the message that hands the job on.
const MARGIN: Duration = Duration::from_secs(5);
/// A lease outlives the invocation by this, because clocks differ a little.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// A longer wait is left to the schedule, which wakes the conductor every minute.
const SCHEDULE: time::Duration = time::Duration::minutes(1);

/// The function's clients and configuration.
pub struct App {
    pub ledger: Ledger,
    pub authority: CertificateAuthority,
    pub queue: Queue,
    pub control_queue: String,
    pub task_queue: String,
    /// Time that a wave may go without a settled device.
    pub stall: time::Duration,
    /// How long an issuer may go on signing with the authority that it read.
    pub issuer_timeout: time::Duration,
    /// When devices' own certificates are renewed by themselves.
    pub renewal: PercentLeft,
    /// Most renewals that begin in an hour.
    pub renewals_an_hour: u32,
    /// The dimension of metrics.
    pub stack: String,
    pub clock: fn() -> OffsetDateTime,
}

#[derive(Debug, Error)]
pub enum ConductError {
    #[error(transparent)]
    Misconfigured(#[from] Misconfigured),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl ConductError {
    /// Whether another conductor or an operator wrote first. Then the job is loaded again.
    fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::Ledger(LedgerError::Conflict) | Self::Authority(AuthorityError::Ledger(LedgerError::Conflict))
        )
    }
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StepResult {
    Continue,
    Rest,
    /// The time ran out during a step. All finished work is recorded.
    HandOn,
}

impl App {
    /// Conducts the job as far as possible now. `owner` identifies the invocation. If another invocation holds the
    /// lease, it is told to look again, and this one returns.
    pub async fn conduct(&self, id: JobId, owner: &str, deadline: Instant) -> Result<(), ConductError> {
        let now = (self.clock)();
        let until = now + deadline.saturating_duration_since(Instant::now()) + LEASE_MARGIN;
        let Some(held) = self.ledger.conduct(id, owner, now, until).await? else {
            debug!(job.id = id.0, "another conductor holds the job and will look again");
            return Ok(());
        };
        let deadline = deadline.checked_sub(MARGIN).unwrap_or(deadline);
        loop {
            match self.steps(&held, deadline).await {
                Ok(StepResult::HandOn) => {
                    self.give_back(&held).await;
                    return self.hand_on(id).await;
                }
                Ok(_) if self.ledger.finish_conducting(&held).await? => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    self.give_back(&held).await;
                    return Err(error);
                }
            }
        }
    }

    /// Releases the lease although the job needs another look, which the message that hands it on will cause. The first
    /// try fails if a refused conductor left a mark, and clears it. If the second fails as well, the lease expires.
    async fn give_back(&self, held: &Conducting) {
        for _ in 0..2 {
            match self.ledger.finish_conducting(held).await {
                Ok(false) => {}
                Ok(true) => return,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    return debug!(job.id = held.job.0, error, "the job's lease was not released");
                }
            }
        }
    }

    /// Repeats steps until there is nothing to do, or the time is over.
    async fn steps(&self, held: &Conducting, deadline: Instant) -> Result<StepResult, ConductError> {
        let id = held.job;
        loop {
            if Instant::now() >= deadline {
                return Ok(StepResult::HandOn);
            }
            let step = match self.ledger.job_of_any_kind(id).await? {
                None => {
                    info!(job.id = id.0, "there is no such job");
                    return Ok(StepResult::Rest);
                }
                Some(JobRecord::Rollover(job)) => self.roll_over(held, *job, deadline).await,
                Some(JobRecord::Deployment(job)) => self.deploy(job, deadline).await,
            };
            self.ledger.tell().await;
            match step {
                Ok(StepResult::Continue) => {}
                Ok(then) => return Ok(then),
                Err(error) if error.is_conflict() => debug!(job.id = id.0, "the job was changed meanwhile"),
                Err(error) => return Err(error),
            }
        }
    }

    async fn roll_over(&self, held: &Conducting, mut job: Job, deadline: Instant) -> Result<StepResult, ConductError> {
        if job.state != JobState::Ended
            && let Some(why) = self.overtaken(&job).await?
        {
            return self.end_preflight(held, job, JobOutcome::Aborted, why, (self.clock)()).await;
        }
        if job.state == JobState::Paused {
            self.count(Metric::JobsPaused);
        }
        if job.state != JobState::Running {
            return Ok(StepResult::Rest);
        }
        let counted = self.ledger.counters(job.id, job.pass(), job.counted_together).await?;
        job.take_over_counts(|| counted.sent);
        let tally = job.tally(counted.tally);
        let step = plan(&job, &tally, (self.clock)(), self.stall);
        debug!(job.id = job.id.0, action = ?step.action, "{}", step.why);
        self.apply(held, job, &tally, step, deadline).await
    }

    async fn hand_on(&self, id: JobId) -> Result<(), ConductError> {
        let control = Control { job: id, why: "to be continued".to_owned() };
        Ok(self.queue.send_control(&self.control_queue, &control).await?)
    }

    async fn apply(
        &self,
        held: &Conducting,
        mut job: Job,
        tally: &Tally,
        step: Step,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        let now = (self.clock)();
        let Step { action, why } = step;
        if !matches!(action, Action::Wait { .. } | Action::AwaitWindow { .. } | Action::Dispatch { .. } | Action::Sweep)
        {
            info!(job.id = job.id.0, action = ?action, "{why}");
        }
        match action {
            Action::Wait { until } => return self.wait(job, tally, until, why, now).await,
            Action::AwaitWindow { until } => {
                let shards = self.ledger.fleet_shards().await?;
                if job.note_labelled(shards.into_iter().map(|shard| shard.labelled).sum()) {
                    self.commit(&mut job).await?;
                    return Ok(StepResult::Continue);
                }
                if job.reason != why {
                    job.reason.clone_from(&why);
                    self.commit(&mut job).await?;
                }
                return self.wait(job, tally, Some(until), why, now).await;
            }
            Action::NextLap => job.next_lap(tally),
            Action::Distribute => job.distribute(now),
            Action::HoldDown => job.hold_down(now),
            Action::ReadSample => job.read_sample(now),
            Action::Reissue => return self.begin_reissue(held, job, tally, why, deadline).await,
            Action::GoOnAlone => return self.go_on_alone(held, job, now).await,
            Action::OpenWave { number, size } => {
                if job.wave.is_none() {
                    job.fleet = self.ledger.fleet_shards().await?.into_iter().map(|shard| shard.approved).sum();
                }
                job.open_wave(number, size, tally, now);
            }
            Action::Begin(Purpose::Survey) => job.begin_survey(self.fleet_revisions().await?, tally, now),
            Action::Begin(Purpose::Resend) => job.begin_resend(now),
            Action::Begin(Purpose::GiveUp) => job.begin_giving_up(now),
            Action::Sweep => return self.sweep(held, job, deadline).await,
            Action::Dispatch { at_most } => return self.dispatch(held, job, at_most, deadline).await,
            Action::FinishSending => return self.finish_sending(held, job).await,
            Action::CloseWave => return self.close_wave(job, tally, now).await,
            Action::Reopen => return self.reopen(held, job, deadline).await,
            Action::Pause => {
                return self.pause(job, &why, now).await;
            }
            Action::Withdraw if job.purpose == JobPurpose::Anchors => {
                why.clone_into(&mut job.reason);
                self.authority.turn_back_anchors(&mut job, Some(held), &Actor::function("conduct"), now).await?;
                return Ok(StepResult::Continue);
            }
            Action::Withdraw => {
                why.clone_into(&mut job.reason);
                self.authority.withdraw_root(&mut job, Some(held), &Actor::function("conduct"), now).await?;
                return Ok(StepResult::Continue);
            }
            Action::RollBack => return self.roll_back(held, job, why, now).await,
            Action::Activate if job.activation == Activation::Immediate => {
                why.clone_into(&mut job.reason);
                return self.activate(held, job, now).await;
            }
            // The write that passes the gate requires the fleet as the survey saw it. Otherwise, the changed shards are
            // read again.
            Action::Activate | Action::NoteWithdrawn | Action::Distrust | Action::Retire | Action::Settle(_)
                if self.forget_changed(&mut job).await? =>
            {
                info!(job.id = job.id.0, "the fleet has changed since it was read");
            }
            Action::Distrust if job.is_compromise() => return self.visit_the_rest(held, job, why, now).await,
            Action::Distrust => return self.distrust(held, job, tally, why, deadline).await,
            Action::Retire => return self.retire(held, job, why, now).await,
            Action::Activate => {
                why.clone_into(&mut job.reason);
                return self.activate(held, job, now).await;
            }
            Action::Settle(outcome) => {
                job.reason = why;
                self.authority.settle_anchors(&mut job, outcome, Some(held), &Actor::function("conduct"), now).await?;
                if outcome == JobOutcome::Aborted {
                    self.count(Metric::JobsFailed);
                }
                return Ok(StepResult::Rest);
            }
            Action::NoteWithdrawn => {
                job.note_withdrawn(now);
                (job.reason, job.updated) = (why, now);
                let fleet = job.survey.revisions();
                let change = Change { job: Some(&job), conducting: Some(held), fleet, ..Change::default() };
                self.ledger.commit(change).await?;
                return Ok(StepResult::Continue);
            }
            Action::Report => return self.report(job, deadline).await,
            Action::Compare => return self.compare(job, why, deadline).await,
            Action::End(outcome) if job.preflight.is_some() => {
                return self.end_preflight(held, job, outcome, &why, now).await;
            }
            Action::End(outcome) => return self.end(held, job, outcome, &why, now).await,
        }
        job.reason = why;
        self.save(job, now).await?;
        Ok(StepResult::Continue)
    }

    async fn activate(&self, held: &Conducting, mut job: Job, now: OffsetDateTime) -> Result<StepResult, ConductError> {
        let activated = self.authority.activate_root(&mut job, Some(held), &Actor::function("conduct"), now).await;
        self.unless_without_key(job, activated, without_key, now).await
    }

    /// A root's key that cannot sign pauses its job. `why`: what to tell of that root.
    pub(crate) async fn unless_without_key(
        &self,
        job: Job,
        done: Result<(), AuthorityError>,
        why: impl Fn(&Job, u32) -> String,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        match done {
            Err(AuthorityError::KeyUnusable { signer, source }) if signer.is_root() => {
                let error = &source as &dyn std::error::Error;
                warn!(job.id = job.id.0, %signer, error, "the root's key cannot sign; the job is paused");
                let why = why(&job, signer.generation());
                self.pause(job, &why, now).await
            }
            done => done.map(|()| StepResult::Continue).map_err(Into::into),
        }
    }

    async fn fleet_revisions(&self) -> Result<Vec<u64>, LedgerError> {
        Ok(self.ledger.fleet_shards().await?.into_iter().map(|FleetShard { revision, .. }| revision).collect())
    }

    async fn forget_changed(&self, job: &mut Job) -> Result<bool, LedgerError> {
        let shards = self.ledger.fleet_shards().await?;
        let revisions: Vec<u64> = shards.iter().map(|shard| shard.revision).collect();
        Ok(job.forget_changed(&revisions, shards.iter().map(|shard| shard.labelled).sum()))
    }

    async fn pause(&self, mut job: Job, why: &str, now: OffsetDateTime) -> Result<StepResult, ConductError> {
        let why = self.with_names(&job, why.to_owned()).await?;
        job.pause(&why);
        self.save(job, now).await?;
        // The next step finds it paused, and says so.
        Ok(StepResult::Continue)
    }

    async fn save(&self, mut job: Job, now: OffsetDateTime) -> Result<(), ConductError> {
        job.updated = now;
        Ok(self.ledger.commit(Change { job: Some(&job), ..Change::default() }).await?)
    }

    async fn wait(
        &self,
        mut job: Job,
        tally: &Tally,
        until: Option<OffsetDateTime>,
        why: String,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        let id = job.id;
        if job.note_progress(tally, now) || job.reason != why {
            job.reason = why;
            self.save(job, now).await?;
        }
        if let Some(pause) = until.map(|until| until - now).filter(|pause| *pause < SCHEDULE) {
            let control = Control { job: id, why: "a pause is over".to_owned() };
            let seconds = u32::try_from(pause.whole_seconds()).unwrap_or(0) + 1;
            self.queue.send_later(&self.control_queue, &control, seconds).await?;
        }
        Ok(StepResult::Rest)
    }

    async fn close_wave(&self, mut job: Job, tally: &Tally, now: OffsetDateTime) -> Result<StepResult, ConductError> {
        job.note_progress(tally, now);
        let record = job.close_wave(tally, now);
        job.updated = now;
        let wave = record.as_ref().map(|record| (job.id, record));
        self.ledger.commit(Change { job: Some(&job), wave, ..Change::default() }).await?;
        Ok(StepResult::Continue)
    }

    /// Unused keys are scheduled for deletion before the job ends, so that this is repeated after a crash in between.
    /// Those of a job of a few minutes may not all be found: the schedule looks for them again.
    async fn end(
        &self,
        held: &Conducting,
        mut job: Job,
        outcome: JobOutcome,
        why: &str,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        let swept = self.authority.sweep_keys(job.generation, now).await?;
        let mut authority = Authority { running: None, ..self.ledger.authority().await? };
        if !swept {
            authority.unswept.insert(job.generation);
        }
        if outcome == JobOutcome::Aborted {
            authority.aborted = Some(now);
        }
        job.end(outcome, why);
        job.updated = now;
        let change =
            Change { authority: Some(&authority), job: Some(&job), conducting: Some(held), ..Change::default() };
        self.ledger.commit(change).await?;
        if matches!(outcome, JobOutcome::ActivatedWithFailures | JobOutcome::Aborted) {
            self.count(Metric::JobsFailed);
        }
        Ok(StepResult::Rest)
    }

    fn count(&self, metric: Metric) {
        self.gauge(metric, 1);
    }

    #[expect(clippy::print_stdout, reason = "CloudWatch reads metrics from the log's own lines")]
    fn gauge(&self, metric: Metric, value: u64) {
        println!("{}", metric.line(value, &self.stack, (self.clock)()));
    }
}

pub(crate) fn without_key(job: &Job, generation: u32) -> String {
    format!(
        "Paused: root generation {generation} cannot sign: its KMS key is disabled, pending deletion or gone. Enable the key, \
         or cancel its deletion, {}.",
        way_out(job)
    )
}
