//! Lambda's events as a router's requests. An event that is no request is refused before the router sees it, in the
//! format of the API that its path belongs to.

use std::convert::Infallible;
use std::future::ready;
use std::mem::take;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn;
use axum::response::Response;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::lambda_runtime::{self, Diagnostic, LambdaEvent};
use lambda_http::request::LambdaRequest;
use lambda_http::tower::{Service, ServiceExt};
use lambda_http::{Adapter, Error, RequestExt, service_fn};
use rootcast_gate::{NotARequest, is_under, request};
use serde::Serialize;
use serde_json::value::RawValue;
use tracing::error;

use crate::huawei::{self, HuaweiError};
use crate::lenovo::{self, LenovoError};
use crate::venafi::{self, OAuthError, VenafiError};

/// Answers a function's events until Lambda ends the process. `router` is called for each request: it makes the router
/// at the first one and keeps it.
pub async fn serve(router: impl AsyncFn() -> Result<Router, Error>) -> Result<(), Error> {
    lambda_runtime::run(service_fn(async |event| respond(&router, event).await)).await
}

/// As [`serve`], of a function that also gets events which are no requests.
pub async fn serve_with_events(
    router: impl AsyncFn() -> Result<Router, Error>,
    is_event: fn(&str) -> bool,
    events: impl AsyncFn(&str) -> Result<(), Diagnostic>,
) -> Result<(), Error> {
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Box<RawValue>>| {
        if is_event(event.payload.get()) {
            let done = Box::pin(events(event.payload.get())).await;
            done.inspect_err(|why| error!(error.kind = why.error_type, "{}", why.error_message)).map(|()| None)
        } else {
            Box::pin(respond(&router, event)).await.map(Some).map_err(Diagnostic::from)
        }
    }))
    .await
}

/// The answer to an event: `lambda_http`'s own response type, which has no public name.
///
/// # Errors
/// The router cannot be made.
pub async fn respond<R: AsyncFn() -> Result<Router, Error>>(
    router: &R,
    LambdaEvent { payload, context, .. }: LambdaEvent<Box<RawValue>>,
) -> Result<impl Serialize + use<R>, Error> {
    let mut response = match request(payload.get()) {
        Ok(request) => router().await?.oneshot(request.with_lambda_context(context.clone())).await?,
        Err(not) => refused(not, Request::default().with_lambda_context(context.clone())).await?,
    };
    // API Gateway calls an answer without a type JSON, which nothing is not.
    response.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain; charset=utf-8"));
    // Only the response is lambda_http's: its own conversion of requests panics at some events.
    let mut adapter = Adapter::from(service_fn(move |_| ready(Ok::<_, Infallible>(take(&mut response)))));
    let nothing = LambdaRequest::ApiGatewayV2(ApiGatewayV2httpRequest::default());
    Ok(adapter.call(LambdaEvent::new(nothing, context)).await?)
}

/// `blank`: a request with nothing but Lambda's context.
async fn refused(NotARequest { path, refusal }: NotARequest, blank: Request) -> Result<Response, Infallible> {
    let answers = Router::new();
    let answers = if is_under("/v3/scm", &path) {
        answers.fallback(async || HuaweiError::from(refusal)).layer(from_fn(huawei::report))
    } else if is_under("/vedsdk", &path) {
        answers.fallback(async || VenafiError::from(refusal)).layer(from_fn(venafi::report))
    } else if is_under("/vedauth", &path) {
        answers.fallback(async || OAuthError::from(refusal)).layer(from_fn(venafi::report))
    } else {
        answers.fallback(async || LenovoError::from(refusal)).layer(from_fn(lenovo::report))
    };
    answers.oneshot(blank).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use axum::http::{StatusCode, Uri};
    use lambda_http::Context;
    use serde_json::{Value, json};

    use super::*;

    async fn answered(event: Value) -> (u64, Value) {
        let payload = serde_json::value::to_raw_value(&event).unwrap();
        let router = async || Ok(Router::new().fallback(async |uri: Uri| uri.to_string()));
        let answer = respond(&router, LambdaEvent::new(payload, Context::default())).await.unwrap();
        let answer = serde_json::to_value(answer).unwrap();
        let body = answer["body"].as_str().unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    fn event(path: &str, scheme: &str) -> Value {
        json!({
            "version": "2.0", "rawPath": path, "rawQueryString": "limit=1",
            "headers": { "host": "x.example", "x-forwarded-proto": scheme },
            "requestContext": { "http": { "method": "GET" }, "stage": "$default" },
        })
    }

    #[tokio::test]
    async fn a_request_reaches_the_router() {
        assert_eq!(answered(event("/devices", "https")).await, (200, json!("/devices?limit=1")));
        assert_eq!(answered(event("/devices/..", "http")).await, (200, json!("/devices/..?limit=1")));
    }

    #[tokio::test]
    async fn an_answer_without_content_is_not_called_json() {
        let payload = serde_json::value::to_raw_value(&event("/vedauth/revoke/token", "https")).unwrap();
        let router = async || Ok(Router::new().fallback(async || StatusCode::OK));
        let answer = respond(&router, LambdaEvent::new(payload, Context::default())).await.unwrap();
        let answer = serde_json::to_value(answer).unwrap();
        assert_eq!(answer["headers"]["content-type"], "text/plain; charset=utf-8", "{answer}");
    }

    #[tokio::test]
    async fn a_forged_event_is_refused_as_its_api_does() {
        for (path, attribute) in [
            ("/devices", "messages"),
            ("/nothing", "messages"),
            ("/V3/scm/certificates", "error_msg"),
            ("/vedsdk/Certificates/Retry", "Error"),
            ("/VEDAUTH/authorize/oauth", "error_description"),
        ] {
            let (status, body) = answered(event(path, "ht tp")).await;
            assert_eq!(status, 400, "{path}");
            assert!(body[attribute].to_string().contains("X-Forwarded-Proto"), "{path}: {body}");
        }
    }

    #[tokio::test]
    async fn an_event_of_another_kind_is_refused() {
        for event in [json!(null), json!({ "Records": [] }), json!({ "wake": "running" }), json!("x")] {
            let (status, body) = answered(event).await;
            assert_eq!((status, &body["result"]), (400, &json!("failed")));
        }
        let (status, body) = answered(json!({ "rawPath": "/v3/scm/certificates" })).await;
        assert_eq!((status, &body["error_code"]), (400, &json!("SCM.0400")));
    }
}
