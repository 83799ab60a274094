//! The function's environment.

use rootcast_authority::{CertificateAuthority, Settings};
use rootcast_events::Events;
use rootcast_gate::SecondPerson;
use rootcast_ledger::{Ledger, Misconfigured, Tables, variable};
use rootcast_meter::{Meter, client};
use rootcast_queue::Queue;
use rootcast_vault::{KeyRoles, Vault};
use time::{Duration, OffsetDateTime};

use crate::App;

impl App {
    pub async fn from_env() -> Result<Self, Misconfigured> {
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        let meter = Meter::new(variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")?);
        let events = Events::new(client!(aws_sdk_eventbridge, &config, meter), variable::<String>("EVENT_BUS")?);
        let changes = events.of_changes(variable::<String>("STACK")?, OffsetDateTime::now_utc);
        let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(&config), Tables::from_env()).metered(&meter);
        let ledger = ledger.telling(changes);
        let vault = Vault::new(
            &client!(aws_sdk_kms, &config, meter),
            &aws_sdk_resourcegroupstagging::Client::new(&config),
            variable::<String>("STACK")?,
        );
        let clock = OffsetDateTime::now_utc;
        let second = SecondPerson::from_env(ledger.clone(), clock)?;
        let days = variable("ROOT_VALIDITY_DAYS")?;
        Ok(Self {
            authority: CertificateAuthority::new(ledger.clone(), vault, Duration::days(variable("BUNDLE_DAYS")?))
                .with_sleep(variable("ROOT_KEY_SLEEPS")?),
            ledger,
            queue: Queue::new(client!(aws_sdk_sqs, &config, meter)),
            control_queue: variable("CONTROL_QUEUE_URL")?,
            settings: Settings {
                root_name: variable("ROOT_NAME")?,
                subject: variable("ROOT_SUBJECT")?,
                permitted: variable("ROOT_PERMITTED_NAMES")?,
                validity: Duration::days(days),
                hold_down: variable::<u32>("HOLD_DOWN_HOURS")?.saturating_mul(3600),
                until: variable("ROLLOVER_UNTIL")?,
                backdate: Duration::minutes(variable("ROOT_BACKDATE_MINUTES")?),
                crl_base: Some(variable::<String>("CRL_BASE_URL")?).filter(|base| !base.is_empty()),
                roles: variable::<KeyRoles>("KEY_ROLES")?
                    .with_leaves_from_root(variable("LEAVES_FROM_ROOT")?)
                    .with_multi_region(variable("MULTI_REGION_ROOTS")?),
            },
            workers: variable("MAXIMUM_CONCURRENCY")?,
            second,
            clock,
        })
    }
}
