#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::ResourceNotFoundException;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use http::header::COOKIE;
use http::{HeaderValue, Method, Request};
use proptest::prelude::*;
use rootcast_core::access::identity::Identity;
use rootcast_core::access::lockout::Attempts;
use rootcast_core::access::password::PasswordHash;
use rootcast_ledger::{Exchanged, IdentityRecord, PrincipalRecord, SessionRecord, Tables, TokenRecord};
use rootcast_pki::fingerprint::Fingerprint;
use time::Duration;

use super::*;
use crate::refusal::Kind;

const PASSWORD: &str = "correct horse: battery staple";
const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const TOKEN: &str = "dG9rZW4=";

type Item = HashMap<String, AttributeValue>;

struct Fixture {
    ledger: Ledger,
    read: Rule,
    reserved: Rule,
    settled: Rule,
    updated: Rule,
}

/// `ops` with a password, a session that began at [`NOW`], and [`TOKEN`], which was exchanged for an identity.
fn items(edit: impl FnOnce(&mut PrincipalRecord)) -> HashMap<String, Item> {
    let mut ops = PrincipalRecord {
        password: Some(PasswordHash::of(PASSWORD, [7; 16]).unwrap()),
        grants: Default::default(),
        epoch: 7,
        created: NOW,
        person: None,
        made_by: Default::default(),
    };
    let session = SessionRecord {
        principal: "ops".parse().unwrap(),
        epoch: ops.login_epoch().unwrap(),
        exchanged: None,
        csrf: Fingerprint::of(csrf().as_bytes()),
        idle: 600,
        expires: NOW + Duration::minutes(10),
        created: NOW,
    };
    let identity = Identity::iam("arn:aws:iam::123456789012:role/ops").unwrap();
    let bound = IdentityRecord { principal: "ops".parse().unwrap(), epoch: 7, created: NOW };
    let token = TokenRecord {
        principal: "ops".to_owned(),
        grants: Default::default(),
        granted: None,
        exchanged: Some(Exchanged { identity: Some(identity.clone()), epoch: 7 }),
        expires: NOW + Duration::HOUR,
        created: NOW,
    };
    edit(&mut ops);
    HashMap::from([
        ("principal#ops".to_owned(), serde_dynamo::to_item(ops).unwrap()),
        (format!("session#{}", Fingerprint::of(id().as_bytes())), serde_dynamo::to_item(session).unwrap()),
        (format!("identity#{identity}"), serde_dynamo::to_item(bound).unwrap()),
        (format!("token#{}", Fingerprint::of(TOKEN.as_bytes())), serde_dynamo::to_item(token).unwrap()),
    ])
}

fn id() -> String {
    crate::session::secret([1; 32]).expose().to_owned()
}

fn csrf() -> String {
    crate::session::secret([2; 32]).expose().to_owned()
}

impl Fixture {
    fn new(items: HashMap<String, Item>) -> Self {
        let updated = mock!(Client::update_item).then_output(|| UpdateItemOutput::builder().build());
        Self::with(items, updated)
    }

