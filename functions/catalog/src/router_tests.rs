//! The router without AWS: a request stops at authentication, or passes it with a mocked token lookup.
#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use axum::body::{Body, to_bytes};
use axum::http::header::{ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{Method, Response, Uri};
use proptest::prelude::*;
use rootcast_core::access::permission::{Grants, Role};
use rootcast_gate::{ScmGate, SecondPerson};
use rootcast_ledger::{Ledger, Tables};
use rootcast_queue::Queue;
use rootcast_seal::Sealer;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tower::ServiceExt;

use super::*;

/// Every token is an administrator's; otherwise the tables are empty.
fn app() -> Router {
    app_for(Role::Administrator.into())
}

fn app_for(grants: Grants) -> Router {
    let is_token = |request: &aws_sdk_dynamodb::operation::get_item::GetItemInput| {
        let id = request.key().and_then(|key| key.get("id")?.as_s().ok());
        request.table_name() == Some("access") && id.is_some_and(|id| id.starts_with("token#"))
    };
    let known = mock!(Client::get_item).match_requests(is_token).then_output(move || {
        let (far, lately) = ("99999999999", OffsetDateTime::now_utc().unix_timestamp().to_string());
        let far = AttributeValue::N(far.to_owned());
        let record = GetItemOutput::builder()
            .item("principal", AttributeValue::S("ops".to_owned()))
            .item("grants", serde_dynamo::to_attribute_value(&grants).unwrap())
            .item("expires", far)
            .item("created", AttributeValue::N(lately));
        record.build()
    });
    let empty = mock!(Client::get_item).then_output(|| GetItemOutput::builder().build());
    let none_found = mock!(Client::query).then_output(|| QueryOutput::builder().build());
    let none_of_them = mock!(Client::batch_get_item).then_output(|| BatchGetItemOutput::builder().build());
    let none_there = mock!(Client::scan).then_output(|| ScanOutput::builder().build());
    let noted = mock!(Client::transact_write_items).then_output(|| TransactWriteItemsOutput::builder().build());
    let rules = [&known, &empty, &none_found, &none_of_them, &none_there, &noted];
    let dynamodb = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, rules);
    let table = |name: &str| Some(name.to_owned());
    let tables = Tables {
        certificates: table("certificates"),
        jobs: table("jobs"),
        devices: table("devices"),
        access: table("access"),
        audit: table("audit"),
        heads: None,
    };
    let sqs = aws_sdk_sqs::Client::from_conf(
        aws_sdk_sqs::Config::builder().behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest()).build(),
    );
    let kms = aws_sdk_kms::Client::from_conf(
        aws_sdk_kms::Config::builder().behavior_version(aws_sdk_kms::config::BehaviorVersion::latest()).build(),
    );
    let ledger = Ledger::new(dynamodb, tables);
    router(App::new(Parts {
        second: SecondPerson::new(ledger.clone(), Default::default(), OffsetDateTime::now_utc),
        gate: ScmGate::new(ledger.clone(), Sealer::new(&kms, "key")),
        sealer: Sealer::new(&kms, "key"),
        ledger,
        queue: Queue::new(sqs),
        control_queue: "https://sqs.invalid/control".to_owned(),
        issue_queue: String::new(),
        task_queue: String::new(),
        networks: "10.0.0.0/8".parse().unwrap(),
        credential_prefix: "/rootcast/devices/".to_owned(),
        ssm: aws_sdk_ssm::Client::from_conf(
            aws_sdk_ssm::Config::builder().behavior_version(aws_sdk_ssm::config::BehaviorVersion::latest()).build(),
        ),
        prices: Default::default(),
        clock: OffsetDateTime::now_utc,
    }))
}

pub(crate) async fn call(request: axum::http::request::Builder, body: impl Into<Body>) -> Response<Body> {
    app().oneshot(request.body(body.into()).unwrap()).await.unwrap()
}

pub(crate) fn signed_in(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("authorization", "Bearer token")
}

