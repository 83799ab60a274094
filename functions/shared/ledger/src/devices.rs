//! Device records: what is managed, and what each was last seen to hold.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Delete, Select, TransactWriteItem, Update};
use rootcast_core::certificate_id::CertificateId;
use rootcast_core::device::{DeviceId, Driver, Pin, Profile, SHARDS, Slot};
use rootcast_core::device_subject::DeviceSubject;
use rootcast_core::task::{Ack, Failure};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::commit::Condition;
use crate::item::{Item, from_item, id_key, number, text, to_item};
use crate::{Lease, Ledger, LedgerError};

/// Others may change a device between a look at it and its deletion: then we look again, so often.
const ATTEMPTS: u32 = 5;
/// The sparse index of approved devices.
const BY_SHARD: &str = "by-shard";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceRecord {
    pub id: DeviceId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `https://host[:port]`.
    pub address: String,
    pub driver: Driver,
    pub profile: Profile,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// What its own certificate says of it; `None`: the host of its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<DeviceSubject>,
    /// Name of the SSM parameter that holds user name and password. Never the credential itself.
    pub credential: String,
    /// Empty until an operator approved what the device showed.
    #[serde(default)]
    pub pins: Vec<Pin>,
    /// Set with the pins: only approved devices are in the index that jobs page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// The highest bundle version that a task wanted here: a late task of an older one does nothing.
    #[serde(default)]
    pub goal: u64,
    /// The imported certificate that the device was last proven to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateId>,
    /// Certificates with a [use](crate::UseRecord) of this device: shown, on their way, or failed.
    #[serde(default)]
    pub ties: Vec<CertificateId>,
    /// Grows with each change of what an operator edits, of pins and of ties; leases and findings do not touch it.
    pub revision: u64,
}

/// What the device's trust store was last *seen* to hold, or why it was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<Ack>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

impl DeviceRecord {
    /// A device as it begins: without a name or a slot, not approved, nothing known of it.
    pub const fn new(id: DeviceId, address: String, driver: Driver, profile: Profile, credential: String) -> Self {
        Self {
            id,
            name: None,
            address,
            driver,
            profile,
            slot: None,
            subject: None,
            credential,
            pins: Vec::new(),
            shard: None,
            held: None,
            lease: None,
            goal: 0,
            certificate: None,
            ties: Vec::new(),
            revision: 0,
        }
    }

    pub fn approve(&mut self, pins: Vec<Pin>) {
        self.shard = (!pins.is_empty()).then(|| self.id.shard());
        self.pins = pins;
    }
}

#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<DeviceId>,
}

