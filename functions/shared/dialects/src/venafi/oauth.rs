//! The body of a refused request under `/vedauth`: `{"error": "…", "error_description": "…"}` (RFC 6749 §5.2).

use std::error::Error as StdError;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_LENGTH;
use rootcast_gate::routes::Denied;
use rootcast_gate::{Kind, NotProven, Refusal};
use rootcast_ledger::LedgerError;
use serde::Serialize;

use super::VenafiError;

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    InvalidRequest,
    /// The password, the refresh token or its application is wrong.
    InvalidGrant,
    InvalidScope,
    UnsupportedGrantType,
    /// RFC 6750 §3.1.
    InvalidToken,
    /// This code and the next one are from RFC 6749 §4.1.2.1: §5.2 has none for these errors.
    ServerError,
    TemporarilyUnavailable,
}

/// A refusal. The status, the text, the headers, and the cause for the log are those of a [`VenafiError`].
#[derive(Debug)]
pub struct OAuthError {
    code: Code,
    refusal: VenafiError,
}

impl OAuthError {
    pub fn new(code: Code, kind: Kind, text: impl Into<String>) -> Self {
        Self { code, refusal: VenafiError::new(kind, text) }
    }

    pub fn invalid(code: Code, text: impl Into<String>) -> Self {
        Self::new(code, Kind::Invalid, text)
    }

    /// The same refusal whatever is wrong with the name and password.
    fn not_logged_in() -> Self {
        Self::invalid(Code::InvalidGrant, "The user name and the password do not belong together.")
    }

    /// The same refusal whatever is wrong with the refresh token.
    pub fn not_exchanged() -> Self {
        let text =
            "The refresh token is unknown, used, expired or revoked, or was given to another application: log in.";
        Self::invalid(Code::InvalidGrant, text)
    }

    /// The same refusal whatever is wrong with the bearer token.
    pub fn unauthenticated() -> Self {
        let text = "Send the header Authorization: Bearer TOKEN with a token that is valid here.";
        Self::new(Code::InvalidToken, Kind::Unauthenticated, text)
    }

    /// An internal error.
    pub fn internal(cause: impl StdError + Send + Sync + 'static) -> Self {
        Refusal::internal(cause).into()
    }
}

impl From<Refusal> for OAuthError {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.kind() {
            Kind::Unavailable => Code::TemporarilyUnavailable,
            Kind::Internal | Kind::Device => Code::ServerError,
            _ => Code::InvalidRequest,
        };
        Self { code, refusal: refusal.into() }
    }
}

impl From<Denied> for OAuthError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated => Self::unauthenticated(),
            denied => Refusal::from(denied).into(),
        }
    }
}

impl From<LedgerError> for OAuthError {
    fn from(error: LedgerError) -> Self {
        match error {
            // The conflict is over a random id, or remained after several attempts: the next request will not have it.
            LedgerError::Conflict => Refusal::unavailable(error).into(),
            _ => Refusal::from(error).into(),
        }
    }
}

impl From<NotProven> for OAuthError {
    fn from(why: NotProven) -> Self {
        match why {
            NotProven::Wrong => Self::not_logged_in(),
            NotProven::Ledger(error) => error.into(),
            NotProven::Hashing(_) => Refusal::from(why).into(),
            NotProven::Locked(_) => Self { code: Code::InvalidGrant, refusal: VenafiError(why.into()) },
        }
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: Code,
    error_description: &'a str,
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let told = Json(ErrorBody { error: self.code, error_description: self.refusal.text() }).into_response();
        // Only the body differs. Status, headers, and the cause for the log stay.
        let (mut head, _) = self.refusal.into_response().into_parts();
        head.headers.remove(CONTENT_LENGTH);
        Response::from_parts(head, told.into_body())
    }
}
