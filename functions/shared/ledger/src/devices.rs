//! Device records: what is managed, and what each was last seen to hold.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, Select};
use rootcast_core::device::{DeviceId, Driver, Pin, Profile, SHARDS, Slot};
use rootcast_core::task::{Ack, Failure};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;

use crate::commit::Condition;
use crate::item::{Item, from_item, id_key, number, text, to_item};
use crate::{Ledger, LedgerError};

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
    /// Grows with each edit by an operator; device work does not touch it.
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

/// One worker at a time. Free from `until` on: a task that was told to come back then is let in then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub owner: String,
    #[serde(with = "time::serde::timestamp")]
    pub until: OffsetDateTime,
}

impl DeviceRecord {
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

/// Why a device could not be leased.
#[derive(Debug, Error)]
pub enum LeaseRefused {
    #[error("another worker holds the device until {until}")]
    Held { until: OffsetDateTime },
    #[error("the device was deleted")]
    Gone,
    #[error("a newer bundle was brought to the device already")]
    Superseded,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
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
        for attribute in ["name", "address", "profile", "slot", "credential", "pins", "shard", "revision"] {
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

    /// # Errors
    /// [`LedgerError::Conflict`] where a worker holds the device.
    pub async fn delete_device(&self, id: &DeviceId, now: OffsetDateTime) -> Result<(), LedgerError> {
        self.client
            .delete_item()
            .table_name(self.devices()?)
            .set_key(Some(id_key(id.as_str())))
            .condition_expression("attribute_not_exists(lease) OR lease.#until <= :now")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":now", number(now.unix_timestamp()))
            .send()
            .await
            .map_err(|error| match error.as_service_error() {
                Some(service) if service.is_conditional_check_failed_exception() => LedgerError::Conflict,
                _ => LedgerError::aws("DeleteItem device")(error),
            })?;
        Ok(())
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

    /// Takes the device for one attempt, and reads it in the same call.
    pub async fn lease(
        &self,
        id: &DeviceId,
        lease: &Lease,
        goal: u64,
        now: OffsetDateTime,
    ) -> Result<DeviceRecord, LeaseRefused> {
        let sent = self
            .client
            .update_item()
            .table_name(self.devices()?)
            .set_key(Some(id_key(id.as_str())))
            .update_expression("SET lease = :lease, goal = :goal")
            .condition_expression(
                "attribute_exists(id) AND goal <= :goal AND (attribute_not_exists(lease) OR lease.#until <= :now)",
            )
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":lease", AttributeValue::M(to_item("lease", lease)?))
            .expression_attribute_values(":goal", number(goal))
            .expression_attribute_values(":now", number(now.unix_timestamp()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent {
            Ok(answer) => Ok(from_item("device", answer.attributes.unwrap_or_default())?),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    Err(self.why_refused(id, refused.item.clone(), goal).await)
                }
                _ => Err(LedgerError::aws("UpdateItem lease")(error).into()),
            },
        }
    }

    async fn why_refused(&self, id: &DeviceId, old: Option<Item>, goal: u64) -> LeaseRefused {
        let old: Result<Option<DeviceRecord>, LedgerError> = match old {
            Some(item) => from_item("device", item).map(Some),
            None => self.device(id).await,
        };
        match old {
            Err(error) => error.into(),
            Ok(None) => LeaseRefused::Gone,
            Ok(Some(device)) if device.goal > goal => LeaseRefused::Superseded,
            Ok(Some(device)) => match device.lease {
                Some(lease) => LeaseRefused::Held { until: lease.until },
                None => LedgerError::Conflict.into(),
            },
        }
    }

    /// Gives the device back, with what was seen of it. Nothing happens where the lease has passed to another.
    pub async fn release(&self, id: &DeviceId, owner: &str, held: Option<&Held>) -> Result<(), LedgerError> {
        let mut values = HashMap::from([(":owner".to_owned(), text(owner))]);
        let mut names = HashMap::from([("#owner".to_owned(), "owner".to_owned())]);
        let mut expression = "REMOVE lease".to_owned();
        if let Some(held) = held {
            names.insert("#held".to_owned(), "held".to_owned());
            values.insert(":held".to_owned(), AttributeValue::M(to_item("held", held)?));
            expression = format!("SET #held = :held {expression}");
        }
        match self.update_device(id, expression, "lease.#owner = :owner", names, values).await {
            Err(LedgerError::Conflict) => Ok(()),
            other => other,
        }
    }

    async fn update_device(
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

fn device_id(item: &Item) -> Result<DeviceId, LedgerError> {
    let id = item.get("id").and_then(|id| id.as_s().ok()).map(String::as_str).unwrap_or_default();
    id.parse().map_err(|source| LedgerError::Corrupt { what: "device", source: Box::new(source) })
}

const _: () = assert!(SHARDS <= 100, "one BatchGetItem reads all counters");
