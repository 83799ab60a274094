//! Uses: which certificate was brought, or is being brought, to which device.
//!
//! A use is stored in the jobs table under its certificate (`scs…`, `use#{device}`). Three records refer to it, and
//! change in one transaction: the use itself; the device, which lists its certificates; and the certificate, which
//! counts its devices. So a certificate in use cannot be deleted, and deleting a device deletes its uses.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use futures::{StreamExt, TryStreamExt, stream};
use rootcast_core::deployment::Deployment;
use rootcast_core::deployment::lifecycle::{Lifecycle, OutOfOrder, Stage, Work};
use rootcast_core::device::address::DeviceAddress;
use rootcast_core::device::{DeviceId, DeviceVersion, Pin, SHARDS};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::task::{ALONE, ErrorClass, Failure, Outcome, TaskRecord};
use rootcast_core::job::{JobId, JobRecord, JobState, Pass};
use rootcast_core::usage::Usage;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::LeafSpec;
use rootcast_pki::signer::SignerId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::commit::{Condition, put_of};
use crate::deployments::begins;
use crate::item::{Item, from_item, id_key, job_key, number, text};
use crate::{DeviceRecord, Ledger, LedgerError, Settlement, TaskKey};

/// Sparse index of uses with unfinished or failed work.
const UNFINISHED: &str = "unfinished";

/// A certificate's binding to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UseRecord {
    pub certificate: CertificateId,
    pub device: DeviceId,
    /// The approved device for which the last job was begun: a private key goes to no other. `None` in records from
    /// before this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<DeviceVersion>,
    /// The last job for this use; `None`: the certificate was never brought there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Incremented by each write.
    pub revision: u64,
    pub lifecycle: Lifecycle,
    /// For a device's own certificate that is being issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuance: Option<Issuance>,
    /// SHA-256 of what the device was last proven to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Fingerprint>,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

/// What is known about a certificate before it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issuance {
    /// From the device: PKCS #10 in PEM.
    pub request: String,
    /// The device's address when it made the request. Its key is only certified for the device at that address. `None`
    /// in records from before this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<DeviceAddress>,
    /// Recorded before the signature, so that a retry signs the same bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Reserved>,
}

/// What is to be signed, except for the request's key, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reserved {
    #[serde(flatten)]
    pub signer: SignerId,
    pub spec: LeafSpec,
}

impl UseRecord {
    /// A binding without a job.
    pub fn new(certificate: CertificateId, device: DeviceId, lifecycle: Lifecycle, at: OffsetDateTime) -> Self {
        Self { certificate, device, of: None, job: None, revision: 0, lifecycle, issuance: None, shown: None, at }
    }

    /// Whether an unfinished job works on it.
    pub const fn is_under_way(&self) -> bool {
        self.lifecycle.is_under_way()
    }

    /// The use after a job starts on it, for the device as it is approved now.
    pub fn begin(&self, job: &Deployment, of: DeviceVersion, status: &str) -> Self {
        let lifecycle = self.lifecycle.begin(job.work, status, job.created);
        Self { of: Some(of), job: Some(job.id), lifecycle, issuance: None, at: job.created, ..self.clone() }
    }

    /// The use with a request that somebody brought from the device. The device is not asked for one: the issuer comes next.
    pub fn requested(self, request: String, address: &DeviceAddress) -> Result<Self, OutOfOrder> {
        let status = "A request that was brought from the device is to be signed.";
        let lifecycle = self.lifecycle.advance(self.lifecycle.attempt, Stage::PostCsr, status, self.at)?;
        let issuance = Some(Issuance { request, address: Some(address.clone()), reserved: None });
        Ok(Self { lifecycle, issuance, ..self })
    }

    /// The use when this attempt of a rollover's task begins. A device that another job works on is left alone: `None`. One that
    /// did not accept its certificate makes another request.
    pub fn reissue(&self, job: JobId, attempt: u32, of: DeviceVersion, at: OffsetDateTime) -> Option<Self> {
        let is_own = self.job == Some(job);
        if self.is_under_way() {
            // A task that was put back until its window opens goes on, as its next attempt.
            let goes_on = is_own && (self.lifecycle.attempt == attempt || self.lifecycle.attempt + 1 == attempt);
            return goes_on.then(|| self.with(Lifecycle { attempt, ..self.lifecycle.clone() }, self.at));
        }
        if is_own
            && self.lifecycle.attempt + 1 == attempt
            && !self.lifecycle.was_refused()
            && let Ok(next) = self.lifecycle.retry(at)
        {
            return Some(Self { of: Some(of), ..self.with(next, at) });
        }
        let lifecycle = Lifecycle { attempt, ..self.lifecycle.begin(Work::Issue, begins(Work::Issue), at) };
        Some(Self { of: Some(of), job: Some(job), lifecycle, issuance: None, at, ..self.clone() })
    }

