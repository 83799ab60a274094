//! A fleet of 25 in which every device that can be broken is broken in its own way.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rootcast_core::job::message::Task;
use rootcast_core::job::task::{TaskRecord, TaskState};
use rootcast_core::job::{JobId, JobOutcome, Pass, Tally};
use rootcast_local::{Device, store_credentials};
use serde_json::{Value, json};

use crate::fake::{Fake, Model, PASSWORD, Reply, Request, USER, error, root};
use crate::rollover::signing;
use crate::stack::{FUNCTIONS, LIMIT, PREFIX, Stack, anchors_of, fake_enrolment, in_order, until};

const WRONG_PASSWORD: &str = "tr0ub4dor-and-3";
/// The first devices that the job takes. None of them is broken.
const CANARIES: usize = 5;

/// A device's fault and its report: the class, a part of the message, a part of the remedy.
const SAID: [(&str, &str, &str, &str); 8] = [
    ("wrong-pin", "pinMismatch", "certificate", "approve the new fingerprint"),
    ("wrong-password", "unauthorized", "The user name or password is wrong.", "Correct the user name and password"),
    ("down", "connect", "", "switched on"),
    ("hanging", "timeout", "", "DeviceTimeoutSeconds"),
    ("failing", "serverError", "The flash is worn out.", "device's own log"),
    ("lying", "notStored", "", "does not hold it"),
    ("full", "storeFull", "", "Remove certificates"),
    ("no-credential", "credential", "There is no parameter /rootcast/devices/", "SecureString"),
];

/// 8 of 25 devices fail, the job pauses, the devices are mended, and the job completes without affecting the others.
#[tokio::test]
async fn only_broken_devices_fail_and_are_retried() {
    Stack::run(18, async |stack| {
        stack.found().await;
        let old = signing(stack).await;
        let mut fleet = Broken::start(stack).await;
        let id = stack.put_root("?errorBudget=100").await;
        let twice = fleet.id("redelivered");
        let sent = twice.parse().unwrap();
        stack.job_when(id, "the device is sent", |job| job.cursor.is_past(id, &sent)).await;
        redeliver(stack, id, &twice, 3).await;
        delete_in_the_middle(stack, &fleet.id("deleted")).await;
        let settled = async || stack.tasks(id, Pass::Distribute).await.contains_key(&twice).then_some(());
        until("the redelivered device is settled", LIMIT, settled).await;
        redeliver(stack, id, &twice, 2).await;

        let job = stack.paused(id).await;
        assert!(job.reason.contains("8 of 25 devices did not prove"), "{}", job.reason);
        stack.emptied("TaskQueueUrl").await;
        let before = stack.tasks(id, Pass::Distribute).await;
        let expected = Tally { dispatched: 25, acked: 16, failed: 8, skipped: 1, ..Tally::default() };
        assert_eq!(stack.tally(id, Pass::Distribute).await, expected);
        stack.assert_counters_equal_task_states(id).await;
        assert_eq!(signing(stack).await, old);
        assert_what_to_do_is_said(stack, id, &fleet).await;
        assert_others_were_not_held_up(stack, id, &fleet, &before).await;
        assert_requests_before_mending(&mut fleet);
        assert_alarms(stack).await;

        let visited = fleet.logs_of_healthy_devices(stack);
        fleet.mend(stack).await;
        waive(stack, id, &fleet.id("full")).await;
        stack.api.post(&format!("/jobs/{id}/resume"), json!({})).await.response();
        let job = stack.ended(id).await;
        assert_eq!(job.outcome, Some(JobOutcome::Activated), "{}", job.reason);
        assert_eq!(fleet.logs_of_healthy_devices(stack), visited);
        assert_only_mended_devices_were_visited(stack, id, &mut fleet, &before).await;
        let new = signing(stack).await;
        assert_ne!(new, old);
        for device in stack.devices() {
            assert!(anchors_of(device).await.contains(new.der()), "{}", device.id);
        }
        stack.assert_counters_equal_task_states(id).await;
        assert_no_secret_in_any_log(stack, &fleet).await;
    })
    .await;
}

