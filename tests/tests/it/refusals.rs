//! Refusals are in the vendor's envelope, on the vendor's routes and on our own.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use rootcast_core::access::permission::Role;
use rootcast_core::device::{Driver, Incarnation, Profile};
use rootcast_ledger::DeviceRecord;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::stack::{PREFIX, Stack, by_tests};

#[tokio::test]
async fn every_refusal_is_in_the_vendors_envelope() {
    Stack::run(1, async |stack| {
        let api = &stack.api;
        for token in [None, Some("x"), Some("")] {
            for (method, path) in [
                (Method::PUT, "/signingCertificate"),
                (Method::GET, "/signingCertificate"),
                (Method::GET, "/jobs"),
                (Method::POST, "/devices"),
                (Method::GET, "/nothing"),
            ] {
                let answer = api.send_as(token, method, path, None).await;
                assert_eq!(answer.headers["www-authenticate"], "Bearer");
                assert_eq!(answer.refused(401)["id"], "FQXHMSE1001K");
            }
        }
        for (status, method, path, body) in refused() {
            api.send(method, path, body).await.refused(status);
        }
        assert_eq!(api.get("/SIGNINGCERTIFICATE/Details").await.response(), json!([]));

        stack.enrol_fleet().await;
        let device = stack.devices().next().unwrap();
        let other = json!({ "id": device.id, "address": "https://127.0.0.2", "driver": "redfish", "profile": "dmtf",
            "credential": format!("{PREFIX}{}", device.id) });
        api.post("/devices", other).await.refused(409);
        stack.local.fleet.stop(&device.id).await.unwrap();
        api.get(&format!("/devices/{}/fingerprint", device.id)).await.refused(502);
    })
    .await;
}

/// Each function makes the request of its event, in which any client can put such headers.
#[tokio::test]
async fn a_forged_header_gets_400_from_every_function() {
    Stack::run(0, async |stack| {
        for (method, path, attribute) in [
            (Method::GET, "/devices", "messages"),
            (Method::GET, "/bundle", "messages"),
            (Method::PUT, "/signingCertificate", "messages"),
            (Method::POST, "/sessions", "messages"),
            (Method::GET, "/v3/scm/certificates", "error_msg"),
            (Method::POST, "/v3/scm/certificates/import", "error_msg"),
            (Method::GET, "/vedsdk/certificates", "Error"),
            (Method::POST, "/vedauth/authorize/oauth", "error_description"),
        ] {
            for scheme in ["ht tp", "https://elsewhere.example/jobs?", ""] {
                let answer = stack.api.send_with(&[("x-forwarded-proto", scheme)], method.clone(), path, None).await;
                assert_eq!(answer.status, 400, "{path} {scheme}");
                let told: Value = serde_json::from_str(&answer.text).unwrap();
                assert!(told[attribute].to_string().contains("X-Forwarded-Proto"), "{path} {scheme}");
            }
        }
        let bearer = format!("Bearer {}", stack.api.token);
        let usual = [("authorization", bearer.as_str()), ("x-forwarded-proto", "https")];
        stack.api.send_with(&usual, Method::GET, "/devices", None).await.response();
    })
    .await;
}

#[tokio::test]
async fn a_device_id_has_one_spelling() {
    Stack::run(0, async |stack| {
        let device = |id: &str| {
            json!({ "id": id, "address": "https://127.0.0.1", "driver": "redfish", "profile": "dmtf",
                "credential": { "username": "admin", "password": "correct horse" } })
        };
        stack.api.post("/devices", device("case-x")).await.response();
        let why = stack.api.post("/devices", device("CASE-x")).await.refused(400);
        assert!(why["text"].as_str().unwrap().contains("send case-x"), "{why}");
        for id in [".", "..", "-x"] {
            stack.api.post("/devices", device(id)).await.refused(400);
        }
        // Devices of an earlier fleet can be read and deleted, and share no rights with others.
        for (id, address) in [("CASE-x", "https://127.0.0.2"), ("_", "https://127.0.0.3")] {
            let (address, credential) = (address.parse().unwrap(), format!("{PREFIX}{id}"));
            let (new, id) = (Incarnation::from_random([7; 16]), id.parse().unwrap());
            let old = DeviceRecord::new(id, new, address, Driver::Redfish, Profile::Dmtf, credential);
            assert_eq!(stack.ledger.enrol(&[old], &by_tests(), OffsetDateTime::now_utc()).await.unwrap(), [true]);
        }
        for id in ["CASE-x", "_"] {
            let path = format!("/devices/{id}");
            assert_eq!(stack.api.get(&path).await.response()["id"], id);
            stack.api.patch(&path, json!({ "name": "old" })).await.response();
            stack.api.delete(&path).await.response();
            stack.api.get(&path).await.refused(404);
        }
        assert_eq!(stack.api.get("/devices/case-x").await.response()["name"], json!(null));
    })
    .await;
}

