//! Pages through the fleet and sends its tasks: recorded first, then sent, and sent again after a crash.
//!
//! A page takes devices of every shard: a shard's tasks are one partition of the table, and its counters one item, so that a wave
//! in one shard would be as slow as one partition.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use futures::try_join;
use rootcast_core::device::DeviceId;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::{TaskRecord, TaskState};
use rootcast_core::job::{Front, Job, Member, Pass, Taken};
use rootcast_core::rollover::windows::Turn;
use rootcast_ledger::{Change, Conducting, FleetEntry, LedgerError};
use tokio::time::Instant;

use crate::sweep::SETTLED_AT_ONCE;
use crate::{App, ConductError, StepResult};

/// Devices per page: a hundred message batches, some 100 ms of sending between two records of the position. They are read by
/// one call in each shard, all at once.
const PAGE: u64 = 1000;

/// What was read of one shard.
struct Part {
    step: u8,
    shard: u8,
    after: Option<DeviceId>,
    entries: Vec<FleetEntry>,
    /// Where it ends.
    to: Taken,
}

/// Devices that are about to be sent, each with its place among those of its shard, and the step of that.
#[derive(Default)]
struct Due {
    /// With a task that was put back when the device's window was closed, or without one in this pass.
    devices: Vec<(usize, u8, DeviceId, Option<TaskRecord>)>,
    /// Whose windows are closed.
    held: Vec<(DeviceId, Turn)>,
}

impl Due {
    fn len(&self) -> u64 {
        self.devices.len() as u64
    }

    fn fresh(&self) -> impl Iterator<Item = &DeviceId> {
        self.devices.iter().filter(|(.., task)| task.is_none()).map(|(_, _, device, _)| device)
    }

    /// Keeps at most so many devices, the first of each shard first. Returns where each part ends then, by its step.
    fn keep(&mut self, at_most: u64, parts: Vec<(u8, Taken)>, mut front: Front) -> Front {
        self.devices.sort_by(|(rank, step, ..), (other, of, ..)| (rank, step).cmp(&(other, of)));
        let at_most = usize::try_from(at_most).unwrap_or(usize::MAX).min(self.devices.len());
        let left: BTreeSet<u8> = self.devices.split_off(at_most).into_iter().map(|(_, step, ..)| step).collect();
        for (step, to) in parts {
            let last = self.devices.iter().rfind(|(_, of, ..)| *of == step).map(|(_, _, device, _)| device.clone());
            match (left.contains(&step), last) {
                (false, _) => front.set(step, to),
                (true, Some(last)) => front.set(step, Taken::UpTo(last)),
                (true, None) => {}
            }
        }
        front
    }
}

/// Of what was read of the shards, the first of each, and at most so many in all.
fn first(parts: Vec<Part>, mut at_most: usize) -> Vec<Part> {
    let mut taken = vec![0; parts.len()];
    let deepest = parts.iter().map(|part| part.entries.len()).max().unwrap_or(0);
    for rank in 0..deepest {
        for (_, taken) in parts.iter().zip(&mut taken).filter(|(part, _)| part.entries.len() > rank) {
            if at_most > 0 {
                at_most -= 1;
                *taken = rank + 1;
            }
        }
    }
    let cut = parts.into_iter().zip(taken).filter_map(|(mut part, taken)| {
        if taken < part.entries.len() {
            part.entries.truncate(taken);
            part.to = Taken::UpTo(part.entries.last()?.device.clone());
        }
        Some(part)
    });
    cut.collect()
}

impl App {
    /// Sends tasks to the next devices of all shards, until `at_most` are sent or the lap ends.
    pub(crate) async fn dispatch(
        &self,
        held: &Conducting,
        mut job: Job,
        mut at_most: u64,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        let mut read = None;
        while at_most > 0 && !job.is_paged() {
            if Instant::now() >= deadline {
                self.commit(&mut job).await?;
                return Ok(StepResult::HandOn);
            }
            let (to, due) = match read.take() {
                Some(page) => page,
                None => self.next_page(&job, at_most).await?,
            };
            due.held.iter().for_each(|(_, turn)| job.lap.held.add(*turn));
            let fresh: Vec<&DeviceId> = due.fresh().collect();
            let postponed = due.len() - fresh.len() as u64;
            job.take_page(to, fresh, postponed);
            at_most -= due.len();
            if due.len() > 0 {
                self.commit(&mut job).await?;
                // The next page is read meanwhile. A device that joins after that is found by the survey.
                let next = async {
                    match at_most > 0 && !job.is_paged() {
                        true => Ok(Some(self.next_page(&job, at_most).await?)),
                        false => Ok(None),
                    }
                };
                ((), read) = try_join!(self.send_due(held, &job, due), next)?;
                job.sending = None;
            }
        }
        self.commit(&mut job).await?;
        Ok(StepResult::Continue)
    }

