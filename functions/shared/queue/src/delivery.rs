//! Messages as Lambda hands them out.

use aws_lambda_events::event::sqs::SqsMessage;
use serde::de::DeserializeOwned;

/// One message.
#[derive(Debug, Clone)]
pub struct Delivery<T> {
    pub message_id: String,
    pub receipt_handle: String,
    /// How often the queue has handed it out, this time included.
    pub receives: u32,
    pub body: T,
}

impl<T: DeserializeOwned> Delivery<T> {
    /// # Errors
    /// The id of a message that cannot be read. Left in its queue, it ends where somebody can look at it.
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
