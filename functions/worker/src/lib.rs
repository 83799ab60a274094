//! One message, one device: lease it, bring its trust store to what the job wants, prove it by reading it back, record
//! it.
//!
//! The tasks of a batch run side by side; what came of them is recorded in one transaction with the counters of their
//! shards. A message that comes twice, late, or for a paused job changes nothing.

mod attempt;
mod backoff;
mod batch;
mod config;
mod credentials;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::LambdaEvent;
use rootcast_core::bundle::Bundle;
use rootcast_core::job::{JobId, Leg};
use rootcast_core::message::Control;
use rootcast_core::metric::Metric;
use rootcast_core::task::{ErrorClass, Outcome};
use rootcast_drivers::Redfish;
use rootcast_ledger::{Ledger, LedgerError, Settlement, TaskKey};
use rootcast_queue::{Postponed, Queue};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use attempt::{Attempt, Next};
use batch::{Delivery, Verdict};
pub use config::Misconfigured;

/// Left for recording what came of a batch.
const MARGIN: Duration = Duration::from_secs(3);
/// A message whose job could not be read comes back after so many seconds.
const SOON: u32 = 5;

/// All that the function works with.
pub struct App {
    pub ledger: Ledger,
    pub queue: Queue,
    pub ssm: aws_sdk_ssm::Client,
    pub redfish: Redfish,
    pub control_queue: String,
    pub task_queue: String,
    /// Longest work on one device.
    pub device_timeout: Duration,
    /// The first wait before a task is tried again, in seconds.
    pub retry_base: u32,
    /// At its last receive a task that failed is recorded as failed.
    pub max_receives: u32,
    /// The metrics' dimension.
    pub stack: String,
    pub clock: fn() -> OffsetDateTime,
    /// Bundles never change; a process sees one or two.
    pub bundles: Mutex<HashMap<u64, Arc<Bundle>>>,
}

/// Never fails as a whole: each message that is not done is named in the answer.
pub async fn handle(app: &Arc<App>, event: LambdaEvent<SqsEvent>) -> SqsBatchResponse {
    let remaining = event.context.deadline().duration_since(SystemTime::now()).unwrap_or(app.device_timeout);
    let deadline = Instant::now() + app.device_timeout.min(remaining.saturating_sub(MARGIN));
    let owner = event.context.request_id;
    let (deliveries, unreadable) = batch::read(event.payload);
    let mut answer = SqsBatchResponse::default();
    for id in unreadable {
        // It ends in the dead-letter queue, where somebody can look at it.
        answer.add_failure(id);
    }
    let mut postponed = Vec::new();
    for (delivery, next) in app.work(deliveries, &owner, deadline).await {
        if let Next::Again { seconds } = next {
            answer.add_failure(delivery.message_id);
            postponed.push(Postponed { receipt_handle: delivery.receipt_handle, seconds });
        }
    }
    if !postponed.is_empty() {
        app.queue.postpone(&app.task_queue, &postponed).await;
    }
    answer
}

