//! Every reason to refuse a request, whatever the API. Each dialect formats refusals in its own way.

use std::error::Error as StdError;
use std::sync::Arc;

use http::StatusCode;
use rootcast_core::access::permission::{Operation, Right};
use rootcast_ledger::LedgerError;
use rootcast_seal::SealError;
use serde_json::Value;
use time::Duration;

use crate::password::NotProven;
use crate::principal::{Forbidden, OutOfScope};
use crate::routes::Denied;
use crate::second::told;

/// The kinds of refusal: each has one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not carried out yet: it waits for a second person.
    Waits,
    /// A parameter, an attribute or the body as a whole is not what it must be.
    Invalid,
    Unauthenticated,
    /// The caller is authenticated, but may not do this.
    Forbidden,
    NotFound,
    MethodNotAllowed,
    /// The record's present state forbids it.
    Conflict,
    TooLarge,
    MediaType,
    /// Too many failed logins.
    Locked,
    /// The request failed at the device.
    Device,
    /// A transient internal error: the same request may be sent again.
    Unavailable,
    /// An internal error.
    Internal,
}

impl Kind {
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Waits => StatusCode::ACCEPTED,
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Locked => StatusCode::TOO_MANY_REQUESTS,
            Self::Device => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A refusal, independent of any API's format. Its cause ([`Refusal::caused_by`]) is logged and never shown to the
/// caller.
#[derive(Debug, Clone)]
pub struct Refusal(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    kind: Kind,
    text: String,
    recovery: String,
    response: Option<Value>,
    retry_after: Option<i64>,
    awaits: Option<Operation>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Refusal {
    /// `text`: what is wrong. `recovery`: what the caller can do, empty for an API that has one text. Both are
    /// sentences.
    pub fn new(kind: Kind, text: impl Into<String>, recovery: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            text: text.into(),
            recovery: recovery.into(),
            response: None,
            retry_after: None,
            awaits: None,
            cause: None,
        }))
    }

    pub fn invalid(text: impl Into<String>, recovery: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, text, recovery)
    }

    /// No route has the path, or the caller may not see its object.
    pub fn nothing_here() -> Self {
        Self::new(Kind::NotFound, "There is nothing at this path.", "Correct the path.")
    }

    /// The same answer whatever is wrong with the credential, so that attempts reveal nothing.
    pub fn unauthenticated() -> Self {
        Self::new(
            Kind::Unauthenticated,
            "The request is not authenticated.",
            "Send the header Authorization: Bearer TOKEN with a token that has not expired; `rootcast login` makes one. \
             Where a session has ended, log in again.",
        )
    }

    /// Only who holds the access key learns this: the signature is right.
    pub(crate) fn replayed() -> Self {
        Self::new(
            Kind::Unauthenticated,
            "This signed request was received before (a replay), and is carried out once.",
            "Sign the request again: after a second, or with another header.",
        )
    }

    /// The right password gets the same answer: it is not checked during a lockout.
    fn locked(pause: Duration) -> Self {
        let seconds = pause.whole_seconds().max(1);
        let text = format!("Too many attempts to log in failed: the next one may be in {seconds} s.");
        let mut refusal = Self::new(Kind::Locked, text, "Wait that long, and then log in with the right password.");
        refusal.0.retry_after = Some(seconds);
        refusal
    }

    /// An internal error.
    pub fn internal(cause: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(Kind::Internal, "The request could not be carried out.", "Send the request again.").caused_by(cause)
    }

    pub fn unavailable(cause: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(Kind::Unavailable, "The request could not be carried out now.", "Send the request again in a moment.")
            .caused_by(cause)
    }

    /// For the log, not for the caller.
    pub fn caused_by(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.0.cause = Some(Arc::new(cause));
        self
    }

    /// Adds data that helps the caller to continue, such as the path of the conflicting job.
    pub fn with_response(mut self, response: Value) -> Self {
        self.0.response = Some(response);
        self
    }

    /// The same refusal for an API that has one text for what is wrong and what to do.
    pub fn in_words(mut self, text: impl Into<String>) -> Self {
        (self.0.text, self.0.recovery) = (text.into(), String::new());
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn status(&self) -> StatusCode {
        self.0.kind.status()
    }

    pub fn text(&self) -> &str {
        &self.0.text
    }

    pub fn recovery(&self) -> &str {
        &self.0.recovery
    }

    pub fn response(&self) -> Option<&Value> {
        self.0.response.as_ref()
    }

    /// Seconds.
    pub fn retry_after(&self) -> Option<i64> {
        self.0.retry_after
    }

    /// The operation for which the call needs a second person, if that is all that it lacks.
    pub fn awaits(&self) -> Option<Operation> {
        self.0.awaits
    }

    /// Whether the refusal has a cause for the log.
    pub fn has_cause(&self) -> bool {
        self.0.cause.is_some()
    }

    /// For the log: the chain of causes.
    pub fn causes(&self) -> String {
        let Some(cause) = &self.0.cause else { return String::new() };
        let mut told = cause.to_string();
        let mut next = cause.source();
        while let Some(cause) = next {
            told = format!("{told}: {cause}");
            next = cause.source();
        }
        told
    }
}

