//! The issuer's triggers: its queue and the schedule.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, SystemTime};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Diagnostic, LambdaEvent};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::backoff;
use rootcast_pki::crl::CrlId;
use rootcast_queue::{Delivery, Postponed, Returning};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::error;

use crate::batch::{self, Batch};
use crate::task::AfterTask;
use crate::{App, IssuerError};

/// Reserved for recording the last list or certificate, of a long enough invocation.
const MARGIN: Duration = Duration::from_secs(5);

/// The queue's batch, or the schedule's input.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Wake {
    Queue(SqsEvent),
    Schedule {
        #[serde(rename = "wake")]
        what: Lists,
    },
}

/// The schedule's input: renews the revocation lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lists {
    Lists,
}

impl From<IssuerError> for Diagnostic {
    fn from(error: IssuerError) -> Self {
        let error_type = match error {
            IssuerError::Misconfigured(_) => "Misconfigured",
            IssuerError::Ledger(_) => "LedgerError",
            IssuerError::Vault(_) => "VaultError",
            IssuerError::Queue(_) => "QueueError",
            IssuerError::List(_) => "IssueError",
            IssuerError::NoSigner(_) => "NoSigner",
            IssuerError::Busy => "Busy",
        };
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

/// # Errors
/// If a scheduled call failed. Messages of the queue fail individually.
pub async fn handle(app: &App, event: LambdaEvent<Wake>) -> Result<SqsBatchResponse, IssuerError> {
    let mut answer = SqsBatchResponse::default();
    let messages = match &event.payload {
        Wake::Queue(event) => event.records.len(),
        _ => 0,
    };
    let _running = app.ledger.meter().run(messages);
    let deadline = deadline(event.context.deadline(), (app.clock)());
    match event.payload {
        Wake::Schedule { what: Lists::Lists } => {
            // What is revoked now is published in the same run.
            let caught_up = app.catch_up(Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2).await;
            caught_up.and(app.renew_lists(deadline).await)?;
        }
        Wake::Queue(event) => {
            let Batch { tasks, lists, renewed, unreadable } = batch::read(event);
            for id in unreadable {
                // It ends in the dead-letter queue, where an operator can inspect it.
                answer.add_failure(id);
            }
            let mut postponed = app.publish_all(lists, &mut answer).await;
            postponed.extend(app.supersede_all(renewed, &mut answer).await);
            if !postponed.is_empty() {
                app.queue.postpone(&app.issue_queue, &postponed).await;
            }
            let worked = Box::pin(app.work(tasks, deadline)).await;
            let returning = worked.into_iter().filter_map(|(delivery, next)| match next {
                AfterTask::Again(seconds) => Some(Returning { delivery, seconds, changed: false }),
                AfterTask::Done => None,
            });
            for id in app.queue.come_back(&app.issue_queue, returning.collect()).await {
                answer.add_failure(id);
            }
        }
    }
    Ok(answer)
}

impl App {
    /// Several messages about one list need only one publication.
    async fn publish_all(&self, deliveries: Vec<Delivery<CrlId>>, answer: &mut SqsBatchResponse) -> Vec<Postponed> {
        let mut lists: BTreeMap<CrlId, Vec<Delivery<CrlId>>> = BTreeMap::new();
        for delivery in deliveries {
            lists.entry(delivery.body).or_default().push(delivery);
        }
        let mut postponed = Vec::new();
        for (list, messages) in lists {
            let Err(error) = self.publish(list).await else { continue };
            error!(crl = %list, error = &error as &dyn Error, "the revocation list could not be made and is tried again");
            postponed.extend(messages.into_iter().map(|message| self.later(message, answer)));
        }
        postponed
    }

    async fn supersede_all(
        &self,
        deliveries: Vec<Delivery<CertificateId>>,
        answer: &mut SqsBatchResponse,
    ) -> Vec<Postponed> {
        let mut postponed = Vec::new();
        for delivery in deliveries {
            let Err(error) = self.supersede(delivery.body).await else { continue };
            error!(certificate.id = %delivery.body, error = &error as &dyn Error, "what a renewal replaced could not be revoked; this is tried again");
            postponed.push(self.later(delivery, answer));
        }
        postponed
    }

    fn later<T>(&self, message: Delivery<T>, answer: &mut SqsBatchResponse) -> Postponed {
        let seconds = backoff::seconds(self.retry_base, message.receives, (self.random)());
        answer.add_failure(message.message_id);
        Postponed { receipt_handle: message.receipt_handle, seconds }
    }
}

/// Lambda gives the deadline in wall-clock time.
fn deadline(at: SystemTime, now: OffsetDateTime) -> Instant {
    let left = at.duration_since(SystemTime::from(now)).unwrap_or(Duration::ZERO);
    Instant::now() + left.saturating_sub(MARGIN.min(left / 2))
}
