//! From the API call to the device that shows the certificate on a new connection.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use rootcast_core::inventory::id::{CertificateId, policy_dn};
use rootcast_core::job::JobId;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};

use super::events::Listener;
use super::pki::Bundle;
use super::{CERTIFICATES, body, imported, path, refused};
use crate::fake::{Fake, Model, PASSWORD, USER};
use crate::stack::{LIMIT, Stack, fake_enrolment, until};

/// Fakes, enrolled and approved with their current certificates.
pub async fn fakes(stack: &Stack, ids: &[&str]) -> BTreeMap<String, Fake> {
    let mut fakes = BTreeMap::new();
    for id in ids {
        let fake = Fake::start(Model::OpenBmc).await;
        stack.store_credential(id, USER, PASSWORD).await;
        stack.enrol(vec![fake_enrolment(id, &fake)]).await;
        fakes.insert((*id).to_owned(), fake);
    }
    fakes
}

/// The job, and the devices that were refused at once.
pub async fn deploy(stack: &Stack, id: CertificateId, devices: &[&str]) -> (Option<JobId>, Value) {
    let resources: Vec<Value> = devices.iter().map(|id| json!({ "id": id })).collect();
    let body = json!({ "service_name": "DEVICE", "resources": resources });
    let mut answer = stack.api.post(&format!("{}/deploy", path(id)), body).await.json();
    (answer["job_id"].as_u64().map(JobId), answer["failure_list"].take())
}

pub async fn ended(stack: &Stack, job: JobId) -> Value {
    until("the deployment ends", LIMIT, async || {
        let shown = stack.api.get(&format!("/jobs/{job}")).await.response();
        (shown["state"] == "ended").then_some(shown)
    })
    .await
}

/// The certificate that a TLS client gets now.
pub async fn shown(stack: &Stack, device: &str) -> Value {
    stack.api.get(&format!("/devices/{device}/fingerprint")).await.response()["fingerprint"].take()
}

pub fn print(bundle: &Bundle) -> Value {
    json!(format!("sha256:{}", Fingerprint::of(&bundle.leaf_der)))
}

#[tokio::test]
async fn deployed_certificates_are_shown_and_recognised_by_rollovers() {
    Stack::run(1, async |stack| {
        stack.found().await;
        stack.enrol_fleet().await;
        let fakes = fakes(stack, &["web-1", "web-2"]).await;
        let listener = Listener::start(stack).await;
        let (first, second) = (Bundle::new("one.example.com"), Bundle::new("two.example.com"));
        let one = stack.import("one", &first).await;
        let two = stack.import("two", &second).await;
        listener.take(2).await;

        let (job, refusals) = deploy(stack, one, &["web-1", "web-2", "bmc-0001", "nobody", "web-1"]).await;
        let refusals: BTreeMap<_, _> = refusals
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["resource"].as_str().unwrap(), row["failure_info"].as_str().unwrap()))
            .collect();
        assert!(refusals["bmc-0001"].contains("vmedia"), "{refusals:?}");
        assert!(refusals["nobody"].contains("no such device"), "{refusals:?}");
        assert_eq!(refusals.len(), 3, "{refusals:?}");
        let job = ended(stack, job.unwrap()).await;
        assert_eq!((&job["kind"], &job["outcome"]), (&json!("deployment"), &json!("deployed")), "{job}");
        for device in ["web-1", "web-2"] {
            assert_eq!(shown(stack, device).await, print(&first), "{device}");
        }
        let told = listener.take(2).await;
        let told: Vec<_> = told["Certificate Deployed"].iter().map(|detail| detail["certificateId"].clone()).collect();
        assert_eq!(told, [json!(one.to_string()), json!(one.to_string())]);

        // The other certificate replaces it on one device.
        let (job, _) = deploy(stack, two, &["web-2"]).await;
        ended(stack, job.unwrap()).await;
        assert_eq!(shown(stack, "web-2").await, print(&second));
        let asked = json!({ "certificate_ids": [one.to_string(), two.to_string()], "service_names": ["DEVICE"] });
        let used = stack.api.post("/v3/scm/deployed-resources", asked).await.json();
        let on = |index: usize| {
            used["results"][index]["deployed_resources"][0]["region_resources"][0]["resources"][0]["resource_id"]
                .clone()
        };
        assert_eq!((on(0), on(1)), (json!("web-1"), json!("web-2")), "{used}");

        for id in [one, two] {
            let message = refused(&stack.api.delete(&path(id)).await, 409, "SCM.0409");
            assert!(message.contains("device"), "{message}");
        }
        stack.api.delete("/devices/web-1").await.response();
        assert_eq!(stack.api.delete(&path(one)).await.status, 204);

        // A rollover recognises the devices by their new keys.
        let job = stack.put_root("").await;
        stack.ended(job).await;
        assert_eq!(fakes["web-2"].open_sessions(), 0);
    })
    .await;
}

