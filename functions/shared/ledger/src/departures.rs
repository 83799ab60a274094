//! Devices that left the fleet during a rollover. They are listed with its job, so that no departure goes unnoticed.

use aws_sdk_dynamodb::types::TransactWriteItem;
use rootcast_core::device::{DeviceId, DeviceVersion};
use rootcast_core::job::JobId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::commit::put;
use crate::item::{from_item, job_key, text};
use crate::{Ledger, LedgerError};

/// How a device left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Leave {
    Deleted,
    /// Its approval was revoked.
    Pending,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    pub device: DeviceId,
    pub how: Leave,
    /// The device's last version.
    #[serde(flatten)]
    pub version: DeviceVersion,
    /// Name of the principal who did it.
    pub by: String,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

const PREFIX: &str = "left#";

impl Ledger {
    pub(crate) fn put_departure(&self, job: JobId, departure: &Departure) -> Result<TransactWriteItem, LedgerError> {
        let key = job_key(job.to_string(), format!("{PREFIX}{}", departure.device));
        put(self.jobs()?, "departure", departure, key, None)
    }

    /// The first devices that left during the job, by id, and whether there are more.
    pub async fn departures(&self, job: JobId, limit: u32) -> Result<(Vec<Departure>, bool), LedgerError> {
        let answer = self
            .client
            .query()
            .table_name(self.jobs()?)
            .key_condition_expression("pk = :job AND begins_with(sk, :left)")
            .expression_attribute_values(":job", text(job.to_string()))
            .expression_attribute_values(":left", text(PREFIX))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::aws("Query departures"))?;
        let more = answer.last_evaluated_key.is_some();
        let found = answer.items.unwrap_or_default().into_iter().map(|item| from_item("departure", item));
        Ok((found.collect::<Result<_, _>>()?, more))
    }
}
