//! Roots of others on real devices: Lenovo's `/trustedCertificates`, from the request to the trust stores and back.

use std::collections::BTreeSet;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use reqwest::Method;
use rootcast_core::access::permission::{Grants, Operation, Role};
use rootcast_core::job::{JobId, JobOutcome, Pass};
use rootcast_pki::bundle::verify_jws;
use rootcast_pki::certificate::Certificate;
use serde_json::{Value, json};

use crate::api::Answer;
use crate::rollover::signing;
use crate::stack::{Stack, anchors_of};

const PATH: &str = "/trustedCertificates";

pub(crate) fn of_others(name: &str) -> Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap()
}

fn job_of(answer: &Answer) -> JobId {
    let path = answer.json()["response"]["jobPath"].as_str().unwrap().to_owned();
    assert_eq!(answer.headers["location"].to_str().unwrap(), path);
    path.rsplit('/').next().unwrap().parse().unwrap()
}

async fn every_device_holds(stack: &Stack, anchors: &[&Certificate]) {
    let wanted: BTreeSet<Vec<u8>> = anchors.iter().map(|anchor| anchor.der().to_vec()).collect();
    for device in stack.devices() {
        assert_eq!(anchors_of(device).await, wanted, "{}", device.id);
    }
}

#[tokio::test]
async fn roots_of_others_come_to_every_device_and_leave_it() {
    Stack::run(4, async |stack| {
        let [one, two] = ["One", "Two"].map(of_others);
        stack.api.post(PATH, json!({ "certificate": one.pem() })).await.refused(409);
        stack.found().await;
        let root = signing(stack).await;
        // Without a device there is nothing to wait for.
        let added = stack.api.post(PATH, json!({ "certificate": one.pem() })).await.response();
        assert_eq!(added, json!({ "id": "1", "ids": ["1"], "jobPath": "" }));
        stack.enrol_fleet().await;

        let added = stack.api.post(&format!("{PATH}?canary=2"), json!({ "certificate": two.pem() })).await;
        let messages = added.json()["messages"].clone();
        assert_eq!(
            (&messages[0]["id"], &messages[0]["text"]),
            (&json!("FQXHMSE0001I"), &json!("The request completed successfully."))
        );
        let id = job_of(&added);
        refuses_what_is_no_anchor(stack, &two, id).await;
        let job = stack.ended(id).await;
        assert_eq!(job.outcome, Some(JobOutcome::Distributed), "{}", job.reason);
        every_device_holds(stack, &[&root, &one, &two]).await;
        stack.assert_counters_equal_task_states(id).await;

        is_shown_as_on_the_vendors_page(stack, &[one.clone(), two.clone()]).await;
        let published = stack.api.get("/bundle").await;
        let bundle = verify_jws(published.raw(), std::slice::from_ref(&root)).unwrap();
        assert_eq!(bundle.others, [one.fingerprint(), two.fingerprint()]);
        assert!(verify_jws(published.raw(), &[one.clone(), two.clone()]).is_err());
        let cacerts = stack.api.get("/.well-known/est/cacerts").await;
        assert!(!cacerts.raw().contains(&String::from(one.clone())[..60]), "RFC 7030 is about our own roots");

        // Clients spell paths as they like.
        let id = job_of(&stack.api.send(Method::DELETE, "/trustedcertificates/1", None).await);
        assert_eq!(stack.ended(id).await.outcome, Some(JobOutcome::Distributed));
        every_device_holds(stack, &[&root, &two]).await;
        assert_eq!(stack.tally(id, Pass::Distribute).await.acked, 4);
        stack.api.get(&format!("{PATH}/1")).await.refused(404);
        stack.api.delete(&format!("{PATH}/1")).await.refused(404);
        let record = stack.api.get("/audit/policies?name=anchors").await.response().to_string();
        assert!(record.contains(&two.fingerprint().to_string()), "{record}");
    })
    .await;
}

async fn refuses_what_is_no_anchor(stack: &Stack, there: &Certificate, running: JobId) {
    let busy = stack.api.post(PATH, json!({ "certificate": there.pem() })).await;
    busy.refused(409);
    assert_eq!(busy.headers["location"], running.path());
    let leaf = CertificateParams::new(["a.example.com".to_owned()]).unwrap();
    let leaf = leaf.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let secret = KeyPair::generate().unwrap().serialize_pem();
    for hostile in [leaf, secret.clone(), String::new(), "x".repeat(500_000)] {
        let refused = stack.api.post(PATH, json!({ "certificate": hostile })).await;
        refused.refused(400);
        assert!(!refused.text.contains(secret.lines().nth(1).unwrap()), "{}", refused.text);
    }
    for body in [json!({}), json!({ "certificate": 5 }), json!([]), json!({ "certificate": "x", "more": 1 })] {
        stack.api.post(PATH, body).await.refused(400);
    }
    let query = format!("{PATH}?activation=immediate");
    stack.api.post(&query, json!({ "certificate": of_others("Three").pem() })).await.refused(400);
    for id in ["x", "01", "-1"] {
        stack.api.delete(&format!("{PATH}/{id}")).await.refused(404);
    }
    // Both operations, and each alone is not enough.
    for lacking in [Operation::Regenerate, Operation::Activate] {
        let mut grants = Grants::from(Role::Operator);
        Operation::ALL.iter().filter(|each| **each != lacking).for_each(|each| grants.permit(*each));
        let api = stack.api_of(&format!("without-{lacking}"), grants).await;
        api.post(PATH, json!({ "certificate": of_others("Three").pem() })).await.refused(403);
        api.delete(&format!("{PATH}/1")).await.refused(403);
        api.get(PATH).await.response();
    }
}

/// <https://pubs.lenovo.com/lxca_scripting/rest_api_trustedcertificates_get>
async fn is_shown_as_on_the_vendors_page(stack: &Stack, anchors: &[Certificate]) {
    let attributes =
        ["certificate", "id", "issuerDn", "notAfter", "notBefore", "serialNumber", "signatureAlgorithm", "subjectDn"];
    for path in [PATH, "/trustedCertificates/details"] {
        let rows = stack.api.get(path).await.response();
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), anchors.len());
        for (row, anchor) in rows.iter().zip(anchors) {
            assert!(attributes.iter().all(|name| row[*name].is_string()), "{row}");
            assert_eq!(row["certificate"], anchor.pem());
            assert_eq!(row["subjectDn"], anchor.subject_dn());
            assert_eq!((&row["state"], &row["jobPath"]), (&json!("trusted"), &Value::Null));
            let one = stack.api.get(&format!("{path}/{}", row["id"].as_str().unwrap())).await.response();
            assert_eq!(one, *row);
        }
    }
}
