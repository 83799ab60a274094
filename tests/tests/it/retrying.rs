//! Retries chosen by the operator: only the chosen devices are visited.

use std::collections::BTreeMap;

use rootcast_core::job::task::TaskState;
use rootcast_core::job::{JobId, JobOutcome, Pass, Tally};
use serde_json::{Value, json};

use crate::fake::{Fake, Model, PASSWORD, USER, error};
use crate::import::pki::Bundle;
use crate::rollover::signing;
use crate::stack::{LIMIT, Stack, anchors_of, fake_enrolment, in_order, until};

/// Failing devices with different faults. The first two are canaries, the others are in the second wave.
const FAKES: [&str; 4] = ["a-locked", "a-full", "z-locked", "z-full"];

#[tokio::test]
async fn only_the_chosen_devices_are_retried() {
    Stack::run(3, async |stack| {
        stack.found().await;
        let old = signing(stack).await;
        stack.enrol_fleet().await;
        let fleet = Fleet::start(stack).await;
        let id = stack.put_root("?canary=2&errorBudget=100").await;
        stack.paused(id).await;
        let tally = Tally { dispatched: 7, acked: 3, failed: 4, ..Tally::default() };
        assert_eq!(stack.tally(id, Pass::Distribute).await, tally);
        stack.emptied("TaskQueueUrl").await;
        fleet.visited();
        let healthy = healthy(stack);

        refused(stack, id).await;
        // One class in the canaries' wave only. The other device of this class would succeed by now, too.
        for locked in ["a-locked", "z-locked"] {
            stack.store_credential(&fleet.ids[locked], USER, PASSWORD).await;
        }
        let (chosen, path) =
            (json!({ "classes": ["unauthorized"], "waves": [1] }), format!("/jobs/{id}/retry?dryRun=true"));
        let would = stack.api.post(&path, chosen.clone()).await.response();
        assert_eq!((&would["retried"], &would["state"]), (&json!(1), &json!("paused")), "nothing is done: {would}");
        let answer = retry(stack, id, chosen).await;
        assert_eq!((&answer["retried"], &answer["state"]), (&json!(1), &json!("running")), "{answer}");
        let job = settled(stack, id, 4, 3).await;
        assert!(job.contains("3 of 7 devices did not prove"), "{job}");
        assert_eq!(fleet.visited(), ["a-locked"]);
        fleet.assert_attempts(stack, id, [2, 1, 1, 1]).await;

        // The whole class, of which one device is left.
        let answer = retry(stack, id, json!({ "classes": ["unauthorized", "connect"] })).await;
        assert_eq!(answer["retried"], 1);
        settled(stack, id, 5, 2).await;
        assert_eq!(fleet.visited(), ["z-locked"]);
        fleet.assert_attempts(stack, id, [2, 1, 2, 1]).await;
        retry_refused(stack, id, json!({ "classes": ["unauthorized"] }), 409, "No failed device of job").await;
        stack.assert_counters_equal_task_states(id).await;
        assert_eq!(signing(stack).await, old);

        // Retry one of the others, together with a device that did not fail; it fails again. Then retry both by their
        // ids.
        let full = |name: &str| fleet.ids[name].clone();
        let well = &stack.devices().next().unwrap().id;
        let answer = retry(stack, id, json!({ "devices": [full("z-full"), well] })).await;
        assert_eq!(answer["retried"], 1);
        until("the device has failed again", LIMIT, async || {
            let task = stack.tasks(id, Pass::Distribute).await.remove(&full("z-full")).unwrap();
            (task.attempt == 2 && task.state == TaskState::Failed).then_some(())
        })
        .await;
        stack.paused(id).await;
        assert_eq!(fleet.visited(), ["z-full"]);
        for name in ["a-full", "z-full"] {
            fleet.fakes[name].recover();
        }
        let answer = retry(stack, id, json!({ "devices": [full("a-full"), full("z-full")] })).await;
        assert_eq!(answer["retried"], 2);
        assert_eq!(stack.ended(id).await.outcome, Some(JobOutcome::Activated));
        assert_eq!(fleet.visited(), ["a-full", "z-full"]);
        fleet.assert_attempts(stack, id, [2, 2, 2, 3]).await;
        assert_eq!(self::healthy(stack), healthy);
        stack.assert_counters_equal_task_states(id).await;
        let new = signing(stack).await;
        assert_ne!(new, old);
        for device in stack.devices() {
            assert!(anchors_of(device).await.contains(new.der()), "{}", device.id);
        }
        retry_refused(stack, id, json!({}), 409, "the job has ended").await;
    })
    .await;
}

