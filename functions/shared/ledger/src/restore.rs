//! Evidence of the counters' former values: the jobs, and the bundles brought to devices, read without addresses and
//! credentials. Also raises the counter of jobs.

use aws_sdk_dynamodb::types::{Select, TransactWriteItem, Update};
use futures::{StreamExt, TryStreamExt, stream};

use crate::item::{Item, job_key, number};
use crate::{Ledger, LedgerError};

/// Segments of the devices table that are scanned concurrently.
const PARTS: u8 = 16;

/// Summary of the devices' records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Goals {
    pub devices: u64,
    /// The highest bundle version brought to any device; 0 if there was none.
    pub highest: u64,
    /// Whether any device is approved.
    pub approved: bool,
}

impl Goals {
    fn and(self, other: Self) -> Self {
        Self {
            devices: self.devices + other.devices,
            highest: self.highest.max(other.highest),
            approved: self.approved || other.approved,
        }
    }

    fn of(device: &Item) -> Self {
        let goal = device.get("goal").and_then(|goal| goal.as_n().ok()?.parse().ok());
        let pins = device.get("pins").and_then(|pins| pins.as_l().ok());
        let approved = pins.is_some_and(|pins| !pins.is_empty()) && !device.contains_key("unapproved");
        Self { devices: 1, highest: goal.unwrap_or(0), approved }
    }
}

impl Ledger {
    /// Scans only the first megabyte, about a thousand devices, in one call. `all`: scans all devices, one call per
    /// megabyte.
    pub async fn goals(&self, all: bool) -> Result<Goals, LedgerError> {
        let (parts, pages) = if all { (PARTS, usize::MAX) } else { (1, 1) };
        let goals = stream::iter(0..parts).map(|part| async move {
            let scan = self.client.scan().table_name(self.devices()?).segment(part.into()).total_segments(parts.into());
            let scan = scan.select(Select::SpecificAttributes).projection_expression("id, goal, pins, unapproved");
            let (mut found, mut read) = (scan.consistent_read(true).into_paginator().send(), 0);
            let mut goals = Goals::default();
            while read < pages
                && let Some(page) = found.next().await
            {
                let page = page.map_err(LedgerError::aws("Scan devices"))?;
                goals = page.items().iter().map(Goals::of).fold(goals, Goals::and);
                read += 1;
            }
            Ok::<Goals, LedgerError>(goals)
        });
        goals
            .buffer_unordered(PARTS.into())
            .try_fold(Goals::default(), |all, part| async move { Ok(all.and(part)) })
            .await
    }

    /// The last job id given out, from its counter and the list of jobs; 0 if there was none.
    pub async fn last_job(&self) -> Result<u64, LedgerError> {
        let get = self.client.get_item().table_name(self.jobs()?).set_key(Some(jobs_counter()));
        let answer = get.consistent_read(true).send().await.map_err(LedgerError::aws("GetItem counter"))?;
        let counted = answer.item.and_then(|item| item.get("last")?.as_n().ok()?.parse().ok()).unwrap_or(0);
        let newest = self.jobs_before(None, 1).await?.jobs.first().map_or(0, |job| job.id().0);
        Ok(newest.max(counted))
    }

    /// Raises the counter so that the next job id is higher than `to`, on the condition that no higher id was given
    /// out.
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
