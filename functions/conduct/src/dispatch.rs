//! Paging the fleet and sending its tasks: recorded first, sent then, sent again after a crash.

use std::collections::BTreeSet;
use std::time::Instant;

use rootcast_core::device::DeviceId;
use rootcast_core::job::{Cursor, Job};
use rootcast_core::lifecycle::Entry;
use rootcast_core::message::Task;
use rootcast_core::task::{ErrorClass, Failure, Outcome, TaskState};
use rootcast_ledger::{Change, Dispatched, LedgerError, Settlement, TaskKey};

use crate::{App, ConductError, Then};

/// Devices a page: a hundred messages batches, some 100 ms of sending between two records of the place.
const PAGE: u64 = 1000;
/// Tasks a transaction; DynamoDB takes 100 writes, of which the counters are one a shard.
const SETTLED_AT_ONCE: usize = 50;

pub(crate) const LOST: &str = "No worker came back from this device, and its message was sent several times.";

impl App {
    /// Sends tasks to the next devices in the order of the fleet, until `at_most` are sent or the fleet is at its end.
    pub(crate) async fn dispatch(
        &self,
        mut job: Job,
        mut at_most: u64,
        deadline: Instant,
    ) -> Result<Then, ConductError> {
        while at_most > 0 && !job.is_paged() {
            if Instant::now() >= deadline {
                self.commit(&mut job, None).await?;
                return Ok(Then::HandOn);
            }
            let (to, fresh) = self.next_page(&job, at_most.min(PAGE)).await?;
            let shard = job.cursor.shard(job.id);
            let devices = fresh.len() as u64;
            job.take_page(to, devices);
            if devices > 0 {
                self.commit(&mut job, Some(Dispatched::More { shard, devices })).await?;
                self.send(&job, fresh.into_iter().map(|device| (device, 1))).await?;
                job.sending = None;
                at_most -= devices;
            }
        }
        self.commit(&mut job, None).await?;
        Ok(Then::Continue)
    }

    /// The devices of the next page that have no task in this leg yet, and where the page ends.
    async fn next_page(&self, job: &Job, limit: u64) -> Result<(Cursor, Vec<DeviceId>), LedgerError> {
        let Cursor { step, after } = &job.cursor;
        let shard = job.cursor.shard(job.id);
        let bound = job.bound.as_ref().filter(|bound| bound.step == *step).and_then(|bound| bound.after.as_ref());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = self.ledger.approved_in_shard(shard, after.as_ref(), bound, limit).await?;
        let to = match page.last() {
            Some(last) if page.len() >= limit => Cursor { step: *step, after: Some(last.clone()) },
            _ => job.cursor.next_shard(),
        };
        let fresh = match page.last() {
            None => page,
            Some(last) => {
                let tasks = self.ledger.tasks(job.id, job.leg(), shard, after.as_ref(), Some(last)).await?;
                let known: BTreeSet<&str> = tasks.iter().map(|task| task.device.as_str()).collect();
                page.into_iter().filter(|device| !known.contains(device.as_str())).collect()
            }
        };
        Ok((to, fresh))
    }

    /// A crash came between the record of a page and its messages.
    pub(crate) async fn finish_sending(&self, mut job: Job) -> Result<Then, ConductError> {
        if let Some(sending) = job.sending.take() {
            let shard = Cursor { step: sending.from.step, after: None };
            if let Some(to) = taken_of(&job, &shard) {
                self.resend_shard(&mut job, &shard, to.as_ref()).await?;
            }
        }
        self.commit(&mut job, None).await?;
        Ok(Then::Continue)
    }

    /// Sends every unsettled task again.
    pub(crate) async fn resend(&self, mut job: Job, deadline: Instant) -> Result<Then, ConductError> {
        if job.resend.is_none() {
            job.begin_resend((self.clock)());
        }
        while let Some(at) = job.resend.clone() {
            let Some(to) = taken_of(&job, &at) else {
                job.resend = None;
                break;
            };
            if Instant::now() >= deadline {
                return Ok(Then::HandOn);
            }
            job.resend = Some(at.next_shard());
            self.resend_shard(&mut job, &at, to.as_ref()).await?;
        }
        self.commit(&mut job, None).await?;
        Ok(Then::Continue)
    }

