//! An operator, who may write, create and delete every device, but approve none and activate nothing.

use reqwest::Method;
use rootcast_core::access::permission::Role;
use rootcast_core::job::task::ErrorClass;
use rootcast_core::job::{JobId, Pass, Phase};
use rootcast_ledger::Editor;
use serde_json::json;

use crate::fake::{Fake, Model, PASSWORD, Reply, USER};
use crate::import::deploying::{deploy, ended};
use crate::import::pki::Bundle;
use crate::stack::{PREFIX, Stack, fake_enrolment};

const SECRET: &str = "another-devices-password";

/// A device of somebody else, and the operator's own server, which records what it is sent.
async fn victim_and_thief(stack: &Stack) -> (Fake, Fake) {
    let (victim, thief) = (Fake::start(Model::OpenBmc).await, Fake::start(Model::OpenBmc).await);
    stack.store_credential("victim", USER, SECRET).await;
    stack.enrol(vec![fake_enrolment("victim", &victim)]).await;
    (victim, thief)
}

#[tokio::test]
async fn an_operator_obtains_no_other_devices_credential() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let (_victim, thief) = victim_and_thief(stack).await;
        let operator = stack.api_of("eve", Role::Operator).await;
        let theirs = format!("{PREFIX}victim");

        // A device of the operator's own names the other's parameter.
        let mut row = fake_enrolment("thief", &thief);
        row["credential"] = json!(theirs);
        let told = operator.post("/devices", row.clone()).await.refused(400);
        assert!(told.to_string().contains(&format!("{PREFIX}thief")), "{told}");
        row["credential"] = json!(format!("{PREFIX}thief"));
        let told = operator.post("/devices", row.clone()).await.refused(400);
        assert!(told.to_string().contains("put-parameter"), "there is no such parameter: {told}");
        stack.store_credential("thief", USER, PASSWORD).await;
        operator.post("/devices", row).await.response();
        operator.patch("/devices/thief", json!({ "credential": theirs })).await.refused(400);

        // The other's device is moved to the operator's server.
        let moved = json!({ "address": thief.address.to_string(), "pins": [thief.pin.to_string()] });
        let told = operator.patch("/devices/victim", moved.clone()).await.refused(409);
        assert!(told["text"].as_str().unwrap().contains("device thief has it"), "{told}");
        operator.delete("/devices/thief").await.response();
        let pending = operator.edit("victim", moved).await;
        assert_eq!((&pending["state"], &pending["unapproved"]["by"]), (&json!("pending"), &json!("eve")));
        let approval =
            json!({ "incarnation": pending["incarnation"], "endpointRevision": pending["endpointRevision"] });
        operator.post("/devices/victim/approval", approval.clone()).await.refused(403);

        // Neither a new root nor a certificate of its own makes a worker visit an unapproved device.
        assert_eq!(operator.send(Method::PUT, "/signingCertificate", None).await.status, 403);
        operator.post("/devices/victim/certificate", json!({})).await.refused(400);
        let job = stack.api.put("/signingCertificate").await.response();
        assert_eq!(job["jobPath"], "", "no device is approved: {job}");
        assert!(thief.requests().is_empty());

        // An approver sees both identities, and approves exactly what was seen.
        let shown = stack.api.get("/devices/victim").await.response();
        assert_ne!(shown["address"], shown["unapproved"]["formerly"]["address"]);
        operator.edit("victim", json!({ "slot": "/redfish/v1/Managers/1/Truststore" })).await;
        stack.api.post("/devices/victim/approval", approval).await.refused(409);
    })
    .await;
}

