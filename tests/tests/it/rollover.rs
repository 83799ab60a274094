//! Rollovers without faults.

use std::collections::BTreeSet;
use std::process::Stdio;

use futures::future::join_all;
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{Activation, Job, JobId, JobOutcome, Pass, Phase};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Authority, Change, RootRecord};
use rootcast_local::Device;
use rootcast_pki::bundle::{verify_bundle, verify_jws};
use rootcast_pki::certificate::{Certificate, split_pem_bundle};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::fake::{Fake, Model, Reply};
use crate::stack::{PREFIX, Stack, anchors_of, fake_enrolment};

/// Two roots for 25 devices, checked with everything that is visible from outside.
#[tokio::test]
async fn twenty_five_devices_hold_both_roots_after_the_second_rollover() {
    Stack::run(25, async |stack| {
        stack.api.get("/signingCertificate").await.refused(404);
        stack.enrol_fleet().await;
        approving_takes_what_the_device_shows(stack).await;

        let first = stack.put_root("").await;
        assert_eq!(stack.ended(first).await.outcome, Some(JobOutcome::Activated));
        let old = signing(stack).await;
        assert_every_device_holds(stack, &[&old]).await;

        let second = stack.put_root("?reason=key%20age").await;
        assert_eq!(second, JobId(first.0 + 1));
        let job = stack.ended(second).await;
        assert_eq!(job.outcome, Some(JobOutcome::Activated));
        let new = signing(stack).await;
        assert_ne!(new, old);
        assert_every_device_holds(stack, &[&old, &new]).await;
        stack.assert_counters_equal_task_states(first).await;
        stack.assert_counters_equal_task_states(second).await;

        assert_waves(stack, second).await;
        assert_roots(stack, &old, &new).await;
        assert_published_bundle(stack, &job, &old, &new).await;
        assert_vendors_view(stack, second).await;
    })
    .await;
}

/// XClarity's behaviour: the new root is activated before any device has it. This is recorded.
#[tokio::test]
async fn an_immediate_activation_signs_first_and_names_failures() {
    Stack::run(6, async |stack| {
        stack.found().await;
        let old = signing(stack).await;
        stack.enrol_fleet().await;
        stack.local.fleet.stop("bmc-0003").await.unwrap();

        let id = stack.put_root("?activation=immediate&errorBudget=100").await;
        stack.job_when(id, "devices are at work", |job| job.phase == Phase::Distribute).await;
        let new = signing(stack).await;
        assert_ne!(new, old);
        assert_eq!(stack.tally(id, Pass::Distribute).await.failed, 0);

        let job = stack.ended(id).await;
        assert_eq!(job.outcome, Some(JobOutcome::ActivatedWithFailures));
        assert_eq!(job.activation, Activation::Immediate);
        assert!(job.reason.contains("1 devices do not hold it"), "{}", job.reason);
        let tasks = stack.tasks(id, Pass::Distribute).await;
        assert!(tasks.values().all(|task| job.activated.unwrap() <= task.at));
        let failed: Vec<&str> =
            tasks.values().filter(|task| task.state == TaskState::Failed).map(|task| task.device.as_str()).collect();
        assert_eq!(failed, ["bmc-0003"]);
        stack.assert_counters_equal_task_states(id).await;
        assert!(stack.log("ConductFunction").await.contains("\"JobsFailed\":1"));
        let shown = stack.api.get(&format!("/jobs/{id}")).await.response();
        assert_eq!((&shown["activation"], &shown["outcome"]), (&json!("immediate"), &json!("activatedWithFailures")));
        assert_eq!(stack.api.get(&format!("/tasks/{id}?compact=true")).await.json()[0]["status"], "CompleteWithErrors");
    })
    .await;
}

