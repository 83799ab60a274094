//! Sessions, and identities that API Gateway has verified, with the calls to AWS that they cause, on the SDK's own mock
//! layer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Arc;

use access::{App, router};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use axum::body::{Body, to_bytes};
use axum::http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, Request};
use rootcast_core::access::password::PasswordHash;
use rootcast_gate::SecondPerson;
use rootcast_ledger::{IdentityRecord, Ledger, PrincipalRecord, Tables};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tower::ServiceExt;

const PASSWORD: &str = "correct horse battery staple";
const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const ROLE: &str = "iam#arn:aws:iam::123456789012:role/deployer";
const SUBJECT: &str = "oidc#https://login.example.com/tenant#Jane";

type Item = HashMap<String, AttributeValue>;

struct Fixture {
    router: axum::Router,
    put: Rule,
    updated: Rule,
    deleted: Rule,
}

impl Fixture {
    /// The principal `ops` with epoch 7 and two identities bound in `epoch`, and the tokens and sessions that were
    /// stored.
    fn new(epoch: u64) -> Self {
        let ops = PrincipalRecord {
            password: Some(PasswordHash::of(PASSWORD, [7; 16]).unwrap()),
            grants: Default::default(),
            epoch: 7,
            created: NOW,
            person: None,
            made_by: Default::default(),
        };
        let bound: Item =
            serde_dynamo::to_item(IdentityRecord { principal: "ops".parse().unwrap(), epoch, created: NOW }).unwrap();
        let items = Arc::new(std::sync::Mutex::new(HashMap::from([
            ("principal#ops".to_owned(), serde_dynamo::to_item::<_, Item>(ops).unwrap()),
            (format!("identity#{ROLE}"), bound.clone()),
            (format!("identity#{SUBJECT}"), bound),
        ])));
        let known = Arc::clone(&items);
        let read = mock!(Client::get_item).then_compute_output(move |request| {
            let item = known.lock().unwrap().get(request.key().unwrap()["id"].as_s().unwrap()).cloned();
            GetItemOutput::builder().set_item(item).build()
        });
        let put = mock!(Client::put_item).then_compute_output(move |request| {
            let item = request.item().unwrap().clone();
            let id = item["id"].as_s().unwrap().clone();
            assert!(item.contains_key("expires"), "it would stay for ever");
            items.lock().unwrap().insert(id, item);
            PutItemOutput::builder().build()
        });
        let updated = mock!(Client::update_item).then_output(|| UpdateItemOutput::builder().build());
        let deleted = mock!(Client::delete_item)
            .match_requests(|request| request.key().unwrap()["id"].as_s().unwrap().starts_with("session#"))
            .then_output(|| DeleteItemOutput::builder().build());
        let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&read, &put, &updated, &deleted]);
        let ledger = Ledger::new(client, Tables { access: Some("access".to_owned()), ..Tables::default() });
        let second = SecondPerson::new(ledger.clone(), Default::default(), || NOW);
        let router = router(Arc::new(App { ledger, idle: Duration::minutes(30), second, clock: || NOW }));
        Self { router, put, updated, deleted }
    }

    async fn answer(&self, request: Request<Body>) -> (u16, HeaderMap, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 10_000).await.unwrap();
        (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// An event in API Gateway's payload format 2.0.
    async fn event(&self, path: &str, authorizer: Value, headers: Value, body: Option<&str>) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut event = json!({
            "version": "2.0", "routeKey": format!("POST {path}"), "rawPath": path, "rawQueryString": query, "headers": headers,
            "requestContext": {
                "accountId": "123456789012", "apiId": "id", "domainName": "x.example", "domainPrefix": "x",
                "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
                "requestId": "JKJaXmPLvHcESHA=", "routeKey": format!("POST {path}"), "stage": "$default",
            },
            "isBase64Encoded": false,
        });
        if !authorizer.is_null() {
            event["requestContext"]["authorizer"] = authorizer;
        }
        if let Some(body) = body {
            event["body"] = json!(body);
        }
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        let (status, _, told) = self.answer(request.map(|body| Body::from(body.to_vec()))).await;
        (status, told)
    }
}

fn asking(body: impl Into<Body>) -> Request<Body> {
    Request::post("/Sessions").header("content-type", "application/json; charset=utf-8").body(body.into()).unwrap()
}

fn iam(arn: &str) -> Value {
    json!({ "iam": {
        "accessKey": "AKIAEXAMPLE", "accountId": "123456789012", "callerId": "AROAEXAMPLE:i-0", "cognitoIdentity": null,
        "principalOrgId": null, "userArn": arn, "userId": "AROAEXAMPLE:i-0",
    } })
}

fn jwt(claims: Value) -> Value {
    json!({ "jwt": { "claims": claims, "scopes": null } })
}

