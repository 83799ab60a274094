//! The function's environment.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use rootcast_ledger::{Ledger, Misconfigured, Tables, variable};
use rootcast_queue::Queue;
use time::OffsetDateTime;

use crate::App;

/// One call to AWS, including its retries. The function has 29 s, and a request makes several calls.
const CALL_LIMIT: Duration = Duration::from_secs(8);
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);

impl App {
    /// From `CERTIFICATES_TABLE`, `JOBS_TABLE`, `DEVICES_TABLE`, `ACCESS_TABLE`, `CONTROL_QUEUE_URL` and
    /// `ISSUE_QUEUE_URL`.
    pub async fn from_env() -> Result<Self, Misconfigured> {
        let limits = TimeoutConfig::builder().operation_timeout(CALL_LIMIT).operation_attempt_timeout(ATTEMPT_LIMIT);
        let aws = aws_config::defaults(BehaviorVersion::latest()).timeout_config(limits.build()).load().await;
        Ok(Self {
            ledger: Ledger::new(aws_sdk_dynamodb::Client::new(&aws), Tables::from_env()),
            queue: Queue::new(aws_sdk_sqs::Client::new(&aws)),
            control_queue: variable("CONTROL_QUEUE_URL")?,
            issue_queue: variable("ISSUE_QUEUE_URL")?,
            clock: OffsetDateTime::now_utc,
        })
    }
}
