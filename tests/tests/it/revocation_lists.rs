//! A recorded request becomes a certificate, and a public list shows whether it is revoked: the deployed issuer, with
//! its queue and permissions.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use reqwest::{Method, StatusCode};
use rootcast_core::audit::{Act, Action, Subject};
use rootcast_core::deployment::Deployment;
use rootcast_core::deployment::lifecycle::{Stage, Work};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::CertificateDn;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::Pass;
use rootcast_core::job::message::{Publish, Task};
use rootcast_ledger::{CertificateRecord, Issuance, NewUse, PendingCertificate, RevokedRecord, UseRecord};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::{CrlId, Reason};
use rootcast_pki::root::Serial;
use rootcast_queue::Queue;
use serde_json::json;
use time::OffsetDateTime;

use crate::authority::openssl;
use crate::rollover::signing;
use crate::stack::{LIMIT, Stack, by_tests, until};

/// Does not exist: what the worker does afterwards is not checked.
const DEVICE: &str = "nobody";

#[tokio::test]
async fn a_recorded_request_is_signed_and_its_list_public() {
    Stack::run_with(0, &[("CrlBaseUrl", "http://pki.example.com/rootcast")], async |stack| {
        stack.found().await;
        let device = json!({
            "id": DEVICE, "address": "https://127.0.0.1:9", "driver": "redfish", "profile": "openbmc",
            "credential": "/rootcast/devices/nobody", "pins": [format!("sha256:{}", "0".repeat(64))],
            "subject": { "commonName": "bmc-7.example", "attributes": "O=Example Corp,C=DE", "dnsNames": ["bmc-7.example"], "clientAuth": true },
        });
        stack
            .permit(json!({ "dnsSuffixes": ["bmc-7.example"], "attributes": ["O=Example Corp,C=DE"], "usages": ["server", "client"] }))
            .await;
        stack.enrol(vec![device]).await;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let request = rcgen::CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap();
        let (queue, url) = (queue(stack), stack.local.outputs.of("IssueQueueUrl").unwrap());
        let task = asked(stack, request.pem().unwrap()).await;
        queue.send_later(url, &task, 0).await.unwrap();

        let record = issued(stack).await;
        let root = signing(stack).await;
        assert_eq!(record.leaf.spki_der(), key.subject_public_key_info());
        assert_eq!(record.leaf.subject_dn(), "CN=bmc-7.example,O=Example Corp,C=DE");
        let text = openssl::text(&record.leaf);
        let list = list_of(stack, &record).await;
        assert!(!list.signer().is_root(), "{list}");
        for expected in ["DNS:bmc-7.example", "TLS Web Client Authentication", &format!("URI:http://pki.example.com/rootcast{list}")] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        let good = served(stack, list).await;
        judged(&root, &record, &good).unwrap();
        let authorities = served(stack, CrlId::authorities(1)).await;
        let signer = &record.chain[0];
        openssl::verify_with(&[&root], signer, &[], Some(&authorities), OffsetDateTime::now_utc()).unwrap();

        let revoked = RevokedRecord {
            serial: serial(&record),
            certificate: record.id,
            at: OffsetDateTime::now_utc(),
            reason: Reason::CessationOfOperation,
            by: "tests".to_owned(),
            comments: None,
            not_after: record.not_after,
        };
        let act = Act::new(Subject::Certificate(record.id), Action::Revoke, &by_tests(), revoked.at);
        stack.ledger.revoke(Some(&record), list, &revoked, None, &act).await.unwrap();
        queue.send_later(url, &Publish { crl: list }, 0).await.unwrap();
        let bad = until("the list is made anew", LIMIT, async || {
            let now = served(stack, list).await;
            (now != good).then_some(now)
        })
        .await;
        assert!(judged(&root, &record, &bad).unwrap_err().contains("revoked"));
        stack.emptied("IssueQueueUrl").await;
        stack.emptied("IssueDeadLettersUrl").await;
    })
    .await;
}

fn queue(stack: &Stack) -> Queue {
    Queue::new(aws_sdk_sqs::Client::new(&stack.local.sdk_config))
}

pub fn serial(record: &CertificateRecord) -> Serial {
    record.leaf.serial().to_owned().try_into().unwrap()
}

/// A job whose device has made its request. It counts as sent, so no process starts it from the beginning.
async fn asked(stack: &Stack, request: String) -> Task {
    let (device, now): (DeviceId, _) = (DEVICE.parse().unwrap(), OffsetDateTime::now_utc());
    let (certificate, dn) = (CertificateId::from_random([7; 16]), CertificateDn::of_device(&device));
    let job = stack.ledger.next_job_id().await.unwrap();
    let deployment = Deployment::new(job, certificate, Work::Issue, [device.clone()].into(), "tests".to_owned(), now);
    let place = PendingCertificate {
        id: certificate,
        revision: 0,
        folder: dn.folder.to_string(),
        name: dn.name.to_string(),
        device: device.clone(),
        uses: 0,
        imported_by: "tests".to_owned(),
        created: now,
    };
    let record = stack.ledger.device(&device).await.unwrap().unwrap();
    let address = record.address.clone();
    let uses = [NewUse { device: record, earlier: None, request: None }];
    stack.ledger.deploy(&Deployment { sent: true, ..deployment }, &uses, Some(&place), &by_tests()).await.unwrap();
    let binding = stack.ledger.uses_by(certificate, [&device]).await.unwrap().remove(0);
    let lifecycle = binding.lifecycle.advance(1, Stage::PostCsr, "The device has made its request.", now).unwrap();
    let issuance = Some(Issuance { request, address: Some(address), reserved: None });
    stack.ledger.save_use(&UseRecord { issuance, ..binding.with(lifecycle, now) }).await.unwrap();
    Task::new(job, Pass::Install, device, 1)
}

async fn issued(stack: &Stack) -> CertificateRecord {
    let id = CertificateId::from_random([7; 16]);
    until("the certificate is there", LIMIT, async || stack.ledger.certificate(id).await.unwrap()).await
}

/// The list that covers the certificate.
pub async fn list_of(stack: &Stack, record: &CertificateRecord) -> CrlId {
    let serial = serial(record);
    CrlId::of(stack.ledger.serial(serial).await.unwrap().unwrap().signer, &serial)
}

/// OpenSSL's verdict, with this root, the record's chain and this list.
pub fn judged(root: &Certificate, record: &CertificateRecord, list: &[u8]) -> Result<(), String> {
    let chain: Vec<&Certificate> = record.chain.iter().collect();
    openssl::verify_with(&[root], &record.leaf, &chain, Some(list), OffsetDateTime::now_utc())
}

/// Fetches the list as a verifier does, without a token.
pub async fn served(stack: &Stack, list: CrlId) -> Vec<u8> {
    let answer = stack.api.send_as(None, Method::GET, &list.to_string(), None).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/pkix-crl");
    answer.bytes
}

/// OpenSSL refuses the certificate with the list that is served.
pub async fn revoked(stack: &Stack, root: &Certificate, record: &CertificateRecord) {
    let list = list_of(stack, record).await;
    until("the certificate is on its list", LIMIT, async || {
        let list = served(stack, list).await;
        let verdict = judged(root, record, &list);
        verdict.err().filter(|why| why.contains("revoked"))
    })
    .await;
}
