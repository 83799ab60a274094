//! `rootcast rotate --preflight`, and the rollover after it.

use futures::future::join_all;
use rootcast_core::access::permission::{Grant, Grants, JOBS, Right};
use rootcast_core::job::{JobId, JobOutcome};
use rootcast_pki::algorithm::KeyAlgorithm::EcdsaP256;
use serde_json::json;

use crate::authority::keys::Key;
use crate::chains::{import, issuing_authority, leaf_below};
use crate::import::imported;
use crate::import::pki::new_key;
use crate::stack::{Stack, anchors_of};

#[tokio::test]
async fn a_preflight_reports_the_fleet_and_a_rollover_what_changed() {
    // So that there is no issuing authority but the one that is made here.
    let parameters = [("LeavesFromRoot", "true"), ("RootKeySleeps", "false")];
    Stack::run_with(4, &parameters, async |stack| {
        let none = stack.cli_as(&stack.api.token, "rotate --preflight").await.done();
        assert_eq!(none, json!({ "job": null, "jobPath": "" }), "there is no device");
        stack.found_root().await;
        stack.enrol_fleet().await;
        let first = stack.put_root("").await;
        assert_eq!(stack.ended(first).await.outcome, Some(JobOutcome::Activated));
        // Somebody's certificate under our root, which no rollover can replace.
        let (key, theirs) = (Key::generate(EcdsaP256), new_key());
        let leaf = leaf_below(&issuing_authority(stack, &key).await, &key, &theirs);
        imported(&import(stack, "theirs", &[&leaf], &theirs).await);

        let held = join_all(stack.devices().map(anchors_of)).await;
        let ids: Vec<String> = stack.devices().map(|device| device.id.clone()).collect();
        stack.local.fleet.stop(&ids[1]).await.unwrap();
        stack.store_credential(&ids[2], "admin", "not the password").await;
        let said = stack.cli_as(&stack.api.token, "rotate --preflight --until retire --hold-down 60").await;
        assert_eq!(said.code, Some(1), "two devices are not ready");
        let job = said.lines.last().unwrap();
        assert_eq!((&job["purpose"], &job["outcome"]), (&json!("preflight"), &json!("checked")), "{job}");
        let report = &job["report"];
        assert_eq!((&report["devices"], &report["ready"], &report["notReady"]), (&json!(4), &json!(2), &json!(2)));
        for (finding, id) in [("connect", &ids[1]), ("unauthorized", &ids[2])] {
            let found = report["findings"].as_array().unwrap().iter().find(|found| found["finding"] == finding);
            assert_eq!(found.unwrap()["names"], json!([id]), "{report}");
            assert!(!found.unwrap()["recovery"].as_str().unwrap().contains("resume"), "{report}");
        }
        let name = r"\VED\Policy\Certificates\theirs";
        assert_eq!(report["stranded"], json!({ "count": 1, "names": [name] }));
        let parts: Vec<_> = report["estimate"]["parts"].as_array().unwrap().iter().map(|part| &part["phase"]).collect();
        assert_eq!(parts, ["distribute", "holdDown", "reissue", "distrust"]);
        let id = JobId(job["id"].as_u64().unwrap());
        stack.assert_counters_equal_task_states(id).await;

        // The right to read jobs is not the right to see devices.
        let (prefix, rights) = (JOBS.parse().unwrap(), [Right::Read].into());
        let grants = Grants::given(None, vec![Grant { prefix, rights }], Vec::new());
        let seen = stack.api_of("jobs", grants).await.get(&format!("/jobs/{id}")).await.response()["report"].clone();
        assert_eq!((&seen["notReady"], &seen["findings"][0]["names"]), (&json!(2), &json!([])), "{seen}");
        assert_eq!(seen["stranded"], json!({ "count": 1 }));

        stack.local.fleet.run(&ids[1]).await.unwrap();
        assert_eq!(join_all(stack.devices().map(anchors_of)).await, held, "nothing was written");
        stack.api.delete(&format!("/devices/{}", ids[2])).await.response();
        let second = stack.put_root("").await;
        assert_eq!(stack.ended(second).await.outcome, Some(JobOutcome::Activated));
        let before = stack.api.get(&format!("/jobs/{second}")).await.response()["preflight"].clone();
        assert_eq!((&before["job"], &before["readyThen"]), (&json!(id), &json!({ "devices": 4, "ready": 2 })));
        let one = |id: &str| json!({ "count": 1, "names": [id] });
        let none = json!({ "count": 0 });
        let changed = json!({ "enrolled": none, "left": one(&ids[2]), "edited": none, "stillOpen": one(&ids[1]) });
        assert_eq!(before["changedSince"], changed);
    })
    .await;
}
