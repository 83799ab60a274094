//! PyPI `pyvenafi` 1.1.0, over TLS: it logs in with a password, and refreshes its tokens itself.

use std::collections::BTreeSet;

use rootcast_core::inventory::id::policy_dn;
use serde_json::json;

use super::{readme, run};
use crate::fake::{PASSWORD, USER};
use crate::import::deploying::{deploy, ended, fakes, print, shown};
use crate::import::pki::Bundle;
use crate::stack::Stack;

#[tokio::test]
async fn venafis_own_client_works_unchanged() {
    Stack::run(0, async |stack| {
        let _fakes = fakes(stack, &["locked"]).await;
        stack.store_credential("locked", USER, "tr0ub4dor-and-3").await;
        let bundle = Bundle::new("web.example.com");
        let id = stack.import("web", &bundle).await;
        let (job, _) = deploy(stack, id, &["locked"]).await;
        assert_eq!(ended(stack, job.unwrap()).await["outcome"], "deployedWithFailures");
        stack.store_credential("locked", USER, PASSWORD).await;

        let password = stack.principal("cert-manager").await;
        let dn = policy_dn("Certificates", "web");
        let scope = "certificate:manage,revoke;configuration";
        let given = json!({ "username": "cert-manager", "password": password, "scope": scope, "dn": dn });
        let said = run(stack, "pyvenafi", &given).await;
        assert_eq!(said["version"], "25.1.0.0");
        let verified = &said["verified"];
        assert_eq!((&verified["identity"], &verified["scope"]), (&json!("local:cert-manager"), &json!(scope)));
        assert_eq!(verified["application"], "rootcast-tests");
        assert!((3500..=3600).contains(&verified["valid_for"].as_i64().unwrap()), "{verified}");

        let refused = &said["outOfScope"];
        assert_eq!((&refused["status"], refused["body"].as_object().unwrap().len()), (&json!(403), 1));
        assert!(refused["body"]["Error"].as_str().unwrap().contains("certificate:manage"), "{refused}");
        assert_eq!(said["retried"], true);
        assert_eq!(shown(stack, "locked").await, print(&bundle), "it did not wait for the outcome");
        assert_eq!(said["notRequired"]["status"], 400);

        let texts = said["pairs"].as_array().unwrap().iter().flat_map(|pair| [&pair["access"], &pair["refresh"]]);
        let tokens: BTreeSet<&str> = texts.map(|text| text.as_str().unwrap().trim_start_matches("Bearer ")).collect();
        assert!(tokens.len() == 6 && tokens.iter().all(|token| token.len() == 56 && token.ends_with("==")));
        let revoked = said["revoked"].as_array().unwrap();
        assert_eq!(revoked[0]["status"], 401);
        assert_eq!((&revoked[1]["status"], &revoked[1]["body"]["error"]), (&json!(400), &json!("invalid_grant")));
        let wrong = said["wrong"].as_array().unwrap();
        assert_eq!((&wrong[0]["status"], &wrong[0]["body"]["error"]), (&json!(400), &json!("invalid_grant")));
        assert_eq!(wrong[0], wrong[1], "it tells which part was wrong");
        assert_eq!(said["wrongScope"]["body"]["error"], "invalid_scope");

        stack.store_credential("locked", USER, "tr0ub4dor-and-3").await;
        let (job, _) = deploy(stack, id, &["locked"]).await;
        assert_eq!(ended(stack, job.unwrap()).await["outcome"], "deployedWithFailures");
        stack.store_credential("locked", USER, PASSWORD).await;
        let user = [("TPP_USER", "cert-manager"), ("TPP_PASSWORD", password.as_str())];
        let retried = readme::python(stack, "pyvenafi", &user).await;
        assert_eq!(retried.trim(), "True");
        let not_required = readme::python(stack, "pyvenafi", &user).await;
        assert!(
            not_required.starts_with("Retry canceled. No retry is required for the certificate."),
            "{not_required}"
        );

        let called = readme::curl(stack, &stack.api.token).await;
        for part in
            ["\"jobPath\":\"/signingCertificate/jobs/", "{\"Error\":\"Retry canceled.", "{\"certificate_id\":\"scs"]
        {
            assert!(called.contains(part), "{part} is not in {called}");
        }

        for function in ["LoginFunction", "RetryFunction"] {
            let log = stack.log(function).await;
            let secrets = tokens.iter().copied().chain([password.as_str(), "wrongwrong", "$argon2id$"]);
            assert!(!log.is_empty() && secrets.into_iter().all(|secret| !log.contains(secret)), "{function}");
        }
    })
    .await;
}