impl Ledger {
    /// # Errors
    /// [`LedgerError::Conflict`] where there is a device of that id already.
    pub async fn enrol(&self, device: &DeviceRecord) -> Result<(), LedgerError> {
        let condition = Condition::absent("id");
        let record = DeviceRecord { revision: 1, ..device.clone() };
        self.client
            .put_item()
            .table_name(self.devices()?)
            .set_item(Some(to_item("device", &record)?))
            .condition_expression(condition.expression)
            .send()
            .await
            .map_err(|error| match error.as_service_error() {
                Some(service) if service.is_conditional_check_failed_exception() => LedgerError::Conflict,
                _ => LedgerError::aws("PutItem device")(error),
            })?;
        Ok(())
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

    /// Some devices, in no order that means anything.
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

    /// An operator's edit; `revision` is as it was read. Only what an operator may edit is written, so a worker's lease and findings stay.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where the device was edited since it was read, or deleted.
    pub async fn edit_device(&self, device: &DeviceRecord) -> Result<(), LedgerError> {
        let edited = DeviceRecord { revision: device.revision + 1, ..device.clone() };
        let item = to_item("device", &edited)?;
        let (mut sets, mut removes) = (Vec::new(), Vec::new());
        let mut names = HashMap::new();
        let mut values = HashMap::from([(":read".to_owned(), number(device.revision))]);
        for attribute in ["name", "address", "profile", "slot", "subject", "credential", "pins", "shard", "revision"] {
            names.insert(format!("#{attribute}"), attribute.to_owned());
            match item.get(attribute) {
                Some(value) => {
                    sets.push(format!("#{attribute} = :{attribute}"));
                    values.insert(format!(":{attribute}"), value.clone());
                }
                None => removes.push(format!("#{attribute}")),
            }
        }
        let mut expression = format!("SET {}", sets.join(", "));
        if !removes.is_empty() {
            expression = format!("{expression} REMOVE {}", removes.join(", "));
        }
        self.update_device(&device.id, expression, "#revision = :read", names, values).await
    }

    /// With its uses; their certificates count one device less.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where a worker holds the device, or somebody changes it all the time.
    pub async fn delete_device(&self, id: &DeviceId, now: OffsetDateTime) -> Result<(), LedgerError> {
        for _ in 0..ATTEMPTS {
            let Some(device) = self.device(id).await? else { return Ok(()) };
            if device.lease.as_ref().is_some_and(|lease| now < lease.until) {
                return Err(LedgerError::Conflict);
            }
            let mut writes = vec![self.delete_as_read(&device, now)?];
            for tie in &self.uses_of_devices([&device]).await? {
                writes.push(self.drop_use(tie)?);
                writes.push(self.count_uses(tie.certificate, -1)?);
            }
            match self.transact(writes).await {
                Err(LedgerError::Conflict | LedgerError::Transient { .. }) => {}
                deleted => return deleted,
            }
        }
        Err(LedgerError::Conflict)
    }

    fn delete_as_read(&self, device: &DeviceRecord, now: OffsetDateTime) -> Result<TransactWriteItem, LedgerError> {
        let delete = Delete::builder()
            .table_name(self.devices()?)
            .set_key(Some(id_key(device.id.as_str())))
            .condition_expression("#revision = :read AND (attribute_not_exists(lease) OR lease.#until <= :now)")
            .expression_attribute_names("#revision", "revision")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":read", number(device.revision))
            .expression_attribute_values(":now", number(now.unix_timestamp()))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "device", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// Those of the devices that there are, by their ids.
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

    /// The device, as it was read, has these ties.
    pub(crate) fn replace_ties(&self, device: &DeviceRecord) -> Result<TransactWriteItem, LedgerError> {
        let item = to_item("device", device)?;
        let update = Update::builder()
            .table_name(self.devices()?)
            .set_key(Some(id_key(device.id.as_str())))
            .update_expression("SET #ties = :ties, #revision = :next")
            .condition_expression("#revision = :read")
            .expression_attribute_names("#ties", "ties")
            .expression_attribute_names("#revision", "revision")
            .set_expression_attribute_values(
                item.get("ties").map(|ties| HashMap::from([(":ties".to_owned(), ties.clone())])),
            )
            .expression_attribute_values(":read", number(device.revision))
            .expression_attribute_values(":next", number(device.revision + 1))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "device", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Ids of approved devices of a shard, in order, after `after` and up to `to`. At most `limit`; fewer than `limit` is
    /// the end. The index is eventually consistent: a job surveys the fleet a second time before it relies on it.
    pub async fn approved_in_shard(
        &self,
        shard: u8,
        after: Option<&DeviceId>,
        to: Option<&DeviceId>,
        limit: usize,
    ) -> Result<Vec<DeviceId>, LedgerError> {
        // '~' follows and '\u{1}' precedes every character that a device id may have.
        let from = after.map_or_else(|| "\u{1}".to_owned(), |id| format!("{id}\u{1}"));
        let until = to.map_or_else(|| "~".to_owned(), ToString::to_string);
        let mut pages = self
            .client
            .query()
            .table_name(self.devices()?)
            .index_name(BY_SHARD)
            .key_condition_expression("#shard = :shard AND id BETWEEN :from AND :until")
            // A reserved word there.
            .expression_attribute_names("#shard", "shard")
            .expression_attribute_values(":shard", number(shard))
            .expression_attribute_values(":from", text(from))
            .expression_attribute_values(":until", text(until))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(item) = pages.next().await else { break };
            found.push(device_id(&item.map_err(LedgerError::aws("Query devices"))?)?);
        }
        Ok(found)
    }

    pub async fn has_approved_device(&self) -> Result<bool, LedgerError> {
        let answer = self
            .client
            .scan()
            .table_name(self.devices()?)
            .index_name(BY_SHARD)
            .select(Select::Count)
            .limit(1)
            .send()
            .await
            .map_err(LedgerError::aws("Scan devices by-shard"))?;
        Ok(answer.count > 0)
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
