//! Deployments as `/jobs` shows them.

use rootcast_core::deployment::{Deployment, DeploymentOutcome};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::{JobId, JobState, Pass, Tally};
use rootcast_dialects::lenovo::LenovoError;
use rootcast_ledger::{Ledger, TaskKey};
use serde::Serialize;

use crate::fleet::Row;
use crate::jobs::Counts;
use crate::stamp::stamp;

/// A deployment as listed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    kind: &'static str,
    id: JobId,
    job_path: String,
    state: JobState,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<DeploymentOutcome>,
    /// Why the job is in this state, in a sentence.
    reason: String,
    certificate: CertificateId,
    #[serde(rename = "leg")]
    pass: Pass,
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
            pass: Pass::Install,
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
        let counted: Tally = ledger.counters(job.id, Pass::Install).await?.into_iter().sum();
        Ok(Self { summary: job.into(), devices: Counts::of(&job.tally(counted), true) })
    }
}

/// All devices, in the order of their ids: there are few.
pub(crate) async fn rows(ledger: &Ledger, job: &Deployment) -> Result<Vec<Row>, LenovoError> {
    let key = |device: &_| TaskKey { job: job.id, pass: Pass::Install, device: Clone::clone(device) };
    let keys: Vec<TaskKey> = job.devices.iter().map(key).collect();
    let (_, mut tasks) = ledger.jobs_and_tasks([], &keys).await?;
    Ok(keys.into_iter().map(|key| Row { task: tasks.remove(&key), device: key.device }).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::deployment::lifecycle::Work;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn serializes_a_deployment() {
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
