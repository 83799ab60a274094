//! The audit record, from the action to the verified file, and the detection of a changed chain.

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::Method;
use rootcast_core::access::permission::Role;
use rootcast_core::audit::{Act, Action, Actor, Entry, Head, Subject, Unverified, export, verify, verify_export};
use rootcast_core::job::JobOutcome;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::notary::open;
use serde_json::json;
use time::OffsetDateTime;

use crate::import::deploying::fakes;
use crate::import::events::look;
use crate::stack::{FUNCTIONS, Stack};

#[tokio::test]
async fn an_export_of_a_job_is_verified_or_found_changed() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let _fakes = fakes(stack, &["a", "b"]).await;
        let id = stack.put_root("?reason=yearly").await;
        let job = stack.ended(id).await;
        assert_eq!(job.outcome, Some(JobOutcome::Activated), "{}", job.reason);
        let subject = Subject::Job(id);

        let page = stack.ledger.audit_page(&Subject::Root(job.generation), 0, 100).await.unwrap();
        let (entries, _) = verify(page.lines.iter().map(String::as_str)).unwrap();
        let done: Vec<_> = entries.iter().map(|entry| (entry.action, entry.principal.as_str())).collect();
        // The second one is its issuing authority's.
        let expected =
            [(Action::Create, "tests"), (Action::Create, "function:conduct"), (Action::Activate, "function:conduct")];
        assert_eq!(done.into_iter().filter(|(action, _)| *action != Action::Wake).collect::<Vec<_>>(), expected);
        // The first root, which was created without a job.
        let first = stack.api.get("/roots/1/audit").await.response();
        let lines: Vec<&str> = first["entries"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let (entries, _) = verify(lines).unwrap();
        let done: Vec<_> = entries.iter().map(|entry| (entry.action, entry.principal.as_str())).collect();
        assert_eq!(done[..2], [(Action::Create, "tests"), (Action::Activate, "tests")]);

        // Concurrent writers may lose races, but no entry.
        let by = Actor { principal: "tests".to_owned(), request_id: None };
        let act = |number: u32| {
            Act::new(subject.clone(), Action::Waive, &by, OffsetDateTime::now_utc()).with("number", number)
        };
        let acts: Vec<Act> = (0..4).map(act).collect();
        futures::future::try_join_all(acts.iter().map(|act| stack.ledger.audit(act))).await.unwrap();
        let page = stack.ledger.audit_page(&subject, 0, 100).await.unwrap();
        let (entries, head) = verify(page.lines.iter().map(String::as_str)).unwrap();
        assert_eq!(head, stack.ledger.audit_head(&subject).await.unwrap());
        let done: Vec<_> = entries.iter().map(|entry| (entry.action, entry.principal.as_str())).collect();
        assert_eq!(done[..2], [(Action::Create, "tests"), (Action::Activate, "function:conduct")]);
        assert_eq!((done.len(), &entries[0].details["reason"]), (6, &"yearly".to_owned()));
        assert!(entries[0].request_id.is_some());
        let log = stack.log("RegenerateFunction").await;
        assert!(log.contains(&entries[1].previous.to_string()), "the log knows the head: {log}");

        let first = stack.api.get(&format!("/jobs/{id}/audit?limit=4")).await.response();
        let rest = format!("/jobs/{id}/audit?limit=4&cursor={}", first["cursor"].as_str().unwrap());
        let rest = stack.api.get(&rest).await.response();
        assert_eq!((first["entries"].as_array().unwrap().len(), rest["entries"].as_array().unwrap().len()), (4, 2));
        assert_eq!((&rest["entries"][1], &rest["cursor"]), (&json!(page.lines[5]), &json!(null)));
        stack.api.get("/jobs/77/audit").await.refused(404);
        stack.api.get("/certificates/scs0000000000000/audit").await.refused(404);

        // Each hour, the heads are signed.
        look(stack).await;
        let signed = stack.cli_as(&stack.api.token, "audit verify").await.done();
        let of_job = signed.as_array().unwrap().iter().find(|line| line["subject"] == id.to_string()).unwrap();
        assert_eq!((&of_job["entries"], &of_job["signed"]), (&json!(6), &json!(6)));
        assert_eq!(signed.as_array().unwrap().last().unwrap()["statements"], 1);
        look(stack).await;
        let statements = stack.api.get("/audit/heads").await.response();
        assert_eq!(statements["statements"].as_array().unwrap().len(), 2);

        // Change the last entry in the table itself.
        let database = aws_sdk_dynamodb::Client::new(&stack.local.sdk_config);
        let line = page.lines[5].replace("waive", "abort");
        let key = [("pk", id.to_string()), ("sk", "audit#000000000006".to_owned())];
        let key = key.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)));
        let update = database.update_item().table_name(stack.local.outputs.of("AuditTable").unwrap());
        let update = update.set_key(Some(key.into())).update_expression("SET line = :line");
        update.expression_attribute_values(":line", AttributeValue::S(line)).send().await.unwrap();
        let page = stack.ledger.audit_page(&subject, 0, 100).await.unwrap();
        let file = export(subject.clone(), &page.lines, stack.ledger.audit_head(&subject).await.unwrap()).unwrap();
        assert_eq!(verify_export(&file, None), Err(Unverified::OtherHead(6)));

        // Write the whole chain anew: it looks right, but is not what was signed.
        write_anew(stack, &subject, 6).await;
        let chain = stack.cli_as(&stack.api.token, &format!("audit job {id}")).await.done();
        assert!(chain.as_array().unwrap().iter().all(|entry| entry["principal"] == "mallory"), "{chain}");
        let verified = stack.cli_as(&stack.api.token, "audit verify").await;
        assert_eq!(verified.code, Some(1));
        let why: Vec<&str> = verified.lines.iter().filter_map(|line| line["why"].as_str()).collect();
        assert!(
            matches!(why[..], [why] if why.contains(&format!("of {id} is not the one")) && why.contains("anew")),
            "{why:?}"
        );
    })
    .await;
}

