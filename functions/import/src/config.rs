//! The function's environment.

use rootcast_events::Events;
use rootcast_gate::{ScmGate, SecondPerson};
use rootcast_ledger::{Ledger, Misconfigured, Tables, variable};
use rootcast_seal::Sealer;
use time::OffsetDateTime;

use crate::{App, Roots, public_roots};

impl App {
    pub async fn from_env() -> Result<Self, Misconfigured> {
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(&config), Tables::from_env());
        let kms = aws_sdk_kms::Client::new(&config);
        Ok(Self {
            gate: ScmGate::new(ledger.clone(), Sealer::new(&kms, variable::<String>("ACCESS_KEY_ARN")?)),
            sealer: Sealer::new(&kms, variable::<String>("SEALING_KEY_ARN")?),
            events: Events::new(aws_sdk_eventbridge::Client::new(&config), variable::<String>("EVENT_BUS")?),
            roots: Roots::new(ledger.clone(), public_roots),
            second: SecondPerson::from_env(ledger.clone(), OffsetDateTime::now_utc)?,
            ledger,
            clock: OffsetDateTime::now_utc,
        })
    }
}
