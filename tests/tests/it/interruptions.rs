//! Functions that die in the middle, and a message that never comes.

use std::time::Duration;

use rootcast_core::job::{Job, JobId, JobOutcome, JobState, Leg, Phase};
use rootcast_core::message::Control;
use rootcast_core::task::TaskState;
use serde_json::{Value, json};

use crate::rollover::signing;
use crate::stack::{LIMIT, Stack, anchors_of, until};

#[tokio::test]
async fn a_worker_that_dies_at_a_device_is_replaced_by_another() {
    Stack::run(12, async |stack| {
        stack.found().await;
        stack.enrol_fleet().await;
        stack.local.fleet.hang("bmc-0007").await.unwrap();
        let id = stack.put_root("?canary=12").await;
        let hanging = "bmc-0007".parse().unwrap();
        let at_work = async || stack.ledger.device(&hanging).await.unwrap().unwrap().lease.map(|_| ());
        until("a worker is at the device", LIMIT, at_work).await;
        assert!(stack.crash("WorkerFunction").await > 0);
        stack.local.fleet.resume("bmc-0007").await.unwrap();
        assert_came_to_the_same_end(stack, id, 12).await;
    })
    .await;
}

/// At fifteen places of its work, the last of them with devices at work.
#[tokio::test]
async fn a_conductor_that_dies_again_and_again_comes_to_the_same_end() {
    Stack::run(10, async |stack| {
        stack.found().await;
        stack.enrol_fleet().await;
        let id = stack.put_root("?canary=2&growth=2").await;
        let mut deaths = 0;
        for step in 0..15 {
            wake(stack, id).await;
            tokio::time::sleep(Duration::from_millis(12 * step)).await;
            deaths += stack.crash("ConductFunction").await;
        }
        assert!(deaths > 0);
        wake(stack, id).await;
        assert_came_to_the_same_end(stack, id, 10).await;
    })
    .await;
}

#[tokio::test]
async fn a_lost_control_message_costs_a_minute_and_nothing_else() {
    Stack::run(5, async |stack| {
        stack.found().await;
        stack.enrol_fleet().await;
        deliver_control_messages(stack, false).await;
        let id = stack.put_root("").await;
        let sqs = aws_sdk_sqs::Client::new(&stack.local.sdk_config);
        sqs.purge_queue()
            .queue_url(stack.local.outputs.of("ControlQueueUrl").unwrap())
            .send()
            .await
            .unwrap();
        deliver_control_messages(stack, true).await;
        let job = stack.job(id).await;
        assert_eq!((job.phase, job.state), (Phase::Publish, JobState::Running));
        assert_came_to_the_same_end(stack, id, 5).await;
    })
    .await;
}

/// As if nothing had happened.
async fn assert_came_to_the_same_end(stack: &Stack, id: JobId, devices: usize) {
    let job: Job = stack.ended(id).await;
    assert_eq!(job.outcome, Some(JobOutcome::Activated), "{}", job.reason);
    stack.assert_counters_equal_task_states(id).await;
    let tasks = stack.tasks(id, Leg::Distribute).await;
    assert_eq!(tasks.len(), devices);
    assert!(tasks.values().all(|task| task.state == TaskState::Acked), "{tasks:?}");
    let new = signing(stack).await;
    for device in stack.devices() {
        assert!(anchors_of(device).await.contains(new.der()), "{}", device.id);
    }
}

async fn wake(stack: &Stack, job: JobId) {
    let body = serde_json::to_string(&Control {
        job,
        why: "a test".to_owned(),
    })
    .unwrap();
    let sqs = aws_sdk_sqs::Client::new(&stack.local.sdk_config);
    let url = stack.local.outputs.of("ControlQueueUrl").unwrap();
    sqs.send_message()
        .queue_url(url)
        .message_body(body)
        .send()
        .await
        .unwrap();
}

/// Starts or stops what hands the control queue's messages to the conductor: Lambda's `UpdateEventSourceMapping`.
async fn deliver_control_messages(stack: &Stack, enabled: bool) {
    let http = reqwest::Client::new();
    let path = format!("{}/2015-03-31/event-source-mappings", stack.local.endpoint_url);
    let function = stack.local.outputs.of("ConductFunction").unwrap();
    let listed: Value = http
        .get(format!("{path}/?FunctionName={function}"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let mappings = listed["EventSourceMappings"].as_array().unwrap();
    assert_eq!(mappings.len(), 1, "{listed}");
    let mapping = format!("{path}/{}", mappings[0]["UUID"].as_str().unwrap());
    let answer = http
        .put(mapping)
        .json(&json!({ "Enabled": enabled }))
        .send()
        .await
        .unwrap();
    answer.error_for_status().unwrap();
}
