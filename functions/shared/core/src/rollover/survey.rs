//! Sweeps over a pass's devices, and the gate that a survey opens.
//!
//! Counters show a job's progress, but are exact only while no device is deleted, enrolled again or edited. So only a
//! *survey* opens a gate: a sweep that compares each approved device, as it is now, with its task record. The fleet has
//! a revision in each shard, which each enrolment, approval, edit and deletion increments. The revision is noted before
//! a shard is read, and the write that passes the gate is conditional on it.

pub mod joining;

use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::device::{DeviceId, DeviceVersion, SHARDS};
use crate::job::task::{Probe, TaskRecord, TaskState};
use crate::job::{Cursor, Hold, JobId, none_open};
use crate::rollover::windows::Turn;

/// In this time each window opens, also one that the clocks skip once a year. A gate that waits for longer waits for devices
/// that people change again and again.
const LONGEST_WAIT: Duration = Duration::days(14);

/// What a proof must satisfy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    pub bundle_version: u64,
    pub now: OffsetDateTime,
    /// How old a proof may be.
    pub age: Duration,
    /// So much younger it is to be if the device can be read now.
    pub refresh: Duration,
    /// The hold-down, which does not age proofs. A device that lost something in it, and was given it again, has forgotten it.
    pub hold: Option<Hold>,
    /// Since when the gate waits for windows: see [`Job::waits_since`](crate::job::Job::waits_since).
    pub waits_since: Option<OffsetDateTime>,
    /// Devices that are read anew during the hold-down.
    pub sample: Option<Sample>,
}

impl Demand {
    /// A proof of this version of the bundle, from now on.
    pub const fn of(bundle_version: u64, now: OffsetDateTime) -> Self {
        let (age, refresh) = (Duration::ZERO, Duration::ZERO);
        Self { bundle_version, now, age, refresh, hold: None, waits_since: None, sample: None }
    }

    /// Proofs from before this time are old.
    pub fn since(&self) -> OffsetDateTime {
        self.since_at(self.now)
    }

    fn since_at(&self, time: OffsetDateTime) -> OffsetDateTime {
        let held =
            self.hold.map_or(Duration::ZERO, |hold| (time - hold.since).clamp(Duration::ZERO, hold.until - hold.since));
        time - held - self.age
    }

    /// The same for one device. While nobody may ask it, its proof is judged as when its window closed, or as when the gate began
    /// to wait for windows.
    pub fn since_in(&self, turn: Turn) -> OffsetDateTime {
        match turn {
            Turn::Open => self.since() + self.refresh,
            Turn::Closed { last, .. } => {
                let waits = self.waits_since.map(|since| since.max(self.now - LONGEST_WAIT));
                self.since_at(last.min(waits.unwrap_or(last)).min(self.now))
            }
        }
    }
}

/// Devices whose proofs must be from after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub job: JobId,
    /// Of 2³² devices.
    pub share: u64,
    pub since: OffsetDateTime,
}

impl Sample {
    pub fn covers(&self, device: &DeviceId) -> bool {
        let [a, b, c, d, ..] = *Fingerprint::of(format!("{}/{device}", self.job).as_bytes()).as_bytes();
        u64::from(u32::from_be_bytes([a, b, c, d])) < self.share
    }
}

/// A proof does not age while nobody may ask its device: see [`Demand::since_in`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spared {
    /// When the device was read.
    #[serde(with = "time::serde::timestamp")]
    pub read: OffsetDateTime,
    /// When it can be read again: from then on, its proof is as old as it is.
    #[serde(with = "time::serde::timestamp")]
    pub until: OffsetDateTime,
}

impl Spared {
    fn or(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.into_iter().chain(other).reduce(|a, b| Self { read: a.read.min(b.read), until: a.until.min(b.until) })
    }
}

