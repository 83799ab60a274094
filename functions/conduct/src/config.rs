//! The function's environment.

use rootcast_authority::CertificateAuthority;
use rootcast_ledger::{Ledger, Tables, variable};
use rootcast_queue::Queue;
use rootcast_vault::Vault;
use time::{Duration, OffsetDateTime};

use crate::{App, ConductError};

impl App {
    pub async fn from_env() -> Result<Self, ConductError> {
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(&config), Tables::from_env());
        let stack: String = variable("STACK")?;
        let vault = Vault::new(
            &aws_sdk_kms::Client::new(&config),
            &aws_sdk_resourcegroupstagging::Client::new(&config),
            stack.clone(),
        );
        Ok(Self {
            authority: CertificateAuthority::new(ledger.clone(), vault, Duration::days(variable("BUNDLE_DAYS")?)),
            ledger,
            queue: Queue::new(aws_sdk_sqs::Client::new(&config)),
            control_queue: variable("CONTROL_QUEUE_URL")?,
            task_queue: variable("TASK_QUEUE_URL")?,
            stall: Duration::seconds(variable("STALL_SECONDS")?),
            stack,
            clock: OffsetDateTime::now_utc,
        })
    }
}
