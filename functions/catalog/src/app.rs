//! The handlers' clients and configuration, created when the first request needs them.

use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use rootcast_core::device::address::{AddressPolicy, InvalidNetwork};
use rootcast_core::usage::Prices;
use rootcast_events::Events;
use rootcast_gate::{Refusal, ScmGate, SecondPerson};
use rootcast_ledger::{Ledger, Tables};
use rootcast_operations::Operations;
use rootcast_queue::Queue;
use rootcast_seal::Sealer;
use thiserror::Error;
use time::OffsetDateTime;
use tokio::sync::OnceCell;

/// One call to AWS, including its retries. The function has 29 s, and some requests make several calls.
const CALL_LIMIT: Duration = Duration::from_secs(8);
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);

#[derive(Clone, Default)]
pub struct App(Arc<OnceCell<Parts>>);

pub struct Parts {
    pub ledger: Ledger,
    /// Authenticates the callers of `/v3/scm`.
    pub gate: ScmGate,
    pub queue: Queue,
    /// URL of the conductor's queue.
    pub control_queue: String,
    /// URL of the issuer's queue, which makes revocation lists.
    pub issue_queue: String,
    /// URL of the workers' queue, for probes.
    pub task_queue: String,
    /// The networks that devices may be in.
    pub networks: AddressPolicy,
    /// Seals devices' credentials, and opens none.
    pub sealer: Sealer,
    /// The prefix of the SSM parameters that hold the devices' credentials.
    pub credential_prefix: String,
    /// Says whether they exist.
    pub ssm: aws_sdk_ssm::Client,
    pub second: SecondPerson,
    /// Of what jobs use.
    pub prices: Prices,
    pub clock: fn() -> OffsetDateTime,
}

/// The deployment is misconfigured.
#[derive(Debug, Error)]
pub(crate) enum Misconfigured {
    #[error("the environment variable {0} is not set")]
    Unset(&'static str),
    #[error(transparent)]
    Invalid(#[from] rootcast_ledger::Misconfigured),
    #[error("the environment variable DEVICE_CIDRS: {0}")]
    Networks(#[from] InvalidNetwork),
    #[error("the environment variable PRICES is not as functions/shared/core/src/prices.json")]
    Prices(#[from] serde_json::Error),
}

impl From<Misconfigured> for Refusal {
    fn from(error: Misconfigured) -> Self {
        Self::internal(error)
    }
}

impl App {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(OnceCell::new_with(Some(parts))))
    }

    pub(crate) async fn parts(&self) -> Result<&Parts, Misconfigured> {
        self.0.get_or_try_init(Parts::from_env).await
    }
}

impl Parts {
    pub(crate) fn operations(&self) -> Operations<'_> {
        Operations {
            ledger: &self.ledger,
            queue: &self.queue,
            control_queue: &self.control_queue,
            clock: self.clock,
            deadline: None,
        }
    }

    async fn from_env() -> Result<Self, Misconfigured> {
        let limits = TimeoutConfig::builder().operation_timeout(CALL_LIMIT).operation_attempt_timeout(ATTEMPT_LIMIT);
        let aws = aws_config::defaults(BehaviorVersion::latest()).timeout_config(limits.build()).load().await;
        let events = Events::new(aws_sdk_eventbridge::Client::new(&aws), set("EVENT_BUS")?);
        let changes = events.of_changes(set("STACK")?, OffsetDateTime::now_utc);
        let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(&aws), Tables::from_env()).telling(changes);
        let kms = aws_sdk_kms::Client::new(&aws);
        let access_keys = Sealer::new(&kms, set("ACCESS_KEY_ARN")?);
        Ok(Self {
            second: SecondPerson::from_env(ledger.clone(), OffsetDateTime::now_utc)?,
            gate: ScmGate::new(ledger.clone(), access_keys),
            ledger,
            queue: Queue::new(aws_sdk_sqs::Client::new(&aws)),
            control_queue: set("CONTROL_QUEUE_URL")?,
            issue_queue: set("ISSUE_QUEUE_URL")?,
            task_queue: set("TASK_QUEUE_URL")?,
            networks: std::env::var("DEVICE_CIDRS").unwrap_or_default().parse()?,
            sealer: Sealer::new(&kms, set("SEALING_KEY_ARN")?),
            credential_prefix: set("CREDENTIAL_PREFIX")?,
            ssm: aws_sdk_ssm::Client::new(&aws),
            prices: std::env::var("PRICES").unwrap_or_default().parse()?,
            clock: OffsetDateTime::now_utc,
        })
    }
}

fn set(variable: &'static str) -> Result<String, Misconfigured> {
    std::env::var(variable).ok().filter(|value| !value.is_empty()).ok_or(Misconfigured::Unset(variable))
}