async fn refused(response: Response<Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let body: Value = serde_json::from_slice(&to_bytes(response.into_body(), 100_000).await.unwrap()).unwrap();
    assert_eq!(body["result"], "failed");
    let message = &body["messages"][0];
    for text in [&message["text"], &message["explanation"], &message["recovery"]["text"]] {
        assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{body}");
    }
    assert!(message["id"].as_str().unwrap().starts_with("FQXHMSE") && message["recovery"]["URL"] == "");
    (status, body)
}

const ROUTES: [(&str, &str); 25] = [
    ("GET", "/aicc"),
    ("GET", "/signingCertificate"),
    ("GET", "/signingCertificate/details"),
    ("GET", "/signingCertificate/jobs"),
    ("GET", "/signingCertificate/jobs/7"),
    ("GET", "/certificatePolicy"),
    ("PUT", "/certificatePolicy"),
    ("GET", "/issuancePolicy"),
    ("PUT", "/issuancePolicy"),
    ("PUT", "/tasks"),
    ("GET", "/tasks/7"),
    ("GET", "/devices"),
    ("POST", "/devices"),
    ("GET", "/devices/Bmc-1"),
    ("PATCH", "/devices/Bmc-1"),
    ("DELETE", "/devices/Bmc-1"),
    ("GET", "/devices/Bmc-1/fingerprint"),
    ("GET", "/jobs"),
    ("GET", "/jobs/7"),
    ("POST", "/jobs/7/pause"),
    ("POST", "/jobs/7/resume"),
    ("POST", "/jobs/7/abort"),
    ("POST", "/jobs/7/waive"),
    ("POST", "/jobs/7/retry"),
    ("GET", "/jobs/7/tasks"),
];

/// A request as API Gateway forwards it, with the path as the client wrote it.
async fn event(raw_path: &str) -> u16 {
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": raw_path, "rawQueryString": "", "headers": { "host": "x.example" },
        "requestContext": {
            "accountId": "123456789012", "apiId": "id", "domainName": "x.example", "domainPrefix": "x",
            "http": { "method": "GET", "path": raw_path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1" },
            "requestId": "JKJaXmPLvHcESHA=", "routeKey": "$default", "stage": "$default",
        },
        "isBase64Encoded": false,
    });
    let request = lambda_http::request::from_str(&event.to_string()).unwrap();
    app().oneshot(request.map(|body| Body::from(body.to_vec()))).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn path_tricks_do_not_bypass_authentication() {
    for raw_path in [
        "/bundle/../jobs",
        "/bundle/%2e%2e/jobs",
        "/bundle/.%2E/jobs",
        "/bundle/..%2fjobs",
        "/bundle\\..\\jobs",
        "/.well-known/est/cacerts/../../../jobs",
        "/crl/1/0.crl/../../../jobs",
        "/x/../v3/scm/certificates",
        "/bundle/../v3/./scm/certificates",
    ] {
        assert_eq!(event(raw_path).await, 401, "{raw_path}");
    }
    assert_eq!(event("/.well-known/est/cacerts;/../jobs").await, 404);
}

