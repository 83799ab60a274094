//! Device records: the managed devices, and the last known contents of their trust stores.

pub(crate) mod claims;
mod deletion;
mod record;
mod told;

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use futures::future::try_join_all;
use rootcast_core::audit::{Act, Actor, Head};
use rootcast_core::device::{DeviceId, DeviceVersion, Pin, SHARDS};
use rootcast_core::job::{JobId, JobRecord, Pass};
use rootcast_core::rollover::survey::{Demand, Finding, find};
use rootcast_core::rollover::windows::Turn;
use time::OffsetDateTime;

use self::claims::{Claim, Holder, leaving_as_read};
use crate::audit::Links;
use crate::authority::Authority;
use crate::commit::{Condition, put};
use crate::departures::{Departure, Leave};
use crate::fleet::FleetChange;
use crate::item::{Item, from_item, id_key, number, to_item};
use crate::joining::Joining;
use crate::tasks::TaskKey;
use crate::{Ledger, LedgerError};

pub use self::record::{DeviceRecord, Editor, Identity, ObservedTrustStore, Unapproved};

/// Tries of a write despite concurrent changes to the device.
const ATTEMPTS: u32 = 5;
/// Most devices enrolled in one transaction of 100 writes: six per device (the device, its claim, its fleet entry, its entry in
/// the joining list, two for its audit chain), sixteen for the fleet's shards, one for the authority.
const ENROLLED_AT_ONCE: usize = 13;
/// Attributes that an operator's edit changes, directly or indirectly.
const EDITED: [&str; 13] = [
    "name",
    "labels",
    "address",
    "profile",
    "slot",
    "subject",
    "keyAlgorithm",
    "credential",
    "sealed",
    "pins",
    "unapproved",
    "endpointRevision",
    "revision",
];

#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<DeviceId>,
}

