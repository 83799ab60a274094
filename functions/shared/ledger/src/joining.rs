//! Devices that were approved after a bundle was published: each gets the current bundle on its own.
//!
//! An entry is written in one transaction with the approval, so that no device is forgotten. Entries are ordered by due
//! time, so that reading costs only as much as there is due.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use futures::stream::{self, TryStreamExt};
use rootcast_core::device::{DeviceId, DeviceVersion};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::commit::put;
use crate::item::{Item, from_item, job_key, number, text};
use crate::{Ledger, LedgerError};

const PARTITION: &str = "joining";
/// Concurrent deletes. Each costs one write unit; in a transaction it would be two.
const CONCURRENCY: usize = 8;

/// The entry is unchanged since it was read. Otherwise, an entry with the same due second may be for a later version of
/// the device.
const AS_READ: &str = "#incarnation = :incarnation AND #endpoint = :endpoint";

/// A device to be checked when it is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joining {
    pub device: DeviceId,
    /// The approved version. A later version of the device has its own entry.
    #[serde(flatten)]
    pub version: DeviceVersion,
    /// Number of checks that found something to do.
    #[serde(default)]
    pub tries: u32,
    #[serde(with = "time::serde::timestamp")]
    pub due: OffsetDateTime,
}

fn as_read_names() -> HashMap<String, String> {
    let names = [("#incarnation", "incarnation"), ("#endpoint", "endpointRevision")];
    names.into_iter().map(|(short, name)| (short.to_owned(), name.to_owned())).collect()
}

fn as_read_values(joining: &Joining) -> Item {
    let DeviceVersion { incarnation, endpoint_revision } = joining.version;
    let values = [(":incarnation", text(incarnation.to_string())), (":endpoint", number(endpoint_revision))];
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn key(joining: &Joining) -> Item {
    job_key(PARTITION, format!("{:012}#{}", joining.due.unix_timestamp(), joining.device))
}

impl Ledger {
    pub(crate) fn put_joining(&self, joining: &Joining) -> Result<TransactWriteItem, LedgerError> {
        put(self.jobs()?, "joining", joining, key(joining), None)
    }

    /// At most `limit` due entries, earliest first. One call.
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

    /// All entries, earliest first. A call per megabyte of them.
    pub async fn all_joining(&self) -> Result<Vec<Joining>, LedgerError> {
        let query = self.client.query().table_name(self.jobs()?).key_condition_expression("pk = :joining");
        let query = query.expression_attribute_values(":joining", text(PARTITION)).consistent_read(true);
        let mut items = query.into_paginator().items().send();
        let mut all = Vec::new();
        while let Some(item) = items.next().await {
            all.push(from_item("joining", item.map_err(LedgerError::aws("Query joining"))?)?);
        }
        Ok(all)
    }

    /// Reschedules at most 50 entries, each to its own time. Returns the rescheduled entries; the others were moved or
    /// removed concurrently.
    ///
    /// Uses a transaction although it doubles the price: between two plain writes, the entry would exist twice or not
    /// at all.
    pub async fn postpone_joining(
        &self,
        entries: impl IntoIterator<Item = (Joining, OffsetDateTime)>,
    ) -> Result<Vec<Joining>, LedgerError> {
        let entries = entries.into_iter().map(|(joining, due)| {
            let next = Joining { due, tries: joining.tries + 1, ..joining.clone() };
            (joining, next)
        });
        let entries: Vec<(Joining, Joining)> = entries.collect();
        let mut moved = Vec::new();
        match self.replace_joining(&entries).await {
            Ok(()) => moved.extend(entries.into_iter().map(|(_, next)| next)),
            Err(LedgerError::Conflict) => {
                for entry in entries {
                    match self.replace_joining(std::slice::from_ref(&entry)).await {
                        Ok(()) => moved.push(entry.1),
                        Err(LedgerError::Conflict) => {}
                        // The moved entries must be sent now; the others are still due.
                        Err(error) if error.is_passing() => break,
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(moved)
    }

    async fn replace_joining(&self, entries: &[(Joining, Joining)]) -> Result<(), LedgerError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut writes = Vec::new();
        for (joining, next) in entries {
            let delete = Delete::builder()
                .table_name(self.jobs()?)
                .set_key(Some(key(joining)))
                .condition_expression(AS_READ)
                .set_expression_attribute_names(Some(as_read_names()))
                .set_expression_attribute_values(Some(as_read_values(joining)))
                .build()
                .map_err(|source| LedgerError::Unwritable { what: "joining", source: Box::new(source) })?;
            writes.extend([TransactWriteItem::builder().delete(delete).build(), self.put_joining(next)?]);
        }
        self.transact(writes).await
    }

    /// Removes entries whose devices hold the bundle, or have changed.
    pub async fn finish_joining(&self, entries: &[Joining]) -> Result<(), LedgerError> {
        let table = self.jobs()?;
        stream::iter(entries.iter().map(Ok))
            .try_for_each_concurrent(CONCURRENCY, async |joining| {
                let deleted = self
                    .client
                    .delete_item()
                    .table_name(table)
                    .set_key(Some(key(joining)))
                    .condition_expression(AS_READ)
                    .set_expression_attribute_names(Some(as_read_names()))
                    .set_expression_attribute_values(Some(as_read_values(joining)))
                    .send()
                    .await;
                match deleted {
                    Err(error)
                        if !error
                            .as_service_error()
                            .is_some_and(|error| error.is_conditional_check_failed_exception()) =>
                    {
                        Err(LedgerError::aws("DeleteItem joining")(error))
                    }
                    _ => Ok(()),
                }
            })
            .await
    }
}