/// A ledger error is an internal error, except for a conflict, a transient error, a record that is too large, an address
/// that is taken, and a device that a rollover waits for, at which a worker is, or whose certificate is valid.
impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Conflict => Self::new(
                Kind::Conflict,
                "The record was changed by another request meanwhile.",
                "Look at it as it is now, and send the request again if it is still wanted.",
            ),
            LedgerError::Transient { .. } => Self::unavailable(error),
            LedgerError::Awaited { job, device } => Self::new(
                Kind::Forbidden,
                format!(
                    "Job {job} waits for device {device}: to take it out of the fleet now needs the permission {}.",
                    Operation::Activate
                ),
                "Wait until the device has proven what it holds or the job has ended, or ask somebody with this permission to waive the device.",
            ),
            // Who has it is said by whoever knows that the caller may see that device.
            LedgerError::Claimed { .. } => Self::new(
                Kind::Conflict,
                "Another device has this address.",
                "Use the device that is enrolled, or give one of them another address.",
            ),
            LedgerError::Visited { device, until } => Self::new(
                Kind::Conflict,
                format!("A worker is at device {device}: it can be neither deleted nor moved now."),
                format!("Wait until the worker is done, at {} at the latest, and send the request again.", told(until)),
            ),
            LedgerError::Certified { device } => Self::new(
                Kind::Forbidden,
                format!(
                    "Device {device} has a valid certificate: deleting it also revokes that; this needs the right to {} the certificate.",
                    Right::Write
                ),
                "Ask somebody with this right to delete the device, or to revoke its certificates first: GET /certificates/signed lists them.",
            ),
            LedgerError::Newer { schema } => Self::new(
                Kind::Unavailable,
                format!("A newer version of Rootcast wrote the records: their schema has version {schema}."),
                "Deploy that version again, or a later one.",
            )
            .caused_by(error),
            LedgerError::TooLarge { what, .. } => Self::new(
                Kind::TooLarge,
                format!("The record of the {what} would be larger than it can be kept."),
                "Send less at once, or take away some of what the record holds already.",
            ),
            _ => Self::internal(error),
        }
    }
}

impl From<SealError> for Refusal {
    fn from(error: SealError) -> Self {
        if error.is_retryable() { Self::unavailable(error) } else { Self::internal(error) }
    }
}

impl From<NotProven> for Refusal {
    fn from(refusal: NotProven) -> Self {
        match refusal {
            NotProven::Wrong => Self::unauthenticated(),
            NotProven::Locked(pause) => Self::locked(pause),
            NotProven::Ledger(error) => error.into(),
            NotProven::Hashing(_) => Self::internal(refusal),
        }
    }
}

impl From<Forbidden> for Refusal {
    fn from(refusal: Forbidden) -> Self {
        let Forbidden::SecondPerson(operation) = refusal else {
            return Self::new(Kind::Forbidden, refusal.to_string(), "Ask whoever gives access here.");
        };
        let mut waits = Self::new(Kind::Waits, refusal.to_string(), "Have it confirmed, and send the same call again.");
        waits.0.awaits = Some(operation);
        waits
    }
}

impl From<OutOfScope> for Refusal {
    fn from(refusal: OutOfScope) -> Self {
        Self::new(Kind::Forbidden, refusal.to_string(), "Use a token that `rootcast login` made.")
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated => Self::unauthenticated(),
            Denied::Unseen => Self::nothing_here(),
            Denied::Forbidden(refusal) => refusal.into(),
            Denied::OutOfScope(refusal) => refusal.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_logged_and_not_shown() {
        let secret = LedgerError::Aws { operation: "GetItem", source: "table rootcast-Access-7 is gone".into() };
        let refusal = Refusal::from(secret);
        assert!(refusal.has_cause() && !refusal.text().contains("Access"));
        assert_eq!(refusal.causes(), "GetItem failed: table rootcast-Access-7 is gone");
    }

    #[test]
    fn conflicts_and_transient_errors_have_their_own_kinds() {
        assert_eq!(Refusal::from(LedgerError::Conflict).kind(), Kind::Conflict);
        let passing = LedgerError::Transient { operation: "PutItem", source: "busy".into() };
        assert_eq!(Refusal::from(passing).kind(), Kind::Unavailable);
    }
}
