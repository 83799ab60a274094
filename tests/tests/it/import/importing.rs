//! Accepted imports, refused imports, and repeated requests.

use rcgen::PublicKeyData;
use reqwest::Method;
use rootcast_core::access::permission::Role;
use rootcast_pki::root::{LeafSpec, Serial, prepare_server_leaf};
use rootcast_pki::subject::DeviceSubject;
use rootcast_vault::Vault;
use serde_json::{Value, json};

use super::pki::{Bundle, new_key};
use super::{CERTIFICATES, body, imported, path, refused};
use crate::stack::Stack;

#[tokio::test]
async fn any_order_in_either_field_is_stored_the_same() {
    Stack::run(0, async |stack| {
        let bundle = Bundle::new("web.example.com");
        let shuffled = [bundle.root.as_str(), "some text\n", &bundle.leaf, &bundle.intermediate].concat();
        let forms = [
            body("whole", &bundle),
            json!({ "name": "split", "certificate": bundle.leaf, "certificate_chain": bundle.chain(), "private_key": bundle.key }),
            json!({ "name": "shuffled", "certificate": shuffled.replace('\n', "\r\n"), "private_key": bundle.key }),
        ];
        let exporter = stack.exporter().await;
        for form in forms {
            let id = imported(&stack.api.post(&format!("{CERTIFICATES}/import"), form).await);
            let out = exporter.send(Method::POST, &format!("{}/export", path(id)), None).await.json();
            assert_eq!(out["certificate"], bundle.leaf.replace("\r\n", "\n"));
            assert_eq!(out["certificate_chain"], bundle.chain().replace("\r\n", "\n"));
            assert_eq!(out["entire_certificate"], bundle.all().replace("\r\n", "\n"));
            let key = pem::parse(out["private_key"].as_str().unwrap()).unwrap();
            assert_eq!(key.contents(), pem::parse(&bundle.key).unwrap().contents());
        }
    })
    .await;
}

#[tokio::test]
async fn a_chain_ends_at_a_sent_root_or_ours() {
    Stack::run(0, async |stack| {
        let bundle = Bundle::new("web.example.com");
        let alone = json!({ "name": "alone", "certificate": bundle.leaf, "private_key": bundle.key });
        let answer = stack.api.post(&format!("{CERTIFICATES}/import"), alone).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text.contains("Intermediate of web.example.com"), "{answer:?}");

        // Read the roots once before one exists: the next call must not cache their absence.
        stack.found().await;
        let (leaf, key) = leaf_of_ours(stack, "ours.example.com").await;
        let alone = json!({ "name": "ours", "certificate": leaf, "private_key": key });
        imported(&stack.api.post(&format!("{CERTIFICATES}/import"), alone).await);
    })
    .await;
}

#[tokio::test]
async fn a_chain_without_its_root_is_completed_or_allowed() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let bundle = Bundle::new("web.example.com");
        let import = format!("{CERTIFICATES}/import");
        let fullchain = |name: &str| {
            let certificate = format!("{}{}", bundle.leaf, bundle.intermediate);
            json!({ "name": name, "certificate": certificate, "private_key": bundle.key })
        };
        let why = refused(&stack.api.post(&import, fullchain("web")).await, 400, "SCM.2036");
        assert!(why.contains("Root of web.example.com") && why.contains("allow_incomplete_chain: true"), "{why}");

        let mut open = fullchain("open");
        open["allow_incomplete_chain"] = json!(true);
        let answer = stack.api.post(&import, open).await;
        assert!(answer.json()["warnings"][0].as_str().unwrap().contains("nothing is proven"), "{answer:?}");
        let shown = stack.api.get(&path(imported(&answer))).await.json();
        assert_eq!((&shown["incomplete_chain"], &shown["purposes"]), (&json!(true), &json!(["server", "client"])));

        stack.api.post("/trustedCertificates", json!({ "certificate": bundle.root })).await.json();
        let answer = stack.api.post(&import, fullchain("web")).await;
        assert!(answer.json()["warnings"][0].as_str().unwrap().contains("Root of web.example.com"), "{answer:?}");
        let shown = stack.api.get(&path(imported(&answer))).await.json();
        assert_eq!(shown["incomplete_chain"], Value::Null);
        let export = format!("{}/export", path(imported(&answer)));
        let out = stack.exporter().await.send(Method::POST, &export, None).await.json();
        assert_eq!(out["entire_certificate"], bundle.all().replace("\r\n", "\n"));
    })
    .await;
}

