//! SQS: batches in and out.
//!
//! Messages may be lost, doubled and reordered; whoever reads them looks at the ledger, not at the message.

mod delivery;

use std::error::Error as StdError;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, SendMessageBatchRequestEntry};
use futures::stream::{self, StreamExt, TryStreamExt};
use rootcast_core::job::JobId;
use rootcast_core::job::message::{Control, Task};
use serde::Serialize;
use thiserror::Error;
use tracing::warn;

pub use delivery::Delivery;

/// SQS takes ten messages a call.
const BATCH: usize = 10;
/// Calls under way at once. A call takes about 10 ms, so this sends some 8 000 messages a second.
const CONCURRENCY: usize = 8;
/// An entry that SQS refuses inside an accepted batch (its own fault) is sent again so often.
const RESENDS: usize = 3;
/// SQS's own limit, in seconds (12 hours).
const LONGEST_VISIBILITY: u32 = 43_200;
/// SQS's own limit, in seconds.
const LONGEST_DELAY: u32 = 900;

#[derive(Debug, Error)]
pub enum QueueError {
    #[error("{operation} failed")]
    Aws { operation: &'static str, passing: bool, source: Box<dyn StdError + Send + Sync> },
    #[error("SQS refused {0} messages of a batch")]
    Refused(usize),
    #[error("a message cannot be written")]
    Unwritable(#[from] serde_json::Error),
    #[error("a message cannot be built")]
    Unbuildable(#[from] aws_sdk_sqs::error::BuildError),
}

impl QueueError {
    /// Whether the same may succeed later, without anybody's doing; the SDK's own attempts are used up then.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Aws { passing: true, .. } | Self::Refused(_))
    }
}

/// A message that was received so often is replaced when it comes back. So what waits for hours, since a service throttles
/// or a device is busy, never comes near the receives at which its queue puts a message aside.
const WORN: u32 = 5;

/// A received message that is to be seen again after so many seconds.
#[derive(Debug, Clone)]
pub struct Returning<T> {
    pub delivery: Delivery<T>,
    pub seconds: u32,
    /// Its body is not what was received.
    pub changed: bool,
}

/// A received message that shall not be seen again before `seconds` have passed.
#[derive(Debug, Clone)]
pub struct Postponed {
    pub receipt_handle: String,
    pub seconds: u32,
}

#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
}

impl Queue {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Wakes the conductor, at once.
    pub async fn send_control(&self, url: &str, control: &Control) -> Result<(), QueueError> {
        self.send_later(url, control, 0).await
    }

    /// The same, where nothing is lost if it fails: a schedule wakes the conductor within a minute.
    pub async fn wake_conductor(&self, url: &str, job: JobId, why: impl Into<String>) {
        if let Err(error) = self.send_control(url, &Control { job, why: why.into() }).await {
            let error: &dyn StdError = &error;
            warn!(job.id = job.0, error, "the conductor could not be woken; its schedule will");
        }
    }

    /// One message, a [`Control`] or a [`Task`], to be seen after `seconds`; SQS takes 900 at most.
    pub async fn send_later(&self, url: &str, message: &impl Serialize, seconds: u32) -> Result<(), QueueError> {
        self.client
            .send_message()
            .queue_url(url)
            .message_body(serde_json::to_string(message)?)
            .delay_seconds(i32::try_from(seconds.min(LONGEST_DELAY)).unwrap_or(0))
            .send()
            .await
            .map_err(aws("SendMessage"))?;
        Ok(())
    }

    /// Sends tasks in their order, ten a call, so that those of a shard stay together.
    pub async fn send_tasks(&self, url: &str, tasks: &[Task]) -> Result<(), QueueError> {
        stream::iter(tasks.chunks(BATCH).map(Ok))
            .try_for_each_concurrent(CONCURRENCY, |batch| self.send_batch(url, batch))
            .await
    }

    /// Messages come back, in their place where they can: postponed, or as new ones whose receives are counted anew. What
    /// is answered are the ids of those that stay; a batch's answer names them as failed.
    pub async fn come_back<T: Serialize>(&self, url: &str, messages: Vec<Returning<T>>) -> Vec<String> {
        let (mut ids, mut postponed) = (Vec::new(), Vec::new());
        for Returning { delivery, seconds, changed } in messages {
            let Delivery { message_id, receipt_handle, receives, body } = delivery;
            if changed || receives >= WORN {
                match self.send_later(url, &body, seconds).await {
                    Ok(()) => continue,
                    Err(error) => {
                        warn!(error = &error as &dyn StdError, "a message could not be replaced and comes back itself");
                    }
                }
            }
            ids.push(message_id);
            postponed.push(Postponed { receipt_handle, seconds });
        }
        if !postponed.is_empty() {
            self.postpone(url, &postponed).await;
        }
        ids
    }

    /// What is to be tried again later stays in its queue, out of sight until then. A message that could not be
    /// postponed merely comes back sooner or later than wished.
    pub async fn postpone(&self, url: &str, messages: &[Postponed]) {
        let calls = messages.chunks(BATCH).map(|batch| async move {
            let entries: Result<Vec<_>, _> = batch
                .iter()
                .enumerate()
                .map(|(index, message)| {
                    ChangeMessageVisibilityBatchRequestEntry::builder()
                        .id(index.to_string())
                        .receipt_handle(&message.receipt_handle)
                        .visibility_timeout(i32::try_from(message.seconds.min(LONGEST_VISIBILITY)).unwrap_or(0))
                        .build()
                })
                .collect();
            let sent = match entries {
                Ok(entries) => self
                    .client
                    .change_message_visibility_batch()
                    .queue_url(url)
                    .set_entries(Some(entries))
                    .send()
                    .await
                    .map_err(aws("ChangeMessageVisibilityBatch")),
                Err(error) => Err(error.into()),
            };
            match sent {
                Err(error) => warn!(error = &error as &dyn StdError, "messages could not be postponed"),
                Ok(answer) if !answer.failed.is_empty() => {
                    warn!(messages.failed = answer.failed.len(), "messages could not be postponed");
                }
                Ok(_) => {}
            }
        });
        stream::iter(calls).for_each_concurrent(CONCURRENCY, |call| call).await;
    }

    async fn send_batch<T: Serialize>(&self, url: &str, batch: &[T]) -> Result<(), QueueError> {
        let mut entries = Vec::new();
        for (index, message) in batch.iter().enumerate() {
            let body = serde_json::to_string(message)?;
            entries.push(SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(body).build()?);
        }
        for _ in 0..RESENDS {
            let call = self.client.send_message_batch().queue_url(url).set_entries(Some(entries.clone()));
            let answer = call.send().await.map_err(aws("SendMessageBatch"))?;
            let failed: Vec<&str> = answer.failed.iter().map(|failed| failed.id.as_str()).collect();
            if failed.is_empty() {
                return Ok(());
            }
            entries.retain(|entry| failed.contains(&entry.id.as_str()));
        }
        Err(QueueError::Refused(entries.len()))
    }
}

/// Spreads what would come back together. Not a secret; zero where the operating system gives none.
pub fn jitter() -> u32 {
    getrandom::u32().unwrap_or(0)
}

fn aws<E>(operation: &'static str) -> impl FnOnce(SdkError<E>) -> QueueError
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    move |source| QueueError::Aws { operation, passing: is_passing(&source), source: Box::new(source) }
}

/// SQS's throttles, and the silence of anybody on the way.
fn is_passing<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(answer) => {
            answer.raw().status().is_server_error()
                || matches!(answer.err().code(), Some("RequestThrottled" | "ThrottlingException" | "OverLimit"))
        }
        _ => false,
    }
}
