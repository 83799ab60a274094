//! Leased devices and lost responses: the SDK retries, and finds the result of its first call.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use rootcast_core::device::{Driver, Pin, Profile};
use rootcast_ledger::{DeviceRecord, Lease, LeaseRefused, Ledger, LedgerError, Left, Tables};
use rootcast_pki::fingerprint::Fingerprint;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn lease(owner: &str) -> Lease {
    Lease { owner: owner.to_owned(), until: NOW + Duration::MINUTE }
}

fn device(owner: &str) -> DeviceRecord {
    let (id, address) = ("bmc-1".parse().unwrap(), "https://10.0.0.7".parse().unwrap());
    let device = DeviceRecord::new(
        id,
        rootcast_core::device::Incarnation::from_random([1; 16]),
        address,
        Driver::Redfish,
        Profile::Openbmc,
        "/rootcast/bmc-1".to_owned(),
    );
    DeviceRecord { lease: Some(lease(owner)), begun: 1, goal: 3, revision: 4, ..device }
}

fn item(device: &DeviceRecord) -> HashMap<String, AttributeValue> {
    serde_dynamo::to_item(device).unwrap()
}

/// The condition no longer holds.
fn refused(found: &DeviceRecord) -> Rule {
    let found = item(found);
    mock!(Client::update_item).then_error(move || {
        let refused = ConditionalCheckFailedException::builder().set_item(Some(found.clone())).build();
        UpdateItemError::ConditionalCheckFailedException(refused)
    })
}

fn there_is(found: HashMap<String, AttributeValue>) -> Rule {
    mock!(Client::get_item).then_output(move || GetItemOutput::builder().set_item(Some(found.clone())).build())
}

fn ledger(rules: &[&Rule]) -> Ledger {
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, rules);
    Ledger::new(client, Tables { devices: Some("devices".to_owned()), ..Tables::default() })
}

#[tokio::test]
async fn a_lease_that_is_already_ours_is_held() {
    let found = device("worker message");
    let refused = refused(&found);
    let leased = ledger(&[&refused]).lease(&found.id, &lease("worker message"), Some(3), NOW).await;
    assert_eq!(leased.unwrap(), found);
}

#[tokio::test]
async fn a_lease_of_another_message_is_not_ours() {
    let found = device("worker another");
    let refused = refused(&found);
    let leased = ledger(&[&refused]).lease(&found.id, &lease("worker message"), Some(3), NOW).await;
    assert!(matches!(leased, Err(LeaseRefused::Held { until }) if until == NOW + Duration::MINUTE));
}

#[tokio::test]
async fn a_release_after_losing_the_lease_records_nothing() {
    let refused = refused(&device("worker another"));
    let released = ledger(&[&refused]).release(&"bmc-1".parse().unwrap(), "worker message", &Left::default()).await;
    assert!(!released.unwrap());
}

#[tokio::test]
async fn pins_already_written_count_as_written() {
    let read = device("worker message");
    let pins = [Pin::Key(Fingerprint::of(b"key"))];
    let written = DeviceRecord { pins: pins.to_vec(), revision: 5, ..read.clone() };
    let (refused, there) = (refused(&written), there_is(item(&written)));
    assert_eq!(ledger(&[&refused, &there]).pin(&read, "worker message", &pins).await.unwrap(), written);
}

#[tokio::test]
async fn a_device_edited_meanwhile_is_not_pinned() {
    let read = device("worker message");
    let pins = [Pin::Key(Fingerprint::of(b"key"))];
    let moved =
        DeviceRecord { address: "https://10.0.0.8".parse().unwrap(), pins: pins.to_vec(), revision: 5, ..read.clone() };
    let (refused, there) = (refused(&moved), there_is(item(&moved)));
    let pinned = ledger(&[&refused, &there]).pin(&read, "worker message", &pins).await;
    assert!(matches!(pinned, Err(LedgerError::Conflict)));
}

#[tokio::test]
async fn a_device_with_an_unreadable_address_is_corrupt() {
    let mut found = item(&device("worker message"));
    found.insert("address".to_owned(), AttributeValue::S("http://10.0.0.7".to_owned()));
    let read = ledger(&[&there_is(found)]).device(&"bmc-1".parse().unwrap()).await;
    assert!(matches!(read, Err(LedgerError::Corrupt { what: "device", .. })), "{read:?}");
}
