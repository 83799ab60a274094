//! Messages as Lambda delivers them.

use aws_lambda_events::event::sqs::SqsMessage;
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

impl<T: DeserializeOwned> Delivery<T> {
    /// # Errors
    /// The id of a message that cannot be parsed. If it stays in its queue, it ends in the dead-letter queue.
    pub fn read(message: SqsMessage) -> Result<Self, String> {
        let id = message.message_id.clone().unwrap_or_default();
        Self::parse(message).ok_or(id)
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
