//! Jobs and their waves.

use aws_sdk_dynamodb::types::KeysAndAttributes;
use rootcast_core::job::{Job, JobId};
use rootcast_core::transition::WaveRecord;

use crate::item::{from_item, job_key, text};
use crate::{Ledger, LedgerError};

/// Some jobs, newest first.
#[derive(Debug)]
pub struct JobPage {
    pub jobs: Vec<Job>,
    /// Ask again with it for the older ones.
    pub next: Option<JobId>,
}

impl Ledger {
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, LedgerError> {
        let answer = self
            .client
            .get_item()
            .table_name(self.jobs()?)
            .set_key(Some(job_key(id.to_string(), "meta")))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::aws("GetItem job"))?;
        answer.item.map(|item| from_item("job", item)).transpose()
    }

    /// At most `limit` jobs (1 to 100) that are older than `before`.
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
        let mut jobs = Vec::new();
        let mut keys: Vec<_> = ids.iter().map(|id| job_key(id.to_string(), "meta")).collect();
        while !keys.is_empty() {
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
            let wanted = wanted.map_err(|source| LedgerError::Unwritable { what: "jobs", source: Box::new(source) })?;
            let answer = self.client.batch_get_item().request_items(table, wanted).send().await;
            let answer = answer.map_err(LedgerError::aws("BatchGetItem jobs"))?;
            for item in answer.responses.unwrap_or_default().remove(table).unwrap_or_default() {
                jobs.push(from_item("job", item)?);
            }
            keys = answer.unprocessed_keys.unwrap_or_default().remove(table).map(|left| left.keys).unwrap_or_default();
        }
        jobs.sort_by_key(|job: &Job| std::cmp::Reverse(job.id));
        Ok(JobPage { jobs, next: if more { ids.last().copied() } else { None } })
    }

    /// The job's waves that are over, in their order.
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
