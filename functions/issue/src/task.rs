//! A device's task: judged, done, and its result recorded.

use std::collections::BTreeSet;
use std::error::Error;

use futures::future::join_all;
use rootcast_core::deployment::lifecycle::{Entry, Stage};
use rootcast_core::event::Event;
use rootcast_core::job::JobId;
use rootcast_core::job::backoff;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::{Failure, Outcome};
use rootcast_ledger::{LedgerError, Settlement, TaskKey, UseRecord};
use rootcast_queue::Delivery;
use tracing::{error, info, warn};

use crate::App;
use crate::batch::{IssuanceState, judge, stand};
use crate::issue::Fault;

/// Seconds until a message returns after its records could not be read or written; doubles each time.
const SOON: u32 = 5;

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterTask {
    Done,
    /// The message returns after this many seconds.
    Again(u32),
}

/// A task that needs work, with its records.
struct Open {
    delivery: Delivery<Task>,
    binding: Option<UseRecord>,
    /// The task's history.
    history: Vec<Entry>,
}

impl App {
    fn soon(&self, receives: u32) -> u32 {
        backoff::seconds(SOON, receives, (self.random)())
    }

    /// Works on the tasks concurrently. Returns each with what happens to its message, in no order.
    pub(crate) async fn work(&self, deliveries: Vec<Delivery<Task>>) -> Vec<(Delivery<Task>, AfterTask)> {
        let kept = deliveries.clone();
        match self.open(deliveries).await {
            Ok((open, mut done)) => {
                done.extend(join_all(open.into_iter().map(|open| self.attempt(open))).await);
                done
            }
            Err(error) => {
                error!(error = &error as &dyn Error, "the batch's records could not be read");
                let again = |delivery: Delivery<Task>| {
                    let seconds = self.soon(delivery.receives);
                    (delivery, AfterTask::Again(seconds))
                };
                kept.into_iter().map(again).collect()
            }
        }
    }