impl Ledger {
    /// Enrols any number of devices, 13 per transaction; approved ones also join the fleet. Returns for each whether it
    /// was enrolled; `false`: its id is taken, or another device has its address ([`Ledger::claimants`]).
    pub async fn enrol(
        &self,
        devices: &[DeviceRecord],
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Vec<bool>, LedgerError> {
        let mut enrolled = Vec::with_capacity(devices.len());
        for some in devices.chunks(ENROLLED_AT_ONCE) {
            enrolled.extend(self.enrol_some(some, by, now).await?);
        }
        Ok(enrolled)
    }

    async fn enrol_some(
        &self,
        devices: &[DeviceRecord],
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Vec<bool>, LedgerError> {
        let mut open: Vec<usize> = (0..devices.len()).collect();
        let mut enrolled = vec![false; devices.len()];
        let mut left: HashMap<DeviceId, Claim> = HashMap::new();
        for attempt in 0..ATTEMPTS {
            let records: Vec<&DeviceRecord> = open.iter().filter_map(|index| devices.get(*index)).collect();
            if records.is_empty() {
                return Ok(enrolled);
            }
            let mut writes = Vec::new();
            for device in &records {
                let working = left.get(&device.id).and_then(|claim| claim.working(now));
                let record = DeviceRecord { revision: 1, working, ..(*device).clone() };
                writes.push(put(self.devices()?, "device", &record, Item::new(), Some(Condition::absent("id")))?);
            }
            for device in &records {
                writes.push(self.put_claim(device, left.get(&device.id))?);
            }
            if records.iter().any(|device| device.approved_version().is_some()) {
                let authority = self.authority().await?;
                let changes = records.iter().map(|device| FleetChange::between(None, Some(device), &device.id));
                writes.extend(self.change_fleet(changes, authority.running)?);
                writes.extend(self.joining(&records, &authority, now)?);
            }
            let acts: Vec<Act> = records.iter().map(|device| told::enrolled(device, by, now)).collect();
            // An id of which nothing is on record yet is the rule.
            let heads = match attempt {
                0 => vec![Head::NONE; acts.len()],
                _ => try_join_all(acts.iter().map(|act| self.audit_head(&act.subject))).await?,
            };
            let mut links = Links::default();
            for (act, head) in acts.iter().zip(heads) {
                links = links.and(self.link_to(std::slice::from_ref(act), head)?);
            }
            writes.extend(links.writes());
            let Err(codes) = self.transact_by_write(writes, "TransactWriteItems devices").await? else {
                links.tell();
                records.iter().for_each(|device| self.device_written(None, Some(device), &by.principal));
                open.iter().for_each(|index| enrolled[*index] = true);
                return Ok(enrolled);
            };
            // If no device was refused, the authority's or the fleet's record has changed: try again.
            let refused: Vec<bool> = codes.into_iter().map(|code| code == "ConditionalCheckFailed").collect();
            let (taken, claimed) = refused.split_at(records.len().min(refused.len()));
            let of_claims: Vec<&DeviceRecord> =
                records.iter().zip(claimed).filter(|(_, is_claimed)| **is_claimed).map(|(record, _)| *record).collect();
            left.retain(|id, _| of_claims.iter().all(|record| record.id != *id));
            // A claim that counts no more is gone now, or was left behind.
            let mut held = BTreeSet::new();
            for (id, holder) in self.holders_of(of_claims).await? {
                match holder {
                    Holder::Left(claim) => _ = left.insert(id, claim),
                    Holder::Device(by) if by != id => _ = held.insert(id),
                    Holder::Device(_) => {}
                }
            }
            let is_out = |(record, is_taken): (&&DeviceRecord, &bool)| *is_taken || held.contains(&record.id);
            let mut out = records.iter().zip(taken).map(is_out);
            open.retain(|_| !out.next().unwrap_or(false));
        }
        if open.is_empty() { Ok(enrolled) } else { Err(LedgerError::Conflict) }
    }

    /// Schedules approved devices for the current bundle, if there is one. Requires that the bundle stays the same.
    fn joining(
        &self,
        devices: &[&DeviceRecord],
        authority: &Authority,
        now: OffsetDateTime,
    ) -> Result<Vec<TransactWriteItem>, LedgerError> {
        let mut writes = vec![authority.demand_as_read(self.certificates()?)?];
        if authority.bundle > 0 {
            for device in devices {
                let Some(version) = device.approved_version() else { continue };
                writes.push(self.put_joining(&Joining { device: device.id.clone(), version, tries: 0, due: now })?);
            }
        }
        Ok(writes)
    }

    pub async fn device(&self, id: &DeviceId) -> Result<Option<DeviceRecord>, LedgerError> {
        let answer = self
            .client
            .get_item()
            .table_name(self.devices()?)
            .set_key(Some(id_key(id.as_str())))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::aws("GetItem device"))?;
        answer.item.map(|item| from_item("device", item)).transpose()
    }

    /// A page of devices, in no meaningful order.
    pub async fn devices_after(&self, after: Option<&DeviceId>, limit: u32) -> Result<Page<DeviceRecord>, LedgerError> {
        let answer = self
            .client
            .scan()
            .table_name(self.devices()?)
            .set_exclusive_start_key(after.map(|id| id_key(id.as_str())))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(LedgerError::aws("Scan devices"))?;
        let next = answer.last_evaluated_key.map(|key| device_id(&key)).transpose()?;
        let items = answer.items.unwrap_or_default().into_iter().map(|item| from_item("device", item));
        Ok(Page { items: items.collect::<Result<_, _>>()?, next })
    }

    /// A page of those of these devices that exist, ordered by id. One call a hundred ids.
    pub async fn devices_among(
        &self,
        ids: &BTreeSet<DeviceId>,
        after: Option<&DeviceId>,
        limit: u32,
    ) -> Result<Page<DeviceRecord>, LedgerError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut left = ids.range::<DeviceId, _>((from, Bound::Unbounded));
        let asked: Vec<&DeviceId> = left.by_ref().take(limit as usize).collect();
        let mut items: Vec<DeviceRecord> = self.devices_by_id(asked.iter().copied()).await?.into_values().collect();
        items.sort_by(|one, other| one.id.cmp(&other.id));
        let next = left.next().and(asked.last()).map(|last| (*last).clone());
        Ok(Page { items, next })
    }

    /// Writes an edit of the device, which is `before` as it was read. Only attributes that a person may edit are
    /// written, so a worker's lease and findings stay. A change of its identity voids earlier proofs, and needs an
    /// approval. If the device so leaves the fleet, a running rollover records the departure. Returns the device after
    /// the edit.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the device was edited since it was read, or deleted; [`LedgerError::Awaited`];
    /// [`LedgerError::Claimed`]; [`LedgerError::Visited`] if it moves.
    pub async fn edit_device(
        &self,
        before: &DeviceRecord,
        after: DeviceRecord,
        editor: Editor<'_>,
        now: OffsetDateTime,
    ) -> Result<DeviceRecord, LedgerError> {
        let edited = before.edited(after, editor, now);
        let act = told::edited(before, &edited, editor, now);
        self.write_edited(before, edited, editor, act).await
    }

