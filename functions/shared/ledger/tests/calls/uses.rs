//! The transactions when a certificate is bound to a device, installed, fails, or is deleted with the device, with the
//! SDK's own mock layer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod claims;
mod renewals;

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput};
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, TransactWriteItem};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::deployment::lifecycle::{Lifecycle, Stage, Work};
use rootcast_core::deployment::{Deployment, DeploymentOutcome};
use rootcast_core::device::{DeviceId, Driver, Pin, Profile};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::task::{ErrorClass, Failure, Outcome};
use rootcast_core::job::{JobId, Pass};
use rootcast_ledger::{
    CertificateRecord, DeviceRecord, Editor, Lease, Ledger, LedgerError, MOST_BINDINGS, MOST_BINDINGS_OF_DEVICE,
    NewUse, Proven, Settlement, Tables, TaskKey, UseRecord,
};
use rootcast_pki::fingerprint::Fingerprint;
use time::OffsetDateTime;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn certificate(number: u32) -> CertificateId {
    format!("scs{number:013}").parse().unwrap()
}

fn pin(text: &str) -> Pin {
    Pin::Key(Fingerprint::of(text.as_bytes()))
}

const OPS: Editor<'static> =
    Editor { name: "ops", request: None, may_approve: true, may_release: true, may_revoke: true };

fn device(id: &str, bindings: &[u32]) -> DeviceRecord {
    let (address, credential) = ("https://10.0.0.7".parse().unwrap(), "/rootcast/devices/bmc".to_owned());
    let mut device = DeviceRecord {
        bindings: bindings.iter().copied().map(certificate).collect(),
        revision: 4,
        ..DeviceRecord::new(
            id.parse().unwrap(),
            rootcast_core::device::Incarnation::from_random([1; 16]),
            address,
            Driver::Redfish,
            Profile::Openbmc,
            credential,
        )
    };
    device.pins = vec![pin("old")];
    device
}

fn binding(number: u32, stage: Option<Stage>, in_error: bool) -> UseRecord {
    let lifecycle = Lifecycle { stage, in_error, attempt: 1, ..Lifecycle::idle(Work::Install, "So it is.") };
    let bound = UseRecord::new(certificate(number), "bmc-1".parse().unwrap(), lifecycle, NOW);
    UseRecord { job: Some(JobId(5)), revision: 3, ..bound }
}

fn under_way() -> UseRecord {
    UseRecord { job: Some(JobId(7)), ..binding(1, Some(Stage::InstallCertificate), false) }
}

fn by() -> Actor {
    Actor::function("conduct")
}

fn act(action: Action) -> Act {
    Act::new(Subject::Certificate(certificate(1)), action, &by(), NOW)
}

/// The head of the certificate's audit chain, which has three entries.
fn chain() -> Rule {
    mock!(Client::get_item)
        .match_requests(|request| request.key().unwrap()["sk"].as_s().unwrap() == "audit")
        .then_output(|| {
            let hash = AttributeValue::S("ab".repeat(32));
            GetItemOutput::builder().item("sequence", AttributeValue::N("3".to_owned())).item("hash", hash).build()
        })
}

/// The authority while a rollover runs.
fn rolling() -> Rule {
    mock!(Client::get_item)
        .match_requests(|request| request.key().unwrap()["id"].as_s().unwrap() == "authority")
        .then_output(|| {
            let number = |number: &str| AttributeValue::N(number.to_owned());
            GetItemOutput::builder().item("revision", number("5")).item("running", number("9")).build()
        })
}

/// The device never had a certificate of its own.
fn no_own() -> Rule {
    mock!(Client::get_item)
        .match_requests(|request| request.key().unwrap()["id"].as_s().unwrap() == r"name#devices\bmc-1\certificate")
        .then_output(|| GetItemOutput::builder().build())
}