#[tokio::test]
async fn where_all_is_public_an_unknown_path_gets_404() {
    for path in ["/.well-known/est/simpleenroll", "/crl/1/64.crl", "/crl/1.0/1.crl", "/CRL/01/1.crl", "/crl"] {
        assert_eq!(refused(call(Request::get(path), "").await).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn options_says_which_methods_there_are() {
    let response = call(signed_in("OPTIONS", "/jobs/7"), "").await;
    assert_eq!((response.status().as_u16(), &response.headers()[ALLOW]), (204, &"GET,HEAD".parse().unwrap()));
    assert_eq!(call(Request::builder().method("OPTIONS").uri("/jobs/7"), "").await.status(), 401);
}

/// As `pylxca` asks right after its login.
#[tokio::test]
async fn what_a_lxca_has_besides_is_an_empty_list() {
    for (path, list) in
        [("/nodes?status=managed", "nodeList"), ("/chassis", "chassisList"), ("/userAccounts", "response")]
    {
        let response = call(signed_in("GET", path), "").await;
        assert_eq!(response.status(), 200, "{path}");
        let body: Value = serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap();
        assert_eq!(body[list], json!([]), "{path}: {body}");
    }
}

#[tokio::test]
async fn without_a_token_every_path_gets_401() {
    for (method, path) in
        ROUTES.into_iter().chain([("DELETE", "/jobs/7"), ("GET", "/nothing"), ("POST", "/"), ("GET", "/bundle/x")])
    {
        for path in [path.to_owned(), path.to_uppercase()] {
            let response = call(Request::builder().method(method).uri(&path), "{").await;
            assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
            assert!(!response.headers().contains_key(ALLOW), "{method} {path} tells which methods there are");
            assert_eq!(refused(response).await.0, 401, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_route_matches_in_any_letter_case() {
    for (method, path) in ROUTES {
        for path in [path.to_lowercase(), path.to_uppercase()] {
            let response = call(signed_in(method, &path), "").await;
            let status = response.status();
            let body = to_bytes(response.into_body(), 100_000).await.unwrap();
            let is_nothing = body.windows(21).any(|text| text == b"nothing at this path.");
            assert!(!status.is_server_error() && status != 405 && !is_nothing, "{method} {path} {status}");
        }
    }
}

#[tokio::test]
async fn an_id_keeps_its_case() {
    let (status, body) = refused(call(signed_in("GET", "/DEVICES/Bmc-X1"), "").await).await;
    assert_eq!((status, body["messages"][0]["text"].as_str().unwrap()), (404, "There is no device Bmc-X1."));
    let (_, body) = refused(call(signed_in("GET", "/devices/DEVICES/FINGERPRINT"), "").await).await;
    assert_eq!(body["messages"][0]["text"], "There is no device DEVICES.");
}

#[tokio::test]
async fn unknown_resources_get_404_and_methods_405() {
    assert_eq!(refused(call(signed_in("GET", "/nothing"), "").await).await.0, 404);
    assert_eq!(refused(call(signed_in("GET", "/jobs/x"), "").await).await.0, 404);
    assert_eq!(refused(call(signed_in("GET", "/jobs/7"), "").await).await.0, 404);
    assert_eq!(refused(call(signed_in("GET", "/devices/a%20b"), "").await).await.0, 404);
    assert_eq!(refused(call(signed_in("GET", "/devices/a%ff"), "").await).await.0, 404);
    assert_eq!(refused(call(signed_in("GET", "/signingCertificate"), "").await).await.0, 404);
    for (method, path, allowed) in
        [("DELETE", "/jobs/7", "GET,HEAD"), ("PUT", "/SigningCertificate", "GET,HEAD"), ("POST", "/bundle", "GET,HEAD")]
    {
        let response = call(signed_in(method, path), "").await;
        assert_eq!(response.headers()[ALLOW], allowed);
        assert_eq!(refused(response).await.0, 405, "{method} {path}");
    }
}

#[tokio::test]
async fn a_jobs_audit_needs_the_right_on_all_devices() {
    for (grants, status) in [
        (r"\VED\Policy\Jobs=read", 403),
        (r"\VED\Policy\Jobs=read \VED\Policy\Devices\bmc-1=read", 403),
        // Nothing is on record.
        (r"\VED\Policy\Jobs=read \VED\Policy\Devices=read", 404),
    ] {
        let given = grants.split(' ').map(|grant| grant.parse().unwrap()).collect();
        let app = app_for(Grants::given(None, given, Vec::new()));
        let asked = signed_in("GET", "/jobs/7/audit").body(Body::empty()).unwrap();
        let (answered, body) = refused(app.oneshot(asked).await.unwrap()).await;
        assert_eq!(answered, status, "{grants} {body}");
    }
}

#[tokio::test]
async fn revocation_lists_need_no_token() {
    for path in
        ["/crl/1/63.crl", "/CRL/1/63.CRL", "/crl/1.2/63.crl", "/crl/1/authorities.crl", "/CRL/1/Authorities.crl"]
    {
        let (status, body) = refused(call(Request::get(path), "").await).await;
        assert_eq!((status, &body["messages"][0]["text"]), (404, &"There is no such revocation list.".into()));
    }
    let response = call(Request::post("/crl/1/63.crl"), "").await;
    assert_eq!(response.headers()[ALLOW], "GET,HEAD");
    assert_eq!(refused(response).await.0, 405);
}

#[tokio::test]
async fn without_a_bundle_its_routes_get_404() {
    for path in ["/bundle", "/Bundle"] {
        assert_eq!(refused(call(Request::get(path), "").await).await.0, 404);
    }
    let response = call(Request::get("/.well-known/EST/cacerts"), "").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()[CONTENT_TYPE]),
        (404, &"text/plain; charset=utf-8".parse().unwrap())
    );
}

#[tokio::test]
async fn invalid_bodies_are_refused() {
    let json = |method, path| signed_in(method, path).header(CONTENT_TYPE, "application/json");
    for (method, path, body) in [
        ("PUT", "/certificatePolicy", "{"),
        ("PUT", "/certificatePolicy", r#"{"specName":"ROT13"}"#),
        ("PUT", "/certificatePolicy", r#"{"specName":"CNSA","x":1}"#),
        ("PUT", "/issuancePolicy", r#"{"rules":[]}"#),
        ("PUT", "/issuancePolicy", r#"{"revision":0,"rules":[{"prefix":"x"}]}"#),
        ("PATCH", "/devices/x", r#"{"pin":[]}"#),
        ("POST", "/devices", "[]"),
        ("POST", "/devices", r#"{"address":"http://x"}"#),
        ("POST", "/jobs/7/waive", r#"{"devices":[],"reason":"x"}"#),
        ("PUT", "/tasks", r#"{"action":"delete","list":["7"]}"#),
    ] {
        assert_eq!(refused(call(json(method, path), body).await).await.0, 400, "{method} {path} {body}");
        let form = signed_in(method, path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        assert_eq!(refused(call(form, body).await).await.0, 415, "{method} {path}");
    }
    assert_eq!(refused(call(json("PATCH", "/devices/x"), vec![b' '; (1 << 20) + 1]).await).await.0, 413);
    assert_eq!(refused(call(json("POST", "/devices"), vec![b' '; (4 << 20) + 1]).await).await.0, 413);
}

#[tokio::test]
async fn a_device_is_not_enrolled_with_a_foreign_name() {
    let row = |name: &str| {
        json!({
            "id": "bmc-1", "address": "https://10.0.0.7", "credential": "/rootcast/devices/bmc-1",
            "subject": { "commonName": "Rack 1", "dnsNames": [name] },
        })
    };
    let body = json!([row("pay.example")]).to_string();
    let response = call(signed_in("POST", "/devices").header(CONTENT_TYPE, "application/json"), body).await;
    assert_eq!(response.status(), 207);
    let body: Value = serde_json::from_slice(&to_bytes(response.into_body(), 100_000).await.unwrap()).unwrap();
    let refused = &body["response"]["devices"][0];
    let message = refused["message"].as_str().unwrap();
    assert_eq!(refused["result"], "refused");
    assert!(message.contains("pay.example") && message.contains("has no rule for"), "{message}");
}

#[tokio::test]
async fn invalid_queries_are_refused() {
    for path in [
        "/devices?limit=0",
        "/devices?limit=x",
        "/devices?limit=1001",
        "/jobs?limit=101",
        "/jobs?cursor=!",
        "/devices?cursor=e30",
    ] {
        assert_eq!(refused(call(signed_in("GET", path), "").await).await.0, 400, "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn hostile_requests_are_answered(path in "/[ -~]{0,40}", body: Vec<u8>, method in "GET|PUT|POST|PATCH|DELETE") {
        let Ok(uri) = path.parse::<Uri>() else { return Ok(()) };
        let method: Method = method.parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let status = runtime.block_on(async {
            call(Request::builder().method(method).uri(uri).header("authorization", "Bearer token"), body).await.status()
        });
        prop_assert!(status.is_client_error() || status.is_success(), "{}", status);
    }
}