impl App {
    async fn work(
        self: &Arc<Self>,
        deliveries: Vec<Delivery>,
        owner: &str,
        deadline: Instant,
    ) -> Vec<(Delivery, Next)> {
        let (verdicts, bundles) = match self.judge(&deliveries).await {
            Ok(judged) => judged,
            Err(error) => {
                error!(error = &error as &dyn Error, "the batch's jobs could not be read");
                return deliveries.into_iter().map(|delivery| (delivery, Next::Again { seconds: SOON })).collect();
            }
        };
        let mut done = Vec::new();
        let mut attempts = Vec::new();
        for (delivery, verdict) in deliveries.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Drop(why) => {
                    info!(job.id = delivery.task.job.0, device.id = %delivery.task.device, "task left alone: {why}");
                    done.push((delivery, Next::Done));
                }
                Verdict::Work { bundle } => match bundles.get(&bundle) {
                    Some(bundle) => attempts.push((delivery, Arc::clone(bundle))),
                    None => done.push((delivery, Next::Again { seconds: SOON })),
                },
            }
        }
        let attempts = self.lease_all(attempts, owner).await;
        let attempts = self.with_credentials(attempts).await;
        let finished = self.run_all(attempts, deadline).await;
        done.extend(self.record(finished).await);
        done
    }

    /// What to do with each message, and the bundles that it takes.
    async fn judge(&self, deliveries: &[Delivery]) -> Result<(Vec<Verdict>, HashMap<u64, Arc<Bundle>>), LedgerError> {
        let jobs: BTreeSet<JobId> = deliveries.iter().map(|delivery| delivery.task.job).collect();
        let keys: BTreeSet<TaskKey> = deliveries.iter().map(Delivery::key).collect();
        let keys: Vec<TaskKey> = keys.into_iter().collect();
        let (jobs, tasks) = self.ledger.jobs_and_tasks(jobs, &keys).await?;
        let mut seen = BTreeSet::new();
        let verdicts: Vec<Verdict> = deliveries
            .iter()
            .map(|delivery| {
                let key = delivery.key();
                let verdict = batch::judge(&delivery.task, jobs.get(&key.job), tasks.get(&key));
                if seen.insert(key) { verdict } else { Verdict::Drop("it is in this batch twice") }
            })
            .collect();
        let mut bundles = HashMap::new();
        for verdict in &verdicts {
            if let Verdict::Work { bundle: version } = verdict
                && !bundles.contains_key(version)
                && let Some(bundle) = self.bundle(*version).await?
            {
                bundles.insert(*version, bundle);
            }
        }
        Ok((verdicts, bundles))
    }

    async fn bundle(&self, version: u64) -> Result<Option<Arc<Bundle>>, LedgerError> {
        let known = || self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bundle) = known().get(&version) {
            return Ok(Some(Arc::clone(bundle)));
        }
        let Some(record) = self.ledger.bundle(version).await? else {
            error!(bundle.version = version, "the job's bundle is missing");
            return Ok(None);
        };
        let bundle = Arc::new(record.bundle);
        known().insert(version, Arc::clone(&bundle));
        Ok(Some(bundle))
    }

    /// Side by side. A task that panics fails alone.
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
                    error!(error = &broken as &dyn Error, "a task broke off");
                    if let Some(attempt) = deliveries.remove(&broken.id()) {
                        finished.push(attempt.broken());
                    }
                }
            }
        }
        finished
    }

    /// One transaction for the batch, then every device is given back, and the conductor is woken where it may go on.
    async fn record(&self, attempts: Vec<Attempt>) -> Vec<(Delivery, Next)> {
        let now = (self.clock)();
        let settlements: Vec<Settlement> = attempts.iter().filter_map(|attempt| attempt.settlement(now)).collect();
        let mismatches = settlements.iter().filter(|settlement| is_pin_mismatch(&settlement.outcome)).count();
        if mismatches > 0 {
            self.count(Metric::PinMismatches, mismatches as u64, now);
        }
        let failed = settlements.iter().any(|settlement| matches!(settlement.outcome, Outcome::Failed(_)));
        let settled =
            if settlements.is_empty() { Ok(Default::default()) } else { self.ledger.settle(settlements).await };
        futures::future::join_all(attempts.iter().map(|attempt| self.give_back(attempt, now))).await;
        let unrecorded = match settled {
            Ok(settled) => {
                self.wake_conductor(&settled.recorded, failed).await;
                false
            }
            Err(error) => {
                error!(error = &error as &dyn Error, "what came of the batch could not be recorded and is done again");
                true
            }
        };
        attempts
            .into_iter()
            .map(|attempt| match attempt.next {
                Some(Next::Settle(_)) if unrecorded => (attempt.delivery, Next::Again { seconds: SOON }),
                Some(next) => (attempt.delivery, next),
                None => (attempt.delivery, Next::Again { seconds: SOON }),
            })
            .collect()
    }

    async fn give_back(&self, attempt: &Attempt, now: OffsetDateTime) {
        let Some(device) = &attempt.device else { return };
        if let Err(error) = self.ledger.release(&device.id, &attempt.owner, attempt.held(now).as_ref()).await {
            warn!(device.id = %device.id, error = &error as &dyn Error, "the device's lease runs out by itself");
        }
    }

    /// Where a shard's devices are all settled, or one failed: the conductor may have to open a wave, or to stop.
    async fn wake_conductor(&self, recorded: &[TaskKey], failed: bool) {
        let mut shards: BTreeMap<(JobId, Leg), BTreeSet<u8>> = BTreeMap::new();
        for key in recorded {
            shards.entry((key.job, key.leg)).or_default().insert(key.device.shard());
        }
        for ((job, leg), shards) in shards {
            let complete = async {
                let tallies = self.ledger.counters(job, leg).await?;
                Ok::<_, LedgerError>(
                    shards.iter().any(|shard| tallies.get(usize::from(*shard)).is_some_and(|tally| tally.is_settled())),
                )
            };
            let why = if failed {
                "a device failed"
            } else if complete.await.unwrap_or(true) {
                "a shard is settled"
            } else {
                continue;
            };
            let control = Control { job, why: why.to_owned() };
            if let Err(error) = self.queue.send_control(&self.control_queue, &control).await {
                warn!(job.id = job.0, error = &error as &dyn Error, "the conductor is left to its schedule");
            }
        }
    }

    #[expect(clippy::print_stdout, reason = "CloudWatch reads metrics from the log's own lines")]
    fn count(&self, metric: Metric, count: u64, now: OffsetDateTime) {
        println!("{}", metric.line(count, &self.stack, now));
    }
}

fn is_pin_mismatch(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(failure) if failure.class == ErrorClass::PinMismatch)
}
