//! A rollover job: its state, and the commands of an operator. The other kind of job is a
//! [`Deployment`](crate::deployment::Deployment); both share ids, tasks and counters.

pub mod backoff;
mod command;
mod cursor;
mod front;
mod haste;
mod in_use;
mod lap;
pub mod message;
mod phase;
mod purpose;
mod record;
mod reopen;
pub mod standing;
mod tally;
pub mod task;
pub mod tries;
pub mod visit;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

pub use self::command::{Command, Refusal};
pub use self::cursor::Cursor;
pub use self::front::{Front, Taken};
pub use self::haste::Haste;
pub use self::in_use::InUse;
pub use self::lap::{Lap, Member, Reach};
pub use self::phase::{NotAStop, Pass, Phase};
pub use self::purpose::{JobPurpose, NewPreflight};
pub use self::record::{JobRecord, Refused};
pub use self::reopen::{MOST_RETRIED, MOST_SELECTIONS, MOST_WAVES, Reopen, Selection, Stretch};
pub use self::tally::{ByWave, Counted, Results, Tally, place};

use crate::preflight::Preflight;
use crate::preflight::since::Since;
use crate::rollover::rollout::{LEAST_SAMPLED, Rollout};
use crate::rollover::survey::{Demand, Sample, Survey, Sweep};
use crate::rollover::windows::Held;
use crate::usage::Usage;

/// A decimal number. Each job's is higher than the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

/// The job id of tasks without a job.
pub const NO_JOB: JobId = JobId(0);

impl JobId {
    /// The job's URI in the vendor's API.
    pub fn path(self) -> String {
        format!("/signingCertificate/jobs/{self}")
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// When the new root starts to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Activation {
    /// When every device has proven that it holds the root, or is waived.
    #[default]
    Proven,
    /// At once, before any device holds the root: the vendor's own behaviour. Recorded as such.
    Immediate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobState {
    Running,
    Paused,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobOutcome {
    Activated,
    /// Activated at once, and some devices do not hold the root.
    ActivatedWithFailures,
    /// The old roots are gone: no device trusts them, and their keys are disabled.
    Completed,
    /// The old root signs again.
    RolledBack,
    Aborted,
    /// The devices hold the bundle's trust anchors of others, and no withdrawn one.
    Distributed,
    /// A root was compromised, and the job that replaces it does what was left of this one.
    TakenOver,
    /// Every device was read, and nothing was written.
    Checked,
}

impl JobOutcome {
    /// Whether nobody goes on with the job.
    pub const fn is_given_up(self) -> bool {
        matches!(self, Self::Aborted | Self::RolledBack | Self::TakenOver)
    }
}

/// A job that had ended, and runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Continued {
    /// Another rollover may be running.
    Asked,
    /// It is the one rollover that runs.
    Begun,
}

/// The time between the last proof and the activation. A sample of the devices is read anew when half of it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    #[serde(with = "time::serde::timestamp")]
    pub since: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub until: OffsetDateTime,
    /// When the reading of the sample began.
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<OffsetDateTime>,
    /// Devices with a proof when it began.
    pub devices: u64,
}

impl Hold {
    pub fn half(&self) -> OffsetDateTime {
        self.since + (self.until - self.since) / 2
    }
}

/// The current wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// From 1, within its pass.
    pub number: u32,
    /// Most devices of the wave.
    pub size: u64,
    /// Devices sent so far.
    pub dispatched: u64,
    /// Of an earlier release, whose tasks did not name their wave: the fleet position at which it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Front>,
    #[serde(with = "time::serde::timestamp")]
    pub opened: OffsetDateTime,
    /// The pass's counters when the wave was opened.
    pub before: Tally,
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<OffsetDateTime>,
    /// Whether a survey found its devices, anywhere in the fleet, rather than paging on.
    #[serde(default)]
    pub survey: bool,
    /// Devices of the pass without a result when it was closed.
    #[serde(default, skip_serializing_if = "none_open")]
    pub open: u64,
    /// What was counted at its [`place`] when it was opened. `None`: an earlier release began it, it is a survey's, or others had
    /// no result then that are not told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Results>,
}

