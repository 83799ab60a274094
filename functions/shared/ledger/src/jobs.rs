//! Jobs of either kind, and the waves of rollovers.

use aws_sdk_dynamodb::types::ReturnValue;
use rootcast_core::audit::Act;
use rootcast_core::job::{Job, JobId, JobRecord};
use rootcast_core::rollover::transition::WaveRecord;
use serde::Deserialize;

use crate::item::{Item, from_item, job_key, number, text};
use crate::{Change, Ledger, LedgerError};

/// The attribute `kind` of a job's record.
pub(crate) const ROLLOVER: &str = "rollover";
pub(crate) const DEPLOYMENT: &str = "deployment";

/// The key of a job's record, and its kind.
pub(crate) fn meta_key(id: JobId, kind: &str) -> Item {
    let mut item = job_key(id.to_string(), "meta");
    item.insert("kind".to_owned(), text(kind));
    item
}

/// The key of the job's entry in the list of all jobs, which has a key only.
pub(crate) fn list_key(id: JobId) -> Item {
    job_key("jobs", format!("{:012}", id.0))
}

pub(crate) fn from_job_item(item: Item) -> Result<JobRecord, LedgerError> {
    match item.get("kind").and_then(|kind| kind.as_s().ok()).map(String::as_str) {
        Some(DEPLOYMENT) => from_item("deployment", item).map(JobRecord::Deployment),
        _ => from_item("job", item).map(Box::new).map(JobRecord::Rollover),
    }
}

/// One page of jobs, newest first.
#[derive(Debug)]
pub struct JobPage {
    pub jobs: Vec<JobRecord>,
    /// Where the page of older jobs starts.
    pub next: Option<JobId>,
}

/// The key of the counter of job ids. It is separate from jobs and authority, so that taking an id conflicts with no
/// other write.
fn counter_key() -> Item {
    job_key("counter", "jobs")
}

#[derive(Deserialize)]
struct Counter {
    last: u64,
}

impl Ledger {
    /// A new job id. Ids only grow. An unused id, or a lost response, leaves a harmless gap. One call.
    pub async fn next_job_id(&self) -> Result<JobId, LedgerError> {
        let update = self.client.update_item().table_name(self.jobs()?).set_key(Some(counter_key()));
        let answer = update
            .update_expression("ADD #last :one")
            .expression_attribute_names("#last", "last")
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await
            .map_err(LedgerError::aws("UpdateItem counter"))?;
        let counter: Counter = from_item("counter", answer.attributes.unwrap_or_default())?;
        Ok(JobId(counter.last))
    }

    /// A rollover; `None` if the id belongs to a deployment.
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, LedgerError> {
        Ok(self.job_of_any_kind(id).await?.and_then(|job| match job {
            JobRecord::Rollover(job) => Some(*job),
            JobRecord::Deployment(_) => None,
        }))
    }

    pub async fn job_of_any_kind(&self, id: JobId) -> Result<Option<JobRecord>, LedgerError> {
        let answer = self
            .client
            .get_item()
            .table_name(self.jobs()?)
            .set_key(Some(job_key(id.to_string(), "meta")))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::aws("GetItem job"))?;
        let job = answer.item.map(from_job_item).transpose()?;
        match &job {
            Some(JobRecord::Rollover(job)) => self.read(&**job),
            Some(JobRecord::Deployment(job)) => self.read(job),
            None => {}
        }
        Ok(job)
    }

    /// Saves a changed job with its audit entry. `revision` is the one that was read; the record gets the next one.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where the job is not as it was read.
    pub async fn save_job(&self, job: &JobRecord, act: Act) -> Result<(), LedgerError> {
        match job {
            JobRecord::Rollover(job) => {
                self.commit(Change { job: Some(job), acts: vec![act], ..Change::default() }).await
            }
            JobRecord::Deployment(job) => self.save_deployment(job, Some(&act)).await,
        }
    }

    /// At most `limit` jobs (1 to 100) older than `before`.
    pub async fn jobs_before(&self, before: Option<JobId>, limit: u32) -> Result<JobPage, LedgerError> {
        let table = self.jobs()?;
        let bound = before.map_or_else(|| "9".repeat(20), |id| format!("{:012}", id.0));
        let answer = self
            .client
            .query()
            .table_name(table)
            .key_condition_expression("pk = :jobs AND sk < :before")
            .expression_attribute_values(":jobs", text("jobs"))
            .expression_attribute_values(":before", text(bound))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(100))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::aws("Query jobs"))?;
        let more = answer.last_evaluated_key.is_some();
        let ids: Vec<JobId> = answer
            .items
            .unwrap_or_default()
            .iter()
            .filter_map(|item| item.get("sk")?.as_s().ok()?.parse().ok())
            .collect();
        let keys = ids.iter().map(|id| job_key(id.to_string(), "meta")).collect();
        let found = self.batch_get(keys, "BatchGetItem jobs").await?;
        let mut jobs = found.into_iter().map(from_job_item).collect::<Result<Vec<_>, _>>()?;
        jobs.sort_by_key(|job| std::cmp::Reverse(job.id()));
        Ok(JobPage { jobs, next: if more { ids.last().copied() } else { None } })
    }

    /// The job's completed waves, in order.
    pub async fn waves(&self, job: JobId) -> Result<Vec<WaveRecord>, LedgerError> {
        let mut pages = self
            .client
            .query()
            .table_name(self.jobs()?)
            .key_condition_expression("pk = :job AND begins_with(sk, :wave)")
            .expression_attribute_values(":job", text(job.to_string()))
            .expression_attribute_values(":wave", text("wave#"))
            .into_paginator()
            .items()
            .send();
        let mut waves: Vec<WaveRecord> = Vec::new();
        while let Some(item) = pages.next().await {
            waves.push(from_item("wave", item.map_err(LedgerError::aws("Query waves"))?)?);
        }
        waves.sort_by_key(|wave| (wave.opened, wave.number));
        Ok(waves)
    }
}
