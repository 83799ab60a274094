//! Devices' own certificates and revocation lists, as created by the issuer despite faults.

use aws_sdk_kms::error::ErrorMetadata;
use aws_sdk_kms::operation::sign::SignError;
use aws_sdk_kms::types::error::{DisabledException, KmsInternalException};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use rootcast_core::audit::{Act, Action, Subject};
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::job::task::{ErrorClass, TaskState};
use rootcast_ledger::{
    Authority, CertificateRecord, Change, CrlRecord, DeviceRecord, IssuingRecord, IssuingState, RevokedRecord,
    UseRecord,
};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::{CrlId, LIFETIME, Reason};
use rootcast_pki::root::Serial;
use rootcast_pki::signer::{IssuingId, SignerId};
use rootcast_pki::subject::DeviceSubject;
use rootcast_vault::Vault;
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::openssl;
use super::regenerator::{OPS, Regenerator, seconds_ago};
use super::requester::{CRL_BASE, Requester, deliver, device, issuer, issuer_with, publish, request, wake};
use super::wire::{Cut, Wire};
use crate::stack::{Stack, by_tests};

/// The first issuing authority below the first root.
fn below() -> SignerId {
    IssuingId { generation: 1, number: 1 }.into()
}

/// An authority with one active root, an issuing authority below it, and one device.
async fn open(stack: &Stack, name: &str) -> Regenerator {
    let regenerator = Regenerator::open(&stack.local, name).await;
    let reply = regenerator.put(&Wire::default(), seconds_ago::<7200>).await;
    assert!(reply.status.is_success(), "{reply:?}");
    regenerator.make_issuing(seconds_ago::<3600>()).await;
    regenerator.enrol().await;
    regenerator
}

fn serial_of(record: &CertificateRecord) -> Serial {
    record.leaf.serial().to_owned().try_into().unwrap()
}

async fn list_of(regenerator: &Regenerator, record: &CertificateRecord) -> CrlRecord {
    regenerator.ledger.crl(CrlId::of(below(), &serial_of(record))).await.unwrap().unwrap()
}

async fn root(regenerator: &Regenerator) -> Certificate {
    regenerator.ledger.root(1).await.unwrap().unwrap().certificate.unwrap()
}

async fn issuing(regenerator: &Regenerator) -> IssuingRecord {
    regenerator.ledger.issuing(IssuingId { generation: 1, number: 1 }).await.unwrap().unwrap()
}

async fn signer(regenerator: &Regenerator) -> Certificate {
    issuing(regenerator).await.certificate.unwrap()
}

/// The arguments of a revocation, and the list that will contain it.
fn revoked(record: &CertificateRecord, reason: Reason) -> (CrlId, RevokedRecord, Act) {
    let revoked = RevokedRecord {
        serial: serial_of(record),
        certificate: record.id,
        at: seconds_ago::<0>(),
        reason,
        by: "tests".to_owned(),
        comments: None,
        not_after: record.not_after,
    };
    let act = Act::new(Subject::Certificate(record.id), Action::Revoke, &by_tests(), revoked.at);
    (CrlId::of(below(), &revoked.serial), revoked, act)
}

/// OpenSSL's verdict, with the root and the list that the certificate names.
async fn judged(regenerator: &Regenerator, record: &CertificateRecord, at: OffsetDateTime) -> Result<(), String> {
    let list = list_of(regenerator, record).await;
    let chain: Vec<&Certificate> = record.chain.iter().collect();
    openssl::verify_with(&[&root(regenerator).await], &record.leaf, &chain, Some(list.crl.der()), at)
}

/// One certificate, one serial number, one leaf; the device is the next to act.
async fn assert_issued(requester: &Requester<'_>, request: &str) -> CertificateRecord {
    let (record, binding) = (requester.record().await, requester.binding().await);
    assert_eq!(binding.lifecycle.stage, Some(Stage::InstallCertificate), "{binding:?}");
    assert!(!binding.lifecycle.in_error);
    judged(requester.regenerator, &record, seconds_ago::<0>()).await.unwrap();
    let serial = serial_of(&record);
    assert_eq!(requester.items("serial#").await, [serial.to_string()]);
    assert!(requester.items("leaf#").await.is_empty(), "imported ones are counted");
    let reserved = requester.regenerator.ledger.serial(serial).await.unwrap().unwrap();
    assert_eq!((reserved.certificate, reserved.leaf), (requester.certificate, Some(record.leaf.fingerprint())));
    assert_eq!((record.key.is_none(), record.device.as_ref(), record.uses), (true, Some(&device()), 1));
    assert_eq!(record.names, ["127.0.0.1"]);
    let asked = rootcast_pki::request::SigningRequest::parse(request).unwrap();
    assert_eq!((record.spki, record.leaf.spki_der()), (asked.key(), asked.spki_der()));
    assert!(requester.sent(&requester.message()).await >= 1, "the worker knows");
    record
}