    /// Approves the identity of the device, which is `before` as it was read, with these pins. Returns the device as it
    /// is then.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the device was edited since it was read, or deleted.
    pub async fn approve_device(
        &self,
        before: &DeviceRecord,
        pins: Vec<Pin>,
        editor: Editor<'_>,
        now: OffsetDateTime,
    ) -> Result<DeviceRecord, LedgerError> {
        let edited = before.edited(DeviceRecord { pins, ..before.clone() }, editor, now);
        let approved = DeviceRecord { unapproved: None, ..edited };
        let act = told::approved(before, &approved, editor, now);
        self.write_edited(before, approved, editor, act).await
    }

    async fn write_edited(
        &self,
        before: &DeviceRecord,
        edited: DeviceRecord,
        editor: Editor<'_>,
        act: Act,
    ) -> Result<DeviceRecord, LedgerError> {
        let (now, mut act) = (act.at, act);
        // The device that failed to join was another one, or was not approved; a job has another attempt for it.
        let (was, is) = (before.approved_version(), edited.approved_version());
        let moved = before.endpoint_revision != edited.endpoint_revision;
        let forgets = (moved || was != is) && before.tries.iter().any(|tries| tries.task.pass == Pass::Join);
        let (mut writes, mut edited) = (Vec::new(), edited);
        let change = FleetChange::between(Some(before), Some(&edited), &edited.id);
        if change.is_some() {
            let (authority, moved) = (self.authority().await?, change.before != change.after);
            writes.extend(self.change_fleet([change], authority.running)?);
            let joins: &[&DeviceRecord] = if moved { &[&edited] } else { &[] };
            writes.extend(self.joining(joins, &authority, now)?);
            if let (Some(departure), Some(job)) =
                (self.leaving(before, Some(&edited), &authority, editor, now).await?, authority.running)
            {
                writes.push(departure);
                act = act.with("left", job);
            }
        }
        // After what may not be done at all.
        let place = self.move_claim(before, Some(&edited), now).await?;
        let leaves = !place.writes.is_empty();
        if leaves {
            before.refuse_while_visited(now)?;
        }
        edited.working = place.working;
        writes.insert(0, self.edited(before, &edited, leaves.then_some(now), forgets)?);
        writes.extend(place.writes);
        self.transact_audited(writes, &[act]).await?;
        self.device_written(Some(before), Some(&edited), editor.name);
        Ok(edited)
    }

