//! Sessions with cookies, name and password on every request, and invalid forms of both.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::SET_COOKIE;
use rootcast_core::access::lockout::Counted;
use rootcast_core::access::password::PasswordHash;
use rootcast_core::access::permission::Role;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::access::HERE;
use crate::api::Answer;
use crate::stack::{Stack, by_tests};

/// What a client stores after its login.
pub struct Kept {
    pub id: String,
    cookie: String,
    pub csrf: String,
}

impl Stack {
    async fn begin(&self, name: &str, password: &str) -> Answer {
        self.api.send_as(None, Method::POST, "/sessions", Some(json!({ "UserId": name, "password": password }))).await
    }

    pub async fn session(&self, name: &str, password: &str) -> Kept {
        let answer = self.begin(name, password).await;
        let cookies: Vec<_> = answer.headers.get_all(SET_COOKIE).iter().map(|each| each.to_str().unwrap()).collect();
        assert!(cookies.len() == 2 && cookies.iter().all(|cookie| cookie.contains("; Secure; SameSite=Strict")));
        assert!(cookies[0].ends_with("; HttpOnly") && !cookies[1].contains("HttpOnly"), "{cookies:?}");
        let session = answer.response()["session"].take();
        let text = |name: &str| session[name].as_str().unwrap().to_owned();
        let cookie = cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect::<Vec<_>>().join("; ");
        Kept { id: text("id"), cookie, csrf: text("csrf") }
    }

    /// An empty form of the operator's page.
    pub async fn form(&self, kept: &Kept, path: &str) -> Answer {
        let headers = [("cookie", kept.cookie.as_str()), ("sec-fetch-site", "same-origin")];
        self.api.form(&headers, path, &[("csrf", &kept.csrf)]).await
    }

    pub async fn in_session(&self, kept: &Kept, csrf: Option<&str>, method: Method, path: &str) -> Answer {
        let mut headers = vec![("cookie", kept.cookie.as_str())];
        headers.extend(csrf.map(|csrf| ("x-csrf-token", csrf)));
        self.api.send_with(&headers, method, path, None).await
    }
}

pub fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

