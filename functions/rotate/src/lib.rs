//! What has to be done every hour: notices of expiry, signed statements of the audit chains' heads (`heads`), the renewals of
//! devices' own certificates (`renewals`), and once in the life of a table, the counts of certificates from before there were
//! counts.
//!
//! A notice is an event for each certificate that has 30, 15, 7 or 1 days left. It is sent before that is noted on the
//! record, so it may come twice, but is never left out. What does not fit into one run is done by the next.

pub mod bucket;
mod heads;
mod renewals;

use std::error::Error;
use std::time::{Duration, SystemTime};

use futures::{StreamExt, stream};
use lambda_runtime::Diagnostic;
use rootcast_core::audit::Unreadable;
use rootcast_core::deployment::renewal::PercentLeft;
use rootcast_core::device::SHARDS;
use rootcast_core::event::{Event, FIRST_NOTICE, notice_due};
use rootcast_events::Events;
use rootcast_ledger::{Expiring, Ledger, LedgerError, Misconfigured, Tables, variable};
use rootcast_queue::{Queue, QueueError};
use rootcast_vault::{Notary, VaultError};
use thiserror::Error;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::bucket::{Bucket, BucketError};

/// Shards processed concurrently, and concurrent writes for each of them.
const CONCURRENCY: usize = 4;
/// Reserved for calls in flight.
const MARGIN: Duration = Duration::from_secs(5);

/// The function's clients and configuration.
pub struct App {
    pub ledger: Ledger,
    pub events: Events,
    pub notary: Notary,
    pub queue: Queue,
    /// URL of the conductor's queue.
    pub control_queue: String,
    /// When devices' own certificates are renewed by themselves.
    pub renewal: PercentLeft,
    /// Most renewals that begin in an hour.
    pub renewals_an_hour: u32,
    /// Where statements are copied to, if anywhere.
    pub bucket: Option<Bucket>,
    /// The stack's name.
    pub stack: String,
    pub clock: fn() -> OffsetDateTime,
}

