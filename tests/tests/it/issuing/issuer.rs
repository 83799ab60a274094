//! Failures of the issuer: it continues with the recorded request, without another visit to the device.

use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::job::task::ErrorClass;
use serde_json::json;

use super::{asked, begin, binding, device, failed, retried};
use crate::fake::Model;
use crate::interruptions::deliver;
use crate::rollover::signing;
use crate::stack::{LIMIT, Stack, until};

#[tokio::test]
async fn the_issuer_continues_with_the_recorded_request() {
    Stack::run(0, async |stack| {
        // There is no root yet.
        let fake = device(stack, "bmc", Model::OpenBmc).await;
        let job = begin(stack, "bmc").await;
        failed(stack, &job, Stage::PostCsr, ErrorClass::Authority).await;
        assert_eq!(asked(&fake), (1, 0));
        let root = stack.put_root("").await;
        stack.ended(root).await;
        asked(&fake);
        retried(stack, &job, Stage::PostCsr).await;
        assert_eq!(asked(&fake), (0, 1));
        assert_eq!(binding(stack, &job).await.issuance, None, "nobody needs its request any more");

        // The device has moved to an address that cannot be a name in a certificate.
        let address = stack.api.get("/devices/bmc").await.response()["address"].clone();
        deliver(stack, "IssueFunction", false).await;
        let job = begin(stack, "bmc").await;
        until("the device has made its request", LIMIT, async || {
            (binding(stack, &job).await.lifecycle.stage == Some(Stage::PostCsr)).then_some(())
        })
        .await;
        stack.api.edit("bmc", json!({ "address": "https://bmc_1.example" })).await;
        deliver(stack, "IssueFunction", true).await;
        failed(stack, &job, Stage::ApproveRequest, ErrorClass::Subject).await;
        assert_eq!(asked(&fake), (1, 0));
        stack.api.edit("bmc", json!({ "address": address })).await;
        retried(stack, &job, Stage::ApproveRequest).await;
        assert_eq!(asked(&fake), (0, 1));

        // The issuing authority's key cannot sign.
        let kms = aws_sdk_kms::Client::new(&stack.local.sdk_config);
        let signer = stack.ledger.authority().await.unwrap().issuing.unwrap();
        let key = stack.ledger.issuing(signer).await.unwrap().unwrap().key.unwrap();
        kms.disable_key().key_id(&key).send().await.unwrap();
        let job = begin(stack, "bmc").await;
        let before = failed(stack, &job, Stage::RetrieveCertificate, ErrorClass::Authority).await;
        assert_eq!(asked(&fake), (1, 0));
        kms.enable_key().key_id(&key).send().await.unwrap();
        let record = retried(stack, &job, Stage::RetrieveCertificate).await;
        assert_eq!(asked(&fake), (0, 1));
        let reserved = before.issuance.unwrap().reserved.unwrap();
        assert_eq!(reserved.signer, signer.into());
        assert_eq!(record.leaf.serial(), reserved.spec.serial.to_string(), "the number that was reserved");
        let (root, chain) = (signing(stack).await, record.chain.iter().collect::<Vec<_>>());
        crate::authority::openssl::verify(&[&root], &record.leaf, &chain, time::OffsetDateTime::now_utc()).unwrap();
    })
    .await;
}