#[tokio::test]
async fn a_login_sets_two_cookies_and_a_logout_ends_them() {
    let fixture = Fixture::new(7);
    let body = json!({ "UserId": "ops", "password": PASSWORD, "heartBeatEnabled": true });
    let (status, headers, told) = fixture.answer(asking(body.to_string())).await;
    assert_eq!((status, &told["result"]), (200, &json!("success")), "{told}");
    let session = &told["response"]["session"];
    assert_eq!((&session["UserId"], &session["inactivityTimeout"]), (&json!("ops"), &json!(30)));
    let (id, csrf) = (session["id"].as_str().unwrap(), session["csrf"].as_str().unwrap());
    let cookies: Vec<&str> = headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
    let wanted = [
        format!("JSESSIONID={id}; Path=/; Secure; SameSite=Strict; HttpOnly"),
        format!("csrf={csrf}; Path=/; Secure; SameSite=Strict"),
    ];
    assert_eq!(cookies, wanted);
    assert_eq!((fixture.put.num_calls(), fixture.updated.num_calls()), (1, 6), "three places, which are given back");

    let ending = |csrf: Option<&str>| {
        let request = Request::delete("/sessions").header(COOKIE, format!("csrf=x; JSESSIONID={id}"));
        let request = if let Some(csrf) = csrf { request.header("X-Csrf-Token", csrf) } else { request };
        request.body(Body::empty()).unwrap()
    };
    for wrong in [None, Some("x"), Some(id)] {
        let (status, _, told) = fixture.answer(ending(wrong)).await;
        assert_eq!((status, &told["result"]), (403, &json!("failed")), "{told}");
    }
    let (status, headers, _) = fixture.answer(ending(Some(csrf))).await;
    let cookies: Vec<&str> = headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
    assert!(status == 200 && cookies.iter().all(|cookie| cookie.contains("=; ") && cookie.ends_with("; Max-Age=0")));
    assert_eq!(fixture.deleted.num_calls(), 1);
    let nobody = Request::delete("/sessions").header("X-Csrf-Token", csrf).body(Body::empty()).unwrap();
    assert_eq!(fixture.answer(nobody).await.0, 401);
}

#[tokio::test]
async fn refused_logins_look_alike_and_quote_nothing() {
    let fixture = Fixture::new(7);
    let mut told = Vec::new();
    for (name, password) in [("ops", "wrong"), ("nobody", PASSWORD), ("o#s", PASSWORD)] {
        let body = json!({ "UserId": name, "password": password }).to_string();
        told.push(fixture.answer(asking(body)).await);
    }
    assert!(
        told.iter().all(|each| each.0 == 401 && each.2 == told[0].2 && !each.1.contains_key(SET_COOKIE)),
        "{told:?}"
    );

    let secret = "hunter2hunter2hunter2";
    let large = json!({ "UserId": "ops", "password": "x".repeat(20_000) }).to_string();
    for (body, status) in [
        (format!("{{\"UserId\":\"ops\",\"password\":[\"{secret}\"]}}"), 400),
        (format!("{{\"userid\":\"ops\",\"password\":\"{secret}\"}}"), 400),
        (format!("{{\"UserId\":\"\",\"password\":\"{secret}\"}}"), 400),
        (format!("UserId=ops&password={secret}"), 400),
        (String::new(), 400),
        (large, 413),
    ] {
        let (answered, _, told) = fixture.answer(asking(body)).await;
        assert_eq!((answered, &told["result"]), (status, &json!("failed")));
        assert!(!told.to_string().contains(secret), "{told}");
    }
    let form = Request::post("/sessions").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(fixture.answer(form.body(Body::empty()).unwrap()).await.0, 415);
    for (method, status) in [("PUT", 405), ("GET", 401)] {
        let other = Request::builder().method(method).uri("/sessions").body(Body::empty()).unwrap();
        assert_eq!(fixture.answer(other).await.0, status, "{method}");
    }
}

#[tokio::test]
async fn a_verified_identity_gets_its_principals_token() {
    let fixture = Fixture::new(7);
    let claims =
        json!({ "iss": "https://login.example.com/tenant", "sub": "Jane", "aud": "rootcast", "exp": "1700000000" });
    for (path, authorizer, identity) in [
        ("/sessions/iam", iam("arn:aws:sts::123456789012:assumed-role/deployer/i-0123"), ROLE),
        ("/sessions/iam", iam("arn:aws:iam::123456789012:role/teams/deployer"), ROLE),
        ("/sessions/oidc", jwt(claims), SUBJECT),
    ] {
        let (status, told) = fixture.event(path, authorizer, json!({}), None).await;
        let given = &told["response"];
        assert_eq!((status, &given["principal"], &given["identity"]), (200, &json!("ops"), &json!(identity)), "{told}");
        assert_eq!((&given["token_type"], &given["expires_in"]), (&json!("Bearer"), &json!(3600)));
        assert_eq!(given["access_token"].as_str().unwrap().len(), 56);
    }
    assert_eq!(fixture.put.num_calls(), 3);
}

