//! Which chain a server may send while the fleet is between two roots: each of the five candidates, against a device
//! that holds the old root, both, or the new one. OpenSSL searches without backtracking; webpki backtracks. The chain
//! to be served must satisfy both everywhere.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyUsagePurpose, PublicKeyData, SignatureAlgorithm};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::root::{LeafSpec, LinkKind, LinkSpec, Prepared, Serial, prepare_link, prepare_server_leaf};
use rootcast_pki::subject::DeviceSubject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use time::Duration;

use crate::keys::{Key, TODAY};
use crate::openssl;

/// Whether OpenSSL and webpki accept, in this order.
#[derive(Debug, PartialEq)]
struct Accepts(bool, bool);

const BOTH: Accepts = Accepts(true, true);
const ONLY_WEBPKI: Accepts = Accepts(false, true);
const NEITHER: Accepts = Accepts(false, false);

#[test]
fn one_link_beside_one_chain_satisfies_every_device() {
    for (old, new) in [
        (KeyAlgorithm::EcdsaP384, KeyAlgorithm::EcdsaP384),
        (KeyAlgorithm::Rsa2048, KeyAlgorithm::EcdsaP384),
        (KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa4096),
    ] {
        let (old_key, new_key) = (Key::generate(old), Key::generate(new));
        let (old, new) = (old_key.root(5), new_key.root(6));
        let issuing_key = Key::generate(KeyAlgorithm::EcdsaP256);
        let by_old = issuing(&issuing_key, &old, &old_key);
        let by_new = issuing(&issuing_key, &new, &new_key);
        let spec = |kind| LinkSpec { kind, serial: Serial::from_random([7; 16]), crl: None };
        let new_with_old = old_key.complete(prepare_link(&spec(LinkKind::NewWithOld), &new, &old).unwrap());
        let old_with_new = new_key.complete(prepare_link(&spec(LinkKind::OldWithNew), &old, &new).unwrap());
        let server_key = Key::generate(KeyAlgorithm::EcdsaP256);
        let leaf = issuing_key.complete(leaf(&server_key, &by_new));

        let table: [(&str, &[&Certificate], [Accepts; 3]); 5] = [
            ("issuing by old, issuing by new", &[&by_old, &by_new], [BOTH, BOTH, ONLY_WEBPKI]),
            ("issuing by new, issuing by old", &[&by_new, &by_old], [ONLY_WEBPKI, BOTH, BOTH]),
            ("issuing by new, no link", &[&by_new], [NEITHER, BOTH, BOTH]),
            ("issuing by new, NewWithOld", &[&by_new, &new_with_old], [BOTH, BOTH, BOTH]),
            ("issuing by old, OldWithNew", &[&by_old, &old_with_new], [BOTH, BOTH, BOTH]),
        ];
        for (chain, sent, expected) in table {
            let devices: [&[&Certificate]; 3] = [&[&old], &[&old, &new], &[&new]];
            for ((anchors, held), expected) in devices.into_iter().zip(["old", "both", "new"]).zip(expected) {
                let openssl = openssl::verify(anchors, &leaf, sent, TODAY);
                let webpki = webpki(anchors, &leaf, sent);
                let seen = Accepts(openssl.is_ok(), webpki.is_ok());
                assert_eq!(seen, expected, "{chain}; device holds {held}: {openssl:?} {webpki:?}");
            }
        }
    }
}

#[test]
fn a_server_certificate_never_outlives_its_issuer() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
        let root_key = Key::shared(KeyAlgorithm::EcdsaP384);
        let (root, server_key) = (root_key.root(6), Key::shared(algorithm));
        let leaf = root_key.complete(leaf(server_key, &root));
        openssl::verify(&[&root], &leaf, &[], TODAY).unwrap();
        webpki(&[&root], &leaf, &[]).unwrap();
        let text = openssl::text(&leaf);
        assert!(text.contains("DNS:localhost, IP Address:127.0.0.1"), "{text}");
        assert!(text.contains("X509v3 Basic Constraints: critical\n                CA:FALSE"), "{text}");
        assert!(text.contains("TLS Web Server Authentication"), "{text}");

        assert!(prepare_server_leaf(&leaf_spec(), &server_key.spki_der, &leaf).is_err(), "a leaf issues nothing");
        for refused in [
            LeafSpec { not_after: root.not_after() + Duration::seconds(1), ..leaf_spec() },
            LeafSpec { not_before: root.not_before() - Duration::seconds(1), ..leaf_spec() },
            LeafSpec { not_after: TODAY, ..leaf_spec() },
            LeafSpec { crl: Some("ldap://example.com/crl".to_owned()), ..leaf_spec() },
            LeafSpec { crl: Some("https://ex ample.com/crl".to_owned()), ..leaf_spec() },
        ] {
            assert!(prepare_server_leaf(&refused, &server_key.spki_der, &root).is_err(), "{refused:?}");
        }
    }
}

fn leaf(server_key: &Key, issuer: &Certificate) -> Prepared {
    prepare_server_leaf(&leaf_spec(), &server_key.spki_der, issuer).unwrap()
}

fn leaf_spec() -> LeafSpec {
    LeafSpec {
        subject: DeviceSubject::new("localhost", ["localhost".to_owned()], vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
            .unwrap(),
        serial: Serial::from_random([3; 16]),
        not_before: TODAY,
        not_after: TODAY + Duration::hours(24),
        crl: None,
    }
}

fn webpki(anchors: &[&Certificate], leaf: &Certificate, sent: &[&Certificate]) -> Result<(), webpki::Error> {
    let anchors: Vec<CertificateDer<'_>> = anchors.iter().map(|each| each.der().into()).collect();
    let anchors: Vec<_> = anchors.iter().map(|each| webpki::anchor_from_trusted_cert(each).unwrap()).collect();
    let sent: Vec<CertificateDer<'_>> = sent.iter().map(|each| each.der().into()).collect();
    let leaf = CertificateDer::from(leaf.der());
    let leaf = webpki::EndEntityCert::try_from(&leaf)?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(TODAY.unix_timestamp().unsigned_abs()));
    let usage = webpki::KeyUsage::server_auth();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &sent, now, usage, None, None)?;
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from("localhost").unwrap())?;
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from("127.0.0.1").unwrap())
}

/// An issuing certificate authority between root and servers. The product has none.
fn issuing(key: &Key, root: &Certificate, root_key: &Key) -> Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Issuing");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (root.not_before(), root.not_after());
    let issuer = rcgen::Issuer::from_ca_cert_der(&root.der().into(), Signer(root_key)).unwrap();
    let subject = rcgen::SubjectPublicKeyInfo::from_der(&key.spki_der).unwrap();
    Certificate::from_der(params.signed_by(&subject, &issuer).unwrap().der().to_vec()).unwrap()
}

struct Signer<'a>(&'a Key);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        &[]
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.0.algorithm {
            KeyAlgorithm::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyAlgorithm::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
            KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => &rcgen::PKCS_RSA_SHA384,
        }
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(&self.0.algorithm.digest(message)))
    }
}
