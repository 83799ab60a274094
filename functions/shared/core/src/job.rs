//! A rollover job: its state, and what an operator may ask of it. The other kind of job is a
//! [`Deployment`](crate::deployment::Deployment); both share ids, tasks and counters.

pub mod backoff;
mod command;
mod cursor;
pub mod message;
mod reopen;
pub mod standing;
pub mod task;
pub mod visit;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

pub use self::command::{Command, Refusal};
pub use self::cursor::Cursor;
pub use self::reopen::{MOST_RETRIED, MOST_SELECTIONS, MOST_WAVES, Reopen, Selection, Stretch};

use crate::deployment::lifecycle::Work;
use crate::device::DeviceId;
use crate::rollover::rollout::Rollout;
use crate::rollover::survey::{Demand, Pass, Survey};

/// Decimal numbers that only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl JobId {
    /// The job's URI in the vendor's form.
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

/// The phases of a rollover, in their order; `Withdraw` leads from anywhere before `Activate` to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    Create,
    Publish,
    Distribute,
    HoldDown,
    Activate,
    Reissue,
    Distrust,
    Retire,
    /// An aborted job takes the new root off the devices again.
    Withdraw,
    Ended,
}

/// One pass of device work. A job has one at a time; each has task records and counters of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Leg {
    Distribute,
    Withdraw,
    /// A deployment's only one.
    Install,
    /// Of no job: a device that was approved after the last rollover is brought to the bundle of today.
    Join,
}

impl Leg {
    pub const fn work(self) -> Work {
        match self {
            Self::Distribute | Self::Withdraw | Self::Join => Work::Trust,
            Self::Install => Work::Install,
        }
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Distribute => "distribute",
            Self::Withdraw => "withdraw",
            Self::Install => "install",
            Self::Join => "join",
        })
    }
}

/// When the new root begins to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Activation {
    /// When every device has proven that it holds the root, or is waived.
    #[default]
    Proven,
    /// At once, before any device holds it: the vendor's own behaviour. Recorded as such.
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
    Aborted,
}

/// The wave that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// From 1, within its leg.
    pub number: u32,
    /// How many devices it may have.
    pub size: u64,
    /// How many it has so far.
    pub dispatched: u64,
    /// Where the fleet was paged to before it. `None` for a survey, which pages all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Cursor>,
    #[serde(with = "time::serde::timestamp")]
    pub opened: OffsetDateTime,
    /// The leg's counters when it was opened.
    pub before: Tally,
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<OffsetDateTime>,
    /// Its devices were found by a survey, anywhere in the fleet, and not by paging on.
    #[serde(default)]
    pub survey: bool,
}

/// Devices that were paged, counted and are about to be sent: a crash between the two is made good from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    pub from: Cursor,
    pub to: Cursor,
}

/// The job's own record. Device work is counted apart, in [`Tally`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    pub id: JobId,
    /// Grows with each write; every write names the one that it follows.
    pub revision: u64,
    pub phase: Phase,
    pub state: JobState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<JobOutcome>,
    /// Why the job is where it is, in a sentence.
    pub reason: String,
    /// Why the operator asked for a new root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_for: Option<String>,
    pub generation: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_generation: Option<u32>,
    /// What the current leg brings to the devices; 0 before there is one.
    pub bundle_version: u64,
    pub activation: Activation,
    pub rollout: Rollout,
    #[serde(default)]
    pub abort_requested: bool,
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<OffsetDateTime>,
    /// Older generations whose KMS key was disabled, pending deletion or gone: this job's bundles lack their signature,
    /// and no link leads from them to the new root.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unusable_keys: BTreeSet<u32>,

    // The current leg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<Wave>,
    /// The fleet is paged to here.
    #[serde(default)]
    pub cursor: Cursor,
    /// The leg ends here; without it, at the end of the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Cursor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending: Option<Sending>,
    /// What the last survey found, shard by shard. It opens the gate; counters never do.
    #[serde(default, skip_serializing_if = "Survey::is_empty")]
    pub survey: Survey,
    /// The pass over the leg's devices that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Pass>,
    /// The last survey found old proofs: the next one refreshes.
    #[serde(default)]
    pub refresh: bool,
    /// Every device was proven to be rid of the withdrawn root: its key may go.
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<OffsetDateTime>,
    /// Failed tasks are to be opened again.
    #[serde(default)]
    pub reopen: Reopen,
    /// So many failed devices the operator left as they are when he had others tried again: within the wave, the error
    /// budget is not spent by them.
    #[serde(default)]
    pub tolerated: u64,
    /// How often the messages of unsettled devices were sent again since a device was last settled.
    #[serde(default)]
    pub resends: u32,
    /// Devices settled when the conductor last looked, and since when.
    #[serde(default)]
    pub seen_settled: u64,
    #[serde(with = "time::serde::timestamp")]
    pub progress_at: OffsetDateTime,

    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub updated: OffsetDateTime,
}