    fn with(items: HashMap<String, Item>, updated: Rule) -> Self {
        let read = mock!(Client::get_item).then_compute_output(move |request| {
            assert_eq!(request.consistent_read(), Some(true));
            let item = items.get(request.key().unwrap()["id"].as_s().unwrap());
            GetItemOutput::builder().set_item(item.cloned()).build()
        });
        let attempts = |part: &'static str| {
            mock!(Client::update_item)
                .match_requests(move |request| {
                    let id = request.key().unwrap()["id"].as_s().unwrap();
                    id.starts_with("attempts#") && request.update_expression().unwrap().contains(part)
                })
                .then_output(|| UpdateItemOutput::builder().build())
        };
        let (reserved, settled) = (attempts("in_flight = :first"), attempts("REMOVE in_flight.#id0"));
        let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&read, &reserved, &settled, &updated]);
        let ledger = Ledger::new(client, Tables { access: Some("access".to_owned()), ..Tables::default() });
        Self { ledger, read, reserved, settled, updated }
    }

    async fn ask(
        &self,
        method: Method,
        headers: &[(&'static str, &str)],
        now: OffsetDateTime,
    ) -> Result<String, Refusal> {
        let mut request = Request::new(()).into_parts().0;
        request.method = method;
        for (name, value) in headers {
            request.headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Ok(authenticate(&self.ledger, &request, now).await?.name)
    }
}

fn basic_of(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn refused(answer: Result<String, Refusal>, kind: Kind, what: &str) {
    assert_eq!(answer.map_err(|error| error.kind()), Err(kind), "{what}");
}

#[tokio::test]
async fn a_change_in_a_session_needs_its_csrf_token() {
    let (cookie, csrf) = (format!("csrf={}; JSESSIONID={}", csrf(), id()), csrf());
    let cookie = (COOKIE.as_str(), cookie.as_str());
    let fixture = Fixture::new(items(|_| {}));
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(fixture.ask(method, &[cookie], NOW).await.unwrap(), "ops");
    }
    for method in [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
        assert_eq!(fixture.ask(method.clone(), &[cookie, ("x-csrf-token", &csrf)], NOW).await.unwrap(), "ops");
        for wrong in ["", "x", &csrf[1..], &csrf.to_lowercase(), &id()] {
            let answer = fixture.ask(method.clone(), &[cookie, ("x-csrf-token", wrong)], NOW).await;
            refused(answer, Kind::Forbidden, wrong);
        }
        let twice = [cookie, ("x-csrf-token", csrf.as_str()), ("x-csrf-token", csrf.as_str())];
        refused(fixture.ask(method.clone(), &twice, NOW).await, Kind::Forbidden, "two tokens");
        if !method.is_safe() {
            refused(fixture.ask(method, &[cookie], NOW).await, Kind::Forbidden, "no token");
        }
    }
    refused(fixture.ask(Method::GET, &[("x-csrf-token", &csrf)], NOW).await, Kind::Unauthenticated, "a token alone");
    refused(fixture.ask(Method::GET, &[cookie, cookie], NOW).await, Kind::Unauthenticated, "two cookies");
    let other = format!("JSESSIONID={csrf}");
    refused(fixture.ask(Method::GET, &[("cookie", &other)], NOW).await, Kind::Unauthenticated, "another session");
    assert_eq!((fixture.updated.num_calls(), fixture.reserved.num_calls()), (0, 0));
}

#[tokio::test]
async fn a_session_ends_when_idle_or_when_its_principal_changes() {
    let cookie = format!("JSESSIONID={}", id());
    let cookie = ("cookie", cookie.as_str());
    let fixture = Fixture::new(items(|_| {}));
    let at = async |seconds: i64, more: &[(&'static str, &str)]| {
        fixture.ask(Method::GET, &[&[cookie], more].concat(), NOW + Duration::seconds(seconds)).await
    };
    for (seconds, noted) in [(0, 0), (59, 0), (60, 1), (599, 2)] {
        assert_eq!(at(seconds, &[]).await.unwrap(), "ops");
        assert_eq!(fixture.updated.num_calls(), noted, "{seconds}");
    }
    assert_eq!(at(599, &[("x-not-user-input", "checkSession")]).await.unwrap(), "ops");
    assert_eq!(fixture.updated.num_calls(), 2, "a client that asks by itself keeps no session alive");
    refused(at(600, &[]).await, Kind::Unauthenticated, "idle for too long");

    type Edit = fn(&mut PrincipalRecord);
    let edits: [Edit; 3] =
        [|ops| ops.epoch = 8, |ops| ops.password = None, |ops| ops.password = PasswordHash::of(PASSWORD, [8; 16]).ok()];
    for edit in edits {
        refused(Fixture::new(items(edit)).ask(Method::GET, &[cookie], NOW).await, Kind::Unauthenticated, "another");
    }
    let gone = Fixture::new(items(|_| {}).into_iter().filter(|(id, _)| id != "principal#ops").collect());
    refused(gone.ask(Method::GET, &[cookie], NOW).await, Kind::Unauthenticated, "a principal who has gone");

    let broken = mock!(Client::update_item)
        .then_error(|| UpdateItemError::ResourceNotFoundException(ResourceNotFoundException::builder().build()));
    let broken = Fixture::with(items(|_| {}), broken);
    assert_eq!(broken.ask(Method::GET, &[cookie], NOW + Duration::MINUTE).await.unwrap(), "ops");
    assert_eq!(broken.updated.num_calls(), 1);
}

#[tokio::test]
async fn every_attempt_with_a_password_is_checked_and_counted() {
    let fixture = Fixture::new(items(|_| {}));
    let right = basic_of(&format!("ops:{PASSWORD}"));
    for header in [right.clone(), right.replace("Basic", "bASIC ")] {
        assert_eq!(fixture.ask(Method::PUT, &[("authorization", &header)], NOW).await.unwrap(), "ops");
    }
    assert_eq!(
        (fixture.reserved.num_calls(), fixture.settled.num_calls()),
        (6, 6),
        "three places, which are given back"
    );
    for wrong in ["ops:wrong", &format!("nobody:{PASSWORD}"), &format!("OPS:{PASSWORD}")] {
        let answer = fixture.ask(Method::GET, &[("authorization", &basic_of(wrong))], NOW).await;
        refused(answer, Kind::Unauthenticated, wrong);
    }
    assert_eq!((fixture.reserved.num_calls(), fixture.settled.num_calls()), (15, 15));
    let no_password = Fixture::new(items(|ops| ops.password = None));
    refused(no_password.ask(Method::GET, &[("authorization", &right)], NOW).await, Kind::Unauthenticated, "none");

    let cost = fixture.read.num_calls();
    let long = basic_of(&format!("ops:{}", "x".repeat(LONGEST)));
    for header in ["Basic", "Basic ", "Basic b3Bz", "Basic !", &basic_of("ops:"), &basic_of(":x"), &long, &right[6..]] {
        refused(fixture.ask(Method::GET, &[("authorization", header)], NOW).await, Kind::Unauthenticated, header);
    }
    assert_eq!(fixture.read.num_calls(), cost, "what cannot be right costs nothing");
}

#[tokio::test]
async fn a_lockout_refuses_the_right_password_too() {
    let attempts = Attempts { forgotten: 86_400, ..Attempts::default() };
    let mut items = items(|_| {});
    let id = format!("attempts#pair#{}#unknown", Fingerprint::of(b"ops"));
    items.insert(id, serde_dynamo::to_item(attempts).unwrap());
    let fixture = Fixture::new(items);
    let right = basic_of(&format!("ops:{PASSWORD}"));
    let error = fixture.ask(Method::GET, &[("authorization", &right)], NOW).await.unwrap_err();
    assert!(error.kind() == Kind::Locked && error.text().contains("900 s"), "{error:?}");
    assert_eq!((error.status().as_u16(), error.retry_after()), (429, Some(900)));
}

#[tokio::test]
async fn an_invalid_header_is_refused_despite_other_valid_credentials() {
    let fixture = Fixture::new(items(|_| {}));
    let cookie = format!("JSESSIONID={}", id());
    let (bearer, right) = (format!("Bearer {TOKEN}"), basic_of(&format!("ops:{PASSWORD}")));
    for headers in [
        vec![("cookie", cookie.as_str()), ("authorization", "Bearer unknown")],
        vec![("cookie", &cookie), ("authorization", "")],
        vec![("authorization", &bearer), ("authorization", &bearer)],
        vec![("authorization", &bearer), ("authorization", &right)],
        vec![("authorization", &right), ("authorization", &right)],
        vec![("authorization", "Digest username=\"ops\"")],
        vec![("x-auth-token", TOKEN)],
        vec![("x-rootcast-principal", "ops"), ("x-amzn-iam-user-arn", "arn:aws:iam::123456789012:role/ops")],
    ] {
        refused(fixture.ask(Method::GET, &headers, NOW).await, Kind::Unauthenticated, &format!("{headers:?}"));
    }
    assert_eq!(fixture.reserved.num_calls(), 0);
    let both = [("cookie", cookie.as_str()), ("authorization", bearer.as_str())];
    assert_eq!(fixture.ask(Method::PUT, &both, NOW).await.unwrap(), "ops", "a header is never sent by itself");
}

#[tokio::test]
async fn an_identitys_token_is_valid_while_its_principal_has_it() {
    let bearer = [("authorization", &*format!("Bearer {TOKEN}"))];
    let with = |edit: fn(&mut HashMap<String, Item>)| {
        let mut items = items(|_| {});
        edit(&mut items);
        Fixture::new(items)
    };
    assert_eq!(with(|_| {}).ask(Method::PUT, &bearer, NOW).await.unwrap(), "ops");
    let other = Fixture::new(items(|ops| ops.password = None));
    assert_eq!(other.ask(Method::PUT, &bearer, NOW).await.unwrap(), "ops", "no password is asked for");
    const IDENTITY: &str = "identity#iam#arn:aws:iam::123456789012:role/ops";
    let ended = [
        with(|items| drop(items.remove(IDENTITY))),
        with(|items| drop(items.remove("principal#ops"))),
        with(|items| {
            drop(items.get_mut(IDENTITY).unwrap().insert("epoch".to_owned(), AttributeValue::N("8".to_owned())))
        }),
        with(|items| {
            let other = AttributeValue::S("another".to_owned());
            items.get_mut(IDENTITY).unwrap().insert("principal".to_owned(), other);
        }),
        Fixture::new(items(|ops| ops.epoch = 8)),
    ];
    for fixture in ended {
        refused(fixture.ask(Method::GET, &bearer, NOW).await, Kind::Unauthenticated, "it is somebody else's");
    }
}

#[tokio::test]
async fn an_identitys_session_is_valid_while_its_principal_has_it() {
    const IDENTITY: &str = "identity#iam#arn:aws:iam::123456789012:role/ops";
    let cookie = format!("JSESSIONID={}", id());
    let ask = async |change: fn(&mut PrincipalRecord), edit: fn(&mut HashMap<String, Item>)| {
        let mut items = items(change);
        let exchanged = Exchanged { identity: Some(IDENTITY["identity#".len()..].parse().unwrap()), epoch: 7 };
        let session = items.get_mut(&format!("session#{}", Fingerprint::of(id().as_bytes()))).unwrap();
        session.insert("exchanged".to_owned(), serde_dynamo::to_attribute_value(exchanged).unwrap());
        session.insert("epoch".to_owned(), AttributeValue::N("7".to_owned()));
        edit(&mut items);
        Fixture::new(items).ask(Method::GET, &[("cookie", &cookie)], NOW).await
    };
    assert_eq!(ask(|_| {}, |_| {}).await.unwrap(), "ops");
    assert_eq!(ask(|ops| ops.password = None, |_| {}).await.unwrap(), "ops", "no password is asked for");
    for (what, answer) in [
        ("the identity is revoked", ask(|_| {}, |items| drop(items.remove(IDENTITY))).await),
        ("the principal is gone", ask(|_| {}, |items| drop(items.remove("principal#ops"))).await),
        ("a namesake's", ask(|ops| ops.epoch = 8, |_| {}).await),
    ] {
        refused(answer, Kind::Unauthenticated, what);
    }
}

#[tokio::test]
async fn a_session_ends_twelve_hours_after_its_login() {
    let mut items = items(|_| {});
    let id = format!("session#{}", Fingerprint::of(id().as_bytes()));
    let session = items.get_mut(&id).unwrap();
    for (name, seconds) in [("idle", 86_400), ("expires", 20 * 3600)] {
        session.insert(name.to_owned(), AttributeValue::N(seconds.to_string()));
    }
    let (fixture, cookie) = (Fixture::new(items), format!("JSESSIONID={}", self::id()));
    let at = async |seconds| fixture.ask(Method::GET, &[("cookie", &cookie)], NOW + Duration::seconds(seconds)).await;
    assert_eq!(at(12 * 3600 - 1).await.unwrap(), "ops");
    refused(at(12 * 3600).await, Kind::Unauthenticated, "its use is no reason to go on");
}

#[tokio::test]
async fn a_logins_token_ends_with_its_owner_or_after_a_day() {
    let bearer = [("authorization", &*format!("Bearer {TOKEN}"))];
    const ARN: &str = "iam#arn:aws:iam::123456789012:role/ops";
    let token = |principal: &str, exchanged: Option<Exchanged>| TokenRecord {
        principal: principal.to_owned(),
        grants: Default::default(),
        granted: None,
        exchanged,
        expires: NOW + Duration::days(365),
        created: NOW,
    };
    let ask = async |token: TokenRecord, edit: fn(&mut HashMap<String, Item>), seconds: i64| {
        let mut items = items(|_| {});
        items.insert(format!("token#{}", Fingerprint::of(TOKEN.as_bytes())), serde_dynamo::to_item(token).unwrap());
        edit(&mut items);
        Fixture::new(items).ask(Method::PUT, &bearer, NOW + Duration::seconds(seconds)).await
    };
    // Of a principal.
    let of = |epoch| token("ops", Some(Exchanged { identity: None, epoch }));
    assert_eq!(ask(of(7), |_| {}, 86_399).await.unwrap(), "ops");
    refused(ask(of(7), |_| {}, 86_400).await, Kind::Unauthenticated, "a day");
    refused(ask(of(8), |_| {}, 0).await, Kind::Unauthenticated, "a namesake's");
    refused(ask(of(7), |items| drop(items.remove("principal#ops")), 0).await, Kind::Unauthenticated, "revoked");
    // Of an IAM identity, until the identity is a principal's.
    let unbound: fn(&mut HashMap<String, Item>) = |items| drop(items.remove(&format!("identity#{ARN}")));
    assert_eq!(ask(token(ARN, None), unbound, 86_399).await.unwrap(), ARN);
    refused(ask(token(ARN, None), unbound, 86_400).await, Kind::Unauthenticated, "a day");
    refused(ask(token(ARN, None), |_| {}, 0).await, Kind::Unauthenticated, "a principal's");
    let gone = |items: &mut HashMap<String, Item>| drop(items.remove("principal#ops"));
    refused(ask(token(ARN, None), gone, 0).await, Kind::Unauthenticated, "was a principal's");
    let later = TokenRecord { created: NOW + Duration::SECOND, ..token(ARN, None) };
    assert_eq!(ask(later, gone, 0).await.unwrap(), ARN, "made after that");
    // Stored by an earlier version, with any name.
    assert_eq!(ask(token("carl", None), |_| {}, 86_399).await.unwrap(), "carl");
    refused(ask(token("carl", None), |_| {}, 86_400).await, Kind::Unauthenticated, "a day");
    refused(ask(token("ops", None), |_| {}, 0).await, Kind::Unauthenticated, "made before there was a principal ops");
}

proptest! {
    #[test]
    fn any_header_is_read_without_a_panic(value: Vec<u8>, pair: Vec<u8>) {
        for value in [value, basic_bytes(&pair)] {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let _ = basic(&HeaderMap::from_iter([(AUTHORIZATION, value)]));
            }
        }
    }
}

fn basic_bytes(pair: &[u8]) -> Vec<u8> {
    format!("Basic {}", STANDARD.encode(pair)).into_bytes()
}
