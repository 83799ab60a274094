//! Lenovo's response envelope: `{response?, result, messages: [{id, text, explanation, recovery: {text, URL}}]}`.
//!
//! Source: <https://pubs.lenovo.com/lxca_scripting/rest_api_signingcertificate_put>. Message ids are `FQXHMSE`, four
//! digits and a letter for the severity: I informational, F and G warning, H and J minor, K and L major.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The envelope of every answer except the raw ones (PEM, JWS, PKCS #7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Envelope<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<T>,
    pub result: ResultKind,
    pub messages: Vec<Message>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultKind {
    Success,
    /// Done in part.
    Warning,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    pub id: &'static str,
    /// What happened, in a sentence.
    pub text: String,
    /// Why.
    pub explanation: String,
    pub recovery: Recovery,
}

/// What the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recovery {
    pub text: String,
    /// Empty if there is no page on it.
    #[serde(rename = "URL")]
    pub url: String,
}

impl Recovery {
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), url: String::new() }
    }

    /// The vendor's text for a message that requires no action.
    pub fn none() -> Self {
        Self::text("Information only; no action is required.")
    }
}

impl Message {
    /// The vendor's message for `PUT /signingCertificate`, word for word.
    pub fn regenerated() -> Self {
        Self {
            id: "FQXHMSE0132I",
            text: "The request to generate the CA root certificate was successful.".to_owned(),
            explanation: "The CA root certificate was regenerated.".to_owned(),
            recovery: Recovery::none(),
        }
    }

    /// The vendor's message for other requests that were fulfilled, word for word.
    pub fn completed() -> Self {
        Self {
            id: "FQXHMSE0001I",
            text: "The request completed successfully.".to_owned(),
            explanation: String::new(),
            recovery: Recovery::none(),
        }
    }

    /// A warning beside a fulfilled request.
    pub fn warning(text: impl Into<String>, explanation: impl Into<String>, recovery: impl Into<String>) -> Self {
        Self {
            id: "FQXHMSE1021G",
            text: text.into(),
            explanation: explanation.into(),
            recovery: Recovery::text(recovery),
        }
    }

    /// The message of any other fulfilled request.
    pub fn done(text: impl Into<String>, explanation: impl Into<String>) -> Self {
        Self { id: "FQXHMSE1020I", text: text.into(), explanation: explanation.into(), recovery: Recovery::none() }
    }

    /// The message of a request that was refused in part; the response says which part.
    pub fn partly(text: impl Into<String>, recovery: impl Into<String>) -> Self {
        Self {
            id: "FQXHMSE1020G",
            text: text.into(),
            explanation: "A part of the request was refused; the rest was done.".to_owned(),
            recovery: Recovery::text(recovery),
        }
    }
}

impl<T> Envelope<T> {
    pub fn success(response: T) -> Self {
        Self { response: Some(response), result: ResultKind::Success, messages: Vec::new() }
    }

    pub fn saying(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    pub fn judged(mut self, result: ResultKind) -> Self {
        self.result = result;
        self
    }
}

impl<T: Serialize> IntoResponse for Envelope<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use serde_json::json;

    use super::*;

    /// The example on the vendor's page.
    #[test]
    fn the_published_example() {
        let answer =
            Envelope::success(json!({ "jobPath": "/signingCertificate/jobs/383" })).saying(Message::regenerated());
        let published = json!({
            "response": { "jobPath": "/signingCertificate/jobs/383" },
            "result": "success",
            "messages": [{
                "explanation": "The CA root certificate was regenerated.",
                "id": "FQXHMSE0132I",
                "recovery": { "text": "Information only; no action is required.", "URL": "" },
                "text": "The request to generate the CA root certificate was successful."
            }]
        });
        assert_eq!(serde_json::to_value(answer).unwrap(), published);
    }
}