/// What is known when a job is made.
pub struct NewJob {
    pub id: JobId,
    pub generation: u32,
    pub old_generation: Option<u32>,
    pub activation: Activation,
    pub rollout: Rollout,
    pub requested_for: Option<String>,
}

impl Job {
    pub fn new(new: NewJob, now: OffsetDateTime) -> Self {
        Self {
            id: new.id,
            revision: 1,
            phase: Phase::Create,
            state: JobState::Running,
            outcome: None,
            reason: "The new root is being made.".to_owned(),
            requested_for: new.requested_for,
            generation: new.generation,
            old_generation: new.old_generation,
            bundle_version: 0,
            activation: new.activation,
            rollout: new.rollout,
            abort_requested: false,
            activated: None,
            unusable_keys: BTreeSet::new(),
            wave: None,
            cursor: Cursor::default(),
            bound: None,
            sending: None,
            survey: Survey::default(),
            pass: None,
            refresh: false,
            withdrawn: None,
            reopen: Reopen::NOTHING,
            tolerated: 0,
            resends: 0,
            seen_settled: 0,
            progress_at: now,
            created: now,
            updated: now,
        }
    }

    pub fn leg(&self) -> Leg {
        if self.phase == Phase::Withdraw || self.outcome == Some(JobOutcome::Aborted) {
            Leg::Withdraw
        } else {
            Leg::Distribute
        }
    }

    /// Whether a worker may begin with a device of this leg now.
    pub fn takes_device_work(&self, leg: Leg) -> bool {
        self.state == JobState::Running
            && self.leg() == leg
            && matches!(self.phase, Phase::Distribute | Phase::Withdraw)
            && (leg == Leg::Withdraw || !self.abort_requested)
    }

    /// Whether the device lies in the part of the fleet that the leg was sent to so far.
    pub fn is_taken(&self, device: &DeviceId) -> bool {
        self.cursor.is_past(self.id, device) && self.bound.as_ref().is_none_or(|bound| bound.is_past(self.id, device))
    }

    /// Whether the leg has to do with a device that became what it is `during` that rollover. Beside the part of the fleet
    /// that was sent to, a withdrawal looks at whoever joined or was edited while the job ran: it may be a device that was
    /// sent to under another name.
    pub fn concerns(&self, device: &DeviceId, during: Option<JobId>) -> bool {
        self.is_taken(device) || (self.leg() == Leg::Withdraw && during == Some(self.id))
    }

    /// What a device has to prove in this leg, at this time, for the gate to open.
    pub fn demand(&self, now: OffsetDateTime) -> Demand {
        Demand { bundle_version: self.bundle_version, since: now - Duration::seconds(self.rollout.proof_age.into()) }
    }

    /// The same, for the pass that is under way. One that refreshes asks for proofs of half the age: else some would grow
    /// old while the others are read again, for ever.
    pub fn demand_of_pass(&self, now: OffsetDateTime) -> Demand {
        let age = i64::from(self.rollout.proof_age);
        let age = if self.pass.as_ref().is_some_and(|pass| pass.refreshes) { age / 2 } else { age };
        Demand { since: now - Duration::seconds(age), ..self.demand(now) }
    }

    /// Where the leg ends.
    pub fn is_paged(&self) -> bool {
        match &self.bound {
            None => self.cursor.is_at_end(),
            Some(bound) => self.cursor.step > bound.step || self.cursor == *bound || self.cursor.is_at_end(),
        }
    }
}

/// The leg's counters, summed over all shards. They equal the task records at every moment: both change in one
/// transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Devices whose message was sent, or is about to be.
    #[serde(default)]
    pub dispatched: u64,
    #[serde(default)]
    pub acked: u64,
    #[serde(default)]
    pub failed: u64,
    #[serde(default)]
    pub skipped: u64,
    #[serde(default)]
    pub waived: u64,
}

impl Tally {
    pub const fn settled(&self) -> u64 {
        self.acked + self.failed + self.skipped + self.waived
    }

    pub const fn is_settled(&self) -> bool {
        self.settled() >= self.dispatched
    }

    pub const fn waiting(&self) -> u64 {
        self.dispatched.saturating_sub(self.settled())
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |a, b| Self {
            dispatched: a.dispatched + b.dispatched,
            acked: a.acked + b.acked,
            failed: a.failed + b.failed,
            skipped: a.skipped + b.skipped,
            waived: a.waived + b.waived,
        })
    }
}
