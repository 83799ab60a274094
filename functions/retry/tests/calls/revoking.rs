//! `POST Certificates/Revoke`, and how a revoked certificate is shown.

use rcgen::{CertificateParams, KeyPair, SerialNumber};
use rootcast_core::inventory::id::CertificateId;
use rootcast_ledger::{FormerRecord, Revocation, RevokedRecord, SerialRecord};
use rootcast_pki::crl::{CrlId, Reason};
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::Serial;
use rootcast_pki::signer::SignerId;

use crate::*;

const OCTETS: [u8; 16] = [0x41; 16];
/// Of what a renewal replaced; in the same list.
const FORMER: [u8; 16] = [0x01; 16];
/// When it was revoked before, as a Unix timestamp.
const EARLIER: i64 = -60;
/// The list of generation 3 whose serial numbers begin with 0x41, which is 1 in six bits.
const LIST: &str = "crl#3#1";

/// A device's own certificate, with a serial number as we assign them.
fn signed() -> CertificateRecord {
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from_slice(&OCTETS));
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    CertificateRecord { leaf: Certificate::from_der(made.der().to_vec()).unwrap(), ..own() }
}

/// The record that assigns the serial number to the certificate.
fn given(record: &CertificateRecord) -> SerialRecord {
    SerialRecord {
        certificate: record.id,
        device: "bmc-1".parse().unwrap(),
        signer: SignerId::root(3),
        leaf: Some(record.leaf.fingerprint()),
        thumbprint: Some(record.leaf.thumbprint()),
        subject: None,
        not_after: NOW + time::Duration::DAY,
        at: NOW,
    }
}

fn serial_of(record: &CertificateRecord) -> Rule {
    serial_as(given(record))
}

fn serial_as(given: SerialRecord) -> Rule {
    numbered(OCTETS, given)
}

fn numbered(octets: [u8; 16], given: SerialRecord) -> Rule {
    let item: HashMap<String, AttributeValue> = serde_dynamo::to_item(given).unwrap();
    mock!(Client::get_item)
        .match_requests(move |request| key(request) == format!("serial#{}", Serial::from_random(octets)))
        .then_output(move || GetItemOutput::builder().set_item(Some(item.clone())).build())
}

/// What renewals of the certificate replaced, as it is on record.
fn formers(serials: &[[u8; 16]]) -> Rule {
    let former = |octets: &[u8; 16]| FormerRecord {
        serial: Serial::from_random(*octets),
        certificate: CERTIFICATE.parse().unwrap(),
        successor: Fingerprint::of(b"leaf"),
        not_after: NOW + time::Duration::DAY,
        signed: NOW,
    };
    let items: Vec<HashMap<_, _>> = serials.iter().map(|each| serde_dynamo::to_item(former(each)).unwrap()).collect();
    let shard = CERTIFICATE.parse::<CertificateId>().unwrap().shard();
    mock!(Client::query)
        .match_requests(move |request| {
            let asked = request.expression_attribute_values().unwrap();
            asked.get(":shard") == Some(&text(format!("former#{shard:02}")))
        })
        .then_output(move || QueryOutput::builder().set_items(Some(items.clone())).build())
}

/// An earlier revocation.
fn revoked_before(record: &CertificateRecord, reason: Reason) -> Rule {
    let revoked = RevokedRecord {
        serial: Serial::from_random(OCTETS),
        certificate: record.id,
        at: NOW + time::Duration::seconds(EARLIER),
        reason,
        by: "jane".to_owned(),
        comments: None,
        not_after: NOW,
    };
    let item: HashMap<String, AttributeValue> = serde_dynamo::to_item(revoked).unwrap();
    mock!(Client::get_item)
        .match_requests(|request| key(request) == LIST)
        .then_output(move || GetItemOutput::builder().set_item(Some(item.clone())).build())
}

fn taken() -> Rule {
    taken_with(OCTETS, Some(&format!("update {CERTIFICATE}")))
}

/// As [`taken`], where the certificate holds another one, or was deleted.
fn taken_of_former() -> Rule {
    taken_with(OCTETS, None)
}

/// The transaction, with this write besides the revocation and its trace.
fn taken_with(octets: [u8; 16], other: Option<&str>) -> Rule {
    let other = other.map(str::to_owned);
    mock!(Client::transact_write_items)
        .match_requests(move |request| {
            let writes: Vec<String> = request.transact_items().iter().map(told).collect();
            let revoked = request.transact_items()[0].put().unwrap().item();
            assert_eq!((&revoked["reason"], &revoked["by"]), (&text("keyCompromise"), &text("ops")));
            let mut expected = vec![format!("put {LIST} {}", hex(octets)), format!("update {LIST} list")];
            expected.extend(other.clone());
            expected.extend(["audit#000000000001", "audit"].map(|sort| format!("put {CERTIFICATE} {sort}")));
            writes == expected
        })
        .then_output(|| TransactWriteItemsOutput::builder().build())
}

