//! The function's environment.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rootcast_drivers::Redfish;
use rootcast_ledger::{Ledger, Tables};
use rootcast_queue::Queue;
use thiserror::Error;
use time::OffsetDateTime;

use crate::App;

/// An environment that template.yaml would not make.
#[derive(Debug, Error)]
#[error("the environment variable {0} is missing or cannot be read")]
pub struct Misconfigured(&'static str);

impl App {
    pub async fn from_env() -> Result<Self, Misconfigured> {
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        Ok(Self {
            ledger: Ledger::new(aws_sdk_dynamodb::Client::new(&config), Tables::from_env()),
            queue: Queue::new(aws_sdk_sqs::Client::new(&config)),
            ssm: aws_sdk_ssm::Client::new(&config),
            redfish: Redfish::new(Arc::new(variable("DEVICE_CIDRS")?)),
            control_queue: variable("CONTROL_QUEUE_URL")?,
            task_queue: variable("TASK_QUEUE_URL")?,
            device_timeout: Duration::from_secs(variable("DEVICE_TIMEOUT_SECONDS")?),
            retry_base: variable("RETRY_BASE_SECONDS")?,
            max_receives: variable("MAX_RECEIVES")?,
            stack: variable("STACK")?,
            clock: OffsetDateTime::now_utc,
            bundles: Default::default(),
        })
    }
}

fn variable<T: FromStr>(name: &'static str) -> Result<T, Misconfigured> {
    let value = std::env::var(name).map_err(|_| Misconfigured(name))?;
    value.parse().map_err(|_| Misconfigured(name))
}