/// The device's own certificate, valid for a day.
fn own_record() -> CertificateRecord {
    let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x41; 16]));
    let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let leaf = rootcast_pki::certificate::Certificate::from_der(made.der().to_vec()).unwrap();
    CertificateRecord {
        id: certificate(1),
        shard: 1,
        revision: 1,
        folder: r"Devices\bmc-1".to_owned(),
        name: "certificate".to_owned(),
        spki: Fingerprint::of(leaf.spki_der()),
        leaf,
        chain: Vec::new(),
        issuing: None,
        key: None,
        device: Some("bmc-1".parse().unwrap()),
        key_algorithm: "EC P-256".to_owned(),
        signature_algorithm: "SHA256withECDSA".to_owned(),
        common_name: None,
        names: vec!["a.test".to_owned()],
        not_before: NOW,
        not_after: NOW + time::Duration::DAY,
        enterprise_project_id: None,
        uses: 1,
        unproven: false,
        noticed: None,
        renew_at: None,
        shown_until: None,
        revoked: None,
        imported_by: "ops".to_owned(),
        created: NOW,
        updated: NOW,
    }
}

/// Its name, and its record.
fn own() -> [Rule; 2] {
    let item: HashMap<String, AttributeValue> = serde_dynamo::to_item(own_record()).unwrap();
    let name = mock!(Client::get_item)
        .match_requests(|request| request.key().unwrap()["id"].as_s().unwrap() == r"name#devices\bmc-1\certificate")
        .then_output(|| {
            let id = AttributeValue::S(certificate(1).to_string());
            GetItemOutput::builder().item("certificate", id).build()
        });
    let record = mock!(Client::get_item)
        .match_requests(|request| request.key().unwrap()["id"].as_s().unwrap() == &certificate(1).to_string())
        .then_output(move || GetItemOutput::builder().set_item(Some(item.clone())).build());
    [name, record]
}

fn settlement(outcome: Outcome) -> Settlement {
    let key = TaskKey { job: JobId(7), pass: Pass::Install, device: "bmc-1".parse().unwrap() };
    Settlement { key, attempt: 1, wave: 0, of: None, outcome, history: Vec::new(), at: NOW }
}

/// One write as a line: its kind, the record, and the values set.
fn told(write: &TransactWriteItem) -> String {
    let text = |value: &AttributeValue| match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.clone(),
        AttributeValue::L(list) => format!("{}", list.len()),
        other => format!("{other:?}"),
    };
    let key = |item: &HashMap<String, AttributeValue>| {
        // A job's record has an attribute `id` besides its key.
        let names: &[&str] = if item.contains_key("pk") { &["pk", "sk"] } else { &["id"] };
        let parts = names.iter().filter_map(|name| item.get(*name)).map(text);
        parts.collect::<Vec<_>>().join(" ")
    };
    if let Some(put) = write.put() {
        return format!("put {}", key(put.item()));
    }
    if let Some(delete) = write.delete() {
        return format!("delete {}", key(delete.key()));
    }
    if let Some(check) = write.condition_check() {
        return format!("check {}", key(check.key()));
    }
    let update = write.update().unwrap();
    let values: BTreeMap<_, _> = update.expression_attribute_values().into_iter().flatten().collect();
    let values: Vec<String> = values.into_iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
    format!("update {} {} [{}]", key(update.key()), update.update_expression(), values.join(" "))
}

/// Accepts one transaction with exactly these writes.
fn accepted(expected: &'static [&'static str]) -> Rule {
    mock!(Client::transact_write_items)
        .match_requests(move |request| {
            let writes: Vec<String> = request.transact_items().iter().map(told).collect();
            assert_eq!(writes, expected);
            true
        })
        .then_output(|| TransactWriteItemsOutput::builder().build())
}

fn refused(codes: &'static [&'static str]) -> Rule {
    mock!(Client::transact_write_items).then_error(|| {
        let reasons = codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect();
        let exception = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build();
        TransactWriteItemsError::TransactionCanceledException(exception)
    })
}

fn found(uses: Vec<UseRecord>) -> Rule {
    mock!(Client::batch_get_item).then_output(move || {
        let items: Vec<_> = uses.iter().map(|each| serde_dynamo::to_item(each).unwrap()).collect();
        BatchGetItemOutput::builder().responses("jobs", items).build()
    })
}

