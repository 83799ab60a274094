//! A deployment: the job that brings one certificate to some devices, or has a device's own made and brings it there. Its state, and what the conductor does
//! next and why. Pure, as [`crate::rollover::plan`] is for rollovers.
//!
//! A deployment names its devices from the beginning, so there is nothing to page and nothing to pace: all are sent at
//! once, and the job ends when the last one is settled. Each device stands for itself: a failure holds up nobody.

pub mod lifecycle;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::{Duration, OffsetDateTime};

use crate::deployment::lifecycle::Work;
use crate::device::DeviceId;
use crate::inventory::id::CertificateId;
use crate::job::message::Task;
use crate::job::{JobId, Leg, Reopen, Selection, Tally};
use crate::rollover::plan::MAX_RESENDS;

/// Devices of one deployment: the bound of Huawei Cloud's `resources`. All of them, with what belongs to them, fit into
/// one transaction.
pub const MOST_DEPLOYED: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeploymentOutcome {
    /// Every device shows the certificate, but for those that were deleted before their turn.
    Deployed,
    DeployedWithFailures,
}

/// The job's own record. Device work is counted apart, in [`Tally`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    pub id: JobId,
    /// Grows with each write; every write names the one that it follows.
    pub revision: u64,
    /// `None` while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<DeploymentOutcome>,
    /// Why the job is where it is, in a sentence.
    pub reason: String,
    pub certificate: CertificateId,
    /// Of [`Work::Issue`] there is one device.
    #[serde(default)]
    pub work: Work,
    /// 1 to [`MOST_DEPLOYED`].
    pub devices: BTreeSet<DeviceId>,
    /// The principal.
    pub requested_by: String,
    /// Every open task was sent.
    #[serde(default)]
    pub sent: bool,
    /// Failed tasks are to be opened again.
    #[serde(default)]
    pub reopen: Reopen,
    /// How often open tasks were sent again since a device was last settled.
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

/// Why a deployment does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotResumed {
    #[error("every device shows the certificate already")]
    NothingFailed,
    #[error("earlier retries are still being worked on: send this one again in a moment")]
    ManyRetries,
}

impl Deployment {
    pub fn new(
        id: JobId,
        certificate: CertificateId,
        work: Work,
        devices: BTreeSet<DeviceId>,
        requested_by: String,
        now: OffsetDateTime,
    ) -> Self {
        Self {
            id,
            revision: 1,
            outcome: None,
            reason: "The certificate will be brought to the devices.".to_owned(),
            certificate,
            work,
            devices,
            requested_by,
            sent: false,
            reopen: Reopen::NOTHING,
            resends: 0,
            seen_settled: 0,
            progress_at: now,
            created: now,
            updated: now,
        }
    }

    pub const fn is_running(&self) -> bool {
        self.outcome.is_none()
    }

    /// The counters of its leg, with its devices for those dispatched: they are known from the beginning.
    pub fn tally(&self, counted: Tally) -> Tally {
        Tally { dispatched: self.devices.len() as u64, ..counted }
    }

    /// Whether a worker may begin with a device of this leg now.
    pub fn takes_device_work(&self, leg: Leg) -> bool {
        self.is_running() && leg == Leg::Install
    }

    /// Whether this is one of its devices, and a worker may begin with it now.
    pub fn takes(&self, task: &Task) -> bool {
        self.takes_device_work(task.leg) && self.devices.contains(&task.device)
    }

    /// Whether anything was settled since the conductor last looked.
    pub fn note_progress(&mut self, tally: &Tally, now: OffsetDateTime) -> bool {
        let moved = self.seen_settled != tally.settled();
        if moved {
            self.seen_settled = tally.settled();
            self.progress_at = now;
            self.resends = 0;
        }
        moved
    }

    pub fn note_sent(&mut self, now: OffsetDateTime) {
        self.sent = true;
        self.progress_at = now;
    }

    /// Open tasks are about to be sent again.
    pub fn begin_resend(&mut self, now: OffsetDateTime) {
        self.resends += 1;
        self.progress_at = now;
    }

    /// What had failed waits, and was sent.
    pub fn note_reopened(&mut self, now: OffsetDateTime) {
        self.reopen.finish();
        self.resends = 0;
        self.progress_at = now;
    }

    pub fn end(&mut self, outcome: DeploymentOutcome, why: &str) {
        self.outcome = Some(outcome);
        why.clone_into(&mut self.reason);
    }

    /// The job after an operator had some of what failed tried again, whether it had ended or not; the rest stays as it
    /// is. What follows from it is the conductor's to do.
    pub fn retry(mut self, selection: Selection, now: OffsetDateTime) -> Result<Self, NotResumed> {
        if self.outcome == Some(DeploymentOutcome::Deployed) {
            return Err(NotResumed::NothingFailed);
        }
        if !self.reopen.add(selection) {
            return Err(NotResumed::ManyRetries);
        }
        if self.outcome.take().is_some() {
            self.resends = 0;
            self.progress_at = now;
        }
        self.updated = now;
        "Failed devices are retried for an operator.".clone_into(&mut self.reason);
        Ok(self)
    }
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until somebody wakes the conductor.
    Wait,
    /// Open tasks are sent.
    Send,
    /// Failed tasks are opened again.
    Reopen,
    /// Open tasks are sent again.
    Resend,
    /// Open tasks are recorded as failed: their workers died, or their messages were lost, each time.
    GiveUp,
    End(DeploymentOutcome),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub action: Action,
    /// A sentence for the operator.
    pub why: String,
}

/// May be asked at any moment and any number of times: it looks at states, never at events. `stall`: so long may a job
/// go without a settled device before its messages are taken for lost.
pub fn plan(deployment: &Deployment, tally: &Tally, now: OffsetDateTime, stall: Duration) -> Step {
    let step = |action, why: String| Step { action, why };
    let (devices, open) = (tally.dispatched, tally.waiting());
    if !deployment.is_running() {
        return step(Action::Wait, deployment.reason.clone());
    }
    if !deployment.reopen.is_nothing() {
        return step(Action::Reopen, "Failed devices are retried.".to_owned());
    }
    if tally.is_settled() {
        return end(tally);
    }
    if !deployment.sent {
        return step(Action::Send, format!("The certificate goes to {open} of {devices} devices."));
    }
    if deployment.seen_settled != tally.settled() || now < deployment.progress_at + stall {
        return step(Action::Wait, format!("{open} of {devices} devices have no result yet."));
    }
    if deployment.resends < MAX_RESENDS {
        let why = format!("No result from {open} devices for {stall}: their tasks are sent again.");
        return step(Action::Resend, why);
    }
    step(Action::GiveUp, format!("No result from {open} devices after {MAX_RESENDS} resends."))
}

fn end(tally: &Tally) -> Step {
    let deleted = match tally.skipped {
        0 => String::new(),
        skipped => format!(" {skipped} were deleted before their turn."),
    };
    if tally.failed == 0 {
        let why = format!("{} devices show the certificate.{deleted}", tally.acked);
        return Step { action: Action::End(DeploymentOutcome::Deployed), why };
    }
    let why = format!(
        "{} of {} devices show the certificate, {} failed.{deleted} See the failed tasks, repair the devices, then resume the job.",
        tally.acked, tally.dispatched, tally.failed
    );
    Step { action: Action::End(DeploymentOutcome::DeployedWithFailures), why }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests;
