//! A device's task: judged, done, and its result recorded.

use std::error::Error;

use futures::{StreamExt, stream};
use rootcast_core::deployment::lifecycle::{Entry, Stage};
use rootcast_core::event::Event;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::backoff;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::{Failure, Outcome};
use rootcast_ledger::{LedgerError, OpenTask, Settlement, UseRecord};
use rootcast_queue::Delivery;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::App;
use crate::batch::{IssuanceState, judge, stand};
use crate::issue::Fault;

/// Seconds until a message returns after its records could not be read or written; doubles each time.
const SOON: u32 = 5;

/// Certificates in hand at the same time: with twelve calls one after another for each, of which one is the signature, as many as
/// keep the places for signatures taken.
const IN_HAND: usize = 160;
/// Messages whose records are read at once: as many as a call to DynamoDB takes.
const READ: usize = 100;

/// A message, and what there is to do.
enum Read {
    Open(OpenTask<Delivery<Task>, CertificateId>, Option<Box<UseRecord>>),
    Done(Delivery<Task>, AfterTask),
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterTask {
    Done,
    /// The message returns after this many seconds.
    Again(u32),
}

impl App {
    fn soon(&self, receives: u32) -> u32 {
        backoff::seconds(SOON, receives, (self.random)())
    }

    /// Works on the tasks concurrently. Returns each with what happens to its message, in no order. None begins after the deadline:
    /// what is left comes back.
    pub(crate) async fn work(
        &self,
        mut deliveries: Vec<Delivery<Task>>,
        deadline: Instant,
    ) -> Vec<(Delivery<Task>, AfterTask)> {
        let mut some = Vec::new();
        while !deliveries.is_empty() {
            some.push(deliveries.split_off(deliveries.len().saturating_sub(READ)));
        }
        let read = stream::iter(some).map(|some| self.read(some)).buffered(2).flat_map(stream::iter);
        let worked = read.map(|read| async move {
            match read {
                Read::Done(delivery, next) => (delivery, next),
                Read::Open(task, _) if Instant::now() >= deadline => {
                    let seconds = self.soon(task.message.receives);
                    (task.message, AfterTask::Again(seconds))
                }
                Read::Open(task, binding) => self.attempt(task, binding.map(|binding| *binding)).await,
            }
        });
        worked.buffer_unordered(IN_HAND).collect().await
    }

    async fn read(&self, deliveries: Vec<Delivery<Task>>) -> Vec<Read> {
        let records = match self.ledger.batch_records(&deliveries).await {
            Ok(records) => records,
            Err(error) => return self.unread(deliveries, &error),
        };
        let (open, dropped) = records.open(deliveries, judge);
        let mut read: Vec<_> = dropped.into_iter().map(|delivery| Read::Done(delivery, AfterTask::Done)).collect();
        let bindings: Vec<_> = open.iter().map(|task| (task.work, &task.message.body.device)).collect();
        match self.ledger.uses(&bindings).await {
            Ok(uses) => read.extend(open.into_iter().map(|task| {
                let device = &task.message.body.device;
                let is_its = |each: &UseRecord| each.certificate == task.work && each.device == *device;
                // One message may be there twice.
                let binding = uses.iter().find(|each| is_its(each)).cloned().map(Box::new);
                Read::Open(task, binding)
            })),
            Err(error) => read.extend(self.unread(open.into_iter().map(|task| task.message), &error)),
        }
        read
    }

    fn unread(&self, deliveries: impl IntoIterator<Item = Delivery<Task>>, why: &LedgerError) -> Vec<Read> {
        error!(error = why as &dyn Error, "the batch's records could not be read");
        let again = |delivery: Delivery<Task>| {
            let seconds = self.soon(delivery.receives);
            Read::Done(delivery, AfterTask::Again(seconds))
        };
        deliveries.into_iter().map(again).collect()
    }

    async fn attempt(
        &self,
        open: OpenTask<Delivery<Task>, CertificateId>,
        mut binding: Option<UseRecord>,
    ) -> (Delivery<Task>, AfterTask) {
        let OpenTask { message: mut delivery, work: _, wave, history } = open;
        delivery.body.wave = wave;
        let task = &delivery.body;
        let next = match (stand(task, binding.as_ref()), &mut binding) {
            (IssuanceState::Passed(why), _) => {
                info!(job.id = task.job.0, device.id = %task.device, "task dropped: {why}");
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
        let task = Task { used: self.ledger.meter().take(), ..delivery.body.clone() };
        match self.queue.send_later(&self.task_queue, &task, 0).await {
            Ok(()) => AfterTask::Done,
            Err(error) => {
                self.ledger.meter().add(task.used);
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
        Settlement {
            key: task.into(),
            attempt: task.attempt,
            wave: task.wave,
            of: None,
            outcome,
            history,
            at: (self.clock)(),
        }
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
