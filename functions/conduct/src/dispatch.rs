//! Pages through the fleet and sends its tasks: recorded first, then sent, and sent again after a crash.

use std::collections::{BTreeMap, BTreeSet};

use rootcast_core::device::DeviceId;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::{TaskRecord, TaskState};
use rootcast_core::job::{Cursor, Job, Member, Pass};
use rootcast_core::rollover::windows::Turn;
use rootcast_ledger::{Change, Conducting, Dispatched, FleetEntry, LedgerError};
use tokio::time::Instant;

use crate::sweep::SETTLED_AT_ONCE;
use crate::{App, ConductError, StepResult};

/// Devices per page: a hundred message batches, some 100 ms of sending between two records of the position.
const PAGE: u64 = 1000;

/// Devices that are about to be sent.
#[derive(Default)]
struct Due {
    /// Without a task in this pass.
    fresh: Vec<DeviceId>,
    /// Put back when their windows were closed.
    postponed: Vec<TaskRecord>,
    /// Whose windows are closed.
    held: Vec<(DeviceId, Turn)>,
}

impl Due {
    fn len(&self) -> u64 {
        (self.fresh.len() + self.postponed.len()) as u64
    }

    /// The last of the first `at_most`; `None`: there are no more than that.
    fn last(&self, at_most: u64) -> Option<DeviceId> {
        let devices = self.fresh.iter().chain(self.postponed.iter().map(|task| &task.device));
        let sorted: BTreeSet<&DeviceId> = devices.collect();
        let is_more = sorted.len() as u64 > at_most;
        let last = usize::try_from(at_most).ok()?.checked_sub(1)?;
        sorted.into_iter().nth(last).filter(|_| is_more).cloned()
    }

    fn keep_to(&mut self, last: &DeviceId) {
        self.fresh.retain(|device| device <= last);
        self.postponed.retain(|task| task.device <= *last);
        self.held.retain(|(device, _)| device <= last);
    }
}

impl App {
    /// Sends tasks to the next devices in fleet order, until `at_most` are sent or the lap ends.
    pub(crate) async fn dispatch(
        &self,
        held: &Conducting,
        mut job: Job,
        mut at_most: u64,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        while at_most > 0 && !job.is_paged() {
            if Instant::now() >= deadline {
                self.commit(&mut job, Vec::new()).await?;
                return Ok(StepResult::HandOn);
            }
            let (to, due) = self.next_page(&job, at_most).await?;
            let shard = job.cursor.shard(job.id);
            due.held.iter().for_each(|(_, turn)| job.lap.held.add(*turn));
            job.take_page(to, due.len());
            job.take_postponed(due.postponed.len() as u64);
            at_most -= due.len();
            if due.len() > 0 {
                let devices = due.fresh.len() as u64;
                let counted = (devices > 0).then_some(Dispatched::More { shard, devices });
                self.commit(&mut job, counted.into_iter().collect()).await?;
                self.send_due(held, &job, due).await?;
                job.sending = None;
            }
        }
        self.commit(&mut job, Vec::new()).await?;
        Ok(StepResult::Continue)
    }

    /// The devices of the next page that are due, and where the page ends: at the last of them if there are `at_most`.
    async fn next_page(&self, job: &Job, at_most: u64) -> Result<(Cursor, Due), ConductError> {
        let Cursor { step, after } = &job.cursor;
        let shard = job.cursor.shard(job.id);
        let bound = job.bound.as_ref().filter(|bound| bound.step == *step).and_then(|bound| bound.after.as_ref());
        // Where many are passed over, a page of a few would read the fleet in as many calls.
        let read = if job.rollout.is_selective() { PAGE } else { at_most.min(PAGE) };
        let read = usize::try_from(read).unwrap_or(usize::MAX);
        let page = self.ledger.fleet(shard, after.as_ref(), bound, read).await?;
        let mut to = match page.last() {
            Some(last) if page.len() >= read => Cursor { step: *step, after: Some(last.device.clone()) },
            _ => job.cursor.next_shard(),
        };
        let mut due = self.due(job, shard, after.as_ref(), page).await?;
        if let Some(last) = due.last(at_most) {
            due.keep_to(&last);
            to = Cursor { step: *step, after: Some(last) };
        }
        Ok((to, due))
    }

