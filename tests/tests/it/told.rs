//! Events about what changes, and about signing keys that others change, as an EventBridge rule receives them.

use std::collections::{BTreeMap, BTreeSet};

use rootcast_core::audit::{Action, Subject};
use serde_json::{Value, json};

use crate::import::events::Listener;
use crate::stack::Stack;

/// What the attribute was, in the events of this detail-type for which `is` holds.
fn said(told: &BTreeMap<String, Vec<Value>>, kind: &str, name: &str, is: impl Fn(&Value) -> bool) -> Vec<String> {
    let events = told.get(kind).into_iter().flatten().filter(|event| is(event));
    events.map(|event| event[name].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn every_change_of_a_rollover_is_told() {
    Stack::run(1, async |stack| {
        let listener = Listener::of(stack, "").await;
        stack.enrol_fleet().await;
        let job = stack.put_root("").await;
        let ended = stack.ended(job).await;
        let id = stack.devices().next().unwrap().id.clone();
        stack.api.delete(&format!("/devices/{id}")).await;
        let told = listener
            .take_until("the end is told", |told| {
                said(told, "Job State Change", "state", |_| true).contains(&"ended".to_owned())
                    && said(told, "Device Approval Change", "approval", |_| true).contains(&"deleted".to_owned())
                    && said(told, "Issuing Authority State Change", "state", |_| true).contains(&"signing".to_owned())
            })
            .await;
        let of_job = |event: &Value| event["jobId"] == job.0;
        let phases: BTreeSet<String> = said(&told, "Job State Change", "phase", of_job).into_iter().collect();
        for phase in ["create", "distribute", "ended"] {
            assert!(phases.contains(phase), "{told:#?}");
        }
        let last = told["Job State Change"].iter().find(|event| event["state"] == "ended").unwrap();
        assert_eq!((&last["outcome"], &last["reason"]), (&json!("activated"), &json!(ended.reason)));
        let first = told["Job State Change"].iter().find(|event| event["phase"] == "create").unwrap();
        assert_eq!(first["by"], "tests", "{first}");
        let states: BTreeSet<String> = said(&told, "Root State Change", "state", |_| true).into_iter().collect();
        for state in ["reserved", "published", "signing"] {
            assert!(states.contains(state), "{told:#?}");
        }
        let approvals = said(&told, "Device Approval Change", "approval", |event| event["device"] == id.as_str());
        assert_eq!(approvals.iter().map(String::as_str).collect::<BTreeSet<_>>(), ["approved", "deleted"].into());
        let text = serde_json::to_string(&told).unwrap();
        assert!(!text.contains("/rootcast/devices/"), "no credential's name is told: {text}");
    })
    .await;
}

#[tokio::test]
async fn a_signature_by_somebody_else_is_told_and_recorded() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let key = stack.ledger.root(1).await.unwrap().unwrap().key.unwrap();
        let listener = Listener::of(stack, "Signing Key").await;
        let event = |id: &str, call: &str, key: &str, role: &str| {
            json!({
                "id": id, "detail-type": "AWS API Call via CloudTrail", "source": "aws.kms", "account": "1",
                "detail": {
                    "eventName": call, "resources": [{ "ARN": key }],
                    "userIdentity": { "sessionContext": { "sessionIssuer": { "arn": role } } },
                },
            })
        };
        let ours = format!("{}/conduct/x", stack.local.outputs.of("KeyRoles").unwrap());
        let admin = "arn:aws:iam::000000000000:role/admin";
        for event in [
            event("1", "Sign", &key, &ours),
            event("2", "Sign", "arn:aws:kms:us-east-1:000000000000:key/other", admin),
            event("3", "Sign", &key, admin),
            // EventBridge delivers at least once.
            event("3", "Sign", &key, admin),
        ] {
            stack.invoke("RegenerateFunction", &event).await;
        }
        let told = listener.take(2).await;
        let wanted = json!({ "generation": 1, "change": "signed", "key": key, "by": admin });
        assert_eq!(told["Signing Key State Change"], [wanted.clone(), wanted]);
        let mut tampered = Vec::new();
        for sequence in 1.. {
            let Some(entry) = stack.ledger.audit_entry(&Subject::Root(1), sequence).await.unwrap() else { break };
            tampered.extend((entry.action == Action::Tamper).then_some(entry));
        }
        let [entry] = &*tampered else { panic!("{tampered:?}") };
        assert_eq!((entry.principal.as_str(), entry.request_id.as_deref()), (admin, Some("3")));
        assert_eq!(entry.details["key"], key);
        let log = stack.log("RegenerateFunction").await;
        assert_eq!(
            log.matches("SigningKeysChanged").count(),
            4,
            "a line for each delivery, which names it twice: {log}"
        );
    })
    .await;
}
