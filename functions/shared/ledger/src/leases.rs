//! Leases: one worker at a device at a time, and the results that the worker writes.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use rootcast_core::device::probe::Probed;
use rootcast_core::device::{DeviceId, Pin};
use rootcast_core::job::tries::AllTries;
use rootcast_core::job::visit::Working;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;

use crate::item::{Item, from_item, id_key, number, text, to_item};
use crate::{DeviceRecord, Ledger, LedgerError, ObservedTrustStore};

/// Held by one worker; `owner` identifies the visit. Free from `until` on, so that a message scheduled for `until` gets
/// the lease. Stored in whole seconds, rounded down: a holder that works up to the end needs a margin of one second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub owner: String,
    #[serde(with = "time::serde::timestamp")]
    pub until: OffsetDateTime,
}

/// What a worker writes to the device's record when it releases the lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// What was seen of the trust store; `None`: unchanged.
    pub held: Option<ObservedTrustStore>,
    /// The result of a probe; `None`: unchanged.
    pub probed: Option<Probed>,
    pub tries: AllTries,
    pub working: Option<Working>,
    /// Visits that began and are not known to have ended.
    pub begun: u32,
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

/// The lease is ours, and the device is unchanged since it was read, except for its lease.
const OURS_AS_READ: &str = "lease.#owner = :owner AND #revision = :read";

