//! The function's environment.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use rootcast_events::Events;
use rootcast_ledger::{Ledger, Misconfigured, Tables, variable};
use rootcast_queue::Queue;
use time::OffsetDateTime;

use crate::App;

/// One call to AWS, including its retries. The function has 29 s, and a request makes several calls.
const CALL_LIMIT: Duration = Duration::from_secs(8);
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);

impl App {
    /// From `CERTIFICATES_TABLE`, `JOBS_TABLE`, `DEVICES_TABLE`, `ACCESS_TABLE`, `CONTROL_QUEUE_URL`,
    /// `ISSUE_QUEUE_URL`, `EVENT_BUS` and `STACK`.
    pub async fn from_env() -> Result<Self, Misconfigured> {
        let limits = TimeoutConfig::builder().operation_timeout(CALL_LIMIT).operation_attempt_timeout(ATTEMPT_LIMIT);
        let aws = aws_config::defaults(BehaviorVersion::latest()).timeout_config(limits.build()).load().await;
        let events = Events::new(aws_sdk_eventbridge::Client::new(&aws), variable::<String>("EVENT_BUS")?);
        let changes = events.of_changes(variable::<String>("STACK")?, OffsetDateTime::now_utc);
        Ok(Self {
            ledger: Ledger::new(aws_sdk_dynamodb::Client::new(&aws), Tables::from_env()).telling(changes),
            queue: Queue::new(aws_sdk_sqs::Client::new(&aws)),
            control_queue: variable("CONTROL_QUEUE_URL")?,
            issue_queue: variable("ISSUE_QUEUE_URL")?,
            clock: OffsetDateTime::now_utc,
        })
    }
}