#[tokio::test]
async fn what_no_device_could_show_is_not_deployed() {
    Stack::run(0, async |stack| {
        let agent = body("agent", &Bundle::of_client("agent.example"));
        // Made with Python cryptography 48: a leaf with a key for ML-DSA-44, and its root.
        let quantum = include_str!("ml_dsa_44.pem");
        let (certificates, key) = quantum.split_at(quantum.find("-----BEGIN PRIVATE KEY").unwrap());
        let quantum = json!({ "name": "quantum", "certificate": certificates, "private_key": key });
        for (sent, purpose, reason) in [
            (agent, "client", "no serverAuth"),
            (quantum, "server", "ML-DSA-44, which the TLS client here cannot verify"),
        ] {
            let answer = stack.api.post(&format!("{CERTIFICATES}/import"), sent.clone()).await;
            assert_eq!(answer.json()["purposes"], json!([purpose]));
            let deploy = format!("{}/deploy", path(imported(&answer)));
            let wanted = json!({ "service_name": "DEVICE", "resources": [{ "id": "bmc-1" }] });
            let why = refused(&stack.api.post(&deploy, wanted).await, 400, "SCM.0400");
            assert!(why.contains(reason), "{why}");
            let dn = policy_dn("Certificates", sent["name"].as_str().unwrap());
            let wanted =
                json!({ "CertificateDN": dn, "ApplicationDN": [r"\VED\Policy\Devices\bmc-1"], "PushToNew": true });
            let told = stack.api.post("/vedsdk/Certificates/Associate", wanted).await;
            assert!(told.status == 400 && told.text.contains(reason), "{told:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_failed_deployment_names_its_stage_and_resumes_there() {
    Stack::run(0, async |stack| {
        let fakes = fakes(stack, &["good", "wrong", "liar"]).await;
        stack.store_credential("wrong", USER, "tr0ub4dor-and-3").await;
        // Reports success and keeps the old certificate.
        fakes["liar"]
            .fault(|request, _| request.is("POST", "ReplaceCertificate").then(|| crate::fake::Reply::status(204)));
        let listener = Listener::start(stack).await;
        let bundle = Bundle::new("web.example.com");
        let id = stack.import("web", &bundle).await;
        let (job, refusals) = deploy(stack, id, &["good", "wrong", "liar"]).await;
        assert_eq!(refusals, json!([]));
        let job = job.unwrap();
        let over = ended(stack, job).await;
        assert_eq!(over["outcome"], "deployedWithFailures", "{over}");
        let mut told = listener.take(4).await;
        let mut failed: Vec<_> = told.remove("Certificate Deployment Failed").unwrap();
        failed.sort_by_key(|detail| detail["device"].as_str().unwrap().to_owned());
        let said: Vec<_> = failed.iter().map(|each| (&each["device"], &each["stage"], &each["class"])).collect();
        assert_eq!(
            said,
            [
                (&json!("liar"), &json!(900), &json!("notStored")),
                (&json!("wrong"), &json!(800), &json!("unauthorized"))
            ]
        );
        assert_eq!(shown(stack, "good").await, print(&bundle));
        let good = fakes["good"].requests().len();

        fakes["liar"].recover();
        stack.store_credential("wrong", USER, PASSWORD).await;
        stack.api.post(&format!("/jobs/{job}/resume"), json!({})).await.response();
        let over = until("the deployment ends well", LIMIT, async || {
            let shown = stack.api.get(&format!("/jobs/{job}")).await.response();
            (shown["outcome"] == "deployed").then_some(shown)
        });
        over.await;
        for device in ["good", "wrong", "liar"] {
            assert_eq!(shown(stack, device).await, print(&bundle), "{device}");
        }
        assert!(good > 0 && fakes["good"].requests().is_empty(), "a device that was done was visited again");
    })
    .await;
}

#[tokio::test]
async fn a_worker_dead_during_a_restart_is_replaced() {
    Stack::run(0, async |stack| {
        let fakes = fakes(stack, &["slow"]).await;
        let fake = &fakes["slow"];
        fake.restarts(Duration::from_secs(2), Duration::from_secs(1));
        let bundle = Bundle::new("web.example.com");
        let id = stack.import("web", &bundle).await;
        let (job, _) = deploy(stack, id, &["slow"]).await;
        let mut replaced = 0;
        until("the device was given its certificate", LIMIT, async || {
            replaced += fake.requests().iter().filter(|each| each.is("POST", "ReplaceCertificate")).count();
            (replaced > 0).then_some(())
        })
        .await;
        assert!(stack.crash("WorkerFunction").await > 0);
        let over = ended(stack, job.unwrap()).await;
        assert_eq!(over["outcome"], "deployed", "{over}");
        assert_eq!(shown(stack, "slow").await, print(&bundle));
        let again = fake.requests().iter().filter(|each| each.is("POST", "ReplaceCertificate")).count();
        assert_eq!(again, 0, "what was done was not looked for first");
        let device = stack.api.send(Method::GET, "/devices/slow", None).await.response();
        assert_eq!(device["pins"].as_array().unwrap().len(), 1, "{device}");
    })
    .await;
}