    /// The use with its next lifecycle.
    pub fn with(&self, lifecycle: Lifecycle, at: OffsetDateTime) -> Self {
        Self { lifecycle, at, ..self.clone() }
    }

    fn after(&self, settlement: &Settlement) -> Result<Self, OutOfOrder> {
        let Settlement { attempt, outcome, at, .. } = settlement;
        let lifecycle = match outcome {
            Outcome::Failed(failure) => self.lifecycle.fail(*attempt, failure, *at)?,
            Outcome::Deployed { alone: true, .. } => {
                self.lifecycle.finish(*attempt, format!("{PROVEN} {ALONE}"), *at)?
            }
            _ => self.lifecycle.finish(*attempt, PROVEN, *at)?,
        };
        let shown = match outcome {
            Outcome::Deployed { leaf, .. } => Some(*leaf),
            _ => self.shown,
        };
        Ok(Self { shown, ..self.with(lifecycle, *at) })
    }
}

const PROVEN: &str = "The device shows the certificate on a new connection, and it was read back.";

/// A device that was proven to show its new certificate, and is still leased.
#[derive(Debug, Clone)]
pub struct Proven {
    /// As last read or written.
    pub device: DeviceRecord,
    /// The owner of the lease.
    pub owner: String,
    /// The remaining pins.
    pub pins: Vec<Pin>,
}

pub(crate) fn use_key(certificate: CertificateId, device: &DeviceId) -> Item {
    job_key(certificate.to_string(), format!("use#{device}"))
}

impl Ledger {
    /// All devices that have the certificate, or are to get it, ordered by id.
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

    /// The existing uses of a certificate by these devices, in no order.
    pub async fn uses_by(
        &self,
        certificate: CertificateId,
        devices: impl IntoIterator<Item = &DeviceId>,
    ) -> Result<Vec<UseRecord>, LedgerError> {
        self.uses_at(devices.into_iter().map(|device| use_key(certificate, device)).collect()).await
    }

    /// Like [`Ledger::uses_by`], for several certificates.
    pub async fn uses(&self, bindings: &[(CertificateId, &DeviceId)]) -> Result<Vec<UseRecord>, LedgerError> {
        self.uses_at(bindings.iter().map(|(certificate, device)| use_key(*certificate, device)).collect()).await
    }

    async fn uses_at(&self, keys: Vec<Item>) -> Result<Vec<UseRecord>, LedgerError> {
        let found = self.batch_get(keys, "BatchGetItem uses").await?;
        found.into_iter().map(|item| from_item("use", item)).collect()
    }

    /// All uses of these devices, in no order. Makes no call if there are none.
    pub async fn uses_of_devices(
        &self,
        devices: impl IntoIterator<Item = &DeviceRecord>,
    ) -> Result<Vec<UseRecord>, LedgerError> {
        let of_device = |device: &DeviceRecord| -> Vec<Item> {
            device.bindings.iter().map(|certificate| use_key(*certificate, &device.id)).collect()
        };
        self.uses_at(devices.into_iter().flat_map(of_device).collect()).await
    }

