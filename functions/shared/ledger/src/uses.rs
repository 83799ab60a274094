//! Uses: which certificate was brought, or is being brought, to which device.
//!
//! A use lies in the jobs table under its certificate (`scs…`, `use#{device}`). Three records know of it, and change in
//! one transaction: the use itself, the device, which lists its certificates, and the certificate, which counts its
//! devices. So a certificate that is counted is not deleted, and a device that is deleted takes its uses with it.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem, Update};
use rootcast_core::certificate_id::CertificateId;
use rootcast_core::deployment::Deployment;
use rootcast_core::device::{DeviceId, Pin};
use rootcast_core::job::{JobId, Leg};
use rootcast_core::lifecycle::Stage;
use rootcast_core::task::{Outcome, TaskRecord};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::commit::{Condition, put};
use crate::item::{Item, from_item, id_key, job_key, number, text};
use crate::{DeviceRecord, Ledger, LedgerError, Settlement, TaskKey};

/// A certificate's tie to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UseRecord {
    pub certificate: CertificateId,
    pub device: DeviceId,
    /// The last job that brought it there, or brings it.
    pub job: JobId,
    pub attempt: u32,
    /// Where the deployment stands, or failed; `None` when the device was proven to show the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    pub in_error: bool,
    /// A sentence.
    pub status: String,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

impl UseRecord {
    /// A job that has not ended is at it.
    pub const fn is_under_way(&self) -> bool {
        self.stage.is_some() && !self.in_error
    }
}

/// A device that was proven to show its new certificate, and is still leased.
#[derive(Debug, Clone)]
pub struct Proven {
    /// As it was last read or written.
    pub device: DeviceRecord,
    /// Who has the lease.
    pub owner: String,
    /// What remains of its pins.
    pub pins: Vec<Pin>,
}

pub(crate) fn use_key(certificate: CertificateId, device: &DeviceId) -> Item {
    job_key(certificate.to_string(), format!("use#{device}"))
}

/// The use is still this job's.
pub(crate) fn job_is(job: JobId) -> Condition {
    Condition {
        expression: "#job = :job".to_owned(),
        names: Some(HashMap::from([("#job".to_owned(), "job".to_owned())])),
        values: Some(HashMap::from([(":job".to_owned(), number(job))])),
    }
}

impl Ledger {
    /// Every device that has the certificate, or is to have it, in the order of their ids.
    pub async fn uses_of_certificate(&self, certificate: CertificateId) -> Result<Vec<UseRecord>, LedgerError> {
        let mut pages = self
            .client
            .query()
            .table_name(self.jobs()?)
            .key_condition_expression("pk = :certificate AND begins_with(sk, :use)")
            .expression_attribute_values(":certificate", text(certificate))
            .expression_attribute_values(":use", text("use#"))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while let Some(item) = pages.next().await {
            found.push(from_item("use", item.map_err(LedgerError::aws("Query uses"))?)?);
        }
        Ok(found)
    }

    /// A certificate's uses by some devices, in no order; what is not there is left out.
    pub async fn uses_by(
        &self,
        certificate: CertificateId,
        devices: impl IntoIterator<Item = &DeviceId>,
    ) -> Result<Vec<UseRecord>, LedgerError> {
        let keys = devices.into_iter().map(|device| use_key(certificate, device)).collect();
        let found = self.batch_get(keys, "BatchGetItem uses").await?;
        found.into_iter().map(|item| from_item("use", item)).collect()
    }

    /// All uses of some devices, in no order. No call where they have none.
    pub async fn uses_of_devices(
        &self,
        devices: impl IntoIterator<Item = &DeviceRecord>,
    ) -> Result<Vec<UseRecord>, LedgerError> {
        let of_device = |device: &DeviceRecord| -> Vec<Item> {
            device.ties.iter().map(|certificate| use_key(*certificate, &device.id)).collect()
        };
        let keys: Vec<Item> = devices.into_iter().flat_map(of_device).collect();
        let found = self.batch_get(keys, "BatchGetItem uses").await?;
        found.into_iter().map(|item| from_item("use", item)).collect()
    }

