//! One message, one device: lease it, bring its trust store or its certificate to the state that the job requires,
//! prove it by reading back, record it. For a certificate that we issue, the worker does the part at the device: it has
//! the device make the key and the CSR, and installs the certificate. In between, it passes the task to the issuer.
//! For a preflight it reads the device, and writes nothing to it.
//!
//! The tasks of a batch run concurrently. Their results are recorded in transactions with the counters of their shards.
//! A message that comes twice, late, or for a paused job changes nothing.

mod attempt;
mod batch;
mod check;
mod config;
mod credentials;
mod goals;
mod install;
mod record;
mod request;
mod trust;
mod visit;

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::LambdaEvent;
use rootcast_core::job::backoff;
use rootcast_core::job::message::Task;
use rootcast_core::job::{JobId, JobRecord, Pass};
use rootcast_core::rollover::windows::Schedule;
use rootcast_drivers::Redfish;
use rootcast_events::Events;
use rootcast_ledger::{Authority, BatchRecords, BundleRecord, Ledger, LedgerError, OpenTask};
use rootcast_queue::{Delivery, Queue, Returning};
use rootcast_seal::Sealer;
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::error;

use attempt::{AfterVisit, Attempt};
use goals::Goals;

/// Reserved for recording the results of a batch.
const MARGIN: Duration = Duration::from_secs(3);
/// Seconds until a message returns after a service failed; doubles each time.
const SOON: u32 = 5;

/// The function's clients and configuration.
pub struct App {
    pub ledger: Ledger,
    pub queue: Queue,
    pub ssm: aws_sdk_ssm::Client,
    /// Decrypts private keys.
    pub sealer: Sealer,
    pub events: Events,
    pub redfish: Redfish,
    /// Where the devices' own credentials lie: the prefix and the device's id.
    pub credential_prefix: String,
    pub control_queue: String,
    pub task_queue: String,
    pub issue_queue: String,
    /// Time limit for the work on one device.
    pub device_timeout: Duration,
    /// The first wait before a retry, in seconds.
    pub retry_base: u32,
    /// After this many tries, the task is recorded as failed.
    pub max_tries: u32,
    /// The dimension of metrics.
    pub stack: String,
    pub clock: fn() -> OffsetDateTime,
    /// Randomises retries.
    pub random: fn() -> u32,
    /// Cache: bundles never change, and a process sees one or two.
    pub bundles: Mutex<HashMap<u64, Arc<BundleRecord>>>,
}

/// Never fails as a whole: the response names each message that is not done.
pub async fn handle(app: &Arc<App>, event: LambdaEvent<SqsEvent>) -> SqsBatchResponse {
    let _running = app.ledger.meter().run(true);
    let remaining =
        event.context.deadline().duration_since(SystemTime::from((app.clock)())).unwrap_or(app.device_timeout);
    let deadline = Instant::now() + app.device_timeout.min(remaining.saturating_sub(MARGIN));
    let owner = event.context.request_id;
    let (deliveries, unreadable) = Delivery::read_all(event.payload);
    let mut answer = SqsBatchResponse::default();
    for id in unreadable {
        // It ends in the dead-letter queue, where an operator can inspect it.
        answer.add_failure(id);
    }
    // Boxed: deeply nested futures overflow the compiler's recursion limit.
    let worked = Box::pin(app.work(deliveries, &owner, deadline)).await;
    let returning = worked.into_iter().filter_map(|(delivery, next)| returning(delivery, next, app.random)).collect();
    for id in app.queue.come_back(&app.task_queue, returning).await {
        answer.add_failure(id);
    }
    answer
}

/// `None` if the message is done.
fn returning(delivery: Delivery<Task>, next: AfterVisit, random: fn() -> u32) -> Option<Returning<Task>> {
    let seconds = match next {
        AfterVisit::Again { seconds } => seconds,
        AfterVisit::Soon => backoff::seconds(SOON, delivery.receives, random()),
        AfterVisit::Settle(_) | AfterVisit::Done | AfterVisit::PassOn => return None,
    };
    Some(Returning { changed: delivery.body.unrecorded.is_some(), delivery, seconds })
}

