#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use std::collections::BTreeSet;

use rootcast_core::deployment::lifecycle::{Lifecycle, Work};
use rootcast_core::deployment::{Deployment, DeploymentOutcome};
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{JobId, Pass};
use serde_json::json;
use time::OffsetDateTime;

use rootcast_pki::signer::SignerId;

use super::*;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn task(attempt: u32) -> Task {
    Task::new(JobId(7), Pass::Install, "bmc-1".parse().unwrap(), attempt)
}

fn certificate() -> CertificateId {
    CertificateId::from_random([1; 16])
}

fn job(work: Work) -> Deployment {
    let devices = BTreeSet::from(["bmc-1".parse().unwrap()]);
    Deployment::new(JobId(7), certificate(), work, devices, "ops".to_owned(), NOW)
}

fn record(state: TaskState, attempt: u32) -> TaskRecord {
    TaskRecord::new("bmc-1".parse().unwrap(), state, attempt, NOW)
}

fn binding(stage: Option<Stage>, attempt: u32, in_error: bool) -> UseRecord {
    let lifecycle = Lifecycle { stage, in_error, attempt, ..Lifecycle::idle(Work::Issue, "") };
    let binding = UseRecord::new(certificate(), "bmc-1".parse().unwrap(), lifecycle, NOW);
    UseRecord { job: Some(JobId(7)), ..binding }
}

#[test]
fn a_batch_is_sorted_and_unreadable_messages_are_named() {
    let message = |id: &str, body: serde_json::Value| json!({ "messageId": id, "receiptHandle": id, "body": body.to_string(), "attributes": { "ApproximateReceiveCount": "3" } });
    let event = json!({ "Records": [
        message("list", json!({ "crl": { "generation": 2, "shard": 63 } })),
        message("task", serde_json::to_value(task(1)).unwrap()),
        message("renewed", json!({ "renewed": certificate() })),
        message("no such list", json!({ "crl": { "generation": 2, "shard": 1088 } })),
        message("control", json!({ "job": 7, "why": "created" })),
    ] });
    let batch = read(serde_json::from_value(event).unwrap());
    assert_eq!(batch.lists[0].body, CrlId::new(SignerId::root(2), 63).unwrap());
    assert_eq!((&batch.tasks[0].body, batch.tasks[0].receives), (&task(1), 3));
    assert_eq!(batch.renewed[0].body, certificate());
    assert_eq!(batch.unreadable, ["no such list", "control"]);
}

#[test]
fn a_task_is_done_only_for_its_own_running_attempt() {
    let running = JobRecord::Deployment(job(Work::Issue));
    let waiting = record(TaskState::Waiting, 2);
    assert_eq!(judge(&task(1), Some(&running), None), Ok(certificate()));
    assert_eq!(judge(&task(2), Some(&running), Some(&waiting)), Ok(certificate()));

    let ended = Deployment { outcome: Some(DeploymentOutcome::Deployed), ..job(Work::Issue) };
    let installs = JobRecord::Deployment(job(Work::Install));
    assert!(judge(&task(1), None, None).is_err());
    assert!(judge(&task(1), Some(&installs), None).is_err());
    assert!(judge(&task(1), Some(&JobRecord::Deployment(ended)), None).is_err());
    assert!(judge(&task(2), Some(&running), None).is_err(), "never opened");
    assert!(judge(&task(1), Some(&running), Some(&waiting)).is_err(), "an older attempt");
    assert!(judge(&task(2), Some(&running), Some(&record(TaskState::Failed, 2))).is_err(), "settled");
    let other = Task { device: "bmc-2".parse().unwrap(), ..task(1) };
    assert!(judge(&other, Some(&running), None).is_err(), "not its device");
}

#[test]
fn a_devices_stage_determines_what_the_issuer_does() {
    use Stage::*;
    for stage in [PostCsr, ApproveRequest, RetrieveCertificate] {
        assert_eq!(stand(&task(1), Some(&binding(Some(stage), 1, false))), IssuanceState::Asked);
        assert!(matches!(stand(&task(1), Some(&binding(Some(stage), 1, true))), IssuanceState::Passed(_)));
        assert!(matches!(stand(&task(1), Some(&binding(Some(stage), 2, false))), IssuanceState::Passed(_)));
    }
    for stage in [InstallCertificate, RestartApplication, CheckConfiguration, EndProcessing] {
        assert_eq!(stand(&task(1), Some(&binding(Some(stage), 1, false))), IssuanceState::Issued);
    }
    assert!(matches!(stand(&task(1), Some(&binding(Some(CreateCsr), 1, false))), IssuanceState::Passed(_)));
    assert!(matches!(stand(&task(1), Some(&binding(None, 1, false))), IssuanceState::Passed(_)));
    assert_eq!(stand(&task(1), None), IssuanceState::Gone);
    let taken = UseRecord { job: Some(JobId(8)), ..binding(Some(PostCsr), 1, false) };
    assert_eq!(stand(&task(1), Some(&taken)), IssuanceState::Gone);
}
