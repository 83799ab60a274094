//! An operator who wants a certificate for somebody else's name.

use reqwest::Method;
use rootcast_core::access::permission::Role;
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::job::task::ErrorClass;
use rootcast_ledger::{DeviceRecord, Editor};
use rootcast_pki::subject::DeviceSubject;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{asked, begin, deployed, device, failed, retried};
use crate::fake::Model;
use crate::stack::{Stack, fake_enrolment};

fn foreign() -> Value {
    json!({ "commonName": "pay.example", "dnsNames": ["pay.example"], "clientAuth": true })
}

#[tokio::test]
async fn a_foreign_name_is_refused_at_the_edit() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let fake = device(stack, "bmc", Model::OpenBmc).await;
        let operator = stack.api_of("operator", Role::Operator).await;
        for field in [
            json!({ "dnsNames": ["localhost.pay.example"] }),
            json!({ "dnsNames": ["*.example"] }),
            json!({ "ipAddresses": ["127.0.0.1", "10.0.0.7"] }),
            json!({ "ipAddresses": ["127.0.0.1"], "commonName": "PAY.example." }),
            json!({ "ipAddresses": ["127.0.0.1"], "clientAuth": true }),
            json!({ "ipAddresses": ["127.0.0.1"], "attributes": "O=Somebody" }),
        ] {
            let mut subject = json!({ "commonName": "Rack 7" });
            field.as_object().unwrap().iter().for_each(|(name, value)| subject[name] = value.clone());
            let said = operator.patch("/devices/bmc", json!({ "subject": subject })).await.refused(400);
            assert!(said["text"].as_str().unwrap().contains("has no rule for"), "{said}");
        }
        let mut row = fake_enrolment("other", &fake);
        row["subject"] = foreign();
        let said = operator.post("/devices", row).await.refused(400);
        assert!(said["text"].as_str().unwrap().contains("the use as a client's certificate"), "{said}");
        operator.get("/devices/other").await.refused(404);
        let own = json!({ "rules": [{ "prefix": r"\VED\Policy", "dnsSuffixes": ["example"] }], "revision": 0 });
        operator.send(Method::PUT, "/issuancePolicy", Some(own)).await.refused(403);

        let job = begin(stack, "bmc").await;
        assert_eq!(deployed(stack, &job).await.names, ["127.0.0.1"]);
    })
    .await;
}

#[tokio::test]
async fn a_foreign_name_in_an_old_record_is_not_signed() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let fake = device(stack, "bmc", Model::OpenBmc).await;
        let subject: DeviceSubject = serde_json::from_value(foreign()).unwrap();
        let before = stack.ledger.device(&"bmc".parse().unwrap()).await.unwrap().unwrap();
        let after = DeviceRecord { subject: Some(subject), ..before.clone() };
        let ops = Editor { name: "ops", request: None, may_approve: true, may_release: true, may_revoke: true };
        stack.ledger.edit_device(&before, after, ops, OffsetDateTime::now_utc()).await.unwrap();

        let job = begin(stack, "bmc").await;
        let binding = failed(stack, &job, Stage::ApproveRequest, ErrorClass::NotPermitted).await;
        assert!(binding.lifecycle.status.contains("client"), "{binding:?}");
        assert!(stack.ledger.certificate(job.certificate).await.unwrap().is_none());
        assert_eq!(asked(&fake), (1, 0));

        // Permitted, it is signed as it was requested.
        stack
            .permit(json!({ "dnsSuffixes": ["pay.example"], "usages": ["server", "client"], "longestDays": 30 }))
            .await;
        let record = retried(stack, &job, Stage::ApproveRequest).await;
        assert_eq!((record.names.as_slice(), asked(&fake)), (&["pay.example".to_owned()][..], (0, 1)));
        assert_eq!((record.not_after - record.not_before).whole_days(), 30);
        stack.permit(json!({})).await;
        let job = begin(stack, "bmc").await;
        failed(stack, &job, Stage::ApproveRequest, ErrorClass::NotPermitted).await;
    })
    .await;
}

#[tokio::test]
async fn a_policy_is_only_replaced_by_who_has_read_it() {
    Stack::run(0, async |stack| {
        let shown = stack.api.get("/issuancePolicy").await.response();
        assert_eq!(shown, json!({ "revision": 0, "rules": [] }));
        let put = async |body: &Value| stack.api.send(Method::PUT, "/IssuancePolicy", Some(body.clone())).await;
        let rule = json!({ "prefix": r"\VED\Policy\Devices", "networks": ["10.0.0.0/8"] });
        let first = put(&json!({ "revision": 0, "rules": [rule] })).await.response();
        assert_eq!(first["revision"], 1);
        put(&json!({ "revision": 0, "rules": [] })).await.refused(409);
        assert_eq!(stack.api.get("/issuancePolicy").await.response(), first);
        assert_eq!(put(&first).await.response()["revision"], 2);
        put(&first).await.refused(409);
    })
    .await;
}
