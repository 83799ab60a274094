//! Device tasks, which always change together with their [counters](crate::counters).

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::TransactWriteItem;
use rootcast_core::deployment::lifecycle::Entry;
use rootcast_core::device::{DeviceId, DeviceVersion};
use rootcast_core::job::message::Task;
use rootcast_core::job::task::{Outcome, TaskRecord, TaskState};
use rootcast_core::job::{JobId, JobRecord, Pass};
use rootcast_core::usage::Usage;
use time::OffsetDateTime;

use crate::commit::{Condition, cancelled, failed, put};
use crate::counters::{Deltas, counter};
use crate::item::{Item, from_item, job_key, number, text};
use crate::jobs::from_job_item;
use crate::{Conducting, Ledger, LedgerError};

/// Identifies a device's task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey {
    pub job: JobId,
    pub pass: Pass,
    pub device: DeviceId,
}

impl From<&Task> for TaskKey {
    fn from(task: &Task) -> Self {
        Self { job: task.job, pass: task.pass, device: task.device.clone() }
    }
}

/// The result of one attempt at a task.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub key: TaskKey,
    pub attempt: u32,
    /// As in the [message](Task).
    pub wave: u32,
    /// The device's version when it was read for this attempt; `None` if there was no device.
    pub of: Option<DeviceVersion>,
    pub outcome: Outcome,
    /// The task's history, as it was read.
    pub history: Vec<Entry>,
    pub at: OffsetDateTime,
}

/// The result of settling a batch.
#[derive(Debug, Default)]
pub struct Settled {
    pub recorded: Vec<TaskKey>,
    /// Already settled, or superseded by another attempt: nothing was changed.
    pub stale: Vec<TaskKey>,
}

pub(crate) fn task_key(key: &TaskKey) -> Item {
    job_key(format!("{}#{:02}", key.job, key.device.shard()), format!("{}{}", prefix(key.pass), key.device))
}

pub(crate) fn prefix(pass: Pass) -> String {
    format!("task#{pass}#")
}

/// Some tasks of a shard.
#[derive(Debug)]
pub struct TaskPage {
    pub tasks: Vec<TaskRecord>,
    /// The last one that was read; `None`: there are no more.
    pub last: Option<DeviceId>,
}

impl Ledger {
    /// The jobs and task records that a batch of messages names. One call per 100 records.
    pub async fn jobs_and_tasks(
        &self,
        jobs: impl IntoIterator<Item = JobId>,
        tasks: &[TaskKey],
    ) -> Result<(HashMap<JobId, JobRecord>, HashMap<TaskKey, TaskRecord>), LedgerError> {
        let mut keys: Vec<Item> = jobs.into_iter().map(|job| job_key(job.to_string(), "meta")).collect();
        keys.extend(tasks.iter().map(task_key));
        let named: HashMap<(String, String), &TaskKey> =
            tasks.iter().map(|task| (names(&task_key(task)), task)).collect();
        let (mut found_jobs, mut found_tasks) = (HashMap::new(), HashMap::new());
        for item in self.batch_get(keys, "BatchGetItem jobs and tasks").await? {
            if let Some(task) = named.get(&names(&item)) {
                found_tasks.insert((*task).clone(), from_item("task", item)?);
            } else {
                let job = from_job_item(item)?;
                found_jobs.insert(job.id(), job);
            }
        }
        Ok((found_jobs, found_tasks))
    }

    /// Task records of a shard, ordered by device id, optionally after `after` and up to `to`.
    pub async fn tasks(
        &self,
        job: JobId,
        pass: Pass,
        shard: u8,
        after: Option<&DeviceId>,
        to: Option<&DeviceId>,
    ) -> Result<Vec<TaskRecord>, LedgerError> {
        self.query_tasks(job, pass, shard, (after, to), &[]).await
    }