/// What somebody can do who may write the table.
async fn write_anew(stack: &Stack, subject: &Subject, entries: u64) {
    let database = aws_sdk_dynamodb::Client::new(&stack.local.sdk_config);
    let put = async |sort: &str, more: Vec<(&str, AttributeValue)>| {
        let key =
            [("pk", subject.to_string()), ("sk", sort.to_owned())].map(|(name, is)| (name, AttributeValue::S(is)));
        let item = key.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)).collect();
        let put = database.put_item().table_name(stack.local.outputs.of("AuditTable").unwrap());
        put.set_item(Some(item)).send().await.unwrap();
    };
    let by = Actor { principal: "mallory".to_owned(), request_id: None };
    let mut head = Head::NONE;
    for number in 1..=entries {
        let entry = Act::new(subject.clone(), Action::Pause, &by, OffsetDateTime::now_utc()).after(&head);
        let line = entry.line().unwrap();
        head = entry.head(&line);
        put(&format!("audit#{number:012}"), vec![("line", AttributeValue::S(line))]).await;
    }
    let (hash, sequence) = (AttributeValue::S(head.hash.to_string()), AttributeValue::N(head.sequence.to_string()));
    put("audit", vec![("hash", hash), ("sequence", sequence)]).await;
}

/// The entries of a chain, as the API shows them to an administrator.
async fn chain(stack: &Stack, path: &str) -> Vec<Entry> {
    let shown = stack.api.get(path).await.response();
    let lines: Vec<&str> = shown["entries"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let (entries, head) = verify(lines).unwrap();
    assert_eq!(serde_json::to_value(head).unwrap(), shown["head"]);
    entries
}

fn acts(entries: &[Entry]) -> Vec<(Action, &str)> {
    entries.iter().map(|entry| (entry.action, entry.principal.as_str())).collect()
}

#[tokio::test]
async fn devices_principals_and_policies_have_chains() {
    Stack::run(0, async |stack| {
        let operator = stack.api_of("eve", Role::Operator).await;
        let row =
            json!({ "id": "bmc-1", "address": "https://127.0.0.1:7007", "credential": "/rootcast/devices/bmc-1" });
        let pin = format!("spki-sha256:{}", "ab".repeat(32));
        stack.store_credential("bmc-1", "admin", "correct horse").await;
        stack.api.post("/devices", row.clone()).await.response();
        let edit = json!({ "address": "https://127.0.0.1:7066", "pins": [pin] });
        let pending = operator.patch("/devices/bmc-1", edit).await.response();
        let approval =
            json!({ "incarnation": pending["incarnation"], "endpointRevision": pending["endpointRevision"] });
        stack.api.post("/devices/bmc-1/approval", approval).await.response();
        assert_eq!(operator.delete("/devices/bmc-1").await.status, 200);
        // Another device under the same id goes on with the chain.
        stack.api.post("/devices", row).await.response();
        let told = chain(stack, "/devices/bmc-1/audit").await;
        let by = [
            (Action::Enrol, "tests"),
            (Action::Edit, "eve"),
            (Action::Approve, "tests"),
            (Action::Delete, "eve"),
            (Action::Enrol, "tests"),
        ];
        assert_eq!(acts(&told), by);
        assert_eq!(told[1].details["address"], "https://127.0.0.1:7007 -> https://127.0.0.1:7066");
        assert_eq!(told[2].details["endpointRevision"], "2");
        assert_ne!(told[0].details["incarnation"], told[4].details["incarnation"]);
        assert!(told.iter().all(|entry| entry.request_id.is_some()), "{told:?}");

        let principal = json!({ "name": "jane", "password": "a very long password indeed", "role": "reader" });
        assert_eq!(stack.api.post("/principals", principal).await.status, 201);
        let next = json!({ "password": "another very long password" });
        stack.api.send(Method::PUT, "/principals/jane/password", Some(next)).await.response();
        stack.api.delete("/principals/jane").await.response();
        let told = chain(stack, "/audit/principals?name=jane").await;
        let by = [Action::Create, Action::ChangePassword, Action::Delete].map(|action| (action, "tests"));
        assert_eq!(acts(&told), by);
        assert!(!format!("{told:?}").contains("argon2"), "no entry has a password");

        stack.permit(json!({ "networks": ["127.0.0.0/8"] })).await;
        let spec = json!({ "specName": "ECDSA_P256", "rotation": { "on": "2099-06-01" } });
        stack.api.send(Method::PUT, "/certificatePolicy", Some(spec)).await.response();
        for (policy, said) in [("issuance", "127.0.0.0/8"), ("certificate", "P256")] {
            let told = chain(stack, &format!("/audit/policies?name={policy}")).await;
            assert_eq!(acts(&told), [(Action::SetPolicy, "tests")]);
            assert!(told[0].details["policy"].to_uppercase().contains(said), "{told:?}");
            let rotation = told[0].details.get("rotation").map(String::as_str);
            assert_eq!(rotation, (policy == "certificate").then_some("never -> on 2099-06-01"));
        }
        stack.api.get("/audit/policies?name=other").await.refused(400);
        for path in ["/audit/principals?name=jane", "/audit/heads"] {
            operator.get(path).await.refused(403);
        }
    })
    .await;
}

#[tokio::test]
async fn each_denial_is_on_record_and_not_in_the_answer() {
    Stack::run(0, async |stack| {
        let bundle = crate::import::pki::Bundle::new("web.example.com");
        let certificate = stack.import("web", &bundle).await;
        let reader = stack.api_of("mallory", Role::Reader).await;
        let mut tried = Vec::new();
        for (method, path, missing) in [
            (Method::PUT, "/signingCertificate".to_owned(), "permission regenerate"),
            (Method::DELETE, "/principals/tests".to_owned(), "permission administer-access"),
            (Method::POST, format!("/v3/scm/certificates/{certificate}/export"), "permission export-key"),
            (Method::DELETE, format!("/v3/scm/certificates/{certificate}"), "right delete on"),
            (Method::POST, "/devices".to_owned(), "right create on"),
        ] {
            let body = json!({ "id": "x", "address": "https://127.0.0.1:7007", "credential": "/rootcast/devices/x" });
            let answer = reader.send(method.clone(), &path, Some(body)).await;
            assert_eq!(answer.status, 403, "{path}");
            let told = String::from_utf8_lossy(&answer.bytes);
            assert!(!told.contains("denials") && !told.contains("recorded"), "{told}");
            tried.push((method.to_string(), path, missing));
        }
        let told = chain(stack, "/audit/denials?name=mallory").await;
        assert_eq!(told.len(), tried.len(), "{told:?}");
        for (entry, (method, path, missing)) in told.iter().zip(&tried) {
            assert_eq!((entry.action, entry.principal.as_str()), (Action::Deny, "mallory"));
            assert!(entry.request_id.is_some() && entry.details["route"].starts_with(method), "{entry:?}");
            assert!(entry.details["path"].eq_ignore_ascii_case(path), "{entry:?}");
            assert!(entry.details["missing"].starts_with(missing), "{entry:?}");
        }
        reader.get("/audit/denials?name=mallory").await.refused(403);
        // A line for each, which CloudWatch counts; the last refusal is not in the chain above.
        let mut counted = 0;
        for function in FUNCTIONS {
            counted += stack.log(function).await.matches("\"OperationsDenied\":1").count();
        }
        assert_eq!(counted, tried.len() + 1);
    })
    .await;
}

#[tokio::test]
async fn signed_heads_are_copied_to_the_auditors_bucket() {
    // The bucket that the local cloud has: the one with the functions' code.
    const BUCKET: &str = "rootcast-code";
    Stack::run_with(0, &[("AuditBucket", BUCKET)], async |stack| {
        look(stack).await;
        look(stack).await;
        let stored = stack.ledger.statements(0, 10).await.unwrap().statements;
        assert!(stored.len() >= 2, "{stored:?}");
        for (number, jws) in (1..).zip(&stored) {
            let name = format!("{number:012}-{}.jws", Fingerprint::of(jws.as_bytes()));
            let key: String = open(jws).unwrap().key.to_string().chars().take(16).collect();
            let url = format!("{}/{BUCKET}/rootcast/us-east-1/rootcast/heads/{key}/{name}", stack.local.endpoint_url);
            let copy = reqwest::get(url).await.unwrap().error_for_status().unwrap().text().await.unwrap();
            assert_eq!(copy, *jws);
        }
    })
    .await;
}
