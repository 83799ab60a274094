//! A job's devices in pages: the fleet in the order in which the job pages it, each device with its task.

use std::collections::BTreeSet;
use std::ops::Bound;

use rootcast_core::access::permission::DevicesSeen;
use rootcast_core::device::DeviceId;
use rootcast_core::job::standing::Standing;
use rootcast_core::job::task::TaskRecord;
use rootcast_core::job::{Cursor, Job, Pass};
use rootcast_dialects::lenovo::LenovoError;
use rootcast_gate::Cursors;
use rootcast_ledger::{Ledger, TaskKey};
use serde::{Deserialize, Serialize};

use crate::page::{Paging, cursor, stale};

/// A filter may skip most of a fleet. After this many devices, the answer is the rows found so far, and a cursor.
const LOOKED_AT: usize = 10_000;
/// Devices per read if a filter is set: one call for their ids, one or two for their tasks.
const FILTERED_READ: usize = 1000;

/// Devices per read of those that the caller's grants name: of a call each for their tasks and the fleet.
const NAMED_READ: usize = 100;

/// Bytes at which a page is full, even with fewer rows than its limit: Lambda answers with at most 6 MB, and a task
/// with the longest history has 30 KB.
const FULL: usize = 4 << 20;

/// A device and its task in the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) device: DeviceId,
    /// `None` until the first attempt is settled.
    pub(crate) task: Option<TaskRecord>,
}

impl Row {
    pub(crate) fn standing(&self, job: &Job) -> Standing {
        Standing::of(job, &self.device, self.task.as_ref())
    }

    /// Whether the device's message was sent, or is about to be. In a rollout with windows or an order, that is known of a
    /// device with a task only.
    pub(crate) fn is_sent(&self, job: &Job) -> bool {
        self.task.is_some() || (!job.rollout.is_selective() && job.cursor.is_past(job.id, &self.device))
    }

    /// The row's approximate size in an answer, in bytes.
    fn weight(&self) -> usize {
        const FIELDS: usize = 300;
        const ENTRY: usize = 120;
        let Some(task) = &self.task else { return FIELDS };
        let history: usize = task.history.iter().map(|entry| ENTRY + entry.words.len()).sum();
        let message = task.failure.as_ref().map_or(0, |failure| failure.message.len());
        FIELDS + history + message + task.waiver.as_ref().map_or(0, String::len)
    }
}

/// The rows of a page so far.
struct Rows {
    found: Vec<Row>,
    limit: usize,
    weight: usize,
}

impl Rows {
    const fn new(limit: usize) -> Self {
        Self { found: Vec::new(), limit, weight: 0 }
    }

    fn push(&mut self, row: Row) {
        self.weight += row.weight();
        self.found.push(row);
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.limit || self.weight >= FULL
    }
}

/// A job that turns back has new tasks: its pages cannot be resumed with a cursor of the previous pass.
#[derive(Debug, Serialize, Deserialize)]
struct PageStart {
    #[serde(rename = "leg")]
    pass: Pass,
    at: Cursor,
    /// Among the devices that the caller's grants name.
    #[serde(default)]
    named: bool,
}

/// Where the rows are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Among {
    /// Every device is a row.
    Every,
    /// Any of the devices may be dropped.
    Many,
    /// The failed ones, which are on record as such: a page costs what it shows.
    Failed,
}

