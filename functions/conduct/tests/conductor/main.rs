//! The conductor, on the SDK's own mock layer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod joining;
mod leases;
mod wakes;

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_mocks::{Rule, RuleMode, mock_client};
use conduct::App;
use lambda_runtime::{Context, LambdaEvent};
use rootcast_authority::CertificateAuthority;
use rootcast_ledger::{Ledger, Tables};
use rootcast_queue::Queue;
use rootcast_vault::Vault;
use serde::de::DeserializeOwned;
use serde_json::json;
use time::OffsetDateTime;

type Item = HashMap<String, AttributeValue>;

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The function over these tables and this queue. It has no KMS.
fn app(tables: &[&Rule], queue: &Rule, clock: fn() -> OffsetDateTime) -> App {
    let table = |name: &str| Some(name.to_owned());
    let names = Tables {
        certificates: table("certificates"),
        jobs: table("jobs"),
        devices: table("devices"),
        access: None,
        audit: table("audit"),
        heads: None,
    };
    let ledger = Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, tables), names);
    let (kms, tagging) = (mock_client!(aws_sdk_kms, []), mock_client!(aws_sdk_resourcegroupstagging, []));
    App {
        authority: CertificateAuthority::new(
            ledger.clone(),
            Vault::new(&kms, &tagging, "test"),
            time::Duration::days(30),
        ),
        ledger,
        queue: Queue::new(mock_client!(aws_sdk_sqs, RuleMode::MatchAny, &[queue])),
        control_queue: "https://sqs.invalid/control".to_owned(),
        task_queue: "https://sqs.invalid/task".to_owned(),
        stall: time::Duration::minutes(15),
        issuer_timeout: time::Duration::minutes(2),
        renewal: rootcast_core::deployment::renewal::PercentLeft(33),
        renewals_an_hour: 100,
        stack: "test".to_owned(),
        clock,
    }
}

/// An invocation with this much time left.
fn event<T>(payload: T, now: OffsetDateTime, left: Duration) -> LambdaEvent<T> {
    let mut context = Context::default();
    context.request_id = "this conductor".to_owned();
    let end = SystemTime::from(now) + left;
    context.deadline = end.duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();
    LambdaEvent::new(payload, context)
}

/// What the schedule sends.
fn schedule<T: DeserializeOwned>() -> T {
    serde_json::from_value(json!({ "wake": "running" })).unwrap()
}

/// A control message about job 7.
fn control<T: DeserializeOwned>() -> T {
    let body = json!({ "job": 7, "why": "a test" }).to_string();
    serde_json::from_value(json!({ "Records": [{ "messageId": "m-1", "body": body }] })).unwrap()
}