#[tokio::test]
async fn a_cursor_is_for_its_list_and_caller_alone() {
    Stack::run(0, async |stack| {
        let device = |id: &str| {
            json!({ "id": id, "address": format!("https://{id}.example"), "driver": "redfish", "profile": "dmtf",
                "credential": { "username": "admin", "password": "correct horse" } })
        };
        stack.api.post("/devices", json!([device("hidden-1"), device("hidden-2")])).await.response();
        let page = stack.api.get("/devices?limit=1").await.response();
        let cursor = page["cursor"].as_str().unwrap();
        let next = format!("/devices?limit=1&cursor={cursor}");
        let rest = stack.api.get(&next).await.response();
        assert_ne!(rest["devices"][0]["id"], page["devices"][0]["id"]);
        let shown = String::from_utf8_lossy(&URL_SAFE_NO_PAD.decode(cursor).unwrap()).into_owned();
        assert!(!cursor.contains("hidden") && !shown.contains("hidden"), "{shown}");

        let reader = stack.api_of("another", Role::Reader).await;
        let changed = format!("{}{}", if cursor.starts_with('A') { "B" } else { "A" }, &cursor[1..]);
        let plain = URL_SAFE_NO_PAD.encode(r#""hidden-1""#);
        for refused in [
            reader.get(&next).await,
            stack.api.get(&format!("/jobs?cursor={cursor}")).await,
            stack.api.get(&format!("/principals?cursor={cursor}")).await,
            stack.api.get(&format!("/principals?cursor={plain}")).await,
            stack.api.get(&format!("/devices?cursor={changed}")).await,
            stack.api.get(&format!("/devices?cursor={plain}")).await,
        ] {
            assert_eq!(refused.refused(400)["text"], "The cursor is not one of this list.");
        }
        let huawei = stack.api.get(&format!("/v3/scm/certificates?cursor={cursor}")).await;
        let told: Value = serde_json::from_str(&huawei.text).unwrap();
        assert_eq!((huawei.status.as_u16(), &told["error_code"]), (400, &json!("SCM.0400")));
    })
    .await;
}

fn refused() -> Vec<(u16, Method, &'static str, Option<Value>)> {
    let device = |address: &str, credential: &str| json!({ "address": address, "driver": "redfish", "profile": "dmtf", "credential": credential });
    let none = || Some(json!({}));
    vec![
        (400, Method::PUT, "/signingCertificate?canary=0", None),
        (400, Method::PUT, "/signingcertificate?colour=blue", None),
        (404, Method::GET, "/signingCertificate/jobs/x", None),
        (400, Method::GET, "/devices?limit=0", None),
        (400, Method::GET, "/jobs?cursor=x", None),
        (400, Method::POST, "/devices", Some(json!({ "id": "a b" }))),
        (400, Method::POST, "/devices", Some(device("https://169.254.169.254", "/rootcast/devices/x"))),
        (400, Method::POST, "/devices", Some(device("https://127.0.0.1", "/somebody/elses"))),
        (400, Method::PUT, "/certificatePolicy", Some(json!({ "specName": "MD5" }))),
        (400, Method::PUT, "/issuancePolicy", Some(json!({ "revision": 0, "rules": [{ "prefix": "Devices" }] }))),
        (409, Method::PUT, "/issuancePolicy", Some(json!({ "revision": 7, "rules": [] }))),
        (409, Method::PUT, "/issuancePolicy", Some(json!({ "revision": u64::MAX, "rules": [] }))),
        (400, Method::PUT, "/tasks", Some(json!({ "action": "delete", "list": ["1"] }))),
        (404, Method::GET, "/signingCertificate", None),
        (404, Method::GET, "/signingCertificate/jobs/7", None),
        (404, Method::GET, "/tasks/7", None),
        (404, Method::GET, "/jobs/7", None),
        (404, Method::GET, "/jobs/7/tasks", None),
        (404, Method::POST, "/jobs/7/pause", none()),
        (404, Method::POST, "/jobs/7/waive", Some(json!({ "devices": ["a"], "reason": "none" }))),
        (404, Method::GET, "/devices/a", None),
        (404, Method::DELETE, "/devices/a", None),
        (404, Method::GET, "/devices/a/fingerprint", None),
        (404, Method::GET, "/bundle", None),
        (404, Method::GET, "/nothing", None),
        (405, Method::DELETE, "/signingCertificate", None),
        (405, Method::POST, "/jobs", none()),
    ]
}
