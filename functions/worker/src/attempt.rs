//! One attempt at one device.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rootcast_core::deployment::lifecycle::{Entry, Stage};
use rootcast_core::device::credential::{is_own, is_sealed};
use rootcast_core::device::probe::Probed;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::{ErrorClass, Failure, Outcome};
use rootcast_core::job::tries::AllTries;
use rootcast_core::job::visit::{self, Opening, Patience, TaskAttempt, Tries, Working};
use rootcast_core::job::{Haste, JobRecord};
use rootcast_core::rollover::windows::Schedule;
use rootcast_drivers::{Credential, Endpoint, Monitor};
use rootcast_ledger::{DeviceRecord, Lease, LeaseRefused, Left, ObservedTrustStore, Settlement};
use rootcast_queue::Delivery;
use time::OffsetDateTime;
use tracing::{info, warn};

use crate::App;
use crate::goals::Goal;

/// A lease outlives its worker's work on the device by this many seconds.
const LEASE_MARGIN: i64 = 10;

#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) delivery: Delivery<Task>,
    pub(crate) goal: Goal,
    /// The task's history.
    pub(crate) history: Vec<Entry>,
    /// Set while we hold the lease.
    pub(crate) device: Option<DeviceRecord>,
    pub(crate) owner: String,
    /// When work may begin at which devices.
    pub(crate) schedule: Arc<Schedule>,
    /// Which devices an operator wants to be tried now.
    pub(crate) haste: Option<Haste>,
    pub(crate) credential: Option<Credential>,
    /// Whether the device was contacted.
    pub(crate) visited: bool,
    /// The device's tries, to be recorded.
    pub(crate) tries: AllTries,
    pub(crate) working: Option<Working>,
    /// Set when the attempt is over.
    pub(crate) next: Option<AfterVisit>,
}

/// What happens to the message.
#[derive(Debug, Clone)]
pub(crate) enum AfterVisit {
    /// The outcome is recorded, then the message is deleted.
    Settle(Outcome),
    /// The message is deleted.
    Done,
    /// After the lease is released, the issuer gets its own message, and this one is deleted.
    PassOn,
    /// The message returns after this time.
    Again { seconds: u32 },
    /// The message returns soon: a service failed, not the device.
    Soon,
}

/// The result of a visit.
pub(crate) enum Visit {
    Ended(AfterVisit),
    Failed(Failure),
    /// The device continues by itself.
    Running {
        monitor: Monitor,
        after: Duration,
    },
}

impl Attempt {
    /// `worker`: the invocation. A lease also names the message, since a batch may contain a device twice.
    pub(crate) fn new(
        delivery: Delivery<Task>,
        goal: Goal,
        history: Vec<Entry>,
        worker: &str,
        schedule: Arc<Schedule>,
    ) -> Self {
        let owner = format!("{worker} {}", delivery.message_id);
        Self {
            delivery,
            goal,
            history,
            device: None,
            owner,
            schedule,
            haste: None,
            credential: None,
            visited: false,
            tries: AllTries::NONE,
            working: None,
            next: None,
        }
    }

    pub(crate) fn task(&self) -> TaskAttempt {
        (&self.delivery.body).into()
    }

    pub(crate) fn settlement(&self, at: OffsetDateTime) -> Option<Settlement> {
        match &self.next {
            Some(AfterVisit::Settle(outcome)) => Some(Settlement {
                key: (&self.delivery.body).into(),
                attempt: self.delivery.body.attempt,
                wave: self.delivery.body.wave,
                of: self.device.as_ref().map(DeviceRecord::version),
                outcome: outcome.clone(),
                history: self.history.clone(),
                at,
            }),
            _ => None,
        }
    }

