//! A refused request in Lenovo's envelope.

use std::error::Error as StdError;

use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use rootcast_gate::{Kind, Refusal, request_id};
use serde::Serialize;
use serde_json::Value;

use super::envelope::{Envelope, Message, Recovery, ResultKind};
use crate::answer::{Dialect, answer, reported};

/// A refusal in this API's format: what is wrong, why, and what to do.
#[derive(Debug, Clone)]
pub struct LenovoError(Refusal);

impl LenovoError {
    /// `text`: what is wrong. `recovery`: what the caller can do. Both are sentences.
    pub fn new(kind: Kind, text: impl Into<String>, recovery: impl Into<String>) -> Self {
        Self(Refusal::new(kind, text, recovery))
    }

    pub fn invalid(text: impl Into<String>, recovery: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, text, recovery)
    }

    pub fn not_found(text: impl Into<String>, recovery: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, text, recovery)
    }

    pub fn conflict(text: impl Into<String>, recovery: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, text, recovery)
    }

    /// An internal error.
    pub fn internal(cause: impl StdError + Send + Sync + 'static) -> Self {
        Self(Refusal::internal(cause))
    }

    pub fn unavailable(cause: impl StdError + Send + Sync + 'static) -> Self {
        Self(Refusal::unavailable(cause))
    }

    /// Adds data that helps the caller to continue, such as the path of the conflicting job.
    pub fn with_response(self, response: Value) -> Self {
        Self(self.0.with_response(response))
    }

    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    pub fn text(&self) -> &str {
        self.0.text()
    }

    fn envelope(&self, request: Option<&str>) -> Envelope<Value> {
        let (id, explanation) = message(self.0.kind());
        let recovery = match request {
            Some(request) => format!(
                "{} If that does not help, look in the function's log for the request id {request}.",
                self.0.recovery()
            ),
            None => self.0.recovery().to_owned(),
        };
        Envelope {
            response: self.0.response().cloned(),
            result: if self.0.kind() == Kind::Waits { ResultKind::Warning } else { ResultKind::Failed },
            messages: vec![Message {
                id,
                text: self.0.text().to_owned(),
                explanation: explanation.to_owned(),
                recovery: Recovery::text(recovery),
            }],
        }
    }
}

/// The message's id and explanation.
const fn message(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Waits => {
            ("FQXHMSE1002F", "The request is accepted and not carried out: one person is not enough for it.")
        }
        Kind::Invalid => (
            "FQXHMSE1000J",
            "A query parameter or request attribute is missing or not valid, or the operation is not supported.",
        ),
        Kind::Unauthenticated => ("FQXHMSE1001K", "The request carries no credential that is valid here."),
        Kind::Forbidden => ("FQXHMSE1003K", "The caller may not do this."),
        Kind::NotFound => ("FQXHMSE1004J", "A specified resource cannot be found."),
        Kind::MethodNotAllowed => ("FQXHMSE1005J", "The resource exists, but not for this method."),
        Kind::Conflict => ("FQXHMSE1009J", "The request conflicts with the current state of the resource."),
        Kind::TooLarge => ("FQXHMSE1013J", "The request is larger than this resource takes."),
        Kind::MediaType => ("FQXHMSE1015J", "The body's Content-Type is not one that this resource takes."),
        Kind::Locked => {
            ("FQXHMSE1029K", "Too many attempts to log in under this name, or from this address, have failed.")
        }
        Kind::Internal => ("FQXHMSE1050L", "An internal error occurred."),
        Kind::Device => ("FQXHMSE1052K", "The device did not answer as it must."),
        Kind::Unavailable => ("FQXHMSE1053K", "The request could not be carried out for a passing reason."),
    }
}

impl Dialect for LenovoError {
    /// RFC 6750 §3.
    const CHALLENGE: &'static str = "Bearer";

    fn refusal(&self) -> &Refusal {
        &self.0
    }

    fn body(&self) -> impl Serialize {
        self.envelope(None)
    }
}

impl IntoResponse for LenovoError {
    fn into_response(self) -> Response {
        answer(self)
    }
}

impl<T> From<T> for LenovoError
where
    Refusal: From<T>,
{
    fn from(why: T) -> Self {
        Self(why.into())
    }
}

/// Middleware: logs an internal error once, with its causes and the request's id, and sends the caller that id alone.
pub async fn report(request: Request, next: Next) -> Response {
    let id = request_id(&request).unwrap_or_else(|| "unknown".to_owned());
    let (response, fault) = reported::<LenovoError>(request, next, &id).await;
    let Some(fault) = fault else { return response };
    let body = Json(fault.envelope(Some(&id))).into_response().into_body();
    let (mut parts, _) = response.into_parts();
    // The length was that of the replaced body.
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn;
    use axum::routing::get;
    use lambda_http::RequestExt;
    use lambda_http::tower::ServiceExt;
    use rootcast_ledger::LedgerError;

    use super::*;

    fn secret() -> LenovoError {
        LedgerError::Aws { operation: "GetItem", source: "table rootcast-Access-7 is gone".into() }.into()
    }

    #[tokio::test]
    async fn an_internal_error_reveals_only_the_requests_id() {
        let app = Router::new().route("/", get(|| async { secret() })).layer(from_fn(report));
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
        let mut ids = kinds.map(|kind| message(kind).0);
        for id in &ids {
            let (digits, letter) = id.strip_prefix("FQXHMSE").unwrap().split_at(4);
            assert!(digits.parse::<u16>().is_ok() && "IFGHJKL".contains(letter) && letter.len() == 1);
        }
        ids.sort_unstable();
        assert!(ids.is_sorted_by(|one, next| one < next));
    }
}
