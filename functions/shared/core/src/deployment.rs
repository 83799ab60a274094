//! A deployment: the job that brings one imported certificate to some devices. Its state, and what the conductor does
//! next and why. Pure, as [`crate::plan`] is for rollovers.
//!
//! A deployment names its devices from the beginning, so there is nothing to page and nothing to pace: all are sent at
//! once, and the job ends when the last one is settled. Each device stands for itself: a failure holds up nobody.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::{Duration, OffsetDateTime};

use crate::certificate_id::CertificateId;
use crate::device::DeviceId;
use crate::job::{JobId, Leg, Reopen, Selection, Tally};
use crate::plan::MAX_RESENDS;

/// Devices of one deployment: the bound of Huawei Cloud's `resources`. All of them, with what belongs to them, fit into
/// one transaction.
pub const MOST_DEVICES: usize = 20;

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
    /// 1 to [`MOST_DEVICES`].
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
    #[error("it is running: what failed can be tried again when it has ended")]
    Running,
    #[error("every device shows the certificate already")]
    NothingFailed,
}

impl Deployment {
    pub fn new(
        id: JobId,
        certificate: CertificateId,
        devices: BTreeSet<DeviceId>,
        requested_by: String,
        now: OffsetDateTime,
    ) -> Self {
        Self {
            id,
            revision: 1,
            outcome: None,
            reason: "The certificate is to be brought to the devices.".to_owned(),
            certificate,
            devices,
            requested_by,
            sent: false,
            reopen: Reopen::Nothing,
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

    /// What had failed waits, and is to be sent.
    pub fn note_reopened(&mut self) {
        self.reopen.finish();
        self.sent = false;
    }

    pub fn end(&mut self, outcome: DeploymentOutcome, why: &str) {
        self.outcome = Some(outcome);
        why.clone_into(&mut self.reason);
    }

    /// The ended job after an operator had what failed tried again; what follows from it is the conductor's to do.
    pub fn resume(self, now: OffsetDateTime) -> Result<Self, NotResumed> {
        self.go_on(Reopen::All, "Resumed by the operator: what failed is tried again.", now)
    }

    /// The same with some of what failed; the rest stays as it is.
    pub fn retry(self, selection: Selection, now: OffsetDateTime) -> Result<Self, NotResumed> {
        let why = "Resumed by the operator: some of what failed is tried again.";
        self.go_on(Reopen::Chosen(vec![selection]), why, now)
    }

    fn go_on(mut self, reopen: Reopen, why: &str, now: OffsetDateTime) -> Result<Self, NotResumed> {
        match self.outcome {
            None => return Err(NotResumed::Running),
            Some(DeploymentOutcome::Deployed) => return Err(NotResumed::NothingFailed),
            Some(DeploymentOutcome::DeployedWithFailures) => self.outcome = None,
        }
        self.reopen = reopen;
        self.resends = 0;
        self.progress_at = now;
        self.updated = now;
        why.clone_into(&mut self.reason);
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
        return step(Action::Reopen, "What failed is tried again.".to_owned());
    }
    if tally.is_settled() {
        return end(tally);
    }
    if !deployment.sent {
        return step(Action::Send, format!("The certificate goes to {open} of {devices} devices."));
    }
    if deployment.seen_settled != tally.settled() || now < deployment.progress_at + stall {
        return step(Action::Wait, format!("{open} of {devices} devices are still open."));
    }
    if deployment.resends < MAX_RESENDS {
        let why = format!("Nothing came back from {open} devices for {stall}: they get their task again.");
        return step(Action::Resend, why);
    }
    step(Action::GiveUp, format!("Nothing came back from {open} devices after {MAX_RESENDS} more tries."))
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
        "{} of {} devices show the certificate, {} failed.{deleted} See the failed tasks, mend the devices, then resume the job.",
        tally.acked, tally.dispatched, tally.failed
    );
    Step { action: Action::End(DeploymentOutcome::DeployedWithFailures), why }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::task::{TaskRecord, TaskState};

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const STALL: Duration = Duration::minutes(15);

    fn deployment(devices: usize) -> Deployment {
        let devices = (0..devices).map(|number| format!("bmc-{number}").parse().unwrap()).collect();
        Deployment::new(JobId(7), "scs1600313391074".parse().unwrap(), devices, "ops".to_owned(), START)
    }

    fn action(deployment: &Deployment, acked: u64, failed: u64, minutes: i64) -> Action {
        let tally = deployment.tally(Tally { acked, failed, ..Tally::default() });
        plan(deployment, &tally, START + Duration::minutes(minutes), STALL).action
    }

    #[test]
    fn what_stands_still_is_sent_again_and_given_up_at_last() {
        let mut job = deployment(2);
        assert_eq!(action(&job, 0, 0, 0), Action::Send);
        job.note_sent(START);
        assert_eq!(action(&job, 1, 0, 20), Action::Wait, "progress that was not noted yet");
        assert!(job.note_progress(&job.tally(Tally { acked: 1, ..Tally::default() }), START));
        for resend in 1..=i64::from(MAX_RESENDS) {
            assert_eq!(action(&job, 1, 0, resend * 15 - 1), Action::Wait);
            assert_eq!(action(&job, 1, 0, resend * 15), Action::Resend);
            job.begin_resend(START + Duration::minutes(resend * 15));
        }
        assert_eq!(action(&job, 1, 0, 60), Action::GiveUp);
        assert_eq!(action(&job, 1, 1, 60), Action::End(DeploymentOutcome::DeployedWithFailures));
    }

    #[test]
    fn only_what_failed_is_resumed() {
        let mut job = deployment(2);
        assert_eq!(job.clone().resume(START), Err(NotResumed::Running));
        job.end(DeploymentOutcome::Deployed, "");
        assert_eq!(job.clone().resume(START), Err(NotResumed::NothingFailed));
        assert_eq!(action(&job, 2, 0, 99), Action::Wait);
        job.end(DeploymentOutcome::DeployedWithFailures, "");
        let mut job = job.resume(START).unwrap();
        assert_eq!(action(&job, 1, 1, 0), Action::Reopen);
        job.note_reopened();
        assert_eq!(action(&job, 1, 0, 0), Action::Send);
        assert!(job.takes_device_work(Leg::Install) && !job.takes_device_work(Leg::Distribute));
    }

    /// A world in which messages get lost, doubled and late, workers die, and the conductor is woken at any moment.
    #[derive(Debug)]
    struct World {
        job: Deployment,
        /// A device's attempt, and whether it is settled, and well.
        tasks: Vec<(u32, Option<bool>)>,
        messages: Vec<(usize, u32)>,
        now: OffsetDateTime,
    }

    #[derive(Debug, Clone)]
    enum Event {
        /// The conductor dies before it saves what it did.
        Conduct {
            dies: bool,
        },
        Deliver {
            message: usize,
            well: bool,
            keep: bool,
        },
        Lose {
            message: usize,
        },
        Pass {
            minutes: i64,
        },
        Resume,
        Retry {
            from: usize,
        },
    }

    fn named(device: usize) -> DeviceId {
        format!("bmc-{device}").parse().unwrap()
    }

    fn failed(device: usize, attempt: u32) -> TaskRecord {
        TaskRecord {
            device: named(device).to_string(),
            state: TaskState::Failed,
            attempt,
            ack: None,
            shown: None,
            failure: None,
            waiver: None,
            at: START,
        }
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            any::<bool>().prop_map(|dies| Event::Conduct { dies }),
            (any::<usize>(), any::<bool>(), any::<bool>()).prop_map(|(message, well, keep)| Event::Deliver {
                message,
                well,
                keep
            }),
            any::<usize>().prop_map(|message| Event::Lose { message }),
            (1i64..40).prop_map(|minutes| Event::Pass { minutes }),
            Just(Event::Resume),
            (0..MOST_DEVICES).prop_map(|from| Event::Retry { from }),
        ]
    }

