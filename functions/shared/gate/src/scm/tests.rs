#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's inputs are its own")]

use std::collections::HashSet;

use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_kms::error::ErrorMetadata;
use aws_sdk_kms::operation::decrypt::{DecryptError, DecryptOutput};
use aws_sdk_kms::operation::generate_data_key::GenerateDataKeyOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::error::{InvalidCiphertextException, KeyUnavailableException};
use aws_smithy_mocks::{MockResponse, Rule, RuleMode, mock, mock_client};
use axum::body::to_bytes;
use http::{HeaderValue, StatusCode};
use proptest::prelude::*;
use rootcast_core::access::permission::{Grants, Operation, Role};
use rootcast_ledger::{AccessKeyRecord, PrincipalRecord, Tables, TokenRecord};
use rootcast_pki::fingerprint::Fingerprint;
use time::Duration;

use super::vectors::{ACCESS_KEY, AGENT, BAD, DATE, DELETE, GOOD, PLAIN, POST, QUERY, SECRET, Vector};
use super::*;

const TOKEN: &str = "n0t-a-real-token_but.shaped~like+one/==";
const LIMIT: usize = 1 << 10;

/// A gate whose table holds one token and one access key, with KMS behind it.
struct Fixture {
    gate: ScmGate,
    read: Rule,
    written: Rule,
    opened: Rule,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(|_| {}, || MockResponse::Output(DecryptOutput::builder().plaintext(Blob::new([3; 32])).build()))
            .await
    }

    async fn with(
        edit: impl FnOnce(&mut AccessKeyRecord),
        decrypt: impl Fn() -> MockResponse<DecryptOutput, DecryptError> + Send + Sync + 'static,
    ) -> Self {
        let made = mock!(aws_sdk_kms::Client::generate_data_key).then_output(|| {
            let made = GenerateDataKeyOutput::builder().plaintext(Blob::new([3; 32]));
            made.ciphertext_blob(Blob::new("wrapped")).build()
        });
        let opened = mock!(aws_sdk_kms::Client::decrypt)
            .match_requests(|call| {
                let context = call.encryption_context().unwrap();
                context.len() == 1 && context["rootcast:access-key"] == ACCESS_KEY
            })
            .then_compute_response(move |_| decrypt());
        let kms = mock_client!(aws_sdk_kms, RuleMode::MatchAny, [&made, &opened]);
        let sealer = Sealer::new(&kms, "key");

        let id: AccessKeyId = ACCESS_KEY.parse().unwrap();
        let signer = PrincipalRecord {
            password: None,
            grants: Role::Administrator.into(),
            epoch: 7,
            created: DATE,
            person: None,
            made_by: Default::default(),
        };
        let mut key = AccessKeyRecord {
            principal: "signer".parse().unwrap(),
            epoch: 7,
            secret: sealer.seal(&id.seal_context(), SECRET).await.unwrap(),
            expires: None,
            created: DATE,
        };
        edit(&mut key);
        let token = TokenRecord {
            principal: "bearer".to_owned(),
            grants: Grants::default(),
            granted: None,
            exchanged: None,
            expires: DATE + Duration::HOUR,
            created: DATE,
        };
        let items = HashMap::from([
            (format!("access-key#{id}"), serde_dynamo::to_item(&key).unwrap()),
            ("principal#signer".to_owned(), serde_dynamo::to_item(&signer).unwrap()),
            (format!("token#{}", Fingerprint::of(TOKEN.as_bytes())), serde_dynamo::to_item(&token).unwrap()),
        ]);
        let read = mock!(aws_sdk_dynamodb::Client::get_item).then_compute_output(move |call| {
            assert_eq!(call.consistent_read(), Some(true));
            let item: Option<HashMap<String, AttributeValue>> =
                items.get(call.key().unwrap()["id"].as_s().unwrap()).cloned();
            GetItemOutput::builder().set_item(item).build()
        });
        let seen = Mutex::new(HashSet::new());
        let written = mock!(aws_sdk_dynamodb::Client::put_item).then_compute_response(move |call| {
            let item = call.item().unwrap();
            let id = item["id"].as_s().unwrap();
            assert!(id.starts_with("signature#") && call.condition_expression().unwrap().contains("not_exists"));
            assert!(item["expires"].as_n().unwrap().parse::<i64>().unwrap() > DATE.unix_timestamp() + 15 * 60);
            if seen.lock().unwrap().insert(id.clone()) {
                return MockResponse::Output(PutItemOutput::builder().build());
            }
            let refused = ConditionalCheckFailedException::builder().build();
            MockResponse::Error(PutItemError::ConditionalCheckFailedException(refused))
        });
        let tables = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&read, &written]);
        let ledger = Ledger::new(tables, Tables { access: Some("access".to_owned()), ..Tables::default() });
        Self { gate: ScmGate::new(ledger, sealer), read, written, opened }
    }

    async fn admit(&self, request: Request) -> Result<Request, Refusal> {
        self.gate.admit(request, LIMIT, DATE).await
    }
}