/// The fleet was paged completely when the device joined; the new root is not activated before the device has it.
#[tokio::test]
async fn a_device_that_joins_gets_the_root_before_activation() {
    Stack::run(3, async |stack| {
        stack.found().await;
        let slow = Fake::start(Model::OpenBmc).await;
        slow.fault(|_, _| Some(Reply::Hang));
        stack.store_credential("slow", crate::fake::USER, crate::fake::PASSWORD).await;
        let late = stack.local.fleet.device("bmc-0003").unwrap().clone();
        rootcast_local::store_credentials(&stack.local.sdk_config, PREFIX, stack.devices()).await.unwrap();
        let early = stack.devices().filter(|device| device.id != late.id).map(|device| device.enrolment(PREFIX));
        stack.enrol(early.chain([fake_enrolment("slow", &slow)]).collect()).await;

        let id = stack.put_root("").await;
        stack.job_when(id, "the fleet is paged", Job::is_paged).await;
        stack.enrol(vec![late.enrolment(PREFIX)]).await;
        slow.recover();

        let job = stack.ended(id).await;
        assert_eq!(job.outcome, Some(JobOutcome::Activated));
        let tasks = stack.tasks(id, Pass::Distribute).await;
        assert_eq!(tasks.len(), 4);
        assert_eq!(tasks[&late.id].state, TaskState::Acked);
        assert!(tasks[&late.id].at <= job.activated.unwrap());
        assert!(anchors_of(&late).await.contains(signing(stack).await.der()));
        stack.assert_counters_equal_task_states(id).await;
        a_stored_rollout_waits_for_its_window(stack, &late).await;
    })
    .await;
}

