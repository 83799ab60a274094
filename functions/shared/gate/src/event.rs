//! The request that an event of API Gateway (payload format 2.0) holds.
//!
//! `lambda_http` makes a request too, but panics where the event's host, `X-Forwarded-Proto`, query or body is not what
//! it expects, and lets the first two change the path. Any client can send such headers. So the request is made here,
//! from the event's path and query alone, and nothing in the path is resolved: dot segments stay as they were sent.

use axum::body::Body;
use axum::extract::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{COOKIE, HOST};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Uri};
use lambda_http::RequestExt;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::request::RequestContext;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use crate::refusal::Refusal;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// What a path cannot have unencoded. API Gateway may have decoded the path already.
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`');

/// Why an event is not a request.
#[derive(Debug)]
pub struct NotARequest {
    /// The event's path, by which the refusal's format is chosen; empty if the event has none.
    pub path: String,
    pub refusal: Refusal,
}

/// The request of an event, which is the JSON that Lambda was invoked with.
///
/// # Errors
/// A refusal of the kind [`Invalid`](crate::Kind::Invalid).
pub fn request(event: &str) -> Result<Request, NotARequest> {
    match serde_json::from_str::<ApiGatewayV2httpRequest>(event) {
        Ok(event) => {
            let path = event.raw_path.clone().unwrap_or_default();
            made(event).map_err(|refusal| NotARequest { path, refusal })
        }
        Err(_) => Err(NotARequest { path: path(event), refusal: unreadable() }),
    }
}

/// The path of an event that is not readable as a whole.
fn path(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    event["rawPath"].as_str().unwrap_or_default().to_owned()
}

fn unreadable() -> Refusal {
    Refusal::invalid(
        "The request cannot be read: it did not come through the API, or a header has a character that none may have.",
        "Correct the headers, and send the request to the API's URL.",
    )
}

fn made(event: ApiGatewayV2httpRequest) -> Result<Request, Refusal> {
    let mut headers = event.headers;
    let is_scheme = |value: &str| {
        value.split(',').map(str::trim).all(|one| ["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(one)))
    };
    if !headers.get_all(X_FORWARDED_PROTO).iter().all(|value| value.to_str().is_ok_and(is_scheme)) {
        return Err(Refusal::invalid(
            "The header X-Forwarded-Proto names no scheme.",
            "Leave the header out, or send http or https.",
        ));
    }
    let is_host = |value: &HeaderValue| {
        let host = value.to_str().ok().filter(|text| !text.contains('@'));
        host.is_some_and(|text| text.parse::<Authority>().is_ok())
    };
    if !headers.get_all(HOST).iter().all(is_host) {
        return Err(Refusal::invalid(
            "The header Host is not a host.",
            "Send the API's host in it, with a port at most.",
        ));
    }
    if let Some(cookies) = event.cookies {
        let cookies = HeaderValue::from_bytes(cookies.join("; ").as_bytes())
            .map_err(|_| Refusal::invalid("The cookies have a control character.", "Send cookies without one."))?;
        headers.insert(COOKIE, cookies);
    }
    let body = match event.body {
        Some(text) if event.is_base64_encoded => Body::from(STANDARD.decode(text).map_err(|_| unreadable())?),
        Some(text) => Body::from(text),
        None => Body::empty(),
    };
    let raw_path = event.raw_path.unwrap_or_default();
    let mut request = Request::new(body);
    *request.uri_mut() = uri(&raw_path, event.raw_query_string.as_deref().unwrap_or_default())?;
    request.method_mut().clone_from(&event.request_context.http.method);
    *request.headers_mut() = headers;
    Ok(request.with_raw_http_path(raw_path).with_request_context(RequestContext::ApiGatewayV2(event.request_context)))
}

fn uri(path: &str, query: &str) -> Result<Uri, Refusal> {
    let rest = path.strip_prefix('/').unwrap_or(path);
    if rest.len() == path.len() && !path.is_empty() {
        return Err(Refusal::invalid("The path does not begin with a slash.", "Correct the path."));
    }
    let path = format!("/{}", utf8_percent_encode(rest, UNSAFE));
    let whole = if query.is_empty() { path } else { format!("{path}?{query}") };
    // The parser would take a fragment for the query's end.
    let parsed = if query.contains('#') { None } else { whole.parse::<PathAndQuery>().ok() };
    parsed.map(Uri::from).ok_or_else(|| {
        Refusal::invalid(
            "The query has a character that it cannot have, or the path and the query are too long.",
            "Percent-encode the query, and send less in it.",
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use axum::body::to_bytes;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::refusal::Kind;

    fn event() -> Value {
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/devices", "rawQueryString": "limit=1",
            "headers": { "host": "x.example", "x-forwarded-proto": "https" },
            "requestContext": {
                "domainName": "x.example", "requestId": "JKJaXmPLvHcESHA=", "stage": "$default",
                "http": { "method": "GET", "path": "/devices", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1" },
            },
            "isBase64Encoded": false,
        })
    }

    fn with(pointer: &str, value: Value) -> Result<Request, NotARequest> {
        let mut event = event();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        event.pointer_mut(parent).unwrap()[field] = value;
        request(&event.to_string())
    }

    fn refused(made: Result<Request, NotARequest>) -> bool {
        made.is_err_and(|not| not.refusal.kind() == Kind::Invalid && !not.refusal.recovery().is_empty())
    }

    #[tokio::test]
    async fn the_request_is_the_events() {
        let mut event = event();
        event["requestContext"]["http"]["method"] = json!("POST");
        event["cookies"] = json!(["a=1", "b=2"]);
        (event["body"], event["isBase64Encoded"]) = (json!("e30="), json!(true));
        let request = request(&event.to_string()).unwrap();
        assert_eq!((request.method().as_str(), request.uri().to_string()), ("POST", "/devices?limit=1".to_owned()));
        assert_eq!(request.headers()[HOST], "x.example");
        assert_eq!(request.headers()[COOKIE], "a=1; b=2");
        assert_eq!(crate::request_id(&request).unwrap(), "JKJaXmPLvHcESHA=");
        assert_eq!(request.raw_http_path(), "/devices");
        assert_eq!(to_bytes(request.into_body(), 10).await.unwrap(), "{}");
    }

    #[test]
    fn forged_headers_are_refused() {
        for scheme in
            ["", " ", "ftp", "ht tp", "https://evil/sessions/iam?", "https, x", "://", "\u{e9}", &"x".repeat(9000)]
        {
            assert!(refused(with("/headers/x-forwarded-proto", json!(scheme))), "{scheme:?}");
        }
        for host in
            ["", "a b", "a/b", "x.example/bundle?", "u@x.example", "\u{e9}.example", "a#b", "a\\b", "[::1", "a,b c"]
        {
            assert!(refused(with("/headers/host", json!(host))), "{host:?}");
        }
        for value in ["a\nb", "a\u{0}b"] {
            assert!(refused(with("/headers/x-anything", json!(value))), "{value:?}");
        }
        assert!(refused(with("/headers/a b", json!("x"))));
        assert!(refused(with("/cookies", json!(["a=\n"]))));
    }

    #[test]
    fn usual_headers_of_proxies_and_hosts_pass() {
        for scheme in ["http", "HTTPS", "https,http", "https, https"] {
            assert!(with("/headers/x-forwarded-proto", json!(scheme)).is_ok(), "{scheme}");
        }
        for host in ["x.example:8443", "127.0.0.1", "x.execute-api.127.0.0.1:80", "[::1]:443"] {
            assert!(with("/headers/host", json!(host)).is_ok(), "{host}");
        }
        assert!(with("/headers", json!({})).is_ok());
        assert!(with("/requestContext/domainName", json!("no host at all/")).is_ok());
        assert!(with("/requestContext/stage", json!("a b?#")).is_ok());
    }

    #[test]
    fn odd_queries_are_refused() {
        for query in ["a b", "a=\n", "a#b", "\u{7f}", "a\u{0}"] {
            assert!(refused(with("/rawQueryString", json!(query))), "{query:?}");
        }
        assert!(refused(with("/rawQueryString", json!("x".repeat(70_000)))));
    }

    #[test]
    fn a_path_is_taken_as_sent() {
        for (path, taken) in [
            ("", "/"),
            ("/devices/..", "/devices/.."),
            ("/bundle/../jobs", "/bundle/../jobs"),
            ("//jobs", "//jobs"),
            ("/a?b#c d", "/a%3Fb%23c%20d"),
            ("/a\\..\\b\t", "/a\\..\\b%09"),
            ("/stra\u{df}e", "/stra%C3%9Fe"),
        ] {
            assert_eq!(with("/rawPath", json!(path)).unwrap().uri().path(), taken, "{path:?}");
        }
        assert!(refused(with("/rawPath", json!("jobs"))));
        assert!(refused(with("/rawPath", json!("x".repeat(70_000)))));
    }

    #[test]
    fn an_event_that_is_no_request_is_refused() {
        for event in ["", "null", "[]", "7", "{}", r#"{"Records": []}"#, r#"{"rawPath": 7}"#, &"[".repeat(10_000)] {
            assert!(refused(request(event)), "{event}");
        }
        for (pointer, value) in [
            ("/requestContext", json!(null)),
            ("/requestContext", json!({})),
            ("/requestContext/http", json!({})),
            ("/requestContext/http/method", json!("G T")),
            ("/headers", json!(7)),
        ] {
            let not = with(pointer, value.clone()).unwrap_err();
            assert_eq!((not.path.as_str(), not.refusal.kind()), ("/devices", Kind::Invalid), "{pointer} {value}");
        }
        let mut event = event();
        (event["body"], event["isBase64Encoded"]) = (json!("no base64"), json!(true));
        assert!(refused(request(&event.to_string())));
    }

    proptest! {
        #[test]
        fn any_event_is_a_request_or_refused(
            name in "x-forwarded-proto|host|cookie|\\PC{0,9}", value: String, path: String, query: String, body: String,
            base64: bool, stage: String, domain: String,
        ) {
            let mut event = event();
            event["headers"][&name] = json!(value);
            (event["rawPath"], event["rawQueryString"]) = (json!(path), json!(query));
            (event["body"], event["isBase64Encoded"]) = (json!(body), json!(base64));
            (event["requestContext"]["stage"], event["requestContext"]["domainName"]) = (json!(stage), json!(domain));
            if let Ok(request) = request(&event.to_string()) {
                prop_assert_eq!(request.uri().query().unwrap_or_default(), query);
                prop_assert!(request.uri().host().is_none());
            }
        }

        #[test]
        fn any_path_keeps_its_meaning(path in "/[ -~\\PC]{0,40}") {
            let request = with("/rawPath", json!(path)).unwrap();
            let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
            prop_assert_eq!(decoded(request.uri().path()), decoded(&path));
        }
    }
}
