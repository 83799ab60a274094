//! The fleet: every approved device, in its current version, in lists with consistent reads.
//!
//! `fleet#{shard}` in the jobs table has an entry for each approved device, which changes in one transaction with the
//! device's own record. Each such change also increments the shard's `revision`. A gate reads the entries, and the
//! write that passes the gate requires unchanged revisions: no device joins, leaves or changes unnoticed.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::{ConditionCheck, Delete, TransactWriteItem, Update};
use rootcast_core::device::labels::Labels;
use rootcast_core::device::{DeviceId, DeviceVersion, SHARDS};
use rootcast_core::job::JobId;
use serde::{Deserialize, Serialize};

use crate::commit::put;
use crate::item::{Item, from_item, job_key, number, text};
use crate::{DeviceRecord, Ledger, LedgerError};

const REVISION: &str = "revision";
/// Of a device that is not listed.
static NO_LABELS: Labels = Labels::NONE;
/// Devices compared per page.
const PAGE: u32 = 100;
/// Most entries in a transaction of 100 writes, of which the shards take sixteen.
const CHANGED_AT_ONCE: usize = 80;

/// An approved device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetEntry {
    pub device: DeviceId,
    #[serde(flatten)]
    pub version: DeviceVersion,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// The rollover during which the device got this version, or these labels. The same write required that it was running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<JobId>,
}

/// Number of devices that [`Ledger::restore_fleet`] repaired, or would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestoredFleet {
    /// Approved devices that were missing from the lists, or listed with another version.
    pub listed: u64,
    /// Entries of devices that do not exist or are not approved.
    pub unlisted: u64,
    /// Devices whose address nobody had claimed.
    pub claimed: u64,
}

/// A shard's own record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetShard {
    /// Incremented by each change; 0 if there never was a device.
    pub revision: u64,
    /// Entries in the shard.
    pub approved: u64,
    /// Incremented by each change of labels alone.
    pub labelled: u64,
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

/// A change of one device: its version before and after, `None` while it is not approved, and its labels.
pub(crate) struct FleetChange<'a> {
    pub(crate) device: &'a DeviceId,
    pub(crate) before: Option<DeviceVersion>,
    pub(crate) after: Option<DeviceVersion>,
    pub(crate) labels: &'a Labels,
    pub(crate) relabelled: bool,
}

impl<'a> FleetChange<'a> {
    pub(crate) fn between(
        before: Option<&DeviceRecord>,
        after: Option<&'a DeviceRecord>,
        device: &'a DeviceId,
    ) -> Self {
        let approved = |record: &DeviceRecord| record.approved_version();
        let labels = after.map_or(&NO_LABELS, |after| &after.labels);
        let relabelled = before.is_some_and(|before| before.labels != *labels);
        Self { device, before: before.and_then(approved), after: after.and_then(approved), labels, relabelled }
    }

    /// Whether the list changes. Labels alone void no proof.
    pub(crate) fn is_some(&self) -> bool {
        self.before != self.after || (self.relabelled && self.after.is_some())
    }
}