#[tokio::test]
async fn a_deployments_chosen_devices_get_the_certificate_again() {
    Stack::run(0, async |stack| {
        let mut fakes = BTreeMap::new();
        for id in ["one", "two", "well"] {
            let fake = Fake::start(Model::OpenBmc).await;
            let password = if id == "well" { PASSWORD } else { "tr0ub4dor-and-3" };
            stack.store_credential(id, USER, password).await;
            stack.enrol(vec![fake_enrolment(id, &fake)]).await;
            fakes.insert(id, fake);
        }
        let visited = || -> Vec<&str> {
            fakes.iter().filter(|(_, fake)| !fake.requests().is_empty()).map(|(id, _)| *id).collect()
        };
        let certificate = stack.import("web", &Bundle::new("web.example.com")).await;
        let resources: Vec<Value> = fakes.keys().map(|id| json!({ "id": id })).collect();
        let body = json!({ "service_name": "DEVICE", "resources": resources });
        let path = format!("/v3/scm/certificates/{certificate}/deploy");
        let job = JobId(stack.api.post(&path, body).await.json()["job_id"].as_u64().unwrap());
        let ended = async |acked: u64| {
            until("the deployment ends", LIMIT, async || {
                let shown = stack.api.get(&format!("/jobs/{job}")).await.response();
                (shown["state"] == "ended" && shown["devices"]["acked"] == acked).then(|| shown["outcome"].clone())
            })
            .await
        };
        assert_eq!(ended(1).await, "deployedWithFailures");
        assert_eq!(visited(), ["one", "two", "well"]);

        retry_refused(stack, job, json!({ "waves": [1] }), 400, "it has no waves").await;
        retry_refused(stack, job, json!({ "devices": ["well"] }), 409, "No failed device of job").await;
        for id in ["one", "two"] {
            stack.store_credential(id, USER, PASSWORD).await;
        }
        let answer = retry(stack, job, json!({ "classes": ["unauthorized"], "devices": ["two", "well"] })).await;
        assert_eq!((&answer["retried"], &answer["kind"]), (&json!(1), &json!("deployment")), "{answer}");
        assert_eq!(ended(2).await, "deployedWithFailures");
        assert_eq!(visited(), ["two"]);
        let answer = retry(stack, job, json!({})).await;
        assert_eq!(answer["retried"], 1);
        assert_eq!(ended(3).await, "deployed");
        assert_eq!(visited(), ["one"]);
        retry_refused(stack, job, json!({}), 409, "every device shows the certificate already").await;
    })
    .await;
}

struct Fleet {
    ids: BTreeMap<&'static str, String>,
    fakes: BTreeMap<&'static str, Fake>,
}

impl Fleet {
    /// Enrols the fakes so that the job begins with half of them.
    async fn start(stack: &Stack) -> Self {
        let job = stack.next_job().await;
        let mut all: Vec<String> = stack.devices().map(|device| device.id.clone()).collect();
        let (mut ids, mut fakes) = (BTreeMap::new(), BTreeMap::new());
        for name in FAKES {
            let fits = |id: &String| {
                let order = in_order(job, all.iter().chain([id]).cloned().collect());
                let first = order.iter().take_while(|id| id.starts_with("a-")).count();
                first == order.iter().filter(|id| id.starts_with("a-")).count()
            };
            let id = (0..).map(|number| format!("{name}-{number}")).find(fits).unwrap();
            all.push(id.clone());
            let fake = Fake::start(Model::OpenBmc).await;
            let password = if name.ends_with("locked") { "tr0ub4dor-and-3" } else { PASSWORD };
            stack.store_credential(&id, USER, password).await;
            if name.ends_with("full") {
                fake.fault(|request, _| {
                    request.is("POST", "/Truststore/Certificates").then(|| error(507, "There is no room left."))
                });
            }
            stack.enrol(vec![fake_enrolment(&id, &fake)]).await;
            ids.insert(name, id);
            fakes.insert(name, fake);
        }
        Self { ids, fakes }
    }

    /// The devices that received requests since the last call.
    fn visited(&self) -> Vec<&'static str> {
        FAKES.into_iter().filter(|name| !self.fakes[name].requests().is_empty()).collect()
    }

    /// The fakes' attempts, in their order. A device with one attempt has failed.
    async fn assert_attempts(&self, stack: &Stack, id: JobId, attempts: [u32; 4]) {
        let tasks = stack.tasks(id, Pass::Distribute).await;
        for (name, attempt) in FAKES.into_iter().zip(attempts) {
            let task = &tasks[&self.ids[name]];
            let state = if attempt == 1 { TaskState::Failed } else { TaskState::Acked };
            assert_eq!((task.attempt, task.state), (attempt, state), "{name}: {task:?}");
        }
    }
}

/// Every request to an emulated device is a line in its log.
fn healthy(stack: &Stack) -> Vec<String> {
    stack.devices().map(|device| stack.device_log(device)).collect()
}

async fn retry(stack: &Stack, id: JobId, body: Value) -> Value {
    stack.api.post(&format!("/jobs/{id}/retry"), body).await.response()
}

async fn retry_refused(stack: &Stack, id: JobId, body: Value, status: u16, why: &str) {
    let refusal = stack.api.post(&format!("/jobs/{id}/retry"), body).await.refused(status);
    assert!(refusal["text"].as_str().unwrap().contains(why), "{refusal}");
}

/// Checks that invalid requests are refused and change nothing.
async fn refused(stack: &Stack, id: JobId) {
    let before = stack.job(id).await;
    for (body, status, why) in [
        (json!({ "classes": ["asleep"] }), 400, "unknown variant `asleep`"),
        (json!({ "waves": [] }), 400, "waves is empty"),
        (json!({ "classes": ["timeout"] }), 409, "No failed device of job"),
        (json!({ "waves": [9] }), 409, "No failed device of job"),
        (json!({ "devices": ["nobody", "nobody"] }), 409, "No failed device of job"),
    ] {
        retry_refused(stack, id, body, status, why).await;
    }
    stack.api.post("/jobs/77/retry", json!({})).await.refused(404);
    assert_eq!(stack.job(id).await, before);
}

/// Waits until the job is paused with these counts; returns the reason.
async fn settled(stack: &Stack, id: JobId, acked: u64, failed: u64) -> String {
    let wanted = Tally { dispatched: 7, acked, failed, ..Tally::default() };
    until("the devices are settled", LIMIT, async || (stack.tally(id, Pass::Distribute).await == wanted).then_some(()))
        .await;
    let reason = stack.paused(id).await.reason;
    assert_eq!(stack.tally(id, Pass::Distribute).await, wanted);
    reason
}