/// The devices of this fleet with a fault, by its kind.
struct Broken {
    fakes: BTreeMap<&'static str, (String, Fake)>,
    emulated: BTreeMap<&'static str, Device>,
    /// Session tokens of the fakes.
    tokens: BTreeSet<String>,
}

impl Broken {
    /// Breaks and enrols the fleet: 18 emulated devices, the last three of them broken, and seven fakes.
    async fn start(stack: &Stack) -> Self {
        let job = stack.next_job().await;
        let mut all: Vec<String> = stack.devices().map(|device| device.id.clone()).collect();
        let order = in_order(job, all.clone());
        let named = |id: &String| stack.devices().find(|device| device.id == *id).unwrap().clone();
        let kinds = ["down", "hanging", "no-credential"];
        let emulated: BTreeMap<_, Device> = kinds.into_iter().zip(order.iter().rev().map(named)).collect();
        let without = &emulated["no-credential"].id;
        let config = &stack.local.sdk_config;
        store_credentials(config, PREFIX, stack.devices()).await.unwrap();
        let mut rows: Vec<Value> = stack.devices().map(|device| device.enrolment(PREFIX)).collect();

        let mut fakes = BTreeMap::new();
        for kind in ["wrong-pin", "wrong-password", "failing", "lying", "full", "redelivered", "deleted"] {
            let mut ids = (0..).map(|number| format!("{kind}-{number}"));
            let well = |id: &String| order.contains(id) && emulated.values().all(|broken| broken.id != *id);
            let fits =
                |id: &String| in_order(job, all.iter().chain([id]).cloned().collect()).iter().take(CANARIES).all(well);
            let id = ids.find(fits).unwrap();
            all.push(id.clone());
            let fake = Fake::start(Model::OpenBmc).await;
            let password = if kind == "wrong-password" { WRONG_PASSWORD } else { PASSWORD };
            stack.store_credential(&id, USER, password).await;
            let mut row = fake_enrolment(&id, &fake);
            match kind {
                "wrong-pin" => row["pins"] = json!([format!("sha256:{}", "0".repeat(64))]),
                "failing" => fake.fault(|request, _| creates(request).then(|| error(500, "The flash is worn out."))),
                "lying" => fake.fault(|request, _| creates(request).then(|| Reply::status(204))),
                "deleted" => fake.fault(|_, _| Some(error(500, "Not now."))),
                "full" => (0..10).for_each(|number| fake.hold(&root(&format!("Somebody's root {number}")))),
                _ => {}
            }
            rows.push(row);
            fakes.insert(kind, (id, fake));
        }
        stack.enrol(rows).await;
        stack.forget_credential(without).await;
        stack.local.fleet.stop(&emulated["down"].id).await.unwrap();
        stack.local.fleet.hang(&emulated["hanging"].id).await.unwrap();
        Self { fakes, emulated, tokens: BTreeSet::new() }
    }

    fn id(&self, kind: &str) -> String {
        let fake = self.fakes.get(kind).map(|(id, _)| id);
        fake.unwrap_or_else(|| &self.emulated[kind].id).clone()
    }

    /// The requests to a fake since the last call.
    fn requests(&mut self, kind: &str) -> Vec<Request> {
        let requests = self.fakes[kind].1.requests();
        self.tokens.extend(requests.iter().filter_map(|request| request.token.clone()));
        requests
    }

    /// Every request to an emulated device is a line in its log.
    fn logs_of_healthy_devices(&self, stack: &Stack) -> BTreeMap<String, String> {
        let healthy = stack.devices().filter(|device| !self.emulated.values().any(|broken| broken.id == device.id));
        healthy.map(|device| (device.id.clone(), stack.device_log(device))).collect()
    }

    /// Mends the devices as an operator would, except for the full one.
    async fn mend(&self, stack: &Stack) {
        let fleet = &stack.local.fleet;
        fleet.run(&self.emulated["down"].id).await.unwrap();
        fleet.resume(&self.emulated["hanging"].id).await.unwrap();
        store_credentials(&stack.local.sdk_config, PREFIX, [&self.emulated["no-credential"]]).await.unwrap();
        stack.store_credential(&self.id("wrong-password"), USER, PASSWORD).await;
        self.fakes["failing"].1.recover();
        self.fakes["lying"].1.recover();
        let (id, fake) = &self.fakes["wrong-pin"];
        let shown = stack.api.get(&format!("/devices/{id}/fingerprint")).await.response();
        assert_eq!(shown["fingerprint"], fake.pin.to_string());
        stack.api.patch(&format!("/devices/{id}"), json!({ "pins": [shown["fingerprint"]] })).await.response();
    }
}

