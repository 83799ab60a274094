//! Who calls the API under `/vedsdk`, and what a refused request is told: `{"Error": "…"}`.
//!
//! Contract: Venafi Trust Protection Platform's Web SDK, whose errors are a status and one text.

use std::error::Error as StdError;
use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use rootcast_ledger::{Ledger, LedgerError};
use serde::Serialize;
use time::OffsetDateTime;
use tracing::error;

use crate::bearer::{Forbidden, OutOfScope, Principal, presented};
use crate::error::{ApiError, RequestId, causes, request_id};
use crate::routes::Denied;

/// Of a caller whose token may have been narrowed: each route asks for the scope that it needs.
///
/// # Errors
/// One and the same for a token that is missing, malformed, unknown, expired or revoked.
pub async fn authenticate_venafi(
    ledger: &Ledger,
    headers: &HeaderMap,
    now: OffsetDateTime,
) -> Result<Principal, VenafiError> {
    let presented = presented(ledger, headers, now).await?.ok_or_else(ApiError::unauthenticated)?;
    Ok(presented.principal)
}

/// A refusal, as the caller is told. What lies behind it ([`VenafiError::caused_by`]) is logged by [`venafi_report`] and
/// never told.
#[derive(Debug, Clone)]
pub struct VenafiError {
    status: StatusCode,
    text: String,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl VenafiError {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), cause: None }
    }

    /// Where Venafi's page of a call lists texts, they come with this status, whatever lies behind them.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// No route has the path; or one has, for others than the caller.
    pub fn nothing_here() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is nothing at this path.")
    }

    /// For the log, not for the caller.
    pub fn caused_by(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorBody<'a> {
    error: &'a str,
}

impl IntoResponse for VenafiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody { error: &self.text })).into_response();
        match self.status {
            // RFC 6750 §3; without an error code, which would tell what is wrong with the token.
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        if self.cause.is_some() {
            response.extensions_mut().insert(self);
        }
        response
    }
}

/// So that tokens, bodies, media types and the ledger's errors are judged in one place for all APIs.
impl From<ApiError> for VenafiError {
    fn from(error: ApiError) -> Self {
        let text = format!("{} {}", error.text(), error.recovery());
        Self { status: error.status(), text, cause: error.cause() }
    }
}

impl From<LedgerError> for VenafiError {
    fn from(error: LedgerError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<Forbidden> for VenafiError {
    fn from(refusal: Forbidden) -> Self {
        Self::new(StatusCode::FORBIDDEN, refusal.to_string())
    }
}

impl From<OutOfScope> for VenafiError {
    fn from(refusal: OutOfScope) -> Self {
        Self::new(StatusCode::FORBIDDEN, refusal.to_string())
    }
}

impl From<Denied> for VenafiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated => ApiError::unauthenticated().into(),
            Denied::Unseen => Self::nothing_here(),
            Denied::Forbidden(refusal) => refusal.into(),
            Denied::OutOfScope(refusal) => refusal.into(),
        }
    }
}

/// Middleware: logs a fault of ours once, with its causes and the request's id.
pub async fn venafi_report(mut request: Request, next: Next) -> Response {
    let id = request_id(&request).unwrap_or_else(|| "unknown".to_owned());
    request.extensions_mut().insert(RequestId(id.clone()));
    let response = next.run(request).await;
    if let Some(fault) = response.extensions().get::<VenafiError>() {
        let why = fault.cause.as_deref().map(causes).unwrap_or_default();
        error!(request.id = id, http.status = fault.status.as_u16(), error = why, "request failed: {}", fault.text);
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use axum::body::to_bytes;
    use rootcast_core::access::permission::Operation;
    use rootcast_core::access::scope::{Privilege, Resource};
    use serde_json::{Value, json};

    use super::*;

    async fn told(error: impl Into<VenafiError>) -> (u16, Value) {
        let response = error.into().into_response();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap())
    }

    #[tokio::test]
    async fn every_refusal_is_a_status_and_one_text() {
        assert_eq!(told(VenafiError::invalid("No.")).await, (400, json!({"Error": "No."})));
        let (status, body) = told(Forbidden::Operation(Operation::ExportKey)).await;
        assert_eq!((status, body.as_object().unwrap().len()), (403, 1));
        assert!(body["Error"].as_str().unwrap().contains("export-key"), "{body}");
        let lacks = OutOfScope::Lacks(Resource::Certificate, Some(Privilege::Manage));
        let text = "The token's scope does not include certificate:manage, which this needs: log in with it.";
        assert_eq!(told(lacks).await, (403, json!({ "Error": text })));
        let (status, body) = told(ApiError::unauthenticated()).await;
        assert_eq!(status, 401);
        assert!(body["Error"].as_str().unwrap().starts_with("The request is not authenticated. Send"), "{body}");
        assert_eq!(
            VenafiError::from(ApiError::unauthenticated()).into_response().headers()[WWW_AUTHENTICATE],
            "Bearer"
        );
    }

    #[tokio::test]
    async fn a_fault_of_ours_is_kept_for_the_log() {
        let secret = || LedgerError::Aws { operation: "GetItem", source: "table rootcast-Access-7 is gone".into() };
        let (status, body) = told(secret()).await;
        assert_eq!(status, 500);
        assert!(!body.to_string().contains("GetItem") && !body.to_string().contains("Access"), "{body}");
        let response = VenafiError::invalid("Documented.").caused_by(secret()).into_response();
        let cause = response.extensions().get::<VenafiError>().unwrap().cause.clone().unwrap();
        assert_eq!(causes(&*cause), "GetItem failed: table rootcast-Access-7 is gone");
    }
}
