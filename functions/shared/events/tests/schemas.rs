//! Each event that is sent has the detail that its schema documents, and each that is taken too.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;

use rootcast_core::asked::Asked;
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::event::{Approval, Event, JobKind};
use rootcast_core::job::task::ErrorClass;
use rootcast_core::job::{JobId, JobState, Phase};
use rootcast_core::key_change::Change;
use rootcast_core::rollover::generation::GenerationState;
use serde_json::{Value, json};
use time::OffsetDateTime;

fn schema(detail_type: &str) -> Value {
    let name = detail_type.to_lowercase().replace(' ', "-");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{name}.json"));
    let schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(schema["title"], detail_type);
    schema
}

/// What is wrong with the value, by the few words of JSON Schema that ours use; any other word is a fault.
fn faults(value: &Value, schema: &Value, place: &str, found: &mut Vec<String>) {
    for (word, wanted) in schema.as_object().unwrap() {
        let holds = match word.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => match wanted.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_u64() || value.is_i64(),
                other => panic!("{other}"),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_i64().is_none_or(|number| number >= wanted.as_i64().unwrap()),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= wanted.as_u64().unwrap()),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= wanted.as_u64().unwrap()),
            "minItems" => value.as_array().is_none_or(|all| all.len() as u64 >= wanted.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|all| all.len() as u64 <= wanted.as_u64().unwrap()),
            "pattern" => {
                assert_eq!(wanted, "^scs[0-9]{13}$");
                let digits = value.as_str().and_then(|text| text.strip_prefix("scs")).unwrap_or_default();
                digits.len() == 13 && digits.bytes().all(|byte| byte.is_ascii_digit())
            }
            "format" => {
                assert_eq!(wanted, "date-time");
                let form = &time::format_description::well_known::Rfc3339;
                value.as_str().is_some_and(|text| OffsetDateTime::parse(text, form).is_ok())
            }
            "items" => {
                let items = value.as_array().into_iter().flatten();
                items.for_each(|item| faults(item, wanted, &format!("{place}[]"), found));
                true
            }
            "properties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    match wanted.get(name) {
                        Some(schema) => faults(member, schema, &format!("{place}.{name}"), found),
                        // Ours has to document what it sends, although subscribers must bear more.
                        None => found.push(format!("{place}.{name} is not documented")),
                    }
                }
                true
            }
            "required" => wanted.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "additionalProperties" => true, // see properties
            other => panic!("{other} is not checked here"),
        };
        if !holds {
            found.push(format!("{place}: {word} {wanted}"));
        }
    }
}

fn found(value: &Value, detail_type: &str) -> Vec<String> {
    let mut found = Vec::new();
    faults(value, &schema(detail_type), "detail", &mut found);
    found
}

