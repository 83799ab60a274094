//! Settling a batch despite conflicting transactions and doubled messages: with the SDK's own mock layer, since no
//! emulator cancels conflicting transactions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput};
use aws_sdk_dynamodb::types::CancellationReason;
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use rootcast_core::job::task::Outcome;
use rootcast_core::job::{JobId, Pass};
use rootcast_ledger::{Ledger, LedgerError, Settlement, Tables, TaskKey};
use time::OffsetDateTime;

/// Cancels with a reason per write, `None` for those that were fine.
fn cancelled(reasons: &'static [&'static str]) -> Rule {
    mock!(aws_sdk_dynamodb::Client::transact_write_items).then_error(|| refused(reasons))
}

fn refused(reasons: &[&str]) -> TransactWriteItemsError {
    let reasons = reasons.iter().map(|code| CancellationReason::builder().code(*code).build()).collect();
    let exception = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build();
    TransactWriteItemsError::TransactionCanceledException(exception)
}

/// Accepts a transaction with this many writes.
fn accepted(writes: usize) -> Rule {
    mock!(aws_sdk_dynamodb::Client::transact_write_items)
        .match_requests(move |request| request.transact_items().len() == writes)
        .then_output(|| TransactWriteItemsOutput::builder().build())
}

fn ledger(rules: &[&Rule]) -> Ledger {
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, rules);
    Ledger::new(client, Tables { jobs: Some("jobs".to_owned()), ..Tables::default() })
}

/// Two devices in one shard, so that a transaction has two tasks and one counter.
fn batch() -> Vec<Settlement> {
    let ids = (0u32..).map(|number| format!("bmc-{number}").parse());
    let same_shard = ids.map(Result::unwrap).filter(|device: &rootcast_core::device::DeviceId| device.shard() == 3);
    let settlement = |device| Settlement {
        key: TaskKey { job: JobId(7), pass: Pass::Distribute, device },
        attempt: 1,
        of: None,
        outcome: Outcome::Skipped,
        wave: 0,
        history: Vec::new(),
        at: OffsetDateTime::UNIX_EPOCH,
    };
    same_shard.take(2).map(settlement).collect()
}

#[tokio::test]
async fn a_conflict_is_retried_and_recorded_once() {
    let collided = || refused(&["None", "None", "TransactionConflict"]);
    let rule = mock!(aws_sdk_dynamodb::Client::transact_write_items)
        .match_requests(|request| request.transact_items().len() == 3)
        .sequence()
        .error(collided)
        .output(|| TransactWriteItemsOutput::builder().build())
        .build();
    let settled = ledger(&[&rule]).settle(batch()).await.unwrap();
    assert_eq!((settled.recorded.len(), settled.stale.len()), (2, 0));
    assert_eq!(rule.num_calls(), 2);
}

#[tokio::test]
async fn an_already_settled_task_does_not_block_its_batch() {
    let (stale, then) = (cancelled(&["ConditionalCheckFailed", "None", "None"]), accepted(2));
    let batch = batch();
    let settled = ledger(&[&stale, &then]).settle(batch.clone()).await.unwrap();
    assert_eq!(settled.stale, [batch[0].key.clone()]);
    assert_eq!(settled.recorded, [batch[1].key.clone()]);
}

#[tokio::test]
async fn a_batch_of_stale_results_writes_nothing() {
    let refused = cancelled(&["ConditionalCheckFailed", "ConditionalCheckFailed", "None"]);
    let settled = ledger(&[&refused]).settle(batch()).await.unwrap();
    assert_eq!((settled.recorded.len(), settled.stale.len(), refused.num_calls()), (0, 2, 1));
}

#[tokio::test]
async fn endless_conflicts_are_a_transient_error() {
    let collision = cancelled(&["TransactionConflict", "None", "None"]);
    let error = ledger(&[&collision]).settle(batch()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Transient { .. }), "{error:?}");
}