    /// Counts anew for how many devices of a shard there is to wait, before it sends to the open ones: a device that was
    /// deleted before its turn does not come any more, one that joined since is waited for.
    async fn resend_shard(&self, job: &mut Job, at: &Cursor, to: Option<&DeviceId>) -> Result<(), ConductError> {
        let shard = at.shard(job.id);
        let tasks = self.open_tasks(job, shard, to).await?;
        self.commit(job, Some(Dispatched::Exactly { shard, devices: tasks.all })).await?;
        self.send(job, tasks.open.into_iter().map(|(device, attempt, _)| (device, attempt))).await
    }

    /// What is still open after all resends has failed.
    pub(crate) async fn give_up(&self, job: Job, deadline: Instant) -> Result<Then, ConductError> {
        let mut at = Cursor::default();
        while let Some(to) = taken_of(&job, &at) {
            let tasks = self.open_tasks(&job, at.shard(job.id), to.as_ref()).await?;
            let lost: Vec<Settlement> = tasks
                .open
                .into_iter()
                .map(|(device, attempt, history)| self.lost(&job, device, attempt, history))
                .collect();
            for some in lost.chunks(SETTLED_AT_ONCE) {
                if Instant::now() >= deadline {
                    return Ok(Then::HandOn);
                }
                self.ledger.settle(some.to_vec()).await?;
            }
            at = at.next_shard();
        }
        Ok(Then::Continue)
    }

    fn lost(&self, job: &Job, device: DeviceId, attempt: u32, history: Vec<Entry>) -> Settlement {
        Settlement {
            key: TaskKey { job: job.id, leg: job.leg(), device },
            attempt,
            outcome: Outcome::Failed(Failure::new(ErrorClass::Lost, LOST)),
            history,
            at: (self.clock)(),
        }
    }

    /// A shard's unsettled devices up to `to`, as of [`OpenTasks`].
    async fn open_tasks(&self, job: &Job, shard: u8, to: Option<&DeviceId>) -> Result<OpenTasks, ConductError> {
        let recorded = self.ledger.tasks(job.id, job.leg(), shard, None, None).await?;
        let devices = self.ledger.approved_in_shard(shard, None, to, usize::MAX).await?;
        let known: BTreeSet<&str> = recorded.iter().map(|task| task.device.as_str()).collect();
        let fresh = devices.into_iter().filter(|device| !known.contains(device.as_str()));
        let fresh: Vec<_> = fresh.map(|device| (device, 1, Vec::new())).collect();
        let all = (recorded.len() + fresh.len()) as u64;
        let waiting = recorded.iter().filter(|task| task.state == TaskState::Waiting);
        let waiting = waiting.filter_map(|task| Some((task.device.parse().ok()?, task.attempt, task.history.clone())));
        Ok(OpenTasks { open: waiting.chain(fresh).collect(), all })
    }

    pub(crate) async fn send(
        &self,
        job: &Job,
        devices: impl IntoIterator<Item = (DeviceId, u32)>,
    ) -> Result<(), ConductError> {
        let task = |(device, attempt)| Task::new(job.id, job.leg(), device, attempt);
        let tasks: Vec<Task> = devices.into_iter().map(task).collect();
        Ok(self.queue.send_tasks(&self.task_queue, &tasks).await?)
    }

    pub(crate) async fn commit(&self, job: &mut Job, dispatched: Option<Dispatched>) -> Result<(), ConductError> {
        job.updated = (self.clock)();
        self.ledger.commit(Change { job: Some(job), dispatched, ..Change::default() }).await?;
        job.revision += 1;
        Ok(())
    }
}

struct OpenTasks {
    /// With the attempt that each waits for, and what is on record of those before.
    open: Vec<(DeviceId, u32, Vec<Entry>)>,
    /// Devices with a record, and those that were sent without one yet.
    all: u64,
}

/// Up to which device of the shard at `at` the leg has been sent: `None` where the shard was not reached,
/// `Some(None)` where it was sent as a whole.
#[expect(clippy::option_option, reason = "the two absences mean different things, as documented")]
fn taken_of(job: &Job, at: &Cursor) -> Option<Option<DeviceId>> {
    if at.is_at_end() || at.step > job.cursor.step {
        return None;
    }
    if at.step < job.cursor.step {
        let bound = job.bound.as_ref().filter(|bound| bound.step == at.step);
        return Some(bound.and_then(|bound| bound.after.clone()));
    }
    job.cursor.after.clone().map(Some)
}
