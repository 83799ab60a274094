//! The job numbers in the queues.

use std::collections::HashSet;

use anyhow::{Context, Result};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, QueueAttributeName};
use serde_json::Value;

use crate::stack::Stack;

/// Outputs of the stack. A worker, an issuer or a conductor receives messages from these queues.
const WORKING: [&str; 3] = ["ControlQueueUrl", "TaskQueueUrl", "IssueQueueUrl"];
/// Queues without a consumer.
const DEAD: [&str; 3] = ["ControlDeadLettersUrl", "TaskDeadLettersUrl", "IssueDeadLettersUrl"];

/// Batches of ten messages read per dead-letter queue. If there are more messages, the rest is reported as unread.
const BATCHES: u32 = 100;
/// How long a received message is hidden, so that the next batch has other messages.
const HIDDEN_SECONDS: i32 = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Queued {
    /// Messages in working queues, which are only counted: receiving adds to a message's receive count, and too many
    /// receives move it to the dead-letter queue.
    pub(super) working: u64,
    /// Messages read from dead-letter queues, where the receive count has no effect.
    pub(super) read: u64,
    /// The dead-letter queues have unread messages.
    pub(super) more: bool,
    /// The highest job number in the messages that were read.
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

/// Messages about revocation lists have no job.
fn job(message: &Message) -> Option<u64> {
    let body: Value = serde_json::from_str(message.body()?).ok()?;
    body["job"].as_u64()
}