    /// Like [`Ledger::uses_of_devices`], for whoever takes over what nobody finishes: what a rollover began that has ended, or
    /// went on to another pass, counts as given up. One call more if a job works on any of them.
    pub async fn uses_to_take_over(
        &self,
        devices: impl IntoIterator<Item = &DeviceRecord>,
    ) -> Result<Vec<UseRecord>, LedgerError> {
        let mut uses = self.uses_of_devices(devices).await?;
        let jobs: BTreeSet<JobId> =
            uses.iter().filter(|each| each.is_under_way()).filter_map(|each| each.job).collect();
        if jobs.is_empty() {
            return Ok(uses);
        }
        let (jobs, _) = self.jobs_and_tasks(jobs, &[]).await?;
        let is_over = |each: &UseRecord| match each.job.and_then(|job| jobs.get(&job)) {
            Some(JobRecord::Rollover(job)) => job.state == JobState::Ended || job.pass() != Pass::Install,
            Some(JobRecord::Deployment(_)) | None => false,
        };
        for each in uses.iter_mut().filter(|each| each.is_under_way()) {
            if is_over(each)
                && let Ok(lifecycle) = each.lifecycle.reset("Its rollover went on without it.", each.at)
            {
                each.lifecycle = lifecycle;
            }
        }
        Ok(uses)
    }

