//! A sweep over a pass's devices: a survey, a resend, or giving up. Its position is recorded page by page, so that
//! another invocation can continue it after any call.

use std::collections::BTreeMap;

use rootcast_core::device::labels::Labels;
use rootcast_core::device::{DeviceId, DeviceVersion};
use rootcast_core::job::task::{ErrorClass, Failure, Outcome, TaskRecord};
use rootcast_core::job::visit::TaskAttempt;
use rootcast_core::job::{Cursor, Job, JobId, Member, Pass, Taken};
use rootcast_core::rollover::reissue;
use rootcast_core::rollover::survey::{Deed, Finding, Purpose, find};
use rootcast_core::rollover::windows::Turn;
use rootcast_ledger::{Conducting, DeviceRecord, FleetEntry, LedgerError, Settlement, TaskKey, TaskPage};
use tokio::time::Instant;

use crate::{App, ConductError, StepResult};

/// Devices per page: one call for them, and one or two for their tasks.
pub(crate) const PAGE: usize = 1000;
/// Tasks per transaction, each with the record of its failure. DynamoDB takes 100 writes, including those of the counters and one for
/// the lease.
pub(crate) const SETTLED_AT_ONCE: usize = 45;

pub(crate) const LOST: &str =
    "No result after 3 resends. See the worker's log and the task dead-letter queue, then resume the job.";

/// A device of the fleet, or a task whose device left it.
pub(crate) struct Row {
    pub(crate) device: DeviceId,
    pub(crate) version: Option<DeviceVersion>,
    /// The rollover during which the device got that version.
    during: Option<JobId>,
    pub(crate) task: Option<TaskRecord>,
    labels: Labels,
    /// Whether the pass that is being withdrawn has a task for it.
    had_task: bool,
    /// Whether its window is open.
    turn: Turn,
}

impl Row {
    fn of_task(task: TaskRecord) -> Self {
        let (labels, turn) = (Labels::NONE, Turn::Open);
        Self {
            device: task.device.clone(),
            version: None,
            during: None,
            task: Some(task),
            labels,
            had_task: false,
            turn,
        }
    }

    fn member(&self) -> Member<'_> {
        Member { device: &self.device, labels: &self.labels, during: self.during, had_task: self.had_task }
    }
}

impl App {
    /// Continues until the sweep ends or the time is over. Records the position whenever the sweep changed something, and
    /// every thousand devices.
    pub(crate) async fn sweep(
        &self,
        held: &Conducting,
        mut job: Job,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        let mut read = 0;
        while let Some(sweep) = job.sweep.clone() {
            let is_over = job.is_sweep_over();
            let is_late = Instant::now() >= deadline;
            if is_over {
                job.end_sweep();
            }
            if is_over || is_late || read >= PAGE {
                self.commit(&mut job).await?;
                read = 0;
            }
            if is_over {
                break;
            }
            if is_late {
                return Ok(StepResult::HandOn);
            }
            let (rows, to) = self.rows(&job, &sweep.at, job.sweeps()).await?;
            read += rows.len();
            let rows = rows.into_iter().filter(|row| row.task.is_some() || job.concerns(row.member()));
            let rows = self.judged(&job, rows.collect()).await?;
            let acted = self.carry_out(held, &job, sweep.purpose, &rows).await?;
            let found = rows.iter().map(|(row, finding)| (*finding, row.task.as_ref().map(|task| task.state)));
            job.note_page(to, found);
            if acted {
                self.commit(&mut job).await?;
                read = 0;
            }
        }
        Ok(StepResult::Continue)
    }

    /// In the pass over devices' own certificates, only devices with a task, or without one that they need, take part.
    async fn judged(&self, job: &Job, rows: Vec<Row>) -> Result<Vec<(Row, Finding)>, ConductError> {
        let now = (self.clock)();
        if job.pass() != Pass::Install {
            let demand = job.demand_of_sweep(now);
            let mut judged: Vec<_> = rows
                .into_iter()
                .map(|row| {
                    let finding = find(row.version, row.task.as_ref(), demand, row.turn);
                    (row, finding)
                })
                .collect();
            if job.is_compromise() && job.pass() == Pass::Distrust {
                let without = judged.iter().filter(|(row, _)| row.task.is_none());
                let without: Vec<_> = without.map(|(row, _)| (&row.device, row.version)).collect();
                let left = self.not_proven(job, &without).await?;
                judged.retain(|(row, _)| row.task.is_some() || left.contains(&row.device));
            }
            return Ok(judged);
        }
        let owned = self.owned(job, &rows.iter().map(|row| &row.device).collect::<Vec<_>>()).await?;
        let judged = rows.into_iter().map(|row| {
            let finding = reissue::find(row.version, row.task.as_ref(), owned.get(&row.device), row.turn, now);
            (row, finding)
        });
        Ok(judged.filter(|(row, finding)| row.task.is_some() || !matches!(finding, Finding::Proven { .. })).collect())
    }

