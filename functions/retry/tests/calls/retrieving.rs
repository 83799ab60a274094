//! `Certificates/Retrieve` in both forms, and `GET Certificates/{guid}`.

use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rootcast_core::deployment::lifecycle::{Entry, StageResult};
use rootcast_pki::certificate::split_pem_bundle;

use crate::*;

fn retrieve(more: Value) -> Request<Body> {
    let mut body = json!({ "CertificateDN": DN, "Format": "Base64", "FriendlyName": "web" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    post("Retrieve", body)
}

/// A chain of leaf and issuer.
fn chained() -> CertificateRecord {
    CertificateRecord { chain: vec![record().leaf], ..record() }
}

fn data(answer: &(u16, Value)) -> Vec<u8> {
    assert_eq!(answer.0, 200, "{answer:?}");
    STANDARD.decode(answer.1["CertificateData"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_chain_comes_in_the_order_asked_for() {
    let record = chained();
    let rules = || [name(), held(&record)];
    for (more, expected) in [
        (json!({}), vec![&record.leaf]),
        (json!({ "IncludeChain": true }), vec![&record.leaf, &record.chain[0]]),
        (json!({ "IncludeChain": true, "RootFirstOrder": true }), vec![&record.chain[0], &record.leaf]),
        (json!({ "Format": "Base64 (PKCS #8)", "Password": "unused" }), vec![&record.leaf]),
    ] {
        let [name, held] = rules();
        let answer = call(retrieve(more), &[&name, &held], &woken("")).await;
        let found = split_pem_bundle(&String::from_utf8(data(&answer)).unwrap()).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        assert_eq!(answer.1["Filename"], "web.cer");
    }
    let [name, held] = rules();
    let der = call(retrieve(json!({ "Format": "DER" })), &[&name, &held], &woken("")).await;
    assert_eq!((data(&der).as_slice(), &der.1["Filename"]), (record.leaf.der(), &json!("web.der")));
}

#[tokio::test]
async fn downloads_have_venafis_media_types() {
    let record = chained();
    let path = format!("/vedsdk/Certificates/Retrieve?CertificateDN={}", DN.replace('\\', "%5C"));
    for (query, kind, file) in [
        ("&Format=Base64&IncludeChain=True", "application/x-pem-file", "web.cer"),
        ("&Format=DER", "application/x-x509-ca-cert", "web.der"),
        ("&Format=PKCS%20%237&IncludeChain=1", "application/x-pkcs7-certificates", "web.p7b"),
    ] {
        let asked = request("GET", &format!("{path}{query}"), "");
        let client = mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, &[&token(), &name(), &held(&record)]);
        let answer = answer(asked, client, &woken("")).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()[CONTENT_TYPE]), (200, &kind.parse().unwrap()));
        let disposition = format!("attachment; filename=\"{file}\"");
        assert_eq!(answer.headers()[CONTENT_DISPOSITION], disposition.as_str());
        let body = to_bytes(answer.into_body(), 10_000).await.unwrap();
        let holds =
            |certificate: &Certificate| body.windows(certificate.der().len()).any(|part| part == certificate.der());
        match file {
            "web.cer" => assert_eq!(split_pem_bundle(std::str::from_utf8(&body).unwrap()).unwrap().len(), 2),
            "web.der" => assert_eq!(body, record.leaf.der()),
            _ => assert!(holds(&record.leaf) && holds(&record.chain[0])),
        }
    }
}

#[tokio::test]
async fn private_key_formats_are_refused_naming_the_right_call() {
    for more in [json!({ "Format": "PKCS #12" }), json!({ "Format": "JKS" }), json!({ "IncludePrivateKey": "True" })] {
        let (status, said) = call(retrieve(more), &[], &woken("")).await;
        let text = said["Error"].as_str().unwrap();
        assert_eq!(status, 400);
        assert!(text.contains("/v3/scm/certificates/ID/export") && text.contains("export-key"), "{text}");
    }
    for more in [json!({ "Format": "PEM" }), json!({ "Format": "der", "IncludeChain": true })] {
        assert_eq!(call(retrieve(more), &[], &woken("")).await.0, 400);
    }
}

#[tokio::test]
async fn pending_certificates_get_202_and_failed_ones_an_error() {
    let issuing = |in_error| {
        let binding = binding("bmc-1", 7, 1, Some(in_error));
        UseRecord { lifecycle: Lifecycle { stage: Some(Stage::PostCsr), ..binding.lifecycle }, ..binding }
    };
    let answer = async |bindings: Vec<UseRecord>| {
        call(retrieve(json!({})), &[&name(), &held(place()), &uses(bindings)], &woken("")).await
    };
    assert_eq!(answer(vec![issuing(false)]).await, (202, json!({ "Stage": 500, "Status": "So it is." })));
    let (status, said) = answer(vec![issuing(true)]).await;
    assert_eq!((status, &said["Stage"]), (500, &json!(500)));
    let text = said["Status"].as_str().unwrap();
    assert!(text.starts_with("So it is.") && text.ends_with("Fix any errors, and then click Retry."), "{text}");
    assert_eq!(answer(vec![]).await.0, 400);
}

#[tokio::test]
async fn a_certificate_is_shown_with_its_processing_details() {
    let entry = |stage, result, at| Entry { stage, attempt: 1, result, words: String::new(), at };
    let mut failed = binding("bmc-2", 7, 1, Some(true));
    failed.lifecycle.history = vec![
        entry(Stage::InstallCertificate, StageResult::Queued, NOW),
        entry(Stage::CheckConfiguration, StageResult::Done, NOW + time::Duration::SECOND),
    ];
    let bindings = vec![binding("bmc-1", 7, 1, None), failed];
    let record = record();
    let path = "/vedsdk/certificates/%7B726f6f74-6361-8000-8000-000000000001%7D";
    let (status, shown) = call(request("GET", path, ""), &[&held(&record), &uses(bindings)], &woken("")).await;
    assert_eq!(status, 200, "{shown}");
    assert_eq!(shown["ProcessingDetails"], json!({ "InError": true, "Stage": 800, "Status": "So it is." }));
    assert_eq!(shown["Consumers"], json!([r"\VED\Policy\Devices\bmc-1", r"\VED\Policy\Devices\bmc-2"]));
    assert_eq!(
        (&shown["DN"], &shown["ParentDN"], &shown["Guid"]),
        (&json!(DN), &json!(r"\VED\Policy\Servers"), &json!("{726f6f74-6361-8000-8000-000000000001}"))
    );
    let details = &shown["CertificateDetails"];
    assert_eq!(details["Thumbprint"], record.leaf.thumbprint());
    assert_eq!(
        (&details["KeyAlgorithm"], &details["KeySize"], &details["EllipticCurve"]),
        (&json!("ECC"), &json!(256), &json!("P256"))
    );
    assert_eq!(
        (&details["SubjectAltNameDNS"], &details["SubjectAltNameIPAddress"]),
        (&json!(["a.test"]), &json!(["10.0.0.7"]))
    );
    assert_eq!(details["ValidTo"], "1970-01-02T00:00:00Z");
    assert_eq!(
        shown["History"][1],
        json!({ "Consumer": r"\VED\Policy\Devices\bmc-2", "Stage": 900, "Attempt": 1, "Result": "done", "At": "1970-01-01T00:00:01Z" })
    );
}

#[tokio::test]
async fn an_idle_certificate_has_no_stage_a_place_no_details() {
    let path = "/vedsdk/certificates/726f6f74-6361-8000-8000-000000000001";
    let (status, shown) = call(request("GET", path, ""), &[&held(place()), &uses(vec![])], &woken("")).await;
    assert_eq!(status, 200, "{shown}");
    assert_eq!(shown["ProcessingDetails"], json!({ "InError": false, "Stage": null, "Status": "" }));
    assert_eq!(
        (&shown["CertificateDetails"], &shown["SchemaClass"]),
        (&json!(null), &json!("X509 Device Certificate"))
    );
}

#[tokio::test]
async fn unknown_and_hidden_guids_get_the_same_answer() {
    let none = mock!(Client::get_item)
        .match_requests(|request| key(request) == CERTIFICATE)
        .then_output(|| GetItemOutput::builder().build());
    let guid = "{726f6f74-6361-8000-8000-000000000001}";
    let text =
        |guid: &str| format!("Access error. Certificates/{{guid}} requires read permissions for certificate [{guid}].");
    let path = format!("/vedsdk/certificates/{}", guid.replace('{', "%7B").replace('}', "%7D"));
    assert_eq!(call(request("GET", &path, ""), &[&none], &woken("")).await, refused(&text(guid)));
    assert_eq!(
        call(request("GET", "/vedsdk/certificates/nothing", ""), &[], &woken("")).await,
        refused(&text("nothing"))
    );
}

#[tokio::test]
async fn a_name_leads_to_its_guid() {
    let ask = |dn: &str| request("POST", "/vedsdk/Config/DnToGuid", json!({ "ObjectDN": dn }).to_string());
    let (status, said) = call(ask(DN), &[&name()], &woken("")).await;
    assert_eq!((status, &said["Result"]), (200, &json!(1)), "{said}");
    assert_eq!(said["GUID"], "{726f6f74-6361-8000-8000-000000000001}");
    for (dn, rules) in [(DN, vec![no_name()]), (r"\VED\Policy", vec![])] {
        let rules: Vec<&Rule> = rules.iter().collect();
        let (status, said) = call(ask(dn), &rules, &woken("")).await;
        assert_eq!((status, &said["Result"]), (200, &json!(400)), "{said}");
    }
    for (path, expected) in
        [("certificates/checkpolicy", 405), ("certificates/checkpolicy/now", 404), ("config/read", 404)]
    {
        let (status, said) = call(request("POST", &format!("/vedsdk/{path}"), "{}"), &[], &woken("")).await;
        assert_eq!(status, expected, "{path}");
        assert!(said["Error"].as_str().unwrap().contains("not offered here"), "{said}");
    }
}