/// The next rows that `keep` accepts, and a cursor for the rest; no cursor after the last page.
pub(crate) async fn page(
    list: Cursors<'_>,
    job: &Job,
    paging: &Paging,
    among: Among,
    keep: impl Fn(&Row) -> bool,
) -> Result<(Vec<Row>, Option<String>), LenovoError> {
    let limit = paging.limit(1000)? as usize;
    let (ledger, pass) = (list.ledger, job.pass());
    let seen = list.caller.grants.devices_seen();
    let named = seen != DevicesSeen::All;
    let mut at = match paging.place::<PageStart>(list).await? {
        Some(place) if place.pass == pass && place.named == named => place.at,
        Some(_) => return Err(stale()),
        None => Cursor::default(),
    };
    let (mut rows, mut looked_at) = (Rows::new(limit), 0);
    if let DevicesSeen::Named(ids) = seen {
        let after = named_rows(ledger, job, &ids, at.after, &mut rows, keep).await?;
        let next = after.map(|after| PageStart { pass, at: Cursor { step: 0, after: Some(after) }, named });
        return Ok((rows.found, cursor(list, next.as_ref()).await?));
    }
    let listed = match among {
        Among::Failed => Some(ledger.counters(job.id, pass, job.counted_together).await?.lists_failures),
        Among::Every | Among::Many => None,
    };
    while !at.is_at_end() && !rows.is_full() && looked_at < LOOKED_AT {
        let read = if among == Among::Many || listed == Some(false) { FILTERED_READ } else { limit - rows.found.len() };
        let (found, next) = match listed {
            Some(listed) => read_failed(ledger, job, listed, &at, read).await?,
            None => read_shard(ledger, job, pass, &at, read).await?,
        };
        looked_at += found.len();
        at = take(&mut rows, found, &keep, &at).unwrap_or(next);
    }
    let next = (!at.is_at_end()).then_some(PageStart { pass, at, named });
    Ok((rows.found, cursor(list, next.as_ref()).await?))
}

/// Fills the page from these devices, ordered by id, as far as they are in the fleet or have a task. Two calls a hundred
/// devices. Returns the last device that was looked at, if there are more.
async fn named_rows(
    ledger: &Ledger,
    job: &Job,
    ids: &BTreeSet<DeviceId>,
    after: Option<DeviceId>,
    rows: &mut Rows,
    keep: impl Fn(&Row) -> bool,
) -> Result<Option<DeviceId>, LenovoError> {
    let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut left = ids.range::<DeviceId, _>((from, Bound::Unbounded)).peekable();
    while !rows.is_full() && left.peek().is_some() {
        let some: Vec<&DeviceId> = left.by_ref().take(NAMED_READ.min(rows.limit - rows.found.len())).collect();
        let key = |device: &DeviceId| TaskKey { job: job.id, pass: job.pass(), device: device.clone() };
        let keys: Vec<TaskKey> = some.iter().map(|device| key(device)).collect();
        let ((_, mut tasks), fleet) =
            futures::try_join!(ledger.jobs_and_tasks([], &keys), ledger.fleet_versions(some.iter().copied()))?;
        for key in keys {
            let task = tasks.remove(&key);
            let row = Row { device: key.device, task };
            let is_there = row.task.is_some() || fleet.contains_key(&row.device);
            if is_there && keep(&row) {
                rows.push(row);
            }
        }
        if left.peek().is_some() && rows.is_full() {
            return Ok(some.last().map(|last| (*last).clone()));
        }
    }
    Ok(None)
}

/// Devices of the shard at `at`, with their tasks, and the position after them. Includes tasks of devices that were
/// deleted meanwhile.
async fn read_shard(
    ledger: &Ledger,
    job: &Job,
    pass: Pass,
    at: &Cursor,
    limit: usize,
) -> Result<(Vec<Row>, Cursor), LenovoError> {
    let (shard, after) = (at.shard(job.id), at.after.as_ref());
    let devices = ledger.fleet(shard, after, None, limit).await?;
    let devices: Vec<DeviceId> = devices.into_iter().map(|entry| entry.device).collect();
    let last = devices.last().filter(|_| devices.len() == limit).cloned();
    let tasks = ledger.tasks(job.id, pass, shard, after, last.as_ref()).await?;
    let next = match last {
        Some(last) => Cursor { step: at.step, after: Some(last) },
        None => at.next_shard(),
    };
    Ok((merge(devices, tasks), next))
}

/// Like [`read_shard`], of the devices that failed.
async fn read_failed(
    ledger: &Ledger,
    job: &Job,
    listed: bool,
    at: &Cursor,
    limit: usize,
) -> Result<(Vec<Row>, Cursor), LenovoError> {
    let shard = at.shard(job.id);
    let page = ledger.troubled((job.id, job.pass()), listed, shard, at.after.as_ref(), limit).await?;
    let next = match page.last {
        Some(last) => Cursor { step: at.step, after: Some(last) },
        None => at.next_shard(),
    };
    let row = |task: TaskRecord| Row { device: task.device.clone(), task: Some(task) };
    Ok((page.tasks.into_iter().map(row).collect(), next))
}

