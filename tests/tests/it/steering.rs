//! Jobs that stop: by their error budget, by an operator's pause, by an abort.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_kms::types::KeyState;
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{JobId, JobOutcome, JobState, Pass, Phase, Tally};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_local::Device;
use rootcast_pki::bundle::verify_jws;
use serde_json::json;

use crate::rollover::signing;
use crate::stack::{LIMIT, Stack, anchors_of, in_order, until};

#[tokio::test]
async fn a_failed_canary_pauses_before_others_are_touched() {
    Stack::run(10, async |stack| {
        stack.found().await;
        let old = signing(stack).await;
        stack.enrol_fleet().await;
        let (canaries, others) = split(stack, stack.next_job().await, 4);
        stack.local.fleet.stop(&canaries[2].id).await.unwrap();
        let logs = logs(stack, &others);

        let id = stack.put_root("?canary=4").await;
        let job = stack.paused(id).await;
        assert!(job.reason.contains("1 of 4 devices failed, more than the error budget of 5 %"), "{}", job.reason);
        assert!(job.reason.contains("then resume; or abort"), "{}", job.reason);
        let tally = Tally { dispatched: 4, acked: 3, failed: 1, ..Tally::default() };
        assert_eq!(stack.tally(id, Pass::Distribute).await, tally);
        stack.assert_counters_equal_task_states(id).await;
        assert_untouched(stack, id, &others, &logs).await;
        assert_eq!(signing(stack).await, old);
        let shown = stack.api.get(&format!("/jobs/{id}")).await.response();
        assert_eq!((&shown["devices"]["total"], shown["waves"].as_array().unwrap().len()), (&json!(null), 1));
    })
    .await;
}

#[tokio::test]
async fn a_paused_job_starts_no_device_until_resumed() {
    Stack::run(8, async |stack| {
        stack.found().await;
        stack.enrol_fleet().await;
        let (canaries, others) = split(stack, stack.next_job().await, 3);
        let [slow, down, well] = &canaries[..] else { panic!("three canaries") };
        stack.local.fleet.hang(&slow.id).await.unwrap();
        stack.local.fleet.stop(&down.id).await.unwrap();
        let logs = logs(stack, &others);

        let id = stack.put_root("?canary=3").await;
        let begun = async || {
            for device in [slow, down, well] {
                let record = stack.ledger.device(&device.id.parse().unwrap()).await.unwrap().unwrap();
                if record.goal == 0 {
                    return None;
                }
            }
            Some(())
        };
        until("a worker has begun with each canary", LIMIT, begun).await;
        let paused = stack.api.post(&format!("/jobs/{id}/pause"), json!({})).await.response();
        assert_eq!(paused["state"], "paused");
        stack.api.post(&format!("/jobs/{id}/pause"), json!({})).await.refused(409);
        stack.local.fleet.resume(&slow.id).await.unwrap();
        stack.local.fleet.run(&down.id).await.unwrap();

        // Attempts under way finish; retries that were waiting, and the conductor's next wave, are dropped.
        stack.emptied("TaskQueueUrl").await;
        stack.emptied("ControlQueueUrl").await;
        let job = stack.job(id).await;
        assert_eq!((job.state, job.phase), (JobState::Paused, Phase::Distribute));
        let tasks = stack.tasks(id, Pass::Distribute).await;
        assert_eq!(tasks.keys().collect::<BTreeSet<_>>(), BTreeSet::from([&slow.id, &well.id]));
        assert!(tasks.values().all(|task| task.state == TaskState::Acked), "{tasks:?}");
        stack.assert_counters_equal_task_states(id).await;
        assert_untouched(stack, id, &others, &logs).await;

        stack.api.post(&format!("/jobs/{id}/resume"), json!({})).await.response();
        stack.api.post(&format!("/jobs/{id}/resume"), json!({})).await.refused(409);
        assert_eq!(stack.ended(id).await.outcome, Some(JobOutcome::Activated));
        assert_eq!(stack.tally(id, Pass::Distribute).await.acked, 8);
        stack.assert_counters_equal_task_states(id).await;
        stack.api.post(&format!("/jobs/{id}/abort"), json!({})).await.refused(409);
    })
    .await;
}

