//! Deployments: jobs that install a certificate on devices.
//!
//! A running deployment also has an entry in the `running` list, for the conductor's schedule. The entry changes in one
//! transaction with the job, and says since when the job has been waiting, so the schedule reads only deployments that
//! need work.

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use rootcast_core::audit::{Act, Action, Actor, Head, Subject};
use rootcast_core::deployment::lifecycle::{Lifecycle, Work};
use rootcast_core::deployment::{Deployment, MOST_DEPLOYED};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::{Continued, Job, JobId, JobState};
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::audit::Links;
use crate::commit::{Condition, NoAttributes, TRANSACTION, put};
use crate::item::{Item, from_item, job_key, number, text};
use crate::jobs::{DEPLOYMENT, list_key, meta_key};
use crate::{DeviceRecord, Ledger, LedgerError, PendingCertificate, UseRecord};

/// The job and its entries in two lists; the certificate, and its name if it is new; two writes per device; and two for
/// each of two audit chains.
const _: () = assert!(3 + 2 + 2 * MOST_DEPLOYED + 4 < TRANSACTION);

const RUNNING: &str = "running";
const QUIET_SINCE: &str = "quietSince";

/// One page of running deployments.
#[derive(Debug, PartialEq, Eq)]
pub struct RunningPage {
    /// Deployments of the page that need a look, oldest first.
    pub quiet: Vec<JobId>,
    /// Where the next page starts; `None`: this was the last one.
    pub next: Option<JobId>,
}

/// A running deployment's list entry.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// Since when the deployment has only been waiting. `None`: there is something to do now.
    #[serde(with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    quiet_since: Option<OffsetDateTime>,
}

impl Entry {
    fn of(deployment: &Deployment) -> Self {
        let waits = deployment.sent && deployment.reopen.is_nothing();
        Self { quiet_since: waits.then_some(deployment.progress_at) }
    }
}

/// The last running deployment that the schedule has looked at; `None`: start over.
#[derive(Default, Serialize, Deserialize)]
struct SchedulePlace {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<JobId>,
}

fn place_key() -> Item {
    job_key("schedule", RUNNING)
}

/// A device that is to get the certificate, as it was read.
#[derive(Debug, Clone)]
pub struct NewUse {
    pub device: DeviceRecord,
    /// Its existing use of the same certificate, which the new one replaces.
    pub earlier: Option<UseRecord>,
    /// A request that was brought from the device, in PEM: it makes none itself.
    pub request: Option<String>,
}

fn running_key(job: JobId) -> Item {
    job_key(RUNNING, format!("{:012}", job.0))
}

impl Ledger {
    /// Reads at most `limit` running deployments after `after`. Returns those that have been waiting since `before` or
    /// earlier, and those with something to do. One call.
    pub async fn quiet_deployments(
        &self,
        before: OffsetDateTime,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<RunningPage, LedgerError> {
        let answer = self
            .client
            .query()
            .table_name(self.jobs()?)
            .key_condition_expression("pk = :running")
            .filter_expression(format!("attribute_not_exists({QUIET_SINCE}) OR {QUIET_SINCE} <= :before"))
            .expression_attribute_values(":running", text(RUNNING))
            .expression_attribute_values(":before", number(before.unix_timestamp()))
            .set_exclusive_start_key(after.map(running_key))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::aws("Query running deployments"))?;
        let id = |item: &Item| item.get("sk")?.as_s().ok()?.parse().ok();
        let quiet = answer.items.unwrap_or_default().iter().filter_map(id).collect();
        Ok(RunningPage { quiet, next: answer.last_evaluated_key.as_ref().and_then(id) })
    }

    /// Where the schedule continues.
    pub async fn schedule_place(&self) -> Result<Option<JobId>, LedgerError> {
        let get = self.client.get_item().table_name(self.jobs()?).set_key(Some(place_key())).consistent_read(true);
        let answer = get.send().await.map_err(LedgerError::aws("GetItem schedule"))?;
        let place: Option<SchedulePlace> = answer.item.map(|item| from_item("schedule", item)).transpose()?;
        Ok(place.unwrap_or_default().after)
    }

