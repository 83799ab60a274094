//! Messages as Lambda delivers them.

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use serde::de::DeserializeOwned;

/// One message.
#[derive(Debug, Clone)]
pub struct Delivery<T> {
    pub message_id: String,
    pub receipt_handle: String,
    /// The receive count, including this delivery.
    pub receives: u32,
    pub body: T,
}

impl<T> AsRef<T> for Delivery<T> {
    fn as_ref(&self) -> &T {
        &self.body
    }
}

impl<T: DeserializeOwned> Delivery<T> {
    /// A batch's messages, and the ids of those that cannot be parsed.
    pub fn read_all(event: SqsEvent) -> (Vec<Self>, Vec<String>) {
        let (mut deliveries, mut unreadable) = (Vec::new(), Vec::new());
        for message in event.records {
            match Self::read(message) {
                Ok(delivery) => deliveries.push(delivery),
                Err(id) => unreadable.push(id),
            }
        }
        (deliveries, unreadable)
    }

    /// # Errors
    /// The id of a message that cannot be parsed. If it stays in its queue, it ends in the dead-letter queue.
    pub fn read(message: SqsMessage) -> Result<Self, String> {
        let id = message.message_id.clone().unwrap_or_default();
        Self::parse(message).ok_or(id)
    }

    /// One that was received without Lambda.
    pub(crate) fn received(message: Message) -> Option<Self> {
        let attributes = message.attributes.unwrap_or_default();
        let receives = attributes.get(&MessageSystemAttributeName::ApproximateReceiveCount);
        Some(Self {
            message_id: message.message_id?,
            receipt_handle: message.receipt_handle?,
            receives: receives.and_then(|count| count.parse().ok()).unwrap_or(1),
            body: serde_json::from_str(&message.body?).ok()?,
        })
    }

    fn parse(message: SqsMessage) -> Option<Self> {
        let receives = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok());
        Some(Self {
            message_id: message.message_id?,
            receipt_handle: message.receipt_handle?,
            receives: receives.unwrap_or(1),
            body: serde_json::from_str(&message.body?).ok()?,
        })
    }
}
