//! A compromised root, from the command to the trust stores: its key, the devices, their certificates, and what breaks.

use std::time::Duration;

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use rootcast_core::job::{Job, JobId, JobOutcome, JobState, Pass};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::IssuingState;
use rootcast_pki::algorithm::KeyAlgorithm::EcdsaP256;
use rootcast_pki::bundle::verify_jws;
use rootcast_pki::crl::Reason;
use serde_json::json;

use crate::authority::keys::Key;
use crate::chains::{import, issuing_authority, leaf_below};
use crate::fake::Model;
use crate::import::imported;
use crate::import::pki::new_key;
use crate::issuing;
use crate::rollover::signing;
use crate::stack::{LIMIT, Stack, anchors_of, until};

/// The wait for issuers that may still sign below the old root is part of it.
const WHOLE: Duration = Duration::from_secs(400);

async fn completed(stack: &Stack, id: JobId) -> Job {
    let job =
        until("the job ends", WHOLE, async || Some(stack.job(id).await).filter(|job| job.state != JobState::Running))
            .await;
    assert_eq!(job.outcome, Some(JobOutcome::Completed), "{}", job.reason);
    job
}

async fn is_enabled(stack: &Stack, key: &str) -> bool {
    let described = aws_sdk_kms::Client::new(&stack.local.sdk_config).describe_key().key_id(key).send().await.unwrap();
    described.key_metadata().unwrap().enabled()
}

#[tokio::test]
async fn a_compromised_root_leaves_every_device_in_one_visit() {
    Stack::run(3, async |stack| {
        stack.found().await;
        let old = signing(stack).await;
        stack.enrol_fleet().await;
        let fake = issuing::device(stack, "own", Model::OpenBmc).await;
        let before = issuing::deployed(stack, &issuing::begin(stack, "own").await).await;
        // What somebody else made below the root, and only he can make again.
        let (key, server) = (Key::generate(EcdsaP256), new_key());
        let authority = issuing_authority(stack, &key).await;
        imported(&import(stack, "web", &[&leaf_below(&authority, &key, &server)], &server).await);

        let line = "rotate --compromised --canary 20";
        stack.cli_as(&stack.api.token, line).await.refused(2, "use --yes");
        assert_eq!(signing(stack).await, old);
        let asked = stack.cli_as(&stack.api.token, &format!("{line} --yes")).await.done();
        let id: JobId = asked["jobPath"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap();
        let new = signing(stack).await;
        assert_ne!(new, old, "it signs when the command returns");
        let root = stack.ledger.root(1).await.unwrap().unwrap();
        assert!(!is_enabled(stack, root.key.as_deref().unwrap()).await);
        // The bundle is the new root's alone.
        let published = stack.api.get("/bundle").await;
        assert!(verify_jws(published.raw(), std::slice::from_ref(&old)).is_err());
        let bundle = verify_jws(published.raw(), std::slice::from_ref(&new)).unwrap();
        assert_eq!((bundle.anchors.len(), bundle.withdrawn.contains(&old.fingerprint())), (1, true));

        let job = completed(stack, id).await;
        assert_eq!(job.compromised, [1].into());
        for device in stack.devices() {
            assert_eq!(anchors_of(device).await, [new.der().to_vec()].into(), "{}", device.id);
        }
        assert_eq!(stack.tally(id, Pass::Distribute).await.acked, 4);
        assert_eq!(stack.tally(id, Pass::Distrust).await.dispatched, 0, "nobody was left");
        let shown = stack.api.get(&format!("/jobs/{id}")).await.response();
        let breaks = &shown["breaks"];
        assert!(breaks["found"] == 1 && breaks["names"][0].as_str().unwrap().ends_with(r"\web"), "{shown}");

        let after = stack.ledger.certificate(before.id).await.unwrap().unwrap();
        assert!(after.leaf.issuer_dn().contains("Issuing G2.1"), "{}", after.leaf.issuer_dn());
        assert!(fake.requests().iter().any(|request| request.is("POST", crate::fake::REPLACE)));
        let below = stack.ledger.issuings(std::slice::from_ref(&root)).await.unwrap();
        assert!(below.iter().all(|each| each.state == IssuingState::Revoked), "{below:?}");
        let signed = stack.api.get("/certificates/signed").await.json().to_string();
        assert!(signed.contains("caCompromise"), "{signed}");
        let kept = until("the root is retired", WHOLE, async || {
            let root = stack.ledger.root(1).await.unwrap()?;
            (root.state == GenerationState::Distrusted || root.state == GenerationState::Retired).then_some(root)
        })
        .await;
        assert!(kept.retirement.unwrap().kept.is_some() && !is_enabled(stack, root.key.as_deref().unwrap()).await);
        let audit = stack.api.get("/roots/1/audit").await.json().to_string();
        assert!(audit.contains(r#"action\":\"compromise"#) && audit.contains("keyCompromise"), "{audit}");
        assert_eq!(Reason::CaCompromise, below[0].revoked.as_ref().unwrap().reason);
    })
    .await;
}

#[tokio::test]
async fn an_event_says_that_a_root_is_compromised() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let detail = json!({ "generation": 1, "reason": "found in a paste" }).to_string();
        let entry = PutEventsRequestEntry::builder().source("tests").detail_type("Root Compromised").detail(detail);
        let entry = entry.event_bus_name(stack.local.outputs.of("RequestsBus").unwrap()).build();
        let events = aws_sdk_eventbridge::Client::new(&stack.local.sdk_config);
        assert_eq!(events.put_events().entries(entry).send().await.unwrap().failed_entry_count, 0);
        let signs = async || stack.ledger.authority().await.unwrap().signing.filter(|signing| *signing == 2);
        until("another root signs", LIMIT, signs).await;
        let root = stack.ledger.root(1).await.unwrap().unwrap();
        assert!(!is_enabled(stack, root.key.as_deref().unwrap()).await);
        assert_eq!(root.compromise.unwrap().by, "rule:root-compromised");
        let audit = stack.api.get("/roots/1/audit").await.json().to_string();
        assert!(audit.contains("found in a paste"), "{audit}");
    })
    .await;
}