impl Wave {
    pub(crate) fn own(&self) -> Option<Counted> {
        Some(Counted { number: self.number, dispatched: self.dispatched, before: self.counted? })
    }

    /// Of the failures and results of the pass, at least those of the wave. Devices that had no result when it was opened are
    /// not its own: they were judged then, as if they failed. Each of them that succeeds hides a failure of the wave.
    const fn own_at_least(&self, tally: &Tally) -> (u64, u64) {
        let (open, results) = (self.before.waiting(), tally.with_result());
        (
            tally.failed.saturating_sub(self.before.failed + open),
            results.saturating_sub(self.before.with_result() + open),
        )
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) const fn none_open(open: &u64) -> bool {
    *open == 0
}

/// Devices that were paged and counted, and are about to be sent. Recovers from a crash between counting and sending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    pub from: Front,
    /// Of an earlier release; otherwise, the job's own position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Front>,
}

/// The job's own record. Device results are counted separately, in [`Tally`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    pub id: JobId,
    /// Incremented by each write, which is conditional on the previous revision.
    pub revision: u64,
    #[serde(default, skip_serializing_if = "JobPurpose::is_rollover")]
    pub purpose: JobPurpose,
    pub phase: Phase,
    pub state: JobState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<JobOutcome>,
    /// Why the job is in this state, in a sentence.
    pub reason: String,
    /// Why the operator asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_for: Option<String>,
    /// What its own writes, and what led to them, used at AWS. The devices' part is with the counters.
    #[serde(default, skip_serializing_if = "Usage::is_nothing")]
    pub used: Usage,
    /// The new root; of a job without one, the root that signed when it began.
    pub generation: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_generation: Option<u32>,
    /// The bundle that the current pass brings to the devices; 0 before the first.
    pub bundle_version: u64,
    pub activation: Activation,
    pub rollout: Rollout,
    /// The job goes no further than this phase, until somebody tells it to continue.
    #[serde(default = "Phase::when_first_built")]
    pub until: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The last phase of a job that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Phase>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<InUse>,
    /// Roots whose keys somebody else may have. They left the bundle when the job's root was published, and that root signs
    /// since then: one visit installs it and removes the old ones.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub compromised: BTreeSet<u32>,
    /// Certificates of others' making that a compromise breaks until their owners replace them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaks: Option<InUse>,
    /// Set when a job that had ended runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continued: Option<Continued>,
    /// How it had ended, until it is the one rollover that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formerly: Option<JobOutcome>,
    #[serde(default)]
    pub abort_requested: bool,
    /// The old root is to sign again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback_requested: bool,
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<OffsetDateTime>,
    /// Older generations whose KMS key was disabled, pending deletion or gone. The job's bundles lack their signatures,
    /// and no link certificate leads from them to the new root.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unusable_keys: BTreeSet<u32>,

    // The current pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<Wave>,
    /// Earlier waves of which devices may have no result yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_waves: Vec<Counted>,
    /// The fleet has been paged up to here.
    #[serde(default)]
    pub cursor: Front,
    /// Where the pass ends; `None`: at the end of the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Front>,
    /// Devices that were sent to, by shard. They are counted here, and not beside their results, so that the conductor's
    /// writes meet no worker's. `None`: an earlier release began the job, and counted them there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Vec<u64>>,
    /// All of its results are counted in the job's own partition, of which one query reads a pass's counters. `false`: an earlier
    /// release began the job, and counted in each shard, or its messages were sent again, since one of its workers may have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counted_together: bool,
    /// Approved devices when the pass began; 0 if that is not known.
    #[serde(default, skip_serializing_if = "none_open")]
    pub fleet: u64,
    #[serde(default, skip_serializing_if = "Lap::is_default")]
    pub lap: Lap,
    /// How often labels had changed when the job last looked. Then whom it waits for may be free.
    #[serde(default, skip_serializing_if = "none_open")]
    pub labelled: u64,
    /// Of a withdrawal after a pass with windows or an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending: Option<Sending>,
    /// Result of the last survey, by shard. Only a survey opens the gate; counters never do.
    #[serde(default, skip_serializing_if = "Survey::is_empty")]
    pub survey: Survey,
    /// What the last survey found outside of its window.
    #[serde(default, skip_serializing_if = "Held::is_nothing")]
    pub outside: Held,
    /// When the first survey that left devices to their windows began, since the pass did or was resumed. From then on, the proofs
    /// of devices whose windows are closed do not age: of two sites whose windows never meet, one's proofs would otherwise be old
    /// whenever the other's are young.
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub waits_since: Option<OffsetDateTime>,
    /// The current sweep over the pass's devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// The last survey found old proofs: the next one refreshes.
    #[serde(default)]
    pub refresh: bool,
    /// When every device was proven to have removed the withdrawn root. The root's key may then be deleted.
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<OffsetDateTime>,
    /// What a preflight judges by, and found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Box<Preflight>>,
    /// The preflight before this rollover, and what has changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Box<Since>>,
    /// Failed tasks to be retried.
    #[serde(default)]
    pub reopen: Reopen,
    /// Which waiting tasks are not to wait for their next try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub haste: Option<Haste>,
    /// Failed devices that the operator left as they are when retrying others. They do not count against the error
    /// budget in the current wave.
    #[serde(default)]
    pub tolerated: u64,
    /// Resends to unsettled devices since a device was last settled.
    #[serde(default)]
    pub resends: u32,
    /// Settled devices at the conductor's last look; `progress_at` says since when.
    #[serde(default)]
    pub seen_settled: u64,
    #[serde(with = "time::serde::timestamp")]
    pub progress_at: OffsetDateTime,

    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub updated: OffsetDateTime,
}

