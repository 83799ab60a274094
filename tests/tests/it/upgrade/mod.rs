//! An upgrade while a rollover runs: a stack of the last release's template, with the records that it wrote, is updated to this
//! template, which replaces nothing, and this version goes on and loses no record.
//!
//! `released/` has what that release deployed, and what its stack held when it was stopped: the rows of its tables and the keys of
//! its roots. With ROOTCAST_RECORD_UPGRADE=1 this test writes it; at a release, commit that. Left out are the table of access,
//! whose secrets are sealed with a key that belongs to a stack and not to its records, and of the template what no other
//! resource depends on: alarms, rights and texts. The code is this version's before the update, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{JobOutcome, JobState};
use rootcast_local::{LocalOptions, Progress};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Map, Value, json};

use crate::fake::{Fake, Identity, Model, PASSWORD, Reply, USER};
use crate::import::pki::Bundle;
use crate::stack::{LIMIT, Stack, fake_enrolment, until};

const TABLES: [&str; 5] = ["CertificatesTable", "JobsTable", "DevicesTable", "AuditTable", "HeadsTable"];
const DEVICES: [&str; 3] = ["a", "b", "c"];
/// The rollover runs, and waits for this device.
const AWAY: &str = "c";

fn released() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/upgrade/released")
}

fn options(state: &Path) -> LocalOptions {
    let mut options = LocalOptions::new(0, Progress::silent()).unwrap();
    options.state = Some(state.to_owned());
    options
}

#[tokio::test]
async fn a_rollover_of_the_last_release_ends_after_an_upgrade() {
    if std::env::var_os("ROOTCAST_RECORD_UPGRADE").is_some() {
        record().await;
    }
    let state = tempfile::tempdir().unwrap();
    std::fs::copy(released().join("kms.json"), state.path().join("kms.json")).unwrap();
    let mut held: Value =
        serde_json::from_str(&std::fs::read_to_string(released().join("held.json")).unwrap()).unwrap();
    let mut options = options(state.path());
    options.template = Some(released().join("template.json"));
    // Messages to workers stayed in the old queue, and a device is away until the update is over.
    for (name, value) in [("StallSeconds", "10"), ("MaxTries", "8")] {
        options.parameters.insert(name.to_owned(), value.to_owned());
    }
    Stack::run_on(options, async |stack| {
        let mut fakes = BTreeMap::new();
        for id in DEVICES {
            let device = held["devices"][id].take();
            let fake = device_with(device["key"].as_str().unwrap()).await;
            for anchor in device["holds"].as_array().unwrap() {
                fake.hold(pem::parse(anchor.as_str().unwrap()).unwrap().contents());
            }
            let rows =
                held["tables"].to_string().replace(device["address"].as_str().unwrap(), &fake.address.to_string());
            held["tables"] = serde_json::from_str(&rows).unwrap();
            stack.store_credential(id, USER, PASSWORD).await;
            fakes.insert(id, fake);
        }
        for table in TABLES {
            for row in held["tables"][table].as_array().unwrap() {
                dynamodb(stack, table, "PutItem", json!({ "Item": row })).await;
            }
        }
        let authority = stack.ledger.authority().await.unwrap();
        let (running, next) = (authority.running.unwrap(), authority.last_generation);
        assert_ne!(authority.signing, Some(next));
        fakes[AWAY].fault(|_, _| Some(Reply::status(503)));
        // A message that was under way.
        let queue = stack.local.outputs.of("ControlQueueUrl").unwrap();
        let message = json!({ "job": running, "why": "an upgrade" }).to_string();
        let sqs = aws_sdk_sqs::Client::new(&stack.local.sdk_config);
        sqs.send_message().queue_url(queue).message_body(message).send().await.unwrap();
        let updated = stack.local.update().await.unwrap();
        for (name, value) in stack.local.outputs.iter() {
            assert_eq!(updated.of(name).unwrap(), value, "the update replaced {name}");
        }
        assert_eq!(stack.job(running).await.state, JobState::Running);
        fakes[AWAY].fault(|_, _| None);
        assert_eq!(stack.ended(running).await.outcome, Some(JobOutcome::Activated));
        assert_eq!(stack.ledger.authority().await.unwrap().signing, Some(next));
        let root = stack.ledger.root(next).await.unwrap().unwrap().certificate.unwrap();
        for (id, fake) in &fakes {
            assert!(fake.held().contains(&root.fingerprint()), "{id} does not hold the new root");
        }

        let mut lost = BTreeSet::new();
        for table in TABLES {
            let there: BTreeSet<String> = scan(stack, table).await.iter().map(key).collect();
            // A list of work: what is done leaves it.
            let rows = held["tables"][table].as_array().unwrap().iter().filter(|row| row["pk"]["S"] != "joining");
            let before = rows.map(key);
            lost.extend(before.filter(|key| !there.contains(key)).map(|key| format!("{table} {key}")));
        }
        assert_eq!(lost, BTreeSet::new());
        let mut jobs = stack.api.get("/jobs").await.response()["jobs"].take();
        jobs.as_array_mut().unwrap().retain(|job| job["kind"] == "rollover");
        assert_eq!(jobs.as_array().unwrap().len(), 2, "{jobs}");
        for path in [
            "/devices/a",
            "/devices/c/audit",
            "/signingCertificate/details",
            "/issuingAuthorities",
            "/certificates/signed",
            "/audit/heads",
            &format!("/jobs/{running}/tasks"),
            &format!("/jobs/{running}/audit"),
            &format!("/roots/{next}/audit"),
        ] {
            stack.api.get(path).await.response();
        }
        let listed = stack.api.get("/v3/scm/certificates").await.json();
        assert_eq!(listed["certificates"][0]["name"], "web", "{listed}");
        refuses_what_a_newer_version_wrote(stack).await;
    })
    .await;
}

