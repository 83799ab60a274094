//! Devices that were approved after a bundle was published: each is brought to the bundle of today by itself.
//!
//! Written with the approval, so that nobody is forgotten; in the order in which they are due, so that a look at the list
//! costs what is due.

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use rootcast_core::device::{DeviceId, DeviceVersion};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::commit::{Condition, put};
use crate::item::{Item, from_item, job_key, text};
use crate::{Ledger, LedgerError};

const PARTITION: &str = "joining";

/// A device that is to be looked at when it is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joining {
    pub device: DeviceId,
    /// As it was approved. A device that has changed since then has an entry of its own.
    #[serde(flatten)]
    pub version: DeviceVersion,
    /// How often its message was sent.
    #[serde(default)]
    pub tries: u32,
    #[serde(with = "time::serde::timestamp")]
    pub due: OffsetDateTime,
}

fn key(joining: &Joining) -> Item {
    job_key(PARTITION, format!("{:012}#{}", joining.due.unix_timestamp(), joining.device))
}

impl Ledger {
    pub(crate) fn put_joining(&self, joining: &Joining) -> Result<TransactWriteItem, LedgerError> {
        put(self.jobs()?, "joining", joining, key(joining), None)
    }

    /// Those that are due, the earliest first, at most `limit`. One call.
    pub async fn due_to_join(&self, now: OffsetDateTime, limit: u32) -> Result<Vec<Joining>, LedgerError> {
        let due = self
            .client
            .query()
            .table_name(self.jobs()?)
            .key_condition_expression("pk = :joining AND sk < :now")
            .expression_attribute_values(":joining", text(PARTITION))
            .expression_attribute_values(":now", text(format!("{:012}", now.unix_timestamp() + 1)))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::aws("Query joining"))?;
        due.items.unwrap_or_default().into_iter().map(|item| from_item("joining", item)).collect()
    }

    /// The entry comes up again at `due`.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where somebody else has moved or removed it.
    pub async fn postpone_joining(&self, joining: &Joining, due: OffsetDateTime) -> Result<(), LedgerError> {
        let next = Joining { due, tries: joining.tries + 1, ..joining.clone() };
        let delete = Delete::builder()
            .table_name(self.jobs()?)
            .set_key(Some(key(joining)))
            .condition_expression(Condition::present("pk").expression)
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "joining", source: Box::new(source) })?;
        self.transact(vec![TransactWriteItem::builder().delete(delete).build(), self.put_joining(&next)?]).await
    }

    /// The device holds what it is to hold, or is not what it was.
    pub async fn finish_joining(&self, joining: &Joining) -> Result<(), LedgerError> {
        let delete = self.client.delete_item().table_name(self.jobs()?).set_key(Some(key(joining)));
        delete.send().await.map_err(LedgerError::aws("DeleteItem joining"))?;
        Ok(())
    }
}
