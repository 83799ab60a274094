//! What the dialects' refusals share: status, headers, and that an internal error is logged once.

use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use rootcast_gate::{Awaits, Kind, Refusal, RequestId};
use serde::Serialize;
use tracing::error;

/// A refusal in the format of one API.
pub(crate) trait Dialect: Clone + Send + Sync + 'static {
    /// The challenge of a 401, which RFC 9110 §15.5.2 requires. It has no error code, which would reveal what is wrong
    /// with the credential.
    const CHALLENGE: &'static str;

    fn refusal(&self) -> &Refusal;

    /// The API's own error code, if it has one.
    fn code(&self) -> Option<&'static str> {
        None
    }

    fn body(&self) -> impl Serialize;
}

/// Renders the refusal. One with a cause goes along in the extensions, for [`reported`].
pub(crate) fn answer<D: Dialect>(told: D) -> Response {
    let refusal = told.refusal();
    let mut response = (refusal.status(), Json(told.body())).into_response();
    let headers = response.headers_mut();
    match refusal.kind() {
        Kind::Unauthenticated => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(D::CHALLENGE));
        }
        Kind::Unavailable => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    if let Some(seconds) = refusal.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(operation) = refusal.awaits() {
        response.extensions_mut().insert(Awaits(operation));
    }
    if refusal.has_cause() {
        response.extensions_mut().insert(told);
    }
    response
}

/// Returns the answer, and the refusal if it has a cause. Such a refusal is logged here, once, with its causes and the
/// request's id.
pub(crate) async fn reported<D: Dialect>(mut request: Request, next: Next, id: &str) -> (Response, Option<D>) {
    request.extensions_mut().insert(RequestId(id.to_owned()));
    let mut response = next.run(request).await;
    let fault = response.extensions_mut().remove::<D>();
    if let Some(fault) = &fault {
        let refusal = fault.refusal();
        let (status, why) = (refusal.status().as_u16(), refusal.causes());
        match fault.code() {
            Some(code) => {
                error!(request.id = id, http.status = status, error.code = code, error = why, "request failed");
            }
            None => error!(request.id = id, http.status = status, error = why, "request failed: {}", refusal.text()),
        }
    }
    (response, fault)
}
