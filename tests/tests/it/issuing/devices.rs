//! Failures of the device: each of its stages is retried from where it failed, and only that stage.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PublicKeyData};
use reqwest::Method;
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::job::task::ErrorClass;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::json;

use super::{asked, begin, deployed, device, dn, failed, retried, went_on};
use crate::access::sessions::basic;
use crate::authority::openssl;
use crate::fake::{Csr, Flaw, GENERATE, Model, REPLACE, error};
use crate::stack::{LIMIT, Stack, until};

/// The tests' value of template.yaml's MaxTries.
const TRIES: usize = 3;

#[tokio::test]
async fn a_device_with_an_invalid_request_makes_another() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let fakes = [
            device(stack, "refusing", Model::OpenBmc).await,
            device(stack, "unproven", Model::OpenBmc).await,
            device(stack, "weak", Model::OpenBmc).await,
        ];
        fakes[0].fault(|request, _| request.is("POST", GENERATE).then(|| error(500, "The entropy is used up.")));
        fakes[1].makes_requests(Csr { flaw: Some(Flaw::BrokenSignature), ..Csr::default() });
        fakes[2].makes_requests(Csr { flaw: Some(Flaw::WeakKey), ..Csr::default() });
        for ((fake, id), (class, tries, words)) in fakes.iter().zip(["refusing", "unproven", "weak"]).zip([
            (ErrorClass::ServerError, TRIES, "The entropy is used up."),
            (ErrorClass::Rejected, 1, "signature does not verify"),
            (ErrorClass::Rejected, 1, "too weak"),
        ]) {
            let job = begin(stack, id).await;
            let binding = failed(stack, &job, Stage::CreateCsr, class).await;
            assert!(binding.lifecycle.status.contains(words), "{binding:?}");
            assert_eq!(asked(fake), (tries, 0), "{id}");
            fake.recover();
            fake.makes_requests(Csr::default());
            retried(stack, &job, Stage::CreateCsr).await;
            assert_eq!(asked(fake), (1, 1), "{id}");
        }

        let old = device(stack, "old", Model::Xcc).await;
        old.fault(|request, _| {
            let elliptic = request.body["KeyPairAlgorithm"] == "TPM_ALG_ECDH";
            (request.is("POST", GENERATE) && elliptic).then(|| error(500, "Elliptic keys take too long."))
        });
        let job = begin(stack, "old").await;
        failed(stack, &job, Stage::CreateCsr, ErrorClass::ServerError).await;
        stack.api.patch("/devices/old", json!({ "keyAlgorithm": "RSA_3072" })).await.response();
        let made = retried(stack, &job, Stage::CreateCsr).await;
        assert!(openssl::text(&made.leaf).contains("Public-Key: (3072 bit)"));
        let shown = stack.api.get("/devices/old").await.response();
        assert_eq!((&shown["keyAlgorithm"], &shown["state"]), (&json!("RSA_3072"), &json!("approved")));
    })
    .await;
}