fn creates(request: &Request) -> bool {
    request.is("POST", "/Truststore/Certificates")
}

fn count(requests: &[Request], is: impl Fn(&Request) -> bool) -> usize {
    requests.iter().filter(|request| is(request)).count()
}

/// Sends the device's task again, this number of times.
async fn redeliver(stack: &Stack, job: JobId, device: &str, times: usize) {
    let task = Task::new(job, Pass::Distribute, device.parse().unwrap(), 1);
    let sqs = aws_sdk_sqs::Client::new(&stack.local.sdk_config);
    for _ in 0..times {
        let send = sqs.send_message().queue_url(stack.local.outputs.of("TaskQueueUrl").unwrap());
        send.message_body(serde_json::to_string(&task).unwrap()).send().await.unwrap();
    }
}

/// Deletes a device during its retries. While a worker holds its lease, deletion is refused.
async fn delete_in_the_middle(stack: &Stack, id: &str) {
    let at_work = async || {
        let device = stack.ledger.device(&id.parse().unwrap()).await.unwrap().unwrap();
        device.lease.map(|_| ())
    };
    until("a worker is at the device", LIMIT, at_work).await;
    until("the device is deleted", LIMIT, async || {
        let answer = stack.api.delete(&format!("/devices/{id}")).await;
        if answer.status == 409 {
            answer.refused(409);
            return None;
        }
        answer.json();
        Some(())
    })
    .await;
}

async fn waive(stack: &Stack, job: JobId, device: &str) {
    let body = json!({ "devices": [device], "reason": "It goes to the scrapyard on Friday." });
    let answer = stack.api.post(&format!("/jobs/{job}/waive"), body).await.response();
    assert_eq!(answer["results"], json!([{ "device": device, "result": "waived" }]));
    assert_eq!(answer["state"], "paused");
}

