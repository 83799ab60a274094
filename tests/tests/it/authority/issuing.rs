//! Devices' own certificates and their revocation lists, as the issuer makes them, whatever happens to it.

use aws_sdk_kms::error::ErrorMetadata;
use aws_sdk_kms::operation::sign::SignError;
use aws_sdk_kms::types::error::{DisabledException, KmsInternalException};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::certificate::Certificate;
use rootcast_core::crl::{CrlShard, LIFETIME, Reason};
use rootcast_core::device_subject::DeviceSubject;
use rootcast_core::lifecycle::Stage;
use rootcast_core::root::Serial;
use rootcast_core::task::{ErrorClass, TaskState};
use rootcast_ledger::{CertificateRecord, CrlRecord, DeviceRecord, RevokedRecord};
use rootcast_vault::Vault;
use time::{Duration, OffsetDateTime};

use super::desk::{CRL_BASE, Desk, deliver, device, issuer, issuer_with, publish, request, wake};
use super::office::{Office, seconds_ago};
use super::openssl;
use super::wire::{Cut, Wire};
use crate::stack::Stack;

/// With one root, which signs, and one device.
async fn open(stack: &Stack, name: &str) -> Office {
    let office = Office::open(&stack.local, name).await;
    let reply = office.put(&Wire::default(), seconds_ago::<7200>).await;
    assert!(reply.status.is_success(), "{reply:?}");
    office.enrol().await;
    office
}

fn serial_of(record: &CertificateRecord) -> Serial {
    record.leaf.serial().to_owned().try_into().unwrap()
}

async fn list_of(office: &Office, record: &CertificateRecord) -> CrlRecord {
    office.ledger.crl(CrlShard::of(1, &serial_of(record))).await.unwrap().unwrap()
}

async fn root(office: &Office) -> Certificate {
    office.ledger.root(1).await.unwrap().unwrap().certificate.unwrap()
}

/// What revokes it, and where that is to be read.
fn revoked(record: &CertificateRecord, reason: Reason) -> (CrlShard, RevokedRecord, Act) {
    let revoked = RevokedRecord {
        serial: serial_of(record),
        certificate: record.id,
        at: seconds_ago::<0>(),
        reason,
        by: "tests".to_owned(),
        comments: None,
        not_after: record.not_after,
    };
    let act = Act::new(Subject::Certificate(record.id), Action::Revoke, &Actor::function("tests"), revoked.at);
    (CrlShard::of(1, &revoked.serial), revoked, act)
}

/// OpenSSL, with the root and the list that the certificate names.
async fn judged(office: &Office, record: &CertificateRecord, at: OffsetDateTime) -> Result<(), String> {
    let list = list_of(office, record).await;
    openssl::verify_with(&[&root(office).await], &record.leaf, &[], Some(list.crl.der()), at)
}

/// One certificate, one serial number, one leaf; the device is next.
async fn assert_issued(desk: &Desk<'_>, request: &str) -> CertificateRecord {
    let (record, tie) = (desk.record().await, desk.tie().await);
    assert_eq!(tie.lifecycle.stage, Some(Stage::InstallCertificate), "{tie:?}");
    assert!(!tie.lifecycle.in_error);
    judged(desk.office, &record, seconds_ago::<0>()).await.unwrap();
    let serial = serial_of(&record);
    assert_eq!(desk.items("serial#").await, [serial.to_string()]);
    assert_eq!(desk.items("leaf#").await, [record.leaf.fingerprint().to_string()]);
    let reserved = desk.office.ledger.serial(serial).await.unwrap().unwrap();
    assert_eq!((reserved.certificate, reserved.leaf), (desk.certificate, Some(record.leaf.fingerprint())));
    assert_eq!((record.key.is_none(), record.device.as_ref(), record.uses), (true, Some(&device()), 1));
    assert_eq!(record.names, ["127.0.0.1"]);
    let asked = rootcast_core::request::SigningRequest::parse(request).unwrap();
    assert_eq!((record.spki, record.leaf.spki_der()), (asked.key(), asked.spki_der()));
    assert!(desk.sent(&desk.message()).await >= 1, "the worker knows");
    record
}

