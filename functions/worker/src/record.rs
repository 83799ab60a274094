//! Records a batch's results, releases the devices, wakes the conductor, and publishes events.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use rootcast_core::deployment::lifecycle::Work;
use rootcast_core::event::Event;
use rootcast_core::job::message::{Renewed, Task};
use rootcast_core::job::task::{ErrorClass, Outcome};
use rootcast_core::job::{JobId, JobRecord, Pass};
use rootcast_core::metric::Metric;
use rootcast_core::rollover::plan::is_next_wave_due;
use rootcast_core::usage::Usage;
use rootcast_ledger::{LedgerError, TaskKey, UseRecord};
use rootcast_queue::Delivery;
use time::OffsetDateTime;
use tokio::time::sleep;
use tracing::{error, warn};

use crate::App;
use crate::attempt::{AfterVisit, Attempt};
use crate::goals::stage;

/// Pauses between tries to release a device, in addition to the SDK's own retries. What is not written may have to be
/// done again.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(400), Duration::ZERO];

/// Tasks with finished messages, and whether they were recorded now (`false`: earlier, or only on the device's record).
#[derive(Default)]
struct Recorded(BTreeMap<TaskKey, bool>);

impl App {
    /// Uses one transaction for all trust stores of the batch and one per certificate. Then releases every device, and
    /// wakes the conductor if it may have work.
    pub(crate) async fn record(&self, mut attempts: Vec<Attempt>) -> Vec<(Delivery<Task>, AfterVisit)> {
        if attempts.is_empty() {
            return Vec::new();
        }
        let now = (self.clock)();
        for Delivery { receives, body, .. } in attempts.iter_mut().map(|attempt| &mut attempt.delivery) {
            let used = std::mem::take(&mut body.used);
            self.ledger.meter().add(if *receives == 1 { used } else { Usage::NONE });
        }
        // Results of earlier visits were counted then.
        let outcomes = || {
            attempts.iter().filter(|attempt| attempt.visited).filter_map(|attempt| match &attempt.next {
                Some(AfterVisit::Settle(outcome)) => Some(outcome),
                _ => None,
            })
        };
        let mismatches = outcomes().filter(|outcome| is_pin_mismatch(outcome)).count();
        if mismatches > 0 {
            self.count(Metric::PinMismatches, mismatches as u64, now);
        }
        let failed =
            attempts.iter().any(|attempt| matches!(attempt.next, Some(AfterVisit::Settle(Outcome::Failed(_)))));
        let mut recorded = self.settle(&attempts, now).await;
        self.settle_uses(&attempts, now, &mut recorded).await;
        let given_back = attempts.iter().map(|attempt| self.give_back(attempt, &recorded, now));
        let given_back = futures::future::join_all(given_back).await;
        let fresh: Vec<TaskKey> = recorded.0.iter().filter(|(_, new)| **new).map(|(key, _)| key.clone()).collect();
        let of_rollover =
            attempts.iter().map(|attempt| &attempt.delivery.body).filter(|task| task.certificate.is_some());
        let in_rollover = of_rollover.map(|task| task.job).collect();
        self.wake_conductor(&fresh, failed, &in_rollover).await;
        let events: Vec<Event> = attempts.iter().filter(|attempt| recorded.is_new(attempt)).filter_map(event).collect();
        if !events.is_empty() {
            self.events.publish(&events).await;
        }
        let passed_on = self.pass_on(&attempts).await;
        self.tell_of_renewals(&attempts, &recorded).await;
        let done = attempts.into_iter().zip(given_back);
        done.map(|(attempt, on_record)| attempt.done(&recorded, on_record, passed_on)).collect()
    }

    /// Records everything that changes no certificate's use, in one transaction.
    async fn settle(&self, attempts: &[Attempt], now: OffsetDateTime) -> Recorded {
        let (joins, plain): (Vec<_>, Vec<_>) = attempts
            .iter()
            .filter(|attempt| attempt.use_of().is_none())
            .filter_map(|attempt| attempt.settlement(now))
            .partition(|settlement| settlement.key.pass.is_of_no_job());
        // Its own record is enough; there are no counters.
        let joined = || joins.iter().map(|settlement| (settlement.key.clone(), false));
        if plain.is_empty() {
            return Recorded(joined().collect());
        }
        match self.ledger.settle(plain).await {
            Ok(done) => {
                let (new, old) = (done.recorded.into_iter(), done.stale.into_iter());
                Recorded(new.map(|key| (key, true)).chain(old.map(|key| (key, false))).chain(joined()).collect())
            }
            Err(error) => {
                error!(
                    error = &error as &dyn Error,
                    "the batch's results could not be recorded; the batch is done again"
                );
                Recorded(joined().collect())
            }
        }
    }

    /// One after another: uses in one shard, or with the same earlier certificate, would conflict.
    async fn settle_uses(&self, attempts: &[Attempt], now: OffsetDateTime, recorded: &mut Recorded) {
        for attempt in attempts {
            let (Some(binding), Some(settlement)) = (attempt.use_of(), attempt.settlement(now)) else { continue };
            match self.ledger.settle_use(&settlement, binding, attempt.proven().as_ref()).await {
                Ok(new) => _ = recorded.0.insert(settlement.key, new),
                Err(error) => {
                    let device = &settlement.key.device;
                    error!(device.id = %device, error = &error as &dyn Error, "the device's result could not be recorded; the task is done again");
                }
            }
        }
    }