/// The result of a survey for one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The current version of the device has a proof.
    Proven {
        /// Later than it was read if nobody can ask the device now.
        at: OffsetDateTime,
        spared: Option<Spared>,
    },
    /// The current version of the device was waived by name.
    Waived,
    Failed,
    /// This attempt has no result yet.
    Open {
        attempt: u32,
    },
    /// There is no task record.
    Unknown,
    /// The current version of the device has a proof, but an old one.
    Old,
    /// The device had lost what it had proven to hold. It was given it again.
    Forgot,
    /// The record proves nothing: it is about another bundle, or an earlier version of the device.
    Void,
    /// The device is to be sent to, but only in its window; or it was, and is to be sent to again now that it is open.
    Postponed {
        turn: Turn,
    },
    /// The device left the fleet: it was deleted, or its approval was revoked.
    Gone {
        waits_for: Option<u32>,
    },
}

impl Finding {
    pub(crate) const fn is_sent_by_a_survey(self) -> bool {
        matches!(self, Self::Unknown | Self::Old | Self::Void | Self::Postponed { .. })
    }

    /// The finding if work may begin at the device only in its turn.
    pub(crate) fn in_turn(self, task: Option<&TaskRecord>, turn: Turn) -> Self {
        let was_postponed = task.is_some_and(|task| task.state == TaskState::Postponed);
        match self {
            Self::Unknown | Self::Old | Self::Void if was_postponed || !turn.is_open() => Self::Postponed { turn },
            other => other,
        }
    }
}

/// Compares a device with its task record. `version`: the approved device's current one; `None` if there is no such
/// device.
///
/// `turn`: whether its window is open.
pub fn find(version: Option<DeviceVersion>, task: Option<&TaskRecord>, demand: Demand, turn: Turn) -> Finding {
    match (judge(version, task, demand, demand.since_in(turn)), turn.closed_until()) {
        // As young as now, until somebody may ask it.
        (Finding::Proven { at: read, .. }, Some(until)) => {
            Finding::Proven { at: read.max(demand.now), spared: Some(Spared { read, until }) }
        }
        (found, _) => found.in_turn(task, turn),
    }
}

fn judge(version: Option<DeviceVersion>, task: Option<&TaskRecord>, demand: Demand, since: OffsetDateTime) -> Finding {
    let open = task.filter(|task| task.state == TaskState::Waiting).map(|task| task.attempt);
    let Some(version) = version else { return Finding::Gone { waits_for: open } };
    let Some(task) = task else { return Finding::Unknown };
    if let Some(attempt) = open {
        return Finding::Open { attempt };
    }
    let speaks_of_it = task.of == Some(version);
    match (task.state, &task.ack) {
        // The failed version is unknown: a person must decide.
        (TaskState::Failed, _) if task.of.is_none() => Finding::Failed,
        _ if !speaks_of_it => Finding::Void,
        (TaskState::Acked, Some(ack)) if ack.of == version && ack.bundle_version == demand.bundle_version => {
            match demand.sample {
                // However old: it is to be reported, and not read away.
                _ if ack.probe == Probe::Restored && demand.hold.is_some_and(|hold| ack.at >= hold.since) => {
                    Finding::Forgot
                }
                _ if ack.at < since => Finding::Old,
                Some(sample) if ack.at < sample.since && sample.covers(&task.device) => Finding::Old,
                _ => Finding::Proven { at: ack.at, spared: None },
            }
        }
        (TaskState::Failed, _) => Finding::Failed,
        (TaskState::Waived, _) => Finding::Waived,
        (TaskState::Acked | TaskState::Skipped | TaskState::Waiting | TaskState::Postponed, _) => Finding::Void,
    }
}

/// What a sweep is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// Decides whether the gate may open. Devices without a proof are sent again.
    Survey,
    /// Sends messages again to devices without a result.
    Resend,
    /// Records devices without a result as failed. Those [under way](crate::job::visit::is_under_way) get their message
    /// again.
    GiveUp,
}

/// What a sweep does with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Send this attempt's message.
    Send { attempt: u32 },
    /// Record the next attempt, and send its message.
    Reopen,
    /// Record this attempt as lost.
    Lose { attempt: u32 },
    /// Record this attempt as skipped: its device left the fleet.
    Skip { attempt: u32 },
}

impl Deed {
    /// The deed for a device under way: only its message may be lost, so it is sent again.
    pub const fn under_way(self) -> Self {
        match self {
            Self::Lose { attempt } => Self::Send { attempt },
            other => other,
        }
    }
}