    /// Uses with unfinished or failed work, in no order. The index is eventually consistent.
    pub async fn unfinished_uses(&self) -> Result<Vec<UseRecord>, LedgerError> {
        let shards = stream::iter(0..SHARDS).map(|shard| async move {
            let query = self.client.query().table_name(self.jobs()?).index_name(UNFINISHED);
            let query = query.key_condition_expression("openShard = :shard");
            let mut pages = query.expression_attribute_values(":shard", number(shard)).into_paginator().items().send();
            let mut found = Vec::new();
            while let Some(item) = pages.next().await {
                found.push(from_item("use", item.map_err(LedgerError::aws("Query unfinished uses"))?)?);
            }
            Ok::<Vec<UseRecord>, LedgerError>(found)
        });
        let found: Vec<_> = shards.buffer_unordered(usize::from(SHARDS)).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Writes the use. Its revision is the one that was read, and is incremented.
    pub(crate) fn put_use(&self, record: &UseRecord) -> Result<TransactWriteItem, LedgerError> {
        Ok(TransactWriteItem::builder().put(self.use_put(record)?).build())
    }

    fn use_put(&self, record: &UseRecord) -> Result<Put, LedgerError> {
        let mut key = use_key(record.certificate, &record.device);
        if record.lifecycle.stage.is_some() {
            key.insert("openShard".to_owned(), number(record.certificate.shard()));
        }
        let written = UseRecord { revision: record.revision + 1, ..record.clone() };
        put_of(self.jobs()?, "use", &written, key, Some(Condition::as_read(record.revision, "pk")))
    }

    /// # Errors
    /// [`LedgerError::Conflict`] if the use has changed since it was read.
    pub async fn save_use(&self, record: &UseRecord) -> Result<(), LedgerError> {
        self.put_alone(self.use_put(record)?, "PutItem use").await
    }

    /// Settles a device's part of a deployment: task, counters and use (`read`, as it was read) in one transaction. If
    /// the device was proven, its record changes too, and its earlier uses are deleted. Returns whether the result was
    /// recorded: a task that is already settled or superseded stays unchanged.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the use or the device has changed since it was read.
    pub async fn settle_use(
        &self,
        settlement: &Settlement,
        read: &UseRecord,
        proven: Option<&Proven>,
    ) -> Result<bool, LedgerError> {
        let used = self.meter.take();
        let settled = self.settle_use_with(settlement, read, proven, &used).await;
        if !matches!(settled, Ok(true)) {
            self.meter.add(used);
        }
        settled
    }

    async fn settle_use_with(
        &self,
        settlement: &Settlement,
        read: &UseRecord,
        proven: Option<&Proven>,
        used: &Usage,
    ) -> Result<bool, LedgerError> {
        let Ok(record) = read.after(settlement) else { return Ok(false) };
        let mut writes = vec![self.settlement(settlement)?];
        writes.extend(self.troubles(std::slice::from_ref(settlement))?);
        writes.extend(self.counts(std::slice::from_ref(settlement), used)?);
        writes.push(self.put_use(&record)?);
        if let Some(proven) = proven {
            writes.extend(self.prove(read.certificate, proven).await?);
        }
        match self.transact_by_write(writes, "TransactWriteItems use").await? {
            Ok(()) => Ok(true),
            Err(codes) if codes.first().is_some_and(|code| code == "ConditionalCheckFailed") => Ok(false),
            Err(_) => Err(LedgerError::Conflict),
        }
    }

    /// Gives up the work under way or failed; `why` says who requested it. A waiting task is settled as well.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the use has changed since it was read, or there is nothing to give up.
    pub async fn reset_use(&self, read: &UseRecord, why: &str, at: OffsetDateTime) -> Result<(), LedgerError> {
        let lifecycle = read.lifecycle.reset(why, at).map_err(|_| LedgerError::Conflict)?;
        let mut writes = vec![self.put_use(&read.with(lifecycle, at))?];
        if let (true, Some(job)) = (read.is_under_way(), read.job) {
            let key = TaskKey { job, pass: Pass::Install, device: read.device.clone() };
            let (_, mut tasks) = self.jobs_and_tasks([], std::slice::from_ref(&key)).await?;
            let (wave, history) = tasks.remove(&key).map(|task| (task.wave, task.history)).unwrap_or_default();
            let outcome =
                Outcome::Failed(Failure { stage: read.lifecycle.stage, ..Failure::new(ErrorClass::Reset, why) });
            let given_up = Settlement { key, attempt: read.lifecycle.attempt, wave, of: None, outcome, history, at };
            writes.push(self.settlement(&given_up)?);
            writes.extend(self.troubles(std::slice::from_ref(&given_up))?);
            writes.extend(self.counts(&[given_up], &Usage::default())?);
        }
        self.transact_by_write(writes, "TransactWriteItems reset").await?.map_err(|_| LedgerError::Conflict)
    }

    /// Sets the device's certificate, removes all other uses except those under way, and releases the lease.
    async fn prove(&self, certificate: CertificateId, proven: &Proven) -> Result<Vec<TransactWriteItem>, LedgerError> {
        let Proven { device, owner, pins } = proven;
        let others = DeviceRecord {
            bindings: device.bindings.iter().copied().filter(|binding| *binding != certificate).collect(),
            ..device.clone()
        };
        let gone: Vec<UseRecord> =
            self.uses_of_devices([&others]).await?.into_iter().filter(|other| !other.is_under_way()).collect();
        let mut after = device.clone();
        after.bindings.retain(|binding| gone.iter().all(|other| other.certificate != *binding));
        after.certificate = Some(certificate);
        after.pins.clone_from(pins);
        let mut writes = vec![self.replace_and_release(&after, owner)?];
        for other in &gone {
            writes.push(self.drop_use(other)?);
            writes.push(self.count_uses(other.certificate, -1)?);
        }
        Ok(writes)
    }

    /// Deletes the use, if it is unchanged since it was read.
    pub(crate) fn drop_use(&self, read: &UseRecord) -> Result<TransactWriteItem, LedgerError> {
        let condition = Condition::as_read(read.revision, "pk");
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

    /// Changes the certificate's count of devices by `more`. Requires that the certificate exists.
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

    /// Reopens the selected failed tasks of a deployment, each with its next attempt, in one transaction. A device that
    /// no longer has a use of this job is skipped. Returns the tasks that were reopened, now or before a crash, and
    /// must be sent.
    pub async fn reopen_deployment(
        &self,
        deployment: &Deployment,
        at: OffsetDateTime,
    ) -> Result<Vec<(DeviceId, u32)>, LedgerError> {
        let job = deployment.id;
        let keys: Vec<TaskKey> = deployment
            .devices
            .iter()
            .map(|device| TaskKey { job, pass: Pass::Install, device: device.clone() })
            .collect();
        let (_, tasks) = self.jobs_and_tasks([], &keys).await?;
        let mut opened = Vec::new();
        let mut reopened: Vec<TaskRecord> = Vec::new();
        let mut writes = Vec::new();
        let bindings: Vec<_> = deployment.bindings().collect();
        for binding in self.uses(&bindings).await? {
            let task = tasks.values().find(|task| task.device == binding.device);
            let Some(task) = task.filter(|_| binding.job == Some(job)) else { continue };
            if deployment.reopen.has_opened(job, task) {
                opened.push((binding.device, task.attempt));
            } else if deployment.reopen.opens(job, task)
                && let Ok(next) = binding.lifecycle.retry(at)
            {
                opened.push((binding.device.clone(), next.attempt));
                writes.push(self.put_use(&binding.with(next, at))?);
                reopened.push(task.clone());
            }
        }
        writes.extend(self.reopening(job, Pass::Install, &reopened, None, at)?);
        if !writes.is_empty() {
            self.transact(writes).await?;
        }
        Ok(opened)
    }
}