impl Ledger {
    /// At most `limit` approved devices of a shard, ordered by id, after `after` and up to `to`. Fewer than `limit`
    /// means the end.
    pub async fn fleet(
        &self,
        shard: u8,
        after: Option<&DeviceId>,
        to: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<FleetEntry>, LedgerError> {
        // '~' sorts after, and '\u{1}' before, every character allowed in a device id.
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

    /// All shards' own records, ordered by shard. One call.
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

    /// The fleet's current versions of these devices. One call per 100 devices.
    pub async fn fleet_versions(
        &self,
        devices: impl IntoIterator<Item = &DeviceId>,
    ) -> Result<BTreeMap<DeviceId, DeviceVersion>, LedgerError> {
        let entries = self.fleet_entries(devices).await?;
        Ok(entries.into_iter().map(|(device, entry)| (device, entry.version)).collect())
    }

    async fn fleet_entries(
        &self,
        devices: impl IntoIterator<Item = &DeviceId>,
    ) -> Result<BTreeMap<DeviceId, FleetEntry>, LedgerError> {
        let keys = devices.into_iter().map(entry_key).collect();
        let entries = self.batch_get(keys, "BatchGetItem fleet").await?;
        let entries = entries.into_iter().map(|item| from_item::<FleetEntry>("fleet", item));
        entries.map(|entry| entry.map(|entry| (entry.device.clone(), entry))).collect()
    }

    /// After a table was restored: rebuilds the lists from the devices' own records. Takes many transactions, and may
    /// be repeated. `dry_run`: writes nothing.
    pub async fn restore_fleet(&self, dry_run: bool) -> Result<RestoredFleet, LedgerError> {
        let running = self.authority().await?.running;
        let mut restored = RestoredFleet::default();
        let mut after = None;
        loop {
            let page = self.devices_after(after.as_ref(), PAGE).await?;
            let listed = self.fleet_entries(page.items.iter().map(|device| &device.id)).await?;
            let changes: Vec<FleetChange<'_>> = page
                .items
                .iter()
                .filter_map(|device| {
                    let (entry, after, labels) = (listed.get(&device.id), device.approved_version(), &device.labels);
                    let relabelled = entry.is_some_and(|entry| entry.labels != *labels);
                    let before = entry.map(|entry| entry.version);
                    let change = FleetChange { device: &device.id, before, after, labels, relabelled };
                    (change.is_some() && after.is_some()).then_some(change)
                })
                .collect();
            restored.listed += changes.len() as u64;
            self.write_changes(changes, running, dry_run).await?;
            let unclaimed = self.unclaimed(&page.items).await?;
            restored.claimed += unclaimed.len() as u64;
            if !dry_run && !unclaimed.is_empty() {
                let claims = unclaimed.iter().map(|(device, left)| self.put_claim(device, left.as_ref()));
                self.transact(claims.collect::<Result<_, _>>()?).await?;
            }
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
                    .map(|entry| FleetChange {
                        device: &entry.device,
                        before: Some(entry.version),
                        after: None,
                        labels: &NO_LABELS,
                        relabelled: false,
                    })
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

    /// The writes for these changes, including one per shard for its revision, or for its count of changed labels. `running`:
    /// the current rollover.
    pub(crate) fn change_fleet<'a>(
        &self,
        changes: impl IntoIterator<Item = FleetChange<'a>>,
        running: Option<JobId>,
    ) -> Result<Vec<TransactWriteItem>, LedgerError> {
        let mut writes = Vec::new();
        let (mut shards, mut labelled) = (BTreeMap::<u8, i64>::new(), BTreeMap::<u8, i64>::new());
        for change in changes.into_iter().filter(FleetChange::is_some) {
            let FleetChange { device, before, after, labels, .. } = change;
            if before != after {
                *shards.entry(device.shard()).or_default() += i64::from(after.is_some()) - i64::from(before.is_some());
            } else {
                *labelled.entry(device.shard()).or_default() += 1;
            }
            writes.push(match after {
                Some(version) => {
                    let entry = FleetEntry { device: device.clone(), version, labels: labels.clone(), during: running };
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
        let both: BTreeSet<u8> = shards.keys().chain(labelled.keys()).copied().collect();
        for shard in both {
            let update = Update::builder().table_name(self.jobs()?).set_key(Some(revision_key(shard)));
            let (moved, labelled) = (shards.get(&shard), labelled.get(&shard));
            let moves = moved.map(|_| "revision :one, approved :more");
            let labels = labelled.map(|_| "labelled :labelled");
            let adds: Vec<&str> = moves.into_iter().chain(labels).collect();
            let values = [(":one", moved.map(|_| 1)), (":more", moved.copied()), (":labelled", labelled.copied())];
            let values = values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), number(value?))));
            let update = update
                .update_expression(format!("ADD {}", adds.join(", ")))
                .set_expression_attribute_values(Some(values.collect()))
                .build()
                .map_err(|source| LedgerError::Unwritable { what: "fleet", source: Box::new(source) })?;
            writes.push(TransactWriteItem::builder().update(update).build());
        }
        Ok(writes)
    }

    /// Requires that a shard's revision is unchanged since it was read.
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