    /// `leaves`: when the device leaves its address, if it does.
    fn edited(
        &self,
        before: &DeviceRecord,
        edited: &DeviceRecord,
        leaves: Option<OffsetDateTime>,
        forgets: bool,
    ) -> Result<TransactWriteItem, LedgerError> {
        let item = to_item("device", edited)?;
        let (mut sets, mut removes) = (Vec::new(), Vec::new());
        let mut names = HashMap::new();
        let mut values = HashMap::from([(":read".to_owned(), number(before.revision))]);
        let mut condition = "#revision = :read".to_owned();
        if let Some(now) = leaves {
            let (leaves, since) = leaving_as_read(before);
            condition = format!("{condition} AND {leaves}");
            names.insert("#until".to_owned(), "until".to_owned());
            values.insert(":now".to_owned(), number(now.unix_timestamp()));
            values.extend(since.map(|since| (":since".to_owned(), since)));
        }
        // If it stays the same, only workers write it.
        let working = (before.working != edited.working).then_some("working");
        for attribute in EDITED.into_iter().chain(working) {
            names.insert(format!("#{attribute}"), attribute.to_owned());
            match item.get(attribute) {
                Some(value) => {
                    sets.push(format!("#{attribute} = :{attribute}"));
                    values.insert(format!(":{attribute}"), value.clone());
                }
                None => removes.push(format!("#{attribute}")),
            }
        }
        if forgets {
            removes.push("tries".to_owned());
        }
        let mut expression = format!("SET {}", sets.join(", "));
        if !removes.is_empty() {
            expression = format!("{expression} REMOVE {}", removes.join(", "));
        }
        let update = Update::builder()
            .table_name(self.devices()?)
            .set_key(Some(id_key(edited.id.as_str())))
            .update_expression(expression)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "device", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// The record of a device that leaves the fleet during a rollover. Whoever takes out a device that the rollover
    /// waits for lets the root sign without its proof.
    async fn leaving(
        &self,
        before: &DeviceRecord,
        after: Option<&DeviceRecord>,
        authority: &Authority,
        editor: Editor<'_>,
        now: OffsetDateTime,
    ) -> Result<Option<TransactWriteItem>, LedgerError> {
        let stays = after.is_some_and(|after| after.approved_version().is_some());
        let (Some(job), Some(version), false) = (authority.running, before.approved_version(), stays) else {
            return Ok(None);
        };
        if !editor.may_release && self.awaits(job, &before.id, version).await? {
            return Err(LedgerError::Awaited { job, device: before.id.clone() });
        }
        let how = if after.is_some() { Leave::Pending } else { Leave::Deleted };
        let departure = Departure { device: before.id.clone(), how, version, by: editor.name.to_owned(), at: now };
        self.put_departure(job, &departure).map(Some)
    }

    /// Whether the rollover's gate is closed and waits for a proof of this version of the device. A waiver by name
    /// replaces the proof.
    async fn awaits(&self, job: JobId, device: &DeviceId, version: DeviceVersion) -> Result<bool, LedgerError> {
        let (jobs, _) = self.jobs_and_tasks([job], &[]).await?;
        let rollover = match jobs.get(&job) {
            Some(JobRecord::Rollover(rollover)) if rollover.has_closed_gate() => rollover,
            _ => return Ok(false),
        };
        let key = TaskKey { job, pass: rollover.pass(), device: device.clone() };
        let (_, tasks) = self.jobs_and_tasks([], std::slice::from_ref(&key)).await?;
        // Its proof may be old: the device held the bundle when it left.
        let demand = Demand::of(rollover.bundle_version, OffsetDateTime::UNIX_EPOCH);
        let finding = find(Some(version), tasks.get(&key), demand, Turn::Open);
        // An abort that has not begun to withdraw has no proofs yet.
        let withdraws = rollover.abort_requested == (rollover.pass() == Pass::Withdraw);
        Ok(!withdraws || !matches!(finding, Finding::Proven { .. } | Finding::Waived))
    }

    /// The existing ones among these devices, by id.
    pub async fn devices_by_id(
        &self,
        ids: impl IntoIterator<Item = &DeviceId>,
    ) -> Result<HashMap<DeviceId, DeviceRecord>, LedgerError> {
        let keys = ids.into_iter().map(|id| id_key(id.as_str())).collect();
        let mut devices = HashMap::new();
        for item in self.batch_get_of(self.devices()?, keys, "BatchGetItem devices").await? {
            let device: DeviceRecord = from_item("device", item)?;
            devices.insert(device.id.clone(), device);
        }
        Ok(devices)
    }

    /// Replaces the device's bindings, if it is unchanged since it was read.
    pub(crate) fn replace_bindings(&self, device: &DeviceRecord) -> Result<TransactWriteItem, LedgerError> {
        let item = to_item("device", device)?;
        let update = Update::builder()
            .table_name(self.devices()?)
            .set_key(Some(id_key(device.id.as_str())))
            .update_expression("SET #bindings = :bindings, #revision = :next")
            .condition_expression("#revision = :read")
            .expression_attribute_names("#bindings", "bindings")
            .expression_attribute_names("#revision", "revision")
            .set_expression_attribute_values(
                item.get("bindings").map(|bindings| HashMap::from([(":bindings".to_owned(), bindings.clone())])),
            )
            .expression_attribute_values(":read", number(device.revision))
            .expression_attribute_values(":next", number(device.revision + 1))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "device", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    pub(crate) async fn update_device(
        &self,
        id: &DeviceId,
        expression: String,
        condition: &str,
        names: HashMap<String, String>,
        values: HashMap<String, AttributeValue>,
    ) -> Result<(), LedgerError> {
        self.client
            .update_item()
            .table_name(self.devices()?)
            .set_key(Some(id_key(id.as_str())))
            .update_expression(expression)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .send()
            .await
            .map_err(|error| match error.as_service_error() {
                Some(service) if service.is_conditional_check_failed_exception() => LedgerError::Conflict,
                _ => LedgerError::aws("UpdateItem device")(error),
            })?;
        Ok(())
    }
}

pub(crate) fn device_id(item: &Item) -> Result<DeviceId, LedgerError> {
    let id = item.get("id").and_then(|id| id.as_s().ok()).map(String::as_str).unwrap_or_default();
    id.parse().map_err(|source| LedgerError::Corrupt { what: "device", source: Box::new(source) })
}

const _: () = assert!(SHARDS <= 100, "one BatchGetItem reads all counters");
const _: () = assert!(6 * ENROLLED_AT_ONCE + (SHARDS as usize) < 100, "a transaction takes 100 writes");