#[tokio::test]
async fn an_identity_gets_a_session_if_it_asks_for_one() {
    let fixture = Fixture::new(7);
    let claims = jwt(json!({ "iss": "https://login.example.com/tenant", "sub": "Jane" }));
    let (status, told) = fixture.event("/sessions/oidc?as=session", claims, json!({}), None).await;
    assert_eq!((status, &told["response"]["session"]["UserId"]), (200, &json!("ops")), "{told}");
    assert!(told["response"]["access_token"].is_null(), "{told}");
    assert_eq!(fixture.put.num_calls(), 1);
    // A signature may be in the query; what else a caller could mean is no token.
    let role = || iam("arn:aws:iam::123456789012:role/teams/deployer");
    for (query, expected) in
        [("as=session", 200), ("as=token&X-Amz-Signature=00", 200), ("as=Session", 400), ("as=", 400)]
    {
        let (status, told) = fixture.event(&format!("/sessions/iam?{query}"), role(), json!({}), None).await;
        assert_eq!(status, expected, "{query}: {told}");
    }
}

#[tokio::test]
async fn only_the_authorizers_result_identifies_the_caller() {
    let fixture = Fixture::new(7);
    let arn = "arn:aws:iam::123456789012:role/deployer";
    let said = json!({
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261123/eu-central-1/execute-api/aws4_request",
        "x-amzn-iam-user-arn": arn, "x-user-arn": arn, "x-amzn-oidc-identity": "Jane",
        "x-amzn-request-context": iam(arn).to_string(),
    });
    let body = json!({ "requestContext": { "authorizer": iam(arn) }, "userArn": arn }).to_string();
    let claims = jwt(json!({ "iss": "https://login.example.com/tenant", "sub": "Jane" }));
    for (path, authorizer) in [
        ("/sessions/iam", Value::Null),
        ("/sessions/oidc", Value::Null),
        // The path of another route, which has no authorizer.
        ("/vedauth/../sessions/iam", Value::Null),
        ("/sessions/iam", json!({})),
        ("/sessions/iam", json!({ "lambda": { "userArn": arn, "iam": { "userArn": arn } } })),
        // Each route reads only its own authorizer's result.
        ("/sessions/iam", claims),
        ("/sessions/oidc", iam(arn)),
        ("/sessions/iam", json!({ "iam": { "accountId": "123456789012", "userArn": null } })),
        ("/sessions/iam", iam("arn:aws:iam::123456789012:group/deployer")),
        ("/sessions/oidc", jwt(json!({ "sub": "Jane" }))),
        ("/sessions/oidc", jwt(json!({ "iss": "https://login.example.com/tenant" }))),
        ("/sessions/oidc", jwt(json!({ "iss": "https://login.example.com/tenant", "sub": "" }))),
    ] {
        let (status, told) = fixture.event(path, authorizer.clone(), said.clone(), Some(&body)).await;
        assert_eq!((status, &told["result"]), (401, &json!("failed")), "{path} {authorizer}");
    }
    // The last two name a session, which nobody begins by its name.
    for (path, refused) in
        [("/sessions/iam/", 404), ("/sessions//iam", 404), ("/sessions/%69am", 405), ("/sessions/iam%2f", 405)]
    {
        let (status, _) = fixture.event(path, iam(arn), json!({}), None).await;
        assert_eq!(status, refused, "{path}");
    }
    assert_eq!(fixture.put.num_calls(), 0);
}

#[tokio::test]
async fn an_identity_without_a_current_principal_gets_no_token() {
    let fixture = Fixture::new(8);
    for (path, authorizer) in [
        ("/sessions/iam", iam("arn:aws:iam::123456789012:role/deployer")),
        ("/sessions/iam", iam("arn:aws:iam::123456789012:role/other")),
        ("/sessions/iam", iam("arn:aws:iam::123456789012:user/deployer")),
        ("/sessions/iam", iam("arn:aws:iam::210987654321:role/deployer")),
        ("/sessions/oidc", jwt(json!({ "iss": "https://login.example.com/tenant", "sub": "Jane" }))),
        ("/sessions/oidc", jwt(json!({ "iss": "https://login.example.com/tenant/", "sub": "Jane" }))),
        ("/sessions/oidc", jwt(json!({ "iss": "https://login.example.com/tenant", "sub": "jane" }))),
    ] {
        let (status, told) = fixture.event(path, authorizer, json!({}), None).await;
        assert_eq!((status, &told["result"]), (403, &json!("failed")), "{told}");
        assert!(told["messages"][0]["text"].as_str().unwrap().contains("is no principal's identity"), "{told}");
    }
    assert_eq!(fixture.put.num_calls(), 0);
}