#[tokio::test]
async fn a_session_is_extended_by_use_and_ended_by_revocation() {
    Stack::run(0, async |stack| {
        let password = stack.principal_who_may("ops", Role::Administrator).await;
        let kept = stack.session("ops", &password).await;
        let (get, put) = (Method::GET, Method::PUT);
        stack.in_session(&kept, None, get.clone(), "/jobs").await.response();
        stack.in_session(&kept, Some(&kept.csrf), get.clone(), "/AICC").await.json();
        stack.in_session(&kept, Some("forged"), get.clone(), "/jobs").await.refused(403);
        for path in ["/signingCertificate", "/signingcertificate"] {
            stack.in_session(&kept, None, put.clone(), path).await.refused(403);
            stack.in_session(&kept, Some(&kept.id), put.clone(), path).await.refused(403);
        }
        let answer = stack.in_session(&kept, Some(&kept.csrf), put.clone(), "/signingCertificate").await;
        assert_eq!(answer.response()["jobPath"], "");
        // Venafi's API accepts no session, and Huawei's none without its token.
        let status = async |csrf, path| stack.in_session(&kept, csrf, get.clone(), path).await.status.as_u16();
        let scm = "/v3/scm/certificates";
        assert_eq!(status(Some(kept.csrf.as_str()), "/vedsdk/SystemStatus/Version").await, 401);
        assert_eq!((status(None, scm).await, status(Some(kept.csrf.as_str()), scm).await), (401, 200));

        // A session is extended by a later request, but not by a client's automatic request.
        let id = Fingerprint::of(kept.id.as_bytes());
        let ends = async || stack.ledger.session(&id).await.unwrap().unwrap().expires;
        let now = OffsetDateTime::now_utc();
        stack.ledger.extend_session(&id, now + Duration::minutes(7)).await.unwrap();
        let by_itself = [("cookie", kept.cookie.as_str()), ("x-not-user-input", "checkSession")];
        stack.api.send_with(&by_itself, get.clone(), "/jobs", None).await.response();
        assert!(ends().await <= now + Duration::minutes(7));
        stack.in_session(&kept, None, get.clone(), "/jobs").await.response();
        assert!(ends().await >= now + Duration::minutes(719));
        stack.ledger.extend_session(&id, now + Duration::minutes(7)).await.unwrap();
        stack.in_session(&kept, Some(&kept.csrf), put, "/signingCertificate").await.response();
        assert!(ends().await >= now + Duration::minutes(719), "the other function notes it too");
        stack.ledger.extend_session(&id, now).await.unwrap();
        stack.in_session(&kept, None, get.clone(), "/jobs").await.refused(401);

        let (kept, other) = (stack.session("ops", &password).await, stack.session("ops", &password).await);
        assert_ne!(kept.id, other.id);
        stack.in_session(&kept, None, Method::DELETE, "/sessions").await.refused(403);
        stack.in_session(&kept, Some(&other.csrf), Method::DELETE, "/sessions").await.refused(403);
        stack.in_session(&kept, Some(&kept.csrf), Method::DELETE, "/sessions").await.response();
        for answer in [
            stack.in_session(&kept, Some(&kept.csrf), Method::DELETE, "/sessions").await,
            stack.in_session(&kept, None, get.clone(), "/jobs").await,
        ] {
            answer.refused(401);
        }
        stack.in_session(&other, None, get.clone(), "/jobs").await.response();

        // A new password invalidates the tokens and sessions of the old one.
        let given = stack.log_in("ops", &password, "certificate").await.json();
        let next = "another correct horse";
        let name = "ops".parse().unwrap();
        let hash = PasswordHash::of(next, *uuid::Uuid::new_v4().as_bytes()).unwrap();
        stack.ledger.change_password(&name, &hash, None, &by_tests(), time::OffsetDateTime::now_utc()).await.unwrap();
        stack.in_session(&other, None, get.clone(), "/jobs").await.refused(401);
        assert_eq!(stack.status_with(&given).await, 401);
        stack.begin("ops", &password).await.refused(401);
        let last = stack.session("ops", next).await;
        assert!(stack.ledger.remove_principal(&name, &by_tests(), time::OffsetDateTime::now_utc()).await.unwrap());
        stack.in_session(&last, None, get, "/jobs").await.refused(401);
    })
    .await;
}

#[tokio::test]
async fn name_and_password_work_like_a_token_and_are_limited() {
    Stack::run(0, async |stack| {
        let password = stack.principal_who_may("ops", Role::Administrator).await;
        let ask = async |header: &str, method, path: &str| {
            stack.api.send_with(&[("authorization", header)], method, path, None).await
        };
        let right = basic("ops", &password);
        ask(&right, Method::GET, "/jobs").await.response();
        ask(&right, Method::PUT, "/signingCertificate").await.response();
        for path in ["/v3/scm/certificates", "/vedsdk/SystemStatus/Version", "/vedauth/authorize/verify"] {
            assert_eq!(ask(&right, Method::GET, path).await.status, 401, "{path}");
        }
        let wrong = ask(&basic("ops", "not the password"), Method::GET, "/jobs").await.refused(401);
        assert_eq!(ask(&basic("nobody", &password), Method::PUT, "/signingCertificate").await.refused(401), wrong);
        assert_eq!(ask("Basic !", Method::GET, "/jobs").await.refused(401), wrong);

        // All ways to log in share one count of failures.
        stack.fail(Counted::Pair { name: "ops", source: HERE }).await;
        for answer in [ask(&right, Method::GET, "/jobs").await, stack.begin("ops", &password).await] {
            let text = answer.refused(429)["text"].as_str().unwrap().to_owned();
            let after = answer.headers["retry-after"].to_str().unwrap();
            assert!(text.contains(&format!("{after} s")), "{text}");
        }
        assert_eq!(stack.log_in("ops", &password, "certificate").await.status, 429);
        for function in ["CatalogFunction", "RegenerateFunction", "LoginFunction"] {
            let log = stack.log(function).await;
            assert!(!log.is_empty() && !log.contains(&password) && !log.contains(&right[6..]), "{function}");
        }
    })
    .await;
}

