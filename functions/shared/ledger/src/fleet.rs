//! The fleet: every approved device, as it is now, in lists that are read consistently.
//!
//! `fleet#{shard}` in the jobs table has an entry for each approved device, which changes in one transaction with the
//! device's own record; and `revision`, which each such change raises. A gate reads the entries, and the write that goes
//! through the gate demands that the revisions are as they were before: nobody joins, leaves or changes unseen.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{ConditionCheck, Delete, TransactWriteItem, Update};
use rootcast_core::device::{DeviceId, DeviceVersion, SHARDS};
use rootcast_core::job::JobId;
use serde::{Deserialize, Serialize};

use crate::commit::put;
use crate::item::{Item, from_item, job_key, number, text};
use crate::{DeviceRecord, Ledger, LedgerError};

const REVISION: &str = "revision";
/// Devices that are compared at a time.
const PAGE: u32 = 100;
/// Entries a transaction of 100 writes, of which the shards take sixteen.
const CHANGED_AT_ONCE: usize = 80;

/// An approved device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetEntry {
    pub device: DeviceId,
    #[serde(flatten)]
    pub version: DeviceVersion,
    /// The rollover that ran when it became that: the same write demanded that it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<JobId>,
}

/// What [`Ledger::restore_fleet`] mended, or would have, in devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestoredFleet {
    /// Approved devices that were not in the lists as they are.
    pub listed: u64,
    /// Entries of devices that are not there, or not approved.
    pub unlisted: u64,
}

/// A shard's own record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetShard {
    /// Grows with each change; 0 where there never was a device.
    pub revision: u64,
    /// Entries in the shard.
    pub approved: u64,
}

fn partition(shard: u8) -> String {
    format!("fleet#{shard:02}")
}

fn entry_key(device: &DeviceId) -> Item {
    job_key(partition(device.shard()), format!("device#{device}"))
}

fn revision_key(shard: u8) -> Item {
    job_key(partition(shard), REVISION)
}

/// What happens to one device: its version before and after, each `None` where it is not approved.
pub(crate) struct FleetChange<'a> {
    pub(crate) device: &'a DeviceId,
    pub(crate) before: Option<DeviceVersion>,
    pub(crate) after: Option<DeviceVersion>,
}

impl<'a> FleetChange<'a> {
    pub(crate) fn between(
        before: Option<&DeviceRecord>,
        after: Option<&'a DeviceRecord>,
        device: &'a DeviceId,
    ) -> Self {
        let approved = |record: &DeviceRecord| record.approved_version();
        Self { device, before: before.and_then(approved), after: after.and_then(approved) }
    }
}

impl Ledger {
    /// Approved devices of a shard in the order of their ids, after `after` and up to `to`. At most `limit`; fewer is
    /// the end.
    pub async fn fleet(
        &self,
        shard: u8,
        after: Option<&DeviceId>,
        to: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<FleetEntry>, LedgerError> {
        // '~' follows and '\u{1}' precedes every character that a device id may have.
        let from = after.map_or_else(|| "device#".to_owned(), |id| format!("device#{id}\u{1}"));
        let until = to.map_or_else(|| "device#~".to_owned(), |id| format!("device#{id}"));
        let mut pages = self
            .client
            .query()
            .table_name(self.jobs()?)
            .key_condition_expression("pk = :shard AND sk BETWEEN :from AND :until")
            .expression_attribute_values(":shard", text(partition(shard)))
            .expression_attribute_values(":from", text(from))
            .expression_attribute_values(":until", text(until))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(item) = pages.next().await else { break };
            found.push(from_item("fleet", item.map_err(LedgerError::aws("Query fleet"))?)?);
        }
        Ok(found)
    }

    /// Every shard's own record, in the order of shards. One call.
    pub async fn fleet_shards(&self) -> Result<Vec<FleetShard>, LedgerError> {
        let keys = (0..SHARDS).map(revision_key).collect();
        let mut shards = vec![FleetShard::default(); usize::from(SHARDS)];
        for item in self.batch_get(keys, "BatchGetItem fleet").await? {
            let shard = item.get("pk").and_then(|pk| pk.as_s().ok()).and_then(|pk| pk.rsplit('#').next()?.parse().ok());
            if let Some(record) = shard.and_then(|shard: usize| shards.get_mut(shard)) {
                *record = from_item("fleet", item)?;
            }
        }
        Ok(shards)
    }

    /// The devices as the fleet knows them now. One call for each 100.
    pub async fn fleet_versions(
        &self,
        devices: impl IntoIterator<Item = &DeviceId>,
    ) -> Result<BTreeMap<DeviceId, DeviceVersion>, LedgerError> {
        let keys = devices.into_iter().map(entry_key).collect();
        let entries = self.batch_get(keys, "BatchGetItem fleet").await?;
        let entries = entries.into_iter().map(|item| from_item::<FleetEntry>("fleet", item));
        entries.map(|entry| entry.map(|entry| (entry.device, entry.version))).collect()
    }