    /// What the device's record keeps. `recorded`: the task's result was recorded. After a failure the tries stay: a
    /// second message of this attempt may have read the task before, and comes next. Tries of another task stay too: its
    /// failure may not be recorded yet. If the device was not contacted, the count of visits is restored.
    pub(crate) fn left(&self, device: &DeviceRecord, recorded: bool, at: OffsetDateTime) -> Left {
        let begun = if self.visited || recorded { 0 } else { device.begun.saturating_sub(1) };
        let failed = matches!(self.next, Some(AfterVisit::Settle(Outcome::Failed(_))));
        let tries = if recorded && !failed { self.tries.without(self.task()) } else { self.tries.clone() };
        Left { held: self.held(at), probed: self.probed(at), tries, working: self.working.clone(), begun }
    }

    /// The result of a probe, for the device's record.
    fn probed(&self, at: OffsetDateTime) -> Option<Probed> {
        let of = |found, failure| Some(Probed { number: self.delivery.body.attempt, at, found, failure });
        match (&self.goal, &self.next) {
            (Goal::Probe, Some(AfterVisit::Settle(Outcome::Probed(found)))) => of(Some((**found).clone()), None),
            (Goal::Probe, Some(AfterVisit::Settle(Outcome::Failed(failure)))) => of(None, Some(failure.clone())),
            _ => None,
        }
    }

    /// Whether an earlier visit for this part of the pass wrote to the device, and then failed.
    pub(crate) fn wrote_before(&self) -> bool {
        self.tries.have_written(self.task())
    }

    /// The state of the device's trust store, for its record.
    fn held(&self, at: OffsetDateTime) -> Option<ObservedTrustStore> {
        match (&self.goal, &self.next) {
            _ if !self.visited => None,
            (Goal::Trust(_), Some(AfterVisit::Settle(Outcome::Acked(ack)))) => {
                Some(ObservedTrustStore { ack: Some(ack.clone()), failure: None, at })
            }
            (Goal::Trust(_), Some(AfterVisit::Settle(Outcome::Failed(failure)))) => {
                let seen = self.device.as_ref().and_then(|device| device.held.as_ref()?.ack.clone());
                Some(ObservedTrustStore { ack: seen, failure: Some(failure.clone()), at })
            }
            _ => None,
        }
    }

    /// A panic would recur with the same device: the attempt fails at once, without affecting others.
    pub(crate) fn broken(mut self, now: OffsetDateTime) -> Self {
        let failure =
            Failure::new(ErrorClass::Lost, "The worker's task panicked at this device. See the worker's log.");
        self.tries = self.tries.with(visit::gave_up(self.task(), &self.tries, failure.clone(), now));
        self.visited = true;
        self.next = Some(AfterVisit::Settle(Outcome::Failed(failure)));
        self
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.next.is_none()
    }
}

pub(crate) fn endpoint(device: &DeviceRecord) -> Endpoint {
    Endpoint { address: device.address.clone(), pins: device.pins.clone() }
}

impl App {
    pub(crate) async fn lease_all(&self, attempts: Vec<Attempt>) -> Vec<Attempt> {
        join_all(attempts.into_iter().map(|attempt| self.lease(attempt))).await
    }

    async fn lease(&self, mut attempt: Attempt) -> Attempt {
        let known = attempt.delivery.body.unrecorded.clone();
        match (&attempt.goal, known) {
            (Goal::Install { binding: None, .. }, _) => attempt.next = Some(AfterVisit::Settle(Outcome::Skipped)),
            (Goal::PassOn, _) => attempt.next = Some(AfterVisit::PassOn),
            (_, Some(failure)) => attempt.next = Some(AfterVisit::Settle(Outcome::Failed(failure))),
            (Goal::Install { identity: Err(failure), .. }, None) => {
                let failure = failure.clone().at(Stage::InstallCertificate);
                attempt.next = Some(self.after(&mut attempt, failure));
            }
            (Goal::Trust(_) | Goal::Install { .. } | Goal::Request { .. } | Goal::Check { .. } | Goal::Probe, None) => {
            }
        }
        if attempt.next.is_some() {
            return attempt;
        }
        let now = (self.clock)();
        let lease = Lease {
            owner: attempt.owner.clone(),
            until: now + self.device_timeout + time::Duration::seconds(LEASE_MARGIN),
        };
        let leased = self.ledger.lease(&attempt.delivery.body.device, &lease, attempt.goal.fence(), now).await;
        match leased {
            Ok(device) => self.open(&mut attempt, device, now),
            Err(LeaseRefused::Gone) => attempt.next = Some(AfterVisit::Settle(Outcome::Skipped)),
            Err(LeaseRefused::Superseded { newer }) => attempt.next = Some(self.superseded(&mut attempt, newer).await),
            Err(LeaseRefused::Held { until }) => {
                info!(device.id = %attempt.delivery.body.device, %until, "device is leased by another task; this task waits");
                attempt.next = Some(AfterVisit::Again { seconds: seconds(until - now) + 1 });
            }
            Err(LeaseRefused::Ledger(error)) => {
                warn!(error = &error as &dyn std::error::Error, "the device could not be leased");
                attempt.next = Some(AfterVisit::Soon);
            }
        }
        attempt
    }

