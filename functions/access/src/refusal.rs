//! What a refused request is told: `{"error": "…", "error_description": "…"}` (RFC 6749 §5.2).

use std::error::Error as StdError;

use axum::Json;
use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rootcast_gate::routes::Denied;
use rootcast_gate::{ApiError, NotProven, VenafiError};
use rootcast_ledger::LedgerError;
use serde::Serialize;

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    InvalidRequest,
    /// The password, the refresh token or its application is not right.
    InvalidGrant,
    InvalidScope,
    UnsupportedGrantType,
    /// RFC 6750 §3.1.
    InvalidToken,
    /// RFC 6749 §4.1.2.1, as are the others of which §5.2 has none.
    ServerError,
    TemporarilyUnavailable,
}

/// A refusal. Its status and its text, and what lies behind it for the log, are a [`VenafiError`]'s.
#[derive(Debug)]
pub(crate) struct OAuthError {
    code: Code,
    refusal: VenafiError,
    /// Seconds.
    retry_after: Option<i64>,
}

impl OAuthError {
    pub(crate) fn new(code: Code, refusal: VenafiError) -> Self {
        Self { code, refusal, retry_after: None }
    }

    pub(crate) fn invalid(code: Code, text: impl Into<String>) -> Self {
        Self::new(code, VenafiError::invalid(text))
    }

    /// One and the same whatever is wrong with name and password.
    pub(crate) fn not_logged_in() -> Self {
        Self::invalid(Code::InvalidGrant, "The user name and the password do not belong together.")
    }

    /// One and the same whatever is wrong with the refresh token.
    pub(crate) fn not_exchanged() -> Self {
        let text =
            "The refresh token is unknown, used, expired or revoked, or was given to another application: log in.";
        Self::invalid(Code::InvalidGrant, text)
    }

    /// One and the same whatever is wrong with the bearer token.
    pub(crate) fn unauthenticated() -> Self {
        let text = "Send the header Authorization: Bearer TOKEN with a token that is valid here.";
        Self::new(Code::InvalidToken, VenafiError::new(StatusCode::UNAUTHORIZED, text))
    }

    /// A fault of ours.
    pub(crate) fn internal(cause: impl StdError + Send + Sync + 'static) -> Self {
        ApiError::internal(cause).into()
    }
}

/// So that bodies, media types and the ledger's errors are judged in one place for all APIs.
impl From<ApiError> for OAuthError {
    fn from(error: ApiError) -> Self {
        let refusal = VenafiError::from(error);
        let code = match refusal.status() {
            StatusCode::SERVICE_UNAVAILABLE => Code::TemporarilyUnavailable,
            status if status.is_server_error() => Code::ServerError,
            _ => Code::InvalidRequest,
        };
        Self::new(code, refusal)
    }
}

impl From<Denied> for OAuthError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated => Self::unauthenticated(),
            denied => Self::new(Code::InvalidRequest, denied.into()),
        }
    }
}

impl From<LedgerError> for OAuthError {
    fn from(error: LedgerError) -> Self {
        match error {
            // Records of random ids, or that were looked at several times: the next attempt finds them otherwise.
            LedgerError::Conflict => ApiError::unavailable(error).into(),
            _ => ApiError::from(error).into(),
        }
    }
}

impl From<NotProven> for OAuthError {
    fn from(refusal: NotProven) -> Self {
        match refusal {
            NotProven::Wrong => Self::not_logged_in(),
            NotProven::Ledger(error) => error.into(),
            NotProven::Hashing(_) => Self::internal(refusal),
            NotProven::Locked(pause) => {
                let seconds = pause.whole_seconds();
                let text = format!("Too many attempts to log in failed: the next one may be in {seconds} s.");
                let refusal = VenafiError::new(StatusCode::TOO_MANY_REQUESTS, text);
                Self { code: Code::InvalidGrant, refusal, retry_after: Some(seconds) }
            }
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
        // Another body; the status, the headers, and what is kept for the log, are the same.
        let (mut head, _) = self.refusal.into_response().into_parts();
        head.headers.remove(CONTENT_LENGTH);
        if let Some(seconds) = self.retry_after {
            head.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        Response::from_parts(head, told.into_body())
    }
}
