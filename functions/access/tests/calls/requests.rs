//! Requests as API Gateway sends them, with the calls to AWS that they cause, on the SDK's own mock layer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Arc;

use access::{App, router};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::get_item::{GetItemError, GetItemOutput};
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsInput, TransactWriteItemsOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::ResourceNotFoundException;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Request};
use rootcast_core::access::password::PasswordHash;
use rootcast_gate::SecondPerson;
use rootcast_ledger::{Ledger, PrincipalRecord, Tables, TokenRecord};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tower::ServiceExt;

const PASSWORD: &str = "correct horse battery staple";
const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

type Item = HashMap<String, AttributeValue>;

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Finds the principal `ops`, and the items of `more`.
fn read(more: impl Fn(&str) -> Option<Item> + Send + Sync + 'static) -> Rule {
    let ops = PrincipalRecord {
        password: Some(PasswordHash::of(PASSWORD, [7; 16]).unwrap()),
        grants: Default::default(),
        epoch: 7,
        created: NOW,
        person: None,
        made_by: Default::default(),
    };
    let ops: Item = serde_dynamo::to_item(&ops).unwrap();
    mock!(Client::get_item).then_compute_output(move |request| {
        assert!(request.consistent_read() == Some(true) && request.table_name() == Some("access"));
        let id = request.key().unwrap()["id"].as_s().unwrap();
        let item = if id == "principal#ops" { Some(ops.clone()) } else { more(id) };
        GetItemOutput::builder().set_item(item).build()
    })
}

fn nothing(_: &str) -> Option<Item> {
    None
}

/// Reserves a place for an attempt.
fn reserved() -> Rule {
    mock!(Client::update_item)
        .match_requests(|request| is_of_attempts(request, "in_flight = :first"))
        .then_output(|| UpdateItemOutput::builder().build())
}

/// Gives a place back.
fn settled() -> Rule {
    mock!(Client::update_item)
        .match_requests(|request| is_of_attempts(request, "REMOVE in_flight.#id0"))
        .then_output(|| UpdateItemOutput::builder().build())
}

fn is_of_attempts(request: &UpdateItemInput, part: &str) -> bool {
    let id = request.key().unwrap()["id"].as_s().unwrap();
    id.starts_with("attempts#") && request.update_expression().unwrap().contains(part)
}

fn granted() -> Rule {
    mock!(Client::transact_write_items)
        .match_requests(|request| ids(request) == ["grant#", "refresh#", "token#"])
        .then_output(|| TransactWriteItemsOutput::builder().build())
}

/// The kinds of the items that a transaction puts.
fn ids(request: &TransactWriteItemsInput) -> Vec<String> {
    let put = request.transact_items().iter().map(|write| write.put().unwrap());
    let mut kinds: Vec<String> = put
        .map(|put| {
            assert_eq!(put.condition_expression(), Some("attribute_not_exists(id)"));
            assert!(put.item().contains_key("expires"), "it would stay for ever");
            put.item()["id"].as_s().unwrap().split_inclusive('#').next().unwrap().to_owned()
        })
        .collect();
    kinds.sort_unstable();
    kinds
}

