//! One attempt at one device.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use rootcast_core::lifecycle::{Entry, Stage};
use rootcast_core::message::Task;
use rootcast_core::task::{ErrorClass, Failure, Outcome};
use rootcast_drivers::{Credential, Endpoint, Monitor};
use rootcast_ledger::{DeviceRecord, Held, JobRecord, Lease, LeaseRefused, Settlement};
use rootcast_queue::{Delivery, backoff};
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::goals::Goal;
use crate::{App, SOON};

/// A lease outlives its worker's work on the device by so much, in seconds.
const LEASE_MARGIN: i64 = 10;

#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) delivery: Delivery<Task>,
    pub(crate) goal: Goal,
    /// What is on record of earlier attempts.
    pub(crate) history: Vec<Entry>,
    /// Set while the lease is ours.
    pub(crate) device: Option<DeviceRecord>,
    pub(crate) owner: String,
    pub(crate) credential: Option<Credential>,
    /// Set as soon as the attempt is over.
    pub(crate) next: Option<Next>,
}

/// What becomes of the message.
#[derive(Debug, Clone)]
pub(crate) enum Next {
    /// The outcome is recorded, then the message is gone.
    Settle(Outcome),
    /// The message is gone.
    Done,
    /// When the device is given back the issuer gets a message of its own, and this one is gone.
    PassOn,
    /// The message comes back.
    Again { seconds: u32 },
}

impl Attempt {
    pub(crate) fn settlement(&self, at: OffsetDateTime) -> Option<Settlement> {
        match &self.next {
            Some(Next::Settle(outcome)) => Some(Settlement {
                key: (&self.delivery.body).into(),
                attempt: self.delivery.body.attempt,
                outcome: outcome.clone(),
                history: self.history.clone(),
                at,
            }),
            _ => None,
        }
    }

    /// What was seen of the device's trust store, for its record.
    pub(crate) fn held(&self, at: OffsetDateTime) -> Option<Held> {
        match (&self.goal, &self.next) {
            (Goal::Trust(_), Some(Next::Settle(Outcome::Acked(ack)))) => {
                Some(Held { ack: Some(ack.clone()), failure: None, at })
            }
            (Goal::Trust(_), Some(Next::Settle(Outcome::Failed(failure)))) => {
                let seen = self.device.as_ref().and_then(|device| device.held.as_ref()?.ack.clone());
                Some(Held { ack: seen, failure: Some(failure.clone()), at })
            }
            _ => None,
        }
    }

    /// A panic comes again with the same device: it fails at once, and alone.
    pub(crate) fn broken(mut self) -> Self {
        let failure = Failure::new(ErrorClass::Lost, "The worker broke off at this device; its log says why.");
        self.next = Some(Next::Settle(Outcome::Failed(failure)));
        self
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.next.is_none()
    }

    pub(crate) fn monitor(&self) -> Option<Monitor> {
        self.delivery.body.monitor.as_deref().and_then(|text| text.parse().ok())
    }
}

pub(crate) fn endpoint(device: &DeviceRecord) -> Result<Endpoint, Failure> {
    let address = device
        .address
        .parse()
        .map_err(|error| Failure::new(ErrorClass::AddressRefused, format!("{}: {error}", device.address)))?;
    Ok(Endpoint { address, pins: device.pins.clone() })
}

impl App {
    pub(crate) async fn lease_all(
        &self,
        attempts: Vec<(Delivery<Task>, Goal, Vec<Entry>)>,
        owner: &str,
    ) -> Vec<Attempt> {
        let attempt = |(delivery, goal, history)| {
            let owner = owner.to_owned();
            self.lease(Attempt { delivery, goal, history, device: None, owner, credential: None, next: None })
        };
        join_all(attempts.into_iter().map(attempt)).await
    }

