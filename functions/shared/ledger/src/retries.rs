//! Calls that fail for a passing reason are sent again: by the client itself, so on every path.
//!
//! DynamoDB cancels a transaction that meets another write of one of its items, and refuses a single write that meets a
//! transaction. The SDK takes neither for passing. A cancelled transaction is sent again only where each of its reasons
//! passes: a condition that failed will fail again. The SDK gives a transaction its `ClientRequestToken` before the
//! first attempt and keeps it, so a transaction whose answer was lost is not done twice. A single write has no such
//! token. So no single write adds to a number that must be exact; a counter of ids may, where a gap does no harm.

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

/// The first one included. Before the others, pauses of 25, 50, 100, 200, 400, 500 and 500 ms at most, each of a random
/// part of that: 1.8 s at most and 0.9 s on average, which a worker has left when it records a batch.
pub(crate) const ATTEMPTS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Where the caller set no limits of its own: an attempt on a dead connection would last as long as the function.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);
const CALL_LIMIT: Duration = Duration::from_secs(8);
/// The SDK's brake on retries of throttles and faults is 500 tokens, of which a retry takes 5 or 10 and a success gives
/// back one. With this many a second it opens again by itself after DynamoDB's recovery.
const TOKENS_A_SECOND: f32 = 10.0;

/// The client with these retries. Where the caller switched retries off they stay off.
pub(crate) fn patient(client: &Client) -> Client {
    let config = client.config();
    if config.retry_config().is_some_and(|retries| retries.max_attempts() == 1) {
        return client.clone();
    }
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE);
    // Collisions are a matter of our own records and say nothing of DynamoDB's health: they take no token.
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

/// Before another attempt at what was left of a batch; `attempts`: those so far, from 1. As the client's own pauses.
pub(crate) async fn pause(attempts: u32) {
    let longest = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1))).min(LONGEST_PAUSE);
    // Where the operating system gives no random number the whole pause is as good.
    let part = getrandom::u32().unwrap_or(u32::MAX);
    tokio::time::sleep(longest.mul_f64(f64::from(part) / f64::from(u32::MAX))).await;
}

/// What the SDK does not take for passing, and is.
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

    /// After those that only know the HTTP status.
    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// What a cancelled transaction's reasons come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// It met other writes, and nothing else.
    Collided,
    /// DynamoDB could not take all of it now.
    Throttled,
    /// It would be cancelled again: a condition failed, or a write is not allowed.
    Refused,
}

impl Cancelled {
    /// The codes of
    /// [`CancellationReason`](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CancellationReason.html).
    pub(crate) fn of(codes: &[String]) -> Self {
        let (mut collided, mut throttled) = (false, false);
        for code in codes {
            match code.as_str() {
                // The write itself was fine.
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

/// The reason of each write, in the order in which they were sent; `None` where the transaction was not cancelled.
pub(crate) fn cancelled(error: &TransactWriteItemsError) -> Option<Vec<String>> {
    match error {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => {
            let reasons = cancelled.cancellation_reasons.as_deref().unwrap_or_default();
            Some(reasons.iter().map(|reason| reason.code.clone().unwrap_or_default()).collect())
        }
        _ => None,
    }
}

/// Codes with which DynamoDB refuses what it may take in a moment.
const PASSING: [&str; 6] = [
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
];

/// Whether the same call may succeed later; the client's own attempts are used up then.
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
    fn only_reasons_that_all_pass_are_tried_again() {
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
