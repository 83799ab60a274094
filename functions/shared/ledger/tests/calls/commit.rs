//! How changes are written: with the SDK's own mock layer, which shows what was sent.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use rootcast_core::job::{Activation, Job, JobId, NewJob, Phase};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_ledger::{Change, Ledger, LedgerError, Tables};
use time::OffsetDateTime;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn ledger(rules: &[&Rule]) -> Ledger {
    let tables = Tables { jobs: Some("jobs".to_owned()), ..Tables::default() };
    Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, rules), tables)
}

fn job() -> Job {
    let new = NewJob {
        id: JobId(7),
        generation: 2,
        old_generation: Some(1),
        activation: Activation::Proven,
        rollout: Rollout::default(),
        until: Phase::Activate,
        requested_for: None,
    };
    Job { revision: 3, ..Job::new(new, NOW) }
}

/// The second of two equal writes, where the record is by then what the first one wrote, and `change` made of it.
async fn repeated(change: impl Fn(&mut HashMap<String, AttributeValue>)) -> Result<(), LedgerError> {
    let written = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&written);
    let first = mock!(Client::put_item)
        .match_requests(move |put| {
            *seen.lock().unwrap() = put.item().cloned();
            true
        })
        .then_output(|| PutItemOutput::builder().build());
    ledger(&[&first]).commit(Change { job: Some(&job()), ..Change::default() }).await.unwrap();
    let mut there = written.lock().unwrap().take().unwrap();
    change(&mut there);
    let second = mock!(Client::put_item).then_error(move || {
        let refusal = ConditionalCheckFailedException::builder().set_item(Some(there.clone())).build();
        PutItemError::ConditionalCheckFailedException(refusal)
    });
    ledger(&[&second]).commit(Change { job: Some(&job()), ..Change::default() }).await
}

#[tokio::test]
async fn a_job_by_itself_is_written_outside_of_a_transaction() {
    let alone = mock!(Client::put_item)
        .match_requests(|put| put.condition_expression() == Some("revision = :read"))
        .then_output(|| PutItemOutput::builder().build());
    ledger(&[&alone]).commit(Change { job: Some(&job()), ..Change::default() }).await.unwrap();
    assert_eq!(alone.num_calls(), 1);
    // A new one is listed too.
    let together = mock!(Client::transact_write_items)
        .match_requests(|request| request.transact_items().len() == 2)
        .then_output(|| TransactWriteItemsOutput::builder().build());
    ledger(&[&together]).commit(Change { job: Some(&job()), new_job: true, ..Change::default() }).await.unwrap();
    assert_eq!(together.num_calls(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_no_conflict_but_another_write_is() {
    repeated(|_| {}).await.unwrap();
    let other = repeated(|there| _ = there.insert("reason".to_owned(), AttributeValue::S("Paused".to_owned()))).await;
    assert!(matches!(other, Err(LedgerError::Conflict)), "{other:?}");
}