fn read(device: &DeviceRecord) -> Rule {
    let device = device.clone();
    mock!(Client::get_item)
        .then_output(move || GetItemOutput::builder().set_item(Some(serde_dynamo::to_item(&device).unwrap())).build())
}

fn ledger(rules: &[&Rule]) -> Ledger {
    let table = |name: &str| Some(name.to_owned());
    let tables = Tables {
        certificates: table("certificates"),
        jobs: table("jobs"),
        devices: table("devices"),
        access: None,
        audit: table("audit"),
        heads: None,
    };
    Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, rules), tables)
}

#[tokio::test]
async fn a_proven_device_drops_all_uses_not_under_way() {
    let earlier = found(vec![
        binding(2, None, false),
        binding(3, Some(Stage::CheckConfiguration), true),
        binding(4, Some(Stage::InstallCertificate), false),
    ]);
    let written = accepted(&[
        "put 7#12 task#install#bmc-1",
        "update 7#counters counters#install#12 ADD acked :acked [:acked=1]",
        "put scs0000000000001 use#bmc-1",
        "update bmc-1 SET #certificate = :certificate, #pins = :pins, #bindings = :bindings, #revision = :revision, begun = :zero \
         REMOVE lease, working \
         [:bindings=2 :certificate=scs0000000000001 :owner=worker :pins=1 :read=4 :revision=5 :zero=0]",
        "delete scs0000000000002 use#bmc-1",
        "update scs0000000000002 ADD uses :more, revision :one [:more=-1 :one=1]",
        "delete scs0000000000003 use#bmc-1",
        "update scs0000000000003 ADD uses :more, revision :one [:more=-1 :one=1]",
    ]);
    let proven = Proven { device: device("bmc-1", &[2, 3, 4, 1]), owner: "worker".to_owned(), pins: vec![pin("new")] };
    let deployed = settlement(Outcome::Deployed { leaf: Fingerprint::of(b"leaf"), alone: false });
    let ledger = ledger(&[&earlier, &written]);
    assert!(ledger.settle_use(&deployed, &under_way(), Some(&proven)).await.unwrap());
}

#[tokio::test]
async fn a_use_says_that_its_device_serves_no_chain() {
    for alone in [false, true] {
        let written = mock!(Client::transact_write_items)
            .match_requests(move |request| {
                let said = format!("{:?}", request.transact_items());
                let named = said.matches("/.well-known/est/cacerts").count();
                // In the use's status, and in the task's history.
                named == if alone { 2 } else { 0 }
            })
            .then_output(|| TransactWriteItemsOutput::builder().build());
        let deployed = settlement(Outcome::Deployed { leaf: Fingerprint::of(b"leaf"), alone });
        assert!(ledger(&[&written]).settle_use(&deployed, &under_way(), None).await.unwrap());
    }
}

#[tokio::test]
async fn a_failure_changes_neither_other_uses_nor_the_device() {
    let failure = Failure::new(ErrorClass::NotStored, "Still the old one.").at(Stage::CheckConfiguration);
    let written = accepted(&[
        "put 7#12 task#install#bmc-1",
        "put 7#12 trouble#install#bmc-1",
        "update 7#counters counters#install#12 ADD failed :failed, listed :listed [:failed=1 :listed=1]",
        "put scs0000000000001 use#bmc-1",
    ]);
    let failed = settlement(Outcome::Failed(failure));
    assert!(ledger(&[&written]).settle_use(&failed, &under_way(), None).await.unwrap());
}

#[tokio::test]
async fn stale_results_and_changed_devices_are_distinguished() {
    let failed = settlement(Outcome::Failed(Failure::new(ErrorClass::Connect, "refused")));
    let stale = refused(&["ConditionalCheckFailed", "None", "ConditionalCheckFailed"]);
    assert!(!ledger(&[&stale]).settle_use(&failed, &under_way(), None).await.unwrap());
    let gone = refused(&["None", "None", "ConditionalCheckFailed"]);
    let error = ledger(&[&gone]).settle_use(&failed, &under_way(), None).await.unwrap_err();
    assert!(matches!(error, LedgerError::Conflict), "{error:?}");
}

