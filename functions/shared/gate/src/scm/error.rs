//! What a refused SCM request is told: `{"error_code", "error_msg"}`, and always `X-Request-Id`.

use std::error::Error as StdError;
use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use rootcast_ledger::LedgerError;
use rootcast_seal::SealError;
use serde::Serialize;
use tracing::error;
use uuid::Uuid;

use crate::bearer::{Forbidden, OutOfScope};
use crate::error::{ApiError, Kind, RequestId, causes, request_id};
use crate::routes::Denied;

/// In characters; the vendor's.
const LONGEST_MESSAGE: usize = 1024;
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A refusal, as the caller is told. What lies behind it ([`ScmError::caused_by`]) is logged by [`scm_report`] and never
/// told.
#[derive(Debug, Clone)]
pub struct ScmError(Box<Refusal>);

#[derive(Debug, Clone)]
struct Refusal {
    status: StatusCode,
    first: Problem,
    /// All of them, where there are several.
    problems: Vec<Problem>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

#[derive(Debug, Clone, Serialize)]
struct Problem {
    #[serde(rename = "error_code")]
    code: &'static str,
    #[serde(rename = "error_msg")]
    message: String,
}

impl Problem {
    fn new(code: &'static str, message: String) -> Self {
        let end = message.char_indices().nth(LONGEST_MESSAGE).map_or(message.len(), |(end, _)| end);
        Self { code, message: message.get(..end).unwrap_or_default().to_owned() }
    }
}

impl ScmError {
    /// `code`: of 3 to 36 characters; `message`: what is wrong and what to do, cut after 1024 characters.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let first = Problem::new(code, message.into());
        Self(Box::new(Refusal { status, first, problems: Vec::new(), cause: None }))
    }

    /// A field, a parameter or the body as a whole is not what it must be.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::of(Kind::Invalid, message)
    }

    /// The same answer whatever is wrong with the credential, so that nobody learns anything by trying.
    pub fn unauthenticated() -> Self {
        Self::of(
            Kind::Unauthenticated,
            "The request is not authenticated: send a valid token in X-Auth-Token, or sign the request with a valid \
             access key and a clock that is right; a signature is good for one request.",
        )
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::of(Kind::Forbidden, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::of(Kind::NotFound, message)
    }

    /// No route has the path; or one has, for others than the caller.
    pub fn nothing_here() -> Self {
        Self::not_found("There is nothing at this path.")
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::of(Kind::Conflict, message)
    }

    /// A fault of ours.
    pub fn internal(cause: impl StdError + Send + Sync + 'static) -> Self {
        ApiError::internal(cause).into()
    }

    pub fn unavailable(cause: impl StdError + Send + Sync + 'static) -> Self {
        ApiError::unavailable(cause).into()
    }

    /// One more problem of the same request. The answer then lists all of them as `problems`, the first among them.
    pub fn also(mut self, code: &'static str, message: impl Into<String>) -> Self {
        let Refusal { first, problems, .. } = &mut *self.0;
        if problems.is_empty() {
            problems.push(first.clone());
        }
        problems.push(Problem::new(code, message.into()));
        self
    }

    /// For the log, not for the caller.
    pub fn caused_by(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.0.cause = Some(Arc::new(cause));
        self
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn code(&self) -> &'static str {
        self.0.first.code
    }

    pub fn message(&self) -> &str {
        &self.0.first.message
    }

    fn of(kind: Kind, message: impl Into<String>) -> Self {
        Self::new(kind.status(), code(kind), message)
    }
}

/// Ours, in the vendor's form.
const fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "SCM.0400",
        Kind::Unauthenticated => "SCM.0401",
        Kind::Forbidden => "SCM.0403",
        Kind::NotFound => "SCM.0404",
        Kind::MethodNotAllowed => "SCM.0405",
        Kind::Conflict => "SCM.0409",
        Kind::TooLarge => "SCM.0413",
        Kind::MediaType => "SCM.0415",
        Kind::Internal => "SCM.0500",
        Kind::Device => "SCM.0502",
        Kind::Locked => "SCM.0429",
        Kind::Unavailable => "SCM.0503",
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    #[serde(flatten)]
    first: &'a Problem,
    #[serde(skip_serializing_if = "<[Problem]>::is_empty")]
    problems: &'a [Problem],
}

impl IntoResponse for ScmError {
    fn into_response(self) -> Response {
        let told = ErrorBody { first: &self.0.first, problems: &self.0.problems };
        let mut response = (self.0.status, Json(told)).into_response();
        match self.0.status {
            // RFC 9110 §15.5.2 demands a challenge; without an error code, which would tell what is wrong.
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, SDK-HMAC-SHA256"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        if self.0.cause.is_some() {
            response.extensions_mut().insert(self);
        }
        response
    }
}