async fn die_everywhere(name: &str, cut: fn(usize) -> Cut) {
    Stack::run(0, async |stack| {
        for n in 1.. {
            let office = open(stack, &format!("{name}-{n}")).await;
            let request = request();
            let desk = Desk::open(&office, &request).await;
            let wire = Wire::cut_at(cut(n));
            let lived = deliver(&issuer(&office, &wire, seconds_ago::<0>), &desk.message(), 1).await;
            assert!(deliver(&issuer(&office, &Wire::default(), seconds_ago::<0>), &desk.message(), 2).await, "{n}");
            assert_issued(&desk, &request).await;
            if lived {
                assert!(n > 15, "{} calls are too few to issue a certificate: {wire:?}", n - 1);
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_is_one_certificate_despite_deaths_before_calls() {
    die_everywhere("issue-request", Cut::Request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_is_one_certificate_despite_deaths_after_calls() {
    die_everywhere("issue-answer", Cut::Answer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_issuers_and_doubled_messages_make_one_certificate() {
    Stack::run(0, async |stack| {
        for round in 0..5 {
            let office = open(stack, &format!("twice-{round}")).await;
            let request = request();
            let desk = Desk::open(&office, &request).await;
            let (one, two) = (
                issuer(&office, &Wire::default(), seconds_ago::<0>),
                issuer(&office, &Wire::default(), seconds_ago::<0>),
            );
            let message = desk.message();
            tokio::join!(deliver(&one, &message, 1), deliver(&two, &message, 1));
            assert!(deliver(&one, &message, 2).await);
            let record = assert_issued(&desk, &request).await;
            assert!(deliver(&two, &message, 3).await);
            assert_eq!(desk.record().await, record);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_keeps_the_id_and_a_revocation_is_read() {
    Stack::run(0, async |stack| {
        let office = open(stack, "renewal").await;
        let app = issuer(&office, &Wire::default(), seconds_ago::<0>);
        let desk = Desk::open(&office, &request()).await;
        assert!(deliver(&app, &desk.message(), 1).await);
        let first = desk.record().await;
        desk.end().await;

        // By then the operator has said more about the device.
        let subject = DeviceSubject::new("Rack 7", ["bmc-7.example".to_owned()], vec!["10.0.0.7".parse().unwrap()]);
        let subject = subject.unwrap().with_attributes("OU=BMC,O=Example Corp,C=DE".parse().unwrap());
        let before = office.ledger.device(&device()).await.unwrap().unwrap();
        let after = DeviceRecord { subject: Some(subject), ..before.clone() };
        office.ledger.edit_device(&before, after, "ops", seconds_ago::<0>()).await.unwrap();
        let again = Desk::open(&office, &request()).await;
        assert_eq!(again.certificate, desk.certificate);
        assert!(deliver(&app, &again.message(), 1).await);
        let second = again.record().await;
        assert_eq!((second.id, second.uses, second.created), (first.id, 1, first.created));
        assert_ne!(second.leaf, first.leaf);
        assert_eq!(second.leaf.subject_dn(), "CN=Rack 7,OU=BMC,O=Example Corp,C=DE");
        assert_eq!(second.names, ["bmc-7.example", "10.0.0.7"]);
        assert_eq!(again.items("leaf#").await, [second.leaf.fingerprint().to_string()]);
        assert_eq!(again.items("serial#").await.len(), 2, "both numbers stay taken");

        let (list, revoked, act) = revoked(&second, Reason::Superseded);
        assert!(office.ledger.revoke(&second, list, &revoked, &act).await.unwrap());
        assert!(!office.ledger.revoke(&second, list, &revoked, &act).await.unwrap(), "once");
        judged(&office, &second, seconds_ago::<0>()).await.unwrap();
        assert!(publish(&app, list).await && publish(&app, list).await);
        assert!(judged(&office, &second, seconds_ago::<0>()).await.unwrap_err().contains("revoked"));
        judged(&office, &first, seconds_ago::<0>()).await.unwrap();
        assert_eq!(list_of(&office, &second).await.number, 2, "the second message found nothing to do");
        let text = openssl::crl_text(list_of(&office, &second).await.crl.der(), &root(&office).await);
        assert!(text.contains("Superseded") && text.contains(&format!("URI:{CRL_BASE}{list}")), "{text}");
        assert!(again.record().await.revoked.is_some());
        again.end().await;
        let anew = Desk::open(&office, &request()).await;
        assert!(deliver(&app, &anew.message(), 1).await);
        assert!(anew.record().await.revoked.is_none(), "the new one is not revoked");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_renews_lists_behind_or_half_old() {
    Stack::run(0, async |stack| {
        let office = open(stack, "schedule").await;
        let app = issuer(&office, &Wire::default(), seconds_ago::<0>);
        let desk = Desk::open(&office, &request()).await;
        assert!(deliver(&app, &desk.message(), 1).await);
        let record = desk.record().await;
        wake(&app).await;
        assert_eq!(list_of(&office, &record).await.number, 1, "it is young");

        let (list, revoked, act) = revoked(&record, Reason::KeyCompromise);
        office.ledger.revoke(&record, list, &revoked, &act).await.unwrap();
        // The message was lost.
        wake(&app).await;
        assert_eq!(list_of(&office, &record).await.number, 2);
        assert!(judged(&office, &record, seconds_ago::<0>()).await.unwrap_err().contains("revoked"));

        wake(&issuer(&office, &Wire::default(), seconds_ago::<-302_500>)).await;
        let third = list_of(&office, &record).await;
        assert_eq!((third.number, third.next_update - third.this_update), (3, LIFETIME));
        assert!(third.this_update > OffsetDateTime::now_utc() + Duration::days(3));

        let absent = CrlShard::new(1, (list.shard() + 1) % 64).unwrap();
        assert!(publish(&app, absent).await, "nobody names it: there is nothing to do");
        assert!(office.ledger.crl(absent).await.unwrap().is_none());
        assert!(!publish(&app, CrlShard::new(9, 1).unwrap()).await, "no such root");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_issued_fails_where_and_says_why() {
    Stack::run(0, async |stack| {
        let mut broken = request().replace('\n', "");
        broken.replace_range(120..121, if &broken[120..121] == "A" { "B" } else { "A" });
        let broken = broken.replace("REQUEST-----", "REQUEST-----\n").replace("-----END", "\n-----END");
        let unfit = |device: &mut DeviceRecord| device.address = "https://bmc_1.example".to_owned();
        let nothing: fn(&mut DeviceRecord) = |_| {};
        for (name, request, edit, stage, class) in [
            ("bad-request", broken, nothing, Stage::CreateCsr, ErrorClass::Rejected),
            ("unfit", request(), unfit, Stage::ApproveRequest, ErrorClass::Subject),
        ] {
            let office = open(stack, name).await;
            let before = office.ledger.device(&device()).await.unwrap().unwrap();
            let mut after = before.clone();
            edit(&mut after);
            office.ledger.edit_device(&before, after, "ops", seconds_ago::<0>()).await.unwrap();
            let desk = Desk::open(&office, &request).await;
            assert!(deliver(&issuer(&office, &Wire::default(), seconds_ago::<0>), &desk.message(), 1).await);
            assert_failed(&desk, stage, class).await;
            assert_eq!(desk.items("serial#").await, [""; 0]);
        }
    })
    .await;
}

async fn assert_failed(desk: &Desk<'_>, stage: Stage, class: ErrorClass) {
    let tie = desk.tie().await;
    assert_eq!((tie.lifecycle.stage, tie.lifecycle.in_error), (Some(stage), true), "{tie:?}");
    let task = desk.task().await.unwrap();
    let failure = task.failure.unwrap();
    assert_eq!((task.state, failure.class, failure.stage), (TaskState::Failed, class, Some(stage)));
    assert!(desk.office.ledger.certificate(desk.certificate).await.unwrap().is_none());
}

/// KMS as far as it shows the key, and then this.
fn failing(office: &Office, public_key: Vec<u8>, why: fn() -> SignError) -> Vault {
    let shown = mock!(aws_sdk_kms::Client::get_public_key).then_output(move || {
        aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput::builder()
            .public_key(aws_sdk_kms::primitives::Blob::new(public_key.clone()))
            .key_spec(aws_sdk_kms::types::KeySpec::EccNistP384)
            .key_usage(aws_sdk_kms::types::KeyUsageType::SignVerify)
            .build()
    });
    let refused = mock!(aws_sdk_kms::Client::sign).then_error(why);
    let kms = mock_client!(aws_sdk_kms, RuleMode::MatchAny, [&shown, &refused]);
    Vault::new(&kms, &aws_sdk_resourcegroupstagging::Client::new(office.config()), "office")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_reserved_is_signed_in_spite_of_kms() {
    Stack::run(0, async |stack| {
        let office = open(stack, "kms-fault").await;
        let request = request();
        let desk = Desk::open(&office, &request).await;
        let key = root(&office).await.spki_der().to_vec();
        let fault = || {
            let code = ErrorMetadata::builder().code("KMSInternalException").build();
            SignError::KmsInternalException(KmsInternalException::builder().meta(code).build())
        };
        let ill = issuer_with(&office, &Wire::default(), failing(&office, key.clone(), fault), seconds_ago::<0>);
        for receives in 1..4 {
            assert!(!deliver(&ill, &desk.message(), receives).await, "it comes back");
        }
        let reserved = desk.tie().await.issuance.unwrap().reserved.unwrap();
        assert!(deliver(&issuer(&office, &Wire::default(), seconds_ago::<0>), &desk.message(), 4).await);
        let record = assert_issued(&desk, &request).await;
        assert_eq!(serial_of(&record), reserved.spec.serial);

        let office = open(stack, "kms-fault-for-good").await;
        let desk = Desk::open(&office, &request).await;
        let key = root(&office).await.spki_der().to_vec();
        let ill = issuer_with(&office, &Wire::default(), failing(&office, key.clone(), fault), seconds_ago::<0>);
        assert!(!deliver(&ill, &desk.message(), 4).await, "it comes back");
        assert!(deliver(&ill, &desk.message(), 5).await, "a new message takes its place");
        assert!(desk.task().await.is_none(), "KMS's fault uses up none of the task's tries");

        let office = open(stack, "kms-disabled").await;
        let desk = Desk::open(&office, &request).await;
        let key = root(&office).await.spki_der().to_vec();
        let disabled = || {
            let code = ErrorMetadata::builder().code("DisabledException").build();
            SignError::DisabledException(DisabledException::builder().meta(code).build())
        };
        let ill = issuer_with(&office, &Wire::default(), failing(&office, key, disabled), seconds_ago::<0>);
        assert!(deliver(&ill, &desk.message(), 1).await, "asking again is no use");
        assert_failed(&desk, Stage::RetrieveCertificate, ErrorClass::Authority).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_root_that_signs_there_is_no_certificate() {
    Stack::run(0, async |stack| {
        let office = Office::open(&stack.local, "no-root").await;
        office.enrol().await;
        let desk = Desk::open(&office, &request()).await;
        assert!(deliver(&issuer(&office, &Wire::default(), seconds_ago::<0>), &desk.message(), 1).await);
        assert_failed(&desk, Stage::PostCsr, ErrorClass::Authority).await;
        // The device is gone by the time its next message comes.
        office.ledger.delete_device(&device(), "ops", seconds_ago::<0>()).await.unwrap();
        assert!(deliver(&issuer(&office, &Wire::default(), seconds_ago::<0>), &desk.message(), 1).await);
    })
    .await;
}
