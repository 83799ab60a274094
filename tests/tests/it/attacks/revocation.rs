//! Certificates of ours that stayed valid with nobody able to revoke them: what a renewal replaced, and what was deleted.

use reqwest::Method;
use rootcast_core::access::permission::{Grants, Role};
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::job::task::ErrorClass;
use rootcast_ledger::CertificateRecord;
use serde_json::{Value, json};

use crate::api::Api;
use crate::fake::{Model, REPLACE, error};
use crate::import::deploying::{deploy, ended};
use crate::import::pki::Bundle;
use crate::issuing::{begin, deployed, device, dn, failed};
use crate::revocation_lists::{revoked, serial};
use crate::rollover::signing;
use crate::stack::Stack;

fn only(grant: &str) -> Grants {
    Grants::given(None, vec![grant.parse().unwrap()], vec![])
}

async fn venafi(api: &Api, call: &str, body: Value) -> Value {
    api.post(&format!("/vedsdk/Certificates/{call}"), body).await.json()
}

/// The state of each certificate in the inventory, in pages of one.
async fn states(api: &Api, records: &[&CertificateRecord]) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/certificates/signed?limit=1{cursor}")).await.response();
        rows.extend(page["signed"].as_array().unwrap().clone());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let of = |record: &&CertificateRecord| {
        let row = rows.iter().find(|row| row["serial"] == serial(record).to_string())?;
        assert_eq!((&row["certificate"], &row["subject"]), (&json!(record.id), &json!(record.leaf.subject_dn())));
        Some(json!([row["state"], row["reason"]]))
    };
    records.iter().filter_map(of).collect()
}

#[tokio::test]
async fn whatever_was_signed_is_revoked_whatever_became_of_it() {
    Stack::run_with(0, &[("RevokeSuperseded", "false")], async |stack| {
        stack.found().await;
        let root = signing(stack).await;
        let fake = device(stack, "bmc", Model::OpenBmc).await;
        let first = deployed(stack, &begin(stack, "bmc").await).await;
        let second = deployed(stack, &begin(stack, "bmc").await).await;
        let operator = stack.api_of("eve", Role::Operator).await;
        let clerk = stack.api_of("clerk", only(r"\VED\Policy\Devices=read,delete")).await;
        let stranger = stack.api_of("stranger", only(r"\VED\Policy\Web=manage")).await;
        assert_eq!(states(&operator, &[&first, &second]).await, [json!(["valid", null]), json!(["valid", null])]);
        assert_eq!(states(&stranger, &[&first, &second]).await, [json!(null); 0]);

        // A predecessor, by thumbprint. Who may not write the name learns nothing of it.
        let print = json!({ "Thumbprint": first.leaf.thumbprint(), "Reason": 1 });
        for other in [&stranger, &clerk] {
            let refused = other.post("/vedsdk/Certificates/Revoke", print.clone()).await;
            assert!(refused.status == 400 && refused.text.contains("Access error"), "{refused:?}");
        }
        for (body, requested) in
            [(print, true), (json!({ "CertificateDN": dn("bmc"), "Thumbprint": first.leaf.thumbprint() }), false)]
        {
            assert_eq!(venafi(&operator, "Revoke", body).await, json!({ "Requested": requested, "Success": true }));
        }
        revoked(stack, &root, &first).await;

        // A deleted device.
        let refused = clerk.delete("/devices/bmc").await.refused(403);
        assert!(refused.to_string().contains("the right to write"), "{refused}");
        operator.delete("/devices/bmc").await.response();
        revoked(stack, &root, &second).await;
        drop(fake);

        // A deleted certificate, which its device does not show any more.
        let fake = device(stack, "bmc", Model::OpenBmc).await;
        let third = deployed(stack, &begin(stack, "bmc").await).await;
        let (fourth, scm) = (deployed(stack, &begin(stack, "bmc").await).await, "/v3/scm/certificates");
        let other = stack.import("web", &Bundle::new("web.example.com")).await;
        let (job, _) = deploy(stack, other, &["bmc"]).await;
        assert_eq!(ended(stack, job.unwrap()).await["outcome"], "deployed");
        let refused = clerk.delete(&format!("{scm}/{}", fourth.id)).await;
        assert!(refused.status == 403 && refused.text.contains("the right to write"), "{refused:?}");
        assert_eq!(operator.delete(&format!("{scm}/{}", fourth.id)).await.status, 204);
        revoked(stack, &root, &third).await;
        revoked(stack, &root, &fourth).await;
        let all = [&first, &second, &third, &fourth];
        let with_it = json!(["revoked", "cessationOfOperation"]);
        let expected = [json!(["revoked", "keyCompromise"]), with_it.clone(), with_it.clone(), with_it];
        assert_eq!(states(&clerk, &all).await, expected);
        drop(fake);

        let by_serial = json!({ "serial": serial(&fourth).to_string().to_uppercase() });
        let again = operator.post("/certificates/revocation", by_serial.clone()).await.response();
        assert_eq!((&again["requested"], &again["reason"]), (&json!(false), &json!("cessationOfOperation")));
        let unseen = stranger.post("/certificates/revocation", by_serial.clone()).await.refused(404);
        let mut unknown = by_serial.clone();
        unknown["serial"] = json!("41".repeat(16));
        let absent = stranger.post("/certificates/revocation", unknown).await.refused(404);
        let said = unseen.to_string().replace(by_serial["serial"].as_str().unwrap(), &"41".repeat(16));
        assert_eq!(said, absent.to_string());
        clerk.post("/certificates/revocation", by_serial).await.refused(403);
    })
    .await;
}

