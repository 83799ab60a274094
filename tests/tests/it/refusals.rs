//! Refusals are in the vendor's envelope, on the vendor's routes and on our own.

use reqwest::Method;
use serde_json::{Value, json};

use crate::stack::{PREFIX, Stack};

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
