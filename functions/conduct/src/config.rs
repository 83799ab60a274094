//! The function's environment.

use rootcast_authority::{CertificateAuthority, IssuingSettings};
use rootcast_core::deployment::renewal::PercentLeft;
use rootcast_events::Events;
use rootcast_ledger::{Ledger, Tables, variable};
use rootcast_meter::{Meter, client};
use rootcast_queue::Queue;
use rootcast_vault::{KeyRoles, Vault};
use time::{Duration, OffsetDateTime};

use crate::{App, ConductError};

impl App {
    pub async fn from_env() -> Result<Self, ConductError> {
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        let stack: String = variable("STACK")?;
        let meter = Meter::new(variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")?);
        let events = Events::new(client!(aws_sdk_eventbridge, &config, meter), variable::<String>("EVENT_BUS")?);
        let changes = events.of_changes(stack.clone(), OffsetDateTime::now_utc);
        let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(&config), Tables::from_env()).metered(&meter);
        let ledger = ledger.telling(changes);
        let vault = Vault::new(
            &client!(aws_sdk_kms, &config, meter),
            &aws_sdk_resourcegroupstagging::Client::new(&config),
            stack.clone(),
        );
        let leaves_from_root = variable("LEAVES_FROM_ROOT")?;
        let authority = CertificateAuthority::new(ledger.clone(), vault, Duration::days(variable("BUNDLE_DAYS")?))
            .with_deletion_days(variable("ROOT_DELETION_DAYS")?);
        Ok(Self {
            authority: authority.with_sleep(variable("ROOT_KEY_SLEEPS")?).with_issuing(IssuingSettings {
                validity: Duration::days(variable("ISSUING_VALIDITY_DAYS")?),
                backdate: Duration::minutes(variable("ROOT_BACKDATE_MINUTES")?),
                crl_base: variable("CRL_BASE_URL")?,
                roles: variable::<KeyRoles>("KEY_ROLES")?.with_leaves_from_root(leaves_from_root),
                permitted: variable("ROOT_PERMITTED_NAMES")?,
                leaves_from_root,
            }),
            ledger,
            queue: Queue::new(client!(aws_sdk_sqs, &config, meter)),
            control_queue: variable("CONTROL_QUEUE_URL")?,
            task_queue: variable("TASK_QUEUE_URL")?,
            stall: Duration::seconds(variable("STALL_SECONDS")?),
            issuer_timeout: Duration::seconds(variable("ISSUER_SECONDS")?),
            renewal: PercentLeft(variable("RENEW_AT_PERCENT_LEFT")?),
            renewals_an_hour: variable("RENEWALS_AN_HOUR")?,
            stack,
            clock: OffsetDateTime::now_utc,
        })
    }
}
