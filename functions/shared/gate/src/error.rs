//! Everything that a request can be refused for, and the one place where that becomes HTTP.

use std::error::Error as StdError;
use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use lambda_http::RequestExt;
use lambda_http::request::RequestContext;
use rootcast_ledger::LedgerError;
use serde_json::Value;
use time::Duration;
use tracing::error;

use crate::bearer::{Forbidden, OutOfScope};
use crate::envelope::{Envelope, Message, Recovery, ResultKind};
use crate::routes::Denied;

/// The kinds of refusal: each has one HTTP status and one message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A parameter, an attribute or the body as a whole is not what it must be.
    Invalid,
    Unauthenticated,
    /// The caller is known, and may not do this.
    Forbidden,
    NotFound,
    MethodNotAllowed,
    /// The record's present state forbids it.
    Conflict,
    TooLarge,
    MediaType,
    /// Too many attempts to log in failed.
    Locked,
    /// The device did not do its part.
    Device,
    /// A passing fault of ours: the same request may be sent again.
    Unavailable,
    /// A fault of ours.
    Internal,
}

impl Kind {
    pub(crate) const fn status(self) -> StatusCode {
        self.row().0
    }

    /// Status, message id and explanation.
    const fn row(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Invalid => (
                StatusCode::BAD_REQUEST,
                "FQXHMSE1000J",
                "A query parameter or request attribute is missing or not valid, or the operation is not supported.",
            ),
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "FQXHMSE1001K", "The request carries no credential that is valid here.")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "FQXHMSE1003K", "The caller may not do this."),
            Self::NotFound => (StatusCode::NOT_FOUND, "FQXHMSE1004J", "A specified resource cannot be found."),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "FQXHMSE1005J", "The resource exists, but not for this method.")
            }
            Self::Conflict => {
                (StatusCode::CONFLICT, "FQXHMSE1009J", "The request conflicts with the current state of the resource.")
            }
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "FQXHMSE1013J", "The request is larger than this resource takes.")
            }
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "FQXHMSE1015J",
                "The body's Content-Type is not one that this resource takes.",
            ),
            Self::Locked => (
                StatusCode::TOO_MANY_REQUESTS,
                "FQXHMSE1029K",
                "Too many attempts to log in under this name, or from this address, have failed.",
            ),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "FQXHMSE1050L", "An internal error occurred."),
            Self::Device => (StatusCode::BAD_GATEWAY, "FQXHMSE1052K", "The device did not answer as it must."),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "FQXHMSE1053K",
                "The request could not be carried out for a passing reason.",
            ),
        }
    }
}

/// A refusal, as the caller is told. What lies behind it ([`ApiError::caused_by`]) is logged by [`report`] and never
/// told.
#[derive(Debug, Clone)]
pub struct ApiError(Box<Refusal>);

#[derive(Debug, Clone)]
struct Refusal {
    kind: Kind,
    text: String,
    recovery: String,
    response: Option<Value>,
    /// Seconds.
    retry_after: Option<i64>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl ApiError {
    /// `text`: what is wrong; `recovery`: what the caller does about it. Both are sentences.
    pub fn new(kind: Kind, text: impl Into<String>, recovery: impl Into<String>) -> Self {
        Self(Box::new(Refusal {
            kind,
            text: text.into(),
            recovery: recovery.into(),
            response: None,
            retry_after: None,
            cause: None,
        }))
    }

    pub fn invalid(text: impl Into<String>, recovery: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, text, recovery)
    }

    pub fn not_found(text: impl Into<String>, recovery: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, text, recovery)
    }

    /// No route has the path; or one has, for others than the caller.
    pub fn nothing_here() -> Self {
        Self::not_found("There is nothing at this path.", "Correct the path.")
    }

    pub fn conflict(text: impl Into<String>, recovery: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, text, recovery)
    }

    /// The same answer whatever is wrong with the credential, so that nobody learns anything by trying.
    pub fn unauthenticated() -> Self {
        Self::new(
            Kind::Unauthenticated,
            "The request is not authenticated.",
            "Send the header Authorization: Bearer TOKEN with a token that has not expired; `rootcast login` makes one. \
             Where a session has ended, log in again.",
        )
    }

    /// The right password is told the same: nobody looked at it.
    pub fn locked(pause: Duration) -> Self {
        let seconds = pause.whole_seconds().max(1);
        let text = format!("Too many attempts to log in failed: the next one may be in {seconds} s.");
        let mut refusal = Self::new(Kind::Locked, text, "Wait that long, and then log in with the right password.");
        refusal.0.retry_after = Some(seconds);
        refusal
    }

    /// A fault of ours.
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

    /// Something that the caller can go on with, such as the path of the job that is in the way.
    pub fn with_response(mut self, response: Value) -> Self {
        self.0.response = Some(response);
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn text(&self) -> &str {
        &self.0.text
    }

    pub fn status(&self) -> StatusCode {
        self.0.kind.status()
    }

    pub(crate) fn recovery(&self) -> &str {
        &self.0.recovery
    }

    pub(crate) fn cause(&self) -> Option<Arc<dyn StdError + Send + Sync>> {
        self.0.cause.clone()
    }

    fn envelope(&self, request: Option<&str>) -> Envelope<Value> {
        let (_, id, explanation) = self.0.kind.row();
        let recovery = match request {
            Some(request) => format!(
                "{} If that does not help, look in the function's log for the request id {request}.",
                self.0.recovery
            ),
            None => self.0.recovery.clone(),
        };
        Envelope {
            response: self.0.response.clone(),
            result: ResultKind::Failed,
            messages: vec![Message {
                id,
                text: self.0.text.clone(),
                explanation: explanation.to_owned(),
                recovery: Recovery::text(recovery),
            }],
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.envelope(None))).into_response();
        match self.0.kind {
            // RFC 6750 §3; without an error code, which would tell what is wrong with the token.
            Kind::Unauthenticated => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Kind::Unavailable => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        if let Some(seconds) = self.0.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.cause.is_some() {
            response.extensions_mut().insert(self);
        }
        response
    }
}

