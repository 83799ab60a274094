//! Devices' own certificates whose time has come.

use aws_sdk_dynamodb::types::AttributeValue;
use rootcast_core::deployment::renewal::MOST_RENEWED;
use rootcast_ledger::CertificateRecord;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::{begin, deployed, device};
use crate::fake::Model;
use crate::import::events::look;
use crate::stack::{LIMIT, Stack, until};

/// The jobs that no person began, newest first.
async fn by_rule(stack: &Stack) -> Vec<Value> {
    let jobs = stack.api.get("/jobs").await.response();
    let jobs = jobs["jobs"].as_array().unwrap().iter();
    jobs.filter(|job| job["requestedBy"] == "rule:renewal").cloned().collect()
}

/// So many days are left of a hundred.
pub(crate) async fn make_due(stack: &Stack, certificate: &CertificateRecord, days: i64) {
    let end = OffsetDateTime::now_utc() + Duration::days(days);
    let at = |time: OffsetDateTime| AttributeValue::N(time.unix_timestamp().to_string());
    let update = aws_sdk_dynamodb::Client::new(&stack.local.sdk_config)
        .update_item()
        .table_name(stack.local.outputs.of("CertificatesTable").unwrap())
        .key("id", AttributeValue::S(certificate.id.to_string()))
        .update_expression("SET renewAt = :due, notBefore = :begin, notAfter = :end ADD revision :one")
        .expression_attribute_values(":due", at(OffsetDateTime::UNIX_EPOCH))
        .expression_attribute_values(":begin", at(end - Duration::days(100)))
        .expression_attribute_values(":end", at(end))
        .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
    update.send().await.unwrap();
}

#[tokio::test]
async fn due_certificates_are_renewed_once_by_one_job() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let mut fakes = Vec::new();
        let mut before: Vec<CertificateRecord> = Vec::new();
        for id in ["first", "second", "third", "fourth"] {
            fakes.push(device(stack, id, Model::OpenBmc).await);
            let record = deployed(stack, &begin(stack, id).await).await;
            assert!(record.renew_at.is_some_and(|at| at > OffsetDateTime::now_utc() && at < record.not_after));
            before.push(record);
        }
        look(stack).await;
        assert_eq!(by_rule(stack).await, Vec::<Value>::new(), "nothing is due");

        // The third one is due, and revoked. The fourth one ends soon, and nobody knows any more who its device is.
        for (record, days) in before.iter().zip([20, 20, 20, 5]) {
            make_due(stack, record, days).await;
        }
        stack.api.patch("/devices/fourth", json!({ "pins": [] })).await.response();
        let revoked = json!({ "certificate": before[2].id, "reason": "superseded" });
        stack.api.post("/certificates/revocation", revoked).await.response();
        tokio::join!(look(stack), look(stack));
        let held = async |number: usize| stack.ledger.certificate(before[number].id).await.unwrap().unwrap();
        for (number, id) in [(0, "first"), (1, "second")] {
            let renewed = async || Some(held(number).await).filter(|now| now.leaf != before[number].leaf);
            let shown = until(&format!("{id} is renewed"), LIMIT, renewed).await.leaf.fingerprint();
            until(&format!("{id} shows it"), LIMIT, async || {
                let seen = stack.api.get(&format!("/devices/{id}/fingerprint")).await.response();
                (seen["fingerprint"] == format!("sha256:{shown}")).then_some(())
            })
            .await;
        }
        let third = held(2).await;
        assert_eq!((third.leaf, third.renew_at), (before[2].leaf.clone(), None));
        let fourth = held(3).await;
        assert_eq!(fourth.leaf, before[3].leaf);
        assert!(fourth.renew_at.is_some_and(|at| at > OffsetDateTime::now_utc()), "{:?}", fourth.renew_at);
        until("the late one is counted", LIMIT, async || {
            stack.log("ConductFunction").await.contains("RenewalsLate").then_some(())
        })
        .await;
        // What its device is proven to show is not renewed before its time.
        until("the first one rests", LIMIT, async || {
            let now = held(0).await;
            let soon = OffsetDateTime::now_utc() + Duration::days(2);
            if now.renew_at.is_some_and(|at| at > soon) {
                return Some(());
            }
            stack.ledger.put_off_renewal(&now, Some(OffsetDateTime::UNIX_EPOCH)).await.unwrap();
            look(stack).await;
            None
        })
        .await;
        let jobs = by_rule(stack).await;
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        assert_eq!(jobs[0]["certificates"], json!({ "first": before[0].id, "second": before[1].id }));
        assert!(before.len() < MOST_RENEWED);
        let audit = stack.api.get(&format!("/certificates/{}/audit", before[0].id)).await.response();
        assert!(audit.to_string().contains("rule:renewal"), "{audit}");
    })
    .await;
}