#[tokio::test]
async fn tricks_with_headers_and_paths_are_refused() {
    Stack::run(0, async |stack| {
        let password = stack.principal("ops").await;
        let kept = stack.session("ops", &password).await;
        let (bearer, right) = (format!("Bearer {}", stack.api.token), basic("ops", &password));
        let twice = format!("{}; JSESSIONID={}", kept.cookie, kept.id);
        let long = "x".repeat(6000);
        for headers in [
            vec![("authorization", bearer.as_str()), ("authorization", &bearer)],
            vec![("authorization", &bearer), ("Authorization", &right)],
            vec![("authorization", "Bearer unknown"), ("cookie", &kept.cookie)],
            vec![("cookie", &twice)],
            vec![("cookie", &kept.cookie.replace("JSESSIONID", "jsessionid"))],
            vec![("x-auth-token", &stack.api.token)],
            vec![("x-forwarded-user", "ops"), ("x-amzn-iam-user-arn", "arn:aws:iam::000000000000:root")],
            vec![("authorization", &format!("Bearer {long}"))],
            vec![("authorization", &basic("ops", &long))],
            vec![("cookie", &format!("JSESSIONID={long}"))],
        ] {
            stack.api.send_with(&headers, Method::GET, "/jobs", None).await.refused(401);
        }
        // Other spellings of protected paths are not open, and open paths do not lead to protected ones.
        for path in [
            "/JOBS",
            "/%6aobs",
            "/jobs/",
            "//jobs",
            "/./jobs",
            "/jobs%2f",
            "/jobs;x=/bundle",
            "/jobs?/bundle",
            "/bundle/jobs",
            "/bundle%2f..%2fjobs",
            "/bundle/..%2fjobs",
            "/sessions%2fiam",
            "/Sessions/iam",
            "/sessions/oidc",
            "/aicc",
        ] {
            assert_eq!(stack.api.send_as(None, Method::GET, path, None).await.status, 401, "{path}");
        }
        for path in ["/.well-known/est/cacerts/%2e%2e%2f/jobs", "/crl/1/0.crl%2f..%2f..%2f..%2fjobs"] {
            let status = stack.api.send_as(None, Method::GET, path, None).await.status;
            assert!(status == 401 || status == 404, "{path}: {status}");
        }
        for path in ["/signingCertificate/", "/SIGNINGCERTIFICATE", "/%73igningCertificate", "/signingCertificate%00"] {
            let answer = stack.in_session(&kept, None, Method::PUT, path).await;
            assert_eq!(answer.status, 403, "{path}");
        }
        // Bodies and headers that are too large are refused, by the function or before it.
        let body = json!({ "UserId": "ops", "password": "x".repeat(20_000) });
        stack.api.send_as(None, Method::POST, "/sessions", Some(body)).await.refused(413);
        let body = Value::String("x".repeat(10 << 20));
        assert_eq!(stack.api.send_as(None, Method::POST, "/sessions", Some(body)).await.status, 413);
        let wide = "x".repeat(12_000);
        let answer =
            stack.api.send_with(&[("authorization", &bearer), ("x-wide", &wide)], Method::GET, "/jobs", None).await;
        assert!(answer.status.is_success() || answer.status.is_client_error(), "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn an_x_auth_token_is_one_of_ours_without_scope() {
    Stack::run(0, async |stack| {
        let path = "/v3/scm/certificates";
        let ask = async |headers: &[(&str, &str)]| stack.api.send_with(headers, Method::GET, path, None).await;
        let token = stack.api_of("signer", Role::Reader).await.token;
        let bearer = format!("Bearer {token}");
        assert_eq!(ask(&[("X-Auth-Token", &token)]).await.json()["total_count"], 0);
        assert_eq!(ask(&[("Authorization", &bearer)]).await.json()["total_count"], 0);
        for headers in [
            vec![("x-auth-token", token.as_str()), ("x-auth-token", &token)],
            vec![("x-auth-token", &token), ("authorization", &bearer)],
            vec![("x-auth-token", &token[..31])],
            vec![("x-auth-token", &bearer)],
        ] {
            assert_eq!(ask(&headers).await.status, 401, "{headers:?}");
        }
        let password = stack.principal("ops").await;
        let narrowed = stack.log_in("ops", &password, "certificate:manage").await.json();
        assert_eq!(ask(&[("x-auth-token", narrowed["access_token"].as_str().unwrap())]).await.status, 403);
    })
    .await;
}
