//! Every kind of call, first answered with a conflict or throttling, then with success: with the SDK's own mock layer,
//! since no emulator cancels conflicting transactions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use aws_smithy_mocks::{
    MockResponseInterceptor, Rule, RuleBuilder, RuleMode, create_mock_http_client, mock, mock_client,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use rootcast_core::device::{DeviceId, Driver, Profile};
use rootcast_core::job::{JobId, Pass};
use rootcast_ledger::{
    Change, DeviceRecord, Lease, LeaseRefused, Ledger, LedgerError, RootRecord, Tables, TokenRecord,
};
use rootcast_pki::fingerprint::Fingerprint;
use time::OffsetDateTime;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
/// Attempts per call.
const ATTEMPTS: usize = 8;

fn ledger_with(rules: &[&Rule], configured: impl Fn(Builder) -> Builder) -> Ledger {
    let table = |name: &str| Some(name.to_owned());
    let tables = Tables {
        certificates: table("certificates"),
        jobs: table("jobs"),
        devices: table("devices"),
        access: table("access"),
        audit: table("audit"),
        heads: None,
    };
    Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, rules, configured), tables)
}

fn ledger(rules: &[&Rule]) -> Ledger {
    ledger_with(rules, |config| config)
}

/// An error as sent over the wire.
fn error(code: &str) -> Option<String> {
    Some(format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"as AWS says"}}"#))
}

/// A cancelled transaction, with these reasons.
fn cancelled(codes: &[&str]) -> Option<String> {
    let reasons: Vec<String> = codes.iter().map(|code| format!(r#"{{"Code":"{code}"}}"#)).collect();
    Some(format!(
        r#"{{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","CancellationReasons":[{}]}}"#,
        reasons.join(",")
    ))
}

/// Answers with these refusals in turn, then always with success.
fn after<I, O, E>(
    rule: RuleBuilder<I, O, E>,
    refusals: impl IntoIterator<Item = Option<String>>,
    answer: impl Fn() -> O + Send + Sync + 'static,
) -> Rule
where
    I: fmt::Debug + Send + Sync + 'static,
    O: fmt::Debug + Send + Sync + 'static,
    E: Error + Send + Sync + 'static,
{
    let mut sequence = rule.sequence();
    for refusal in refusals {
        sequence = sequence.http_status(400, refusal);
    }
    sequence.output(answer).repeatedly().build()
}

fn transactions(refusals: impl IntoIterator<Item = Option<String>>) -> Rule {
    after(mock!(Client::transact_write_items), refusals, || TransactWriteItemsOutput::builder().build())
}

/// A transaction with one write.
async fn move_schedule(ledger: &Ledger) -> Result<(), LedgerError> {
    ledger.move_schedule(None, Some(JobId(7))).await
}

fn device() -> DeviceRecord {
    let (address, credential) = ("https://10.0.0.7".parse().unwrap(), "/rootcast/devices/bmc".to_owned());
    DeviceRecord::new(
        "bmc-1".parse().unwrap(),
        rootcast_core::device::Incarnation::from_random([1; 16]),
        address,
        Driver::Redfish,
        Profile::Openbmc,
        credential,
    )
}

fn item(record: impl serde::Serialize) -> std::collections::HashMap<String, AttributeValue> {
    serde_dynamo::to_item(record).unwrap()
}

#[tokio::test]
async fn conflicting_or_throttled_transactions_are_retried() {
    for reasons in [
        &["TransactionConflict"][..],
        &["None", "TransactionConflict"],
        &["ThrottlingError", "None"],
        &["ProvisionedThroughputExceeded", "TransactionConflict"],
    ] {
        let rule = transactions([cancelled(reasons)]);
        move_schedule(&ledger(&[&rule])).await.unwrap();
        assert_eq!(rule.num_calls(), 2, "{reasons:?}");
    }
    for code in ["TransactionInProgressException", "ThrottlingException", "ProvisionedThroughputExceededException"] {
        let rule = transactions([error(code)]);
        move_schedule(&ledger(&[&rule])).await.unwrap();
        assert_eq!(rule.num_calls(), 2, "{code}");
    }
}

#[tokio::test]
async fn a_failed_condition_is_never_retried() {
    let rule = transactions([cancelled(&["TransactionConflict", "ConditionalCheckFailed"])]);
    let refused = move_schedule(&ledger(&[&rule])).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Conflict), "{refused:?}");
    assert_eq!(rule.num_calls(), 1);
    // Permanent refusals are not retried either.
    let rule = transactions([cancelled(&["TransactionConflict", "ValidationError"])]);
    let refused = move_schedule(&ledger(&[&rule])).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Aws { .. }) && !refused.is_passing(), "{refused:?}");
    assert_eq!(rule.num_calls(), 1);
}