impl Purpose {
    pub const fn deed(self, finding: Finding) -> Option<Deed> {
        match (self, finding) {
            (_, Finding::Gone { waits_for: Some(attempt) }) => Some(Deed::Skip { attempt }),
            (Self::Survey | Self::Resend, Finding::Unknown) => Some(Deed::Send { attempt: 1 }),
            (Self::Survey, Finding::Old | Finding::Void | Finding::Postponed { turn: Turn::Open }) => {
                Some(Deed::Reopen)
            }
            (Self::Resend, Finding::Open { attempt }) => Some(Deed::Send { attempt }),
            (Self::GiveUp, Finding::Unknown) => Some(Deed::Lose { attempt: 1 }),
            (Self::GiveUp, Finding::Open { attempt }) => Some(Deed::Lose { attempt }),
            _ => None,
        }
    }
}

/// The current sweep. Its whole state is recorded, so that it can be interrupted after any page and resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    pub purpose: Purpose,
    #[serde(default)]
    pub at: Cursor,
    /// The fleet's revision in each shard, from before the sweep began. Empty for a sweep that opens no gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<u64>,
    /// The job must wait for some devices anyway, so those whose proofs have half the age are read again with them.
    #[serde(default)]
    pub refreshes: bool,
    /// Findings in the current shard.
    #[serde(default)]
    pub findings: Findings,
}

impl Sweep {
    pub const fn new(purpose: Purpose, revisions: Vec<u64>) -> Self {
        Self { purpose, at: Cursor { step: 0, after: None }, revisions, refreshes: false, findings: Findings::NONE }
    }
}

/// Number of devices by finding, in one or several shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Findings {
    #[serde(skip_serializing_if = "none_open")]
    pub proven: u64,
    #[serde(skip_serializing_if = "none_open")]
    pub waived: u64,
    #[serde(skip_serializing_if = "none_open")]
    pub failed: u64,
    #[serde(skip_serializing_if = "none_open")]
    pub open: u64,
    #[serde(skip_serializing_if = "none_open")]
    pub unknown: u64,
    #[serde(skip_serializing_if = "none_open")]
    pub old: u64,
    #[serde(skip_serializing_if = "none_open")]
    pub forgot: u64,
    #[serde(skip_serializing_if = "none_open")]
    pub void: u64,
    #[serde(skip_serializing_if = "none_open")]
    pub postponed: u64,
    #[serde(skip_serializing_if = "none_open")]
    pub gone: u64,
    /// Of all: those that have no task, and got none.
    #[serde(skip_serializing_if = "none_open")]
    pub unsent: u64,
    /// Time of the oldest proof, as [`find`] judges it.
    #[serde(with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub oldest: Option<OffsetDateTime>,
    /// Of devices that nobody could ask: the oldest proof, and when the first of them can be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spared: Option<Spared>,
}

impl Findings {
    pub const NONE: Self = Self {
        proven: 0,
        waived: 0,
        failed: 0,
        open: 0,
        unknown: 0,
        old: 0,
        forgot: 0,
        void: 0,
        postponed: 0,
        gone: 0,
        unsent: 0,
        oldest: None,
        spared: None,
    };

    pub fn add(&mut self, finding: Finding, has_task: bool) {
        self.unsent += u64::from(!has_task && matches!(finding, Finding::Postponed { .. }));
        match finding {
            Finding::Proven { at, spared } => {
                self.proven += 1;
                self.oldest = earlier(self.oldest, Some(at));
                self.spared = Spared::or(self.spared, spared);
            }
            Finding::Waived => self.waived += 1,
            Finding::Failed => self.failed += 1,
            Finding::Open { .. } => self.open += 1,
            Finding::Unknown => self.unknown += 1,
            Finding::Old => self.old += 1,
            Finding::Forgot => self.forgot += 1,
            Finding::Void => self.void += 1,
            Finding::Postponed { .. } => self.postponed += 1,
            Finding::Gone { .. } => self.gone += 1,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            proven: self.proven + other.proven,
            waived: self.waived + other.waived,
            failed: self.failed + other.failed,
            open: self.open + other.open,
            unknown: self.unknown + other.unknown,
            old: self.old + other.old,
            forgot: self.forgot + other.forgot,
            void: self.void + other.void,
            postponed: self.postponed + other.postponed,
            gone: self.gone + other.gone,
            unsent: self.unsent + other.unsent,
            oldest: earlier(self.oldest, other.oldest),
            spared: Spared::or(self.spared, other.spared),
        }
    }

