//! Device work: one worker at a device at a time, and what it writes there.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use rootcast_core::device::{DeviceId, Pin};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;

use crate::item::{Item, from_item, id_key, number, text, to_item};
use crate::{DeviceRecord, Held, Ledger, LedgerError};

/// One worker at a time. Free from `until` on: a task that was told to come back then is let in then. Kept in whole
/// seconds, rounded down: a holder that works up to the end needs a second's margin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub owner: String,
    #[serde(with = "time::serde::timestamp")]
    pub until: OffsetDateTime,
}

/// Why a device could not be leased.
#[derive(Debug, Error)]
pub enum LeaseRefused {
    #[error("another worker holds the device until {until}")]
    Held { until: OffsetDateTime },
    #[error("the device was deleted")]
    Gone,
    #[error("bundle {newer} was brought to the device already")]
    Superseded { newer: u64 },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The lease is ours, and the device is as it was read but for its lease.
const OURS_AS_READ: &str = "lease.#owner = :owner AND #revision = :read";

impl Ledger {
    /// Takes the device for one attempt, and reads it in the same call. `goal`: the bundle version that it is for; a
    /// device to which a newer one was brought is not leased for an older.
    pub async fn lease(
        &self,
        id: &DeviceId,
        lease: &Lease,
        goal: Option<u64>,
        now: OffsetDateTime,
    ) -> Result<DeviceRecord, LeaseRefused> {
        let (set, fence) = match goal {
            Some(_) => (", goal = :goal", "goal <= :goal AND "),
            None => ("", ""),
        };
        let sent = self
            .client
            .update_item()
            .table_name(self.devices()?)
            .set_key(Some(id_key(id.as_str())))
            .update_expression(format!("SET lease = :lease{set}"))
            .condition_expression(format!(
                "attribute_exists(id) AND {fence}(attribute_not_exists(lease) OR lease.#until <= :now)"
            ))
            .expression_attribute_names("#until", "until")
            .set_expression_attribute_values(goal.map(|goal| HashMap::from([(":goal".to_owned(), number(goal))])))
            .expression_attribute_values(":lease", AttributeValue::M(to_item("lease", lease)?))
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

    async fn why_refused(&self, id: &DeviceId, old: Option<Item>, goal: Option<u64>) -> LeaseRefused {
        let old: Result<Option<DeviceRecord>, LedgerError> = match old {
            Some(item) => from_item("device", item).map(Some),
            None => self.device(id).await,
        };
        match old {
            Err(error) => error.into(),
            Ok(None) => LeaseRefused::Gone,
            Ok(Some(device)) if goal.is_some_and(|goal| device.goal > goal) => {
                LeaseRefused::Superseded { newer: device.goal }
            }
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

    /// Changes the pins of a leased device, before it is sent what it will be recognised by; answers its record then.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where the lease has passed to another, or the device was edited since it was read.
    pub async fn pin(&self, device: &DeviceRecord, owner: &str, pins: &[Pin]) -> Result<DeviceRecord, LedgerError> {
        let pinned = DeviceRecord { pins: pins.to_vec(), revision: device.revision + 1, ..device.clone() };
        let values = self.values(&pinned, owner, device.revision, &["pins", "revision"])?;
        let names = ["owner", "pins", "revision"].map(|name| (format!("#{name}"), name.to_owned()));
        let expression = "SET #pins = :pins, #revision = :revision".to_owned();
        self.update_device(&device.id, expression, OURS_AS_READ, HashMap::from(names), values).await?;
        Ok(pinned)
    }

    /// The leased device has this certificate, these pins and these ties now, and is given back. `device.revision` is as
    /// it was read.
    pub(crate) fn replace_and_release(
        &self,
        device: &DeviceRecord,
        owner: &str,
    ) -> Result<TransactWriteItem, LedgerError> {
        let after = DeviceRecord { revision: device.revision + 1, ..device.clone() };
        let set = ["certificate", "pins", "ties", "revision"];
        let names = set.into_iter().chain(["owner"]).map(|name| (format!("#{name}"), name.to_owned()));
        let clauses = set.map(|name| format!("#{name} = :{name}"));
        let update = Update::builder()
            .table_name(self.devices()?)
            .set_key(Some(id_key(device.id.as_str())))
            .update_expression(format!("SET {} REMOVE lease", clauses.join(", ")))
            .condition_expression(OURS_AS_READ)
            .set_expression_attribute_names(Some(names.collect()))
            .set_expression_attribute_values(Some(self.values(&after, owner, device.revision, &set)?))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "device", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn values(
        &self,
        device: &DeviceRecord,
        owner: &str,
        read: u64,
        attributes: &[&str],
    ) -> Result<HashMap<String, AttributeValue>, LedgerError> {
        let mut item = to_item("device", device)?;
        let set = attributes.iter().filter_map(|name| Some((format!(":{name}"), item.remove(*name)?)));
        Ok(set.chain([(":owner".to_owned(), text(owner)), (":read".to_owned(), number(read))]).collect())
    }
}