#[tokio::test]
async fn a_deployment_starts_with_all_its_records() {
    let written = accepted(&[
        "put 7 meta",
        "put jobs 000000000007",
        "put running 000000000007",
        "update scs0000000000001 ADD uses :more, revision :one [:more=1 :one=1]",
        "put scs0000000000001 use#bmc-0",
        "update bmc-0 SET #bindings = :bindings, #revision = :next [:bindings=1 :next=5 :read=4]",
        "put scs0000000000001 use#bmc-1",
        "update bmc-1 SET #bindings = :bindings, #revision = :next [:bindings=2 :next=5 :read=4]",
        "put 7 audit#000000000001",
        "put 7 audit",
        "put scs0000000000001 audit#000000000004",
        "put scs0000000000001 audit",
    ]);
    let devices = ["bmc-0", "bmc-1"].map(|id| id.parse::<DeviceId>().unwrap()).into();
    let deployment = Deployment::new(JobId(7), certificate(1), Work::Install, devices, "ops".to_owned(), NOW);
    let again = NewUse {
        device: device("bmc-1", &[2, 1]),
        earlier: Some(binding(1, Some(Stage::InstallCertificate), true)),
        request: None,
    };
    let uses = [NewUse { device: device("bmc-0", &[]), earlier: None, request: None }, again];
    ledger(&[&chain(), &written]).deploy(&deployment, &uses, None, &by()).await.unwrap();
}

#[tokio::test]
async fn a_binding_without_a_job_is_written_in_one_transaction() {
    let bound = accepted(&[
        "update scs0000000000001 ADD uses :more, revision :one [:more=2 :one=1]",
        "put scs0000000000001 use#bmc-0",
        "update bmc-0 SET #bindings = :bindings, #revision = :next [:bindings=1 :next=5 :read=4]",
        "put scs0000000000001 use#bmc-1",
        "update bmc-1 SET #bindings = :bindings, #revision = :next [:bindings=2 :next=5 :read=4]",
        "put scs0000000000001 audit#000000000004",
        "put scs0000000000001 audit",
    ]);
    let devices = [device("bmc-0", &[]), device("bmc-1", &[2])];
    ledger(&[&chain(), &bound]).bind(certificate(1), &devices, &[act(Action::Associate)]).await.unwrap();
    let unbound = accepted(&[
        "update scs0000000000001 ADD uses :more, revision :one [:more=-1 :one=1]",
        "delete scs0000000000001 use#bmc-1",
        "update bmc-1 SET #bindings = :bindings, #revision = :next [:bindings=1 :next=5 :read=4]",
        "put scs0000000000001 audit#000000000004",
        "put scs0000000000001 audit",
    ]);
    let both = [(device("bmc-1", &[2, 1]), binding(1, None, false))];
    ledger(&[&chain(), &unbound]).unbind(certificate(1), &both, &[act(Action::Dissociate)]).await.unwrap();
}

/// `TransactWriteItems` takes a hundred writes.
#[tokio::test]
async fn the_most_bindings_fit_into_one_transaction() {
    let devices: Vec<_> = (0..MOST_BINDINGS).map(|number| device(&format!("bmc-{number}"), &[])).collect();
    let written = mock!(Client::transact_write_items)
        .match_requests(|request| request.transact_items().len() == 99)
        .then_output(|| TransactWriteItemsOutput::builder().build());
    ledger(&[&chain(), &written]).bind(certificate(1), &devices, &[act(Action::Associate)]).await.unwrap();
}

#[tokio::test]
async fn only_running_deployments_are_in_the_running_list() {
    let devices = ["bmc-1".parse::<DeviceId>().unwrap()].into();
    let mut deployment = Deployment::new(JobId(7), certificate(1), Work::Install, devices, "ops".to_owned(), NOW);
    let running = accepted(&["put 7 meta", "put running 000000000007"]);
    ledger(&[&running]).save_deployment(&deployment, None).await.unwrap();
    deployment.end(DeploymentOutcome::Deployed, "done");
    let ended = accepted(&["put 7 meta", "delete running 000000000007"]);
    ledger(&[&ended]).save_deployment(&deployment, None).await.unwrap();
}

