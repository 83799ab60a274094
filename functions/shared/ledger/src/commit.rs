//! Writes several records in one transaction, each on the condition that it is unchanged since it was read.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use rootcast_core::anchors::Anchors;
use rootcast_core::audit::{Act, Head, Subject};
use rootcast_core::job::{Job, JobId};
use rootcast_core::rollover::transition::WaveRecord;
use rootcast_core::usage::Usage;
use serde::Serialize;

use crate::audit::Links;
use crate::authority::{ANCHORS, AUTHORITY, SCHEMA, bundle_id, root_id};
use crate::consumed::Written;
use crate::issuing_authorities::{SLEEP, issuing_id};
use crate::item::{Item, id_key, job_key, number, to_item};
use crate::jobs::{ROLLOVER, list_key, meta_key};
use crate::retries::{self, Cancelled};
use crate::{Authority, BundleRecord, Conducting, IssuingRecord, Ledger, LedgerError, RootRecord, SleepRecord};

/// Most writes in one transaction: DynamoDB's limit.
pub(crate) const TRANSACTION: usize = 100;

/// The records to write together. Their revisions are those that were *read* (0: no record yet); the write increments
/// them.
#[derive(Debug, Default)]
pub struct Change<'a> {
    pub authority: Option<&'a Authority>,
    pub roots: Vec<&'a RootRecord>,
    pub issuing: Vec<&'a IssuingRecord>,
    pub sleep: Option<&'a SleepRecord>,
    /// Needs `authority`, whose `has_anchors` says that there is a list.
    pub anchors: Option<&'a Anchors>,
    /// Published only once: its version must not exist.
    pub bundle: Option<&'a BundleRecord>,
    /// The current bundle, signed again. Needs `authority`, whose condition holds for both.
    pub renewed: Option<&'a BundleRecord>,
    pub job: Option<&'a Job>,
    /// The job is new, and is added to the list of jobs.
    pub new_job: bool,
    /// Raises the job counter to this. A conflict if it is higher already.
    pub last_job: Option<u64>,
    /// A completed wave.
    pub wave: Option<(JobId, &'a WaveRecord)>,
    /// Entries for the audit chains of the job, the roots and the policies; those of one chain stand together.
    pub acts: Vec<Act>,
    /// Revisions by shard: requires that the fleet is unchanged since the survey.
    pub fleet: Vec<(u8, u64)>,
    /// Requires that the conductor still holds the job's lease. The check costs two write units, so only a write that
    /// passes a gate has it (and writes of tasks, which are not part of a `Change`). For the job's own record, its
    /// revision is enough:
    ///
    /// - If the record has changed since it was read, the write is refused.
    /// - If not, the new lease holder has recorded nothing yet, and works from the same record. Both make the same
    ///   changes to tasks, by writes that are conditional on the lease and the task's attempt. The second one to write
    ///   the record is refused, reads it again and continues from there. If both write the same record, neither is refused,
    ///   and both continue from it.
    ///
    /// A write that passes a gate also requires the fleet's revisions, because it cannot be undone.
    pub conducting: Option<&'a Conducting>,
}

impl Ledger {
    /// # Errors
    /// [`LedgerError::Conflict`] if any record has changed since it was read; then nothing is written.
    pub async fn commit(&self, change: Change<'_>) -> Result<(), LedgerError> {
        let used = change.job.map_or(Usage::default(), |_| self.meter.take());
        let committed = self.commit_with(change, used).await;
        if committed.is_err() {
            self.meter.add(used);
        }
        committed
    }

