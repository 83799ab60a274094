//! Roots with every algorithm, requested through a whole stack's API and read by other implementations.

use reqwest::Method;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::certificate::Certificate;
use serde_json::json;
use time::Duration;

use super::readers;
use crate::stack::Stack;

const CONFIGURED: [(&str, &str); 4] = [
    ("CrlBaseUrl", "http://pki.example.com/ca"),
    ("RootName", "Fleet Root"),
    ("RootSubject", "OU=Fleet,O=Example Corp,ST=Berlin,C=DE"),
    ("RootValidityDays", "400"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_root_of_every_algorithm_matches_its_configuration() {
    Stack::run_with(0, &CONFIGURED, async |stack| {
        for (generation, algorithm) in (1..).zip(KeyAlgorithm::ALL) {
            let policy = json!({ "specName": algorithm.spec_name() });
            let chosen = stack.api.send(Method::PUT, "/certificatePolicy", Some(policy.clone())).await;
            assert_eq!(chosen.response(), policy);
            assert_eq!(stack.api.get("/certificatePolicy").await.response(), policy);

            let made = stack.api.put("/signingCertificate").await;
            assert_eq!(made.response()["jobPath"], "", "there is no device");
            assert!(!made.headers.contains_key("location"));
            assert_eq!(made.json()["messages"][0]["id"], "FQXHMSE0132I");

            let pem = stack.api.get("/signingCertificate").await;
            let root = Certificate::from_pem(pem.raw()).unwrap();
            assert_read_by_openssl(&root, generation, algorithm);
            readers::verify(&[&root], &root, &[]).unwrap();
            webpki::anchor_from_trusted_cert(&root.der().into()).unwrap();
            root.verify_signed_by(&root).unwrap();
            assert_eq!(
                root.not_after() - root.not_before(),
                Duration::days(400) + Duration::HOUR,
                "it begins an hour back"
            );

            let record = stack.ledger.root(generation).await.unwrap().unwrap();
            assert_eq!(record.state, GenerationState::Signing);
            assert_eq!(record.certificate.as_ref().unwrap().der(), root.der());
            let kms = aws_sdk_kms::Client::new(&stack.local.sdk_config);
            let key = kms.get_public_key().key_id(record.key.unwrap()).send().await.unwrap();
            assert_eq!(key.public_key.unwrap().as_ref(), root.spki_der());
            assert_eq!(key.key_spec.unwrap().as_str(), algorithm.kms_key_spec());
        }
    })
    .await;
}

fn assert_read_by_openssl(root: &Certificate, generation: u32, algorithm: KeyAlgorithm) {
    let text = readers::text(root);
    let list = format!("URI:http://pki.example.com/ca/crl/{generation}/authorities.crl\n");
    assert!(text.contains(&list), "{text}");
    let signature = match algorithm {
        KeyAlgorithm::EcdsaP256 => "ecdsa-with-SHA256",
        KeyAlgorithm::EcdsaP384 => "ecdsa-with-SHA384",
        KeyAlgorithm::Rsa2048 => "sha256WithRSAEncryption",
        KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => "sha384WithRSAEncryption",
    };
    let key = match algorithm {
        KeyAlgorithm::EcdsaP256 => "NIST CURVE: P-256",
        KeyAlgorithm::EcdsaP384 => "NIST CURVE: P-384",
        KeyAlgorithm::Rsa2048 => "Public-Key: (2048 bit)",
        KeyAlgorithm::Rsa3072 => "Public-Key: (3072 bit)",
        KeyAlgorithm::Rsa4096 => "Public-Key: (4096 bit)",
    };
    let identifier: Vec<_> = root.subject_key_identifier().unwrap().iter().map(|byte| format!("{byte:02X}")).collect();
    let identifier = identifier.join(":");
    for expected in [
        format!("Signature Algorithm: {signature}\n"),
        key.to_owned(),
        format!("Subject: CN=Fleet Root G{generation},OU=Fleet,O=Example Corp,ST=Berlin,C=DE\n"),
        format!("Issuer: CN=Fleet Root G{generation},OU=Fleet,O=Example Corp,ST=Berlin,C=DE\n"),
        // No pathlen follows, and there are only these four extensions and the address above.
        "X509v3 Basic Constraints: critical\n                CA:TRUE\n".to_owned(),
        "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n".to_owned(),
        format!("X509v3 Subject Key Identifier: \n                {identifier}\n"),
        format!("X509v3 Authority Key Identifier: \n                {identifier}\n"),
    ] {
        assert!(text.contains(&expected), "{expected:?} is not in\n{text}");
    }
    assert_eq!(text.matches("X509v3 ").count() - text.matches("X509v3 extensions").count(), 5, "{text}");
    let serial = text.lines().find_map(|line| line.strip_prefix("serial=")).unwrap();
    assert_eq!(serial.len(), 32, "16 octets");
    assert!(matches!(serial.as_bytes()[0], b'4'..=b'7'), "positive, and no octet shorter: {serial}");
}