async fn answer(rules: &[&Rule], request: Request<Body>) -> (u16, HeaderMap, Value) {
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, rules);
    let ledger = Ledger::new(client, Tables { access: Some("access".to_owned()), ..Tables::default() });
    let second = SecondPerson::new(ledger.clone(), Default::default(), || NOW);
    let response = router(Arc::new(App { ledger, idle: Duration::days(1), second, clock: || NOW }))
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 10_000).await.unwrap();
    (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn asking(username: &str, password: &str) -> Request<Body> {
    let body = json!({ "client_id": "c", "username": username, "password": password, "scope": "certificate:manage" });
    Request::post("/VEDauth/Authorize/OAuth").body(Body::from(body.to_string())).unwrap()
}

#[tokio::test]
async fn a_login_returns_tokens_and_stores_only_hashes() {
    let (read, reserved, settled, granted) = (read(nothing), reserved(), settled(), granted());
    let (status, _, given) = answer(&[&read, &reserved, &settled, &granted], asking("ops", PASSWORD)).await;
    assert_eq!((status, &given["scope"]), (200, &json!("certificate:manage")), "{given}");
    assert_eq!((&given["expires"], &given["expires_in"]), (&json!(3600), &json!(3600)));
    assert_eq!((&given["refresh_until"], &given["identity"]), (&json!(30 * 86_400), &json!("local:ops")));
    assert_eq!((reserved.num_calls(), settled.num_calls(), granted.num_calls()), (3, 3, 1));
}

#[tokio::test]
async fn forms_equal_json_and_refuse_duplicate_fields() {
    let form = |body: &str| {
        Request::post("/vedauth/authorize/oauth")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
            .body(Body::from(body.to_owned()))
            .unwrap()
    };
    let (read, reserved, settled, granted) = (read(nothing), reserved(), settled(), granted());
    let whole = "grant_type=password&client_id=c&username=ops&password=correct+horse%20battery+staple&scope=ssh";
    assert_eq!(answer(&[&read, &reserved, &settled, &granted], form(whole)).await.0, 200);
    let (status, _, told) = answer(&[], form(&format!("{whole}&scope=certificate"))).await;
    assert_eq!((status, &told["error"]), (400, &json!("invalid_request")));
}

#[tokio::test]
async fn failed_logins_look_alike_and_are_counted() {
    let mut told = Vec::new();
    for (username, password) in [("ops", "wrong"), ("nobody", PASSWORD), ("local:ops\n", PASSWORD)] {
        let (read, reserved, settled) = (read(nothing), reserved(), settled());
        told.push(answer(&[&read, &reserved, &settled], asking(username, password)).await);
        assert_eq!((reserved.num_calls(), settled.num_calls()), (3, 3), "{username}");
    }
    assert_eq!((told[0].0, &told[0].2["error"]), (400, &json!("invalid_grant")));
    assert!(told.iter().all(|each| (each.0, &each.2) == (told[0].0, &told[0].2)), "{told:?}");
}

#[tokio::test]
async fn a_locked_name_or_source_is_refused_unchecked() {
    for (locked, calls, seconds) in
        [("attempts#pair#", 0, 900), ("attempts#from#unknown", 1, 300), ("attempts#as#", 2, 60)]
    {
        let read = read(move |id| id.starts_with(locked).then(|| attempts(86_400, 0)));
        let (reserved, settled) = (reserved(), settled());
        let (status, headers, told) = answer(&[&read, &reserved, &settled], asking("ops", PASSWORD)).await;
        let after: i64 = headers[RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert_eq!((status, &told["error"], after), (429, &json!("invalid_grant"), seconds));
        assert!(told["error_description"].as_str().unwrap().contains(&format!("{seconds} s")), "{told}");
        // What one count refuses counts in no other.
        assert_eq!((reserved.num_calls(), settled.num_calls()), (calls, calls), "{locked}");
    }
}

#[tokio::test]
async fn other_counts_do_not_delay_a_name_known_at_its_source() {
    let read = read(|id| match id {
        id if id.starts_with("attempts#pair#") => Some(attempts(0, 1)),
        id if id.starts_with("attempts#") => Some(attempts(86_400, 0)),
        _ => None,
    });
    let reserved = mock!(Client::update_item)
        .match_requests(|request| is_of_attempts(request, "SET in_flight.#id = :until"))
        .then_output(|| UpdateItemOutput::builder().build());
    let (settled, granted) = (settled(), granted());
    assert_eq!(answer(&[&read, &reserved, &settled, &granted], asking("ops", PASSWORD)).await.0, 200);
    assert_eq!((reserved.num_calls(), settled.num_calls()), (1, 1));
}

/// A count. A day until all failures are forgotten is more failures than any count has free.
fn attempts(forgotten: i64, known_until: i64) -> Item {
    let fields = [("forgotten", forgotten), ("counted", 0), ("known_until", known_until), ("clears_from", 0)];
    let fields = fields.map(|(name, value)| (name.to_owned(), number(value)));
    fields.into_iter().chain([("in_flight".to_owned(), AttributeValue::M(Item::new()))]).collect()
}

#[tokio::test]
async fn a_login_attempt_that_cannot_be_counted_is_refused() {
    let gone = mock!(Client::get_item)
        .then_error(|| GetItemError::ResourceNotFoundException(ResourceNotFoundException::builder().build()));
    let (status, _, told) = answer(&[&gone], asking("ops", PASSWORD)).await;
    assert_eq!((status, &told["error"]), (500, &json!("server_error")));
    assert!(!told.to_string().contains("GetItem"), "{told}");
}

#[tokio::test]
async fn a_token_without_a_password_is_verified_and_ended() {
    let token: Item = serde_dynamo::to_item(TokenRecord {
        principal: "login".to_owned(),
        grants: Default::default(),
        granted: None,
        exchanged: None,
        expires: NOW + Duration::MINUTE,
        created: NOW,
    })
    .unwrap();
    let read = read(move |id| id.starts_with("token#").then(|| token.clone()));
    let bearer = |path: &str| Request::get(path).header(AUTHORIZATION, "Bearer t==").body(Body::empty()).unwrap();
    let (status, _, told) = answer(&[&read], bearer("/vedauth/authorize/verify")).await;
    let whole = json!({
        "access_issued_on_ISO8601": "1970-01-01T00:00:00Z", "access_issued_on_unix_time": 0,
        "expires_ISO8601": "1970-01-01T00:01:00Z", "expires_unix_time": 60, "identity": "local:login", "valid_for": 60,
    });
    assert_eq!((status, told), (200, whole));
    let deleted = mock!(Client::delete_item)
        .match_requests(|request| request.condition_expression() == Some("attribute_not_exists(granted)"))
        .then_output(|| DeleteItemOutput::builder().build());
    assert_eq!(answer(&[&read, &deleted], bearer("/vedauth/revoke/token")).await.0, 200);
    assert_eq!(deleted.num_calls(), 1);

    let unknown = mock!(Client::get_item).then_output(|| GetItemOutput::builder().item("id", text("x")).build());
    let none = mock!(Client::get_item).then_output(|| GetItemOutput::builder().build());
    let missing = Request::get("/vedauth/revoke/token").body(Body::empty()).unwrap();
    let refused = [answer(&[&none], bearer("/vedauth/revoke/token")).await, answer(&[&none], missing).await];
    assert!(refused.iter().all(|each| each.0 == 401 && each.1[WWW_AUTHENTICATE] == "Bearer"), "{refused:?}");
    assert_eq!((&refused[0].2["error"], &refused[0].2), (&json!("invalid_token"), &refused[1].2));
    assert_eq!(answer(&[&unknown], bearer("/vedauth/revoke/token")).await.0, 500, "a record that cannot be read");
}