#[tokio::test]
async fn deleting_a_device_deletes_all_its_uses() {
    let there = read(&device("bmc-1", &[2, 4]));
    let uses = found(vec![binding(2, None, false), binding(4, Some(Stage::InstallCertificate), false)]);
    let written = accepted(&[
        "delete bmc-1",
        "delete address#https://10.0.0.7 claim",
        "delete fleet#12 device#bmc-1",
        "update fleet#12 revision ADD revision :one, approved :more [:more=-1 :one=1]",
        "check authority",
        "put 9 left#bmc-1",
        "delete scs0000000000002 use#bmc-1",
        "update scs0000000000002 ADD uses :more, revision :one [:more=-1 :one=1]",
        "delete scs0000000000004 use#bmc-1",
        "update scs0000000000004 ADD uses :more, revision :one [:more=-1 :one=1]",
        "put device:bmc-1 audit#000000000004",
        "put device:bmc-1 audit",
    ]);
    let claim = claims::claims(&[("address#https://10.0.0.7", "bmc-1")]);
    let rules = [&there, &claim, &rolling(), &uses, &no_own(), &chain(), &written];
    assert_eq!(ledger(&rules).delete_device(&"bmc-1".parse().unwrap(), OPS, NOW).await.unwrap(), None);
}

#[tokio::test]
async fn a_leased_device_is_not_deleted() {
    let until = NOW + time::Duration::MINUTE;
    let held = DeviceRecord { lease: Some(Lease { owner: "worker".to_owned(), until }), ..device("bmc-1", &[]) };
    let there = read(&held);
    let error = ledger(&[&there]).delete_device(&held.id, OPS, NOW).await.unwrap_err();
    assert!(matches!(error, LedgerError::Visited { .. }), "{error:?}");
}

/// Includes its fleet entry, its departure from a rollover and the revocation of its own certificate, with writes to
/// spare.
#[tokio::test]
async fn a_full_device_is_deleted_in_one_transaction() {
    let numbers: Vec<u32> = (1..=MOST_BINDINGS_OF_DEVICE as u32).collect();
    let uses = found(numbers.iter().map(|number| binding(*number, None, false)).collect());
    let written = mock!(Client::transact_write_items)
        .match_requests(|request| request.transact_items().len() == 99)
        .then_output(|| TransactWriteItemsOutput::builder().build());
    let there = read(&device("bmc-1", &numbers));
    let [name, own] = own();
    let claim = claims::claims(&[("address#https://10.0.0.7", "bmc-1")]);
    let rules = [&there, &claim, &rolling(), &uses, &name, &own, &chain(), &written];
    let ended = ledger(&rules).delete_device(&"bmc-1".parse().unwrap(), OPS, NOW).await.unwrap();
    assert!(ended.is_some_and(|ended| ended.serial.is_some()));
    assert_eq!(written.num_calls(), 1);
}

/// `TransactWriteItems` takes a hundred writes.
#[tokio::test]
async fn the_largest_deployment_fits_into_one_transaction() {
    let ids: Vec<String> =
        (0..rootcast_core::deployment::MOST_DEPLOYED).map(|number| format!("bmc-{number}")).collect();
    let devices = ids.iter().map(|id| id.parse().unwrap()).collect();
    let deployment = Deployment::new(JobId(7), certificate(1), Work::Install, devices, "ops".to_owned(), NOW);
    let uses: Vec<NewUse> =
        ids.iter().map(|id| NewUse { device: device(id, &[]), earlier: None, request: None }).collect();
    let written = mock!(Client::transact_write_items)
        .match_requests(|request| request.transact_items().len() == 48)
        .then_output(|| TransactWriteItemsOutput::builder().build());
    ledger(&[&chain(), &written]).deploy(&deployment, &uses, None, &by()).await.unwrap();
}