/// The parameters of a new job.
pub struct NewJob {
    pub id: JobId,
    pub generation: u32,
    pub old_generation: Option<u32>,
    pub activation: Activation,
    pub rollout: Rollout,
    pub until: Phase,
    pub requested_for: Option<String>,
}

impl Job {
    pub fn new(new: NewJob, now: OffsetDateTime) -> Self {
        Self {
            id: new.id,
            revision: 1,
            purpose: JobPurpose::Rollover,
            phase: Phase::Create,
            state: JobState::Running,
            outcome: None,
            used: Usage::default(),
            reason: "The new root is being created.".to_owned(),
            requested_for: new.requested_for,
            generation: new.generation,
            old_generation: new.old_generation,
            bundle_version: 0,
            activation: new.activation,
            rollout: new.rollout,
            until: new.until,
            hold: None,
            reached: None,
            in_use: None,
            compromised: BTreeSet::new(),
            breaks: None,
            continued: None,
            formerly: None,
            abort_requested: false,
            rollback_requested: false,
            activated: None,
            unusable_keys: BTreeSet::new(),
            wave: None,
            open_waves: Vec::new(),
            cursor: Front::default(),
            bound: None,
            sent: Some(Vec::new()),
            counted_together: true,
            fleet: 0,
            lap: Lap::default(),
            labelled: 0,
            reach: None,
            sending: None,
            survey: Survey::default(),
            outside: Held::default(),
            waits_since: None,
            sweep: None,
            refresh: false,
            withdrawn: None,
            preflight: None,
            since: None,
            reopen: Reopen::NOTHING,
            haste: None,
            tolerated: 0,
            resends: 0,
            seen_settled: 0,
            progress_at: now,
            created: now,
            updated: now,
        }
    }

    /// Whether it replaces roots whose keys somebody else may have.
    pub fn is_compromise(&self) -> bool {
        !self.compromised.is_empty()
    }

    pub fn pass(&self) -> Pass {
        match self.reached.unwrap_or(self.phase) {
            _ if self.purpose == JobPurpose::Preflight => Pass::Preflight,
            _ if self.outcome == Some(JobOutcome::Aborted) => Pass::Withdraw,
            Phase::Withdraw => Pass::Withdraw,
            Phase::Reissue => Pass::Install,
            Phase::Distrust | Phase::Retire => Pass::Distrust,
            Phase::Create | Phase::Publish | Phase::Distribute | Phase::HoldDown | Phase::Activate | Phase::Ended => {
                Pass::Distribute
            }
        }
    }

