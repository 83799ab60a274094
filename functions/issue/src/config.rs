//! The function's environment.

use rootcast_core::deployment::renewal::PercentLeft;
use rootcast_events::Events;
use rootcast_ledger::{Ledger, Tables, variable};
use rootcast_meter::{Meter, client};
use rootcast_queue::Queue;
use rootcast_vault::Vault;
use time::{Duration, OffsetDateTime};

use crate::{App, IssuerError};

impl App {
    pub async fn from_env() -> Result<Self, IssuerError> {
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        let meter = Meter::new(variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")?);
        let stack: String = variable("STACK")?;
        let vault = Vault::new(
            &client!(aws_sdk_kms, &config, meter),
            &aws_sdk_resourcegroupstagging::Client::new(&config),
            stack.clone(),
        );
        Ok(Self {
            ledger: Ledger::new(aws_sdk_dynamodb::Client::new(&config), Tables::from_env()).metered(&meter),
            vault,
            signatures: crate::signatures(),
            queue: Queue::new(client!(aws_sdk_sqs, &config, meter)),
            events: Events::new(client!(aws_sdk_eventbridge, &config, meter), variable::<String>("EVENT_BUS")?),
            issue_queue: variable("ISSUE_QUEUE_URL")?,
            task_queue: variable("TASK_QUEUE_URL")?,
            control_queue: variable("CONTROL_QUEUE_URL")?,
            leaves_from_root: variable("LEAVES_FROM_ROOT")?,
            validity: Duration::days(variable("DEVICE_CERTIFICATE_DAYS")?),
            renewal: PercentLeft(variable("RENEW_AT_PERCENT_LEFT")?),
            revoke_superseded: variable("REVOKE_SUPERSEDED")?,
            crl_base: variable("CRL_BASE_URL")?,
            retry_base: variable("RETRY_BASE_SECONDS")?,
            stack,
            clock: OffsetDateTime::now_utc,
            random: rootcast_queue::jitter,
        })
    }
}
