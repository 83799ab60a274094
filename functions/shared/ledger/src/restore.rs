//! What shows how far the counters were: the bundles that were brought to the devices, read without the devices' addresses
//! or credentials, and the jobs. And the counter of jobs itself, raised.

use aws_sdk_dynamodb::types::{AttributeValue, Select, TransactWriteItem, Update};
use rootcast_core::device::DeviceId;

use crate::devices::device_id;
use crate::item::{Item, id_key, job_key, number};
use crate::{Ledger, LedgerError};

/// Some devices, in no order that means anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Goals {
    pub devices: u64,
    /// The highest bundle version that was brought to one of them; 0 where none was.
    pub highest: u64,
    /// Whether one of them is approved.
    pub approved: bool,
    /// Ask again after it for the rest.
    pub next: Option<DeviceId>,
}

impl Ledger {
    /// At most `limit` devices after `after`.
    pub async fn goals(&self, after: Option<&DeviceId>, limit: u32) -> Result<Goals, LedgerError> {
        let answer = self
            .client
            .scan()
            .table_name(self.devices()?)
            .select(Select::SpecificAttributes)
            .projection_expression("id, goal, pins")
            .set_exclusive_start_key(after.map(|id| id_key(id.as_str())))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::aws("Scan devices"))?;
        let items = answer.items.unwrap_or_default();
        let goal = |value: &AttributeValue| value.as_n().ok()?.parse().ok();
        Ok(Goals {
            devices: items.len() as u64,
            highest: items.iter().filter_map(|item| goal(item.get("goal")?)).max().unwrap_or(0),
            approved: items
                .iter()
                .any(|item| item.get("pins").and_then(|pins| pins.as_l().ok()).is_some_and(|pins| !pins.is_empty())),
            next: answer.last_evaluated_key.map(|key| device_id(&key)).transpose()?,
        })
    }

    /// The last id that was given to a job, by its counter and by the list of jobs; 0 where there was none.
    pub async fn last_job(&self) -> Result<u64, LedgerError> {
        let get = self.client.get_item().table_name(self.jobs()?).set_key(Some(jobs_counter()));
        let answer = get.consistent_read(true).send().await.map_err(LedgerError::aws("GetItem counter"))?;
        let counted = answer.item.and_then(|item| item.get("last")?.as_n().ok()?.parse().ok()).unwrap_or(0);
        let newest = self.jobs_before(None, 1).await?.jobs.first().map_or(0, |job| job.id().0);
        Ok(newest.max(counted))
    }

    /// The next job gets a larger id than `to`, on the condition that none got one yet.
    pub(crate) fn raise_jobs(&self, to: u64) -> Result<TransactWriteItem, LedgerError> {
        let update = Update::builder()
            .table_name(self.jobs()?)
            .set_key(Some(jobs_counter()))
            .update_expression("SET #last = :to")
            .condition_expression("attribute_not_exists(#last) OR #last <= :to")
            .expression_attribute_names("#last", "last")
            .expression_attribute_values(":to", number(to))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "counter", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

fn jobs_counter() -> Item {
    job_key("counter", "jobs")
}
