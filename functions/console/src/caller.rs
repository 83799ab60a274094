//! Who asks for a page: what the API is told about the browser's request.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::header::{COOKIE, HOST, USER_AGENT};
use axum::http::request::Parts;
use lambda_http::RequestExt;
use lambda_http::request::RequestContext;
use rootcast_gate::{CSRF_COOKIE, Reads};
use serde_json::{Map, Value, json};

const X_CSRF_TOKEN: &str = "x-csrf-token";
const X_NOT_USER_INPUT: HeaderName = HeaderName::from_static("x-not-user-input");
/// What is handed on: the session, and what a signature or a log is about. Never `Authorization`: a page has a session or
/// nothing.
const CARRIED: [HeaderName; 4] = [COOKIE, HOST, USER_AGENT, X_NOT_USER_INPUT];

#[derive(Debug, Clone)]
pub(crate) struct Caller {
    headers: Map<String, Value>,
    source: Option<String>,
    request_id: Option<String>,
    /// The value of the cookie, for the forms of the page.
    pub(crate) csrf: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let text = |name: &HeaderName| {
            let values = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            let all: Vec<&str> = values.collect();
            (!all.is_empty()).then(|| all.join("; "))
        };
        let headers = CARRIED.iter().filter_map(|name| Some((name.to_string(), text(name)?.into()))).collect();
        let cookies = text(&COOKIE).unwrap_or_default();
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        let csrf = pairs.find(|(name, _)| *name == CSRF_COOKIE).map(|(_, value)| value.to_owned());
        let (source, request_id) = match parts.request_context_ref() {
            Some(RequestContext::ApiGatewayV2(context)) => (context.http.source_ip.clone(), context.request_id.clone()),
            _ => (None, None),
        };
        Ok(Self { headers, source, request_id, csrf: csrf.unwrap_or_default() })
    }
}

impl Reads for Caller {}

impl Caller {
    /// Of a form: the value that the browser sent with it, which the API compares with the session's.
    pub(crate) fn meaning_it(mut self, csrf: &str) -> Self {
        self.headers.insert(X_CSRF_TOKEN.to_owned(), csrf.into());
        self
    }

    /// The event that API Gateway would make of the call. It has no authorizer: a session is all that a page has.
    pub(crate) fn event(&self, method: &str, path: &str, query: &str, body: Option<&Value>) -> Value {
        let mut headers = self.headers.clone();
        headers.insert("x-forwarded-proto".to_owned(), "https".into());
        // Huawei's paths take no cookie without it. Whatever changes something has the form's, and never the cookie's.
        if method == "GET" && !self.csrf.is_empty() {
            headers.insert(X_CSRF_TOKEN.to_owned(), self.csrf.as_str().into());
        }
        if body.is_some() {
            headers.insert("content-type".to_owned(), "application/json".into());
        }
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers,
            "requestContext": {
                "requestId": self.request_id, "stage": "$default",
                "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": self.source },
            },
            "body": body.map(Value::to_string), "isBase64Encoded": false,
        })
    }
}
