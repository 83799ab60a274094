//! The body of a refused request: `{"Error": "…"}`.
//!
//! Contract: Venafi Trust Protection Platform's Web SDK, whose errors have a status and one text.

use std::error::Error as StdError;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use rootcast_gate::{Kind, Refusal, request_id};
use serde::Serialize;

use crate::answer::{Dialect, answer, reported};

/// A refusal in this API's format: one text.
#[derive(Debug, Clone)]
pub struct VenafiError(pub(super) Refusal);

impl VenafiError {
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self(Refusal::new(kind, text, ""))
    }

    /// The texts that Venafi's page of a call lists have this status, whatever the cause.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, text)
    }

    /// For the log, not for the caller.
    pub fn caused_by(self, cause: impl StdError + Send + Sync + 'static) -> Self {
        Self(self.0.caused_by(cause))
    }

    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    pub fn text(&self) -> &str {
        self.0.text()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorBody<'a> {
    error: &'a str,
}

impl Dialect for VenafiError {
    /// RFC 6750 §3.
    const CHALLENGE: &'static str = "Bearer";

    fn refusal(&self) -> &Refusal {
        &self.0
    }

    fn body(&self) -> impl Serialize {
        ErrorBody { error: self.text() }
    }
}

impl IntoResponse for VenafiError {
    fn into_response(self) -> Response {
        answer(self)
    }
}

/// Forbidden and not found have one sentence, without the recovery.
impl<T> From<T> for VenafiError
where
    Refusal: From<T>,
{
    fn from(why: T) -> Self {
        let refusal = Refusal::from(why);
        let text = match refusal.kind() {
            Kind::Forbidden | Kind::NotFound => refusal.text().to_owned(),
            _ => format!("{} {}", refusal.text(), refusal.recovery()),
        };
        Self(refusal.in_words(text))
    }
}

/// Middleware: logs an internal error once, with its causes and the request's id.
pub async fn report(request: Request, next: Next) -> Response {
    let id = request_id(&request).unwrap_or_else(|| "unknown".to_owned());
    reported::<VenafiError>(request, next, &id).await.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use axum::body::to_bytes;
    use http::header::WWW_AUTHENTICATE;
    use rootcast_core::access::permission::Operation;
    use rootcast_core::access::scope::{Privilege, Resource};
    use rootcast_gate::{Forbidden, OutOfScope};
    use rootcast_ledger::LedgerError;
    use serde_json::{Value, json};

    use super::*;

    async fn told(error: impl Into<VenafiError>) -> (u16, Value) {
        let response = error.into().into_response();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap())
    }

    #[tokio::test]
    async fn every_refusal_has_a_status_and_one_text() {
        assert_eq!(told(VenafiError::invalid("No.")).await, (400, json!({"Error": "No."})));
        let (status, body) = told(Forbidden::Operation(Operation::ExportKey)).await;
        assert_eq!((status, body.as_object().unwrap().len()), (403, 1));
        assert!(body["Error"].as_str().unwrap().ends_with("with --permission export-key."), "{body}");
        let lacks = OutOfScope::Lacks(Resource::Certificate, Some(Privilege::Manage));
        let text = "The token's scope does not include certificate:manage, which this needs: log in with it.";
        assert_eq!(told(lacks).await, (403, json!({ "Error": text })));
        assert_eq!(told(Refusal::nothing_here()).await, (404, json!({"Error": "There is nothing at this path."})));
        let (status, body) = told(Refusal::unauthenticated()).await;
        assert_eq!(status, 401);
        assert!(body["Error"].as_str().unwrap().starts_with("The request is not authenticated. Send"), "{body}");
        let response = VenafiError::from(Refusal::unauthenticated()).into_response();
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
    }

    #[tokio::test]
    async fn the_cause_of_an_internal_error_is_only_logged() {
        let secret = || LedgerError::Aws { operation: "GetItem", source: "table rootcast-Access-7 is gone".into() };
        let (status, body) = told(secret()).await;
        assert_eq!(status, 500);
        assert!(!body.to_string().contains("GetItem") && !body.to_string().contains("Access"), "{body}");
        let response = VenafiError::invalid("Documented.").caused_by(secret()).into_response();
        let VenafiError(fault) = response.extensions().get().unwrap();
        assert_eq!(fault.causes(), "GetItem failed: table rootcast-Access-7 is gone");
    }
}
