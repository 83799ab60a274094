//! A deployment job: installs one certificate on some devices, or has devices' own certificates issued and installed.
//! This module holds its state, and what the conductor does next and why. Pure, like [`crate::rollover::plan`] for
//! rollovers.
//!
//! A deployment names its devices from the start, so it needs neither paging nor waves: all tasks are sent at once, and
//! the job ends when the last device is settled. A failed device does not hold up the others.

pub mod lifecycle;
pub mod renewal;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::{Duration, OffsetDateTime};

use crate::deployment::lifecycle::Work;
use crate::device::DeviceId;
use crate::inventory::id::CertificateId;
use crate::job::message::Task;
use crate::job::{Haste, JobId, Pass, Reopen, Selection, Tally};
use crate::rollover::plan::MAX_RESENDS;

/// Most devices of one deployment: the limit of Huawei Cloud's `resources`. All of them, with their records, fit into
/// one transaction.
pub const MOST_DEPLOYED: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeploymentOutcome {
    /// Every device shows the certificate, except those deleted before their turn.
    Deployed,
    DeployedWithFailures,
}

/// The job's own record. Device results are counted separately, in [`Tally`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    pub id: JobId,
    /// Incremented by each write, which is conditional on the previous revision.
    pub revision: u64,
    /// `None` while the job runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<DeploymentOutcome>,
    /// Why the job is in this state, in a sentence.
    pub reason: String,
    /// Of every device that has none in `certificates`.
    pub certificate: CertificateId,
    #[serde(default)]
    pub work: Work,
    /// The own certificate of each device, of a [`Work::Issue`] job with several devices.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<DeviceId, CertificateId>,
    /// 1 to [`MOST_DEPLOYED`].
    pub devices: BTreeSet<DeviceId>,
    /// The principal who requested the job.
    pub requested_by: String,
    /// Whether the messages of all open tasks were sent.
    #[serde(default)]
    pub sent: bool,
    /// As of a [rollover](crate::job::Job::counted_together).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counted_together: bool,
    /// Failed tasks to be retried.
    #[serde(default)]
    pub reopen: Reopen,
    /// Which waiting tasks are not to wait for their next try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub haste: Option<Haste>,
    /// Resends of the open tasks since a device was last settled.
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

/// Why a failed deployment cannot be retried.
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
            certificates: BTreeMap::new(),
            devices,
            requested_by,
            sent: false,
            counted_together: true,
            reopen: Reopen::NOTHING,
            haste: None,
            resends: 0,
            seen_settled: 0,
            progress_at: now,
            created: now,
            updated: now,
        }
    }

    /// Has these devices' own certificates renewed: 1 to [`MOST_DEPLOYED`], `None` if there is none.
    pub fn renewing(
        id: JobId,
        certificates: BTreeMap<DeviceId, CertificateId>,
        requested_by: String,
        now: OffsetDateTime,
    ) -> Option<Self> {
        let certificate = *certificates.values().next()?;
        let devices = certificates.keys().cloned().collect();
        let reason = "The devices are to get their next certificates.".to_owned();
        Some(Self { certificates, reason, ..Self::new(id, certificate, Work::Issue, devices, requested_by, now) })
    }

    /// The certificate that this job brings to the device.
    pub fn certificate_of(&self, device: &DeviceId) -> CertificateId {
        self.certificates.get(device).copied().unwrap_or(self.certificate)
    }

    /// Every device with its certificate.
    pub fn bindings(&self) -> impl Iterator<Item = (CertificateId, &DeviceId)> {
        self.devices.iter().map(|device| (self.certificate_of(device), device))
    }

    /// Whether a rule began it, and no person.
    pub fn is_by_rule(&self) -> bool {
        self.requested_by == renewal::rule().principal
    }

    pub const fn is_running(&self) -> bool {
        self.outcome.is_none()
    }

    /// The counters of its pass. All of its devices count as dispatched: they are known from the start.
    pub fn tally(&self, counted: Tally) -> Tally {
        Tally { dispatched: self.devices.len() as u64, ..counted }
    }

    /// Whether a worker may start on a device of this pass now.
    pub fn takes_device_work(&self, pass: Pass) -> bool {
        self.is_running() && pass == Pass::Install
    }

    /// Whether the task's device belongs to this job, and a worker may start on it now.
    pub fn takes(&self, task: &Task) -> bool {
        self.takes_device_work(task.pass) && self.devices.contains(&task.device)
    }

    /// Records progress. Returns whether a device was settled since the conductor's last look.
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

    /// Records that all open tasks are about to be sent again.
    pub fn begin_resend(&mut self, now: OffsetDateTime) {
        self.resends += 1;
        self.counted_together = false;
        self.progress_at = now;
    }

    /// Records that the first selection of failed tasks was reopened and sent.
    pub fn note_reopened(&mut self, now: OffsetDateTime) {
        self.reopen.finish();
        self.resends = 0;
        self.progress_at = now;
    }

    /// The job after waiting devices were to be tried now: their messages are sent again.
    #[must_use]
    pub fn hasten(self, selection: &Selection, now: OffsetDateTime) -> Self {
        Self { haste: Some(Haste::new(selection)), sent: false, updated: now, ..self }
    }

    pub fn end(&mut self, outcome: DeploymentOutcome, why: &str) {
        self.outcome = Some(outcome);
        why.clone_into(&mut self.reason);
    }

    /// The job after an operator requested a retry of some failed devices; it may have ended already. Other failed
    /// devices stay failed. The conductor does the rest.
    pub fn retry(mut self, selection: Selection, now: OffsetDateTime) -> Result<Self, NotResumed> {
        if self.outcome == Some(DeploymentOutcome::Deployed) {
            return Err(NotResumed::NothingFailed);
        }
        if self.is_running() {
            self = self.hasten(&selection, now);
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

/// What the conductor does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until the conductor is woken.
    Wait,
    /// Send the open tasks.
    Send,
    /// Reopen failed tasks.
    Reopen,
    /// Send the open tasks again.
    Resend,
    /// Record open tasks as failed: each time, the worker died or the message was lost.
    GiveUp,
    End(DeploymentOutcome),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub action: Action,
    /// A sentence for the operator.
    pub why: String,
}

/// The next step. Safe to call at any time and any number of times: the result depends on states, not on events.
/// `stall`: time without a settled device after which messages count as lost.
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