/// A server certificate, signed by the active root.
async fn leaf_of_ours(stack: &Stack, host: &str) -> (String, String) {
    let generation = stack.ledger.authority().await.unwrap().signing.unwrap();
    let root = stack.ledger.root(generation).await.unwrap().unwrap();
    let (key_arn, issuer) = root.key_and_certificate().unwrap();
    let config = &stack.local.sdk_config;
    let vault =
        Vault::new(&aws_sdk_kms::Client::new(config), &aws_sdk_resourcegroupstagging::Client::new(config), "rootcast");
    let key = new_key();
    let spec = LeafSpec {
        subject: DeviceSubject::new(host, [host.to_owned()], Vec::new()).unwrap(),
        serial: Serial::from_random([7; 16]),
        not_before: issuer.not_before(),
        not_after: issuer.not_after(),
        crl: None,
    };
    let prepared = prepare_server_leaf(&spec, &key.subject_public_key_info(), issuer).unwrap();
    vault.enable(key_arn).await.unwrap(); // it sleeps
    let leaf = vault.sign_prepared(key_arn, prepared).await.unwrap();
    (leaf.pem(), key.serialize_pem())
}

#[tokio::test]
async fn every_problem_is_reported_at_once_and_nothing_is_stored() {
    Stack::run(0, async |stack| {
        let (bundle, other) = (Bundle::new("web.example.com"), Bundle::new("other.example.com"));
        let import = format!("{CERTIFICATES}/import");
        let mut wrong = body("wrong", &bundle);
        wrong["certificate"] = json!(bundle.leaf.replace("-----END CERTIFICATE-----", "-----END-----"));
        refused(&stack.api.post(&import, wrong.clone()).await, 400, "SCM.0053");
        wrong["private_key"] = json!("not a key");
        let answer = stack.api.post(&import, wrong).await;
        refused(&answer, 400, "SCM.0053");
        let said: Value = serde_json::from_str(&answer.text).unwrap();
        let codes: Vec<_> = said["problems"].as_array().unwrap().iter().map(|each| &each["error_code"]).collect();
        assert_eq!(codes, ["SCM.0053", "SCM.0114"]);

        let mut mismatch = body("mismatch", &bundle);
        mismatch["private_key"] = json!(other.key);
        let answer = stack.api.post(&import, mismatch).await;
        assert_eq!(answer.status, 400);
        assert!(!answer.text.contains("PRIVATE"), "{answer:?}");

        for name in ["ab", "a b c", "ä-umlaut", &"x".repeat(64)] {
            let message = refused(&stack.api.post(&import, body(name, &bundle)).await, 400, "SCM.0400");
            assert!(message.contains("name"), "{message}");
        }
        for (field, value) in
            [("private_key", Value::Null), ("enc_certificate", json!("x")), ("enterprise_project_id", json!("me"))]
        {
            let mut body = body("fields", &bundle);
            body[field] = value;
            let answer = stack.api.post(&import, body).await;
            assert_eq!(answer.status, 400);
            assert!(answer.text.contains(field), "{answer:?}");
        }
        let answer = stack.api.post(&import, json!({ "name": "large", "certificate": "x".repeat(300_000) })).await;
        refused(&answer, 413, "SCM.0413");
        assert_eq!(stack.api.get(CERTIFICATES).await.json()["total_count"], 0);
    })
    .await;
}

