//! PyPI `schemathesis`: requests that the API's description allows, and others.

use std::path::Path;

use serde_json::json;

use super::run;
use crate::stack::Stack;

#[tokio::test]
async fn every_route_answers_as_described() {
    Stack::run(1, async |stack| {
        stack.found().await;
        stack.enrol_fleet().await;
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions/catalog/openapi.json");
        let given = json!({ "document": document, "seed": 1, "token": stack.api.token });
        // It fails with schemathesis' own report.
        let report = run(stack, "schemathesis", &given).await;
        assert!(report["tested"].as_u64().unwrap() >= 100, "{report}");
    })
    .await;
}