#[tokio::test]
async fn endless_conflicts_are_transient_and_bounded() {
    let rule = transactions((0..20).map(|_| cancelled(&["TransactionConflict"])));
    let begun = std::time::Instant::now();
    let refused = move_schedule(&ledger(&[&rule])).await.unwrap_err();
    assert!(refused.is_passing(), "{refused:?}");
    assert_eq!(rule.num_calls(), ATTEMPTS);
    let paused = begun.elapsed();
    assert!(paused.as_millis() > 0 && paused.as_millis() < 4_000, "{paused:?}");
}

/// The SDK's token bucket would allow at most a hundred retries.
#[tokio::test]
async fn many_conflicts_leave_other_calls_retries_untouched() {
    let rule = transactions((0..150).map(|_| cancelled(&["TransactionConflict"])));
    let ledger = ledger(&[&rule]);
    let done = futures::future::join_all((0..25).map(|_| move_schedule(&ledger))).await;
    assert!(rule.num_calls() > 150, "{} attempts", rule.num_calls());
    assert!(done.iter().any(Result::is_ok));
}

#[tokio::test]
async fn an_update_conflicting_with_a_transaction_is_retried() {
    let collided = || [error("TransactionConflictException"), error("ThrottlingException")];
    let counted = || UpdateItemOutput::builder().attributes("last", AttributeValue::N("8".to_owned())).build();
    let rule = after(mock!(Client::update_item), collided(), counted);
    assert_eq!(ledger(&[&rule]).next_job_id().await.unwrap(), JobId(8));
    assert_eq!(rule.num_calls(), 3);

    let leased = || UpdateItemOutput::builder().set_attributes(Some(item(device()))).build();
    let rule = after(mock!(Client::update_item), collided(), leased);
    let lease = Lease { owner: "worker".to_owned(), until: NOW };
    let taken = ledger(&[&rule]).lease(&device().id, &lease, Some(1), NOW).await.unwrap();
    assert_eq!((taken.id, rule.num_calls()), (device().id, 3));

    let rule = after(mock!(Client::update_item), collided(), || UpdateItemOutput::builder().build());
    ledger(&[&rule]).release(&device().id, "worker", &rootcast_ledger::Left::default()).await.unwrap();
    assert_eq!(rule.num_calls(), 3);
}

#[tokio::test]
async fn a_put_conflicting_with_a_transaction_is_retried() {
    let rule =
        after(mock!(Client::put_item), [error("TransactionConflictException")], || PutItemOutput::builder().build());
    let record = TokenRecord {
        principal: "ops".to_owned(),
        grants: Default::default(),
        granted: None,
        exchanged: None,
        expires: NOW,
        created: NOW,
    };
    ledger(&[&rule]).put_token(&Fingerprint::of(b"token"), &record).await.unwrap();
    assert_eq!(rule.num_calls(), 2);
}

#[tokio::test]
async fn a_deletion_conflicting_with_a_transaction_is_retried() {
    let rule = after(mock!(Client::delete_item), [error("TransactionConflictException")], || {
        DeleteItemOutput::builder().build()
    });
    ledger(&[&rule]).remove_token(&Fingerprint::of(b"token")).await.unwrap();
    assert_eq!(rule.num_calls(), 2);
}

#[tokio::test]
async fn a_throttled_read_is_retried() {
    let throttled = || [error("ProvisionedThroughputExceededException"), error("RequestLimitExceeded")];
    let rule = after(mock!(Client::get_item), throttled(), || GetItemOutput::builder().build());
    assert!(ledger(&[&rule]).device(&device().id).await.unwrap().is_none());
    assert_eq!(rule.num_calls(), 3);
    let rule = after(mock!(Client::query), throttled(), || QueryOutput::builder().build());
    assert!(ledger(&[&rule]).tasks(JobId(7), Pass::Distribute, 3, None, None).await.unwrap().is_empty());
    assert_eq!(rule.num_calls(), 3);
}

/// Leaves this many keys unprocessed.
fn answered(left: usize) -> BatchGetItemOutput {
    let key = |number: usize| item(std::collections::HashMap::from([("id", format!("bmc-{number}"))]));
    let mut answer = BatchGetItemOutput::builder().responses("devices", vec![item(device())]);
    if left > 0 {
        let keys = KeysAndAttributes::builder().set_keys(Some((0..left).map(key).collect())).build().unwrap();
        answer = answer.unprocessed_keys("devices", keys);
    }
    answer.build()
}

#[tokio::test]
async fn unprocessed_keys_are_retried_with_pauses() {
    let ids: Vec<DeviceId> = (0..3).map(|number| format!("bmc-{number}").parse().unwrap()).collect();
    let rule = mock!(Client::batch_get_item)
        .sequence()
        .output(|| answered(2))
        .output(|| answered(2))
        .output(|| answered(0))
        .build();
    let begun = std::time::Instant::now();
    assert_eq!(ledger(&[&rule]).devices_by_id(&ids).await.unwrap().len(), 1);
    assert_eq!(rule.num_calls(), 3);
    assert!(begun.elapsed().as_micros() > 0);

    let rule = mock!(Client::batch_get_item).sequence().output(|| answered(3)).repeatedly().build();
    let refused = ledger(&[&rule]).devices_by_id(&ids).await.unwrap_err();
    assert!(refused.is_passing(), "{refused:?}");
    assert_eq!(rule.num_calls(), ATTEMPTS);
}

