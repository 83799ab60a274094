//! Errors of API calls, worded for an operator.

use std::fmt;

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::output::plain;

#[derive(Debug, Error)]
pub(crate) enum ApiError {
    #[error("{base} cannot be reached: {}\n  {}", root_cause(.source), advice(.source))]
    Unreachable { base: String, source: reqwest::Error },
    /// The API refused the request.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The request is not carried out yet: it waits for a second person.
    #[error(transparent)]
    Waits(Box<Refusal>),
    /// An answer that did not come from the API.
    #[error("{path} was answered with {status}, and not by Rootcast\n  {}", foreign(*.status))]
    Foreign { status: StatusCode, path: String },
    #[error("the answer to {path} cannot be read: {reason}\n  This program may be older than the stack.")]
    Unintelligible { path: String, reason: String },
}

impl ApiError {
    pub(crate) fn unintelligible(path: &str, reason: impl fmt::Display) -> Self {
        Self::Unintelligible { path: path.to_owned(), reason: reason.to_string() }
    }

    /// The API cannot be reached, or refuses every request of this user.
    pub(crate) fn is_no_access(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => is_unauthorised(refusal.status),
            Self::Foreign { status, .. } => is_unauthorised(*status) || status.is_server_error(),
            Self::Unintelligible { .. } | Self::Waits(_) => false,
        }
    }

    /// There is no such token, or it has expired: its owner logs in again.
    pub(crate) fn is_unknown_token(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == StatusCode::UNAUTHORIZED)
    }

    /// For programs; at least one.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let one = |code: &str, message: String, recovery: &str| {
            vec![Problem { code: code.to_owned(), message: plain(&message), recovery: recovery.to_owned() }]
        };
        match self {
            Self::Refused(refusal) | Self::Waits(refusal) => refusal.problems(),
            Self::Unreachable { base, source } => {
                one("unreachable", format!("{base} cannot be reached: {}", root_cause(source)), advice(source))
            }
            Self::Foreign { status, path } => {
                one("foreign", format!("{path} was answered with {status}, and not by Rootcast"), foreign(*status))
            }
            Self::Unintelligible { path, reason } => one(
                "unintelligible",
                format!("the answer to {path} cannot be read: {reason}"),
                "This program may be older than the stack.",
            ),
        }
    }

    /// A retry may succeed.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !is_untrusted(source),
            // The API's own 500 and 502 are not transient: a fault, or a device that does not answer.
            Self::Refused(refusal) => is_busy(refusal.status),
            Self::Foreign { status, .. } => is_busy(*status) || status.is_server_error(),
            Self::Unintelligible { .. } | Self::Waits(_) => false,
        }
    }
}

fn is_unauthorised(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// The API's answer to a request that it refuses.
#[derive(Debug, Error)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// Never empty.
    pub(crate) messages: Vec<Message>,
    /// Some refusals have a response: the running job, or a list of refused devices.
    pub(crate) response: Option<Value>,
}

/// An error as programs get it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// The API's id of the message, or a word of this program.
    pub(crate) code: String,
    pub(crate) message: String,
    /// What to do; empty if unknown.
    pub(crate) recovery: String,
}

impl Refusal {
    fn problems(&self) -> Vec<Problem> {
        let problem = |Message { id, text, explanation, recovery }: &Message| {
            let code = if id.is_empty() { self.status.as_str().to_owned() } else { id.clone() };
            let more = Some(explanation).filter(|more| !more.is_empty() && *more != text);
            let message = more.map_or_else(|| text.clone(), |more| format!("{text} {more}"));
            Problem { code, message: plain(&message), recovery: plain(&recovery.text) }
        };
        self.messages.iter().map(problem).collect()
    }
}

/// A message in the vendor's envelope.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Message {
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) explanation: String,
    #[serde(default)]
    pub(crate) recovery: Recovery,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Recovery {
    #[serde(default)]
    pub(crate) text: String,
    #[serde(default, rename = "URL")]
    pub(crate) url: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, message) in self.messages.iter().enumerate() {
            let Message { id, text, explanation, recovery } = message;
            let separator = if index == 0 { "" } else { "\n" };
            write!(
                f,
                "{separator}{} ({}{}{id})",
                plain(text),
                self.status.as_u16(),
                if id.is_empty() { "" } else { ", " }
            )?;
            // Many messages repeat their text as the explanation.
            for more in [explanation, &recovery.text, &recovery.url] {
                if !more.is_empty() && more != text {
                    write!(f, "\n  {}", plain(more))?;
                }
            }
        }
        Ok(())
    }
}

fn foreign(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "Is the address that of the API, without a path?",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "Something before the API refuses the call: a proxy, or another authorizer."
        }
        StatusCode::TOO_MANY_REQUESTS => "Too many calls at once: try again in a moment.",
        _ => "Try again in a moment; then look at the functions' logs.",
    }
}

/// The innermost error says what happened; the outer ones only name the call.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn is_untrusted(error: &reqwest::Error) -> bool {
    root_cause(error).contains("certificate")
}

fn advice(error: &reqwest::Error) -> &'static str {
    if is_untrusted(error) {
        "Give the certificate to trust as a PEM file with --ca or ROOTCAST_CA, and check that the address has the name in it."
    } else if error.is_timeout() {
        "It did not answer in time: check the network on the way, proxies and firewalls."
    } else {
        "Check the address (--url, ROOTCAST_URL or the profile), that the stack is up, and the network on the way."
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use reqwest::StatusCode;
    use serde_json::{from_value, json};

    use super::{ApiError, Refusal};

    #[test]
    fn an_envelope_becomes_lines() {
        let messages = from_value(json!([
            {"id": "FQXHMSE0409J", "text": "Another rollover is running: job 7.", "explanation": "Another rollover is running: job 7.",
             "recovery": {"text": "Wait for it,\u{7} or abort it.", "URL": ""}},
            {"text": "More."}
        ]));
        let refusal = Refusal { status: StatusCode::CONFLICT, messages: messages.unwrap(), response: None };
        assert_eq!(
            ApiError::Refused(Box::new(refusal)).to_string(),
            "Another rollover is running: job 7. (409, FQXHMSE0409J)\n  Wait for it,  or abort it.\nMore. (409)"
        );
    }

    #[test]
    fn only_transient_errors_are_retried() {
        let foreign = |status| ApiError::Foreign { status, path: "/jobs".to_owned() };
        assert!(foreign(StatusCode::BAD_GATEWAY).is_passing() && foreign(StatusCode::TOO_MANY_REQUESTS).is_passing());
        assert!(!foreign(StatusCode::NOT_FOUND).is_passing() && !foreign(StatusCode::UNAUTHORIZED).is_passing());
    }
}