    /// Of a page (the one after `after`), the devices that this lap is for and that have no task in this pass, or a postponed one.
    async fn due(
        &self,
        job: &Job,
        shard: u8,
        after: Option<&DeviceId>,
        page: Vec<FleetEntry>,
    ) -> Result<Due, ConductError> {
        let mut due = Due::default();
        let Some(last) = page.last().map(|entry| entry.device.clone()) else { return Ok(due) };
        let tasks = self.ledger.tasks(job.id, job.pass(), shard, after, Some(&last)).await?;
        let mut tasks: BTreeMap<DeviceId, TaskRecord> =
            tasks.into_iter().map(|task| (task.device.clone(), task)).collect();
        let had_task = self.had_task(job, shard, after, Some(&last)).await?;
        let schedule = job.rollout.schedule((self.clock)());
        let mut open = Vec::new();
        for FleetEntry { device, labels, during, .. } in page {
            let member = Member { device: &device, labels: &labels, during, had_task: had_task.contains(&device) };
            let task = tasks.remove(&device);
            let is_postponed = task.as_ref().is_some_and(|task| task.state == TaskState::Postponed);
            if !job.is_in_lap(member) || (task.is_some() && !is_postponed) {
                continue;
            }
            open.push((device, task, schedule.turn(&labels)));
        }
        let wanted: Vec<DeviceId> = open.iter().map(|(device, ..)| device.clone()).collect();
        let wanted: BTreeSet<DeviceId> = self.concerned(job, wanted).await?.into_iter().collect();
        for (device, task, turn) in open.into_iter().filter(|(device, ..)| wanted.contains(device)) {
            match task {
                _ if !turn.is_open() => due.held.push((device, turn)),
                Some(task) => due.postponed.push(task),
                None => due.fresh.push(device),
            }
        }
        Ok(due)
    }

    /// Which of these devices have a task in the pass that is being withdrawn, if that matters.
    pub(crate) async fn had_task(
        &self,
        job: &Job,
        shard: u8,
        after: Option<&DeviceId>,
        to: Option<&DeviceId>,
    ) -> Result<BTreeSet<DeviceId>, LedgerError> {
        if job.reach.is_none() {
            return Ok(BTreeSet::new());
        }
        let tasks = self.ledger.tasks(job.id, Pass::Distribute, shard, after, to).await?;
        Ok(tasks.into_iter().map(|task| task.device).collect())
    }

    /// After a crash between recording and sending a page: sends again to the page's devices without a result.
    pub(crate) async fn finish_sending(&self, held: &Conducting, mut job: Job) -> Result<StepResult, ConductError> {
        if let Some(sending) = job.sending.take() {
            let (shard, after) = (sending.from.shard(job.id), sending.from.after.as_ref());
            let to = Some(&sending.to).filter(|to| to.step == sending.from.step).and_then(|to| to.after.as_ref());
            let mut page = self.ledger.fleet(shard, after, to, usize::MAX).await?;
            // If the pass ends within a shard, its last page ends at the pass's bound.
            page.retain(|entry| job.bound.as_ref().is_none_or(|bound| bound.is_past(job.id, &entry.device)));
            // Those that were reopened before the crash.
            let last = page.last().map(|entry| entry.device.clone());
            let mut reopened = Vec::new();
            if job.rollout.is_selective() && last.is_some() {
                let tasks = self.ledger.tasks(job.id, job.pass(), shard, after, last.as_ref()).await?;
                let waiting = tasks.into_iter().filter(|task| task.state == TaskState::Waiting);
                reopened.extend(waiting.map(|task| (task.device, task.attempt)));
            }
            let due = self.due(&job, shard, after, page).await?;
            self.send_due(held, &job, due).await?;
            self.send(&job, reopened).await?;
        }
        self.commit(&mut job, Vec::new()).await?;
        Ok(StepResult::Continue)
    }

    /// Postponed tasks get their next attempt first.
    async fn send_due(&self, held: &Conducting, job: &Job, due: Due) -> Result<(), ConductError> {
        let in_wave = |task| TaskRecord { wave: job.wave_number(), ..task };
        let postponed: Vec<_> = due.postponed.into_iter().map(in_wave).collect();
        for some in postponed.chunks(SETTLED_AT_ONCE) {
            self.ledger.reopen(held, job.pass(), some, (self.clock)()).await?;
        }
        let again = postponed.into_iter().map(|task| (task.device, task.attempt + 1));
        self.send(job, due.fresh.into_iter().map(|device| (device, 1)).chain(again)).await
    }

    pub(crate) async fn send(
        &self,
        job: &Job,
        devices: impl IntoIterator<Item = (DeviceId, u32)>,
    ) -> Result<(), ConductError> {
        if job.pass() == Pass::Install {
            return self.send_reissues(job, devices.into_iter().collect()).await;
        }
        let wave = job.wave_number();
        let task = |(device, attempt)| Task { wave, ..Task::new(job.id, job.pass(), device, attempt) };
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