/// Both inputs are sorted by device id.
fn merge(devices: Vec<DeviceId>, tasks: Vec<TaskRecord>) -> Vec<Row> {
    let mut rows = Vec::with_capacity(devices.len());
    let mut devices = devices.into_iter().peekable();
    for task in tasks {
        while let Some(device) = devices.next_if(|device| *device < task.device) {
            rows.push(Row { device, task: None });
        }
        devices.next_if_eq(&task.device);
        rows.push(Row { device: task.device.clone(), task: Some(task) });
    }
    rows.extend(devices.map(|device| Row { device, task: None }));
    rows
}

/// Moves rows until the page is full. Returns the position after the last one if rows are left.
fn take(rows: &mut Rows, found: Vec<Row>, keep: impl Fn(&Row) -> bool, at: &Cursor) -> Option<Cursor> {
    let mut left = found.into_iter().peekable();
    while let Some(row) = left.next() {
        let device = row.device.clone();
        if keep(&row) {
            rows.push(row);
        }
        if rows.is_full() && left.peek().is_some() {
            return Some(Cursor { step: at.step, after: Some(device) });
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;
    use rootcast_core::deployment::lifecycle::{Entry, MOST_ENTRIES, Stage, StageResult};
    use rootcast_core::job::task::TaskState;
    use time::OffsetDateTime;

    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn task(device: &str, state: TaskState) -> TaskRecord {
        TaskRecord::new(device.parse().unwrap(), state, 1, OffsetDateTime::UNIX_EPOCH)
    }

    fn row(device: &str, state: Option<TaskState>) -> Row {
        Row { device: device.parse().unwrap(), task: state.map(|state| task(device, state)) }
    }

    #[test]
    fn a_page_stays_below_lambdas_response_limit() {
        let words = "x".repeat(500);
        let entry = Entry { stage: Stage::UpdateTrustStore, attempt: 1, result: StageResult::Done, words, at: NOW };
        let mut long = row("a", Some(TaskState::Failed));
        long.task.as_mut().unwrap().history = vec![entry; MOST_ENTRIES];
        let mut rows = Rows::new(1000);
        let all = vec![long; 1000];
        let next = take(&mut rows, all, |_| true, &Cursor::default());
        assert!(next.is_some() && (100..250).contains(&rows.found.len()), "{}", rows.found.len());
    }

    proptest! {
        /// Every device and every task appears once, in order.
        #[test]
        fn merging_loses_nothing(
            devices in proptest::collection::btree_set("[a-d.][a-c]?", 0..12),
            tasks in proptest::collection::btree_set("[a-d.][a-c]?", 0..12),
        ) {
            let merged = merge(
                devices.iter().map(|id| id.parse().unwrap()).collect(),
                tasks.iter().map(|id| task(id, TaskState::Acked)).collect(),
            );
            let expected: Vec<(String, bool)> =
                devices.union(&tasks).map(|id| (id.clone(), tasks.contains(id))).collect();
            let found: Vec<(String, bool)> =
                merged.iter().map(|row| (row.device.to_string(), row.task.is_some())).collect();
            prop_assert_eq!(found, expected);
        }

        /// Whatever the limit, every row comes exactly once.
        #[test]
        fn taking_resumes_at_the_returned_position(count in 0usize..30, limit in 1usize..10) {
            let all: Vec<Row> = (0..count).map(|n| row(&format!("d{n:02}"), None)).collect();
            let (mut seen, mut at) = (Vec::new(), Cursor::default());
            loop {
                let left = all.iter().filter(|row| at.after.as_ref().is_none_or(|after| row.device > *after)).cloned();
                let mut page = Rows::new(limit);
                let next = take(&mut page, left.collect(), |row| !row.device.as_str().ends_with('3'), &at);
                prop_assert!(page.found.len() <= limit);
                seen.extend(page.found);
                match next {
                    Some(next) => at = next,
                    None => break,
                }
            }
            let expected: Vec<Row> = all.into_iter().filter(|row| !row.device.as_str().ends_with('3')).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
