//! SQS: batches in and out.
//!
//! Messages may be lost, duplicated and reordered; consumers rely on the ledger, not on the message.

mod delivery;

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageSystemAttributeName,
    SendMessageBatchRequestEntry,
};
use futures::stream::{self, StreamExt, TryStreamExt};
use rootcast_core::job::JobId;
use rootcast_core::job::message::{Control, Issuing, Task};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tracing::warn;

pub use delivery::Delivery;

/// SQS's limit of messages per call.
const BATCH: usize = 10;
/// Concurrent calls. A call takes about 10 ms, so this sends some 8 000 messages a second.
const CONCURRENCY: usize = 8;
/// Attempts for entries that SQS refuses within an accepted batch (its own fault).
const ATTEMPTS: usize = 3;
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
    /// Whether a later retry may succeed without any other change; the SDK's own retries are already used up.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Aws { passing: true, .. } | Self::Refused(_))
    }
}

/// A message with this receive count is replaced by a new one when it is returned. So messages that wait for hours,
/// because a service throttles or a device is busy, do not reach the receive count at which SQS moves them to the
/// dead-letter queue.
const WORN: u32 = 5;

/// A received message to be delivered again after this number of seconds.
#[derive(Debug, Clone)]
pub struct Returning<T> {
    pub delivery: Delivery<T>,
    pub seconds: u32,
    /// The body differs from the received message's.
    pub changed: bool,
}

/// A received message to stay invisible until `seconds` have passed.
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

    /// Wakes the conductor at once.
    pub async fn send_control(&self, url: &str, control: &Control) -> Result<(), QueueError> {
        self.send_later(url, control, 0).await
    }

    /// Wakes the conductor, and only logs a failure: a schedule wakes it within a minute anyway.
    pub async fn wake_conductor(&self, url: &str, job: JobId, why: impl Into<String>) {
        if let Err(error) = self.send_control(url, &Control { job, why: why.into() }).await {
            let error: &dyn StdError = &error;
            warn!(job.id = job.0, error, "the conductor could not be woken; its schedule will");
        }
    }

    /// Has the conductor look after the issuing authorities, and only logs a failure: its schedule does within a minute.
    pub async fn wake_for_issuing(&self, url: &str, why: impl Into<String>) {
        if let Err(error) = self.send_later(url, &Issuing { issuing: why.into() }, 0).await {
            let error: &dyn StdError = &error;
            warn!(error, "the conductor could not be woken for the issuing authorities; its schedule will");
        }
    }

    /// Sends one message, a [`Control`] or a [`Task`], with a delay in seconds; SQS's limit is 900.
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

    /// Sends tasks in order, ten per call, so that those of a shard stay together.
    pub async fn send_tasks(&self, url: &str, tasks: &[Task]) -> Result<(), QueueError> {
        stream::iter(tasks.chunks(BATCH).map(Ok))
            .try_for_each_concurrent(CONCURRENCY, |batch| self.send_batch(url, batch))
            .await
    }

    /// Returns messages to the queue: postponed in place if possible, else replaced by new ones with a new receive
    /// count. Returns the ids of messages that stay in the queue; the batch's response must report them as failed.
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

    /// At most `most` messages that wait in the queue (10 is SQS's limit), hidden from others for this time. Empty if there are
    /// none, or the call fails: Lambda will deliver them. Those that cannot be parsed come back, and end in the dead-letter
    /// queue.
    pub async fn receive<T: DeserializeOwned>(&self, url: &str, most: usize, hidden: Duration) -> Vec<Delivery<T>> {
        let received = self
            .client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(i32::try_from(most.min(BATCH)).unwrap_or(1))
            .visibility_timeout(i32::try_from(hidden.as_secs()).unwrap_or(i32::MAX))
            // Without a wait, SQS asks only some of its hosts, and may miss messages.
            .wait_time_seconds(1)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send()
            .await;
        match received {
            Ok(answer) => answer.messages.unwrap_or_default().into_iter().filter_map(Delivery::received).collect(),
            Err(error) => {
                warn!(error = &error as &dyn StdError, "no further messages could be received");
                Vec::new()
            }
        }
    }

    /// Deletes messages before Lambda does. One that is not deleted comes back, and is found to be done.
    pub async fn delete(&self, url: &str, receipts: Vec<String>) {
        for batch in receipts.chunks(BATCH) {
            let entry = |(index, receipt): (usize, &String)| {
                DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(receipt).build()
            };
            let entries: Result<Vec<_>, _> = batch.iter().enumerate().map(entry).collect();
            let deleted = match entries {
                Ok(entries) => self
                    .client
                    .delete_message_batch()
                    .queue_url(url)
                    .set_entries(Some(entries))
                    .send()
                    .await
                    .map_err(aws("DeleteMessageBatch")),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = deleted {
                warn!(error = &error as &dyn StdError, "messages that are done could not be deleted");
            }
        }
    }

    /// Postpones messages: they stay in their queue, invisible until their retry. If the call fails, a message
    /// returns sooner or later than intended.
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
        for _ in 0..ATTEMPTS {
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

/// Random jitter, so that messages do not return all at once. Not a secret; zero if the operating system has no
/// randomness.
pub fn jitter() -> u32 {
    getrandom::u32().unwrap_or(0)
}

fn aws<E>(operation: &'static str) -> impl FnOnce(SdkError<E>) -> QueueError
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    move |source| QueueError::Aws { operation, passing: is_passing(&source), source: Box::new(source) }
}

/// A throttle by SQS, or no answer.
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
