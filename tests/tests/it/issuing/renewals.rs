//! Devices' own certificates whose time has come.

use rootcast_core::deployment::renewal::MOST_RENEWED;
use rootcast_ledger::CertificateRecord;
use serde_json::{Value, json};
use time::OffsetDateTime;

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

#[tokio::test]
async fn due_certificates_are_renewed_once_by_one_job() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let mut fakes = Vec::new();
        let mut before: Vec<CertificateRecord> = Vec::new();
        for id in ["first", "second", "third"] {
            fakes.push(device(stack, id, Model::OpenBmc).await);
            let record = deployed(stack, &begin(stack, id).await).await;
            assert!(record.renew_at.is_some_and(|at| at > OffsetDateTime::now_utc() && at < record.not_after));
            before.push(record);
        }
        look(stack).await;
        assert_eq!(by_rule(stack).await, Vec::<Value>::new(), "nothing is due");

        // The third one is due, and revoked.
        for record in &before {
            stack.ledger.put_off_renewal(record, Some(OffsetDateTime::UNIX_EPOCH)).await.unwrap();
        }
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
        let jobs = by_rule(stack).await;
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        assert_eq!(jobs[0]["certificates"], json!({ "first": before[0].id, "second": before[1].id }));
        assert!(before.len() < MOST_RENEWED);
        let audit = stack.api.get(&format!("/certificates/{}/audit", before[0].id)).await.response();
        assert!(audit.to_string().contains("rule:renewal"), "{audit}");
    })
    .await;
}