    /// Records how a device's part of a deployment ended: task, counters and use in one transaction, and where the
    /// device was proven, its record too, whose earlier uses go. Answers whether it was recorded: a task that is settled
    /// already, or superseded, is left as it is.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where the use is gone, or the device was changed since it was read.
    pub async fn settle_use(
        &self,
        settlement: &Settlement,
        certificate: CertificateId,
        proven: Option<&Proven>,
    ) -> Result<bool, LedgerError> {
        let TaskKey { job, device, .. } = &settlement.key;
        let (stage, in_error, status) = match &settlement.outcome {
            Outcome::Failed(failure) => {
                (Some(failure.stage.unwrap_or(Stage::InstallCertificate)), true, failure.message.clone())
            }
            _ => {
                (None, false, "The device shows the certificate on a new connection, and it was read back.".to_owned())
            }
        };
        let (attempt, at) = (settlement.attempt, settlement.at);
        let record = UseRecord { certificate, device: device.clone(), job: *job, attempt, stage, in_error, status, at };
        let mut writes = vec![self.settlement(settlement)?];
        writes.extend(self.counts(std::slice::from_ref(settlement))?);
        writes.push(put(self.jobs()?, "use", &record, use_key(certificate, device), Some(job_is(*job)))?);
        if let Some(proven) = proven {
            writes.extend(self.prove(certificate, proven).await?);
        }
        match self.transact_patiently(writes, "TransactWriteItems use").await? {
            Ok(()) => Ok(true),
            Err(codes) if codes.first().is_some_and(|code| code == "ConditionalCheckFailed") => Ok(false),
            Err(_) => Err(LedgerError::Conflict),
        }
    }

    /// The device has this certificate now, and no other one but what is under way; it is given back.
    async fn prove(&self, certificate: CertificateId, proven: &Proven) -> Result<Vec<TransactWriteItem>, LedgerError> {
        let Proven { device, owner, pins } = proven;
        let others = DeviceRecord {
            ties: device.ties.iter().copied().filter(|tie| *tie != certificate).collect(),
            ..device.clone()
        };
        let gone: Vec<UseRecord> =
            self.uses_of_devices([&others]).await?.into_iter().filter(|other| !other.is_under_way()).collect();
        let mut after = device.clone();
        after.ties.retain(|tie| gone.iter().all(|other| other.certificate != *tie));
        after.certificate = Some(certificate);
        after.pins.clone_from(pins);
        let mut writes = vec![self.replace_and_release(&after, owner)?];
        for other in &gone {
            writes.push(self.drop_use(other)?);
            writes.push(self.count_uses(other.certificate, -1)?);
        }
        Ok(writes)
    }

    /// The use as it was read is gone.
    pub(crate) fn drop_use(&self, read: &UseRecord) -> Result<TransactWriteItem, LedgerError> {
        let condition = job_is(read.job);
        let delete = Delete::builder()
            .table_name(self.jobs()?)
            .set_key(Some(use_key(read.certificate, &read.device)))
            .condition_expression(condition.expression)
            .set_expression_attribute_names(condition.names)
            .set_expression_attribute_values(condition.values)
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "use", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// The certificate is there, and so many devices more have it.
    pub(crate) fn count_uses(&self, certificate: CertificateId, more: i64) -> Result<TransactWriteItem, LedgerError> {
        let update = Update::builder()
            .table_name(self.certificates()?)
            .set_key(Some(id_key(certificate)))
            .update_expression("ADD uses :more, revision :one")
            .condition_expression("attribute_exists(id)")
            .expression_attribute_values(":more", number(more))
            .expression_attribute_values(":one", number(1))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "certificate", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// What is to be tried again in a deployment waits, each task with its next attempt, in one transaction. A device
    /// that another certificate has taken since stays as it is.
    pub async fn reopen_deployment(&self, deployment: &Deployment, now: OffsetDateTime) -> Result<(), LedgerError> {
        let (job, certificate) = (deployment.id, deployment.certificate);
        let keys: Vec<TaskKey> = deployment
            .devices
            .iter()
            .map(|device| TaskKey { job, leg: Leg::Install, device: device.clone() })
            .collect();
        let (_, tasks) = self.jobs_and_tasks([], &keys).await?;
        let uses = keys.iter().map(|key| use_key(certificate, &key.device)).collect();
        let mut reopened: Vec<TaskRecord> = Vec::new();
        let mut writes = Vec::new();
        for item in self.batch_get(uses, "BatchGetItem uses").await? {
            let tie: UseRecord = from_item("use", item)?;
            let failed = tasks.values().find(|task| task.device == tie.device.as_str());
            let failed = failed.filter(|task| deployment.reopen.opens(job, task) && tie.job == job);
            let Some(task) = failed else { continue };
            let next = UseRecord {
                attempt: task.attempt + 1,
                stage: Some(Stage::InstallCertificate),
                in_error: false,
                status: format!("It is tried again. Last time: {}", tie.status),
                at: now,
                ..tie
            };
            writes.push(put(self.jobs()?, "use", &next, use_key(certificate, &next.device), Some(job_is(job)))?);
            reopened.push(task.clone());
        }
        writes.extend(self.reopening(job, Leg::Install, &reopened, now)?);
        if writes.is_empty() { Ok(()) } else { self.transact(writes).await }
    }
}