/// What the ledger cannot do is a fault of ours; a lost race may be run again.
impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Conflict => Self::conflict(
                "The record was changed by another request meanwhile.",
                "Look at it as it is now, and send the request again if it is still wanted.",
            ),
            LedgerError::Transient { .. } => Self::unavailable(error),
            LedgerError::TooLarge { what, .. } => Self::new(
                Kind::TooLarge,
                format!("The record of the {what} would be larger than it can be kept."),
                "Send less at once, or take away some of what the record holds already.",
            ),
            _ => Self::internal(error),
        }
    }
}

impl From<Forbidden> for ApiError {
    fn from(refusal: Forbidden) -> Self {
        Self::new(Kind::Forbidden, refusal.to_string(), "Ask whoever gives access here.")
    }
}

impl From<OutOfScope> for ApiError {
    fn from(refusal: OutOfScope) -> Self {
        Self::new(Kind::Forbidden, refusal.to_string(), "Use a token that `rootcast login` made.")
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated => Self::unauthenticated(),
            Denied::Unseen => Self::nothing_here(),
            Denied::Forbidden(refusal) => refusal.into(),
            Denied::OutOfScope(refusal) => refusal.into(),
        }
    }
}

/// The id that API Gateway's access log has, too. An extension of every request behind [`report`] and its like.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Middleware: logs a fault of ours once, with its causes and the request's id, and tells the caller that id alone.
pub async fn report(mut request: Request, next: Next) -> Response {
    let id = request_id(&request).unwrap_or_else(|| "unknown".to_owned());
    request.extensions_mut().insert(RequestId(id.clone()));
    let response = next.run(request).await;
    let Some(fault) = response.extensions().get::<ApiError>() else {
        return response;
    };
    let why = fault.0.cause.as_deref().map(causes).unwrap_or_default();
    error!(request.id = id, http.status = fault.status().as_u16(), error = why, "request failed: {}", fault.0.text);
    let body = Json(fault.envelope(Some(&id))).into_response().into_body();
    let (mut parts, _) = response.into_parts();
    // The body is another one now.
    parts.headers.remove(http::header::CONTENT_LENGTH);
    Response::from_parts(parts, body)
}

/// API Gateway's id, which its access log and the caller's `apigw-requestid` header have too; else Lambda's own.
pub(crate) fn request_id(request: &Request) -> Option<String> {
    let gateway = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone(),
        _ => None,
    };
    let lambda = || request.lambda_context_ref().map(|context| context.request_id.clone());
    gateway.or_else(lambda)
}

pub(crate) fn causes(error: &(dyn StdError + Send + Sync + 'static)) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        told = format!("{told}: {cause}");
        next = cause.source();
    }
    told
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use lambda_http::tower::ServiceExt;

    use super::*;

    fn secret() -> ApiError {
        LedgerError::Aws { operation: "GetItem", source: "table rootcast-Access-7 is gone".into() }.into()
    }

    #[tokio::test]
    async fn a_fault_of_ours_tells_an_id_and_nothing_else() {
        let app = Router::new().route("/", get(|| async { secret() })).layer(axum::middleware::from_fn(report));
        let mut context = lambda_http::Context::default();
        context.request_id = "c6af9ac6".to_owned();
        let request = Request::get("/").body(Body::empty()).unwrap().with_lambda_context(context);
        let response = app.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        let body = String::from_utf8(to_bytes(response.into_body(), 10_000).await.unwrap().to_vec()).unwrap();
        assert!(body.contains("request id c6af9ac6") && body.contains("FQXHMSE1050L"), "{body}");
        assert!(!body.contains("Access") && !body.contains("GetItem"), "{body}");
    }

    #[test]
    fn the_log_has_the_causes() {
        assert_eq!(secret().0.cause.as_deref().map(causes).unwrap(), "GetItem failed: table rootcast-Access-7 is gone");
    }

    #[test]
    fn ids_differ_and_have_the_vendors_form() {
        let kinds = [
            Kind::Invalid,
            Kind::Unauthenticated,
            Kind::Forbidden,
            Kind::NotFound,
            Kind::MethodNotAllowed,
            Kind::Conflict,
            Kind::TooLarge,
            Kind::MediaType,
            Kind::Locked,
            Kind::Device,
            Kind::Unavailable,
            Kind::Internal,
        ];
        let mut ids: Vec<&str> = kinds.into_iter().map(|kind| kind.row().1).collect();
        for id in &ids {
            let (digits, letter) = id.strip_prefix("FQXHMSE").unwrap().split_at(4);
            assert!(digits.parse::<u16>().is_ok() && "IFGHJKL".contains(letter) && letter.len() == 1);
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), kinds.len());
    }
}