    /// `used`: since the last write of a job.
    async fn commit_with(&self, change: Change<'_>, used: Usage) -> Result<(), LedgerError> {
        let mut writes = Vec::new();
        let mut written = None;
        if let Some(authority) = change.authority {
            let record = Authority { revision: authority.revision + 1, schema: SCHEMA, ..authority.clone() };
            writes.push(versioned(self.certificates()?, "authority", &record, id_key(AUTHORITY), authority.revision)?);
        }
        let new_roots: Vec<u32> =
            change.roots.iter().filter(|root| root.revision == 0).map(|root| root.generation).collect();
        for root in &change.roots {
            let record = RootRecord { revision: root.revision + 1, ..(*root).clone() };
            writes.push(versioned(
                self.certificates()?,
                "root",
                &record,
                id_key(root_id(root.generation)),
                root.revision,
            )?);
        }
        for issuing in &change.issuing {
            let record = IssuingRecord { revision: issuing.revision + 1, ..(*issuing).clone() };
            let key = id_key(issuing_id(issuing.id()));
            writes.push(versioned(self.certificates()?, "issuing authority", &record, key, issuing.revision)?);
        }
        if let Some(sleep) = change.sleep {
            let record = SleepRecord { revision: sleep.revision + 1, ..sleep.clone() };
            writes.push(versioned(self.certificates()?, "sleep", &record, id_key(SLEEP), sleep.revision)?);
        }
        if let Some(anchors) = change.anchors {
            let record = anchors.next_revision();
            writes.push(versioned(self.certificates()?, "anchors", &record, id_key(ANCHORS), anchors.revision)?);
        }
        if let Some(bundle) = change.bundle {
            writes.push(versioned(
                self.certificates()?,
                "bundle",
                bundle,
                id_key(bundle_id(bundle.bundle.version)),
                0,
            )?);
        }
        if let Some(bundle) = change.renewed {
            writes.push(put(self.certificates()?, "bundle", bundle, id_key(bundle_id(bundle.bundle.version)), None)?);
        }
        if let Some(job) = change.job {
            let used = self.used_before(job) + used;
            let record = Job { revision: if change.new_job { 1 } else { job.revision + 1 }, used, ..job.clone() };
            written = Some((record.id, record.revision, record.used));
            let read = if change.new_job { 0 } else { job.revision };
            writes.push(versioned(self.jobs()?, "job", &record, meta_key(job.id, ROLLOVER), read)?);
            if change.new_job {
                writes.push(versioned(self.jobs()?, "job", &NoAttributes {}, list_key(job.id), 0)?);
            }
            if job.continued.is_some() {
                writes.push(self.list_continued(job)?);
            }
        }
        if let Some(last) = change.last_job {
            writes.push(self.raise_jobs(last)?);
        }
        if let Some((job, wave)) = change.wave {
            let key = job_key(job.to_string(), format!("wave#{}#{:06}", wave.pass, wave.number));
            writes.push(put(self.jobs()?, "wave", wave, key, None)?);
        }
        for (shard, revision) in &change.fleet {
            writes.push(self.demand_revision(*shard, *revision)?);
        }
        if let Some(conducting) = change.conducting {
            writes.push(self.demand_conducting(conducting)?);
        }
        let mut links = Links::default();
        for acts in change.acts.chunk_by(|act, next| act.subject == next.subject) {
            let is_new = match acts {
                [Act { subject: Subject::Job(_), .. }, ..] => change.new_job,
                [Act { subject: Subject::Root(generation), .. }, ..] => new_roots.contains(generation),
                _ => false,
            };
            links = links.and(if is_new { self.link_to(acts, Head::NONE)? } else { self.link(acts).await? });
        }
        writes.extend(links.writes());
        match writes.as_slice() {
            // Two conductors that write the same record of a job may both go on. Other records reserve something, so that only
            // one of two equal writes may succeed: a transaction's token tells a repetition from another's write.
            [TransactWriteItem { put: Some(put), .. }] if change.job.is_some() => {
                self.put_alone(put.clone(), "PutItem job").await?;
            }
            _ => self.transact(writes).await?,
        }
        links.tell();
        if written.is_some() {
            *self.last_written() = written;
        }
        change.roots.iter().for_each(|root| self.written(*root, &change.acts));
        change.issuing.iter().for_each(|issuing| self.written(*issuing, &change.acts));
        if let Some(job) = change.job {
            self.written_after(job, if change.new_job { 0 } else { job.revision }, &change.acts);
        }
        Ok(())
    }

    /// What the job's record says: whoever wrote it in this process may go on with the one before.
    fn used_before(&self, job: &Job) -> Usage {
        match *self.last_written() {
            Some((id, revision, used)) if (id, revision) == (job.id, job.revision) => used,
            _ => job.used,
        }
    }

    fn last_written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn transact(&self, writes: Vec<TransactWriteItem>) -> Result<(), LedgerError> {
        let sent = self.client.transact_write_items().set_transact_items(Some(writes)).send().await;
        sent.map(|_| ()).map_err(classify)
    }
}

