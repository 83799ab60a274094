//! Deployments as `/jobs` shows them, and what may be asked of one.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::deployment::{Deployment, DeploymentOutcome};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::{JobId, JobState, Leg, Selection, Tally};
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message};
use rootcast_ledger::{JobRecord, Ledger, LedgerError, TaskKey};
use serde::Serialize;
use tracing::info;

use crate::app::Parts;
use crate::fleet::Row;
use crate::jobs::{Counts, JobView, load_any};
use crate::stamp::stamp;
use crate::steer::wake;

/// The conductor writes the same record; whoever loses a race decides again on what is there now.
const ATTEMPTS: u32 = 10;

/// What the list has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    kind: &'static str,
    id: JobId,
    job_path: String,
    state: JobState,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<DeploymentOutcome>,
    /// Why the job is where it is, in a sentence.
    reason: String,
    certificate: CertificateId,
    leg: Leg,
    requested_by: String,
    created: String,
    updated: String,
}

impl From<&Deployment> for Summary {
    fn from(job: &Deployment) -> Self {
        Self {
            kind: "deployment",
            id: job.id,
            job_path: path(job.id),
            state: if job.is_running() { JobState::Running } else { JobState::Ended },
            outcome: job.outcome,
            reason: job.reason.clone(),
            certificate: job.certificate,
            leg: Leg::Install,
            requested_by: job.requested_by.clone(),
            created: stamp(job.created),
            updated: stamp(job.updated),
        }
    }
}

pub(crate) fn path(job: JobId) -> String {
    format!("/jobs/{job}")
}

#[derive(Debug, Serialize)]
pub(crate) struct DeploymentView {
    #[serde(flatten)]
    summary: Summary,
    devices: Counts,
}

impl DeploymentView {
    pub(crate) async fn load(ledger: &Ledger, job: &Deployment) -> Result<Self, LenovoError> {
        let counted: Tally = ledger.counters(job.id, Leg::Install).await?.into_iter().sum();
        Ok(Self { summary: job.into(), devices: Counts::of(&job.tally(counted), true) })
    }
}

/// All devices, in the order of their ids: there are few.
pub(crate) async fn rows(ledger: &Ledger, job: &Deployment) -> Result<Vec<Row>, LenovoError> {
    let key = |device: &_| TaskKey { job: job.id, leg: Leg::Install, device: Clone::clone(device) };
    let keys: Vec<TaskKey> = job.devices.iter().map(key).collect();
    let (_, mut tasks) = ledger.jobs_and_tasks([], &keys).await?;
    Ok(keys.into_iter().map(|key| Row { task: tasks.remove(&key), device: key.device }).collect())
}

/// What is left of a job's commands: a deployment has no wave to stop before, and nothing to take back.
pub(crate) fn not_steered(job: JobId) -> LenovoError {
    LenovoError::conflict(
        format!(
            "Job {job} brings a certificate to devices: it is neither paused nor aborted, and no device of it is waived."
        ),
        format!("It ends by itself. Where devices failed, POST /jobs/{job}/resume tries them again afterwards."),
    )
}

/// What failed of a deployment is tried again, whether it has ended or not.
pub(crate) async fn resume(parts: &Parts, by: &Actor, id: JobId) -> Result<Envelope<JobView>, LenovoError> {
    for _ in 0..ATTEMPTS {
        let JobRecord::Deployment(job) = load_any(&parts.ledger, id).await? else { return Err(not_steered(id)) };
        let now = (parts.clock)();
        let job = job.retry(Selection::everything(now), now).map_err(|why| {
            LenovoError::conflict(
                format!("Job {id} cannot be resumed: {why}."),
                format!("GET /jobs/{id} shows where it is and why."),
            )
        })?;
        let act = Act::new(Subject::Job(id), Action::Resume, by, now);
        match parts.ledger.save_deployment(&job, Some(&act)).await {
            Err(LedgerError::Conflict) => {}
            written => {
                written?;
                info!(caller = by.principal, job.id = %id, "deployment resumed");
                wake(parts, id, "resume").await;
                let shown = JobView::Deployment(Box::new(DeploymentView::load(&parts.ledger, &job).await?));
                let message = Message::done(format!("Job {id} is resumed."), "What failed is tried again.");
                return Ok(Envelope::success(shown).saying(message));
            }
        }
    }
    Err(LenovoError::conflict(format!("Job {id} is changing all the time."), "Send the request again in a moment."))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::deployment::lifecycle::Work;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_deployment_in_json() {
        let devices = ["bmc-1", "bmc-2"].map(|id| id.parse().unwrap()).into();
        let certificate = "scs1600313391074".parse().unwrap();
        let mut job = Deployment::new(
            JobId(12),
            certificate,
            Work::Install,
            devices,
            "ops".to_owned(),
            datetime!(2026-01-02 03:04:05 UTC),
        );
        job.end(DeploymentOutcome::DeployedWithFailures, "1 of 2 devices show the certificate, 1 failed.");
        let tally = job.tally(Tally { acked: 1, failed: 1, ..Tally::default() });
        let shown = DeploymentView { summary: (&job).into(), devices: Counts::of(&tally, true) };
        assert_eq!(
            serde_json::to_value(shown).unwrap(),
            json!({
                "kind": "deployment", "id": 12, "jobPath": "/jobs/12", "state": "ended",
                "outcome": "deployedWithFailures", "reason": "1 of 2 devices show the certificate, 1 failed.",
                "certificate": "scs1600313391074", "leg": "install", "requestedBy": "ops",
                "devices": { "total": 2, "dispatched": 2, "acked": 1, "failed": 1, "skipped": 0, "waived": 0, "waiting": 0 },
                "created": "2026-01-02T03:04:05Z", "updated": "2026-01-02T03:04:05Z",
            })
        );
    }
}
