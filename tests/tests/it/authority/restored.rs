//! Tables that were lost or restored to an earlier time, while keys and devices are newer.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kms::types::KeyState;
use http::StatusCode;
use rootcast_core::audit::Subject;
use rootcast_core::job::task::ErrorClass;
use rootcast_core::job::{JobId, JobOutcome, Pass};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Authority, Change, Lease};
use serde_json::json;

use super::regenerator::{DEVICE, Regenerator, seconds_ago};
use super::wire::Wire;
use crate::stack::Stack;

type Item = HashMap<String, AttributeValue>;

async fn put(regenerator: &Regenerator) -> super::regenerator::Reply {
    regenerator.put(&Wire::default(), seconds_ago::<0>).await
}

async fn authority_item(config: &aws_config::SdkConfig, table: &str) -> Option<Item> {
    let key = AttributeValue::S("authority".to_owned());
    let get = aws_sdk_dynamodb::Client::new(config).get_item().table_name(table).key("id", key);
    get.consistent_read(true).send().await.unwrap().item
}

/// Restores the table from a backup: later roots and bundles are gone.
async fn restore_table(config: &aws_config::SdkConfig, table: &str, authority: Item, gone: &[&str]) {
    let dynamodb = aws_sdk_dynamodb::Client::new(config);
    dynamodb.put_item().table_name(table).set_item(Some(authority)).send().await.unwrap();
    for id in gone {
        let key = AttributeValue::S((*id).to_owned());
        dynamodb.delete_item().table_name(table).key("id", key).send().await.unwrap();
    }
}

/// What a worker records before it sends a bundle to the device.
async fn bring(regenerator: &Regenerator, bundle: u64) {
    let lease = Lease { owner: "worker".to_owned(), until: seconds_ago::<0>() };
    let leased = regenerator.ledger.lease(&DEVICE.parse().unwrap(), &lease, Some(bundle), seconds_ago::<0>()).await;
    assert_eq!(leased.unwrap().goal, bundle);
}

async fn states(regenerator: &Regenerator) -> Vec<(u32, KeyState)> {
    let mut states: Vec<_> =
        regenerator.keys().await.into_iter().map(|(generation, _, state)| (generation, state)).collect();
    states.sort_by_key(|(generation, _)| *generation);
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_stack_deletes_no_key_and_continues_counting() {
    Stack::run(0, async |stack| {
        let first = Regenerator::open(&stack.local, "made-again").await;
        for _ in 0..2 {
            assert_eq!(put(&first).await.status, StatusCode::OK);
        }
        let again = first.again(&stack.local).await;
        again.enrol().await;
        assert_eq!(put(&again).await.status, StatusCode::OK);
        assert_eq!(again.end_job(JobId(1)).await.outcome, Some(JobOutcome::Activated));

        let enabled = |generation| (generation, KeyState::Enabled);
        assert_eq!(states(&again).await, [enabled(1), enabled(2), enabled(3)], "the job's end swept");
        let (before, after) = (first.ledger.authority().await.unwrap(), again.ledger.authority().await.unwrap());
        assert_ne!(after.installation, before.installation);
        assert_eq!((after.signing, after.first_generation), (Some(3), 3));
        assert!(after.bundle > before.bundle, "no version is given twice: {after:?}");
        let roots = again.ledger.roots(&after).await.unwrap();
        let names: Vec<_> = roots.iter().map(|root| root.certificate.as_ref().unwrap().subject_dn()).collect();
        assert!(matches!(names[..], [name] if name.contains(" G3")), "{names:?}");
        assert!(first.ledger.authority().await.unwrap() == before && roots[0].new_with_old.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_ahead_of_the_tables_prevent_a_new_root() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "forgotten").await;
        regenerator.enrol().await;
        bring(&regenerator, 7).await;
        let reply = put(&regenerator).await;
        assert_eq!(reply.status, StatusCode::CONFLICT, "{reply:?}");
        let [text, _, recovery] = reply.message();
        assert!(text.contains("bundle 7") && recovery.contains("rootcast restore"), "{reply:?}");
        assert_eq!(regenerator.ledger.authority().await.unwrap(), Authority::default(), "nothing was begun");
        assert_eq!(regenerator.keys().await.len(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_without_a_record_prevent_a_new_root() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "yesterday").await;
        assert_eq!(put(&regenerator).await.status, StatusCode::OK);
        let yesterday = authority_item(regenerator.config(), regenerator.certificates_table()).await.unwrap();
        assert_eq!(put(&regenerator).await.status, StatusCode::OK);
        restore_table(
            regenerator.config(),
            regenerator.certificates_table(),
            yesterday,
            &["root#0000000002", "bundle#0000000002"],
        )
        .await;

        let reply = put(&regenerator).await;
        assert_eq!(reply.status, StatusCode::CONFLICT, "{reply:?}");
        assert!(reply.message()[2].contains("rootcast restore"), "{reply:?}");
        assert_eq!(regenerator.ledger.authority().await.unwrap().last_generation, 1);
        assert_eq!(states(&regenerator).await, [(1, KeyState::Enabled), (2, KeyState::Enabled)]);
    })
    .await;
}

/// In the restored table, its rollover is running and is then aborted, but devices already rely on the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_signed_is_never_deleted() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "signed-before").await;
        assert_eq!(put(&regenerator).await.status, StatusCode::OK);
        let mut root = regenerator.ledger.root(1).await.unwrap().unwrap();
        root.state = GenerationState::Abandoned;
        regenerator.ledger.commit(Change { roots: vec![&root], ..Change::default() }).await.unwrap();
        regenerator.authority().sweep_keys(1, seconds_ago::<0>()).await.unwrap();
        assert_eq!(states(&regenerator).await, [(1, KeyState::Enabled)]);
    })
    .await;
}