#[tokio::test]
async fn unauthenticated_callers_learn_nothing() {
    Stack::run(0, async |stack| {
        let bundle = Bundle::new("web.example.com");
        let id = stack.import("web", &bundle).await;
        let calls = [
            (Method::POST, format!("{CERTIFICATES}/import"), Some(body("again", &bundle))),
            (Method::GET, CERTIFICATES.to_owned(), None),
            (Method::GET, path(id), None),
            (Method::GET, "/v3/scm/nowhere".to_owned(), None),
            (Method::DELETE, path(id), None),
            (Method::POST, format!("{}/export", path(id)), None),
            (Method::POST, format!("{}/deploy", path(id)), Some(json!({}))),
        ];
        for (method, path, body) in calls {
            for token in [None, Some("unknown-but-long-enough-for-a-token")] {
                let answer = stack.api.send_as(token, method.clone(), &path, body.clone()).await;
                refused(&answer, 401, "SCM.0401");
            }
        }
        // Authenticated, but without the permission.
        let operator = stack.api_of("operator", Role::Operator).await;
        let answer = operator.send(Method::POST, &format!("{}/export", path(id)), None).await;
        refused(&answer, 403, "SCM.0403");
        assert!(!answer.text.contains("PRIVATE"));
    })
    .await;
}

#[tokio::test]
async fn names_are_unique_in_folders_and_leaves_on_request() {
    Stack::run(0, async |stack| {
        let bundle = Bundle::new("web.example.com");
        let import = format!("{CERTIFICATES}/import");
        let first = stack.import("web", &bundle).await;
        let message =
            refused(&stack.api.post(&import, body("web", &Bundle::new("b.example.com"))).await, 409, "SCM.2101");
        assert!(message.contains("web") && message.contains(&first.to_string()), "{message}");
        let mut elsewhere = body("web", &bundle);
        elsewhere["folder"] = json!(r"Datacenter 1\Rack 7");
        let second = imported(&stack.api.post(&import, elsewhere).await);
        let record = stack.ledger.certificate(second).await.unwrap().unwrap();
        assert_eq!(record.dn(), r"\VED\Policy\Datacenter 1\Rack 7\web");

        let mut unique = body("unique", &bundle);
        unique["duplicate_check"] = json!(true);
        let answer = stack.api.post(&import, unique.clone()).await;
        let message = refused(&answer, 409, "SCM.2102");
        assert!(message.contains(&first.to_string()) || message.contains(&second.to_string()), "{message}");
        for id in [first, second] {
            assert_eq!(stack.api.delete(&path(id)).await.status, 204);
        }
        imported(&stack.api.post(&import, unique).await);
    })
    .await;
}

/// Including concurrent copies.
#[tokio::test]
async fn repeating_a_request_gives_the_same_id() {
    Stack::run(0, async |stack| {
        let bundle = Bundle::new("web.example.com");
        let import = format!("{CERTIFICATES}/import");
        let send = async |token: &str, body: Value| stack.api.post_with("x-client-token", token, &import, body).await;
        let copies = futures::future::join_all((0..6).map(|_| send("once", body("web", &bundle)))).await;
        let first = imported(&send("once", body("web", &bundle)).await);
        let taken = copies.iter().filter(|answer| answer.status == 200);
        assert!(taken.map(imported).all(|id| id == first));
        for lost in copies.iter().filter(|answer| answer.status != 200) {
            assert!(matches!(lost.status.as_u16(), 409 | 503), "{lost:?}");
        }
        let message = refused(&send("once", body("other", &bundle)).await, 409, "SCM.2103");
        assert!(message.contains("X-Client-Token"), "{message}");
        let other = imported(&send("twice", body("web2", &bundle)).await);
        assert_ne!(first, other);
        assert_eq!(stack.api.get(CERTIFICATES).await.json()["total_count"], 2);
    })
    .await;
}