#[tokio::test]
async fn an_abort_visits_only_devices_with_the_new_root() {
    Stack::run(8, async |stack| {
        stack.found().await;
        let old = signing(stack).await;
        stack.enrol_fleet().await;
        let (canaries, others) = split(stack, stack.next_job().await, 3);
        let logs = logs(stack, &others);
        let id = stack.put_root("?canary=3&wavePause=3600").await;
        let closed = |wave: &rootcast_core::job::Wave| wave.closed.is_some();
        stack.job_when(id, "the canaries are done", |job| job.wave.as_ref().is_some_and(closed)).await;
        let abandoned = stack.ledger.root(2).await.unwrap().unwrap();
        let new = abandoned.certificate.unwrap();
        for canary in &canaries {
            assert_eq!(anchors_of(canary).await, BTreeSet::from([old.der().to_vec(), new.der().to_vec()]));
        }
        let busy = stack.api.put("/signingCertificate").await;
        busy.refused(409);
        assert!(busy.text.contains(&format!("\"jobPath\":\"{}\"", id.path())), "{}", busy.text);
        assert_eq!(busy.headers["location"], id.path());

        let cancel = json!({ "action": "cancel", "list": [id.to_string()] });
        stack.api.send(reqwest::Method::PUT, "/tasks", Some(cancel)).await.json();
        let job = stack.ended(id).await;
        assert_eq!(job.outcome, Some(JobOutcome::Aborted), "{}", job.reason);
        for canary in &canaries {
            assert_eq!(anchors_of(canary).await, BTreeSet::from([old.der().to_vec()]));
        }
        let withdrawn = stack.tasks(id, Pass::Withdraw).await;
        let visited: BTreeSet<&str> = withdrawn.keys().map(String::as_str).collect();
        assert_eq!(visited, canaries.iter().map(|device| device.id.as_str()).collect());
        assert_untouched(stack, id, &others, &logs).await;
        stack.assert_counters_equal_task_states(id).await;

        assert_eq!(signing(stack).await, old);
        let published = stack.api.get("/bundle").await;
        let bundle = verify_jws(published.raw(), std::slice::from_ref(&old)).unwrap();
        assert_eq!((bundle.anchors, bundle.withdrawn), (vec![old.clone()], vec![new.fingerprint()]));
        assert_eq!(stack.ledger.root(2).await.unwrap().unwrap().state, GenerationState::Abandoned);
        let key = abandoned.key.unwrap();
        let described =
            aws_sdk_kms::Client::new(&stack.local.sdk_config).describe_key().key_id(key).send().await.unwrap();
        assert_eq!(described.key_metadata.unwrap().key_state, Some(KeyState::PendingDeletion));

        let next = stack.put_root("").await;
        let job = stack.ended(next).await;
        assert_eq!((job.generation, job.outcome), (3, Some(JobOutcome::Activated)), "{}", job.reason);
        let third = signing(stack).await;
        for device in stack.devices() {
            assert_eq!(anchors_of(device).await, BTreeSet::from([old.der().to_vec(), third.der().to_vec()]));
        }
        stack.assert_counters_equal_task_states(next).await;
    })
    .await;
}

/// The first `canaries` devices in the order in which the job takes them, and the others.
fn split(stack: &Stack, job: JobId, canaries: usize) -> (Vec<Device>, Vec<Device>) {
    let mut devices: Vec<Device> = stack.devices().cloned().collect();
    let order = in_order(job, devices.iter().map(|device| device.id.clone()).collect());
    devices.sort_by_key(|device| order.iter().position(|id| *id == device.id));
    let others = devices.split_off(canaries);
    (devices, others)
}

/// Every request to a device is a line in its log.
fn logs(stack: &Stack, devices: &[Device]) -> BTreeMap<String, String> {
    devices.iter().map(|device| (device.id.clone(), stack.device_log(device))).collect()
}

/// These devices got no request, no worker leased them, and the job has no record of them.
async fn assert_untouched(stack: &Stack, id: JobId, devices: &[Device], before: &BTreeMap<String, String>) {
    assert_eq!(&logs(stack, devices), before);
    let tasks = stack.tasks(id, Pass::Distribute).await;
    for device in devices {
        let record = stack.ledger.device(&device.id.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((record.goal, record.held, record.lease), (0, None, None), "{}", device.id);
        assert!(!tasks.contains_key(&device.id));
    }
}