    impl World {
        fn tally(&self) -> Tally {
            let count = |wanted| self.tasks.iter().filter(|(_, settled)| *settled == wanted).count() as u64;
            self.job.tally(Tally { acked: count(Some(true)), failed: count(Some(false)), ..Tally::default() })
        }

        fn send(&mut self) {
            let open = self.tasks.iter().enumerate().filter(|(_, (_, settled))| settled.is_none());
            self.messages.extend(open.map(|(device, (attempt, _))| (device, *attempt)));
        }

        fn conduct(&mut self, dies: bool) -> Action {
            let (tally, now, mut job) = (self.tally(), self.now, self.job.clone());
            let step = plan(&job, &tally, now, STALL);
            match step.action {
                Action::Wait => {
                    job.note_progress(&tally, now);
                }
                Action::Send => {
                    self.send();
                    job.note_sent(now);
                }
                Action::Resend => {
                    job.begin_resend(now);
                    if !dies {
                        self.send();
                    }
                }
                Action::Reopen => {
                    for (device, (attempt, settled)) in self.tasks.iter_mut().enumerate() {
                        if *settled == Some(false) && job.reopen.opens(job.id, &failed(device, *attempt)) {
                            (*attempt, *settled) = (*attempt + 1, None);
                        }
                    }
                    job.note_reopened();
                }
                Action::GiveUp => {
                    self.tasks.iter_mut().for_each(|(_, settled)| *settled = settled.or(Some(false)));
                }
                Action::End(outcome) => job.end(outcome, &step.why),
            }
            if !dies {
                self.job = job;
            }
            step.action
        }