    /// # Errors
    /// [`LedgerError::Conflict`] if the position has changed since it was read.
    pub async fn move_schedule(&self, read: Option<JobId>, to: Option<JobId>) -> Result<(), LedgerError> {
        let condition = match read {
            None => Condition { expression: "attribute_not_exists(#after)".to_owned(), names: None, values: None },
            Some(read) => Condition {
                expression: "#after = :read".to_owned(),
                names: None,
                values: Some([(":read".to_owned(), number(read))].into()),
            },
        };
        let condition = Condition { names: Some([("#after".to_owned(), "after".to_owned())].into()), ..condition };
        self.transact(vec![put(self.jobs()?, "schedule", &SchedulePlace { after: to }, place_key(), Some(condition))?])
            .await
    }

    /// Stores a new deployment in one transaction with a use for each device. `place`: of a certificate that has no
    /// record yet. `by`: for the audit chains of both.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if a device was changed or the certificate was deleted since they were read, or the
    /// job id is taken; then nothing is written.
    pub async fn deploy(
        &self,
        deployment: &Deployment,
        uses: &[NewUse],
        place: Option<&PendingCertificate>,
        by: &Actor,
    ) -> Result<(), LedgerError> {
        let certificate = deployment.certificate;
        let fresh = uses.iter().filter(|binding| binding.earlier.is_none()).count();
        let mut writes = self.new_deployment(deployment)?;
        match place {
            Some(place) => {
                let record = PendingCertificate { revision: 1, uses: fresh as u64, ..place.clone() };
                let condition = Condition::absent("id");
                writes.push(put(self.certificates()?, "certificate's place", &record, Item::new(), Some(condition))?);
                writes.push(self.claim_name(place.id, &place.folder, &place.name)?);
            }
            None => writes.push(self.count_uses(certificate, i64::try_from(fresh).unwrap_or(i64::MAX))?),
        }
        for new in uses {
            writes.extend(self.begin_use(deployment, new)?);
        }
        let action = match (deployment.work, place) {
            (Work::Issue, Some(_)) => Action::Issue,
            (Work::Issue, None) => Action::Renew,
            _ => Action::Deploy,
        };
        let of_job = of_job(deployment, uses, by);
        let of_certificate = of_certificate(deployment, certificate, action, uses, by);
        let read = match of_certificate.first() {
            Some(act) if place.is_none() => self.audit_head(&act.subject).await?,
            _ => Head::NONE,
        };
        let links = self.link_to(&of_job, Head::NONE)?.and(self.link_to(&of_certificate, read)?);
        writes.extend(links.writes());
        self.transact(writes).await?;
        links.tell();
        self.written_after(deployment, 0, &of_job);
        Ok(())
    }

    /// The job's own records.
    pub(crate) fn new_deployment(&self, deployment: &Deployment) -> Result<Vec<TransactWriteItem>, LedgerError> {
        let id = deployment.id;
        Ok(vec![
            put(self.jobs()?, "deployment", deployment, meta_key(id, DEPLOYMENT), Some(Condition::absent("pk")))?,
            put(self.jobs()?, "deployment", &NoAttributes {}, list_key(id), None)?,
            put(self.jobs()?, "deployment", &Entry::of(deployment), running_key(id), None)?,
        ])
    }

    /// A device's use by the job, and the device as it was read.
    pub(crate) fn begin_use(
        &self,
        deployment: &Deployment,
        NewUse { device, earlier, request }: &NewUse,
    ) -> Result<[TransactWriteItem; 2], LedgerError> {
        let certificate = deployment.certificate_of(&device.id);
        let fresh =
            || UseRecord::new(certificate, device.id.clone(), Lifecycle::idle(deployment.work, ""), deployment.created);
        let record = earlier.clone().unwrap_or_else(fresh).begin(deployment, device.version(), begins(deployment.work));
        let record = match request {
            Some(request) => record.requested(request.clone(), &device.address).map_err(|_| LedgerError::Conflict)?,
            None => record,
        };
        let mut bound = device.clone();
        if earlier.is_none() {
            bound.bindings.push(certificate);
        }
        Ok([self.put_use(&record)?, self.replace_bindings(&bound)?])
    }

