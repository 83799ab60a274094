//! A device's own certificate.

use serde_json::json;

use super::{at_stage, post};
use crate::fake::Model;
use crate::issuing::{begin, deployed, device, dn};
use crate::revocation_lists::{judged, list_of, revoked, serial, served};
use crate::rollover::signing;
use crate::stack::Stack;

#[tokio::test]
async fn a_devices_certificate_is_renewed_then_revoked_publicly() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let root = signing(stack).await;
        let _fake = device(stack, "bmc", Model::OpenBmc).await;
        let first = begin(stack, "bmc").await;
        let before = deployed(stack, &first).await;
        let about = || json!({ "CertificateDN": dn("bmc") });
        let requested = json!({ "CertificateDN": dn("bmc"), "Requested": true, "Success": true });
        assert_eq!(post(stack, "Renew", about()).await, (200, requested));
        at_stage(stack, before.id, None, false).await;
        let after = stack.ledger.certificate(before.id).await.unwrap().unwrap();
        assert_ne!(serial(&after), serial(&before));

        // The predecessor follows by itself, once the device has proven the new one; its list with the schedule.
        stack.invoke("IssueFunction", &json!({ "wake": "lists" })).await;
        revoked(stack, &root, &before).await;
        let trail = stack.api.get(&format!("/certificates/{}/audit", before.id)).await.response();
        let entries = trail["entries"].as_array().unwrap().iter().map(|entry| entry.as_str().unwrap());
        let superseded = entries.filter(|entry| entry.contains(r#""reason":"Superseded""#)).collect::<Vec<_>>();
        assert!(superseded.len() == 1 && superseded[0].contains(&serial(&before).to_string()), "{trail}");
        let list = served(stack, list_of(stack, &after).await).await;
        judged(&root, &after, &list).unwrap();

        let mut revoke = about();
        revoke["Reason"] = json!(1);
        revoke["WorkToDoTimeout"] = json!(20);
        assert_eq!(post(stack, "Revoke", revoke.clone()).await, (200, json!({ "Requested": true, "Success": true })));
        at_stage(stack, before.id, None, false).await;
        assert_eq!(post(stack, "Revoke", revoke).await, (200, json!({ "Requested": false, "Success": true })));
        revoked(stack, &root, &after).await;

        let scm = stack.api.get(&format!("/v3/scm/certificates/{}", after.id)).await.json();
        assert_eq!((&scm["status"], &scm["revoke_reason"]), (&json!("REVOKED"), &json!("keyCompromise")), "{scm}");
        let listed = async |query: &str| {
            let rows = stack.api.get(&format!("/v3/scm/certificates?{query}")).await.json();
            let rows = rows["certificates"].as_array().unwrap().iter();
            rows.map(|row| (row["status"].clone(), row["deploy_support"].clone())).collect::<Vec<_>>()
        };
        for query in ["", "sort_key=certExpiredTime", "status=REVOKED"] {
            assert_eq!(listed(query).await, [(json!("REVOKED"), json!(false))], "{query}");
        }
        assert_eq!((listed("status=UPLOAD").await, listed("deploy_support=true").await), (Vec::new(), Vec::new()));
    })
    .await;
}
