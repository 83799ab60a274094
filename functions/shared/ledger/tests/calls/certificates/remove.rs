use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::types::TransactWriteItem;
use aws_smithy_mocks::{Rule, mock};
use rootcast_core::audit::Action;
use rootcast_ledger::{CertificateRecord, FormerRecord, RemoveRefused};
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::Serial;

use super::{FAILED, NOW, accepted, act, cancelled, ledger, number, record, text};

/// The head of its audit chain, which has one entry.
fn chain() -> Rule {
    mock!(aws_sdk_dynamodb::Client::get_item).then_output(|| {
        GetItemOutput::builder().item("sequence", number(1)).item("hash", text(&"ab".repeat(32))).build()
    })
}

/// The leaf's item: number of copies, and the first of them.
fn leaf(copies: i64, first: &'static str) -> Rule {
    mock!(aws_sdk_dynamodb::Client::get_item).then_output(move || {
        GetItemOutput::builder().item("copies", number(copies)).item("certificate", text(first)).build()
    })
}

/// The certificate's current record.
fn used(uses: u64) -> Rule {
    let mut record = record();
    record.uses = uses;
    let item: std::collections::HashMap<_, _> = serde_dynamo::to_item(&record).unwrap();
    mock!(aws_sdk_dynamodb::Client::get_item)
        .then_output(move || GetItemOutput::builder().set_item(Some(item.clone())).build())
}

fn gone() -> Rule {
    mock!(aws_sdk_dynamodb::Client::get_item).then_output(|| GetItemOutput::builder().build())
}

async fn remove(rules: &[&Rule]) -> Result<(), RemoveRefused> {
    ledger(rules).remove_certificate(&record(), None, &act(Action::Delete)).await
}

/// Record, name, leaf, audit.
fn deletes_with_a_trace(writes: &[TransactWriteItem]) -> bool {
    let deleted = |index: usize| writes[index].delete().unwrap().key()["id"].as_s().unwrap().clone();
    let trace = writes[3].put().unwrap().item();
    deleted(0) == "scs0000000000001"
        && writes[0].delete().unwrap().condition_expression() == Some("uses = :count")
        && deleted(1) == r"name#servers\web-1"
        && trace["pk"] == text("scs0000000000001")
        && trace["sk"] == text("audit#000000000002")
        && trace["line"].as_s().unwrap().starts_with(r#"{"action":"delete","at":"2026-06-01T00:00:00Z""#)
        && trace["line"].as_s().unwrap().contains(&"ab".repeat(32))
        && writes[4].put().unwrap().expression_attribute_values().unwrap()[":read"] == number(1)
}

#[tokio::test]
async fn the_last_copy_deletes_the_item_of_its_leaf() {
    let then = accepted(|writes| {
        let leaf = writes[2].delete().unwrap();
        deletes_with_a_trace(writes)
            && leaf.key()["id"].as_s().unwrap().starts_with("leaf#")
            && leaf.condition_expression().unwrap().ends_with("copies <= :count")
    });
    remove(&[&chain(), &leaf(1, "scs0000000000001"), &then]).await.unwrap();
}

#[tokio::test]
async fn one_of_several_copies_decrements_the_count() {
    for (first, update) in
        [("scs0000000000002", "ADD copies :less"), ("scs0000000000001", "REMOVE certificate ADD copies :less")]
    {
        let then = accepted(move |writes| {
            let leaf = writes[2].update().unwrap();
            deletes_with_a_trace(writes)
                && leaf.update_expression() == update
                && leaf.condition_expression() == Some("copies > :one")
        });
        remove(&[&chain(), &leaf(3, first), &then]).await.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_in_use_is_not_deleted() {
    let refused = cancelled(&[FAILED, "None", "None", "None", "None"], None);
    let refusal = remove(&[&chain(), &leaf(1, "scs0000000000001"), &refused, &used(3)]).await.unwrap_err();
    assert!(matches!(refusal, RemoveRefused::InUse(3)), "{refusal:?}");
}

#[tokio::test]
async fn a_certificate_is_deleted_once() {
    let refused = cancelled(&[FAILED, "None", "None", "None", "None"], None);
    let refusal = remove(&[&chain(), &leaf(1, "scs0000000000001"), &refused, &gone()]).await.unwrap_err();
    assert!(matches!(refusal, RemoveRefused::Gone), "{refusal:?}");
}

#[tokio::test]
async fn a_copy_stored_meanwhile_is_found_by_a_retry() {
    let refused = cancelled(&["None", "None", FAILED, "None", "None"], None);
    let then = accepted(|writes| writes[2].update().is_some());
    let (one, two) = (leaf(1, "scs0000000000001"), leaf(2, "scs0000000000001"));
    let (first, second) = (chain(), chain());
    remove(&[&first, &one, &refused, &second, &two, &then]).await.unwrap();
}

/// A device's own certificate, which one of our authorities signed.
fn own(lasts: time::Duration) -> CertificateRecord {
    let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x41; 16]));
    let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let leaf = rootcast_pki::certificate::Certificate::from_der(made.der().to_vec()).unwrap();
    CertificateRecord { leaf, device: Some("bmc-1".parse().unwrap()), not_after: NOW + lasts, ..record() }
}

/// What renewals of the certificate replaced.
fn formers(expire: &[time::Duration]) -> Rule {
    let former = |lasts: &time::Duration| FormerRecord {
        serial: Serial::from_random([7; 16]),
        certificate: record().id,
        successor: Fingerprint::of(b"leaf"),
        not_after: NOW + *lasts,
        signed: NOW,
    };
    let items: Vec<std::collections::HashMap<_, _>> =
        expire.iter().map(|lasts| serde_dynamo::to_item(former(lasts)).unwrap()).collect();
    mock!(aws_sdk_dynamodb::Client::query).then_output(move || {
        aws_sdk_dynamodb::operation::query::QueryOutput::builder().set_items(Some(items.clone())).build()
    })
}

#[tokio::test]
async fn only_what_is_valid_and_ours_has_to_be_revoked() {
    let (day, over) = (time::Duration::DAY, time::Duration::ZERO);
    let ending = async |record: &CertificateRecord, rules: &[&Rule]| {
        let ended = ledger(rules).ending(record, "ops", NOW).await.unwrap();
        ended.map(|ended| ended.serial)
    };
    let serial = Serial::from_random([0x41; 16]);
    assert_eq!(ending(&own(day), &[]).await, Some(Some(serial)));
    assert_eq!(ending(&own(over), &[&formers(&[])]).await, None);
    assert_eq!(ending(&own(over), &[&formers(&[over])]).await, None);
    assert_eq!(ending(&own(over), &[&formers(&[over, day])]).await, Some(None), "a predecessor is still valid");
    assert_eq!(ending(&CertificateRecord { device: None, ..own(day) }, &[]).await, None, "a copy");
}

#[tokio::test]
async fn a_deletion_records_what_it_revokes_in_its_transaction() {
    let record = own(time::Duration::DAY);
    let ended = ledger(&[]).ending(&record, "ops", NOW).await.unwrap().unwrap();
    let then = accepted(|writes| {
        let last = writes.last().unwrap().put().unwrap().item();
        last["pk"] == text("ended") && last["sk"] == text("scs0000000000001") && last["by"] == text("ops")
    });
    let rules = [&chain(), &leaf(1, "scs0000000000001"), &then];
    ledger(&rules).remove_certificate(&record, Some(&ended), &act(Action::Delete)).await.unwrap();
}
