//! The certificate of an issuing authority: its contents, and what OpenSSL accepts below it.

use rootcast_pki::algorithm::KeyAlgorithm::{EcdsaP256, EcdsaP384, Rsa2048};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::root::{IssueError, IssuingSpec, RootSpec, prepare_issuing, prepare_root, prepare_server_leaf};
use rootcast_pki::signer::IssuingId;
use time::Duration;

use crate::fleet::{HOST, issuing_spec, leaf_spec};
use crate::keys::{Key, TODAY};
use crate::openssl;

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")
}

#[test]
fn an_issuing_certificate_has_the_contents_of_its_spec() {
    for algorithm in [EcdsaP384, Rsa2048] {
        let (root_key, key) = (Key::shared(EcdsaP384), Key::generate(algorithm));
        let root = root_key.root(6);
        let spec = IssuingSpec { permitted: "lab.example,10.0.0.0/8".parse().unwrap(), ..issuing_spec(6, algorithm) };
        let recorded: IssuingSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        let prepared = prepare_issuing(&spec, &key.spki_der, &root).unwrap();
        assert_eq!(prepare_issuing(&recorded, &key.spki_der, &root).unwrap().tbs_sha256(), prepared.tbs_sha256());
        let issuing = root_key.complete(prepared);
        let text = openssl::text(&issuing);
        let identifier = |certificate: &Certificate| hex(certificate.subject_key_identifier().unwrap());
        for expected in [
            "Subject: CN=Rootcast Root Issuing G6.1,OU=Fleet,O=Example Corp,C=DE".to_owned(),
            "Issuer: CN=Rootcast Root G6,OU=Fleet,O=Example Corp,ST=Berlin,C=DE".to_owned(),
            "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0\n".to_owned(),
            "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n".to_owned(),
            format!("X509v3 Subject Key Identifier: \n                {}\n", identifier(&issuing)),
            format!("X509v3 Authority Key Identifier: \n                {}\n", identifier(&root)),
            "URI:http://pki.example.com/crl/6/authorities.crl\n".to_owned(),
            "X509v3 Name Constraints: critical\n".to_owned(),
            "DNS:lab.example\n".to_owned(),
            "IP:10.0.0.0/255.0.0.0\n".to_owned(),
            "Not After : May 31 12:00:00 2028 GMT".to_owned(),
        ] {
            assert!(text.contains(&expected), "{expected:?} is not in\n{text}");
        }
    }
}

#[test]
fn an_impossible_issuing_certificate_is_refused() {
    let (root_key, key) = (Key::shared(EcdsaP384), Key::shared(EcdsaP256));
    let root = root_key.root(6);
    let good = issuing_spec(6, EcdsaP256);
    let refused = |spec: IssuingSpec| prepare_issuing(&spec, &key.spki_der, &root).unwrap_err();
    let late = IssuingSpec { not_after: root.not_after() + Duration::SECOND, ..good.clone() };
    assert!(matches!(refused(late), IssueError::OutlivesIssuer));
    let early = IssuingSpec { not_before: root.not_before() - Duration::SECOND, ..good.clone() };
    assert!(matches!(refused(early), IssueError::OutlivesIssuer));
    assert!(matches!(refused(issuing_spec(6, EcdsaP384)), IssueError::KeyMismatch { .. }));
    let nowhere = IssuingSpec { crl: "ldap://example.com".to_owned(), ..good.clone() };
    assert!(matches!(refused(nowhere), IssueError::CrlUrl));
    let leaf = root_key.complete(prepare_server_leaf(&leaf_spec(6), &key.spki_der, &root).unwrap());
    let below = IssuingSpec { not_before: leaf.not_before(), not_after: leaf.not_after(), ..good };
    assert!(matches!(prepare_issuing(&below, &key.spki_der, &leaf), Err(IssueError::NotAnAuthority)));
}

#[test]
fn an_authority_below_an_issuing_authority_is_refused() {
    let (root_key, key) = (Key::shared(EcdsaP384), Key::shared(EcdsaP256));
    let root = root_key.root(6);
    let issuing = root_key.complete(prepare_issuing(&issuing_spec(6, EcdsaP256), &key.spki_der, &root).unwrap());
    let leaf = |issuer| key.complete(prepare_server_leaf(&leaf_spec(6), &key.spki_der, issuer).unwrap());
    openssl::verify(&[&root], &leaf(&issuing), &[&issuing], TODAY).unwrap();
    // What a thief of its key would make.
    let id = IssuingId { generation: 6, number: 2 };
    let below = IssuingSpec { id, ..issuing_spec(6, EcdsaP256) };
    let below = key.complete(prepare_issuing(&below, &key.spki_der, &issuing).unwrap());
    let why = openssl::verify(&[&root], &leaf(&below), &[&below, &issuing], TODAY).unwrap_err();
    assert!(why.contains("path length constraint exceeded"), "{why}");
}

#[test]
fn name_constraints_hold_through_an_issuing_authority() {
    let (root_key, key) = (Key::shared(EcdsaP384), Key::shared(EcdsaP256));
    let root = |permitted: &str| {
        let spec = RootSpec { permitted: permitted.parse().unwrap(), ..root_key.root_spec(6) };
        root_key.complete(prepare_root(&spec, &root_key.spki_der).unwrap())
    };
    let issuing = |root: &Certificate, permitted: &str| {
        let spec = IssuingSpec { permitted: permitted.parse().unwrap(), ..issuing_spec(6, EcdsaP256) };
        root_key.complete(prepare_issuing(&spec, &key.spki_der, root).unwrap())
    };
    let within = "lab.example,10.0.0.0/8";
    assert!(HOST.ends_with("lab.example"));
    let free = issuing(&root(""), "");
    // The same name and key without constraints: what a thief of the signing permission would use.
    let forged = key.complete(prepare_server_leaf(&leaf_spec(6), &key.spki_der, &free).unwrap());
    for (of_root, of_issuing, is_accepted) in [
        ("", within, true),
        (within, within, true),
        (within, "", true),
        ("", "other.example", false),
        ("other.example", "", false),
        (within, "bmc.lab.example,11.0.0.0/8", false),
    ] {
        let (root, of) = (root(of_root), (of_root, of_issuing));
        let issuing = issuing(&root, of_issuing);
        let verdict = openssl::verify(&[&root], &forged, &[&issuing], TODAY);
        assert_eq!(verdict.is_ok(), is_accepted, "{of:?}: {verdict:?}");
        if of_issuing.is_empty() || is_accepted {
            continue;
        }
        let own = prepare_server_leaf(&leaf_spec(6), &key.spki_der, &issuing);
        assert!(matches!(own, Err(IssueError::Constraints(_))), "{of:?}");
    }
}
