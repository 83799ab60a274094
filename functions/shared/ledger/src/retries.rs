//! Retries of calls that fail for a transient reason. The client itself retries, so every call path has them.
//!
//! DynamoDB cancels a transaction that conflicts with another write of one of its items, and refuses a single write
//! that conflicts with a transaction. The SDK considers neither retryable. A cancelled transaction is retried only if
//! all of its reasons are transient: a condition that failed will fail again. The SDK sets a transaction's
//! `ClientRequestToken` before the first attempt and keeps it, so a transaction whose response was lost is not applied
//! twice. A single write has no such token. So no single write increments a number that must be exact; it may increment
//! an id counter, where a gap is harmless.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{ClassifyRetry, RetryAction, RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_runtime_api::client::retries::classifiers::RetryClassifierPriority;

/// Including the first attempt. The pauses before the others are at most 25, 50, 100, 200, 400, 500 and 500 ms, each a
/// random part of that: at most 1.8 s in total and 0.9 s on average. A worker has that much time left when it records a
/// batch.
pub(crate) const ATTEMPTS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Default limits. Without them, an attempt on a dead connection would last as long as the function.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);
const CALL_LIMIT: Duration = Duration::from_secs(8);
/// The SDK's token bucket for retries has 500 tokens: a retry takes 5 or 10, a success returns one. With this refill
/// rate per second, retries resume by themselves after DynamoDB recovers.
const TOKENS_A_SECOND: f32 = 10.0;

/// The client with these retries. If the caller disabled retries, they stay disabled.
pub(crate) fn patient(client: &Client) -> Client {
    let config = client.config();
    if config.retry_config().is_some_and(|retries| retries.max_attempts() == 1) {
        return client.clone();
    }
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE);
    // Write conflicts concern our own records and say nothing about DynamoDB's health, so they take no tokens.
    let tokens = TokenBucket::builder().retry_cost(0).refill_rate(TOKENS_A_SECOND).build();
    let config = config
        .to_builder()
        .retry_config(retries)
        .retry_partition(RetryPartition::custom("rootcast-ledger").token_bucket(tokens).build())
        .timeout_config(limits(config.timeout_config()))
        .retry_classifier(Collisions);
    Client::from_conf(config.build())
}

fn limits(own: Option<&TimeoutConfig>) -> TimeoutConfig {
    let own = own.cloned().unwrap_or_else(|| TimeoutConfig::builder().build());
    let mut limits = own.to_builder();
    limits.set_operation_attempt_timeout(own.operation_attempt_timeout().or(Some(ATTEMPT_LIMIT)));
    limits.set_operation_timeout(own.operation_timeout().or(Some(CALL_LIMIT)));
    limits.build()
}

/// Pause before the next attempt, with the client's own back-off. `attempts`: made so far, from 1.
pub async fn pause(attempts: u32) {
    let longest = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1))).min(LONGEST_PAUSE);
    // Without a random number from the operating system, the whole pause is used.
    let part = getrandom::u32().unwrap_or(u32::MAX);
    tokio::time::sleep(longest.mul_f64(f64::from(part) / f64::from(u32::MAX))).await;
}

/// Classifies errors that are transient, but not retryable for the SDK.
#[derive(Debug)]
struct Collisions;

impl ClassifyRetry for Collisions {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(failed)) = context.output_or_error() else { return RetryAction::NoActionIndicated };
        let Some(error) = OrchestratorError::as_operation_error(failed) else { return RetryAction::NoActionIndicated };
        if let Some(error) = error.downcast_ref::<TransactWriteItemsError>() {
            return match cancelled(error).map(|codes| Cancelled::of(&codes)) {
                Some(Cancelled::Collided) => RetryAction::client_error(),
                Some(Cancelled::Throttled) => RetryAction::throttling_error(),
                Some(Cancelled::Refused) | None => RetryAction::NoActionIndicated,
            };
        }
        let collided = error.downcast_ref().is_some_and(UpdateItemError::is_transaction_conflict_exception)
            || error.downcast_ref().is_some_and(PutItemError::is_transaction_conflict_exception)
            || error.downcast_ref().is_some_and(DeleteItemError::is_transaction_conflict_exception);
        if collided { RetryAction::client_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "Collisions"
    }

    /// After the classifiers that only know the HTTP status.
    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// The overall reason why a transaction was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// Only conflicts with other writes.
    Collided,
    /// DynamoDB had no capacity for some of the writes.
    Throttled,
    /// It would be cancelled again: a condition failed, or a write is not allowed.
    Refused,
}

impl Cancelled {
    /// From the codes of
    /// [`CancellationReason`](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CancellationReason.html).
    pub(crate) fn of(codes: &[String]) -> Self {
        let (mut collided, mut throttled) = (false, false);
        for code in codes {
            match code.as_str() {
                // This write itself was fine.
                "None" | "" => {}
                "TransactionConflict" => collided = true,
                "ThrottlingError" | "ProvisionedThroughputExceeded" => throttled = true,
                _ => return Self::Refused,
            }
        }
        match (throttled, collided) {
            (true, _) => Self::Throttled,
            (false, true) => Self::Collided,
            (false, false) => Self::Refused,
        }
    }
}

/// The reason for each write, in the order of the writes; `None` if the transaction was not cancelled.
pub(crate) fn cancelled(error: &TransactWriteItemsError) -> Option<Vec<String>> {
    match error {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => {
            let reasons = cancelled.cancellation_reasons.as_deref().unwrap_or_default();
            Some(reasons.iter().map(|reason| reason.code.clone().unwrap_or_default()).collect())
        }
        _ => None,
    }
}

/// Error codes of transient refusals.
const PASSING: [&str; 6] = [
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
];

/// Whether the same call may succeed later. The client's own attempts are already used up.
pub(crate) fn is_passing<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(answer) => {
            answer.raw().status().is_server_error() || answer.err().code().is_some_and(|code| PASSING.contains(&code))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Cancelled::{self, Collided, Refused, Throttled};

    #[test]
    fn only_transient_reasons_are_retried() {
        let of = |codes: &[&str]| Cancelled::of(&codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["None", "TransactionConflict"]), Collided);
        assert_eq!(of(&["TransactionConflict", "ThrottlingError"]), Throttled);
        assert_eq!(of(&["ProvisionedThroughputExceeded", "None"]), Throttled);
        for refused in ["ConditionalCheckFailed", "ValidationError", "ItemCollectionSizeLimitExceeded", "AccessDenied"]
        {
            assert_eq!(of(&["TransactionConflict", refused]), Refused, "{refused}");
        }
        assert_eq!(of(&[]), Refused);
    }
}