impl Ledger {
    /// Writes one record by itself, for half of what a transaction costs. If the answer to the same write was lost, the record
    /// is there as it was to be written, and nothing failed.
    pub(crate) async fn put_alone(&self, put: Put, operation: &'static str) -> Result<(), LedgerError> {
        let item = put.item.clone();
        let sent = self
            .client
            .put_item()
            .table_name(put.table_name)
            .set_item(Some(put.item))
            .set_condition_expression(put.condition_expression)
            .set_expression_attribute_names(put.expression_attribute_names)
            .set_expression_attribute_values(put.expression_attribute_values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = sent else { return Ok(()) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(refused)) if refused.item.as_ref() == Some(&item) => {
                Ok(())
            }
            Some(PutItemError::ConditionalCheckFailedException(_)) => Err(LedgerError::Conflict),
            _ => Err(LedgerError::aws(operation)(error)),
        }
    }
}

/// Among the reasons of a cancelled transaction, a failed condition takes precedence.
fn classify(error: SdkError<TransactWriteItemsError>) -> LedgerError {
    const OPERATION: &str = "TransactWriteItems";
    match cancelled(&error) {
        Some(codes) if codes.iter().any(|code| code == "ConditionalCheckFailed") => LedgerError::Conflict,
        _ => failed(OPERATION, error),
    }
}

/// The error of a transaction that failed without a failed condition.
pub(crate) fn failed(operation: &'static str, error: SdkError<TransactWriteItemsError>) -> LedgerError {
    match cancelled(&error).map(|codes| Cancelled::of(&codes)) {
        Some(Cancelled::Collided | Cancelled::Throttled) => {
            LedgerError::Transient { operation, source: Box::new(error) }
        }
        Some(Cancelled::Refused) => LedgerError::Aws { operation, source: Box::new(error) },
        None => LedgerError::aws(operation)(error),
    }
}

/// The reason for each write, in the order of the writes; `None` if the transaction was not cancelled.
pub(crate) fn cancelled(error: &SdkError<TransactWriteItemsError>) -> Option<Vec<String>> {
    error.as_service_error().and_then(retries::cancelled)
}

/// The condition on the record that a write replaces.
pub(crate) struct Condition {
    pub(crate) expression: String,
    pub(crate) names: Option<HashMap<String, String>>,
    pub(crate) values: Option<HashMap<String, AttributeValue>>,
}

impl Condition {
    /// There is no record yet. `key`: the table's partition key.
    pub(crate) fn absent(key: &str) -> Self {
        Self { expression: format!("attribute_not_exists({key})"), names: None, values: None }
    }

    /// The record is unchanged since it was read; 0 if there was none.
    pub(crate) fn as_read(revision: u64, key: &str) -> Self {
        if revision == 0 {
            return Self::absent(key);
        }
        let values = HashMap::from([(":read".to_owned(), number(revision))]);
        Self { expression: "revision = :read".to_owned(), names: None, values: Some(values) }
    }
}

fn versioned<T: Serialize>(
    table: &str,
    what: &'static str,
    record: &T,
    key: Item,
    read: u64,
) -> Result<TransactWriteItem, LedgerError> {
    let partition = if key.contains_key("pk") { "pk" } else { "id" };
    put(table, what, record, key, Some(Condition::as_read(read, partition)))
}

pub(crate) fn put<T: Serialize>(
    table: &str,
    what: &'static str,
    record: &T,
    key: Item,
    condition: Option<Condition>,
) -> Result<TransactWriteItem, LedgerError> {
    Ok(TransactWriteItem::builder().put(put_of(table, what, record, key, condition)?).build())
}

pub(crate) fn put_of<T: Serialize>(
    table: &str,
    what: &'static str,
    record: &T,
    key: Item,
    condition: Option<Condition>,
) -> Result<Put, LedgerError> {
    let mut item = to_item(what, record)?;
    item.extend(key);
    let mut put = Put::builder().table_name(table).set_item(Some(item));
    if let Some(condition) = condition {
        put = put
            .condition_expression(condition.expression)
            .set_expression_attribute_names(condition.names)
            .set_expression_attribute_values(condition.values);
    }
    put.build().map_err(|source| LedgerError::Unwritable { what, source: Box::new(source) })
}

/// An item with a key only: a list entry.
#[derive(Serialize)]
pub(crate) struct NoAttributes {}