/// After a deployment went back to this version.
async fn refuses_what_a_newer_version_wrote(stack: &Stack) {
    let rows = scan(stack, "CertificatesTable").await;
    let mut authority = rows.into_iter().find(|row| row["id"]["S"] == "authority").unwrap();
    authority["schema"]["N"] = json!("1000");
    dynamodb(stack, "CertificatesTable", "PutItem", json!({ "Item": authority })).await;
    let message = stack.api.put("/signingCertificate").await.refused(503);
    assert!(
        message["text"].as_str().unwrap().starts_with("A newer version of Rootcast wrote the records"),
        "{message}"
    );
}

/// Writes what the test above reads: two roots, a third that two of three devices hold, and a certificate.
async fn record() {
    let state = tempfile::tempdir().unwrap();
    let mut options = options(state.path());
    // The device that is away is not tried again before the stack is stopped.
    options.parameters.insert("RetryBaseSeconds".to_owned(), "60".to_owned());
    let recorded = tokio::sync::Mutex::new(Value::Null);
    Stack::run_on(options, async |stack| {
        stack.found().await;
        let (mut fakes, mut keys) = (BTreeMap::new(), BTreeMap::new());
        for id in DEVICES {
            let key = KeyPair::generate().unwrap().serialize_pem();
            let fake = device_with(&key).await;
            let mut enrolment = fake_enrolment(id, &fake);
            enrolment["pins"] = json!([fake.key_pin.to_string()]);
            enrolment["labels"] = json!({ "site": "fra" });
            stack.store_credential(id, USER, PASSWORD).await;
            stack.enrol(vec![enrolment]).await;
            fakes.insert(id, fake);
            keys.insert(id, key);
        }
        stack.import("web", &Bundle::new("web.example.com")).await;
        let first = stack.put_root("").await;
        stack.ended(first).await;
        fakes[AWAY].fault(|_, _| Some(Reply::status(503)));
        let job = stack.put_root("?canary=3&errorBudget=100").await;
        until("the others hold it", LIMIT, async || {
            let job = stack.job(job).await;
            let tasks = stack.tasks(job.id, job.pass()).await;
            let acked = tasks.values().filter(|task| task.state == TaskState::Acked).count();
            (acked == DEVICES.len() - 1).then_some(())
        })
        .await;
        let mut tables = Map::new();
        for table in TABLES {
            let mut rows = scan(stack, table).await;
            rows.sort_by_key(key);
            tables.insert(table.to_owned(), rows.into());
        }
        let details = stack.api.get("/signingCertificate/details").await.response();
        let roots: Vec<String> =
            details.as_array().unwrap().iter().map(|row| row["certificate"].as_str().unwrap().to_owned()).collect();
        let holds = |fake: &Fake| -> Vec<&String> {
            let held = fake.held();
            let is_held = |root: &&String| held.contains(&Fingerprint::of(pem::parse(root).unwrap().contents()));
            roots.iter().filter(is_held).collect()
        };
        let device = |(id, fake): (&&str, &Fake)| {
            (id.to_string(), json!({ "address": fake.address.to_string(), "key": keys[*id], "holds": holds(fake) }))
        };
        let devices: Map<_, _> = fakes.iter().map(device).collect();
        let template = reqwest::get(format!("{}/rootcast-code/template.json", stack.local.endpoint_url)).await.unwrap();
        let template = template.error_for_status().unwrap().json().await.unwrap();
        *recorded.lock().await = json!({ "devices": devices, "tables": tables, "template": reduced(template) });
    })
    .await;
    std::fs::create_dir_all(released()).unwrap();
    // Of the stack's own keys, only their names are used: another stack has others.
    let kms: Value = serde_json::from_str(&std::fs::read_to_string(state.path().join("kms.json")).unwrap()).unwrap();
    std::fs::write(released().join("kms.json"), serde_json::to_string_pretty(&kms).unwrap() + "\n").unwrap();
    let mut recorded = recorded.into_inner();
    let template = recorded.as_object_mut().unwrap().remove("template").unwrap();
    std::fs::write(released().join("template.json"), lines(&template)).unwrap();
    std::fs::write(released().join("held.json"), serde_json::to_string_pretty(&recorded).unwrap() + "\n").unwrap();
}

