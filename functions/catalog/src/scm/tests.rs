#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use axum::body::{Body, to_bytes};
use axum::http::header::ALLOW;
use axum::http::{Method, Request, Response};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::tests::{call, signed_in};

async fn answer(response: Response<Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    assert!(!response.headers()["x-request-id"].is_empty());
    (status, serde_json::from_slice(&to_bytes(response.into_body(), 100_000).await.unwrap()).unwrap())
}

#[tokio::test]
async fn requests_without_a_credential_get_401() {
    for path in ["/v3/scm", "/v3/scm/certificates", "/V3/SCM/certificates/scs0000000000001", "/v3/scm/nowhere"] {
        for method in [Method::GET, Method::DELETE] {
            let (status, body) = answer(call(Request::builder().method(method).uri(path), "").await).await;
            assert_eq!((status, &body["error_code"]), (401, &json!("SCM.0401")), "{path}");
        }
    }
}

#[tokio::test]
async fn every_refusal_has_the_vendors_form() {
    for (method, path, status, code) in [
        ("GET", "/v3/scm/nowhere", 404, "SCM.0404"),
        ("GET", "/V3/SCM/Certificates/scs0000000000001", 404, "SCM.0404"),
        ("GET", "/v3/scm/certificates/SCS0000000000001", 404, "SCM.0404"),
        ("GET", "/v3/scm/certificates/7", 404, "SCM.0404"),
        ("GET", "/v3/scm/certificates/%ff", 404, "SCM.0404"),
        ("DELETE", "/v3/scm/certificates/scs0000000000001", 404, "SCM.0404"),
        ("GET", "/v3/scm/certificates?limit=7", 400, "SCM.0400"),
        ("GET", "/v3/scm/certificates?cursor=!", 400, "SCM.0400"),
        ("DELETE", "/v3/scm/certificates", 405, "SCM.0405"),
    ] {
        let (answered, body) = answer(call(signed_in(method, path), "").await).await;
        assert_eq!((answered, &body["error_code"]), (status, &json!(code)), "{method} {path}");
        assert!(body["error_msg"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    }
    let response = call(signed_in("POST", "/v3/scm/Certificates/Import"), "").await;
    assert_eq!(response.headers()[ALLOW], "GET,HEAD,DELETE");
    assert!(answer(response).await.1["error_msg"].as_str().unwrap().contains("lower case"));
}

#[tokio::test]
async fn an_empty_table_lists_no_certificates() {
    for query in ["", "?limit=50&offset=20&sort_key=certStatus&sort_dir=ASC&status=ISSUED"] {
        let path = format!("/v3/scm/certificates{query}");
        let (status, body) = answer(call(signed_in("GET", &path), "").await).await;
        assert_eq!((status, body), (200, json!({"certificates": [], "total_count": 0})));
    }
}

#[tokio::test]
async fn only_paths_below_v3_scm_go_to_huawei() {
    for path in ["/v3", "/v3/scmx", "/x/v3/scm", "/v3//scm"] {
        let response = call(signed_in("GET", path), "").await;
        assert!(!response.headers().contains_key("x-request-id"), "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn hostile_requests_are_answered(path in "/v3/scm/[ -~]{0,40}", body: Vec<u8>, method in "GET|PUT|POST|DELETE") {
        let Ok(uri) = path.parse::<axum::http::Uri>() else { return Ok(()) };
        let method: Method = method.parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let request = Request::builder().method(method).uri(uri).header("authorization", "Bearer token");
        let status = runtime.block_on(async { call(request, body).await.status() });
        prop_assert!(status.is_client_error() || status.is_success(), "{}", status);
    }
}
