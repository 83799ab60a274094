//! Duplicate keys in one request, with the SDK's own mock layer: DynamoDB refuses a BatchGetItem with a duplicate key.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use rootcast_core::deployment::lifecycle::{Lifecycle, Work};
use rootcast_core::device::{DeviceId, Driver, Incarnation, Profile};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::task::{TaskRecord, TaskState};
use rootcast_core::job::{JobId, Pass};
use rootcast_ledger::{DeviceRecord, Ledger, Tables, TaskKey, UseRecord};
use time::OffsetDateTime;

type Item = HashMap<String, AttributeValue>;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// Returns this item, or none, and refuses duplicate keys.
fn strict(item: Option<Item>) -> Rule {
    mock!(Client::batch_get_item)
        .match_requests(|request| {
            request.request_items().unwrap().values().all(|wanted| {
                let keys = wanted.keys();
                keys.iter().enumerate().all(|(place, key)| !keys[..place].contains(key))
            })
        })
        .then_compute_output(move |request| {
            let table = request.request_items().unwrap().keys().next().unwrap();
            BatchGetItemOutput::builder().responses(table, item.iter().cloned().collect()).build()
        })
}

fn ledger(rule: &Rule) -> Ledger {
    let table = |name: &str| Some(name.to_owned());
    let tables = Tables {
        certificates: table("certificates"),
        jobs: table("jobs"),
        devices: table("devices"),
        access: None,
        audit: table("audit"),
        heads: None,
    };
    Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, &[rule]), tables)
}

fn item(record: impl serde::Serialize) -> Item {
    serde_dynamo::to_item(record).unwrap()
}

fn device() -> DeviceId {
    "bmc-1".parse().unwrap()
}

fn certificate() -> CertificateId {
    "scs0000000000001".parse().unwrap()
}

#[tokio::test]
async fn devices_and_uses_named_twice_are_found_once() {
    let (id, certificate) = (device(), certificate());
    let record = DeviceRecord {
        bindings: vec![certificate],
        ..DeviceRecord::new(
            id.clone(),
            Incarnation::from_random([1; 16]),
            "https://10.0.0.7".parse().unwrap(),
            Driver::Redfish,
            Profile::Openbmc,
            "/rootcast/devices/bmc".to_owned(),
        )
    };
    assert_eq!(ledger(&strict(Some(item(&record)))).devices_by_id([&id, &id]).await.unwrap().len(), 1);
    let binding = UseRecord::new(certificate, id.clone(), Lifecycle::idle(Work::Install, "So it is."), NOW);
    let rule = strict(Some(item(&binding)));
    let ledger = ledger(&rule);
    assert_eq!(ledger.uses_by(certificate, [&id, &id]).await.unwrap(), std::slice::from_ref(&binding));
    assert_eq!(ledger.uses(&[(certificate, &id), (certificate, &id)]).await.unwrap(), std::slice::from_ref(&binding));
    assert_eq!(ledger.uses_of_devices([&record, &record]).await.unwrap(), [binding]);
}

#[tokio::test]
async fn a_task_named_twice_is_found_once() {
    let key = TaskKey { job: JobId(7), pass: Pass::Distribute, device: device() };
    let task = TaskRecord::new("bmc-1".parse().unwrap(), TaskState::Failed, 1, NOW);
    let mut row = item(&task);
    let names = [("pk", format!("7#{:02}", key.device.shard())), ("sk", "task#distribute#bmc-1".to_owned())];
    row.extend(names.map(|(name, value)| (name.to_owned(), AttributeValue::S(value))));
    let rule = strict(Some(row));
    let (_, tasks) = ledger(&rule).jobs_and_tasks([], &[key.clone(), key.clone()]).await.unwrap();
    assert_eq!(tasks, HashMap::from([(key, task)]));
}

#[tokio::test]
async fn other_records_named_twice_are_found_once() {
    let nothing = strict(None);
    let (ledger, id) = (ledger(&nothing), device());
    assert!(ledger.certificates_or_pending([certificate(), certificate()]).await.unwrap().is_empty());
    assert!(ledger.fleet_versions([&id, &id]).await.unwrap().is_empty());
    assert!(ledger.jobs_and_tasks([JobId(7), JobId(7)], &[]).await.unwrap().0.is_empty());
}

/// A duplicate a hundred keys later would otherwise be found twice.
#[tokio::test]
async fn duplicate_keys_are_not_read_in_two_calls() {
    let ids: Vec<DeviceId> = (0..100).chain([0]).map(|number| format!("bmc-{number}").parse().unwrap()).collect();
    let nothing = strict(None);
    ledger(&nothing).uses_by(certificate(), &ids).await.unwrap();
    assert_eq!(nothing.num_calls(), 1);
}
