//! Refused callers and invalid requests.

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::Method;
use rootcast_core::access::permission::Role;
use rootcast_ledger::{Authority, TokenRecord};
use rootcast_pki::fingerprint::Fingerprint;

use super::regenerator::{Regenerator, TOKEN, seconds_ago, send};
use super::wire::Wire;
use crate::stack::Stack;

const EXPIRED: &str = "ZXhwaXJlZC1leHBpcmVkLWV4cGlyZWQtZXhwaXJlZC1leHA=";
const UNKNOWN: &str = "dW5rbm93bi11bmtub3duLXVua25vd24tdW5rbm93bi11bmtubw==";

#[tokio::test(flavor = "multi_thread")]
async fn every_refused_caller_gets_the_same_answer_and_changes_nothing() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "gate").await;
        regenerator.admit(EXPIRED, seconds_ago::<1>()).await;
        let refused = [
            None,
            Some(String::new()),
            Some("Bearer".to_owned()),
            Some("Bearer ".to_owned()),
            Some("Bearer two words".to_owned()),
            Some("Bearer bad\"character".to_owned()),
            Some(format!("Bearer {}", "a".repeat(5000))),
            Some(format!("Basic {TOKEN}")),
            Some(TOKEN.to_owned()),
            Some(format!("Bearer {}", &TOKEN[..TOKEN.len() - 2])),
            Some(format!("Bearer {EXPIRED}")),
            Some(format!("Bearer {UNKNOWN}")),
        ];
        let mut first = None;
        for authorization in refused {
            // The second query is invalid by itself: an unauthorised caller must not learn this.
            for path in ["/signingCertificate", "/signingcertificate?colour=blue"] {
                let wire = Wire::default();
                let reply = send(regenerator.app(&wire, seconds_ago::<0>), path, authorization.as_deref()).await;
                assert_eq!(reply.status, 401, "{authorization:?}");
                assert_eq!(reply.headers["www-authenticate"], "Bearer");
                assert!(wire.sent().len() <= 1, "at most the token is looked up: {wire:?}");
                let [_, _, recovery] = reply.message();
                assert!(recovery.contains("rootcast login"), "{recovery}");
                let told = (reply.headers, reply.body);
                assert_eq!(*first.get_or_insert(told.clone()), told, "{authorization:?}");
            }
        }
        assert_eq!(regenerator.ledger.authority().await.unwrap(), Authority::default());
        assert!(regenerator.keys().await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deployed_function_refuses_every_caller_and_logs_no_token() {
    Stack::run(0, async |stack| {
        let now = seconds_ago::<0>();
        let record = TokenRecord {
            principal: "tests".to_owned(),
            grants: Role::Administrator.into(),
            granted: None,
            exchanged: None,
            created: now,
            expires: seconds_ago::<1>(),
        };
        stack.ledger.put_token(&Fingerprint::of(EXPIRED.as_bytes()), &record).await.unwrap();
        let refused = [None, Some(""), Some("two words"), Some("bad\"character"), Some(EXPIRED), Some(UNKNOWN)];
        let mut bodies = Vec::new();
        for token in refused {
            let answer = stack.api.send_as(token, Method::PUT, "/signingCertificate", None).await;
            answer.refused(401);
            bodies.push(answer.text);
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        assert_eq!(stack.ledger.authority().await.unwrap(), Authority::default());

        // One success, and one internal fault that is logged: a record that cannot be read.
        stack.found().await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&stack.local.sdk_config);
        let table = stack.local.outputs.of("CertificatesTable").unwrap();
        let [id, broken] = ["policy", "no algorithm"].map(|text| AttributeValue::S(text.to_owned()));
        dynamodb.put_item().table_name(table).item("id", id).item("algorithm", broken).send().await.unwrap();
        let message = stack.api.put("/signingCertificate").await.refused(500);
        let log = stack.log("RegenerateFunction").await;
        assert!(log.contains("a record cannot be read: policy"), "{log}");
        let request = message["recovery"]["text"].as_str().unwrap().rsplit(' ').next().unwrap().trim_end_matches('.');
        assert!(log.contains(request), "{request} leads to\n{log}");
        for secret in [stack.api.token.as_str(), EXPIRED, UNKNOWN, "bad\"character", "PRIVATE KEY"] {
            assert!(!log.contains(secret), "{secret} is in\n{log}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_query_is_refused_with_a_remedy() {
    Stack::run(0, async |stack| {
        let long = format!("reason={}", "x".repeat(257));
        for (query, named, remedy) in [
            ("activation=now", "activation", "Leave it out"),
            ("canary=0", "canary", "Correct this parameter"),
            ("canary=five", "canary", "decimal digits"),
            ("growth=0", "growth", "Correct this parameter"),
            ("growth=-1", "growth", "decimal digits"),
            ("largestWave=1", "largestWave", "Correct this parameter"),
            ("errorBudget=101", "errorBudget", "Correct this parameter"),
            ("errorBudgetMinimum=1.5", "errorBudgetMinimum", "decimal digits"),
            ("wavePause=99999999999999999999", "wavePause", "decimal digits"),
            ("reason=two%0Alines", "reason", "on one line"),
            (&long, "reason", "more briefly"),
            ("colour=blue", "colour", "The parameters are activation, reason, canary"),
            ("Canary=5", "Canary", "The parameters are activation, reason, canary"),
        ] {
            for path in ["/signingCertificate", "/signingcertificate"] {
                let message = stack.api.put(&format!("{path}?{query}")).await.refused(400);
                assert_eq!(message["id"], "FQXHMSE1000J", "{query}");
                assert!(message["text"].as_str().unwrap().contains(named), "{query}: {message}");
                assert!(message["recovery"]["text"].as_str().unwrap().contains(remedy), "{query}: {message}");
            }
        }
        assert_eq!(stack.ledger.authority().await.unwrap(), Authority::default());
        assert_eq!(
            stack.api.put("/signingCertificate?returnJobInfo=true&reason=key%20age").await.response()["jobPath"],
            ""
        );
    })
    .await;
}
