//! Roots and links of every algorithm, checked with OpenSSL and webpki.

use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::root::{LinkKind, LinkSpec, Serial, prepare_link};
use time::Duration;

use crate::keys::{Key, TODAY};
use crate::openssl;

fn link(kind: LinkKind, subject: &Certificate, issuer: &Certificate, key: &Key) -> Certificate {
    let spec = LinkSpec { kind, serial: Serial::from_random([9; 16]), crl: None };
    key.complete(prepare_link(&spec, subject, issuer).unwrap())
}

#[test]
fn a_root_of_every_algorithm_satisfies_openssl_and_webpki() {
    for algorithm in KeyAlgorithm::ALL {
        let key = Key::shared(algorithm);
        let root = key.root(5);

        let text = openssl::text(&root);
        let signature = match algorithm {
            KeyAlgorithm::EcdsaP256 => "ecdsa-with-SHA256",
            KeyAlgorithm::EcdsaP384 => "ecdsa-with-SHA384",
            KeyAlgorithm::Rsa2048 => "sha256WithRSAEncryption",
            KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => "sha384WithRSAEncryption",
        };
        let identifier = root.subject_key_identifier().unwrap();
        let identifier = identifier.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
        for expected in [
            format!("Signature Algorithm: {signature}"),
            "Subject: CN=Rootcast Root G5,OU=Fleet,O=Example Corp,ST=Berlin,C=DE".to_owned(),
            "Issuer: CN=Rootcast Root G5,OU=Fleet,O=Example Corp,ST=Berlin,C=DE".to_owned(),
            "X509v3 Basic Constraints: critical\n                CA:TRUE\n".to_owned(),
            "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n".to_owned(),
            format!("X509v3 Subject Key Identifier: \n                {identifier}\n"),
            format!("X509v3 Authority Key Identifier: \n                {identifier}\n"),
            "Not Before: Jun  1 12:00:00 2024 GMT".to_owned(),
            format!("serial={}", root.serial().to_uppercase()),
        ] {
            assert!(text.contains(&expected), "{expected:?} is not in\n{text}");
        }
        assert!(text.replace(':', "").to_lowercase().contains(&root.fingerprint().to_string()));
        openssl::verify(&[&root], &root, &[], TODAY).unwrap();
        webpki::anchor_from_trusted_cert(&root.der().into()).unwrap();
        assert_eq!(root.signature_algorithm_name(), algorithm.java_name());
        assert_eq!(root.key_algorithm().unwrap(), algorithm);
        root.verify_signed_by(&root).unwrap();
    }
}

#[test]
fn links_chain_roots_and_end_in_time() {
    let algorithms = KeyAlgorithm::ALL;
    for (old, new) in algorithms.into_iter().zip(algorithms.into_iter().cycle().skip(1)) {
        let (old_key, new_key) = (Key::shared(old), Key::shared(new));
        let (old, new) = (old_key.root(5), new_key.root(6));
        let forward = link(LinkKind::NewWithOld, &new, &old, old_key);
        let back = link(LinkKind::OldWithNew, &old, &new, new_key);

        for (link, subject, issuer) in [(&forward, &new, &old), (&back, &old, &new)] {
            assert_eq!(link.subject_dn(), subject.subject_dn());
            assert_eq!(link.issuer_dn(), issuer.subject_dn());
            assert_eq!(link.spki_der(), subject.spki_der());
            assert_eq!(link.subject_key_identifier(), subject.subject_key_identifier());
            openssl::verify(&[issuer], link, &[], TODAY).unwrap();
            link.verify_signed_by(issuer).unwrap();
            assert!(link.verify_signed_by(subject).is_err());
        }
        assert_eq!(forward.not_before(), new.not_before());
        assert_eq!(forward.not_after(), old.not_after());
        assert_eq!((back.not_before(), back.not_after()), (old.not_before(), old.not_after()));
    }
}

#[test]
fn a_link_never_outlives_its_issuer() {
    let (old_key, new_key) = (Key::shared(KeyAlgorithm::EcdsaP384), Key::shared(KeyAlgorithm::EcdsaP256));
    let old = old_key.root(5);
    let mut short = new_key.root_spec(6);
    short.not_after = TODAY + Duration::days(30);
    let new = new_key.complete(rootcast_pki::root::prepare_root(&short, &new_key.spki_der).unwrap());

    assert_eq!(link(LinkKind::OldWithNew, &old, &new, new_key).not_after(), new.not_after());
    assert_eq!(link(LinkKind::NewWithOld, &new, &old, old_key).not_after(), new.not_after());
}
