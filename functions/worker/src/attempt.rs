//! One attempt at one device.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use rootcast_core::bundle::{Bundle, content_hash};
use rootcast_core::certificate::Certificate;
use rootcast_core::device::Driver;
use rootcast_core::message::Task;
use rootcast_core::task::{Ack, ErrorClass, Failure, Outcome, Probe};
use rootcast_drivers::{Assignment, Credential, Endpoint, Monitor, Progress, TrustGoal};
use rootcast_ledger::{DeviceRecord, Held, Lease, LeaseRefused, Settlement};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::batch::Delivery;
use crate::{App, SOON, backoff};

/// A lease outlives its worker's work on the device by so much, in seconds.
const LEASE_MARGIN: i64 = 10;

#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) delivery: Delivery,
    pub(crate) bundle: Arc<Bundle>,
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
    /// The message comes back.
    Again { seconds: u32 },
}

impl Attempt {
    pub(crate) fn settlement(&self, at: OffsetDateTime) -> Option<Settlement> {
        match &self.next {
            Some(Next::Settle(outcome)) => Some(Settlement {
                key: self.delivery.key(),
                attempt: self.delivery.task.attempt,
                outcome: outcome.clone(),
                at,
            }),
            _ => None,
        }
    }

    /// What was seen of the device, for its record.
    pub(crate) fn held(&self, at: OffsetDateTime) -> Option<Held> {
        match &self.next {
            Some(Next::Settle(Outcome::Acked(ack))) => Some(Held { ack: Some(ack.clone()), failure: None, at }),
            Some(Next::Settle(Outcome::Failed(failure))) => {
                let seen = self.device.as_ref().and_then(|device| device.held.as_ref()?.ack.clone());
                Some(Held { ack: seen, failure: Some(failure.clone()), at })
            }
            _ => None,
        }
    }

    /// A panic comes again with the same device: it fails at once, and alone.
    pub(crate) fn broken(mut self) -> Self {
        self.next = Some(Next::Settle(Outcome::Failed(Failure::new(
            ErrorClass::Lost,
            "The worker broke off at this device; its log says why.",
        ))));
        self
    }

    fn is_open(&self) -> bool {
        self.next.is_none()
    }
}

impl App {
    pub(crate) async fn lease_all(&self, attempts: Vec<(Delivery, Arc<Bundle>)>, owner: &str) -> Vec<Attempt> {
        join_all(attempts.into_iter().map(|(delivery, bundle)| self.lease(delivery, bundle, owner))).await
    }

    async fn lease(&self, delivery: Delivery, bundle: Arc<Bundle>, owner: &str) -> Attempt {
        let now = (self.clock)();
        let lease =
            Lease { owner: owner.to_owned(), until: now + self.device_timeout + time::Duration::seconds(LEASE_MARGIN) };
        let leased = self.ledger.lease(&delivery.task.device, &lease, bundle.version, now).await;
        let mut attempt =
            Attempt { delivery, bundle, device: None, owner: owner.to_owned(), credential: None, next: None };
        match leased {
            Ok(device) => attempt.device = Some(device),
            Err(LeaseRefused::Gone) => attempt.next = Some(Next::Settle(Outcome::Skipped)),
            Err(LeaseRefused::Superseded) => attempt.next = Some(Next::Done),
            Err(LeaseRefused::Held { until }) => {
                info!(device.id = %attempt.delivery.task.device, %until, "another task holds the device: after that");
                let wait = u32::try_from((until - now).whole_seconds()).unwrap_or(0) + 1;
                attempt.next = Some(self.send_on(&attempt.delivery.task, wait).await);
            }
            Err(LeaseRefused::Ledger(error)) => {
                warn!(error = &error as &dyn std::error::Error, "the device could not be leased");
                attempt.next = Some(Next::Again { seconds: SOON });
            }
        }
        attempt
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
        let next = match self.converge(&attempt, deadline).await {
            Ok(Progress::Done(converged)) => self.prove(&attempt, &converged.held.anchors),
            Ok(Progress::Running { monitor, after }) => {
                // The device works on by itself: the task waits in the queue, not in the function.
                let task = Task { monitor: Some(monitor.to_string()), ..attempt.delivery.task.clone() };
                self.send_on(&task, u32::try_from(after.as_secs()).unwrap_or(u32::MAX)).await
            }
            Err(failure) => self.after(&attempt.delivery, failure),
        };
        attempt.next = Some(next);
        attempt
    }

    async fn converge(&self, attempt: &Attempt, deadline: Instant) -> Result<Progress, Failure> {
        let missing = || Failure::new(ErrorClass::Credential, "The device's credential was not read.");
        let (Some(device), Some(credential)) = (&attempt.device, &attempt.credential) else { return Err(missing()) };
        let address = device
            .address
            .parse()
            .map_err(|error| Failure::new(ErrorClass::AddressRefused, format!("{}: {error}", device.address)))?;
        let endpoint = Endpoint { address, pins: device.pins.clone() };
        let goal = TrustGoal {
            install: attempt.bundle.anchors.iter().map(|anchor| anchor.der().to_vec()).collect(),
            remove: attempt.bundle.withdrawn.clone(),
        };
        let monitor = attempt.delivery.task.monitor.as_deref().and_then(|text| text.parse::<Monitor>().ok());
        let assignment = Assignment {
            endpoint: &endpoint,
            profile: device.profile,
            slot: device.slot.as_ref(),
            credential,
            goal: &goal,
            monitor: monitor.as_ref(),
            deadline,
        };
        let converged = match device.driver {
            Driver::Redfish => self.redfish.converge(&assignment),
        };
        // The driver keeps the deadline by itself, with time for logging out; this holds it to that.
        timeout_at(deadline + crate::MARGIN / 2, converged).await.unwrap_or_else(|_| {
            let seconds = self.device_timeout.as_secs();
            Err(Failure::new(ErrorClass::Timeout, format!("The device was not done within {seconds} s.")))
        })
    }

    /// The ack is made of what was read back, and of nothing else.
    fn prove(&self, attempt: &Attempt, held: &[rootcast_core::fingerprint::Fingerprint]) -> Next {
        let bundle = &attempt.bundle;
        let wanted = || bundle.anchors.iter().map(Certificate::fingerprint);
        let sha256 = content_hash(wanted().filter(|anchor| held.contains(anchor)));
        let withdrawn = bundle.withdrawn.iter().any(|gone| held.contains(gone));
        if sha256 != bundle.sha256() || withdrawn {
            let message = "What was read back is not what the bundle wants.";
            return self.after(&attempt.delivery, Failure::new(ErrorClass::NotStored, message));
        }
        info!(job.id = attempt.delivery.task.job.0, device.id = %attempt.delivery.task.device, bundle.version = bundle.version, "the device proved what it holds");
        Next::Settle(Outcome::Acked(Ack { bundle_version: bundle.version, sha256, probe: Probe::ReadBack }))
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
    fn after(&self, delivery: &Delivery, failure: Failure) -> Next {
        let again = failure.class.is_retryable() && delivery.receives < self.max_receives;
        let seconds = backoff::seconds(self.retry_base, delivery.receives, backoff::random());
        warn!(
            job.id = delivery.task.job.0,
            device.id = %delivery.task.device,
            error.class = %failure.class,
            task.receives = delivery.receives,
            "{}; {}",
            failure.message,
            if again { format!("again in {seconds} s") } else { "recorded as failed".to_owned() }
        );
        if again { Next::Again { seconds } } else { Next::Settle(Outcome::Failed(failure)) }
    }
}