    /// All devices seen, whether settled or not.
    pub const fn all(&self) -> u64 {
        self.proven
            + self.waived
            + self.failed
            + self.open
            + self.unknown
            + self.old
            + self.forgot
            + self.void
            + self.postponed
            + self.gone
    }

    /// Devices whose result is still to come. A survey sends those without a proof again.
    pub const fn awaited(&self) -> u64 {
        self.open + self.unknown + self.old + self.void + self.postponed
    }

    /// When the oldest proof was read.
    pub fn oldest_read(&self) -> Option<OffsetDateTime> {
        earlier(self.oldest, self.spared.map(|spared| spared.read))
    }

    /// Whether each device is waived, or has a proof since then.
    fn hold(&self, since: OffsetDateTime, now: OffsetDateTime) -> bool {
        let is_clean = self.awaited() == 0 && self.failed == 0 && self.forgot == 0;
        is_clean
            && self.oldest.is_none_or(|oldest| oldest >= since)
            && self.spared.is_none_or(|spared| now < spared.until || spared.read >= since)
    }
}

fn earlier(one: Option<OffsetDateTime>, other: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
    one.into_iter().chain(other).min()
}

/// A shard that was read completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyedShard {
    pub shard: u8,
    /// The fleet's revision before the shard was read.
    pub revision: u64,
    #[serde(flatten)]
    pub findings: Findings,
}

/// The surveyed shards. A shard that must be read again is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Survey(Vec<SurveyedShard>);

impl Survey {
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_complete(&self) -> bool {
        self.0.len() == usize::from(SHARDS)
    }

    pub fn knows(&self, shard: u8) -> bool {
        self.0.iter().any(|known| known.shard == shard)
    }

    pub fn total(&self) -> Findings {
        self.0.iter().fold(Findings::NONE, |sum, shard| sum.plus(shard.findings))
    }

    pub(crate) fn note(&mut self, shard: SurveyedShard) {
        self.0.retain(|known| known.shard != shard.shard);
        self.0.push(shard);
    }

    /// Forgets the shards with awaited or failed devices, or with proofs from before `since`.
    pub(crate) fn forget_unproven(&mut self, since: OffsetDateTime, now: OffsetDateTime) {
        self.0.retain(|known| known.findings.hold(since, now));
    }

    /// Forgets the shards with devices that nobody could ask. Returns whether there were any.
    pub(crate) fn forget_spared(&mut self) -> bool {
        let before = self.0.len();
        self.0.retain(|known| known.findings.spared.is_none());
        self.0.len() < before
    }

    /// Forgets the shards in which the fleet has changed since they were read. Returns whether there were any.
    pub(crate) fn forget_changed(&mut self, revisions: &[u64]) -> bool {
        let before = self.0.len();
        self.0.retain(|known| revisions.get(usize::from(known.shard)) == Some(&known.revision));
        self.0.len() < before
    }

    /// The fleet's revisions, by shard: conditions of the write that passes the gate.
    pub fn revisions(&self) -> Vec<(u8, u64)> {
        self.0.iter().map(|known| (known.shard, known.revision)).collect()
    }

    /// Whether every shard was read, and each of its devices is waived or has a proof since then.
    pub fn opens(&self, since: OffsetDateTime, now: OffsetDateTime) -> bool {
        self.is_complete() && self.0.iter().all(|known| known.findings.hold(since, now))
    }
}

impl Cursor {
    /// The next position, from this one on, in a shard that is not surveyed.
    pub(crate) fn skip_known(self, job: JobId, survey: &Survey) -> Self {
        let mut at = self;
        while !at.is_at_end() && survey.knows(at.shard(job)) {
            at = at.next_shard();
        }
        at
    }
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