/// By the command: a device whose window is closed is awaited, and free without the label.
async fn a_stored_rollout_waits_for_its_window(stack: &Stack, late: &Device) {
    let cli = async |line: String| stack.cli_as(&stack.api.token, &line).await;
    let hours = [2, 4].map(|later| format!("{:02}:00", (OffsetDateTime::now_utc().hour() + later) % 24));
    let window = json!({ "where": "site=fra", "from": hours[0], "to": hours[1], "zone": "UTC" });
    let file = stack.local.data.join("closed.json");
    std::fs::write(&file, json!({ "holdDown": 0, "windows": [window] }).to_string()).unwrap();
    cli(format!("rollout put {} --name nightly", file.display())).await.done();
    let stored = cli("rollout list".to_owned()).await.done();
    assert_eq!(stored["rollout"]["windows"], json!([window]));
    let id = &late.id;
    assert_eq!(cli(format!("device label {id} --set site=fra")).await.done()["labels"], json!({ "site": "fra" }));
    assert_eq!(cli("device list --where site=fra".to_owned()).await.done()["id"], id.as_str());
    cli("rotate --rollout weekly --yes".to_owned()).await.refused(1, "There is no rollout weekly");

    let started = cli("rotate --rollout nightly --until activate --yes".to_owned()).await.done();
    let job: JobId = started["jobPath"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    stack.job_when(job, "it waits", |job| job.reason.contains("the window of site=fra, which opens at")).await;
    assert!(!stack.tasks(job, Pass::Distribute).await.contains_key(id));
    cli(format!("device label {id} --remove site")).await.done();
    assert_eq!(stack.ended(job).await.outcome, Some(JobOutcome::Activated));
    assert_eq!(stack.tasks(job, Pass::Distribute).await[id].state, TaskState::Acked);
    stack.assert_counters_equal_task_states(job).await;
    cli("rollout delete nightly --yes".to_owned()).await.done();
    cli("rollout show nightly".to_owned()).await.refused(1, "There is no rollout nightly");
}

/// An operator approves a pending device by the fingerprint that it shows, which needs no credential.
async fn approving_takes_what_the_device_shows(stack: &Stack) {
    let device = stack.devices().next().unwrap();
    let path = format!("/devices/{}", device.id);
    let pins = |device: Value| (device["pins"].clone(), device["state"].clone());
    let shown = stack.api.get(&format!("{path}/fingerprint")).await.response();
    let pending = stack.api.patch(&path, json!({ "pins": [] })).await.response();
    assert_eq!(pins(pending), (json!([]), json!("pending")));
    let approved = stack.api.patch(&path, json!({ "pins": [shown["fingerprint"]] })).await.response();
    assert_eq!(pins(approved), (device.enrolment(PREFIX)["pins"].clone(), json!("approved")));
}

/// `GET /signingCertificate`
pub async fn signing(stack: &Stack) -> Certificate {
    let answer = stack.api.get("/signingCertificate").await;
    assert_eq!(answer.headers["content-type"], "application/x-pem-file");
    Certificate::from_pem(answer.raw()).unwrap()
}

/// Each device's answer to an independent client, and its record.
async fn assert_every_device_holds(stack: &Stack, roots: &[&Certificate]) {
    let wanted: BTreeSet<Vec<u8>> = roots.iter().map(|root| root.der().to_vec()).collect();
    for found in join_all(stack.devices().map(anchors_of)).await {
        assert_eq!(found, wanted);
    }
    let bundle = stack.ledger.authority().await.unwrap().bundle;
    let sha256 = stack.ledger.bundle(bundle).await.unwrap().unwrap().bundle.sha256();
    let devices = stack.api.get("/devices?limit=100").await.response();
    let devices = devices["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 25);
    for device in devices {
        assert_eq!(device["held"]["bundleVersion"], bundle, "{device}");
        assert_eq!(device["held"]["sha256"], sha256.to_string(), "{device}");
        assert!(device.get("lease").is_none() && device.get("failure").is_none(), "{device}");
    }
}

/// Five canaries, then all others, each wave after the previous one.
async fn assert_waves(stack: &Stack, id: JobId) {
    let job = stack.api.get(&format!("/jobs/{id}")).await.response();
    let counts =
        json!({ "total": 25, "dispatched": 25, "acked": 25, "failed": 0, "skipped": 0, "waived": 0, "waiting": 0 });
    assert_eq!(job["devices"], counts);
    assert_eq!(
        (&job["phase"], &job["state"], &job["outcome"], &job["requestedFor"]),
        (&json!("ended"), &json!("ended"), &json!("activated"), &json!("key age"))
    );
    let waves = job["waves"].as_array().unwrap();
    let figures = |wave: &Value| (wave["number"].clone(), wave["size"].clone(), wave["acked"].clone());
    let figures: Vec<_> = waves.iter().map(figures).collect();
    assert_eq!(figures, [(json!(1), json!(5), json!(5)), (json!(2), json!(20), json!(20))]);
    assert!(waves[0]["closed"].as_str().unwrap() <= waves[1]["opened"].as_str().unwrap());
    let tasks = stack.api.get(&format!("/jobs/{id}/tasks?state=acked&limit=100")).await.response();
    let tasks = tasks["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 25);
    assert!(tasks.iter().all(|task| task["attempt"] == 1 && task["leg"] == "distribute"), "{tasks:?}");
}

/// Both generations, the active one first, and both links between them.
async fn assert_roots(stack: &Stack, old: &Certificate, new: &Certificate) {
    let details = stack.api.get("/signingCertificate/details").await.response();
    let rows: Vec<_> =
        details.as_array().unwrap().iter().map(|row| (row["generation"].clone(), row["state"].clone())).collect();
    assert_eq!(rows, [(json!(2), json!("signing")), (json!(1), json!("superseded"))]);
    for (row, root) in details.as_array().unwrap().iter().zip([new, old]) {
        assert_eq!(&Certificate::from_pem(row["certificate"].as_str().unwrap()).unwrap(), root);
        assert_eq!((&row["subjectDn"], &row["issuerDn"]), (&json!(root.subject_dn()), &json!(root.subject_dn())));
        assert_eq!(row["signatureAlgorithm"], "SHA384withECDSA");
    }
    let RootRecord { state, new_with_old, old_with_new, .. } = stack.ledger.root(2).await.unwrap().unwrap();
    assert_eq!(state, GenerationState::Signing);
    let (new_with_old, old_with_new) =
        (new_with_old.unwrap().certificate.unwrap(), old_with_new.unwrap().certificate.unwrap());
    new_with_old.verify_signed_by(old).unwrap();
    old_with_new.verify_signed_by(new).unwrap();
    assert_eq!((new_with_old.spki_der(), old_with_new.spki_der()), (new.spki_der(), old.spki_der()));
}

/// Each root alone verifies the bundle; OpenSSL reads its EST form.
async fn assert_published_bundle(stack: &Stack, job: &Job, old: &Certificate, new: &Certificate) {
    let answer = stack.api.send_as(None, reqwest::Method::GET, "/bundle", None).await;
    assert_eq!(answer.headers["content-type"], "application/jose+json");
    for trusted in [old, new] {
        let bundle = verify_jws(answer.raw(), std::slice::from_ref(trusted)).unwrap();
        assert_eq!((bundle.version, &bundle.withdrawn), (job.bundle_version, &Vec::new()));
        assert_eq!(bundle.anchors, [old.clone(), new.clone()]);
    }
    assert_signed_again(stack, answer.raw(), answer.headers["etag"].to_str().unwrap(), new).await;
    let answer = stack.api.send_as(None, reqwest::Method::GET, "/.well-known/est/cacerts", None).await;
    assert_eq!(answer.headers["content-type"], "application/pkcs7-mime; smime-type=certs-only");
    let pkcs7 = openssl(&["base64", "-d", "-A"], answer.raw().as_bytes()).await;
    let printed = openssl(&["pkcs7", "-inform", "DER", "-print_certs"], &pkcs7).await;
    let certificates = split_pem_bundle(&String::from_utf8(printed).unwrap()).unwrap();
    let is_root = |each: &&Certificate| each.subject_dn() == each.issuer_dn();
    let found: BTreeSet<&[u8]> = certificates.iter().filter(is_root).map(Certificate::der).collect();
    assert_eq!(found, BTreeSet::from([old.der(), new.der()]));
    let leads = |subject: &Certificate, issuer: &Certificate| {
        certificates.iter().any(|each| {
            (each.spki_der(), each.issuer_dn()) == (subject.spki_der(), issuer.subject_dn())
                && each.verify_signed_by(issuer).is_ok()
        })
    };
    assert!(leads(new, old) && leads(old, new), "NewWithOld and OldWithNew");
}

/// When half of its life is over: the same bundle with another end, also for clients that cache it.
async fn assert_signed_again(stack: &Stack, first: &str, tag: &str, root: &Certificate) {
    let (trusted, now) = (std::slice::from_ref(root), OffsetDateTime::now_utc());
    let first = verify_bundle(first, trusted, now, None).unwrap();
    let authority = stack.ledger.authority().await.unwrap();
    assert_eq!(authority.bundle_expires, first.exp);
    let old = Authority { bundle_expires: Some(now + time::Duration::days(14)), ..authority };
    stack.ledger.commit(Change { authority: Some(&old), ..Change::default() }).await.unwrap();
    stack.invoke("ConductFunction", &json!({ "wake": "running" })).await;
    let log = stack.log("ConductFunction").await;
    assert!(log.contains("\"BundleLifeLeft\":11"), "14 of 120 days: {log}");
    let answer = stack.api.send_with(&[("if-none-match", tag)], reqwest::Method::GET, "/bundle", None).await;
    assert_eq!(answer.status, 200, "the end of the one that the client has is no longer right");
    let again = verify_bundle(answer.raw(), trusted, now, Some(first.seen())).unwrap();
    assert!(again.exp > first.exp && again.version == first.version, "{again:?}");
}

/// The job as Lenovo's clients read it.
async fn assert_vendors_view(stack: &Stack, id: JobId) {
    let job = stack.api.get(&format!("/signingCertificate/jobs/{id}")).await.response();
    assert_eq!((&job["progress"], &job["jobPath"]), (&json!(100.0), &json!(id.path())));
    let rows = job["result"].as_array().unwrap();
    let devices: BTreeSet<&str> = rows.iter().map(|row| row["messageAttributes"].as_str().unwrap()).collect();
    assert_eq!((rows.len(), devices), (25, stack.devices().map(|device| device.id.as_str()).collect()));
    assert!(rows.iter().all(|row| row["result"] == "SUCCESS" && row["progress"] == 100), "{job}");

    let tasks = stack.api.get(&format!("/tasks/{id}")).await.json();
    let task = &tasks.as_array().unwrap()[0];
    assert_eq!(
        (&task["jobUID"], &task["complete"], &task["status"]),
        (&json!(id.to_string()), &json!(true), &json!("Complete"))
    );
    assert_eq!(task["children"].as_array().unwrap().len(), 25);
    let compact = stack.api.get(&format!("/tasks/{id}?compact=true")).await.json();
    assert!(compact[0].get("children").is_none());
}

async fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new("openssl").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success());
    output.stdout
}
