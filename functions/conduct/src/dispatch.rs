//! Pages through the fleet and sends its tasks: recorded first, then sent, and sent again after a crash.

use std::collections::BTreeSet;

use rootcast_core::device::DeviceId;
use rootcast_core::job::message::Task;
use rootcast_core::job::{Cursor, Job, Pass};
use rootcast_ledger::{Change, Dispatched, LedgerError};
use tokio::time::Instant;

use crate::{App, ConductError, StepResult};

/// Devices per page: a hundred message batches, some 100 ms of sending between two records of the position.
const PAGE: u64 = 1000;

impl App {
    /// Sends tasks to the next devices in fleet order, until `at_most` are sent or the fleet ends.
    pub(crate) async fn dispatch(
        &self,
        mut job: Job,
        mut at_most: u64,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        while at_most > 0 && !job.is_paged() {
            if Instant::now() >= deadline {
                self.commit(&mut job, Vec::new()).await?;
                return Ok(StepResult::HandOn);
            }
            let (to, fresh) = self.next_page(&job, at_most.min(PAGE)).await?;
            let shard = job.cursor.shard(job.id);
            let devices = fresh.len() as u64;
            job.take_page(to, devices);
            if devices > 0 {
                self.commit(&mut job, vec![Dispatched::More { shard, devices }]).await?;
                self.send(&job, fresh.into_iter().map(|device| (device, 1))).await?;
                job.sending = None;
                at_most -= devices;
            }
        }
        self.commit(&mut job, Vec::new()).await?;
        Ok(StepResult::Continue)
    }

    /// The devices of the next page that have no task in this pass yet, and where the page ends.
    async fn next_page(&self, job: &Job, limit: u64) -> Result<(Cursor, Vec<DeviceId>), ConductError> {
        let Cursor { step, after } = &job.cursor;
        let shard = job.cursor.shard(job.id);
        let bound = job.bound.as_ref().filter(|bound| bound.step == *step).and_then(|bound| bound.after.as_ref());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = self.ledger.fleet(shard, after.as_ref(), bound, limit).await?;
        let page: Vec<DeviceId> = page.into_iter().map(|entry| entry.device).collect();
        let to = match page.last() {
            Some(last) if page.len() >= limit => Cursor { step: *step, after: Some(last.clone()) },
            _ => job.cursor.next_shard(),
        };
        let fresh = self.without_task(job, shard, after.as_ref(), page).await?;
        Ok((to, self.concerned(job, fresh).await?))
    }

    /// The devices of a page (the one after `after`) that have no task in this pass.
    async fn without_task(
        &self,
        job: &Job,
        shard: u8,
        after: Option<&DeviceId>,
        page: Vec<DeviceId>,
    ) -> Result<Vec<DeviceId>, LedgerError> {
        let Some(last) = page.last() else { return Ok(page) };
        let tasks = self.ledger.tasks(job.id, job.pass(), shard, after, Some(last)).await?;
        let known: BTreeSet<&DeviceId> = tasks.iter().map(|task| &task.device).collect();
        Ok(page.into_iter().filter(|device| !known.contains(device)).collect())
    }

    /// After a crash between recording and sending a page: sends again to the page's devices without a task record.
    pub(crate) async fn finish_sending(&self, mut job: Job) -> Result<StepResult, ConductError> {
        if let Some(sending) = job.sending.take() {
            let (shard, after) = (sending.from.shard(job.id), sending.from.after.as_ref());
            let to = Some(&sending.to).filter(|to| to.step == sending.from.step).and_then(|to| to.after.as_ref());
            let page = self.ledger.fleet(shard, after, to, usize::MAX).await?;
            // If the pass ends within a shard, its last page ends at the pass's bound.
            let page = page.into_iter().map(|entry| entry.device).filter(|device| job.is_taken(device)).collect();
            let unsent = self.without_task(&job, shard, after, page).await?;
            let unsent = self.concerned(&job, unsent).await?;
            self.send(&job, unsent.into_iter().map(|device| (device, 1))).await?;
        }
        self.commit(&mut job, Vec::new()).await?;
        Ok(StepResult::Continue)
    }

    pub(crate) async fn send(
        &self,
        job: &Job,
        devices: impl IntoIterator<Item = (DeviceId, u32)>,
    ) -> Result<(), ConductError> {
        if job.pass() == Pass::Install {
            return self.send_reissues(job, devices.into_iter().collect()).await;
        }
        let task = |(device, attempt)| Task::new(job.id, job.pass(), device, attempt);
        let tasks: Vec<Task> = devices.into_iter().map(task).collect();
        Ok(self.queue.send_tasks(&self.task_queue, &tasks).await?)
    }

    /// The revision alone is a sufficient fence: see [`Change::conducting`].
    pub(crate) async fn commit(&self, job: &mut Job, dispatched: Vec<Dispatched>) -> Result<(), ConductError> {
        job.updated = (self.clock)();
        self.ledger.commit(Change { job: Some(job), dispatched, ..Change::default() }).await?;
        job.revision += 1;
        Ok(())
    }
}