    async fn lease(&self, mut attempt: Attempt) -> Attempt {
        attempt.next = match &attempt.goal {
            Goal::Install { tie: None, .. } => Some(Next::Settle(Outcome::Skipped)),
            Goal::Install { identity: Err(failure), .. } => {
                Some(self.after(&attempt.delivery, failure.clone().at(Stage::InstallCertificate)))
            }
            Goal::PassOn => Some(Next::PassOn),
            Goal::Trust(_) | Goal::Install { .. } | Goal::Request { .. } => None,
        };
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
            Ok(device) => attempt.device = Some(device),
            Err(LeaseRefused::Gone) => attempt.next = Some(Next::Settle(Outcome::Skipped)),
            Err(LeaseRefused::Superseded { newer }) => attempt.next = Some(self.superseded(&attempt, newer).await),
            Err(LeaseRefused::Held { until }) => {
                info!(device.id = %attempt.delivery.body.device, %until, "another task holds the device: after that");
                let wait = u32::try_from((until - now).whole_seconds()).unwrap_or(0) + 1;
                attempt.next = Some(self.send_on(&attempt.delivery.body, wait).await);
            }
            Err(LeaseRefused::Ledger(error)) => {
                warn!(error = &error as &dyn std::error::Error, "the device could not be leased");
                attempt.next = Some(Next::Again { seconds: SOON });
            }
        }
        attempt
    }

    /// A late task of an earlier pass is left alone. But where its job brings this very bundle now, no record that there
    /// is can have brought a newer one: the tables were restored, and the device would wait for ever.
    async fn superseded(&self, attempt: &Attempt, newer: u64) -> Next {
        let task = &attempt.delivery.body;
        let (jobs, _) = match self.ledger.jobs_and_tasks([task.job], &[]).await {
            Ok(read) => read,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the task's job could not be read");
                return Next::Again { seconds: SOON };
            }
        };
        match jobs.get(&task.job) {
            Some(JobRecord::Rollover(job))
                if job.takes_device_work(task.leg) && attempt.goal.fence() == Some(job.bundle_version) =>
            {
                let message =
                    format!("Job {} brings bundle {}, and the device was given {newer}.", job.id, job.bundle_version);
                let failure = Failure::new(ErrorClass::NewerBundle, message).at(Stage::UpdateTrustStore);
                self.after(&attempt.delivery, failure)
            }
            _ => Next::Done,
        }
    }

    /// Reads the batch's credentials, and ends the attempts that have none.
    pub(crate) async fn with_credentials(&self, mut attempts: Vec<Attempt>) -> Vec<Attempt> {
        let open = attempts.iter().filter(|attempt| attempt.is_open());
        let names: BTreeSet<String> =
            open.filter_map(|attempt| Some(attempt.device.as_ref()?.credential.clone())).collect();
        let credentials = self.credentials(names).await;
        for attempt in attempts.iter_mut().filter(|attempt| attempt.is_open()) {
            let Some(device) = &attempt.device else { continue };
            match credentials.get(&device.credential) {
                Some(Ok(credential)) => attempt.credential = Some(credential.clone()),
                Some(Err(failure)) => attempt.next = Some(self.after(&attempt.delivery, failure.clone())),
                None => attempt.next = Some(Next::Again { seconds: SOON }),
            }
        }
        attempts
    }

    pub(crate) async fn run(&self, mut attempt: Attempt, deadline: Instant) -> Attempt {
        let next = match attempt.goal.clone() {
            Goal::Trust(bundle) => self.trust(&attempt, &bundle, deadline).await,
            Goal::Install { tie: Some(tie), identity: Ok(identity) } => {
                self.install(&mut attempt, &tie, &identity, deadline).await
            }
            Goal::Request { tie } => self.request(&attempt, &tie, deadline).await,
            // Over before anything was leased.
            Goal::Install { .. } | Goal::PassOn => return attempt,
        };
        attempt.next = Some(next);
        attempt
    }

    /// The device works on by itself: the task waits in the queue, not in the function.
    pub(crate) async fn ask_again(&self, attempt: &Attempt, monitor: &Monitor, after: Duration) -> Next {
        let task = Task { monitor: Some(monitor.to_string()), ..attempt.delivery.body.clone() };
        self.send_on(&task, u32::try_from(after.as_secs()).unwrap_or(u32::MAX)).await
    }

    /// A new message in place of this one: its receives are counted anew, since waiting is no failure.
    async fn send_on(&self, task: &Task, seconds: u32) -> Next {
        match self.queue.send_later(&self.task_queue, task, seconds).await {
            Ok(()) => Next::Done,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "a task could not be sent on");
                Next::Again { seconds: SOON }
            }
        }
    }

    /// The error's class decides: again later, or failed.
    pub(crate) fn after(&self, delivery: &Delivery<Task>, failure: Failure) -> Next {
        let again = failure.class.is_retryable() && delivery.receives < self.max_receives;
        let seconds = backoff::seconds(self.retry_base, delivery.receives, backoff::random());
        warn!(
            job.id = delivery.body.job.0,
            device.id = %delivery.body.device,
            error.class = %failure.class,
            task.receives = delivery.receives,
            "{}; {}",
            failure.message,
            if again { format!("again in {seconds} s") } else { "recorded as failed".to_owned() }
        );
        if again { Next::Again { seconds } } else { Next::Settle(Outcome::Failed(failure)) }
    }
}
