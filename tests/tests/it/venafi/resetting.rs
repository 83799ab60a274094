//! Reset, with and without a restart.

use serde_json::{Value, json};

use super::{applications, at_stage, details, done, listed, never_done, refused};
use crate::fake::{PASSWORD, USER};
use crate::import::deploying::{deploy, ended, fakes, print, shown};
use crate::import::pki::Bundle;
use crate::stack::Stack;

fn said(restarted: bool) -> Value {
    json!({ "ProcessingResetCompleted": true, "RestartCompleted": restarted })
}

#[tokio::test]
async fn failed_work_is_aborted_or_restarted() {
    Stack::run(0, async |stack| {
        let fakes = fakes(stack, &["good", "locked"]).await;
        stack.store_credential("locked", USER, "tr0ub4dor-and-3").await;
        let bundle = Bundle::new("web.example.com");
        let id = stack.import("web", &bundle).await;
        let required = "Reset is not completed. No reset is required for the certificate.";
        assert_eq!(refused(stack, "Reset", "web", json!({ "Restart": true })).await, required);

        let (job, _) = deploy(stack, id, &["good", "locked"]).await;
        assert_eq!(ended(stack, job.unwrap()).await["outcome"], "deployedWithFailures");
        let failed = at_stage(stack, id, Some(800), true).await;
        let history = failed["History"].as_array().unwrap();
        assert!(history.iter().any(|event| event["Result"] == "unauthorized" && event["Stage"] == 800), "{failed}");
        assert_eq!(listed(stack, "?InError=1&Stage=800").await, ["web"]);
        fakes["good"].requests();

        // After a reset nothing is left to retry, and no device is visited.
        assert_eq!(done(stack, "Reset", "web", json!({})).await, said(false));
        assert_eq!(listed(stack, "?InError=1").await, [""; 0]);
        let text = refused(stack, "Retry", "web", json!({})).await;
        assert!(text.starts_with("Retry canceled. No retry is required"), "{text}");
        assert_eq!(refused(stack, "Reset", "web", json!({})).await, required);
        let reset = details(stack, id).await;
        assert_eq!(reset["History"].as_array().unwrap().last().unwrap()["Words"], "tests gave it up.", "{reset}");

        // Restarted from its first stage, only on the device where it failed.
        let locked = json!({ "ApplicationDN": applications(&["locked"]) });
        done(stack, "Push", "web", locked).await;
        at_stage(stack, id, Some(800), true).await;
        stack.store_credential("locked", USER, PASSWORD).await;
        let restart = json!({ "Restart": true, "WorkToDoTimeout": 25 });
        assert_eq!(done(stack, "Reset", "web", restart).await, said(true));
        assert_eq!(shown(stack, "locked").await, print(&bundle), "it did not wait for the outcome");
        assert!(fakes["good"].requests().is_empty(), "a device that was done was visited again");
    })
    .await;
}

#[tokio::test]
async fn work_under_way_is_aborted_and_its_job_ends() {
    Stack::run(0, async |stack| {
        let fakes = fakes(stack, &["slow"]).await;
        never_done(&fakes["slow"]);
        let bundle = Bundle::new("web.example.com");
        let id = stack.import("web", &bundle).await;
        let (job, _) = deploy(stack, id, &["slow"]).await;
        at_stage(stack, id, Some(800), false).await;
        assert_eq!(listed(stack, "?Stage=800&InError=0").await, ["web"]);

        assert_eq!(done(stack, "Reset", "web", json!({ "Restart": false })).await, said(false));
        let over = ended(stack, job.unwrap()).await;
        assert_eq!(
            (&over["outcome"], &over["devices"]["failed"]),
            (&json!("deployedWithFailures"), &json!(1)),
            "{over}"
        );
        let tasks = stack.api.get(&format!("/jobs/{}/tasks", job.unwrap())).await.response();
        assert_eq!(tasks["tasks"][0]["class"], "reset", "{tasks}");
        assert_eq!(details(stack, id).await["ProcessingDetails"]["Stage"], json!(null));

        // A message of the aborted job does not affect the next one.
        fakes["slow"].recover();
        done(stack, "Push", "web", json!({ "PushToAll": true })).await;
        at_stage(stack, id, None, false).await;
        assert_eq!(shown(stack, "slow").await, print(&bundle));
    })
    .await;
}