fn hex(octets: [u8; 16]) -> String {
    Serial::from_random(octets).to_string()
}

/// The request to publish the list.
fn published() -> Rule {
    mock!(aws_sdk_sqs::Client::send_message)
        .match_requests(|request| {
            request.queue_url() == Some("https://sqs.invalid/issue")
                && request.message_body().unwrap().contains(r#""crl""#)
        })
        .then_output(|| SendMessageOutput::builder().build())
}

fn revoke(body: Value) -> Request<Body> {
    let mut whole = json!({ "Reason": 1, "Comments": "stolen" });
    whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    post("Revoke", whole)
}

#[tokio::test]
async fn our_certificate_is_revoked_and_its_list_requested() {
    let record = signed();
    let asked = published();
    let rules = [&name(), &held(&record), &serial_of(&record), &formers(&[]), &chain(), &taken()];
    let answer = call(revoke(json!({ "CertificateDN": DN })), &rules, &asked).await;
    assert_eq!(answer, (200, json!({ "Requested": true, "Success": true })));
    assert_eq!(asked.num_calls(), 1);
}

#[tokio::test]
async fn a_thumbprint_finds_the_certificate_without_a_name() {
    let record = signed();
    let print = record.leaf.thumbprint();
    let index = mock!(Client::query)
        .match_requests(|request| request.index_name() == Some("by-thumbprint"))
        .then_output(|| QueryOutput::builder().items([("id".to_owned(), text(CERTIFICATE))].into()).build());
    let item: HashMap<String, AttributeValue> = serde_dynamo::to_item(&record).unwrap();
    let some = mock!(Client::batch_get_item)
        .then_output(move || BatchGetItemOutput::builder().responses("certificates", vec![item.clone()]).build());
    let rules = [&index, &some, &serial_of(&record), &chain(), &taken()];
    let answer = call(revoke(json!({ "Thumbprint": print.to_lowercase() })), &rules, &published()).await;
    assert_eq!(answer, (200, json!({ "Requested": true, "Success": true })));
}

#[tokio::test]
async fn a_repeated_revocation_requests_nothing() {
    let (record, asked) = (signed(), published());
    for reason in [Reason::KeyCompromise, Reason::CaCompromise] {
        let before = revoked_before(&record, reason);
        let rules = [&name(), &held(&record), &serial_of(&record), &formers(&[]), &chain(), &lost(), &before];
        let answer = call(revoke(json!({ "CertificateDN": DN })), &rules, &asked).await;
        assert_eq!((answer, asked.num_calls()), ((200, json!({ "Requested": false, "Success": true })), 0));
    }
}

#[tokio::test]
async fn a_compromise_replaces_a_weaker_reason_and_keeps_its_date() {
    let (record, asked) = (signed(), published());
    let before = revoked_before(&record, Reason::Superseded);
    let replaced = mock!(Client::transact_write_items)
        .match_requests(|request| {
            let put = request.transact_items()[0].put().unwrap();
            let trace = request.transact_items()[3].put().unwrap().item();
            put.condition_expression() == Some("#reason = :before")
                && put.expression_attribute_values().unwrap()[":before"] == text("superseded")
                && (&put.item()["reason"], &put.item()["at"])
                    == (&text("keyCompromise"), &AttributeValue::N(EARLIER.to_string()))
                && trace["line"].as_s().unwrap().contains(r#""before":"Superseded""#)
        })
        .then_output(|| TransactWriteItemsOutput::builder().build());
    let rules =
        [&name(), &held(&record), &serial_of(&record), &formers(&[]), &chain(), &lost(), &before, &chain(), &replaced];
    let answer = call(revoke(json!({ "CertificateDN": DN })), &rules, &asked).await;
    assert_eq!((answer, asked.num_calls()), ((200, json!({ "Requested": true, "Success": true })), 1));
}

/// The device may still show what a renewal replaced, whose key was stolen with it.
#[tokio::test]
async fn a_name_revokes_what_its_renewals_replaced_as_well() {
    let (record, asked) = (signed(), published());
    let before = SerialRecord { leaf: Some(Fingerprint::of(b"before")), ..given(&record) };
    let rules = [
        &name(),
        &held(&record),
        &serial_of(&record),
        &formers(&[FORMER]),
        &numbered(FORMER, before),
        &held(&record),
        &chain(),
        &taken_with(FORMER, None),
        &chain(),
        &taken(),
    ];
    let answer = call(revoke(json!({ "CertificateDN": DN })), &rules, &asked).await;
    assert_eq!((answer, asked.num_calls()), ((200, json!({ "Requested": true, "Success": true })), 2));
    // A name with a thumbprint means one certificate.
    let rules = [&name(), &held(&record), &serial_of(&record), &chain(), &taken()];
    let body = json!({ "CertificateDN": DN, "Thumbprint": record.leaf.thumbprint() });
    assert_eq!(call(revoke(body), &rules, &published()).await.0, 200);
}

#[tokio::test]
async fn a_conflict_reads_the_certificate_again() {
    let record = signed();
    let changed = || {
        mock!(Client::transact_write_items).then_error(|| {
            let reasons = ["None", "None", "ConditionalCheckFailed"];
            let reasons = reasons.map(|code| CancellationReason::builder().code(code).build()).into();
            let cancelled = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build();
            TransactWriteItemsError::TransactionCanceledException(cancelled)
        })
    };
    let look = || [name(), held(&record), serial_of(&record), formers(&[]), chain()];
    let [a, b, c, d, e] = look();
    let rules = [&a, &b, &c, &d, &e, &changed(), &held(&record), &chain(), &taken()];
    let answer = call(revoke(json!({ "CertificateDN": DN })), &rules, &published()).await;
    assert_eq!(answer, (200, json!({ "Requested": true, "Success": true })));
    // It was renewed meanwhile: what was asked for is revoked, and the renewal is left alone.
    let ([a, b, c, d, e], renewed) = (look(), signed());
    let rules = [&a, &b, &c, &d, &e, &changed(), &held(&renewed), &chain(), &taken_of_former()];
    let answer = call(revoke(json!({ "CertificateDN": DN })), &rules, &published()).await;
    assert_eq!(answer, (200, json!({ "Requested": true, "Success": true })));
}

/// The index, which names the serial number.
fn printed(record: &CertificateRecord) -> Rule {
    let print = record.leaf.thumbprint();
    mock!(Client::query)
        .match_requests(move |request| {
            let asked = request.expression_attribute_values().unwrap();
            request.index_name() == Some("by-thumbprint") && asked[":thumbprint"] == text(&print)
        })
        .then_output(|| {
            let serial = format!("serial#{}", Serial::from_random(OCTETS));
            QueryOutput::builder().items([("id".to_owned(), text(&serial))].into()).build()
        })
}

/// The name under which a serial number was signed is its device's.
const OWN: &str = r"\VED\Policy\Devices\bmc-1\certificate";

fn own_name() -> Rule {
    mock!(Client::get_item)
        .match_requests(|request| key(request) == r"name#devices\bmc-1\certificate")
        .then_output(|| GetItemOutput::builder().item("certificate", text(CERTIFICATE)).build())
}

#[tokio::test]
async fn a_thumbprint_finds_what_was_renewed_or_deleted() {
    let (before, after) = (signed(), signed());
    let after = CertificateRecord { folder: r"Devices\bmc-1".to_owned(), name: "certificate".to_owned(), ..after };
    let by_print = || revoke(json!({ "Thumbprint": before.leaf.thumbprint().to_lowercase() }));
    let done = (200, json!({ "Requested": true, "Success": true }));
    let rules = [&printed(&before), &serial_of(&before), &held(&after), &chain(), &taken_of_former()];
    assert_eq!(call(by_print(), &rules, &published()).await, done);
    let gone = mock!(Client::get_item)
        .match_requests(|request| key(request) == CERTIFICATE)
        .then_output(|| GetItemOutput::builder().build());
    let rules = [&printed(&before), &serial_of(&before), &gone, &chain(), &taken_of_former()];
    assert_eq!(call(by_print(), &rules, &published()).await, done);
    // With the name, which must agree.
    let named = |dn: &str| revoke(json!({ "CertificateDN": dn, "Thumbprint": before.leaf.thumbprint() }));
    let rules = [
        &own_name(),
        &held(&after),
        &printed(&before),
        &serial_of(&before),
        &held(&after),
        &chain(),
        &taken_of_former(),
    ];
    assert_eq!(call(named(OWN), &rules, &published()).await, done);
    let rules = [&name(), &held(record()), &printed(&before), &serial_of(&before)];
    let (status, said) = call(named(DN), &rules, &published()).await;
    assert!(
        status == 400 && said["Error"].as_str().unwrap().contains("never had a certificate with this thumbprint"),
        "{said}"
    );
}

#[tokio::test]
async fn an_expired_or_unsigned_certificate_is_not_revoked() {
    let record = signed();
    let by_print = || revoke(json!({ "Thumbprint": record.leaf.thumbprint() }));
    let change = |change: fn(&mut SerialRecord)| {
        let mut given = given(&record);
        change(&mut given);
        serial_as(given)
    };
    let expired = || change(|given| given.not_after = NOW);
    let none = mock!(Client::get_item)
        .match_requests(|request| key(request) == LIST)
        .then_output(|| GetItemOutput::builder().build());
    let (status, said) = call(by_print(), &[&printed(&record), &expired(), &none], &published()).await;
    assert!(status == 400 && said["Error"].as_str().unwrap().contains("expired on 1970-01-01"), "{said}");
    let before = revoked_before(&record, Reason::Superseded);
    let (status, said) = call(by_print(), &[&printed(&record), &expired(), &before], &published()).await;
    assert_eq!((status, &said["Requested"]), (200, &json!(false)), "it was revoked in time");
    let unsigned = change(|given| given.leaf = None);
    let (status, said) = call(by_print(), &[&printed(&record), &unsigned], &published()).await;
    assert!(status == 400 && said["Error"].as_str().unwrap().contains("no certificate was signed"), "{said}");
}

#[tokio::test]
async fn only_certificates_of_our_roots_are_revoked() {
    let imported = [&name(), &held(record())];
    let (status, said) = call(revoke(json!({ "CertificateDN": DN })), &imported, &published()).await;
    assert_eq!(status, 400);
    assert!(said["Error"].as_str().unwrap().contains("was not signed by one of our authorities"), "{said}");
    // A serial number of ours on a certificate that somebody else signed.
    let (record, other) = (signed(), signed());
    let rules = [&name(), &held(&record), &serial_of(&other)];
    assert_eq!(call(revoke(json!({ "CertificateDN": DN })), &rules, &published()).await.0, 400);
    let text = format!("Certificate [{DN}]: no certificate has been issued for it yet.");
    let rules = [&name(), &held(place())];
    assert_eq!(call(revoke(json!({ "CertificateDN": DN })), &rules, &published()).await, refused(&text));
}

#[tokio::test]
async fn invalid_revocations_are_refused_before_any_read() {
    for (body, named) in [
        (json!({}), "CertificateDN"),
        (json!({ "CertificateDN": DN, "Reason": 6 }), "Reason"),
        (json!({ "CertificateDN": DN, "Comments": "x".repeat(251) }), "Comments"),
        (json!({ "CertificateDN": DN, "Disable": true }), "Disable"),
        (json!({ "CertificateDN": DN, "WorkToDoTimeout": 121 }), "WorkToDoTimeout"),
    ] {
        let (status, said) = call(revoke(body), &[], &published()).await;
        assert_eq!(status, 400);
        assert!(said["Error"].as_str().unwrap().contains(named), "{said}");
    }
}

#[tokio::test]
async fn the_revocation_stage_lasts_until_the_list_is_published() {
    let list = CrlId::of(SignerId::root(3), &Serial::from_random(OCTETS));
    let revoked = Revocation { list, at: NOW, reason: Reason::KeyCompromise, by: "ops".to_owned() };
    let record = CertificateRecord { revoked: Some(revoked), ..signed() };
    let missing = mock!(Client::get_item)
        .match_requests(|request| key(request) == LIST)
        .then_output(|| GetItemOutput::builder().build());
    let path = "/vedsdk/certificates/726f6f74-6361-8000-8000-000000000001";
    let idle = uses(vec![binding("bmc-1", 7, 1, None)]);
    let (_, shown) = call(request("GET", path, ""), &[&held(&record), &idle, &missing], &woken("")).await;
    assert_eq!(
        (&shown["ProcessingDetails"]["Stage"], &shown["ProcessingDetails"]["InError"]),
        (&json!(1400), &json!(false))
    );
    let details = &shown["CertificateDetails"];
    assert_eq!(
        (&details["RevocationStatus"], &details["RevocationDate"]),
        (&json!("Revoked"), &json!("1970-01-01T00:00:00Z"))
    );
    // Work at a device takes precedence.
    let busy = uses(vec![binding("bmc-1", 7, 1, Some(true))]);
    let (_, shown) = call(request("GET", path, ""), &[&held(&record), &busy], &woken("")).await;
    assert_eq!(shown["ProcessingDetails"]["Stage"], 800);
}