impl Ledger {
    /// Takes the lease for one attempt and reads the device in the same call. `goal`: the requested bundle version. The
    /// lease is refused if a newer one was already requested.
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
            .update_expression(format!("SET lease = :lease{set} ADD begun :one"))
            .condition_expression(format!(
                "attribute_exists(id) AND {fence}(attribute_not_exists(lease) OR lease.#until <= :now)"
            ))
            .expression_attribute_names("#until", "until")
            .set_expression_attribute_values(goal.map(|goal| HashMap::from([(":goal".to_owned(), number(goal))])))
            .expression_attribute_values(":lease", map("lease", lease)?)
            .expression_attribute_values(":now", number(now.unix_timestamp()))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent {
            Ok(answer) => Ok(from_item("device", answer.attributes.unwrap_or_default())?),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    self.refused(id, refused.item.clone(), lease, goal).await
                }
                _ => Err(LedgerError::aws("UpdateItem lease")(error).into()),
            },
        }
    }

    /// Why a lease was refused. Returns the device if the lease is `ours`: then the response was lost, and the SDK
    /// retried.
    async fn refused(
        &self,
        id: &DeviceId,
        old: Option<Item>,
        ours: &Lease,
        goal: Option<u64>,
    ) -> Result<DeviceRecord, LeaseRefused> {
        let old: Option<DeviceRecord> = match old {
            Some(item) => Some(from_item("device", item)?),
            None => self.device(id).await?,
        };
        let Some(device) = old else { return Err(LeaseRefused::Gone) };
        if goal.is_some_and(|goal| device.goal > goal) {
            return Err(LeaseRefused::Superseded { newer: device.goal });
        }
        match &device.lease {
            Some(lease) if lease.owner == ours.owner => Ok(device),
            Some(lease) => Err(LeaseRefused::Held { until: lease.until }),
            None => Err(LedgerError::Conflict.into()),
        }
    }

    /// Releases the lease and writes `left`. `false`: nothing was written, because the lease has passed to another
    /// worker, or was released by a call whose response was lost.
    pub async fn release(&self, id: &DeviceId, owner: &str, left: &Left) -> Result<bool, LedgerError> {
        let mut values = HashMap::from([(":owner".to_owned(), text(owner)), (":begun".to_owned(), number(left.begun))]);
        let mut names = HashMap::from([("#owner".to_owned(), "owner".to_owned())]);
        let (mut set, mut remove) = ("begun = :begun".to_owned(), "lease".to_owned());
        let mut leave = |name: &str, value: Option<AttributeValue>| {
            names.insert(format!("#{name}"), name.to_owned());
            match value {
                Some(value) => {
                    values.insert(format!(":{name}"), value);
                    set.push_str(&format!(", #{name} = :{name}"));
                }
                None => remove.push_str(&format!(", #{name}")),
            }
        };
        let tries: Vec<_> = left.tries.iter().map(|tries| map("tries", tries)).collect::<Result<_, _>>()?;
        leave("tries", (!tries.is_empty()).then_some(AttributeValue::L(tries)));
        leave("working", left.working.as_ref().map(|working| map("working", working)).transpose()?);
        if let Some(held) = &left.held {
            leave("held", Some(map("held", held)?));
        }
        if let Some(probed) = &left.probed {
            leave("probed", Some(map("probed", probed)?));
        }
        let expression = format!("SET {set} REMOVE {remove}");
        match self.update_device(id, expression, "lease.#owner = :owner", names, values).await {
            Err(LedgerError::Conflict) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Records the device's own work as soon as it is known, so that a worker after a crash waits for that work.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the lease has passed to another worker.
    pub async fn note_working(&self, id: &DeviceId, owner: &str, working: &Working) -> Result<(), LedgerError> {
        let work = map("working", working)?;
        let values = HashMap::from([(":owner".to_owned(), text(owner)), (":working".to_owned(), work)]);
        let names = ["owner", "working"].map(|name| (format!("#{name}"), name.to_owned()));
        let expression = "SET #working = :working".to_owned();
        self.update_device(id, expression, "lease.#owner = :owner", HashMap::from(names), values).await
    }

    /// Changes the pins of a leased device before the device gets the certificate or key that they match. Returns the
    /// new record.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the lease has passed to another worker, or the device was edited since it was read.
    pub async fn pin(&self, device: &DeviceRecord, owner: &str, pins: &[Pin]) -> Result<DeviceRecord, LedgerError> {
        let pinned = DeviceRecord { pins: pins.to_vec(), revision: device.revision + 1, ..device.clone() };
        let values = self.values(&pinned, owner, device.revision, &["pins", "revision"])?;
        let names = ["owner", "pins", "revision"].map(|name| (format!("#{name}"), name.to_owned()));
        let expression = "SET #pins = :pins, #revision = :revision".to_owned();
        match self.update_device(&device.id, expression, OURS_AS_READ, HashMap::from(names), values).await {
            // Already written: the response was lost, and the SDK retried.
            Err(LedgerError::Conflict) if self.device(&device.id).await?.as_ref() == Some(&pinned) => Ok(pinned),
            other => other.map(|()| pinned),
        }
    }

    /// Sets the leased device's certificate, pins and bindings, and releases the lease. `device.revision` is as it was
    /// read.
    pub(crate) fn replace_and_release(
        &self,
        device: &DeviceRecord,
        owner: &str,
    ) -> Result<TransactWriteItem, LedgerError> {
        let after = DeviceRecord { revision: device.revision + 1, ..device.clone() };
        let set = ["certificate", "pins", "bindings", "revision"];
        let names = set.into_iter().chain(["owner"]).map(|name| (format!("#{name}"), name.to_owned()));
        let clauses = set.map(|name| format!("#{name} = :{name}"));
        let update = Update::builder()
            .table_name(self.devices()?)
            .set_key(Some(id_key(device.id.as_str())))
            .update_expression(format!("SET {}, begun = :zero REMOVE lease, working", clauses.join(", ")))
            .condition_expression(OURS_AS_READ)
            .set_expression_attribute_names(Some(names.collect()))
            .set_expression_attribute_values(Some(self.values(&after, owner, device.revision, &set)?))
            .expression_attribute_values(":zero", number(0))
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

fn map<T: Serialize>(what: &'static str, record: &T) -> Result<AttributeValue, LedgerError> {
    Ok(AttributeValue::M(to_item(what, record)?))
}