    /// The devices of the next page that are due, and where the page ends: at the last of them if there are `at_most`.
    async fn next_page(&self, job: &Job, at_most: u64) -> Result<(Front, Due), ConductError> {
        let steps = job.open_steps();
        // Where many are passed over, a page of a few would read the fleet in as many calls.
        let is_selective = job.rollout.is_selective();
        let read = if is_selective { PAGE } else { at_most.min(PAGE) };
        let each = usize::try_from(read.div_ceil(steps.len().max(1) as u64)).unwrap_or(usize::MAX);
        let part = async |step: u8| {
            let (shard, taken) = (Front::shard(job.id, step), job.cursor.at(step));
            let bound = job.bound.as_ref().map_or(&Taken::All, |bound| bound.at(step));
            let entries = self.ledger.fleet(shard, taken.last(), bound.last(), each).await?;
            let to = match entries.last() {
                Some(last) if entries.len() >= each => Taken::UpTo(last.device.clone()),
                _ => bound.clone(),
            };
            Ok::<_, LedgerError>(Part { step, shard, after: taken.last().cloned(), entries, to })
        };
        let mut parts = try_join_all(steps.into_iter().map(part)).await?;
        if !is_selective {
            parts = first(parts, usize::try_from(read).unwrap_or(usize::MAX));
        }
        let ends = parts.iter().map(|part| (part.step, part.to.clone())).collect();
        // In the first lap, nobody behind the position has a task, but in a withdrawal.
        let is_new = job.lap.is_first() && job.pass() != Pass::Withdraw;
        let mut due = self.due(job, parts, is_new).await?;
        let front = due.keep(at_most, ends, job.cursor.clone());
        due.held.retain(|(device, _)| front.is_past(job.id, device));
        Ok((front, due))
    }

    /// Of what was read, the devices that this lap is for and that have no task in this pass, or a postponed one. `is_new`: none
    /// has a task.
    async fn due(&self, job: &Job, parts: Vec<Part>, is_new: bool) -> Result<Due, ConductError> {
        let mut due = Due::default();
        let parts: Vec<Part> = parts.into_iter().filter(|part| !part.entries.is_empty()).collect();
        let known = async |part: &Part| {
            if is_new {
                return Ok((Vec::new(), BTreeSet::new()));
            }
            let (after, last) = (part.after.as_ref(), part.entries.last().map(|entry| &entry.device));
            let tasks = self.ledger.tasks(job.id, job.pass(), part.shard, after, last).await?;
            Ok::<_, LedgerError>((tasks, self.had_task(job, part.shard, after, last).await?))
        };
        let known = try_join_all(parts.iter().map(known)).await?;
        let schedule = job.rollout.schedule((self.clock)());
        let mut open = Vec::new();
        for (Part { step, entries, .. }, (tasks, had_task)) in parts.into_iter().zip(known) {
            let mut tasks: BTreeMap<DeviceId, TaskRecord> =
                tasks.into_iter().map(|task| (task.device.clone(), task)).collect();
            for FleetEntry { device, labels, during, .. } in entries {
                let member = Member { device: &device, labels: &labels, during, had_task: had_task.contains(&device) };
                let task = tasks.remove(&device);
                let is_postponed = task.as_ref().is_some_and(|task| task.state == TaskState::Postponed);
                if !job.is_in_lap(member) || (task.is_some() && !is_postponed) {
                    continue;
                }
                open.push((step, device, task, schedule.turn(&labels)));
            }
        }
        let wanted: Vec<DeviceId> = open.iter().map(|(_, device, ..)| device.clone()).collect();
        let wanted: BTreeSet<DeviceId> = self.concerned(job, wanted).await?.into_iter().collect();
        let mut ranks = BTreeMap::<u8, usize>::new();
        for (step, device, task, turn) in open.into_iter().filter(|(_, device, ..)| wanted.contains(device)) {
            if turn.is_open() {
                let rank = ranks.entry(step).or_default();
                due.devices.push((*rank, step, device, task));
                *rank += 1;
            } else {
                due.held.push((device, turn));
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
            let (from, end) = (sending.from, sending.to.as_ref().unwrap_or(&job.cursor));
            let (job, from) = (&job, &from);
            let part = async |step: u8| {
                let (shard, after, to) = (Front::shard(job.id, step), from.at(step).last(), end.at(step));
                let mut entries = self.ledger.fleet(shard, after, to.last(), usize::MAX).await?;
                // A shard of the pass's bound is read only so far.
                entries.retain(|entry| job.bound.as_ref().is_none_or(|bound| bound.is_past(job.id, &entry.device)));
                Ok::<_, LedgerError>(Part { step, shard, after: after.cloned(), entries, to: to.clone() })
            };
            let parts = try_join_all(from.open(Some(end)).into_iter().map(part)).await?;
            // Those that were reopened before the crash.
            let mut reopened = Vec::new();
            for part in parts.iter().filter(|part| job.rollout.is_selective() && !part.entries.is_empty()) {
                let last = part.entries.last().map(|entry| &entry.device);
                let tasks = self.ledger.tasks(job.id, job.pass(), part.shard, part.after.as_ref(), last).await?;
                let waiting = tasks.into_iter().filter(|task| task.state == TaskState::Waiting);
                reopened.extend(waiting.map(|task| (task.device, task.attempt)));
            }
            let due = self.due(job, parts, false).await?;
            self.send_due(held, job, due).await?;
            self.send(job, reopened).await?;
        }
        self.commit(&mut job).await?;
        Ok(StepResult::Continue)
    }

    /// Postponed tasks get their next attempt first.
    async fn send_due(&self, held: &Conducting, job: &Job, due: Due) -> Result<(), ConductError> {
        let mut postponed = Vec::new();
        let mut sent = Vec::new();
        for (_, _, device, task) in due.devices {
            sent.push((device, task.as_ref().map_or(1, |task| task.attempt + 1)));
            postponed.extend(task);
        }
        for some in postponed.chunks(SETTLED_AT_ONCE) {
            self.ledger.reopen(held, job.pass(), some, Some(job.wave_number()), (self.clock)()).await?;
        }
        self.send(job, sent).await
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
    pub(crate) async fn commit(&self, job: &mut Job) -> Result<(), ConductError> {
        job.updated = (self.clock)();
        self.ledger.commit(Change { job: Some(job), ..Change::default() }).await?;
        job.revision += 1;
        Ok(())
    }
}