/// A device is stolen before its renewal is installed: it shows the old certificate, and the record holds the new one.
#[tokio::test]
async fn a_half_done_renewal_is_revoked_whole() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let root = signing(stack).await;
        let fake = device(stack, "bmc", Model::OpenBmc).await;
        let first = deployed(stack, &begin(stack, "bmc").await).await;
        fake.fault(|request, _| request.is("POST", REPLACE).then(|| error(404, "There is no such action.")));
        let renewal = begin(stack, "bmc").await;
        failed(stack, &renewal, Stage::InstallCertificate, ErrorClass::Unsupported).await;
        let second = stack.ledger.certificate(first.id).await.unwrap().unwrap();
        let body = json!({ "certificate": first.id, "reason": "superseded" });
        let done = stack.api.post("/certificates/revocation", body).await.response();
        let both = (json!(serial(&second).to_string()), json!([serial(&first).to_string()]));
        assert_eq!((&done["serial"], &done["formers"]), (&both.0, &both.1));
        revoked(stack, &root, &first).await;
        revoked(stack, &root, &second).await;

        // Then the theft is known.
        for requested in [true, false] {
            let body = json!({ "CertificateDN": dn("bmc"), "Reason": 1 });
            let done = venafi(&stack.api, "Revoke", body).await;
            assert_eq!(done, json!({ "Requested": requested, "Success": true }));
        }
        let states = states(&stack.api, &[&first, &second]).await;
        assert_eq!(states, [json!(["revoked", "keyCompromise"]), json!(["revoked", "keyCompromise"])]);

        // What is revoked is not brought to the device any more.
        fake.recover();
        stack.api.post(&format!("/jobs/{}/retry", renewal.job), json!({})).await.response();
        let after = failed(stack, &renewal, Stage::InstallCertificate, ErrorClass::Certificate).await;
        assert!(after.lifecycle.status.contains("the certificate is revoked"), "{after:?}");
    })
    .await;
}

#[tokio::test]
async fn the_command_revokes_by_any_name_of_a_certificate() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let root = signing(stack).await;
        let _fake = device(stack, "bmc", Model::OpenBmc).await;
        let record = deployed(stack, &begin(stack, "bmc").await).await;
        let (url, ca) = (&stack.local.api_url, stack.local.ca_pem.display());
        stack.cli(&format!("login --url {url} --ca {ca} --role administrator"), "").await.done();
        stack.api_command("certificate revoke 7 --yes").await.refused(2, "serial number");
        stack.api_command(&format!("certificate revoke {}", record.id)).await.refused(2, "--yes");
        let valid = stack.api_command("certificate signed").await.done();
        assert_eq!((&valid["state"], &valid["device"]), (&json!("valid"), &json!("bmc")), "{valid}");
        for (which, requested) in
            [(serial(&record).to_string(), true), (record.leaf.thumbprint(), false), (record.id.to_string(), false)]
        {
            let line = format!("certificate revoke {which} --reason key-compromise --comment stolen --yes");
            let done = stack.api_command(&line).await.done();
            assert_eq!((&done["requested"], &done["reason"]), (&json!(requested), &json!("keyCompromise")));
        }
        revoked(stack, &root, &record).await;
        let (ours, theirs) = (json!({ "serial": "41".repeat(16) }), json!({ "serial": "01".repeat(20) }));
        for body in [ours, theirs] {
            let refused = stack.api.post("/certificates/revocation", body).await.refused(404);
            assert!(refused.to_string().contains("No certificate that one of our authorities signed"), "{refused}");
        }
        for body in [json!({}), json!({ "serial": "x", "thumbprint": "y" }), json!({ "serials": "x" })] {
            stack.api.send(Method::POST, "/certificates/revocation", Some(body)).await.refused(400);
        }
    })
    .await;
}