/// Without what an update of the rest does not depend on.
fn reduced(mut template: Value) -> Value {
    let resources = template["Resources"].as_object_mut().unwrap();
    let is_kept = |resource: &Value| {
        let kind = resource["Type"].as_str().unwrap();
        !["AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard", "AWS::IAM::ManagedPolicy"].contains(&kind)
    };
    resources.retain(|_, resource| is_kept(resource));
    for role in resources.values_mut().filter(|resource| resource["Type"] == "AWS::IAM::Role") {
        role["Properties"]
            .as_object_mut()
            .unwrap()
            .retain(|name, _| !name.ends_with("Policies") && !name.starts_with("Managed"));
    }
    // Which programs are deployed then is another matter: their packages have other names.
    for code in resources.values_mut().filter_map(|resource| resource["Properties"].get_mut("Code")) {
        if let Some((function, _)) = code["S3Key"].as_str().unwrap().to_owned().rsplit_once('-') {
            code["S3Key"] = format!("{function}.zip").into();
        }
    }
    for parameter in template["Parameters"].as_object_mut().unwrap().values_mut() {
        parameter.as_object_mut().unwrap().remove("Description");
    }
    template
}

/// A line each member of each section.
fn lines(template: &Value) -> String {
    let members = |section: &Value| match section {
        Value::Object(members) => {
            let members: Vec<_> = members.iter().map(|(name, member)| format!("{}: {member}", json!(name))).collect();
            format!("{{\n{}\n}}", members.join(",\n"))
        }
        text => text.to_string(),
    };
    let sections = template.as_object().unwrap().iter();
    let sections: Vec<_> = sections.map(|(name, section)| format!("{}: {}", json!(name), members(section))).collect();
    format!("{{\n{}\n}}\n", sections.join(",\n"))
}

async fn device_with(key: &str) -> Fake {
    let identity = Identity::with(KeyPair::from_pem(key).unwrap());
    let key = identity.key();
    Fake::start_as(Model::OpenBmc, &identity, key, rustls::DEFAULT_VERSIONS).await
}

async fn scan(stack: &Stack, table: &str) -> Vec<Value> {
    let mut answer = dynamodb(stack, table, "Scan", json!({})).await;
    assert!(answer["LastEvaluatedKey"].is_null(), "{table} has more than a page");
    answer["Items"].as_array_mut().unwrap().drain(..).collect()
}

fn key(row: &Value) -> String {
    ["id", "pk", "sk"]
        .map(|name| row[name].as_object().map(|text| json!(text).to_string()).unwrap_or_default())
        .join(" ")
}

/// Rows as they are on record, which the SDK's types would lose.
async fn dynamodb(stack: &Stack, table: &str, operation: &str, mut request: Value) -> Value {
    request["TableName"] = json!(stack.local.outputs.of(table).unwrap());
    let signed =
        "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
    let request = reqwest::Client::new()
        .post(&stack.local.endpoint_url)
        .header("authorization", signed)
        .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
        .header("content-type", "application/x-amz-json-1.0")
        .body(request.to_string());
    request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}