async fn assert_what_to_do_is_said(stack: &Stack, id: JobId, fleet: &Broken) {
    let tasks = stack.api.get(&format!("/jobs/{id}/tasks?state=failed&limit=100")).await.response();
    let tasks = tasks["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), SAID.len());
    let job = stack.api.get(&format!("/signingCertificate/jobs/{id}")).await.response();
    let rows = job["result"].as_array().unwrap();
    for (kind, class, message, recovery) in SAID {
        let device = fleet.id(kind);
        let task = tasks.iter().find(|task| task["device"] == *device).unwrap();
        assert_eq!(task["class"], class, "{kind}: {task}");
        let said = |attribute: &str| task[attribute].as_str().unwrap().to_owned();
        assert!(said("message").contains(message) && said("message").len() > 20, "{kind}: {task}");
        assert!(said("recovery").contains(recovery) && said("recovery").contains("resume the job"), "{kind}: {task}");
        let row = rows.iter().find(|row| row["messageAttributes"] == *device).unwrap();
        assert_eq!(row["result"], "FAILED");
        let long = row["resultLongDescription"].as_str().unwrap();
        assert!(long.contains(&said("message")) && long.contains(&said("recovery")), "{row}");
    }
}

/// Every healthy device was finished before the slowest broken one failed its first attempt.
async fn assert_others_were_not_held_up(
    stack: &Stack,
    id: JobId,
    fleet: &Broken,
    tasks: &BTreeMap<String, TaskRecord>,
) {
    let given_up = tasks[&fleet.id("hanging")].at;
    for task in tasks.values() {
        assert_eq!(task.attempt, 1, "{task:?}");
        assert!(task.state != TaskState::Acked || task.at < given_up, "{task:?}");
    }
    assert_eq!(tasks[&fleet.id("deleted")].state, TaskState::Skipped);
    assert_eq!(tasks[&fleet.id("redelivered")].state, TaskState::Acked);
    let job = stack.api.get(&format!("/jobs/{id}")).await.response();
    let figures = |wave: &Value| (wave["size"].clone(), wave["acked"].clone(), wave["failed"].clone());
    let waves: Vec<_> = job["waves"].as_array().unwrap().iter().map(figures).collect();
    assert_eq!(waves, [(json!(5), json!(5), json!(0)), (json!(20), json!(11), json!(8))]);
}

/// A transient fault is tried three times (MaxTries), a permanent one once. No password is tried twice, sent to a
/// device other than the approved one, or sent with Basic authentication.
fn assert_requests_before_mending(fleet: &mut Broken) {
    let log_ins = |requests: &[Request]| count(requests, |request| request.is("POST", "/Sessions"));
    assert!(fleet.requests("wrong-pin").is_empty());
    for (kind, expected) in [("wrong-password", 1), ("full", 1), ("failing", 3), ("lying", 3)] {
        let requests = fleet.requests(kind);
        assert_eq!(log_ins(&requests), expected, "{kind}");
        assert!(requests.iter().all(|request| request.authorization.is_none()), "{kind}");
        assert_eq!(fleet.fakes[kind].1.open_sessions(), 0, "{kind}");
    }
    assert!((1..=3).contains(&log_ins(&fleet.requests("deleted"))));
    // The old root and the new one, once each, however often the task was delivered.
    assert_eq!(count(&fleet.requests("redelivered"), creates), 2);
    assert_eq!(fleet.fakes["redelivered"].1.held().len(), 2);
}

async fn assert_alarms(stack: &Stack) {
    let paused = stack.log("ConductFunction").await.matches("\"JobsPaused\":1").count();
    let mismatches = stack.log("WorkerFunction").await.matches("\"PinMismatches\":1").count();
    assert!(paused >= 1, "once, and each minute that the job stays paused");
    assert_eq!(mismatches, 1);
}

async fn assert_only_mended_devices_were_visited(
    stack: &Stack,
    id: JobId,
    fleet: &mut Broken,
    before: &BTreeMap<String, TaskRecord>,
) {
    let after = stack.tasks(id, Pass::Distribute).await;
    assert_eq!(after.len(), before.len());
    let broken: BTreeSet<String> = SAID.iter().map(|(kind, ..)| fleet.id(kind)).collect();
    for (device, task) in &after {
        if *device == fleet.id("full") {
            assert_eq!((task.state, task.attempt), (TaskState::Waived, 1));
            assert_eq!(task.waiver.as_deref(), Some("It goes to the scrapyard on Friday."));
        } else if broken.contains(device) {
            assert_eq!((task.state, task.attempt), (TaskState::Acked, 2), "{task:?}");
        } else {
            assert_eq!(task, &before[device]);
        }
    }
    for quiet in ["full", "redelivered", "deleted"] {
        assert!(fleet.requests(quiet).is_empty(), "{quiet}");
    }
    for mended in ["wrong-pin", "wrong-password", "failing", "lying"] {
        assert_eq!(count(&fleet.requests(mended), |request| request.is("POST", "/Sessions")), 1, "{mended}");
        assert_eq!(fleet.fakes[mended].1.held().len(), 2, "{mended}");
    }
}

async fn assert_no_secret_in_any_log(stack: &Stack, fleet: &Broken) {
    let emulated = stack.devices().map(|device| (device.username.as_str(), device.password.as_str()));
    let mut secrets = BTreeSet::new();
    for (user, password) in emulated.chain([(USER, PASSWORD), (USER, WRONG_PASSWORD)]) {
        secrets.extend([password.to_owned(), BASE64_STANDARD.encode(format!("{user}:{password}"))]);
    }
    secrets.extend(fleet.tokens.iter().map(|token| format!("{token}\"")));
    secrets.insert(stack.api.token.clone());
    for function in FUNCTIONS {
        let log = stack.log(function).await;
        let took_part = !matches!(
            function,
            "IssueFunction"
                | "ImportFunction"
                | "RetryFunction"
                | "LoginFunction"
                | "ConsoleFunction"
                | "RotateFunction"
        );
        assert_eq!(!log.is_empty(), took_part, "{function}");
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "{function} has written a secret");
        }
    }
}