        fn apply(&mut self, event: Event) {
            let at = |message: usize, many: usize| (many > 0).then(|| message % many);
            match event {
                Event::Conduct { dies } => {
                    self.conduct(dies);
                }
                Event::Deliver { message, well, keep } => {
                    let Some(index) = at(message, self.messages.len()) else { return };
                    let (device, attempt) = self.messages[index];
                    if !keep {
                        self.messages.swap_remove(index);
                    }
                    let task = &mut self.tasks[device];
                    if self.job.takes_device_work(Leg::Install) && *task == (attempt, None) {
                        task.1 = Some(well);
                    }
                }
                Event::Lose { message } => {
                    if let Some(index) = at(message, self.messages.len()) {
                        self.messages.swap_remove(index);
                    }
                }
                Event::Pass { minutes } => self.now += Duration::minutes(minutes),
                Event::Retry { from } => {
                    let devices = (from..MOST_DEVICES).map(named).collect();
                    let selection = Selection { devices, ..Selection::everything(self.now) };
                    if let Ok(job) = self.job.clone().retry(selection, self.now) {
                        self.job = job;
                    }
                }
                Event::Resume => {
                    if let Ok(job) = self.job.clone().resume(self.now) {
                        self.job = job;
                    }
                }
            }
        }
    }

    proptest! {
        /// Whatever happens, every device is settled in the end, and the outcome says how.
        #[test]
        fn every_deployment_ends(
            devices in 1usize..=MOST_DEVICES,
            events in proptest::collection::vec(event(), 0..200),
        ) {
            let tasks = vec![(1, None); devices];
            let mut world = World { job: deployment(devices), tasks, messages: Vec::new(), now: START };
            for event in events {
                world.apply(event);
                prop_assert!(world.job.is_running() || world.tally().is_settled());
            }
            for _ in 0..3 * (MAX_RESENDS + 4) {
                world.conduct(false);
                world.now += STALL;
            }
            prop_assert_eq!(world.conduct(false), Action::Wait);
            let outcome = match world.tally().failed {
                0 => DeploymentOutcome::Deployed,
                _ => DeploymentOutcome::DeployedWithFailures,
            };
            prop_assert_eq!(world.job.outcome, Some(outcome), "{}", world.job.reason);
        }
    }
}
