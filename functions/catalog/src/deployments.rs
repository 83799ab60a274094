//! Deployments as `/jobs` shows them.

use rootcast_core::deployment::Deployment;
use rootcast_core::job::{JobId, JobState, Pass, Tally};
use rootcast_dialects::lenovo::LenovoError;
use rootcast_dialects::native::{self, Summary, Used, Work};
use rootcast_ledger::{Ledger, TaskKey};

use crate::app::Parts;
use crate::fleet::Row;
use crate::jobs::counts;
use crate::stamp::stamp;

pub(crate) fn summary(job: &Deployment) -> Summary {
    Summary {
        id: job.id,
        job_path: path(job.id),
        state: if job.is_running() { JobState::Running } else { JobState::Ended },
        reason: job.reason.clone(),
        pass: Pass::Install,
        created: stamp(job.created),
        updated: stamp(job.updated),
        work: Work::Deployment(native::Deployment {
            outcome: job.outcome,
            certificate: job.certificate,
            certificates: job.certificates.clone(),
            requested_by: job.requested_by.clone(),
        }),
    }
}

pub(crate) fn path(job: JobId) -> String {
    format!("/jobs/{job}")
}

pub(crate) async fn view(parts: &Parts, job: &Deployment) -> Result<native::Job, LenovoError> {
    let ledger = &parts.ledger;
    let counted = ledger.counters(job.id, Pass::Install, job.counted_together).await?.tally;
    let used = ledger.used_by_devices(job.id, &[Pass::Install], job.counted_together).await?;
    Ok(native::Job { used: Used::of(&used, &parts.prices), ..viewed(job, counted) })
}

fn viewed(job: &Deployment, counted: Tally) -> native::Job {
    let devices = counts(&job.tally(counted), true);
    native::Job {
        summary: summary(job),
        devices,
        used: None,
        proofs: None,
        report: None,
        preflight: None,
        left: Vec::new(),
        in_use: None,
        waves: None,
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
    use rootcast_core::deployment::{DeploymentOutcome, lifecycle};
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
            lifecycle::Work::Install,
            devices,
            "ops".to_owned(),
            datetime!(2026-01-02 03:04:05 UTC),
        );
        job.end(DeploymentOutcome::DeployedWithFailures, "1 of 2 devices show the certificate, 1 failed.");
        let view = viewed(&job, Tally { acked: 1, failed: 1, ..Tally::default() });
        let shown = serde_json::to_value(&view).unwrap();
        assert_eq!(serde_json::from_value::<native::Job>(shown.clone()).unwrap(), view);
        assert_eq!(
            shown,
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
