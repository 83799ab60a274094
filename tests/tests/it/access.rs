//! Logging in and out through the API: what tokens and sessions permit, and for how long.

pub(crate) mod cli;
pub mod identities;
mod principals;
pub mod sessions;

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use rootcast_core::access::lockout::Counted;
use rootcast_core::access::password::PasswordHash;
use rootcast_core::access::permission::{Grants, Role};
use rootcast_core::access::principal::PrincipalName;
use rootcast_ledger::{Attempted, Locked, NotCounted, PrincipalRecord};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::api::Answer;
use crate::stack::{Stack, by_tests};

const OAUTH: &str = "/vedauth/authorize/oauth";
const TOKEN: &str = "/vedauth/authorize/token";
/// The source address that the local cloud gives every request.
pub const HERE: &str = "127.0.0.1";
const VERSION: &str = "/vedsdk/SystemStatus/Version";

impl Stack {
    /// Creates a user with a password; returns the password.
    pub async fn principal(&self, name: &str) -> String {
        self.principal_who_may(name, Role::Operator).await
    }

    pub async fn principal_who_may(&self, name: &str, grants: impl Into<Grants>) -> String {
        let password = uuid::Uuid::new_v4().to_string();
        self.secrets.keep(&password);
        let record = PrincipalRecord {
            password: Some(PasswordHash::of(&password, *uuid::Uuid::new_v4().as_bytes()).unwrap()),
            grants: grants.into(),
            epoch: uuid::Uuid::new_v4().as_u64_pair().0,
            created: OffsetDateTime::now_utc(),
            person: None,
            made_by: Default::default(),
        };
        self.ledger.put_principal(&name.parse().unwrap(), &record, &by_tests()).await.unwrap();
        password
    }

    /// Counts failed attempts until the next one is locked for more than six seconds; returns that time in seconds.
    pub async fn fail(&self, of: Counted<'_>) -> i64 {
        let mut now = OffsetDateTime::now_utc();
        loop {
            let id = uuid::Uuid::new_v4().to_string();
            match self.ledger.reserve_attempt(of, &id, now, tokio::time::Instant::now()).await {
                Ok(reservation) => {
                    self.ledger.settle_attempt(reservation, Attempted::Wrong, now).await.unwrap();
                }
                Err(NotCounted::Locked(Locked(pause))) => {
                    let left = now + pause - OffsetDateTime::now_utc();
                    if left > Duration::from_secs(6) {
                        return left.whole_seconds() + 1;
                    }
                    now += pause;
                }
                Err(NotCounted::Ledger(error)) => panic!("{error}"),
            }
        }
    }

    async fn ask(&self, path: &str, body: Value) -> Answer {
        self.api.send_as(None, Method::POST, path, Some(body)).await
    }

    pub async fn log_in(&self, name: &str, password: &str, scope: &str) -> Answer {
        let body = json!({ "client_id": "tests", "username": name, "password": password, "scope": scope });
        self.ask(OAUTH, body).await
    }

    pub async fn exchange(&self, client: &str, refresh: &Value) -> Answer {
        self.ask(TOKEN, json!({ "client_id": client, "refresh_token": refresh })).await
    }

    /// The status of a request with this token, to a route that every token may use.
    async fn status_with(&self, given: &Value) -> u16 {
        let token = given["access_token"].as_str();
        self.api.send_as(token, Method::GET, VERSION, None).await.status.as_u16()
    }
}