fn code(code: &str) -> ErrorMetadata {
    ErrorMetadata::builder().code(code).build()
}

/// Status and text.
fn told(error: &Refusal) -> (StatusCode, String) {
    (error.status(), format!("{} {}", error.text(), error.recovery()))
}

fn refused(admitted: Result<Request, Refusal>, why: &str) {
    let Err(error) = admitted else { panic!("{why} was let in") };
    assert_eq!(told(&error), told(&Refusal::unauthenticated()), "{why}");
}

fn principal(request: &Request) -> &Principal {
    request.extensions().get().unwrap()
}

fn with_token(name: &str, value: &str) -> Request {
    Request::get("/v3/scm/certificates").header(name, value).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn the_sdks_signed_request_is_admitted_with_its_body() {
    let fixture = Fixture::new().await;
    for vector in GOOD {
        let admitted = fixture.admit(vector.request()).await.unwrap_or_else(|_| panic!("{}", vector.target));
        assert_eq!(principal(&admitted).name, "signer");
        assert!(principal(&admitted).grants.may(Operation::ExportKey));
        assert_eq!(to_bytes(admitted.into_body(), LIMIT).await.unwrap(), vector.body);
    }
    let changing = GOOD.iter().filter(|vector| !vector.request().method().is_safe());
    assert_eq!(fixture.written.num_calls(), changing.count());
}

#[tokio::test]
async fn the_signature_of_a_change_is_accepted_once() {
    let fixture = Fixture::new().await;
    let upper = || {
        let mut request = POST.request();
        let header = request.headers()[AUTHORIZATION].to_str().unwrap().to_owned();
        let (fields, signature) = header.split_once("Signature=").unwrap();
        let upper = format!("{fields}Signature={}", signature.to_ascii_uppercase());
        request.headers_mut().insert(AUTHORIZATION, upper.parse().unwrap());
        request
    };
    fixture.admit(upper()).await.unwrap();
    for again in [upper(), POST.request()] {
        let (status, text) = told(&fixture.admit(again).await.unwrap_err());
        assert!(status == StatusCode::UNAUTHORIZED && text.contains("replay"), "{text}");
    }
    fixture.admit(DELETE.request()).await.unwrap();
    for _ in 0..2 {
        fixture.admit(QUERY.request()).await.unwrap();
    }
}

#[tokio::test]
async fn any_change_to_a_signed_request_gets_the_same_refusal() {
    type Change = fn(&mut Request);
    fn put(request: &mut Request, name: &'static str, value: &'static str) {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    fn add(request: &mut Request, name: &'static str) {
        let value = request.headers()[name].clone();
        request.headers_mut().append(name, value);
    }
    fn authorization(request: &mut Request, from: &str, to: &str) {
        let changed = request.headers()[AUTHORIZATION].to_str().unwrap().replace(from, to);
        request.headers_mut().insert(AUTHORIZATION, changed.parse().unwrap());
    }
    let changes: [(&str, Change); 24] = [
        ("a body", |request| *request.body_mut() = Body::from("{}")),
        ("a method", |request| *request.method_mut() = http::Method::POST),
        ("a path", |request| *request.uri_mut() = "/v3/scm/certificates/x".parse().unwrap()),
        ("a query", |request| *request.uri_mut() = "/v3/scm/certificates?limit=50".parse().unwrap()),
        ("no query", |request| *request.uri_mut() = "/v3/scm/certificates".parse().unwrap()),
        ("another host", |request| put(request, "host", "scm.example")),
        ("another agent", |request| put(request, "user-agent", "curl/8")),
        ("another media type", |request| put(request, "content-type", "text/plain")),
        ("another date", |request| put(request, "x-sdk-date", "20261123T010204Z")),
        ("no date", |request| drop(request.headers_mut().remove("x-sdk-date"))),
        ("no host", |request| drop(request.headers_mut().remove("host"))),
        ("no agent", |request| drop(request.headers_mut().remove("user-agent"))),
        ("two hosts", |request| add(request, "host")),
        ("two dates", |request| add(request, "x-sdk-date")),
        ("two agents", |request| add(request, "user-agent")),
        ("two signatures", |request| add(request, "authorization")),
        ("a token too", |request| put(request, "x-auth-token", TOKEN)),
        ("an unknown key", |request| authorization(request, ACCESS_KEY, "AKIDUNKNOWN012345678")),
        ("a key that cannot be", |request| authorization(request, ACCESS_KEY, "a#b")),
        ("another algorithm", |request| authorization(request, "SDK-HMAC-SHA256", "SDK-HMAC-SM3")),
        ("a header that is not there", |request| authorization(request, ";host", ";host;missing")),
        ("capitals", |request| authorization(request, ";host", ";Host")),
        ("a short signature", |request| authorization(request, "Signature=60", "Signature=")),
        ("a field too many", |request| authorization(request, "Signature", "More=1, Signature")),
    ];
    let fixture = Fixture::new().await;
    for (what, change) in changes {
        let mut request = QUERY.request();
        change(&mut request);
        refused(fixture.admit(request).await, what);
    }
    assert_eq!(fixture.written.num_calls(), 0, "what is not valid is not remembered");
    fixture.admit(QUERY.request()).await.unwrap();
}

#[tokio::test]
async fn every_unacceptable_signature_gets_the_same_refusal() {
    let fixture = Fixture::new().await;
    for (number, vector) in BAD.into_iter().enumerate() {
        refused(fixture.admit(vector.request()).await, &format!("bad vector {number}"));
    }
}

#[tokio::test]
async fn clocks_may_differ_by_fifteen_minutes_either_way() {
    for (minutes, good) in [(-16, false), (-15, true), (15, true), (16, false)] {
        let fixture = Fixture::new().await;
        let admitted = fixture.gate.admit(PLAIN.request(), LIMIT, DATE + Duration::minutes(minutes)).await;
        assert_eq!(admitted.is_ok(), good, "{minutes} minutes");
        if !good {
            refused(admitted, "an old signature");
            assert_eq!(fixture.read.num_calls(), 0);
        }
    }
}

#[tokio::test]
async fn an_expired_key_is_refused_like_an_unknown_one() {
    let decrypt = || MockResponse::Output(DecryptOutput::builder().plaintext(Blob::new([3; 32])).build());
    let fixture = Fixture::with(|key| key.expires = Some(DATE), decrypt).await;
    refused(fixture.admit(PLAIN.request()).await, "an expired key");
    let fixture = Fixture::with(|key| key.expires = Some(DATE + Duration::SECOND), decrypt).await;
    fixture.admit(PLAIN.request()).await.unwrap();
}

#[tokio::test]
async fn a_key_is_refused_after_its_principal_has_gone() {
    type Other = fn(&mut AccessKeyRecord);
    let others: [Other; 2] = [|key| key.epoch = 8, |key| key.principal = "gone".parse().unwrap()];
    for other in others {
        let decrypt = || MockResponse::Output(DecryptOutput::builder().plaintext(Blob::new([3; 32])).build());
        let fixture = Fixture::with(other, decrypt).await;
        for request in [PLAIN.request(), POST.request()] {
            refused(fixture.admit(request).await, "the key of somebody who has gone");
        }
        assert_eq!(fixture.written.num_calls(), 0);
    }
}

#[tokio::test]
async fn too_large_a_body_is_refused_before_any_lookup() {
    let fixture = Fixture::new().await;
    for mut request in [POST.request(), with_token("x-auth-token", TOKEN), with_token("accept", "*/*")] {
        *request.body_mut() = Body::from(vec![b' '; LIMIT + 1]);
        let (status, text) = told(&fixture.admit(request).await.unwrap_err());
        assert!(status == StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    }
    assert_eq!(fixture.read.num_calls(), 0);
}

#[tokio::test]
async fn a_token_is_accepted_repeatedly_in_either_header() {
    let fixture = Fixture::new().await;
    for (name, value) in [("x-auth-token", TOKEN.to_owned()), ("authorization", format!("Bearer {TOKEN}"))] {
        for _ in 0..2 {
            let admitted = fixture.admit(with_token(name, &value)).await.unwrap();
            assert_eq!(principal(&admitted).name, "bearer");
            let lacking = principal(&admitted).may(Operation::ExportKey).unwrap_err();
            let (status, body) = told(&lacking.into());
            assert!(status == StatusCode::FORBIDDEN && body.contains("--permission export-key"), "{body}");
        }
    }
    assert_eq!((fixture.written.num_calls(), fixture.opened.num_calls()), (0, 0));
}

#[tokio::test]
async fn every_invalid_token_gets_the_same_refusal() {
    let fixture = Fixture::new().await;
    let refusals = [
        with_token("accept", "*/*"),
        with_token("x-auth-token", "an-unknown-token-of-more-than-32-characters"),
        with_token("x-auth-token", "too-short"),
        with_token("x-auth-token", &"a".repeat(4096)),
        with_token("x-auth-token", "not a token but of a token's length, and more"),
        with_token("authorization", "Basic bm9ib2R5Om5vdGhpbmc="),
    ];
    for request in refusals {
        refused(fixture.admit(request).await, "a bad token");
    }
    let late = fixture.gate.admit(with_token("x-auth-token", TOKEN), LIMIT, DATE + Duration::HOUR).await;
    refused(late, "an expired token");
}

#[tokio::test]
async fn a_decrypted_secret_is_cached_but_not_its_record() {
    let fixture = Fixture::new().await;
    fixture.admit(PLAIN.request()).await.unwrap();
    fixture.admit(QUERY.request()).await.unwrap();
    // Each request reads the key and its principal.
    assert_eq!((fixture.read.num_calls(), fixture.opened.num_calls()), (4, 1));
    fixture.gate.admit(AGENT.request(), LIMIT, DATE + KEPT).await.unwrap();
    assert_eq!(fixture.opened.num_calls(), 2);
    assert_eq!(format!("{:?}", fixture.gate), "ScmGate");
}

#[tokio::test]
async fn an_internal_error_admits_nobody_and_reveals_nothing() {
    let foreign = || {
        let error = InvalidCiphertextException::builder().meta(code("InvalidCiphertextException")).build();
        MockResponse::Error(DecryptError::InvalidCiphertextException(error))
    };
    let busy = || {
        let error = KeyUnavailableException::builder().meta(code("KeyUnavailableException")).build();
        MockResponse::Error(DecryptError::KeyUnavailableException(error))
    };
    let broken = Fixture::with(|_| {}, foreign).await;
    let (status, body) = told(&broken.admit(PLAIN.request()).await.unwrap_err());
    assert!(status == StatusCode::INTERNAL_SERVER_ERROR, "{body}");
    assert!(!body.to_lowercase().contains("secret") && !body.contains("kms"), "{body}");
    let passing = Fixture::with(|_| {}, busy).await;
    assert_eq!(passing.admit(PLAIN.request()).await.unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
    let nowhere = ScmGate::new(
        Ledger::new(mock_client!(aws_sdk_dynamodb, []), Tables::default()),
        Sealer::new(&mock_client!(aws_sdk_kms, []), "key"),
    );
    let error = nowhere.admit(with_token("x-auth-token", TOKEN), LIMIT, DATE).await.unwrap_err();
    assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

/// An event in API Gateway's payload format 2.0. `raw_path`: the path as it was sent, or as API Gateway may have
/// decoded it.
fn event(vector: &Vector, raw_path: &str) -> Request {
    let request = vector.request();
    let mut headers: HashMap<_, _> =
        request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    headers.insert("x-forwarded-proto", "https");
    let event = serde_json::json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw_path,
        "rawQueryString": request.uri().query().unwrap_or_default(),
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012", "apiId": "id", "domainName": "scm.example", "domainPrefix": "scm",
            "http": {"method": vector.method, "path": raw_path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            "requestId": "JKJaXmPLvHcESHA=", "routeKey": "$default", "stage": "$default",
        },
        "body": vector.body,
        "isBase64Encoded": false,
    });
    lambda_http::request::from_str(&event.to_string()).unwrap().map(|body| Body::from(body.to_vec()))
}

#[tokio::test]
async fn behind_api_gateway_the_same_requests_are_admitted() {
    let ascii = GOOD.into_iter().filter(|vector| vector.headers.iter().all(|header| header.1.is_ascii()));
    for vector in ascii {
        let path = vector.target.split('?').next().unwrap();
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8().unwrap();
        for raw_path in [path, &decoded] {
            let fixture = Fixture::new().await;
            let mut request = event(vector, raw_path);
            // A router's middleware may lower-case the path.
            let folded = request.uri().to_string().to_ascii_lowercase();
            if request.uri().query().is_none() {
                *request.uri_mut() = folded.parse().unwrap();
            }
            assert!(fixture.admit(request).await.is_ok(), "{raw_path}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_header_is_read_without_a_panic(
        authorization in "(SDK-HMAC-SHA256 ?(Access=[A-Z0-9]{19,21})?,? ?(SignedHeaders=[a-z;-]*)?, ?(Signature=[0-9a-f]{0,65})?)|\\PC*",
        header: Vec<u8>,
        date: Vec<u8>,
        target in "/[!-~]{0,40}",
    ) {
        let mut request = PLAIN.request();
        if let Ok(uri) = target.parse() {
            *request.uri_mut() = uri;
        }
        for (name, value) in [("x-auth-token", &header), ("x-sdk-date", &date), ("user-agent", &header)] {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                request.headers_mut().insert(name, value);
            }
        }
        let (mut parts, _) = request.into_parts();
        let _ = Signed::read(&authorization, &parts, &header);
        if let Ok(value) = HeaderValue::from_bytes(authorization.as_bytes()) {
            parts.headers.insert(AUTHORIZATION, value);
        }
        let _ = credential(&parts.headers);
        parts.headers.remove(X_AUTH_TOKEN);
        let _ = credential(&parts.headers);
    }
}