    /// After a table was restored: the lists become what the devices' own records say. Of many transactions, and may be
    /// repeated. `dry_run`: nothing is written.
    pub async fn restore_fleet(&self, dry_run: bool) -> Result<RestoredFleet, LedgerError> {
        let running = self.authority().await?.running;
        let mut restored = RestoredFleet::default();
        let mut after = None;
        loop {
            let page = self.devices_after(after.as_ref(), PAGE).await?;
            let listed = self.fleet_versions(page.items.iter().map(|device| &device.id)).await?;
            let changes: Vec<FleetChange<'_>> = page
                .items
                .iter()
                .filter_map(|device| {
                    let (before, after) = (listed.get(&device.id).copied(), device.approved_version());
                    let changed = before != after && after.is_some();
                    changed.then_some(FleetChange { device: &device.id, before, after })
                })
                .collect();
            restored.listed += changes.len() as u64;
            self.write_changes(changes, running, dry_run).await?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        for shard in 0..SHARDS {
            let mut after: Option<DeviceId> = None;
            loop {
                let entries = self.fleet(shard, after.as_ref(), None, PAGE as usize).await?;
                let Some(last) = entries.last().map(|entry| entry.device.clone()) else { break };
                let devices = self.devices_by_id(entries.iter().map(|entry| &entry.device)).await?;
                let is_approved =
                    |id: &DeviceId| devices.get(id).is_some_and(|device| device.approved_version().is_some());
                let gone = entries.iter().filter(|entry| !is_approved(&entry.device));
                let changes: Vec<FleetChange<'_>> = gone
                    .map(|entry| FleetChange { device: &entry.device, before: Some(entry.version), after: None })
                    .collect();
                restored.unlisted += changes.len() as u64;
                self.write_changes(changes, running, dry_run).await?;
                after = Some(last);
            }
        }
        Ok(restored)
    }

    async fn write_changes(
        &self,
        mut changes: Vec<FleetChange<'_>>,
        running: Option<JobId>,
        dry_run: bool,
    ) -> Result<(), LedgerError> {
        while !changes.is_empty() && !dry_run {
            let rest = changes.split_off(changes.len().min(CHANGED_AT_ONCE));
            self.transact(self.change_fleet(changes, running)?).await?;
            changes = rest;
        }
        Ok(())
    }

    /// What the changes do to the fleet while that rollover runs, with one write for each shard's revision. Nothing where no
    /// version changes.
    pub(crate) fn change_fleet<'a>(
        &self,
        changes: impl IntoIterator<Item = FleetChange<'a>>,
        running: Option<JobId>,
    ) -> Result<Vec<TransactWriteItem>, LedgerError> {
        let mut writes = Vec::new();
        let mut shards: BTreeMap<u8, i64> = BTreeMap::new();
        for FleetChange { device, before, after } in changes {
            if before == after {
                continue;
            }
            *shards.entry(device.shard()).or_default() += i64::from(after.is_some()) - i64::from(before.is_some());
            writes.push(match after {
                Some(version) => {
                    let entry = FleetEntry { device: device.clone(), version, during: running };
                    put(self.jobs()?, "fleet", &entry, entry_key(device), None)?
                }
                None => {
                    let delete = Delete::builder().table_name(self.jobs()?).set_key(Some(entry_key(device))).build();
                    let delete =
                        delete.map_err(|source| LedgerError::Unwritable { what: "fleet", source: Box::new(source) })?;
                    TransactWriteItem::builder().delete(delete).build()
                }
            });
        }
        for (shard, more) in shards {
            let update = Update::builder()
                .table_name(self.jobs()?)
                .set_key(Some(revision_key(shard)))
                .update_expression("ADD revision :one, approved :more")
                .expression_attribute_values(":one", number(1))
                .expression_attribute_values(":more", number(more))
                .build()
                .map_err(|source| LedgerError::Unwritable { what: "fleet", source: Box::new(source) })?;
            writes.push(TransactWriteItem::builder().update(update).build());
        }
        Ok(writes)
    }

    /// Demands that a shard's revision is as it was read.
    pub(crate) fn demand_revision(&self, shard: u8, read: u64) -> Result<TransactWriteItem, LedgerError> {
        let check = ConditionCheck::builder().table_name(self.jobs()?).set_key(Some(revision_key(shard)));
        let check = match read {
            0 => check.condition_expression("attribute_not_exists(pk)"),
            read => check.condition_expression("revision = :read").expression_attribute_values(":read", number(read)),
        };
        let check =
            check.build().map_err(|source| LedgerError::Unwritable { what: "fleet", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}