impl App {
    async fn work(
        self: &Arc<Self>,
        deliveries: Vec<Delivery<Task>>,
        owner: &str,
        deadline: Instant,
    ) -> Vec<(Delivery<Task>, AfterVisit)> {
        let (records, authority) = match self.records(&deliveries).await {
            Ok(read) => read,
            Err(error) => {
                error!(error = &error as &dyn Error, "the batch's jobs could not be read");
                return deliveries.into_iter().map(|delivery| (delivery, AfterVisit::Soon)).collect();
            }
        };
        let (open, dropped) = records.open(deliveries, |task, job, record| batch::judge(task, job, record, &authority));
        let mut done: Vec<_> = dropped.into_iter().map(|delivery| (delivery, AfterVisit::Done)).collect();
        let wanted: Vec<_> = open.iter().map(|task| (task.work, &task.message.body.device)).collect();
        let goals = self.goals(&wanted).await.unwrap_or_else(|error| {
            error!(error = &error as &dyn Error, "what the batch's devices need could not be read");
            Goals::default()
        });
        let mut attempts = Vec::new();
        let schedules = self.schedules(&records);
        for OpenTask { mut message, work, wave, history } in open {
            message.body.wave = wave;
            let schedule = schedules.get(&message.body.job).cloned().unwrap_or_default();
            let haste = records.jobs().get(&message.body.job).and_then(JobRecord::haste).cloned();
            match goals.of(work, &message.body) {
                Some(goal) => {
                    attempts.push(Attempt { haste, ..Attempt::new(message, goal, history, owner, schedule) });
                }
                None => done.push((message, AfterVisit::Soon)),
            }
        }
        let attempts = self.lease_all(attempts).await;
        let attempts = self.with_credentials(attempts).await;
        let finished = self.run_all(attempts, deadline).await;
        done.extend(self.record(finished, records.jobs()).await);
        done
    }

    /// Of the batch's rollovers: which windows are open. What a person begins by hand has none.
    fn schedules(&self, records: &BatchRecords) -> HashMap<JobId, Arc<Schedule>> {
        let now = (self.clock)();
        let schedule = |(id, job): (&JobId, &JobRecord)| match job {
            JobRecord::Rollover(job) => Some((*id, Arc::new(job.rollout.schedule(now)))),
            JobRecord::Deployment(_) => None,
        };
        records.jobs().iter().filter_map(schedule).collect()
    }

    /// The authority is read only for tasks of devices that join the fleet.
    async fn records(&self, deliveries: &[Delivery<Task>]) -> Result<(BatchRecords, Authority), LedgerError> {
        let records = self.ledger.batch_records(deliveries).await?;
        let joins = deliveries.iter().any(|delivery| delivery.body.pass == Pass::Join);
        Ok((records, if joins { self.ledger.authority().await? } else { Authority::default() }))
    }

    /// Runs the attempts concurrently. A task that panics fails alone.
    async fn run_all(self: &Arc<Self>, attempts: Vec<Attempt>, deadline: Instant) -> Vec<Attempt> {
        let mut running = JoinSet::new();
        let mut finished = Vec::new();
        let mut deliveries = HashMap::new();
        for attempt in attempts {
            if attempt.next.is_some() {
                finished.push(attempt);
                continue;
            }
            let kept = attempt.clone();
            let app = Arc::clone(self);
            let handle = running.spawn(async move { app.run(attempt, deadline).await });
            deliveries.insert(handle.id(), kept);
        }
        while let Some(ended) = running.join_next_with_id().await {
            match ended {
                Ok((_, attempt)) => finished.push(attempt),
                Err(broken) => {
                    error!(error = &broken as &dyn Error, "task panicked");
                    if let Some(attempt) = deliveries.remove(&broken.id()) {
                        finished.push(attempt.broken((self.clock)()));
                    }
                }
            }
        }
        finished
    }
}
