//! The function's environment.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use rootcast_gate::SecondPerson;
use rootcast_ledger::{Ledger, Misconfigured, Tables, variable};
use time::OffsetDateTime;

use crate::App;

/// One call to AWS, including its retries. The function has 29 s, and a login makes five to eleven calls.
const CALL_LIMIT: Duration = Duration::from_secs(5);
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);

impl App {
    /// From `ACCESS_TABLE`, `JOBS_TABLE`, `SESSION_IDLE_MINUTES` and `TWO_PERSONS`.
    pub async fn from_env() -> Result<Self, Misconfigured> {
        let limits = TimeoutConfig::builder().operation_timeout(CALL_LIMIT).operation_attempt_timeout(ATTEMPT_LIMIT);
        let aws = aws_config::defaults(BehaviorVersion::latest()).timeout_config(limits.build()).load().await;
        let tables = Tables::from_env();
        if tables.access.is_none() {
            return Err(Misconfigured("ACCESS_TABLE"));
        }
        let idle = time::Duration::minutes(variable("SESSION_IDLE_MINUTES")?);
        let (ledger, clock) = (Ledger::new(aws_sdk_dynamodb::Client::new(&aws), tables), OffsetDateTime::now_utc);
        Ok(Self { second: SecondPerson::from_env(ledger.clone(), clock)?, ledger, idle, clock })
    }
}
