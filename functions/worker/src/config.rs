//! The function's environment.

use std::sync::Arc;
use std::time::Duration;

use rootcast_drivers::Redfish;
use rootcast_events::Events;
use rootcast_ledger::{Ledger, Misconfigured, Tables, variable};
use rootcast_meter::{Meter, client};
use rootcast_queue::Queue;
use rootcast_seal::Sealer;
use time::OffsetDateTime;

use crate::App;

impl App {
    pub async fn from_env() -> Result<Self, Misconfigured> {
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        let meter = Meter::new(variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")?);
        Ok(Self {
            ledger: Ledger::new(aws_sdk_dynamodb::Client::new(&config), Tables::from_env()).metered(&meter),
            queue: Queue::new(client!(aws_sdk_sqs, &config, meter)),
            ssm: client!(aws_sdk_ssm, &config, meter),
            sealer: Sealer::new(&client!(aws_sdk_kms, &config, meter), variable::<String>("SEALING_KEY_ARN")?),
            events: Events::new(client!(aws_sdk_eventbridge, &config, meter), variable::<String>("EVENT_BUS")?),
            redfish: Redfish::new(Arc::new(variable("DEVICE_CIDRS")?)),
            credential_prefix: variable("CREDENTIAL_PREFIX")?,
            control_queue: variable("CONTROL_QUEUE_URL")?,
            task_queue: variable("TASK_QUEUE_URL")?,
            issue_queue: variable("ISSUE_QUEUE_URL")?,
            device_timeout: Duration::from_secs(variable("DEVICE_TIMEOUT_SECONDS")?),
            retry_base: variable("RETRY_BASE_SECONDS")?,
            max_tries: variable("MAX_TRIES")?,
            stack: variable("STACK")?,
            clock: OffsetDateTime::now_utc,
            random: rootcast_queue::jitter,
            bundles: Default::default(),
        })
    }
}
