//! The transactions that issue, exchange and revoke tokens, with the SDK's own mock layer: no emulator cancels
//! conflicting transactions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Mutex;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput};
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use rootcast_ledger::{GrantId, GrantRecord, Ledger, LedgerError, Pair, Tables};
use rootcast_pki::fingerprint::Fingerprint;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn ledger(rules: &[&Rule]) -> Ledger {
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, rules);
    Ledger::new(client, Tables { access: Some("access".to_owned()), ..Tables::default() })
}

fn id() -> GrantId {
    GrantId::from_random([0xab; 16])
}

fn grant(number: u8) -> GrantRecord {
    GrantRecord {
        principal: "ops".parse().unwrap(),
        epoch: 7,
        client: "c".to_owned(),
        scopes: "certificate:manage".parse().unwrap(),
        access: Fingerprint::from_bytes([number; 32]),
        refresh: Fingerprint::from_bytes([number + 0x10; 32]),
        created: NOW,
        expires: NOW + Duration::DAY,
    }
}

fn pair(number: u8) -> Pair {
    let GrantRecord { access, refresh, .. } = grant(number);
    Pair { access, refresh, created: NOW, expires: NOW + Duration::HOUR }
}

/// Each write as `verb id [condition]`, with only the first digits of an id.
fn told(writes: &[TransactWriteItem]) -> Vec<String> {
    let short = |id: &str| id.split_at(id.find('#').unwrap() + 3).0.to_owned();
    let told = |write: &TransactWriteItem| {
        let (verb, key, condition) = match (write.put(), write.update(), write.delete()) {
            (Some(put), None, None) => ("put", put.item(), put.condition_expression()),
            (None, Some(update), None) => ("update", update.key(), update.condition_expression()),
            (None, None, Some(delete)) => ("delete", delete.key(), delete.condition_expression()),
            other => panic!("{other:?}"),
        };
        format!("{verb} {} {}", short(key["id"].as_s().unwrap()), condition.unwrap_or_default()).trim_end().to_owned()
    };
    writes.iter().map(told).collect()
}

fn written(expected: &'static [&'static str]) -> Rule {
    mock!(Client::transact_write_items)
        .match_requests(move |request| told(request.transact_items()) == expected)
        .then_output(|| TransactWriteItemsOutput::builder().build())
}

fn cancelled(code: &'static str) -> Rule {
    mock!(Client::transact_write_items).then_error(move || {
        let reasons = vec![CancellationReason::builder().code(code).build()];
        let exception = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build();
        TransactWriteItemsError::TransactionCanceledException(exception)
    })
}

fn stored(number: u8) -> Rule {
    let item = Mutex::new(Some(serde_dynamo::to_item(grant(number)).unwrap()));
    mock!(Client::get_item)
        .match_requests(|request| request.key().unwrap()["id"].as_s().unwrap() == &format!("grant#{}", "ab".repeat(16)))
        .then_compute_output(move |_| GetItemOutput::builder().set_item(item.lock().unwrap().take()).build())
}

#[tokio::test]
async fn a_grant_has_a_pair_that_is_exchanged_once() {
    let (new, exchanged, late) = (
        written(&[
            "put token#01 attribute_not_exists(id)",
            "put refresh#11 attribute_not_exists(id)",
            "put grant#ab attribute_not_exists(id)",
        ]),
        written(&[
            "put token#02 attribute_not_exists(id)",
            "put refresh#12 attribute_not_exists(id)",
            "update grant#ab refresh = :used",
            "delete token#01",
        ]),
        cancelled("ConditionalCheckFailed"),
    );
    let ledger = ledger(&[&new, &exchanged, &late]);
    ledger.put_grant(&id(), &grant(1), &pair(1)).await.unwrap();
    ledger.exchange(&id(), &grant(1), &pair(2)).await.unwrap();
    let error = ledger.exchange(&id(), &grant(1), &pair(3)).await.unwrap_err();
    assert!(matches!(error, LedgerError::Conflict), "{error:?}");
}

#[tokio::test]
async fn revoking_deletes_the_current_pair() {
    let (first, raced) = (stored(1), cancelled("ConditionalCheckFailed"));
    let (second, ended) =
        (stored(2), written(&["delete grant#ab refresh = :read", "delete token#02", "delete refresh#12"]));
    ledger(&[&first, &raced, &second, &ended]).revoke_grant(&id()).await.unwrap();
    assert_eq!((raced.num_calls(), ended.num_calls()), (1, 1));
    let gone = mock!(Client::get_item).then_output(|| GetItemOutput::builder().build());
    ledger(&[&gone]).revoke_grant(&id()).await.unwrap();
}
