//! `POST Certificates/Revoke`, and how a revoked certificate is shown.

use rcgen::{CertificateParams, KeyPair, SerialNumber};
use rootcast_ledger::{Revocation, SerialRecord};
use rootcast_pki::crl::{CrlShard, Reason};
use rootcast_pki::root::Serial;

use crate::*;

const OCTETS: [u8; 16] = [0x41; 16];
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
fn serial_of(record: &CertificateRecord) -> Rule {
    let given = SerialRecord {
        certificate: record.id,
        device: "bmc-1".parse().unwrap(),
        generation: 3,
        leaf: Some(record.leaf.fingerprint()),
        thumbprint: Some(record.leaf.thumbprint()),
        subject: None,
        not_after: NOW + time::Duration::DAY,
        at: NOW,
    };
    let item: HashMap<String, AttributeValue> = serde_dynamo::to_item(given).unwrap();
    mock!(Client::get_item)
        .match_requests(|request| key(request) == format!("serial#{}", Serial::from_random(OCTETS)))
        .then_output(move || GetItemOutput::builder().set_item(Some(item.clone())).build())
}

fn taken() -> Rule {
    mock!(Client::transact_write_items)
        .match_requests(|request| {
            let writes: Vec<String> = request.transact_items().iter().map(told).collect();
            let revoked = request.transact_items()[0].put().unwrap().item();
            assert_eq!((&revoked["reason"], &revoked["by"]), (&text("keyCompromise"), &text("ops")));
            writes
                == [
                    format!("put {LIST} {}", hex(OCTETS)),
                    format!("update {LIST} list"),
                    format!("update {CERTIFICATE}"),
                    format!("put {CERTIFICATE} audit#000000000001"),
                    format!("put {CERTIFICATE} audit"),
                ]
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
    let rules = [&name(), &held(&record), &serial_of(&record), &chain(), &taken()];
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
    let rules = [&name(), &held(&record), &serial_of(&record), &chain(), &lost()];
    let answer = call(revoke(json!({ "CertificateDN": DN })), &rules, &asked).await;
    assert_eq!((answer, asked.num_calls()), ((200, json!({ "Requested": false, "Success": true })), 0));
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
    let look = || [name(), held(&record), serial_of(&record), chain()];
    let ([a, b, c, d], [e, f, g, h]) = (look(), look());
    let rules = [&a, &b, &c, &d, &changed(), &e, &f, &g, &h, &taken()];
    let answer = call(revoke(json!({ "CertificateDN": DN })), &rules, &published()).await;
    assert_eq!(answer, (200, json!({ "Requested": true, "Success": true })));
    // The certificate was renewed: the one to revoke is gone.
    let ([a, b, c, d], renewed) = (look(), signed());
    let rules = [&a, &b, &c, &d, &changed(), &name(), &held(&renewed)];
    let (status, said) = call(revoke(json!({ "CertificateDN": DN })), &rules, &published()).await;
    assert_eq!(status, 400);
    assert!(said["Error"].as_str().unwrap().contains("another thumbprint"), "{said}");
}

#[tokio::test]
async fn only_certificates_of_our_roots_are_revoked() {
    let imported = [&name(), &held(record())];
    let (status, said) = call(revoke(json!({ "CertificateDN": DN })), &imported, &published()).await;
    assert_eq!(status, 400);
    assert!(said["Error"].as_str().unwrap().contains("was not signed by one of our roots"), "{said}");
    // A serial number of ours on a certificate that somebody else signed.
    let (record, other) = (signed(), signed());
    let rules = [&name(), &held(&record), &serial_of(&other)];
    assert_eq!(call(revoke(json!({ "CertificateDN": DN })), &rules, &published()).await.0, 400);
    let text = format!("Certificate [{DN}] does not have a certificate to revoke.");
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
    let list = CrlShard::of(3, &Serial::from_random(OCTETS));
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