#[derive(Debug, Error)]
pub enum RotateError {
    #[error(transparent)]
    Misconfigured(#[from] Misconfigured),
    /// The next run tries again.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("the audit's heads are not signed: {0}")]
    Vault(#[from] VaultError),
    /// Nobody but this function may write there.
    #[error("the last statement of audit heads cannot be read, so none can follow it: {0}")]
    Statement(#[from] Unreadable),
    #[error("a statement of audit heads cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
    /// It is stored. The next run tries again.
    #[error("a statement of audit heads is not copied to the bucket: {0}")]
    Bucket(#[from] BucketError),
    /// The next run asks for what is due then.
    #[error("the conductor is not asked for renewals: {0}")]
    Queue(#[from] QueueError),
}

impl From<RotateError> for Diagnostic {
    fn from(error: RotateError) -> Self {
        let error_type = match error {
            RotateError::Misconfigured(_) => "Misconfigured",
            RotateError::Ledger(_) => "LedgerError",
            RotateError::Vault(_) => "VaultError",
            RotateError::Statement(_) | RotateError::Unwritable(_) => "StatementError",
            RotateError::Bucket(_) => "BucketError",
            RotateError::Queue(_) => "QueueError",
        };
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

impl App {
    pub async fn from_env() -> Result<Self, RotateError> {
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        let stack: String = variable("STACK")?;
        let bucket = std::env::var("AUDIT_BUCKET").ok().filter(|bucket| !bucket.is_empty());
        let suffix: String = variable("URL_SUFFIX")?;
        Ok(Self {
            ledger: Ledger::new(aws_sdk_dynamodb::Client::new(&config), Tables::from_env()),
            events: Events::new(aws_sdk_eventbridge::Client::new(&config), variable::<String>("EVENT_BUS")?),
            notary: Notary::new(&aws_sdk_kms::Client::new(&config), variable::<String>("AUDIT_KEY_ARN")?),
            queue: Queue::new(aws_sdk_sqs::Client::new(&config)),
            control_queue: variable("CONTROL_QUEUE_URL")?,
            renewal: PercentLeft(variable("RENEW_AT_PERCENT_LEFT")?),
            renewals_an_hour: variable("RENEWALS_AN_HOUR")?,
            bucket: bucket.map(|bucket| Bucket::of(&config, &bucket, &suffix, &stack)).transpose()?,
            stack,
            clock: OffsetDateTime::now_utc,
        })
    }
}

/// `deadline`: end of the invocation.
///
/// # Errors
/// If certificates could not be read, or a statement of heads could not be made or copied. No failure holds up the others.
pub async fn handle(app: &App, deadline: SystemTime) -> Result<(), RotateError> {
    let left = deadline.duration_since(SystemTime::from((app.clock)())).unwrap_or_default();
    let deadline = Instant::now() + left.saturating_sub(MARGIN);
    let (stated, noticed, asked, listed) = futures::join!(
        app.state_heads(deadline),
        app.give_notices(deadline),
        app.ask_for_renewals(deadline),
        app.complete_lists(deadline)
    );
    // Last: after the bucket was named, all statements are copied, for hours if there are many.
    let copied = app.copy_heads(deadline).await;
    stated.and(noticed).and(asked).and(listed).and(copied)
}

impl App {
    async fn complete_lists(&self, deadline: Instant) -> Result<(), RotateError> {
        if !self.ledger.complete_lists((self.clock)(), || Instant::now() < deadline).await? {
            info!("certificates from before the stored counts are not counted yet; the next run continues");
        }
        Ok(())
    }

    async fn give_notices(&self, deadline: Instant) -> Result<(), RotateError> {
        let shards = stream::iter(0..SHARDS).map(|shard| self.shard(shard, deadline)).buffer_unordered(CONCURRENCY);
        // A shard that cannot be read does not hold up the others.
        Ok(shards.fold(Ok(()), |outcome: Result<(), LedgerError>, shard| async { outcome.and(shard) }).await?)
    }

    async fn shard(&self, shard: u8, deadline: Instant) -> Result<(), LedgerError> {
        let now = (self.clock)();
        let mut after = None;
        loop {
            let (page, next) = self.ledger.expiring(shard, now, now + FIRST_NOTICE, after).await?;
            let due: Vec<(Expiring, u16)> = page
                .into_iter()
                .filter_map(|certificate| {
                    let days = notice_due(certificate.not_after, certificate.noticed, now)?;
                    Some((certificate, days))
                })
                .collect();
            self.give_notice(due).await;
            after = match next {
                Some(next) if Instant::now() < deadline => Some(next),
                Some(_) => {
                    warn!(
                        certificates.shard = shard,
                        "not all certificates were checked in time; the next run continues"
                    );
                    return Ok(());
                }
                None => return Ok(()),
            };
        }
    }

    async fn give_notice(&self, due: Vec<(Expiring, u16)>) {
        let event = |(certificate, days): &(Expiring, u16)| Event::Expiring {
            certificate_id: certificate.id,
            dn: certificate.dn(),
            not_after: certificate.not_after,
            days: *days,
            devices: certificate.uses,
        };
        let events: Vec<Event> = due.iter().map(event).collect();
        let lost = self.events.publish(&events).await;
        let sent = due.into_iter().enumerate().filter(|(index, _)| !lost.contains(index));
        stream::iter(sent)
            .for_each_concurrent(CONCURRENCY, |(_, (certificate, days))| async move {
                info!(certificate.id = %certificate.id, certificate.days = days, "the certificate expires soon");
                if let Err(error) = self.ledger.notice(&certificate, days, (self.clock)()).await {
                    warn!(certificate.id = %certificate.id, error = &error as &dyn Error, "its event will be sent again");
                }
            })
            .await;
    }
}
