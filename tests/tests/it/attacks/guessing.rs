//! Guessing passwords, and keeping a user out by guessing.

use futures::future::join_all;
use rootcast_core::access::lockout::Counted;
use rootcast_core::access::permission::Role;
use serde_json::{Value, json};

use crate::access::sessions::basic;
use crate::stack::Stack;

const STRANGER: &str = "192.0.2.66";
const WRONG: &str = "not the password";

impl Stack {
    /// The status of a request from this source address. The local cloud's API gives every request the address of
    /// loopback, so the function gets the event that API Gateway would send.
    async fn status_from(
        &self,
        source: &str,
        function: &str,
        request: (&str, &str),
        headers: Value,
        body: Value,
    ) -> u64 {
        let (method, path) = request;
        let event = json!({
            "version": "2.0", "routeKey": format!("{method} {path}"), "rawPath": path, "rawQueryString": "",
            "headers": headers, "body": body.to_string(), "isBase64Encoded": false,
            "requestContext": {
                "accountId": "123456789012", "apiId": "id", "domainName": "x.example", "domainPrefix": "x",
                "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": source, "userAgent": "x" },
                "requestId": "JKJaXmPLvHcESHA=", "routeKey": format!("{method} {path}"), "stage": "$default",
                "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_u64,
            },
        });
        let name = self.local.outputs.of(function).unwrap();
        let url = format!("{}/2015-03-31/functions/{name}/invocations", self.local.endpoint_url);
        let answer = reqwest::Client::new().post(url).json(&event).send().await.unwrap().error_for_status().unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["statusCode"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    async fn session_from(&self, source: &str, name: &str, password: &str) -> u64 {
        let body = json!({ "UserId": name, "password": password });
        let headers = json!({ "content-type": "application/json" });
        self.status_from(source, "LoginFunction", ("POST", "/sessions"), headers, body).await
    }

    async fn basic_from(&self, source: &str, name: &str, password: &str) -> u64 {
        let headers = json!({ "authorization": basic(name, password) });
        self.status_from(source, "CatalogFunction", ("GET", "/jobs"), headers, Value::Null).await
    }
}

#[tokio::test]
async fn eleven_wrong_passwords_from_one_address_keep_nobody_else_out() {
    Stack::run(0, async |stack| {
        let password = stack.principal_who_may("ops", Role::Administrator).await;
        let mut told = Vec::new();
        for _ in 0..10 {
            told.push(stack.session_from(STRANGER, "ops", WRONG).await);
        }
        assert_eq!(told, [401; 10]);
        // The first delay is of a second: make it long enough for a slow machine.
        stack.fail(Counted::Pair { name: "ops", source: STRANGER }).await;
        assert_eq!(stack.session_from(STRANGER, "ops", WRONG).await, 429);
        assert_eq!(stack.session_from(STRANGER, "ops", &password).await, 429, "not even the right one is checked");
        assert_eq!(stack.basic_from(STRANGER, "ops", &password).await, 429, "all ways to log in share the count");

        assert_eq!(stack.session_from("203.0.113.9", "ops", &password).await, 200);
        assert_eq!(stack.basic_from("203.0.113.10", "ops", &password).await, 200);
        assert_eq!(stack.log_in("ops", &password, "certificate").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn what_a_locked_name_refuses_counts_against_no_colleague() {
    Stack::run(0, async |stack| {
        let password = stack.principal("jane").await;
        for _ in 0..60 {
            stack.session_from(STRANGER, "ops", WRONG).await;
        }
        assert_eq!(stack.session_from(STRANGER, "jane", &password).await, 200);
    })
    .await;
}

#[tokio::test]
async fn a_burst_of_right_passwords_is_no_attack() {
    Stack::run(0, async |stack| {
        let password = stack.principal_who_may("ops", Role::Administrator).await;
        let logins = join_all((0..12).map(|_| stack.session_from(STRANGER, "ops", &password)));
        let requests = join_all((0..12).map(|_| stack.basic_from(STRANGER, "ops", &password)));
        let (logins, requests) = tokio::join!(logins, requests);
        assert_eq!((logins, requests), (vec![200; 12], vec![200; 12]));
    })
    .await;
}

#[tokio::test]
async fn a_burst_of_wrong_passwords_is_not_verified() {
    Stack::run(0, async |stack| {
        stack.principal("ops").await;
        let told = join_all((0..40).map(|_| stack.session_from(STRANGER, "ops", WRONG))).await;
        let verified = told.iter().filter(|status| **status == 401).count();
        // Ten are free. On a busy machine, the first delays may pass: six of them take a minute.
        assert!((10..=16).contains(&verified) && told.iter().all(|status| [401, 429].contains(status)), "{told:?}");
        // Stable fields, for a metric or a search.
        let log = stack.log("LoginFunction").await;
        for part in ["LoginFailures", "LoginLocks", "login lock begins", "login locked", "locked.by", "locked.seconds"]
        {
            assert!(log.contains(part), "no {part}");
        }
    })
    .await;
}
