//! The body of a refused SCM request: `{"error_code", "error_msg"}`, always with `X-Request-Id`.

use std::error::Error as StdError;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue};
use rootcast_gate::{Kind, Refusal, request_id};
use serde::Serialize;
use uuid::Uuid;

use crate::answer::{Dialect, answer, reported};

/// In characters: the vendor's limit.
pub(super) const LONGEST_MESSAGE: usize = 1024;
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A refusal in this API's format: a code and one text.
#[derive(Debug, Clone)]
pub struct HuaweiError {
    refusal: Refusal,
    code: &'static str,
    /// All problems, if a request has several.
    problems: Vec<Problem>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Problem {
    #[serde(rename = "error_code")]
    pub(super) code: &'static str,
    #[serde(rename = "error_msg")]
    pub(super) message: String,
}

impl HuaweiError {
    /// `text`: what is wrong and what to do, cut after 1024 characters.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self::in_words(Refusal::new(kind, "", ""), &text.into())
    }

    /// A field, a parameter or the body as a whole is invalid.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, text)
    }

    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, text)
    }

    pub fn conflict(text: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, text)
    }

    /// An internal error.
    pub fn internal(cause: impl StdError + Send + Sync + 'static) -> Self {
        Refusal::internal(cause).into()
    }

    pub fn unavailable(cause: impl StdError + Send + Sync + 'static) -> Self {
        Refusal::unavailable(cause).into()
    }

    /// Replaces the code of its kind with another one, of 3 to 36 characters.
    pub(super) fn coded(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    pub(super) fn listing(self, problems: Vec<Problem>) -> Self {
        Self { problems, ..self }
    }

    pub(super) fn text(&self) -> &str {
        self.refusal.text()
    }

    fn in_words(refusal: Refusal, text: &str) -> Self {
        let end = text.char_indices().nth(LONGEST_MESSAGE).map_or(text.len(), |(end, _)| end);
        let code = code(refusal.kind());
        Self { refusal: refusal.in_words(text.get(..end).unwrap_or_default()), code, problems: Vec::new() }
    }
}

/// Our codes, in the vendor's form.
const fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::Waits => "SCM.0202",
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
    error_code: &'static str,
    error_msg: &'a str,
    #[serde(skip_serializing_if = "<[Problem]>::is_empty")]
    problems: &'a [Problem],
}

impl Dialect for HuaweiError {
    const CHALLENGE: &'static str = "Bearer, SDK-HMAC-SHA256";

    fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    fn code(&self) -> Option<&'static str> {
        Some(self.code)
    }

    fn body(&self) -> impl Serialize {
        ErrorBody { error_code: self.code, error_msg: self.text(), problems: &self.problems }
    }
}

impl IntoResponse for HuaweiError {
    fn into_response(self) -> Response {
        answer(self)
    }
}

/// Forbidden and not found have one sentence, without the recovery. Unauthenticated names this API's three forms of
/// credential.
impl<T> From<T> for HuaweiError
where
    Refusal: From<T>,
{
    fn from(why: T) -> Self {
        let refusal = Refusal::from(why);
        let text = match refusal.kind() {
            Kind::Unauthenticated => {
                "The request is not authenticated: send a valid token in X-Auth-Token, or sign the \
                 request with a valid access key and a clock that is right; a signature is good for one request."
                    .to_owned()
            }
            Kind::Forbidden | Kind::NotFound => refusal.text().to_owned(),
            _ => format!("{} {}", refusal.text(), refusal.recovery()),
        };
        Self::in_words(refusal, &text)
    }
}

/// Middleware: gives every answer the request's id (`X-Request-Id`), or a random one, and logs an internal error once,
/// with its causes and that id.
pub async fn report(request: Request, next: Next) -> Response {
    let id = request_id(&request).unwrap_or_else(|| Uuid::new_v4().to_string());
    let (mut response, _) = reported::<HuaweiError>(request, next, &id).await;
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
    use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
    use lambda_http::RequestExt;
    use lambda_http::tower::ServiceExt;
    use rootcast_core::access::permission::Operation;
    use rootcast_gate::Forbidden;
    use rootcast_ledger::LedgerError;
    use serde_json::{Value, json};

    use super::*;

    async fn body(response: Response) -> Value {
        serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_message_is_cut_to_the_vendors_length() {
        let told = body(HuaweiError::invalid("\u{fc}".repeat(2000)).into_response()).await;
        assert_eq!(told, json!({"error_code": "SCM.0400", "error_msg": "\u{fc}".repeat(1024)}));
    }

    #[tokio::test]
    async fn every_answer_has_an_id_and_hides_the_cause() {
        let secret = || LedgerError::Aws { operation: "GetItem", source: "table rootcast-Access-7 is gone".into() };
        let routes = Router::new()
            .route("/good", get(|| async { "good" }))
            .route("/fault", get(move || async move { HuaweiError::from(secret()) }))
            .layer(from_fn(report));
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
            (http::StatusCode::INTERNAL_SERVER_ERROR, &"c6af9ac6".parse().unwrap())
        );
        let told = body(fault).await.to_string();
        assert!(told.contains("SCM.0500") && !told.contains("Access") && !told.contains("GetItem"), "{told}");
    }

    #[tokio::test]
    async fn each_refusal_has_this_apis_text() {
        let told = async |refusal: Refusal| body(HuaweiError::from(refusal).into_response()).await;
        let unknown = Refusal::unauthenticated();
        let challenge = HuaweiError::from(unknown.clone()).into_response().headers()[WWW_AUTHENTICATE].clone();
        assert_eq!(challenge, "Bearer, SDK-HMAC-SHA256");
        let text = told(unknown).await["error_msg"].as_str().unwrap().to_owned();
        assert!(text.contains("X-Auth-Token") && !text.contains("rootcast login"), "{text}");
        assert_eq!(
            told(Refusal::nothing_here()).await,
            json!({"error_code": "SCM.0404", "error_msg": "There is nothing at this path."})
        );
        let lacks = Forbidden::Operation(Operation::ExportKey);
        assert_eq!(told(lacks.clone().into()).await["error_msg"], lacks.to_string());
        assert_eq!(
            told(Refusal::new(Kind::TooLarge, "Too much.", "Send less.")).await,
            json!({"error_code": "SCM.0413", "error_msg": "Too much. Send less."})
        );
    }

    #[test]
    fn conflicts_and_transient_errors_have_their_own_codes() {
        assert_eq!(HuaweiError::from(LedgerError::Conflict).code, "SCM.0409");
        let passing = LedgerError::Transient { operation: "PutItem", source: "busy".into() };
        assert_eq!(HuaweiError::from(passing).into_response().headers()[RETRY_AFTER], "1");
    }
}
