//! Deployments: jobs that bring a certificate to devices.
//!
//! One that runs is under `running` too, where the conductor's schedule finds it.

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem, Update};
use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::deployment::Deployment;
use rootcast_core::job::JobId;
use rootcast_core::lifecycle::{Lifecycle, Work};

use crate::audit::Links;
use crate::authority::AUTHORITY;
use crate::commit::{Condition, NoAttributes, put};
use crate::item::{Item, id_key, job_key, number, text};
use crate::jobs::{DEPLOYMENT, list_key, meta_key};
use crate::{DeviceRecord, Ledger, LedgerError, PlaceRecord, UseRecord};

const RUNNING: &str = "running";

/// A device that is to have the certificate, as it was read.
#[derive(Debug, Clone)]
pub struct NewUse {
    pub device: DeviceRecord,
    /// Its use of the same certificate, which the new one takes the place of.
    pub earlier: Option<UseRecord>,
}

fn running_key(job: JobId) -> Item {
    job_key(RUNNING, format!("{:012}", job.0))
}

impl Ledger {
    /// Those that run, the oldest first.
    pub async fn running_deployments(&self) -> Result<Vec<JobId>, LedgerError> {
        let mut pages = self
            .client
            .query()
            .table_name(self.jobs()?)
            .key_condition_expression("pk = :running")
            .expression_attribute_values(":running", text(RUNNING))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(LedgerError::aws("Query running deployments"))?;
            found.extend(item.get("sk").and_then(|id| id.as_s().ok()?.parse::<JobId>().ok()));
        }
        Ok(found)
    }

    /// A new deployment, in one transaction with a use for each device. `last_job`: the authority's, as it was read; the
    /// deployment's id follows it. `place`: of a certificate that has no record yet. `by`: for the audit chains of both.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where another job was made, a device was changed, or the certificate was deleted since
    /// all that was read; nothing is written then.
    pub async fn deploy(
        &self,
        deployment: &Deployment,
        last_job: u64,
        uses: &[NewUse],
        place: Option<&PlaceRecord>,
        by: &Actor,
    ) -> Result<(), LedgerError> {
        let (id, certificate) = (deployment.id, deployment.certificate);
        let fresh = uses.iter().filter(|tie| tie.earlier.is_none()).count();
        let mut writes = vec![
            self.take_job_id(id, last_job)?,
            put(self.jobs()?, "deployment", deployment, meta_key(id, DEPLOYMENT), Some(Condition::absent("pk")))?,
            put(self.jobs()?, "deployment", &NoAttributes {}, list_key(id), None)?,
            put(self.jobs()?, "deployment", &NoAttributes {}, running_key(id), None)?,
        ];
        match place {
            Some(place) => {
                let record = PlaceRecord { revision: 1, uses: fresh as u64, ..place.clone() };
                let condition = Condition::absent("id");
                writes.push(put(self.certificates()?, "certificate's place", &record, Item::new(), Some(condition))?);
                writes.push(self.claim_name(place.id, &place.folder, &place.name)?);
            }
            None => writes.push(self.count_uses(certificate, i64::try_from(fresh).unwrap_or(i64::MAX))?),
        }
        for NewUse { device, earlier } in uses {
            let fresh = || {
                UseRecord::new(certificate, device.id.clone(), Lifecycle::idle(deployment.work, ""), deployment.created)
            };
            let record = earlier.clone().unwrap_or_else(fresh).begin(deployment, begins(deployment.work));
            writes.push(self.put_use(&record)?);
            let mut tied = device.clone();
            if earlier.is_none() {
                tied.ties.push(certificate);
            }
            writes.push(self.replace_ties(&tied)?);
        }
        let (job, act) = acts(deployment, place.is_some(), by);
        let of_certificate = if place.is_some() { self.first_link(&act)? } else { self.link(&act).await? };
        let links = self.first_link(&job)?.and(of_certificate);
        writes.extend(links.writes());
        self.transact(writes).await?;
        links.tell();
        Ok(())
    }

    /// Only the counter is touched, so that the authority may do everything else meanwhile.
    fn take_job_id(&self, id: JobId, last_job: u64) -> Result<TransactWriteItem, LedgerError> {
        let update = Update::builder()
            .table_name(self.certificates()?)
            .set_key(Some(id_key(AUTHORITY)))
            .update_expression("SET lastJob = :id ADD revision :one")
            .condition_expression("attribute_not_exists(lastJob) OR lastJob = :last")
            .expression_attribute_values(":id", number(id))
            .expression_attribute_values(":last", number(last_job))
            .expression_attribute_values(":one", number(1))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "authority", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// `revision` is that which was read; it is raised on the way out. `act`: who did that, for the audit chain.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where the deployment is not as it was read.
    pub async fn save_deployment(&self, deployment: &Deployment, act: Option<&Act>) -> Result<(), LedgerError> {
        let record = Deployment { revision: deployment.revision + 1, ..deployment.clone() };
        let condition = Condition::as_read(deployment.revision, "pk");
        let saved = put(self.jobs()?, "deployment", &record, meta_key(deployment.id, DEPLOYMENT), Some(condition))?;
        let key = running_key(deployment.id);
        let entry = if deployment.is_running() {
            put(self.jobs()?, "deployment", &NoAttributes {}, key, None)?
        } else {
            let delete = Delete::builder()
                .table_name(self.jobs()?)
                .set_key(Some(key))
                .build()
                .map_err(|source| LedgerError::Unwritable { what: "deployment", source: Box::new(source) })?;
            TransactWriteItem::builder().delete(delete).build()
        };
        let links = match act {
            Some(act) => self.link(act).await?,
            None => Links::default(),
        };
        self.transact([saved, entry].into_iter().chain(links.writes()).collect()).await?;
        links.tell();
        Ok(())
    }
}

/// What a new deployment is to its job and to its certificate.
fn acts(deployment: &Deployment, is_new: bool, by: &Actor) -> (Act, Act) {
    let Deployment { id, certificate, created, .. } = deployment;
    let devices = deployment.devices.len();
    let action = match (deployment.work, is_new) {
        (Work::Issue, true) => Action::Issue,
        (Work::Issue, false) => Action::Renew,
        _ => Action::Deploy,
    };
    let job = Act::new(Subject::Job(*id), Action::Create, by, *created).with("certificate", certificate);
    let act = Act::new(Subject::Certificate(*certificate), action, by, *created).with("job", id);
    (job.with("devices", devices), act.with("devices", devices))
}

const fn begins(work: Work) -> &'static str {
    match work {
        Work::Issue => "The device is to make a key, and a request for a certificate.",
        Work::Install | Work::Trust | Work::Root => "The device is to be given the certificate.",
    }
}