    /// The record of earlier visits decides whether there is another one.
    fn open(&self, attempt: &mut Attempt, device: DeviceRecord, now: OffsetDateTime) {
        let approved = device.approved_version().is_some();
        let meant = attempt.goal.is_meant_for(device.version());
        let hastens = |tries: &Tries| attempt.haste.as_ref().is_some_and(|haste| haste.concerns(&device.id, tries));
        let opening = visit::open(attempt.task(), &device.tries, hastens, device.begun, now);
        attempt.tries.clone_from(&device.tries);
        attempt.working.clone_from(&device.working);
        let is_closed = !attempt.schedule.turn(&device.labels).is_open();
        let is_running = device.working.as_ref().is_some_and(|working| working.task == attempt.task());
        attempt.device = Some(device);
        match opening {
            Opening::Visit if !approved || !meant => {
                let message = if approved {
                    "The device was changed and approved anew after this deployment began: no key was sent to it. Deploy the certificate again."
                } else {
                    "The device's identity is not approved: nothing was sent to it."
                };
                let failure = Failure::new(ErrorClass::Unapproved, message);
                let failure = match attempt.goal.stage() {
                    Some(stage) => failure.at(stage),
                    None => failure,
                };
                attempt.next = Some(self.after(attempt, failure));
            }
            // What the device does by itself for this task goes on.
            Opening::Visit if is_closed && !is_running => {
                info!(device.id = %attempt.delivery.body.device, "the device's maintenance window is closed; the task is put back");
                attempt.next = Some(AfterVisit::Settle(Outcome::Postponed));
            }
            Opening::Wait { .. } if is_closed && !is_running => {
                attempt.next = Some(AfterVisit::Settle(Outcome::Postponed));
            }
            Opening::Visit => {}
            Opening::Wait { until } => attempt.next = Some(AfterVisit::Again { seconds: seconds(until - now) }),
            Opening::Record(tries) => {
                let device = &attempt.delivery.body.device;
                warn!(device.id = %device, error.class = %tries.failure.class, "{}; recorded without a visit", tries.failure.message);
                attempt.next = Some(AfterVisit::Settle(Outcome::Failed(tries.failure.clone())));
                attempt.tries = attempt.tries.with(tries);
            }
        }
    }