/// A record from before this rule, or one that was written past it.
#[tokio::test]
async fn a_worker_sends_a_foreign_credential_nowhere() {
    Stack::run(0, async |stack| {
        let (_victim, thief) = victim_and_thief(stack).await;
        stack.enrol(vec![fake_enrolment("thief", &thief)]).await;
        let id = "thief".parse().unwrap();
        let before = stack.ledger.device(&id).await.unwrap().unwrap();
        let mut after = before.clone();
        after.credential = format!("{PREFIX}victim");
        let all = Editor { name: "root", request: None, may_approve: true, may_release: true, may_revoke: true };
        stack.ledger.edit_device(&before, after, all, time::OffsetDateTime::now_utc()).await.unwrap();
        let job = stack.put_root("").await;
        stack.paused(job).await;
        let failed = &stack.tasks(job, Pass::Distribute).await["thief"];
        assert_eq!(failed.failure.as_ref().map(|failure| failure.class), Some(ErrorClass::Credential), "{failed:?}");
        assert!(thief.requests().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_operator_obtains_no_private_key() {
    Stack::run(0, async |stack| {
        let operator = stack.api_of("eve", Role::Operator).await;
        let certificate = stack.import("web", &Bundle::new("web.example.com")).await;
        let thief = Fake::start(Model::OpenBmc).await;
        stack.store_credential("thief", USER, PASSWORD).await;
        operator.post("/devices", fake_enrolment("thief", &thief)).await.response();
        let body = json!({ "service_name": "DEVICE", "resources": [{ "id": "thief" }] });
        let answer = operator.post(&format!("/v3/scm/certificates/{certificate}/deploy"), body).await.json();
        assert!(answer["failure_list"][0]["failure_info"].as_str().unwrap().contains("approve-device"), "{answer}");

        // A deployment that is under way stops at a device that was moved meanwhile.
        let shown = stack.api.get("/devices/thief").await.response();
        let approval = json!({ "incarnation": shown["incarnation"], "endpointRevision": shown["endpointRevision"] });
        stack.api.post("/devices/thief/approval", approval).await.response();
        let other = Fake::start(Model::OpenBmc).await;
        thief.fault(|_, _| Some(Reply::status(503)));
        let (job, _) = deploy(stack, certificate, &["thief"]).await;
        let moved = json!({ "address": other.address.to_string(), "pins": [other.pin.to_string()] });
        operator.edit("thief", moved).await;
        let job = ended(stack, job.unwrap()).await;
        assert_eq!(job["outcome"], "deployedWithFailures", "{job}");
        assert!(other.requests().is_empty());
        let id = JobId(job["id"].as_u64().unwrap());
        let class = async || {
            let failed = &stack.tasks(id, Pass::Install).await["thief"];
            failed.failure.as_ref().map(|failure| failure.class)
        };
        assert_eq!(class().await, Some(ErrorClass::Unapproved));

        // Whoever deployed the key meant the device as it was then. Approving another one does not send it there.
        let shown = stack.api.get("/devices/thief").await.response();
        let approval = json!({ "incarnation": shown["incarnation"], "endpointRevision": shown["endpointRevision"] });
        stack.api.post("/devices/thief/approval", approval).await.response();
        operator.post(&format!("/jobs/{id}/retry"), json!({ "devices": ["thief"] })).await.response();
        ended(stack, id).await;
        assert_eq!(class().await, Some(ErrorClass::Unapproved));
        assert!(other.requests().is_empty());
        let (job, _) = deploy(stack, certificate, &["thief"]).await;
        assert_eq!(ended(stack, job.unwrap()).await["outcome"], "deployed");
    })
    .await;
}

#[tokio::test]
async fn an_operator_takes_no_awaited_device_out_of_the_gate() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let (slow, proven) = (Fake::start(Model::OpenBmc).await, Fake::start(Model::OpenBmc).await);
        for (id, fake, password) in [("slow", &slow, SECRET), ("proven", &proven, PASSWORD)] {
            stack.store_credential(id, USER, password).await;
            stack.enrol(vec![fake_enrolment(id, fake)]).await;
        }
        let job: JobId = stack.put_root("").await;
        stack.paused(job).await;
        let operator = stack.api_of("eve", Role::Operator).await;
        let refused = operator.delete("/devices/slow").await.refused(403);
        assert!(refused.to_string().contains("activate"), "{refused}");
        operator.patch("/devices/slow", json!({ "pins": [] })).await.refused(403);
        let address = json!({ "address": proven.address.to_string() });
        operator.patch("/devices/slow", address).await.refused(403);
        operator.post(&format!("/jobs/{job}/waive"), json!({ "devices": ["slow"], "reason": "x" })).await.refused(403);
        // One that has proven what it holds may go.
        operator.delete("/devices/proven").await.response();
        let shown = stack.api.get(&format!("/jobs/{job}")).await.response();
        assert_eq!((&shown["left"][0]["device"], &shown["left"][0]["by"]), (&json!("proven"), &json!("eve")));
        assert!(stack.job(job).await.phase == Phase::Distribute && shown["left"][1].is_null(), "{shown}");

        // Who may activate may let it leave.
        stack.api.delete("/devices/slow").await.response();
        stack.api.post(&format!("/jobs/{job}/resume"), json!({})).await.response();
        stack.ended(job).await;
    })
    .await;
}
