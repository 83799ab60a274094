//! A device's own certificate.

use rootcast_pki::crl::CrlShard;
use serde_json::json;
use time::OffsetDateTime;

use super::{at_stage, post};
use crate::authority::openssl;
use crate::fake::Model;
use crate::issuing::{begin, deployed, device, dn};
use crate::revocation_lists::{serial, served};
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

        let mut revoke = about();
        revoke["Reason"] = json!(1);
        revoke["WorkToDoTimeout"] = json!(20);
        assert_eq!(post(stack, "Revoke", revoke.clone()).await, (200, json!({ "Requested": true, "Success": true })));
        at_stage(stack, before.id, None, false).await;
        assert_eq!(post(stack, "Revoke", revoke).await, (200, json!({ "Requested": false, "Success": true })));
        for (record, is_revoked) in [(&before, false), (&after, true)] {
            let list = served(stack, CrlShard::of(1, &serial(record))).await;
            let verdict = openssl::verify_with(&[&root], &record.leaf, &[], Some(&list), OffsetDateTime::now_utc());
            match verdict {
                Err(why) => assert!(is_revoked && why.contains("revoked"), "{why}"),
                Ok(()) => assert!(!is_revoked),
            }
        }
    })
    .await;
}