/// So that bodies, media types and the ledger's errors are judged in one place for all APIs.
impl From<ApiError> for ScmError {
    fn from(error: ApiError) -> Self {
        let mut this = Self::of(error.kind(), format!("{} {}", error.text(), error.recovery()));
        this.0.cause = error.cause();
        this
    }
}

impl From<LedgerError> for ScmError {
    fn from(error: LedgerError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<SealError> for ScmError {
    fn from(error: SealError) -> Self {
        if error.is_retryable() { Self::unavailable(error) } else { Self::internal(error) }
    }
}

impl From<Forbidden> for ScmError {
    fn from(refusal: Forbidden) -> Self {
        Self::forbidden(refusal.to_string())
    }
}

impl From<OutOfScope> for ScmError {
    fn from(refusal: OutOfScope) -> Self {
        Self::forbidden(refusal.to_string())
    }
}

impl From<Denied> for ScmError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated => Self::unauthenticated(),
            Denied::Unseen => Self::nothing_here(),
            Denied::Forbidden(refusal) => refusal.into(),
            Denied::OutOfScope(refusal) => refusal.into(),
        }
    }
}

/// Middleware: gives every answer the request's id (`X-Request-Id`), a random one where there is none, and logs a fault
/// of ours once, with its causes and that id.
pub async fn scm_report(mut request: Request, next: Next) -> Response {
    let id = request_id(&request).unwrap_or_else(|| Uuid::new_v4().to_string());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Some(ScmError(fault)) = response.extensions().get() {
        let why = fault.cause.as_deref().map(causes).unwrap_or_default();
        let (code, status) = (fault.first.code, fault.status.as_u16());
        error!(request.id = id, http.status = status, error.code = code, error = why, "request failed");
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn;
    use axum::routing::get;
    use lambda_http::RequestExt;
    use lambda_http::tower::ServiceExt;
    use serde_json::{Value, json};

    use super::*;

    async fn body(response: Response) -> Value {
        serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_message_is_cut_where_the_vendor_cuts_it() {
        let told = body(ScmError::invalid("\u{fc}".repeat(2000)).into_response()).await;
        assert_eq!(told, json!({"error_code": "SCM.0400", "error_msg": "\u{fc}".repeat(1024)}));
    }

    #[tokio::test]
    async fn several_problems_are_all_listed() {
        let error = ScmError::new(StatusCode::BAD_REQUEST, "SCM.0053", "One.").also("SCM.0114", "Two.");
        let (one, two) = (("SCM.0053", "One."), ("SCM.0114", "Two."));
        let problems = [one, two].map(|(code, message)| json!({"error_code": code, "error_msg": message}));
        let expected = json!({"error_code": one.0, "error_msg": one.1, "problems": problems});
        assert_eq!(body(error.into_response()).await, expected);
    }

    #[tokio::test]
    async fn every_answer_has_an_id_a_fault_nothing_more() {
        let secret = || LedgerError::Aws { operation: "GetItem", source: "table rootcast-Access-7 is gone".into() };
        let routes = Router::new()
            .route("/good", get(|| async { "good" }))
            .route("/fault", get(move || async move { ScmError::from(secret()) }))
            .layer(from_fn(scm_report));
        let send = async |path: &str, id: Option<&str>| {
            let mut request = Request::get(path).body(Body::empty()).unwrap();
            if let Some(id) = id {
                let mut context = lambda_http::Context::default();
                context.request_id = id.to_owned();
                request = request.with_lambda_context(context);
            }
            routes.clone().oneshot(request).await.unwrap()
        };
        assert_eq!(send("/good", Some("c6af9ac6")).await.headers()[X_REQUEST_ID], "c6af9ac6");
        let (one, other) = (send("/good", None).await, send("/good", None).await);
        assert_ne!(one.headers()[X_REQUEST_ID], other.headers()[X_REQUEST_ID]);

        let fault = send("/fault", Some("c6af9ac6")).await;
        assert_eq!(
            (fault.status(), &fault.headers()[X_REQUEST_ID]),
            (StatusCode::INTERNAL_SERVER_ERROR, &"c6af9ac6".parse().unwrap())
        );
        let told = body(fault).await.to_string();
        assert!(told.contains("SCM.0500") && !told.contains("Access") && !told.contains("GetItem"), "{told}");
    }

    #[test]
    fn a_lost_race_conflicts_and_a_passing_fault_invites_retries() {
        assert_eq!(ScmError::from(LedgerError::Conflict).code(), "SCM.0409");
        let passing = LedgerError::Transient { operation: "PutItem", source: "busy".into() };
        assert_eq!(ScmError::from(passing).into_response().headers()[RETRY_AFTER], "1");
    }
}