    /// Of the next `limit` tasks of a shard, those in one of these states (empty: all). One call.
    pub async fn task_page(
        &self,
        job: JobId,
        pass: Pass,
        shard: u8,
        between: (Option<&DeviceId>, Option<&DeviceId>),
        states: &[&str],
        limit: usize,
    ) -> Result<TaskPage, LedgerError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let query = self.task_query(job, pass, shard, between, states)?.limit(limit);
        let answer = query.send().await.map_err(LedgerError::aws("Query tasks"))?;
        let of_task = |key: Item| key.get("sk")?.as_s().ok()?.strip_prefix(&prefix(pass))?.parse().ok();
        let items = answer.items.unwrap_or_default().into_iter();
        let tasks = items.map(|item| from_item("task", item)).collect::<Result<_, _>>()?;
        Ok(TaskPage { tasks, last: answer.last_evaluated_key.and_then(of_task) })
    }

    async fn query_tasks(
        &self,
        job: JobId,
        pass: Pass,
        shard: u8,
        between: (Option<&DeviceId>, Option<&DeviceId>),
        states: &[&str],
    ) -> Result<Vec<TaskRecord>, LedgerError> {
        let mut pages = self.task_query(job, pass, shard, between, states)?.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(item) = pages.next().await {
            found.push(from_item("task", item.map_err(LedgerError::aws("Query tasks"))?)?);
        }
        Ok(found)
    }

    /// `states`: empty for all.
    fn task_query(
        &self,
        job: JobId,
        pass: Pass,
        shard: u8,
        (after, to): (Option<&DeviceId>, Option<&DeviceId>),
        states: &[&str],
    ) -> Result<QueryFluentBuilder, LedgerError> {
        let tasks = prefix(pass);
        // '~' sorts after, and '\u{1}' before, every character allowed in a device id.
        let from = after.map_or_else(|| tasks.clone(), |device| format!("{tasks}{device}\u{1}"));
        let until = to.map_or_else(|| format!("{tasks}~"), |device| format!("{tasks}{device}"));
        let mut query = self
            .client
            .query()
            .table_name(self.jobs()?)
            .key_condition_expression("pk = :shard AND sk BETWEEN :from AND :until")
            .expression_attribute_values(":shard", text(format!("{job}#{shard:02}")))
            .expression_attribute_values(":from", text(from))
            .expression_attribute_values(":until", text(until))
            .consistent_read(true);
        if !states.is_empty() {
            let names: Vec<String> = states.iter().map(|state| format!(":{state}")).collect();
            query = query
                .filter_expression(format!("#state IN ({})", names.join(", ")))
                // `state` is a reserved word in DynamoDB.
                .expression_attribute_names("#state", "state");
            for (name, state) in names.into_iter().zip(states) {
                query = query.expression_attribute_values(name, text(*state));
            }
        }
        Ok(query)
    }

    /// Like [`Ledger::settle`], for tasks that the conductor settles. Requires its lease.
    pub async fn settle_as_conductor(
        &self,
        held: &Conducting,
        settlements: Vec<Settlement>,
    ) -> Result<Settled, LedgerError> {
        self.settle_with(settlements, &[self.demand_conducting(held)?]).await
    }

    /// Records results of attempts and their counters in one transaction. Attempts that are already settled or
    /// superseded are skipped, so a task that was delivered twice changes nothing.
    pub async fn settle(&self, settlements: Vec<Settlement>) -> Result<Settled, LedgerError> {
        self.settle_with(settlements, &[]).await
    }

    /// `demands`: further conditions, in addition to the settlements.
    async fn settle_with(
        &self,
        settlements: Vec<Settlement>,
        demands: &[TransactWriteItem],
    ) -> Result<Settled, LedgerError> {
        let used = self.meter.take();
        let settled = self.settle_using(settlements, demands, &used).await;
        if settled.as_ref().is_ok_and(|settled| !settled.recorded.is_empty()) {
            return settled;
        }
        self.meter.add(used);
        settled
    }

    async fn settle_using(
        &self,
        mut settlements: Vec<Settlement>,
        demands: &[TransactWriteItem],
        used: &Usage,
    ) -> Result<Settled, LedgerError> {
        let mut settled = Settled::default();
        while !settlements.is_empty() {
            let mut writes = Vec::new();
            for settlement in &settlements {
                writes.push(self.settlement(settlement)?);
            }
            writes.extend(self.troubles(&settlements)?);
            writes.extend(self.counts(&settlements, used)?);
            writes.extend(demands.iter().cloned());
            let Err(codes) = self.transact_by_write(writes, "TransactWriteItems tasks").await? else {
                settled.recorded.extend(settlements.into_iter().map(|settlement| settlement.key));
                break;
            };
            let mut verdicts = codes.into_iter().map(|code| code == "ConditionalCheckFailed");
            let before = settlements.len();
            settlements.retain(|settlement| {
                let stale = verdicts.next().unwrap_or(false);
                if stale {
                    settled.stale.push(settlement.key.clone());
                }
                !stale
            });
            if settlements.len() == before {
                // No settlement was refused, so a demand is not met.
                return Err(LedgerError::Conflict);
            }
        }
        Ok(settled)
    }

    /// For callers that need the result per write. The inner error means that a condition failed, and holds the reason
    /// for each write, in order.
    pub(crate) async fn transact_by_write(
        &self,
        writes: Vec<TransactWriteItem>,
        operation: &'static str,
    ) -> Result<Result<(), Vec<String>>, LedgerError> {
        let sent = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        let Err(error) = sent else { return Ok(Ok(())) };
        match cancelled(&error) {
            Some(codes) if codes.iter().any(|code| code == "ConditionalCheckFailed") => Ok(Err(codes)),
            _ => Err(failed(operation, error)),
        }
    }

    /// Reopens settled tasks, each with its next attempt. At most 50. `held`: the conductor's lease. `wave`: the one that they
    /// are in from now on; `None`: they stay in theirs.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if a task has changed since it was read, or another conductor holds the job.
    pub async fn reopen(
        &self,
        held: &Conducting,
        pass: Pass,
        settled: &[TaskRecord],
        wave: Option<u32>,
        now: OffsetDateTime,
    ) -> Result<(), LedgerError> {
        let mut writes = self.reopening(held.job, pass, settled, wave, now)?;
        if writes.is_empty() {
            return Ok(());
        }
        writes.push(self.demand_conducting(held)?);
        // While the job runs, workers' transactions also write the shard's counters.
        self.transact_by_write(writes, "TransactWriteItems reopened tasks").await?.map_err(|_| LedgerError::Conflict)
    }

    pub(crate) fn reopening(
        &self,
        job: JobId,
        pass: Pass,
        settled: &[TaskRecord],
        wave: Option<u32>,
        now: OffsetDateTime,
    ) -> Result<Vec<TransactWriteItem>, LedgerError> {
        let mut writes = Vec::new();
        let mut counts = Deltas::new();
        for task in settled.iter().filter(|task| task.state != TaskState::Waiting) {
            counts.reopened(task.state, task.wave);
            let key = TaskKey { job, pass, device: task.device.clone() };
            let (attempt, wave) = (task.attempt + 1, wave.unwrap_or(task.wave));
            let next = TaskRecord { state: TaskState::Waiting, attempt, wave, at: now, ..task.clone() };
            writes.push(self.replace_settled(&key, task, &next)?);
        }
        if let Some(task) = settled.first().filter(|_| !writes.is_empty()) {
            writes.push(self.counted(job, pass, task.device.shard(), counts)?);
        }
        Ok(writes)
    }

    /// Waives a failed device in its current version, `of`. The waiver does not cover another device with this id, or a
    /// later version.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the task is not failed (any more).
    pub async fn waive(
        &self,
        key: &TaskKey,
        task: &TaskRecord,
        of: Option<DeviceVersion>,
        why: &str,
        now: OffsetDateTime,
    ) -> Result<(), LedgerError> {
        let waived = TaskRecord { state: TaskState::Waived, of, waiver: Some(why.to_owned()), at: now, ..task.clone() };
        let mut counts = Deltas::new();
        counts.reopened(task.state, task.wave);
        counts.settled(waived.state, waived.wave);
        let writes = vec![
            self.replace_settled(key, task, &waived)?,
            self.trouble(key, true)?,
            self.counted(key.job, key.pass, key.device.shard(), counts)?,
        ];
        self.transact(writes).await
    }

    /// Replaces a record that was read.
    fn replace_settled(
        &self,
        key: &TaskKey,
        read: &TaskRecord,
        record: &TaskRecord,
    ) -> Result<TransactWriteItem, LedgerError> {
        let state = counter(read.state).unwrap_or("waiting");
        put(self.jobs()?, "task", record, task_key(key), Some(attempt_is(state, read.attempt)))
    }

    pub(crate) fn settlement(&self, settlement: &Settlement) -> Result<TransactWriteItem, LedgerError> {
        let Settlement { key, attempt, wave, of, outcome, history, at } = settlement;
        let (ack, failure) = match outcome {
            Outcome::Acked(ack) => (Some(ack.clone()), None),
            Outcome::Failed(failure) => (None, Some(failure.clone())),
            Outcome::Deployed { .. }
            | Outcome::Checked(_)
            | Outcome::Probed(_)
            | Outcome::Skipped
            | Outcome::Postponed => (None, None),
        };
        let shown = match outcome {
            Outcome::Deployed { leaf, .. } => Some(*leaf),
            _ => None,
        };
        let checked = match outcome {
            Outcome::Checked(checked) => Some(checked.clone()),
            _ => None,
        };
        let record = TaskRecord {
            wave: *wave,
            of: *of,
            ack,
            shown,
            checked,
            failure,
            history: outcome.recorded(key.pass.work(), *attempt, history.clone(), *at),
            ..TaskRecord::new(key.device.clone(), outcome.state(), *attempt, *at)
        };
        let condition = if *attempt <= 1 { Condition::absent("pk") } else { attempt_is("waiting", *attempt) };
        put(self.jobs()?, "task", &record, task_key(key), Some(condition))
    }

    /// Consistent reads, for any number of keys of the jobs table.
    pub(crate) async fn batch_get(&self, keys: Vec<Item>, operation: &'static str) -> Result<Vec<Item>, LedgerError> {
        self.batch_get_of(self.jobs()?, keys, operation).await
    }
}

/// Requires this attempt, in this state.
fn attempt_is(state: &str, attempt: u32) -> Condition {
    Condition {
        expression: "#state = :state AND attempt = :attempt".to_owned(),
        // `state` is a reserved word in DynamoDB.
        names: Some(HashMap::from([("#state".to_owned(), "state".to_owned())])),
        values: Some(HashMap::from([(":state".to_owned(), text(state)), (":attempt".to_owned(), number(attempt))])),
    }
}

fn names(item: &Item) -> (String, String) {
    let part = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
    (part("pk"), part("sk"))
}