async fn die_everywhere(name: &str, cut: fn(usize) -> Cut) {
    Stack::run(0, async |stack| {
        for n in 1.. {
            let regenerator = open(stack, &format!("{name}-{n}")).await;
            let request = request();
            let requester = Requester::open(&regenerator, &request).await;
            let wire = Wire::cut_at(cut(n));
            let lived = deliver(&issuer(&regenerator, &wire, seconds_ago::<0>), &requester.message(), 1).await;
            assert!(
                deliver(&issuer(&regenerator, &Wire::default(), seconds_ago::<0>), &requester.message(), 2).await,
                "{n}"
            );
            assert_issued(&requester, &request).await;
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
async fn two_issuers_and_duplicate_messages_make_one_certificate() {
    Stack::run(0, async |stack| {
        for round in 0..5 {
            let regenerator = open(stack, &format!("twice-{round}")).await;
            let request = request();
            let requester = Requester::open(&regenerator, &request).await;
            let (one, two) = (
                issuer(&regenerator, &Wire::default(), seconds_ago::<0>),
                issuer(&regenerator, &Wire::default(), seconds_ago::<0>),
            );
            let message = requester.message();
            tokio::join!(deliver(&one, &message, 1), deliver(&two, &message, 1));
            assert!(deliver(&one, &message, 2).await);
            let record = assert_issued(&requester, &request).await;
            assert!(deliver(&two, &message, 3).await);
            assert_eq!(requester.record().await, record);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_renewed_or_revoked_or_deleted_is_on_a_list() {
    Stack::run(0, async |stack| {
        let regenerator = open(stack, "renewal").await;
        let app = issuer(&regenerator, &Wire::default(), seconds_ago::<0>);
        let requester = Requester::open(&regenerator, &request()).await;
        assert!(deliver(&app, &requester.message(), 1).await);
        let first = requester.record().await;
        requester.end().await;

        // In the meantime an operator has added details to the device, which the policy permits.
        let rule = json!({
            "prefix": r"\VED\Policy\Devices", "dnsSuffixes": ["example"], "networks": ["10.0.0.7"],
            "attributes": ["OU=BMC,O=Example Corp,C=DE"],
        });
        let policy = serde_json::from_value(json!({ "rules": [rule] })).unwrap();
        regenerator.ledger.set_issuance_policy(policy, 0, &by_tests(), OffsetDateTime::now_utc()).await.unwrap();
        let subject = DeviceSubject::new("Rack 7", ["bmc-7.example".to_owned()], vec!["10.0.0.7".parse().unwrap()]);
        let subject = subject.unwrap().with_attributes("OU=BMC,O=Example Corp,C=DE".parse().unwrap());
        let before = regenerator.ledger.device(&device()).await.unwrap().unwrap();
        let after = DeviceRecord { subject: Some(subject), ..before.clone() };
        regenerator.ledger.edit_device(&before, after, OPS, seconds_ago::<0>()).await.unwrap();
        let again = Requester::open(&regenerator, &request()).await;
        assert_eq!(again.certificate, requester.certificate);
        assert!(deliver(&app, &again.message(), 1).await);
        let second = again.record().await;
        assert_eq!((second.id, second.uses, second.created), (first.id, 1, first.created));
        assert_ne!(second.leaf, first.leaf);
        assert_eq!(second.leaf.subject_dn(), "CN=Rack 7,OU=BMC,O=Example Corp,C=DE");
        assert_eq!(second.names, ["bmc-7.example", "10.0.0.7"]);
        assert_eq!(again.items("serial#").await.len(), 2, "both numbers stay taken");

        wake(&app).await;
        judged(&regenerator, &first, seconds_ago::<0>()).await.expect("its successor is not proven yet");
        let proven = UseRecord { shown: Some(second.leaf.fingerprint()), ..again.binding().await };
        regenerator.ledger.save_use(&proven).await.unwrap();
        wake(&app).await;
        wake(&app).await;
        assert!(judged(&regenerator, &first, seconds_ago::<0>()).await.unwrap_err().contains("revoked"));
        assert_eq!(regenerator.ledger.formers(first.id).await.unwrap(), []);
        let number = list_of(&regenerator, &second).await.number;

        let (list, revoked, act) = revoked(&second, Reason::Superseded);
        assert!(regenerator.ledger.revoke(Some(&second), list, &revoked, None, &act).await.unwrap());
        assert!(!regenerator.ledger.revoke(Some(&second), list, &revoked, None, &act).await.unwrap(), "once");
        judged(&regenerator, &second, seconds_ago::<0>()).await.unwrap();
        assert!(publish(&app, list).await && publish(&app, list).await);
        assert!(judged(&regenerator, &second, seconds_ago::<0>()).await.unwrap_err().contains("revoked"));
        let published = list_of(&regenerator, &second).await.number;
        assert_eq!(published, number + 1, "the second message found nothing to do");
        let text = openssl::crl_text(list_of(&regenerator, &second).await.crl.der(), &signer(&regenerator).await);
        assert!(text.contains("Superseded") && text.contains(&format!("URI:{CRL_BASE}{list}")), "{text}");
        assert!(again.record().await.revoked.is_some());
        again.end().await;
        let anew = Requester::open(&regenerator, &request()).await;
        assert!(deliver(&app, &anew.message(), 1).await);
        let third = anew.record().await;
        assert!(third.revoked.is_none(), "the new one is not revoked");

        // The function that deletes the device dies before it revokes anything.
        let ended = regenerator.ledger.delete_device(&device(), OPS, seconds_ago::<0>()).await.unwrap();
        assert_eq!(ended.and_then(|ended| ended.serial), Some(serial_of(&third)));
        judged(&regenerator, &third, seconds_ago::<0>()).await.unwrap();
        wake(&app).await;
        assert!(judged(&regenerator, &third, seconds_ago::<0>()).await.unwrap_err().contains("revoked"));
        let text = openssl::crl_text(list_of(&regenerator, &third).await.crl.der(), &signer(&regenerator).await);
        assert!(text.contains("Cessation Of Operation"), "{text}");
        assert_eq!(regenerator.ledger.ended().await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_renews_lists_that_are_outdated_or_half_expired() {
    Stack::run(0, async |stack| {
        let regenerator = open(stack, "schedule").await;
        let app = issuer(&regenerator, &Wire::default(), seconds_ago::<0>);
        let requester = Requester::open(&regenerator, &request()).await;
        assert!(deliver(&app, &requester.message(), 1).await);
        let record = requester.record().await;
        wake(&app).await;
        assert_eq!(list_of(&regenerator, &record).await.number, 1, "it is young");

        let (list, revoked, act) = revoked(&record, Reason::KeyCompromise);
        regenerator.ledger.revoke(Some(&record), list, &revoked, None, &act).await.unwrap();
        // The message was lost.
        wake(&app).await;
        assert_eq!(list_of(&regenerator, &record).await.number, 2);
        assert!(judged(&regenerator, &record, seconds_ago::<0>()).await.unwrap_err().contains("revoked"));

        wake(&issuer(&regenerator, &Wire::default(), seconds_ago::<-302_500>)).await;
        let third = list_of(&regenerator, &record).await;
        assert_eq!((third.number, third.next_update - third.this_update), (3, LIFETIME));
        assert!(third.this_update > OffsetDateTime::now_utc() + Duration::days(3));

        // The key is disabled after another issuing authority took its place: no failure of the schedule.
        let mut old = issuing(&regenerator).await;
        old.state = IssuingState::Superseded;
        regenerator.ledger.commit(Change { issuing: vec![&old], ..Change::default() }).await.unwrap();
        let key = signer(&regenerator).await.spki_der().to_vec();
        wake(&issuer_with(
            &regenerator,
            &Wire::default(),
            failing(&regenerator, key, disabled),
            seconds_ago::<-605_100>,
        ))
        .await;
        assert_eq!(list_of(&regenerator, &record).await, third);

        let absent = CrlId::new(below(), (list.shard().unwrap() + 1) % 64).unwrap();
        assert!(publish(&app, absent).await, "nobody names it: there is nothing to do");
        assert!(regenerator.ledger.crl(absent).await.unwrap().is_none());
        let nobodys = IssuingId { generation: 1, number: 9 };
        assert!(!publish(&app, CrlId::new(nobodys.into(), 1).unwrap()).await, "no such issuing authority");
        assert!(publish(&app, CrlId::new(SignerId::root(1), 1).unwrap()).await, "the conductor makes it");
        assert_eq!(requester.sent(&json!({ "listsOfRoot": 1 })).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_issuance_names_its_stage_and_reason() {
    Stack::run(0, async |stack| {
        let mut broken = request().replace('\n', "");
        broken.replace_range(120..121, if &broken[120..121] == "A" { "B" } else { "A" });
        let broken = broken.replace("REQUEST-----", "REQUEST-----\n").replace("-----END", "\n-----END");
        let unfit = |device: &mut DeviceRecord| device.address = "https://bmc_1.example".parse().unwrap();
        let nothing: fn(&mut DeviceRecord) = |_| {};
        for (name, request, edit, stage, class) in [
            ("bad-request", broken, nothing, Stage::CreateCsr, ErrorClass::Rejected),
            ("unfit", request(), unfit, Stage::ApproveRequest, ErrorClass::Subject),
        ] {
            let regenerator = open(stack, name).await;
            let before = regenerator.ledger.device(&device()).await.unwrap().unwrap();
            let mut after = before.clone();
            edit(&mut after);
            regenerator.ledger.edit_device(&before, after, OPS, seconds_ago::<0>()).await.unwrap();
            let requester = Requester::open(&regenerator, &request).await;
            assert!(deliver(&issuer(&regenerator, &Wire::default(), seconds_ago::<0>), &requester.message(), 1).await);
            assert_failed(&requester, stage, class).await;
            assert_eq!(requester.items("serial#").await, [""; 0]);
        }
    })
    .await;
}

async fn assert_failed(requester: &Requester<'_>, stage: Stage, class: ErrorClass) {
    let binding = requester.binding().await;
    assert_eq!((binding.lifecycle.stage, binding.lifecycle.in_error), (Some(stage), true), "{binding:?}");
    let task = requester.task().await.unwrap();
    let failure = task.failure.unwrap();
    assert_eq!((task.state, failure.class, failure.stage), (TaskState::Failed, class, Some(stage)));
    assert!(requester.regenerator.ledger.certificate(requester.certificate).await.unwrap().is_none());
}

fn disabled() -> SignError {
    let code = ErrorMetadata::builder().code("DisabledException").build();
    SignError::DisabledException(DisabledException::builder().meta(code).build())
}

/// A KMS that returns this public key and fails to sign with `why`.
fn failing(regenerator: &Regenerator, public_key: Vec<u8>, why: fn() -> SignError) -> Vault {
    let shown = mock!(aws_sdk_kms::Client::get_public_key).then_output(move || {
        aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput::builder()
            .public_key(aws_sdk_kms::primitives::Blob::new(public_key.clone()))
            .key_spec(aws_sdk_kms::types::KeySpec::EccNistP384)
            .key_usage(aws_sdk_kms::types::KeyUsageType::SignVerify)
            .build()
    });
    let refused = mock!(aws_sdk_kms::Client::sign).then_error(why);
    let kms = mock_client!(aws_sdk_kms, RuleMode::MatchAny, [&shown, &refused]);
    Vault::new(&kms, &aws_sdk_resourcegroupstagging::Client::new(regenerator.config()), "regenerator")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserved_certificate_is_signed_despite_faults_of_kms() {
    Stack::run(0, async |stack| {
        let regenerator = open(stack, "kms-fault").await;
        let request = request();
        let requester = Requester::open(&regenerator, &request).await;
        let key = signer(&regenerator).await.spki_der().to_vec();
        let fault = || {
            let code = ErrorMetadata::builder().code("KMSInternalException").build();
            SignError::KmsInternalException(KmsInternalException::builder().meta(code).build())
        };
        let ill =
            issuer_with(&regenerator, &Wire::default(), failing(&regenerator, key.clone(), fault), seconds_ago::<0>);
        for receives in 1..4 {
            assert!(!deliver(&ill, &requester.message(), receives).await, "it comes back");
        }
        let reserved = requester.binding().await.issuance.unwrap().reserved.unwrap();
        assert!(deliver(&issuer(&regenerator, &Wire::default(), seconds_ago::<0>), &requester.message(), 4).await);
        let record = assert_issued(&requester, &request).await;
        assert_eq!(serial_of(&record), reserved.spec.serial);

        let regenerator = open(stack, "kms-fault-for-good").await;
        let requester = Requester::open(&regenerator, &request).await;
        let key = signer(&regenerator).await.spki_der().to_vec();
        let ill =
            issuer_with(&regenerator, &Wire::default(), failing(&regenerator, key.clone(), fault), seconds_ago::<0>);
        assert!(!deliver(&ill, &requester.message(), 4).await, "it comes back");
        assert!(deliver(&ill, &requester.message(), 5).await, "a new message takes its place");
        assert!(requester.task().await.is_none(), "KMS's fault uses up none of the task's tries");

        let regenerator = open(stack, "kms-disabled").await;
        let requester = Requester::open(&regenerator, &request).await;
        let key = signer(&regenerator).await.spki_der().to_vec();
        let ill = issuer_with(&regenerator, &Wire::default(), failing(&regenerator, key, disabled), seconds_ago::<0>);
        assert!(deliver(&ill, &requester.message(), 1).await, "asking again is no use");
        assert_failed(&requester, Stage::RetrieveCertificate, ErrorClass::Authority).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_active_root_no_certificate_is_issued() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "no-root").await;
        regenerator.enrol().await;
        let requester = Requester::open(&regenerator, &request()).await;
        assert!(deliver(&issuer(&regenerator, &Wire::default(), seconds_ago::<0>), &requester.message(), 1).await);
        assert_failed(&requester, Stage::PostCsr, ErrorClass::Authority).await;
        // The device was deleted before its next message arrives.
        regenerator.ledger.delete_device(&device(), OPS, seconds_ago::<0>()).await.unwrap();
        assert!(deliver(&issuer(&regenerator, &Wire::default(), seconds_ago::<0>), &requester.message(), 1).await);
    })
    .await;
}

/// The calls for a certificate, from a process that is new.
async fn calls(stack: &Stack, name: &str, leaves_from_root: bool) -> Vec<String> {
    let regenerator = open(stack, name).await;
    let requester = Requester::open(&regenerator, &request()).await;
    let wire = Wire::default();
    let app = issue::App { leaves_from_root, ..issuer(&regenerator, &wire, seconds_ago::<0>) };
    assert!(deliver(&app, &requester.message(), 1).await);
    let signer = regenerator.ledger.serial(serial_of(&requester.record().await)).await.unwrap().unwrap().signer;
    assert_eq!(signer, if leaves_from_root { SignerId::root(1) } else { below() });
    wire.sent()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuing_authority_costs_no_calls() {
    Stack::run(0, async |stack| {
        let (by_root, by_issuing) = (calls(stack, "by-root", true).await, calls(stack, "by-issuing", false).await);
        eprintln!("{} calls: {by_issuing:?}", by_issuing.len());
        assert_eq!(by_issuing.len(), by_root.len(), "{by_issuing:?} {by_root:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_an_issuing_authority() {
    Stack::run(0, async |stack| {
        let regenerator = open(stack, "none-yet").await;
        let request = request();
        let requester = Requester::open(&regenerator, &request).await;
        let app = issuer(&regenerator, &Wire::default(), seconds_ago::<0>);
        let authority = regenerator.ledger.authority().await.unwrap();
        let without = Authority { issuing: None, ..authority.clone() };
        regenerator.ledger.commit(Change { authority: Some(&without), ..Change::default() }).await.unwrap();
        assert!(!deliver(&app, &requester.message(), 1).await, "it comes back");
        let revision = authority.revision + 1;
        let again = Authority { revision, ..authority };
        regenerator.ledger.commit(Change { authority: Some(&again), ..Change::default() }).await.unwrap();
        let revoked = IssuingRecord { state: IssuingState::Revoked, ..issuing(&regenerator).await };
        regenerator.ledger.commit(Change { issuing: vec![&revoked], ..Change::default() }).await.unwrap();
        assert!(!deliver(&app, &requester.message(), 2).await, "what is revoked signs nothing");
        assert!(requester.task().await.is_none() && requester.items("serial#").await.is_empty());
        let superseded = IssuingRecord { state: IssuingState::Superseded, revision: revoked.revision + 1, ..revoked };
        regenerator.ledger.commit(Change { issuing: vec![&superseded], ..Change::default() }).await.unwrap();
        assert!(deliver(&app, &requester.message(), 3).await);
        assert_issued(&requester, &request).await;
    })
    .await;
}