    /// Whether a worker may start on a device of this pass now.
    pub fn takes_device_work(&self, pass: Pass) -> bool {
        self.state == JobState::Running
            && self.pass() == pass
            && matches!(
                self.phase,
                Phase::Distribute | Phase::HoldDown | Phase::Reissue | Phase::Distrust | Phase::Withdraw
            )
            && (pass == Pass::Withdraw || !self.abort_requested)
            && !self.rollback_requested
    }

    /// Whether a gate of this job is still to open that a device which leaves would open: to the root's first signature, to
    /// the end of an abort, or to the end of the old roots' keys. A certificate is revoked when its device leaves, so the
    /// end of the reissue depends on no device that left.
    pub fn has_closed_gate(&self) -> bool {
        match self.phase {
            _ if self.purpose == JobPurpose::Preflight => false,
            Phase::Reissue | Phase::Retire | Phase::Ended => false,
            Phase::Distrust => true,
            Phase::Withdraw => self.withdrawn.is_none(),
            _ => self.activated.is_none(),
        }
    }

    /// The current wave, if the results of its own devices are known: every result is counted by its wave, and what has none is
    /// of this wave, or of those that were open when it began. Where a device of another one was tried or sent again, the sums
    /// differ until it has a result.
    pub fn own_wave(&self, tally: &Tally) -> Option<Counted> {
        let own = self.wave.as_ref()?.own()?;
        let others = self.open_waves.iter().filter(|wave| wave.number != own.number);
        let waiting = own.waiting(tally) + others.map(|wave| wave.waiting(tally)).sum::<u64>();
        let is_its = own.results(tally).settled() <= own.dispatched && waiting == tally.waiting();
        (is_its && tally.is_counted_by_wave()).then_some(own)
    }

    /// The failures and results of the current wave; where they are not known, at least so many.
    pub(crate) fn results_of_wave(&self, tally: &Tally) -> Option<(u64, u64)> {
        let own = self.own_wave(tally).map(|own| own.results(tally));
        Some(own.map_or(self.wave.as_ref()?.own_at_least(tally), |own| (own.failed, own.with_result)))
    }

    /// What a device must prove in this pass, at this time, for the gate to open. The hold-down does not age proofs: a
    /// sample is read anew instead.
    pub fn demand(&self, now: OffsetDateTime) -> Demand {
        let hold = self.hold.filter(|_| self.phase == Phase::HoldDown);
        Demand {
            age: Duration::seconds(self.rollout.proof_age.into()),
            hold,
            waits_since: self.waits_since,
            sample: hold.and_then(|hold| self.sample(hold)),
            ..Demand::of(self.bundle_version, now)
        }
    }

    /// Which devices are read anew. A device is in it by its id and the job's, so each job reads others. Somewhat more
    /// than asked for, so that there is hardly ever less.
    fn sample(&self, hold: Hold) -> Option<Sample> {
        let since = hold.sampled?;
        let fleet = hold.devices.max(1);
        let wanted = (fleet * u64::from(self.rollout.sample)).div_ceil(100).max(LEAST_SAMPLED) * 3 / 2;
        let share = wanted.saturating_mul(1 << 32) / fleet;
        (self.rollout.sample > 0).then_some(Sample { job: self.id, share, since })
    }

    /// The demand of the current sweep. A sweep that refreshes requires proofs of half the age. Otherwise some proofs
    /// would expire while others are read again, and the gate would never open.
    pub fn demand_of_sweep(&self, now: OffsetDateTime) -> Demand {
        let demand = self.demand(now);
        let half = Duration::seconds((self.rollout.proof_age / 2).into());
        let refreshes = self.sweep.as_ref().is_some_and(|sweep| sweep.refreshes);
        if refreshes { Demand { refresh: half, ..demand } } else { demand }
    }
}
