//! What the queues show of jobs.

use std::collections::HashSet;

use anyhow::{Context, Result};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, QueueAttributeName};
use serde_json::Value;

use crate::stack::Stack;

/// Outputs of the stack. A worker, an issuer or a conductor takes messages from these.
const WORKING: [&str; 3] = ["ControlQueueUrl", "TaskQueueUrl", "IssueQueueUrl"];
/// Nobody does from these.
const DEAD: [&str; 3] = ["ControlDeadLettersUrl", "TaskDeadLettersUrl", "IssueDeadLettersUrl"];

/// Batches of ten that are read of a dead-letter queue: one of more messages is said to be unread.
const BATCHES: u32 = 100;
/// So long a message that was read is hidden, so that the next batch has others.
const HIDDEN_SECONDS: i32 = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Queued {
    /// In working queues. To read one counts as a delivery, and too many deliveries put a message aside.
    pub(super) working: u64,
    /// Read from dead-letter queues, where deliveries do not count.
    pub(super) read: u64,
    /// There are more in the dead-letter queues.
    pub(super) more: bool,
    /// The highest job of those that were read.
    pub(super) job: Option<u64>,
}

impl Queued {
    pub(super) const fn is_unread(&self) -> bool {
        self.working > 0 || self.more
    }
}

pub(super) async fn look(sqs: &Client, stack: &Stack) -> Result<Queued> {
    let mut queued = Queued::default();
    for output in WORKING {
        queued.working += count(sqs, stack.output(output)?).await?;
    }
    for output in DEAD {
        read(sqs, stack.output(output)?, &mut queued).await?;
    }
    Ok(queued)
}

async fn count(sqs: &Client, queue: &str) -> Result<u64> {
    let counts = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ];
    let asked = sqs.get_queue_attributes().queue_url(queue).set_attribute_names(Some(counts.to_vec())).send().await;
    let attributes = asked.with_context(|| format!("the messages of {queue} cannot be counted"))?.attributes;
    let attributes = attributes.unwrap_or_default();
    Ok(counts.iter().filter_map(|name| attributes.get(name)?.parse::<u64>().ok()).sum())
}

async fn read(sqs: &Client, queue: &str, queued: &mut Queued) -> Result<()> {
    let mut seen = HashSet::new();
    for _ in 0..BATCHES {
        let asked = sqs.receive_message().queue_url(queue).max_number_of_messages(10);
        let received = asked.visibility_timeout(HIDDEN_SECONDS).wait_time_seconds(1).send().await;
        let messages = received.with_context(|| format!("the messages of {queue} cannot be read"))?.messages;
        let new = messages.unwrap_or_default().into_iter().filter(|message| seen.insert(message.message_id.clone()));
        let jobs: Vec<Option<u64>> = new.map(|message| job(&message)).collect();
        if jobs.is_empty() {
            return Ok(());
        }
        queued.read += jobs.len() as u64;
        queued.job = queued.job.max(jobs.into_iter().flatten().max());
    }
    queued.more = true;
    Ok(())
}

/// A revocation list's message names none.
fn job(message: &Message) -> Option<u64> {
    let body: Value = serde_json::from_str(message.body()?).ok()?;
    body["job"].as_u64()
}