    /// The next rows of the shard at `at`, ordered by device id and at most up to `end`, and the position after them. A page at a
    /// time, also of tasks: devices that left may have more of them than the fleet has devices.
    pub(crate) async fn rows(&self, job: &Job, at: &Cursor, end: &Taken) -> Result<(Vec<Row>, Cursor), LedgerError> {
        if *end == Taken::Nothing {
            return Ok((Vec::new(), at.next_shard()));
        }
        let (shard, after) = (at.shard(job.id), at.after.as_ref());
        let mut fleet = self.ledger.fleet(shard, after, end.last(), PAGE).await?;
        let last = fleet.last().filter(|_| fleet.len() == PAGE).map(|entry| entry.device.clone());
        let tasks = (after, last.as_ref().or(end.last()));
        let TaskPage { tasks, last: of_tasks } =
            self.ledger.task_page(job.id, job.pass(), shard, tasks, &[], PAGE).await?;
        let last = of_tasks.or(last);
        if let Some(last) = &last {
            fleet.retain(|entry| entry.device <= *last);
        }
        let had_task = self.had_task(job, shard, after, last.as_ref()).await?;
        let to = match last {
            Some(last) => Cursor { step: at.step, after: Some(last) },
            None => at.next_shard(),
        };
        let schedule = job.rollout.schedule((self.clock)());
        let mut rows: BTreeMap<DeviceId, Row> = BTreeMap::new();
        for FleetEntry { device, version, labels, during } in fleet {
            let (had_task, turn) = (had_task.contains(&device), schedule.turn(&labels));
            let row =
                Row { device: device.clone(), version: Some(version), during, task: None, labels, had_task, turn };
            rows.insert(device, row);
        }
        for task in tasks {
            match rows.get_mut(&task.device) {
                Some(row) => row.task = Some(task),
                None => _ = rows.insert(task.device.clone(), Row::of_task(task)),
            }
        }
        Ok((rows.into_values().collect(), to))
    }

    /// Carries out what the findings require: recorded first, then sent. A repetition only doubles messages. Returns
    /// whether there was anything to do.
    async fn carry_out(
        &self,
        held: &Conducting,
        job: &Job,
        purpose: Purpose,
        rows: &[(Row, Finding)],
    ) -> Result<bool, ConductError> {
        let (mut sent, mut reopened, mut given_up) = (Vec::new(), Vec::new(), Vec::new());
        let deeds: Vec<(&Row, Deed)> =
            rows.iter().filter_map(|(row, finding)| Some((row, purpose.deed(*finding)?))).collect();
        let lost = deeds.iter().filter(|(_, deed)| matches!(deed, Deed::Lose { .. })).map(|(row, _)| &row.device);
        let records = self.ledger.devices_by_id(lost).await?;
        for (row, deed) in deeds {
            let device = row.device.clone();
            let deed = match deed {
                // A worker puts it back, if it comes too late for its window.
                Deed::Lose { .. } if !row.turn.is_open() => deed.under_way(),
                Deed::Lose { attempt } if self.is_under_way(job.id, job.pass(), attempt, records.get(&device)) => {
                    deed.under_way()
                }
                other => other,
            };
            match (deed, &row.task) {
                (Deed::Send { attempt }, _) => sent.push((device, attempt)),
                (Deed::Reopen, Some(task)) => {
                    reopened.push(task.clone());
                    sent.push((device, task.attempt + 1));
                }
                (Deed::Lose { attempt }, _) => {
                    let lost = Outcome::Failed(Failure::new(ErrorClass::Lost, LOST));
                    given_up.push(self.settlement(job, row, attempt, lost));
                }
                (Deed::Skip { attempt }, _) => {
                    given_up.push(self.settlement(job, row, attempt, Outcome::Skipped));
                }
                (Deed::Reopen, None) => {}
            }
        }
        let acted = !(given_up.is_empty() && sent.is_empty());
        if job.pass() == Pass::Install {
            given_up = self.lose_reissues(job, given_up).await?;
        }
        for some in given_up.chunks(SETTLED_AT_ONCE) {
            self.ledger.settle_as_conductor(held, some.to_vec()).await?;
        }
        for some in reopened.chunks(SETTLED_AT_ONCE) {
            self.ledger.reopen(held, job.pass(), some, Some(job.wave_number()), (self.clock)()).await?;
        }
        if !sent.is_empty() {
            self.send(job, sent).await?;
        }
        Ok(acted)
    }

    /// Whether the device will continue by itself. A try overdue by more than the stall time no longer counts: a resend
    /// covers it.
    pub(crate) fn is_under_way(&self, job: JobId, pass: Pass, attempt: u32, device: Option<&DeviceRecord>) -> bool {
        let task = TaskAttempt { job, pass, attempt };
        device.is_some_and(|device| device.is_under_way(task, self.stall, (self.clock)()))
    }

    fn settlement(&self, job: &Job, row: &Row, attempt: u32, outcome: Outcome) -> Settlement {
        Settlement {
            key: TaskKey { job: job.id, pass: job.pass(), device: row.device.clone() },
            attempt,
            wave: row.task.as_ref().map_or(job.wave_number(), |task| task.wave),
            of: row.version,
            outcome,
            history: row.task.as_ref().map(|task| task.history.clone()).unwrap_or_default(),
            at: (self.clock)(),
        }
    }
}