    /// Late tasks of an earlier pass are dropped. But if the job brings this very bundle now, no existing record can
    /// have brought a newer one: the tables were restored. Then the task fails, because the device would wait forever.
    async fn superseded(&self, attempt: &mut Attempt, newer: u64) -> AfterVisit {
        let task = attempt.delivery.body.clone();
        let (jobs, _) = match self.ledger.jobs_and_tasks([task.job], &[]).await {
            Ok(read) => read,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the task's job could not be read");
                return AfterVisit::Soon;
            }
        };
        match jobs.get(&task.job) {
            Some(JobRecord::Rollover(job))
                if job.takes_device_work(task.pass) && attempt.goal.fence() == Some(job.bundle_version) =>
            {
                let message =
                    format!("Job {} brings bundle {}, and the device was given {newer}.", job.id, job.bundle_version);
                let failure = Failure::new(ErrorClass::NewerBundle, message).at(Stage::UpdateTrustStore);
                self.gave_up(attempt, failure)
            }
            _ => AfterVisit::Done,
        }
    }

    /// Reads the batch's credentials, and ends the attempts without one.
    pub(crate) async fn with_credentials(&self, mut attempts: Vec<Attempt>) -> Vec<Attempt> {
        let open = attempts.iter().filter(|attempt| attempt.is_open());
        let devices = open.filter_map(|attempt| attempt.device.as_ref());
        let (sealed, named): (Vec<&DeviceRecord>, Vec<_>) = devices.partition(|device| is_sealed(&device.credential));
        let names: BTreeSet<String> = named.into_iter().map(|device| device.credential.clone()).collect();
        let (mut credentials, opened) = futures::join!(self.credentials(names), self.opened(sealed));
        credentials.extend(opened);
        for attempt in attempts.iter_mut().filter(|attempt| attempt.is_open()) {
            let Some(device) = &attempt.device else { continue };
            let read = credentials.get(&device.credential).cloned();
            match read.map(|read| read.and_then(|credential| self.belongs(credential, device))) {
                Some(Ok(credential)) => attempt.credential = Some(credential),
                Some(Err(failure)) => attempt.next = Some(self.after(attempt, failure)),
                None => attempt.next = Some(AfterVisit::Soon),
            }
        }
        attempts
    }

    /// Whatever the record says: a credential is sent to its own device, or to an address that it names itself.
    fn belongs(&self, credential: Credential, device: &DeviceRecord) -> Result<Credential, Failure> {
        let DeviceRecord { address, .. } = device;
        // A sealed one opened for this device alone.
        let is_its = is_sealed(&device.credential) || is_own(&self.credential_prefix, &device.credential, &device.id);
        if is_its || credential.is_for(address) {
            return Ok(credential);
        }
        let message = format!(
            "The parameter {} is not the device's own, and does not say that it is for {address}.",
            device.credential
        );
        Err(Failure::new(ErrorClass::Credential, message))
    }

    /// The error class and the number of tries decide: again later, or failed. A person waits for a probe: it is not tried
    /// again, and the tries of other tasks are left alone.
    pub(crate) fn after(&self, attempt: &mut Attempt, failure: Failure) -> AfterVisit {
        if matches!(attempt.goal, Goal::Probe) {
            return AfterVisit::Settle(Outcome::Failed(failure));
        }
        let patience = Patience { max_tries: self.max_tries, base: self.retry_base };
        let now = (self.clock)();
        let tries = visit::failed(attempt.task(), &attempt.tries, failure, patience, (self.random)(), now);
        self.noted(attempt, tries, now)
    }

    /// No further try would help.
    pub(crate) fn gave_up(&self, attempt: &mut Attempt, failure: Failure) -> AfterVisit {
        let now = (self.clock)();
        let tries = visit::gave_up(attempt.task(), &attempt.tries, failure, now);
        self.noted(attempt, tries, now)
    }

    fn noted(&self, attempt: &mut Attempt, tries: Tries, now: OffsetDateTime) -> AfterVisit {
        let wait = tries.next.map(|next| seconds(next - now));
        warn!(
            job.id = attempt.delivery.body.job.0,
            device.id = %attempt.delivery.body.device,
            error.class = %tries.failure.class,
            task.tries = tries.count,
            "{}; {}",
            tries.failure.message,
            wait.map_or_else(|| "recorded as failed".to_owned(), |seconds| format!("again in {seconds} s"))
        );
        let next = match wait {
            Some(seconds) => AfterVisit::Again { seconds },
            None => AfterVisit::Settle(Outcome::Failed(tries.failure.clone())),
        };
        attempt.tries = attempt.tries.with(tries);
        next
    }
}

/// The remaining wait; 0 if it is over.
pub(crate) fn seconds(wait: time::Duration) -> u32 {
    u32::try_from(wait.whole_seconds()).unwrap_or(0)
}