/// Checks that the answer is a refusal in RFC 6749's format and must not be cached.
fn refused(answer: &Answer, status: u16, error: &str) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let body: Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!((&body["error"], body.as_object().unwrap().len()), (&json!(error), 2), "{answer:?}");
    body["error_description"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_second_use_of_a_refresh_token_revokes_the_grant() {
    Stack::run(0, async |stack| {
        let password = stack.principal("ops").await;
        let first = stack.log_in("ops", &password, "certificate:manage").await.json();
        assert_eq!((&first["token_type"], &first["expires_in"]), (&json!("Bearer"), &json!(3600)));
        assert_eq!(stack.status_with(&first).await, 200);
        refused(&stack.exchange("another", &first["refresh_token"]).await, 400, "invalid_grant");
        refused(&stack.exchange("tests", &first["access_token"]).await, 400, "invalid_grant");

        let second = stack.exchange("tests", &first["refresh_token"]).await.json();
        assert_eq!(second["refresh_until"], first["refresh_until"], "a grant has one end");
        assert_eq!((stack.status_with(&first).await, stack.status_with(&second).await), (401, 200));
        refused(&stack.exchange("tests", &first["refresh_token"]).await, 400, "invalid_grant");
        assert_eq!(stack.status_with(&second).await, 401);
        refused(&stack.exchange("tests", &second["refresh_token"]).await, 400, "invalid_grant");

        // Concurrent uses: one may succeed, and its tokens are revoked afterwards.
        let again = stack.log_in("ops", &password, "certificate").await.json();
        let calls = (0..3).map(|_| stack.exchange("tests", &again["refresh_token"]));
        let answers = futures::future::join_all(calls).await;
        let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert!(won.len() <= 1, "{answers:?}");
        for given in won {
            assert_eq!(stack.status_with(&given.json()).await, 401);
        }
        assert_eq!(stack.status_with(&again).await, 401);
    })
    .await;
}

#[tokio::test]
async fn a_revoked_users_tokens_stay_invalid_for_a_namesake() {
    Stack::run(0, async |stack| {
        let name: PrincipalName = "ops".parse().unwrap();
        let password = stack.principal("ops").await;
        let given = stack.log_in("ops", &password, "certificate:manage").await.json();
        assert_eq!(stack.status_with(&given).await, 200);
        assert!(stack.ledger.remove_principal(&name, &by_tests(), time::OffsetDateTime::now_utc()).await.unwrap());
        assert!(!stack.ledger.remove_principal(&name, &by_tests(), time::OffsetDateTime::now_utc()).await.unwrap());
        let of_nobody = async || {
            assert_eq!(stack.status_with(&given).await, 401);
            refused(&stack.exchange("tests", &given["refresh_token"]).await, 400, "invalid_grant");
            refused(&stack.log_in("ops", &password, "certificate").await, 400, "invalid_grant");
        };
        of_nobody().await;
        let other = stack.principal("ops").await;
        of_nobody().await;
        assert_eq!(stack.ledger.principals().await.unwrap().into_keys().collect::<Vec<_>>(), [name]);

        let given = stack.log_in("ops", &other, "certificate").await.json();
        let token = given["access_token"].as_str();
        let revoke = async || stack.api.send_as(token, Method::GET, "/vedauth/revoke/token", None).await;
        assert_eq!(revoke().await.status, 200);
        refused(&revoke().await, 401, "invalid_token");
        refused(&stack.exchange("tests", &given["refresh_token"]).await, 400, "invalid_grant");
        // A token that was not issued by a login can be revoked too.
        assert_eq!(stack.api.get("/vedauth/authorize/verify").await.json()["identity"], "local:tests");
        assert_eq!(stack.api.get("/vedauth/revoke/token").await.status, 200);
        stack.api.get("/jobs").await.refused(401);
    })
    .await;
}

#[tokio::test]
async fn guesses_are_slowed_down_and_reveal_no_name() {
    Stack::run(0, async |stack| {
        let password = stack.principal("ops").await;
        let guess = async |name: &str| stack.log_in(name, "not the password", "certificate").await;
        let mut told = Vec::new();
        for name in ["nobody at all", "ops"] {
            let answers = futures::future::join_all((0..4).map(|_| guess(name))).await;
            let wrong: BTreeSet<String> = answers.iter().map(|answer| refused(answer, 400, "invalid_grant")).collect();
            let seconds = stack.fail(Counted::Pair { name, source: HERE }).await;
            let locked = guess(name).await;
            let text = refused(&locked, 429, "invalid_grant");
            let after: i64 = locked.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=seconds).contains(&after) && text.contains(&format!("{after} s")), "{locked:?}");
            told.push((wrong, text.replace(char::is_numeric, "")));
        }
        assert_eq!(told[0], told[1], "it tells who is there");

        // While locked, not even the right password is checked; after that it resets the count.
        let locked = stack.log_in("ops", &password, "certificate").await;
        refused(&locked, 429, "invalid_grant");
        let after: u64 = locked.headers["retry-after"].to_str().unwrap().parse().unwrap();
        tokio::time::sleep(Duration::from_secs(after)).await;
        assert_eq!(stack.log_in("ops", &password, "certificate").await.status, 200);
        refused(&guess("ops").await, 400, "invalid_grant");
        assert_eq!(stack.log_in("ops", &password, "certificate").await.status, 200);

        // The source address is limited as well, against attempts with a different name each time; and the name, against
        // attempts from a different address each time. Neither delays whoever has logged in from there before.
        for of in [Counted::Source(HERE), Counted::Name("another")] {
            stack.fail(of).await;
            refused(&guess("another").await, 429, "invalid_grant");
            assert_eq!(stack.log_in("ops", &password, "certificate").await.status, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_is_limited_to_its_scope() {
    Stack::run(0, async |stack| {
        let password = stack.principal("ops").await;
        let given = stack.log_in("ops", &password, "Certificate:Manage; configuration").await.json();
        assert_eq!(given["scope"], "certificate:manage;configuration");
        let token = given["access_token"].as_str();
        stack.api.send_as(token, Method::GET, "/jobs", None).await.refused(403);
        stack.api.send_as(token, Method::PUT, "/signingCertificate", None).await.refused(403);
        let answer = stack.api.send_as(token, Method::GET, "/v3/scm/certificates", None).await;
        assert!(answer.status == 403 && answer.text.contains("SCM.0403"), "{answer:?}");
        let wanted = Some(json!({ "CertificateDN": r"\VED\Policy\Certificates\nothing" }));
        let answer = stack.api.send_as(token, Method::POST, "/vedsdk/Certificates/Retry", wanted).await;
        assert_eq!(answer.status, 400, "the scope is enough for it");

        let whole = json!({ "client_id": "c", "username": "ops", "password": password, "scope": "certificate" });
        assert_eq!(stack.ask("/vedauth/Authorize/OAuth", whole.clone()).await.status, 200);
        let with = |field: &str, value: Value| {
            let mut body = whole.clone();
            body[field] = value;
            body
        };
        for (body, error) in [
            (with("scope", json!("devices:manage")), "invalid_scope"),
            (with("grant_type", json!("client_credentials")), "unsupported_grant_type"),
            (with("client_id", json!("")), "invalid_request"),
            (with("username", Value::Null), "invalid_request"),
            (with("password", json!(123456789)), "invalid_request"),
            (json!([]), "invalid_request"),
        ] {
            let said = refused(&stack.ask(OAUTH, body).await, 400, error);
            assert!(said.ends_with('.') && !said.contains("123456789"), "{said}");
        }
        refused(&stack.ask(TOKEN, json!({ "client_id": "c" })).await, 400, "invalid_request");
        refused(&stack.api.get(OAUTH).await, 405, "invalid_request");
        refused(&stack.api.get("/vedauth/authorize/device").await, 404, "invalid_request");
    })
    .await;
}