/// The response to the first attempt was lost; the second finds the device leased.
#[tokio::test]
async fn a_lease_with_a_lost_response_is_held() {
    let lease = Lease { owner: "request/message".to_owned(), until: NOW + time::Duration::MINUTE };
    let refused_by = |lease: Lease| {
        let held = item(DeviceRecord { lease: Some(lease), ..device() });
        mock!(Client::update_item).then_error(move || {
            let refused = aws_sdk_dynamodb::types::error::ConditionalCheckFailedException::builder();
            aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(
                refused.set_item(Some(held.clone())).build(),
            )
        })
    };
    let ours = refused_by(lease.clone());
    assert_eq!(ledger(&[&ours]).lease(&device().id, &lease, None, NOW).await.unwrap().id, device().id);
    let theirs = refused_by(Lease { owner: "request/other".to_owned(), ..lease.clone() });
    let refused = ledger(&[&theirs]).lease(&device().id, &lease, None, NOW).await.unwrap_err();
    assert!(matches!(refused, LeaseRefused::Held { .. }), "{refused:?}");
}

/// Records the request bodies.
#[derive(Clone, Debug, Default)]
struct Bodies(Arc<Mutex<Vec<serde_json::Value>>>);

impl Intercept for Bodies {
    fn name(&self) -> &'static str {
        "Bodies"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.lock().unwrap().push(serde_json::from_slice(context.request().body().bytes().unwrap())?);
        Ok(())
    }
}

#[tokio::test]
async fn all_attempts_at_a_transaction_share_one_token() {
    let bodies = Bodies::default();
    let rule = transactions([cancelled(&["TransactionConflict"])]);
    // The mocks' own configuration has a single token for all transactions.
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::for_tests())
        .http_client(create_mock_http_client())
        .interceptor(MockResponseInterceptor::new().with_rule(&rule))
        .interceptor(bodies.clone());
    let tables = Tables { jobs: Some("jobs".to_owned()), ..Tables::default() };
    let ledger = Ledger::new(Client::from_conf(config.build()), tables);
    move_schedule(&ledger).await.unwrap();
    move_schedule(&ledger).await.unwrap();
    let sent = bodies.0.lock().unwrap();
    let token = |index: usize| sent[index]["ClientRequestToken"].as_str().unwrap();
    assert_eq!(sent.len(), 3);
    assert_eq!(token(0), token(1));
    assert_ne!(token(1), token(2));
}

#[tokio::test]
async fn retries_stay_disabled_if_the_caller_disabled_them() {
    let rule = transactions([cancelled(&["TransactionConflict"])]);
    let ledger = ledger_with(&[&rule], |config| config.retry_config(RetryConfig::disabled()));
    assert!(move_schedule(&ledger).await.unwrap_err().is_passing());
    assert_eq!(rule.num_calls(), 1);
}

#[tokio::test]
async fn faults_are_transient_but_refusals_are_not() {
    let answers = |status: u16, code: &'static str| {
        let rule = mock!(Client::get_item).sequence();
        (0..ATTEMPTS).fold(rule, |rule, _| rule.http_status(status, error(code))).build()
    };
    let fault = answers(500, "InternalServerError");
    assert!(ledger(&[&fault]).device(&device().id).await.unwrap_err().is_passing());
    let refusal = answers(400, "AccessDeniedException");
    assert!(!ledger(&[&refusal]).device(&device().id).await.unwrap_err().is_passing());
    assert_eq!(refusal.num_calls(), 1);
}

/// No call is made for a record that DynamoDB would refuse.
#[tokio::test]
async fn a_record_that_is_too_large_is_not_sent() {
    let spec = serde_json::json!({
        "generation": 1, "root_name": "x".repeat(410 << 10), "rootName": "x".repeat(410 << 10), "subject": "",
        "algorithm": "ECDSA_P384", "serial": "4".repeat(32), "not_before": 0, "not_after": 0, "notBefore": 0, "notAfter": 0,
    });
    let root: Result<RootRecord, _> = serde_json::from_value(serde_json::json!({
        "revision": 0, "generation": 1, "state": "reserved", "spec": spec, "created": 0,
        "lifecycle": { "work": "root", "stage": null, "inError": false, "status": "", "attempt": 0, "history": [] },
    }));
    let root = root.unwrap();
    let change = Change { roots: vec![&root], ..Change::default() };
    let refused = ledger(&[]).commit(change).await.unwrap_err();
    assert!(matches!(refused, LedgerError::TooLarge { what: "root", bytes } if bytes > 400 << 10), "{refused:?}");
}