    /// Returns whether the result of the visit is in the device's record. That record and the task's are in different
    /// tables; each serves as a fallback for the other.
    async fn give_back(&self, attempt: &Attempt, recorded: &Recorded, now: OffsetDateTime) -> bool {
        let Some(device) = &attempt.device else { return false };
        if attempt.proven().is_some() && recorded.is_new(attempt) {
            // Released together with its proof.
            return true;
        }
        let left = attempt.left(device, recorded.has(attempt), now);
        for pause in PAUSES {
            match self.ledger.release(&device.id, &attempt.owner, &left).await {
                Ok(written) => return written,
                Err(error) => {
                    warn!(device.id = %device.id, error = &error as &dyn Error, "the device's lease could not be released");
                    sleep(pause).await;
                }
            }
        }
        warn!(device.id = %device.id, "the device's lease runs out by itself");
        false
    }

    /// Passes tasks on to the issuer. Doubled messages are harmless.
    async fn pass_on(&self, attempts: &[Attempt]) -> bool {
        let passed = attempts.iter().filter(|attempt| matches!(attempt.next, Some(AfterVisit::PassOn)));
        let tasks: Vec<Task> =
            passed.map(|attempt| Task { unrecorded: None, ..attempt.delivery.body.clone() }).collect();
        match self.queue.send_tasks(&self.issue_queue, &tasks).await {
            Ok(()) => true,
            Err(error) => {
                warn!(error = &error as &dyn Error, "tasks could not be passed on to the issuer");
                false
            }
        }
    }

    /// Tells the issuer which certificates were replaced by a proven renewal: it revokes them. Its schedule finds those
    /// of a lost message.
    async fn tell_of_renewals(&self, attempts: &[Attempt], recorded: &Recorded) {
        let deployed = |attempt: &&Attempt| {
            matches!(attempt.next, Some(AfterVisit::Settle(Outcome::Deployed { .. }))) && recorded.is_new(attempt)
        };
        let renewed = attempts.iter().filter(deployed).filter_map(Attempt::use_of);
        // Also without an earlier proof: what was replaced may never have been installed.
        for binding in renewed.filter(|binding| binding.lifecycle.work == Work::Issue) {
            let message = Renewed { renewed: binding.certificate };
            if let Err(error) = self.queue.send_later(&self.issue_queue, &message, 0).await {
                warn!(certificate.id = %binding.certificate, error = &error as &dyn Error, "the issuer could not be told of a renewal; its schedule finds it");
            }
        }
    }

    /// Wakes the conductor if all devices are settled, so many of a wave that the next may begin, or one failed: it may have to
    /// open a wave, or to pause. A deployment is small enough to be checked each time.
    async fn wake_conductor(&self, recorded: &[TaskKey], failed: bool, in_rollover: &BTreeSet<JobId>) {
        let passes: BTreeSet<(JobId, Pass)> = recorded.iter().map(|key| (key.job, key.pass)).collect();
        for (job, pass) in passes {
            // Read now: the batch read the job before the visits, perhaps while its wave was being sent.
            let complete = async {
                let (counted, job) = self.ledger.progress(job, pass).await?;
                Ok::<_, LedgerError>(match job {
                    Some(JobRecord::Rollover(job)) if job.pass() == pass => {
                        let tally = job.tally(counted.tally);
                        tally.is_settled() || is_next_wave_due(&job, &tally)
                    }
                    _ => false,
                })
            };
            let why = if pass == Pass::Install && !in_rollover.contains(&job) {
                "devices of a deployment are settled"
            } else if failed {
                "a device failed"
            } else if complete.await.unwrap_or(true) {
                "devices are settled"
            } else {
                continue;
            };
            self.queue.wake_conductor(&self.control_queue, job, why).await;
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

impl Recorded {
    fn has(&self, attempt: &Attempt) -> bool {
        self.0.contains_key(&TaskKey::from(&attempt.delivery.body))
    }

    fn is_new(&self, attempt: &Attempt) -> bool {
        self.0.get(&TaskKey::from(&attempt.delivery.body)) == Some(&true)
    }
}

impl Attempt {
    /// What happens to the message. `on_record`: the result of the visit is in the device's record.
    fn done(mut self, recorded: &Recorded, on_record: bool, passed_on: bool) -> (Delivery<Task>, AfterVisit) {
        let next = match self.next.take() {
            Some(AfterVisit::PassOn) if passed_on => AfterVisit::Done,
            Some(AfterVisit::Settle(outcome)) if !recorded.has(&self) => {
                if let (Outcome::Failed(failure), false) = (outcome, on_record) {
                    self.delivery.body.unrecorded = Some(failure);
                }
                AfterVisit::Soon
            }
            None | Some(AfterVisit::PassOn) => AfterVisit::Soon,
            Some(next) => next,
        };
        (self.delivery, next)
    }

    /// The use that changes with the outcome. A deleted device has none.
    fn use_of(&self) -> Option<&UseRecord> {
        match &self.next {
            Some(AfterVisit::Settle(Outcome::Deployed { .. } | Outcome::Failed(_))) => self.goal.binding(),
            _ => None,
        }
    }
}

/// The event about a deployment's device.
fn event(attempt: &Attempt) -> Option<Event> {
    let (Some(binding), Some(AfterVisit::Settle(outcome))) = (attempt.use_of(), &attempt.next) else { return None };
    let certificate_id = binding.certificate;
    let TaskKey { job: job_id, device, .. } = TaskKey::from(&attempt.delivery.body);
    match outcome {
        Outcome::Deployed { .. } => Some(Event::Deployed { certificate_id, device, job_id }),
        Outcome::Failed(failure) => Some(Event::Failed {
            certificate_id,
            device,
            job_id,
            stage: failure.stage.unwrap_or(stage(binding)),
            class: failure.class,
            message: failure.message.clone(),
        }),
        Outcome::Acked(_) | Outcome::Checked(_) | Outcome::Probed(_) | Outcome::Skipped | Outcome::Postponed => None,
    }
}