    /// Separates tasks that need work from those that are done. Two reads for the whole batch.
    async fn open(
        &self,
        deliveries: Vec<Delivery<Task>>,
    ) -> Result<(Vec<Open>, Vec<(Delivery<Task>, AfterTask)>), LedgerError> {
        let jobs: BTreeSet<JobId> = deliveries.iter().map(|delivery| delivery.body.job).collect();
        let keys: BTreeSet<TaskKey> = deliveries.iter().map(|delivery| TaskKey::from(&delivery.body)).collect();
        let keys: Vec<TaskKey> = keys.into_iter().collect();
        let (jobs, tasks) = self.ledger.jobs_and_tasks(jobs, &keys).await?;
        let (mut wanted, mut done, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for delivery in deliveries {
            let key = TaskKey::from(&delivery.body);
            let task = tasks.get(&key);
            let verdict = judge(&delivery.body, jobs.get(&key.job), task);
            match if seen.insert(key) { verdict } else { Err("it is twice in this batch") } {
                Ok(certificate) => {
                    let history = task.map(|task| task.history.clone()).unwrap_or_default();
                    wanted.push((certificate, delivery, history));
                }
                Err(why) => {
                    info!(job.id = delivery.body.job.0, device.id = %delivery.body.device, "task left alone: {why}");
                    done.push((delivery, AfterTask::Done));
                }
            }
        }
        let bindings: Vec<_> =
            wanted.iter().map(|(certificate, delivery, _)| (*certificate, &delivery.body.device)).collect();
        let uses = self.ledger.uses(&bindings).await?;
        let open = wanted.into_iter().map(|(certificate, delivery, history)| {
            let binding = uses
                .iter()
                .find(|binding| binding.certificate == certificate && binding.device == delivery.body.device);
            Open { binding: binding.cloned(), delivery, history }
        });
        Ok((open.collect(), done))
    }

    async fn attempt(&self, open: Open) -> (Delivery<Task>, AfterTask) {
        let Open { delivery, mut binding, history } = open;
        let task = &delivery.body;
        let next = match (stand(task, binding.as_ref()), &mut binding) {
            (IssuanceState::Passed(why), _) => {
                info!(job.id = task.job.0, device.id = %task.device, "task left alone: {why}");
                AfterTask::Done
            }
            (IssuanceState::Issued, _) => self.hand_on(&delivery).await,
            (IssuanceState::Asked, Some(binding)) => match self.issue(binding).await {
                Ok(()) => self.hand_on(&delivery).await,
                Err(fault) => self.after(&delivery, binding, history, fault).await,
            },
            (IssuanceState::Gone | IssuanceState::Asked, _) => self.skip(&delivery, history).await,
        };
        (delivery, next)
    }

    /// Passes the task to the worker, which installs the certificate.
    async fn hand_on(&self, delivery: &Delivery<Task>) -> AfterTask {
        match self.queue.send_later(&self.task_queue, &delivery.body, 0).await {
            Ok(()) => AfterTask::Done,
            Err(error) => {
                warn!(error = &error as &dyn Error, "a task could not be handed on");
                AfterTask::Again(self.soon(delivery.receives))
            }
        }
    }

    async fn after(
        &self,
        delivery: &Delivery<Task>,
        binding: &UseRecord,
        history: Vec<Entry>,
        fault: Fault,
    ) -> AfterTask {
        let task = &delivery.body;
        let failure = match fault {
            Fault::Again(error) => {
                warn!(job.id = task.job.0, device.id = %task.device, error = error.as_ref() as &dyn Error, "a task is looked at again");
                return AfterTask::Again(self.soon(delivery.receives));
            }
            Fault::Passing(failure) => {
                let seconds = backoff::seconds(self.retry_base, delivery.receives, (self.random)());
                warn!(job.id = task.job.0, device.id = %task.device, "{}; again in {seconds} s", failure.message);
                return AfterTask::Again(seconds);
            }
            Fault::Final(failure) => failure,
        };
        warn!(job.id = task.job.0, device.id = %task.device, error.class = %failure.class, "{}; recorded as failed", failure.message);
        let settlement = self.settlement(task, Outcome::Failed(failure.clone()), history);
        match self.ledger.settle_use(&settlement, binding, None).await {
            Ok(recorded) => {
                self.queue.wake_conductor(&self.control_queue, task.job, "a device of a deployment is settled").await;
                if recorded {
                    self.events.publish(&[event(task, binding, failure)]).await;
                }
                AfterTask::Done
            }
            Err(error) => {
                error!(device.id = %task.device, error = &error as &dyn Error, "the device's result could not be recorded; the task is done again");
                AfterTask::Again(self.soon(delivery.receives))
            }
        }
    }

    /// Records that the certificate's device no longer exists.
    async fn skip(&self, delivery: &Delivery<Task>, history: Vec<Entry>) -> AfterTask {
        let task = &delivery.body;
        match self.ledger.settle(vec![self.settlement(task, Outcome::Skipped, history)]).await {
            Ok(_) => {
                self.queue.wake_conductor(&self.control_queue, task.job, "a device of a deployment is settled").await;
                AfterTask::Done
            }
            Err(error) => {
                error!(device.id = %task.device, error = &error as &dyn Error, "the device's result could not be recorded; the task is done again");
                AfterTask::Again(self.soon(delivery.receives))
            }
        }
    }

    fn settlement(&self, task: &Task, outcome: Outcome, history: Vec<Entry>) -> Settlement {
        Settlement { key: task.into(), attempt: task.attempt, of: None, outcome, history, at: (self.clock)() }
    }
}

/// The event about the failure.
fn event(task: &Task, binding: &UseRecord, failure: Failure) -> Event {
    Event::Failed {
        certificate_id: binding.certificate,
        device: task.device.clone(),
        job_id: task.job,
        stage: failure.stage.unwrap_or(Stage::PostCsr),
        class: failure.class,
        message: failure.message,
    }
}