#[tokio::test]
async fn a_request_brought_from_a_device_is_signed_without_it() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let away = device(stack, "away", Model::OpenBmc).await;
        away.fault(|_, _| Some(error(503, "Nobody is here.")));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let brought = CertificateParams::new(vec!["login.example.com".to_owned()]).unwrap();
        let brought = brought.serialize_request(&key).unwrap().pem().unwrap();
        let path = "/devices/away/certificate";
        let ask = async |request: &str| stack.api.post(&format!("{path}/request"), json!({ "request": request })).await;

        // What would be begun is said, and nothing is.
        let said = stack.api.post(&format!("{path}?dryRun=true"), json!({})).await.response();
        assert!(said.get("jobPath").is_none() && said["dn"] == dn("away"), "{said}");
        stack.api.get(path).await.refused(404);

        // Whoever chooses the key can pass for the device: the right to write it does not suffice.
        let password = stack.principal("operator").await;
        let basic = basic("operator", &password);
        let body = json!({ "request": brought });
        let to = format!("{path}/request");
        stack.api.send_with(&[("authorization", &basic)], Method::POST, &to, Some(body)).await.refused(403);
        ask("no PEM").await.refused(400);
        ask(&key.serialize_pem()).await.refused(400);

        let begun = ask(&brought).await.response();
        let job = begun["jobPath"].as_str().unwrap().to_owned();
        let own = until("the request is signed", LIMIT, async || {
            let own = stack.api.get(path).await.json()["response"].take();
            own["issued"].is_object().then_some(own)
        })
        .await;
        let leaf = openssl::text(&Certificate::from_pem(own["issued"]["certificate"].as_str().unwrap()).unwrap());
        assert!(!leaf.contains("login.example.com"), "the names are the record's: {leaf}");
        let signed = stack.ledger.certificate(own["id"].as_str().unwrap().parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(signed.leaf.spki_der(), key.subject_public_key_info());
        assert_eq!(asked(&away).0, 0, "the device is asked for no request");
        let audit = stack.api.get(&format!("/certificates/{}/audit", signed.id)).await.text;
        assert!(audit.contains(&Fingerprint::of(brought.as_bytes()).to_string()), "{audit}");
        stack.api.get(&job.replace("/signingCertificate", "")).await.response();
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_was_not_installed_is_sent_again_unchanged() {
    Stack::run(0, async |stack| {
        stack.found().await;
        // One device refuses the certificate, one reports success and keeps the old one, one stays down after its
        // restart.
        let [refusing, lying, away] = [
            device(stack, "refusing", Model::OpenBmc).await,
            device(stack, "lying", Model::OpenBmc).await,
            device(stack, "away", Model::OpenBmc).await,
        ];
        refusing.fault(|request, _| request.is("POST", REPLACE).then(|| error(409, "The web server is in use.")));
        lying.lies();
        away.stays_away();
        let [first, second, third] =
            [begin(stack, "refusing").await, begin(stack, "lying").await, begin(stack, "away").await];

        let before = failed(stack, &first, Stage::InstallCertificate, ErrorClass::Rejected).await;
        assert!(before.lifecycle.status.contains("The web server is in use."), "{before:?}");
        let issued = stack.ledger.certificate(first.certificate).await.unwrap().unwrap();
        assert_eq!(asked(&refusing), (2, 2), "it might have had another key");
        refusing.recover();
        assert_eq!(retried(stack, &first, Stage::InstallCertificate).await.leaf, issued.leaf);
        assert_eq!(asked(&refusing), (0, 1));

        failed(stack, &second, Stage::CheckConfiguration, ErrorClass::NotStored).await;
        let issued = stack.ledger.certificate(second.certificate).await.unwrap().unwrap();
        assert_eq!(asked(&lying), (1, TRIES));
        lying.recover();
        assert_eq!(retried(stack, &second, Stage::CheckConfiguration).await.leaf, issued.leaf);
        assert_eq!(asked(&lying), (0, 1), "it had not taken it");

        failed(stack, &third, Stage::RestartApplication, ErrorClass::Connect).await;
        let issued = stack.ledger.certificate(third.certificate).await.unwrap().unwrap();
        assert_eq!(asked(&away), (1, 1), "what it has taken is not written again");
        away.comes_back();
        let wanted = json!({ "CertificateDN": dn("away"), "WorkToDoTimeout": 20 });
        let said = stack.api.post("/vedsdk/Certificates/Retry", wanted).await.json();
        assert_eq!(said, json!({ "Success": true }));
        assert_eq!(went_on(stack, &third, Stage::RestartApplication).await.leaf, issued.leaf);
        assert_eq!(asked(&away), (0, 0), "it had taken it");
    })
    .await;
}

/// A second request would make the device forget the key of the first.
#[tokio::test]
async fn a_redelivered_task_makes_no_second_request() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let fake = device(stack, "bmc", Model::OpenBmc).await;
        let job = begin(stack, "bmc").await;
        let sqs = aws_sdk_sqs::Client::new(&stack.local.sdk_config);
        let task = json!({ "job": job.job, "leg": "install", "device": "bmc", "attempt": 1 }).to_string();
        for queue in ["TaskQueueUrl", "IssueQueueUrl", "TaskQueueUrl"] {
            let url = stack.local.outputs.of(queue).unwrap();
            sqs.send_message().queue_url(url).message_body(&task).send().await.unwrap();
        }
        deployed(stack, &job).await;
        for queue in ["TaskQueueUrl", "IssueQueueUrl"] {
            stack.emptied(queue).await;
        }
        assert_eq!(asked(&fake), (1, 1));
    })
    .await;
}
