//! Functions that die during their work, and lost messages.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use rootcast_core::job::message::Control;
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{Job, JobId, JobOutcome, JobState, Pass, Phase};
use rootcast_ledger::Lease;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::fake::{Fake, MONITOR, Model, PASSWORD, USER};
use crate::rollover::signing;
use crate::stack::{LIMIT, Stack, anchors_of, fake_enrolment, until};

#[tokio::test]
async fn a_worker_that_dies_at_a_device_is_replaced() {
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

/// Kills the conductor when it holds the job, until one was killed during its work. The job then stands still until
/// the dead conductor's lease expires.
#[tokio::test]
async fn a_conductor_that_dies_is_replaced() {
    Stack::run(10, async |stack| {
        stack.found().await;
        stack.enrol_fleet().await;
        deliver(stack, "ConductFunction", false).await;
        let id = stack.put_root("?canary=1&growth=1").await;
        deliver(stack, "ConductFunction", true).await;
        let died = async || {
            wake(stack, id).await;
            let held = async { while conductor(stack, id).await.is_none() {} };
            let _ = tokio::time::timeout(Duration::from_secs(1), held).await;
            stack.crash("ConductFunction").await;
            // The local cloud pauses a function for a second after a failure.
            tokio::time::sleep(Duration::from_millis(1100)).await;
            let cloud = std::fs::read_to_string(stack.local.data.join("cloud.log")).unwrap();
            cloud.contains("conduct failed processing SQS batch").then_some(())
        };
        until("a conductor dies at its work", LIMIT, died).await;
        wake(stack, id).await;
        assert_came_to_the_same_end(stack, id, 10).await;
    })
    .await;
}

/// The owner of the job's lease.
async fn conductor(stack: &Stack, id: JobId) -> Option<AttributeValue> {
    let database = aws_sdk_dynamodb::Client::new(&stack.local.sdk_config);
    let get = database.get_item().table_name(stack.local.outputs.of("JobsTable").unwrap()).consistent_read(true);
    let key = |text: &str| AttributeValue::S(text.to_owned());
    let found = get.key("pk", key(&id.to_string())).key("sk", key("conductor")).send().await.unwrap();
    found.item?.remove("owner")
}

#[tokio::test]
async fn a_lost_control_message_only_costs_a_minute() {
    Stack::run(5, async |stack| {
        stack.found().await;
        stack.enrol_fleet().await;
        deliver(stack, "ConductFunction", false).await;
        let id = stack.put_root("").await;
        purge(stack, "ControlQueueUrl").await;
        deliver(stack, "ConductFunction", true).await;
        let job = stack.job(id).await;
        assert_eq!((job.phase, job.state), (Phase::Publish, JobState::Running));
        assert_came_to_the_same_end(stack, id, 5).await;
    })
    .await;
}

/// No worker ever received the tasks: the wave stands still for StallSeconds, then the tasks of its open devices are
/// sent again.
#[tokio::test]
async fn lost_tasks_are_sent_again_when_the_wave_stands_still() {
    Stack::run_with(5, &[("StallSeconds", "10")], async |stack| {
        stack.found().await;
        stack.enrol_fleet().await;
        deliver(stack, "WorkerFunction", false).await;
        let id = stack.put_root("").await;
        let sent = |job: &Job| job.sending.is_none() && job.wave.as_ref().is_some_and(|wave| wave.dispatched == 5);
        stack.job_when(id, "all tasks are sent", sent).await;
        stack.emptied("ControlQueueUrl").await;
        purge(stack, "TaskQueueUrl").await;
        deliver(stack, "WorkerFunction", true).await;
        let ended = async || {
            wake(stack, id).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            (stack.job(id).await.state != JobState::Running).then_some(())
        };
        until("the job is over", LIMIT, ended).await;
        assert_came_to_the_same_end(stack, id, 5).await;
        let log = stack.log("ConductFunction").await;
        assert!(log.contains("No result from 5 devices for 10s: their tasks are sent again."));
    })
    .await;
}

/// Always two at a time, so that each conflicts with the other's writes.
#[tokio::test]
async fn concurrent_conductors_do_each_step_once() {
    Stack::run(6, async |stack| {
        stack.enrol_fleet().await;
        for _ in 0..3 {
            let id = stack.put_root("?canary=1&growth=1").await;
            let ended = async || {
                wake(stack, id).await;
                (stack.job(id).await.state != JobState::Running).then_some(())
            };
            until("the job is over", LIMIT, ended).await;
            assert_came_to_the_same_end(stack, id, 6).await;
            let waves = stack.ledger.waves(id).await.unwrap();
            assert_eq!(
                waves.iter().map(|wave| (wave.number, wave.acked)).collect::<Vec<_>>(),
                (1..=6).map(|number| (number, 1)).collect::<Vec<_>>()
            );
        }
        let first = stack.ledger.root(1).await.unwrap().unwrap();
        assert!(first.new_with_old.is_none() && first.old_with_new.is_none());
        let log = stack.log("ConductFunction").await;
        let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert!(errors.is_empty(), "{errors:?}");
    })
    .await;
}

/// The device answers 202 and continues for longer than a worker waits. The task waits in the queue meanwhile, and is
/// delivered again without using up an attempt or a receive.
#[tokio::test]
async fn a_busy_device_is_queried_again_by_message() {
    Stack::run_with(0, &[("MaxTries", "1")], async |stack| {
        stack.found().await;
        let fake = Fake::start(Model::OpenBmc).await;
        fake.work_on(3, "7");
        stack.store_credential("slow", USER, PASSWORD).await;
        stack.enrol(vec![fake_enrolment("slow", &fake)]).await;
        let id = stack.put_root("").await;
        let job = stack.ended(id).await;
        assert_eq!(job.outcome, Some(JobOutcome::Activated), "{}", job.reason);
        let task = &stack.tasks(id, Pass::Distribute).await["slow"];
        assert_eq!((task.state, task.attempt), (TaskState::Acked, 1));
        assert!(fake.held().contains(&signing(stack).await.fingerprint()));
        let requests = fake.requests();
        assert!(requests.iter().filter(|request| request.is("GET", MONITOR)).count() >= 3);
        let logins = requests.iter().filter(|request| request.is("POST", "/SessionService/Sessions"));
        assert!(logins.count() >= 2, "one visit did all of it: {requests:?}");
    })
    .await;
}

/// Another task's worker died while it held the device's lease: waiting for it uses up neither.
#[tokio::test]
async fn a_device_leased_by_another_task_is_waited_for() {
    Stack::run_with(1, &[("MaxTries", "1")], async |stack| {
        stack.found().await;
        stack.enrol_fleet().await;
        let device = "bmc-0001".parse().unwrap();
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap(); // as leases are stored
        let lease = Lease { owner: "another".to_owned(), until: now + Duration::from_secs(5) };
        stack.ledger.lease(&device, &lease, Some(1), now).await.unwrap();
        let id = stack.put_root("").await;
        assert_came_to_the_same_end(stack, id, 1).await;
        assert!(OffsetDateTime::now_utc() >= lease.until);
        assert!(stack.log("WorkerFunction").await.contains("device is leased by another task"));
    })
    .await;
}

/// Checks that the job ended as without faults.
async fn assert_came_to_the_same_end(stack: &Stack, id: JobId, devices: usize) {
    let job: Job = stack.ended(id).await;
    assert_eq!(job.outcome, Some(JobOutcome::Activated), "{}", job.reason);
    stack.assert_counters_equal_task_states(id).await;
    let tasks = stack.tasks(id, Pass::Distribute).await;
    assert_eq!(tasks.len(), devices);
    assert!(tasks.values().all(|task| task.state == TaskState::Acked), "{tasks:?}");
    let new = signing(stack).await;
    for device in stack.devices() {
        assert!(anchors_of(device).await.contains(new.der()), "{}", device.id);
    }
}

async fn wake(stack: &Stack, job: JobId) {
    let body = serde_json::to_string(&Control { job, why: "a test".to_owned() }).unwrap();
    let sqs = aws_sdk_sqs::Client::new(&stack.local.sdk_config);
    let url = stack.local.outputs.of("ControlQueueUrl").unwrap();
    sqs.send_message().queue_url(url).message_body(body).send().await.unwrap();
}

async fn purge(stack: &Stack, queue: &str) {
    let sqs = aws_sdk_sqs::Client::new(&stack.local.sdk_config);
    sqs.purge_queue().queue_url(stack.local.outputs.of(queue).unwrap()).send().await.unwrap();
}

/// Enables or disables the delivery of a queue's messages to its function: Lambda's `UpdateEventSourceMapping`.
pub async fn deliver(stack: &Stack, function: &str, enabled: bool) {
    let http = reqwest::Client::new();
    let path = format!("{}/2015-03-31/event-source-mappings", stack.local.endpoint_url);
    let function = stack.local.outputs.of(function).unwrap();
    let listed: Value =
        http.get(format!("{path}/?FunctionName={function}")).send().await.unwrap().json().await.unwrap();
    let mappings = listed["EventSourceMappings"].as_array().unwrap();
    assert_eq!(mappings.len(), 1, "{listed}");
    let mapping = format!("{path}/{}", mappings[0]["UUID"].as_str().unwrap());
    let answer = http.put(mapping).json(&json!({ "Enabled": enabled })).send().await.unwrap();
    answer.error_for_status().unwrap();
}