/// Every kind of event, with and without what is optional.
fn sent() -> Vec<Event> {
    let (certificate_id, device, job_id) = ("scs0000000000007".parse().unwrap(), "bmc-1".parse().unwrap(), JobId(9));
    let (dn, not_after) = (r"\VED\Policy\Certificates\web".to_owned(), OffsetDateTime::UNIX_EPOCH);
    let (by, message) = (Some("ops".to_owned()), "It shows another certificate.".to_owned());
    let job = |kind, state, phase, outcome: Option<&str>| Event::JobChanged {
        job_id,
        kind,
        state,
        phase,
        outcome: outcome.map(str::to_owned),
        reason: "The wave is open.".to_owned(),
        generation: (kind == JobKind::Rollover).then_some(2),
        certificate_id: (kind == JobKind::Deployment).then_some(certificate_id),
        by: by.clone(),
    };
    let mut events = vec![
        Event::Imported { certificate_id, dn: dn.clone(), not_after, imported_by: "ops".to_owned() },
        Event::Expiring { certificate_id, dn, not_after, days: 7, devices: 2 },
        Event::Deployed { certificate_id, device, job_id },
        Event::Failed {
            certificate_id,
            device: "bmc-1".parse().unwrap(),
            job_id,
            stage: Stage::CheckConfiguration,
            class: ErrorClass::NotStored,
            message,
        },
        job(JobKind::Rollover, JobState::Running, Some(Phase::Distribute), None),
        job(JobKind::Rollover, JobState::Paused, Some(Phase::HoldDown), None),
        job(JobKind::Rollover, JobState::Ended, Some(Phase::Ended), Some("activated")),
        job(JobKind::Anchors, JobState::Running, Some(Phase::Distribute), None),
        job(JobKind::Preflight, JobState::Ended, Some(Phase::Ended), Some("checked")),
        job(JobKind::Deployment, JobState::Ended, None, Some("deployed")),
    ];
    use GenerationState::{Abandoned, Distrusted, Published, Reserved, Retired, Signing, Superseded};
    for state in [Reserved, Published, Signing, Superseded, Distrusted, Retired, Abandoned] {
        events.push(Event::RootChanged { generation: 1, state, by: None });
    }
    for state in ["reserved", "signing", "superseded", "revoked"] {
        events.push(Event::IssuingChanged {
            id: "1.1".to_owned(),
            generation: 1,
            state: state.to_owned(),
            by: by.clone(),
        });
    }
    use Change::{Deleted, DeletionScheduled, Disabled, Granted, PolicyReplaced, Signed};
    for change in [Signed, Granted, PolicyReplaced, Disabled, DeletionScheduled, Deleted] {
        let (key, change) = ("arn:aws:kms:eu-central-1:123456789012:key/1".to_owned(), change.as_str());
        events.push(Event::KeyChanged { generation: 1, issuing: None, change, key, by: None });
    }
    for approval in [Approval::Approved, Approval::Lost, Approval::Deleted] {
        let device = "bmc-1".parse().unwrap();
        events.push(Event::ApprovalChanged { device, approval, endpoint_revision: 1, by: "ops".to_owned() });
    }
    events
}

#[test]
fn each_event_that_is_sent_is_as_documented() {
    for event in sent() {
        let detail = serde_json::to_value(&event).unwrap();
        assert_eq!(found(&detail, event.detail_type()), Vec::<String>::new(), "{detail}");
    }
}

#[test]
fn what_is_not_as_documented_is_seen() {
    let mut event = serde_json::to_value(&sent()[4]).unwrap();
    event["state"] = json!("asleep");
    event["secret"] = json!("x");
    event.as_object_mut().unwrap().remove("kind");
    assert_eq!(found(&event, "Job State Change").len(), 3);
}

#[test]
fn an_event_is_taken_exactly_if_it_is_as_documented() {
    let renew = "Device Certificate Renewal Requested";
    let many = |count| json!({ "devices": (0..count).map(|number| format!("bmc-{number}")).collect::<Vec<_>>() });
    for (kind, detail) in [
        ("Rotate Root", json!({})),
        ("Rotate Root", json!({ "reason": "ü".repeat(256) })),
        ("Rotate Root", json!({ "reason": "ü".repeat(257) })),
        ("Rotate Root", json!({ "reason": 1 })),
        ("Rotate Root", json!({ "rollout": "weekend" })),
        ("Rotate Root", json!({ "rollout": "" })),
        ("Rotate Root", json!({ "rollout": 1 })),
        ("Rotate Root", json!({ "activation": "immediate" })),
        ("Rotate Root", json!([])),
        ("Root Compromised", json!({})),
        ("Root Compromised", json!({ "generation": 2, "reason": "stolen" })),
        ("Root Compromised", json!({ "generation": 0 })),
        ("Root Compromised", json!({ "generation": "2" })),
        ("Root Compromised", json!({ "reason": "ü".repeat(257) })),
        ("Root Compromised", json!({ "canary": 1 })),
        (renew, json!({})),
        (renew, many(0)),
        (renew, many(1)),
        (renew, many(20)),
        (renew, many(21)),
        (renew, json!({ "devices": [""] })),
        (renew, json!({ "devices": "bmc-1" })),
        (renew, json!({ "devices": ["bmc-1"], "force": true })),
    ] {
        let event = json!({ "id": "1", "detail-type": kind, "source": "ops", "account": "1", "detail": detail });
        let taken = Asked::read(&event.to_string());
        assert_eq!(taken.is_ok(), found(&detail, kind).is_empty(), "{detail} {taken:?}");
    }
}
