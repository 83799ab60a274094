//! `POST /vedsdk/Certificates/Retry`, as Venafi's clients send it.

use rootcast_core::inventory::id::policy_dn;
use serde_json::{Value, json};

use super::deploying::{deploy, ended, fakes, print, shown};
use super::pki::Bundle;
use crate::fake::{PASSWORD, USER};
use crate::stack::Stack;

/// Status and body.
async fn retry(stack: &Stack, path: &str, body: Value) -> (u16, Value) {
    let answer = stack.api.post(path, body).await;
    (answer.status.as_u16(), serde_json::from_str(&answer.text).unwrap())
}

#[tokio::test]
async fn a_retry_only_visits_failed_devices() {
    Stack::run(0, async |stack| {
        let fakes = fakes(stack, &["good", "locked", "still-locked"]).await;
        for id in ["locked", "still-locked"] {
            stack.store_credential(id, USER, "tr0ub4dor-and-3").await;
        }
        let bundle = Bundle::new("web.example.com");
        let id = stack.import("web", &bundle).await;
        let dn = policy_dn("Certificates", "web");
        let wanted = |timeout: u32| json!({ "CertificateDN": dn, "WorkToDoTimeout": timeout });
        let (status, said) = retry(stack, "/vedsdk/Certificates/Retry", wanted(0)).await;
        assert_eq!(status, 400);
        assert!(said["Error"].as_str().unwrap().starts_with("Retry canceled. No retry is required"), "{said}");

        let (job, _) = deploy(stack, id, &["good", "locked", "still-locked"]).await;
        assert_eq!(ended(stack, job.unwrap()).await["outcome"], "deployedWithFailures");
        let before = fakes["good"].requests().len();
        assert!(before > 0);

        // With the other client's spelling, another case of the name, and one device whose cause was fixed.
        stack.store_credential("locked", USER, PASSWORD).await;
        let other = json!({ "CertificateDN": dn.to_uppercase(), "WorkToDoTimeout": 20 });
        assert_eq!(retry(stack, "/vedsdk/certificates/retry", other).await, (200, json!({ "Success": true })));
        assert_eq!(shown(stack, "locked").await, print(&bundle), "it did not wait for the outcome");
        assert_ne!(shown(stack, "still-locked").await, print(&bundle));
        ended(stack, job.unwrap()).await;

        // Many concurrent retries queue the work once.
        stack.store_credential("still-locked", USER, PASSWORD).await;
        fakes["still-locked"].requests();
        let calls = futures::future::join_all((0..4).map(|_| retry(stack, "/vedsdk/Certificates/Retry", wanted(20))));
        let answers = calls.await;
        assert!(answers.iter().any(|(status, _)| *status == 200), "{answers:?}");
        assert_eq!(shown(stack, "still-locked").await, print(&bundle));
        let given = fakes["still-locked"].requests();
        assert_eq!(given.iter().filter(|each| each.is("POST", "ReplaceCertificate")).count(), 1, "{given:?}");
        assert!(fakes["good"].requests().is_empty(), "a device that was done was visited again");
        assert_eq!(ended(stack, job.unwrap()).await["outcome"], "deployed");
        let (status, _) = retry(stack, "/vedsdk/Certificates/Retry", wanted(0)).await;
        assert_eq!(status, 400);
    })
    .await;
}

#[tokio::test]
async fn impossible_retries_are_refused_with_venafis_messages() {
    Stack::run(0, async |stack| {
        let path = "/vedsdk/Certificates/Retry";
        let (status, said) = retry(stack, path, json!({ "CertificateDN": "" })).await;
        assert_eq!(status, 400);
        assert!(said["Error"].as_str().unwrap().starts_with("Invalid CertificateDN format."), "{said}");
        let unknown = policy_dn("Certificates", "nothing");
        let (status, said) = retry(stack, path, json!({ "CertificateDN": unknown })).await;
        assert_eq!(status, 400);
        assert!(said["Error"].as_str().unwrap().contains(&unknown), "{said}");
        let (status, _) = retry(stack, path, json!({ "CertificateDN": unknown, "WorkToDoTimeout": 121 })).await;
        assert_eq!(status, 400);
        let answer =
            stack.api.send_as(None, reqwest::Method::POST, path, Some(json!({ "CertificateDN": unknown }))).await;
        assert_eq!(answer.status, 401);
        assert_eq!(stack.api.get("/vedsdk/SystemStatus/Version").await.json(), json!({ "Version": "25.1.0.0" }));
        assert_eq!(stack.api.get("/vedsdk/nowhere").await.status, 404);
    })
    .await;
}