    /// Saves the deployment and increments its revision. `act`: for the audit chain.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the deployment has changed since it was read.
    pub async fn save_deployment(&self, deployment: &Deployment, act: Option<&Act>) -> Result<(), LedgerError> {
        let record = Deployment { revision: deployment.revision + 1, ..deployment.clone() };
        let condition = Condition::as_read(deployment.revision, "pk");
        let saved = put(self.jobs()?, "deployment", &record, meta_key(deployment.id, DEPLOYMENT), Some(condition))?;
        let key = running_key(deployment.id);
        let entry = if deployment.is_running() {
            put(self.jobs()?, "deployment", &Entry::of(&record), key, None)?
        } else {
            self.unlist(deployment.id)?
        };
        let links = match act {
            Some(act) => self.link(std::slice::from_ref(act)).await?,
            None => Links::default(),
        };
        self.transact([saved, entry].into_iter().chain(links.writes()).collect()).await?;
        links.tell();
        self.written(deployment, act.map(std::slice::from_ref).unwrap_or_default());
        Ok(())
    }

    /// The schedule finds a rollover that was continued as it finds deployments: until it is the one that runs, the
    /// authority's record does not name it.
    pub(crate) fn list_continued(&self, job: &Job) -> Result<TransactWriteItem, LedgerError> {
        match job.continued {
            Some(Continued::Asked) if job.state == JobState::Running => {
                put(self.jobs()?, "job", &Entry { quiet_since: None }, running_key(job.id), None)
            }
            _ => self.unlist(job.id),
        }
    }

    fn unlist(&self, job: JobId) -> Result<TransactWriteItem, LedgerError> {
        let delete = Delete::builder()
            .table_name(self.jobs()?)
            .set_key(Some(running_key(job)))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "running job", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}

/// The audit entries of a new deployment, for its job and a certificate: they name where a private key is sent.
pub(crate) fn of_job(deployment: &Deployment, uses: &[NewUse], by: &Actor) -> Vec<Act> {
    let Deployment { id, certificate, created, .. } = deployment;
    let act = Act::new(Subject::Job(*id), Action::Create, by, *created);
    let act = match deployment.certificates.len() {
        0 => act.with("certificate", certificate),
        certificates => act.with("certificates", certificates),
    };
    naming(act, deployment.work, uses)
}

pub(crate) fn of_certificate(
    deployment: &Deployment,
    certificate: CertificateId,
    action: Action,
    uses: &[NewUse],
    by: &Actor,
) -> Vec<Act> {
    let act = Act::new(Subject::Certificate(certificate), action, by, deployment.created).with("job", deployment.id);
    naming(act, deployment.work, uses)
}

fn naming(act: Act, work: Work, uses: &[NewUse]) -> Vec<Act> {
    let names = uses.iter().map(|NewUse { device, .. }| match work {
        Work::Install => format!("{}={}", device.id, device.address),
        Work::Issue | Work::Trust | Work::Root | Work::Check => device.id.to_string(),
    });
    let requests = uses.iter().filter_map(|new| new.request.as_ref());
    let act = requests.fold(act, |act, request| act.with("request", Fingerprint::of(request.as_bytes())));
    act.with("devices", uses.len()).naming("names", names)
}

pub(crate) const fn begins(work: Work) -> &'static str {
    match work {
        Work::Issue => "The device is to make a key, and a request for a certificate.",
        Work::Install | Work::Trust | Work::Root | Work::Check => "The device is to be given the certificate.",
    }
}