#[tokio::test]
async fn restore_raises_every_counter_and_permits_a_new_root() {
    Stack::run(2, async |stack| {
        stack.found().await;
        let table = stack.local.outputs.of("CertificatesTable").unwrap().to_owned();
        let yesterday = authority_item(&stack.local.sdk_config, &table).await.unwrap();
        stack.enrol_fleet().await;
        let id = stack.put_root("").await;
        stack.ended(id).await;
        restore_table(&stack.local.sdk_config, &table, yesterday.clone(), &["root#0000000002", "bundle#0000000002"])
            .await;
        stack.api.put("/signingCertificate").await.refused(409);

        let planned = stack.cli("restore --dry-run", "").await.done();
        assert_eq!((&planned["written"], &planned["highestBundle"]), (&json!(false), &json!(2)));
        let read = authority_item(&stack.local.sdk_config, &table).await.unwrap();
        assert_eq!(read, yesterday, "nothing is written");

        let done = stack.cli("restore", "").await.done();
        assert_eq!((&done["written"], &done["recorded"]["generation"]), (&json!(true), &json!(1)));
        assert_eq!(done["raisedTo"]["generation"], 2);
        let lost = done["keysWithoutRecord"].as_array().unwrap().len();
        assert_eq!(lost, 2, "of the root, and of the issuing authority below it: {done}");
        assert!(done["raisedTo"]["bundle"].as_u64() >= Some(2) && done["raisedTo"]["job"].as_u64() >= Some(id.0));
        assert_eq!(stack.cli("restore", "").await.done()["written"], false, "once is enough");
        let acts = stack.ledger.audit_page(&Subject::Root(2), 0, 10).await.unwrap().lines;
        let restored: Vec<_> = acts.iter().filter(|line| line.contains(r#""action":"restore""#)).collect();
        assert!(matches!(restored[..], [line] if line.contains(r#""generation":"1 to 2""#)), "{acts:?}");
        assert!(restored[0].contains(r#""principal":"aws:"#), "{acts:?}");

        let next = stack.put_root("").await;
        assert!(next > id, "no job's number is given twice: {next}");
        let job = stack.ended(next).await;
        assert_eq!((job.generation, job.outcome), (3, Some(JobOutcome::Activated)));
    })
    .await;
}

/// The table was restored while a rollover was running.
#[tokio::test]
async fn a_device_ahead_of_its_job_reports_the_remedy() {
    Stack::run(1, async |stack| {
        stack.found().await;
        stack.enrol_fleet().await;
        let device = stack.devices().next().unwrap().id.parse().unwrap();
        // Lease the device, so that no worker visits it before its record is prepared.
        let held = Lease { owner: "a test".to_owned(), until: seconds_ago::<-15>() };
        stack.ledger.lease(&device, &held, None, seconds_ago::<0>()).await.unwrap();
        let id = stack.put_root("").await;
        remember(stack, device.as_str(), 9).await;

        stack.paused(id).await;
        let failure = stack.tasks(id, Pass::Distribute).await[device.as_str()].failure.clone().unwrap();
        assert_eq!(failure.class, ErrorClass::NewerBundle, "{failure:?}");
        assert!(failure.message.contains('9') && failure.class.recovery().contains("rootcast restore"));

        let done = stack.cli("restore", "").await.done();
        assert_eq!((&done["written"], &done["raisedTo"]["bundle"]), (&json!(true), &json!(9)));
        stack.api.post(&format!("/jobs/{id}/abort"), json!({})).await.response();
        assert_eq!(stack.ended(id).await.outcome, Some(JobOutcome::Aborted));
        let next = stack.put_root("").await;
        assert_eq!(stack.ended(next).await.outcome, Some(JobOutcome::Activated));
    })
    .await;
}

/// Records that this bundle was sent to the device.
async fn remember(stack: &Stack, device: &str, goal: u64) {
    let dynamodb = aws_sdk_dynamodb::Client::new(&stack.local.sdk_config);
    let update = dynamodb.update_item().table_name(stack.local.outputs.of("DevicesTable").unwrap());
    let update = update.key("id", AttributeValue::S(device.to_owned())).update_expression("SET goal = :goal");
    update.expression_attribute_values(":goal", AttributeValue::N(goal.to_string())).send().await.unwrap();
}
