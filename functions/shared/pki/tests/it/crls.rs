//! Revocation lists, checked with OpenSSL and webpki.

use std::collections::HashMap;

use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::{CrlId, CrlSpec, FORMER_LISTS, LIFETIME, LISTS, NotACrl, Reason, Revoked, is_due, prepare_crl};
use rootcast_pki::root::{IssueError, LeafSpec, Serial, prepare_server_leaf};
use rootcast_pki::signer::{IssuingId, SignerId};
use rootcast_pki::subject::DeviceSubject;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::{Duration, OffsetDateTime};

use crate::keys::{Key, TODAY};
use crate::openssl;

use crate::keys::CRLS as BASE;

fn serial(first: u8) -> Serial {
    Serial::from_random([first; 16])
}

fn leaf(key: &Key, root: &Certificate, serial: Serial) -> Certificate {
    let subject = DeviceSubject::new("bmc-1", ["bmc-1.example".to_owned()], vec!["10.0.0.7".parse().unwrap()]).unwrap();
    let spec = LeafSpec {
        subject: subject.with_attributes("OU=BMC,O=Example Corp,C=DE".parse().unwrap()).with_client_auth(),
        serial,
        not_before: TODAY,
        not_after: TODAY + Duration::days(365),
        crl: Some(CrlId::of(SignerId::root(6), &serial).url(BASE)),
    };
    key.complete(prepare_server_leaf(&spec, &Key::shared(KeyAlgorithm::EcdsaP256).spki_der, root).unwrap())
}

fn spec(shard: CrlId, revoked: Vec<Revoked>) -> CrlSpec {
    CrlSpec {
        list: shard,
        number: 7,
        this_update: TODAY,
        next_update: TODAY + LIFETIME,
        urls: vec![shard.url(BASE)],
        revoked,
    }
}

fn webpki(root: &Certificate, leaf: &Certificate, crl: &[u8], at: OffsetDateTime) -> Result<(), webpki::Error> {
    let anchor = CertificateDer::from(root.der());
    let anchor = webpki::anchor_from_trusted_cert(&anchor).unwrap();
    let leaf = CertificateDer::from(leaf.der());
    let leaf = webpki::EndEntityCert::try_from(&leaf)?;
    let crl = webpki::CertRevocationList::from(webpki::BorrowedCertRevocationList::from_der(crl)?);
    let crls = [&crl];
    let revocation = webpki::RevocationOptionsBuilder::new(&crls).unwrap();
    let revocation = revocation.with_expiration_policy(webpki::ExpirationPolicy::Enforce).build();
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.unix_timestamp().unsigned_abs()));
    let usage = webpki::KeyUsage::client_auth();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[anchor], &[], at, usage, Some(revocation), None)?;
    Ok(())
}

#[test]
fn verifiers_with_the_list_refuse_a_revoked_certificate() {
    for algorithm in [KeyAlgorithm::EcdsaP384, KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa4096] {
        let key = Key::shared(algorithm);
        let root = key.root(6);
        let (one, other) = (
            leaf(key, &root, serial(5)),
            leaf(key, &root, Serial::from_random([5, 1, 5, 1, 5, 1, 5, 1, 5, 1, 5, 1, 5, 1, 5, 1])),
        );
        let shard = CrlId::of(SignerId::root(6), &serial(5));
        let list = |revoked| key.complete(prepare_crl(&spec(shard, revoked), &root).unwrap());
        let empty = list(vec![]);
        let revoked =
            list(vec![Revoked { serial: serial(5), at: TODAY - Duration::DAY, reason: Reason::KeyCompromise }]);

        for leaf in [&one, &other] {
            openssl::verify_with(&[&root], leaf, &[], Some(empty.der()), TODAY).unwrap();
            webpki(&root, leaf, empty.der(), TODAY).unwrap();
        }
        openssl::verify_with(&[&root], &other, &[], Some(revoked.der()), TODAY).unwrap();
        webpki(&root, &other, revoked.der(), TODAY).unwrap();
        assert!(openssl::verify_with(&[&root], &one, &[], Some(revoked.der()), TODAY).unwrap_err().contains("revoked"));
        assert_eq!(webpki(&root, &one, revoked.der(), TODAY), Err(webpki::Error::CertRevoked));
        let late = TODAY + LIFETIME + Duration::SECOND;
        assert!(openssl::verify_with(&[&root], &one, &[], Some(empty.der()), late).unwrap_err().contains("expired"));
        assert!(webpki(&root, &other, empty.der(), late).is_err());

        let moved = CrlSpec {
            urls: vec!["http://new.example.com/crl/6/5.crl".to_owned(), shard.url(BASE)],
            ..spec(shard, vec![])
        };
        let moved = key.complete(prepare_crl(&moved, &root).unwrap());
        openssl::verify_with(&[&root], &one, &[], Some(moved.der()), TODAY).unwrap();
        webpki(&root, &one, moved.der(), TODAY).unwrap();

        let elsewhere =
            key.complete(prepare_crl(&spec(CrlId::new(SignerId::root(6), 6).unwrap(), vec![]), &root).unwrap());
        assert!(
            openssl::verify_with(&[&root], &one, &[], Some(elsewhere.der()), TODAY).is_err(),
            "another list's address"
        );
        assert_eq!(webpki(&root, &one, elsewhere.der(), TODAY), Err(webpki::Error::UnknownRevocationStatus));
    }
}

#[test]
fn a_list_has_the_contents_that_rfc_5280_requires() {
    let key = Key::shared(KeyAlgorithm::EcdsaP384);
    let root = key.root(6);
    let shard = CrlId::new(SignerId::root(6), 63).unwrap();
    let reasons = [Reason::Unspecified, Reason::Superseded, Reason::CessationOfOperation];
    let revoked = reasons.into_iter().zip(1..).map(|(reason, n)| Revoked { serial: serial(n), at: TODAY, reason });
    let revoked: Vec<_> = revoked.collect();
    let list = key.complete(prepare_crl(&spec(shard, revoked.clone()), &root).unwrap());
    assert_eq!(list.revoked().unwrap(), revoked);
    let text = openssl::crl_text(list.der(), &root);
    let identifier: Vec<_> = root.subject_key_identifier().unwrap().iter().map(|byte| format!("{byte:02X}")).collect();
    for expected in [
        "Version 2 (0x1)".to_owned(),
        "Issuer: CN=Rootcast Root G6,OU=Fleet,O=Example Corp,ST=Berlin,C=DE".to_owned(),
        "Last Update: Jun  1 12:00:00 2026 GMT".to_owned(),
        "Next Update: Jun  8 12:00:00 2026 GMT".to_owned(),
        format!("X509v3 Authority Key Identifier: \n                {}\n", identifier.join(":")),
        "X509v3 CRL Number: \n                7\n".to_owned(),
        "X509v3 Issuing Distribution Point: critical\n".to_owned(),
        "URI:http://pki.example.com/crl/6/63.crl".to_owned(),
        "Only User Certificates\n".to_owned(),
        format!("Serial Number: {}\n", serial(1).to_string().to_uppercase()),
        "X509v3 CRL Reason Code: \n                Superseded\n".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected:?} is not in\n{text}");
    }
    assert_eq!(text.matches("X509v3 CRL Reason Code").count(), 2, "{text}");
    let empty = openssl::crl_text(key.complete(prepare_crl(&spec(shard, vec![]), &root).unwrap()).der(), &root);
    assert!(empty.contains("No Revoked Certificates"), "{empty}");

    let text = openssl::text(&leaf(key, &root, serial(63)));
    for expected in [
        "Subject: CN=bmc-1,OU=BMC,O=Example Corp,C=DE",
        "DNS:bmc-1.example, IP Address:10.0.0.7",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "URI:http://pki.example.com/crl/6/63.crl",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

#[test]
fn an_impossible_or_foreign_list_is_refused() {
    let key = Key::shared(KeyAlgorithm::EcdsaP256);
    let root = key.root(6);
    let good = spec(CrlId::new(SignerId::root(6), 0).unwrap(), vec![]);
    let backwards = CrlSpec { next_update: TODAY, ..good.clone() };
    assert!(matches!(prepare_crl(&backwards, &root), Err(IssueError::Encoding(_))));
    let nowhere = CrlSpec { urls: vec!["file:///crl".to_owned()], ..good.clone() };
    assert!(matches!(prepare_crl(&nowhere, &root), Err(IssueError::CrlUrl)));
    assert!(matches!(prepare_crl(&good, &leaf(key, &root, serial(0))), Err(IssueError::NotAnAuthority)));

    let unnamed = CrlSpec { urls: vec![], ..good.clone() };
    assert!(matches!(prepare_crl(&unnamed, &root), Err(IssueError::CrlUrl)));

    let prepared = prepare_crl(&good, &root).unwrap();
    let signature = Key::generate(KeyAlgorithm::EcdsaP256).sign(&prepared.digest());
    assert!(matches!(prepared.complete(&signature), Err(IssueError::Signature(_))));
}

#[test]
fn a_list_has_one_address() {
    for shard in 0..FORMER_LISTS + LISTS {
        let list = CrlId::new(SignerId::root(3), shard).unwrap();
        assert_eq!(list.to_string().parse(), Ok(list));
        assert_eq!(list.url("https://a.example/stage"), format!("https://a.example/stage/crl/3/{shard}.crl"));
        let numbered = match shard.checked_sub(FORMER_LISTS) {
            None => serial(u8::try_from(shard).unwrap() | 0xc0),
            Some(new) => {
                let mut octets = [0xff; 16];
                (octets[0], octets[1]) = ((new >> 5) as u8 | 0xe0, (new << 3) as u8 | 7);
                Serial::of_leaf(octets)
            }
        };
        assert_eq!(CrlId::of(SignerId::root(3), &numbered), list);
        assert_eq!(Serial::try_from(numbered.to_string()), Ok(numbered));
        let json = serde_json::json!({"generation": 3, "shard": shard});
        assert_eq!(serde_json::to_value(list).unwrap(), json);
        assert_eq!(serde_json::from_value::<CrlId>(json).unwrap(), list);
    }
    for (path, lifetime) in [("/crl/3.2/63.crl", 7), ("/crl/3/63.crl", 30), ("/crl/3/authorities.crl", 182)] {
        let list: CrlId = path.parse().unwrap();
        assert_eq!((list.to_string().as_str(), list.lifetime()), (path, Duration::days(lifetime)));
        let json = serde_json::to_value(list).unwrap();
        assert_eq!(serde_json::from_value::<CrlId>(json).unwrap(), list);
    }
    for path in [
        "/crl/3.1/authorities.crl",
        "/crl/3.0/1.crl",
        "/crl/3/1088.crl",
        "/crl/0/1.crl",
        "/crl/03/1.crl",
        "/crl/3/+1.crl",
        "/crl/3/1",
        "/crl/3/1/1.crl",
        "crl/3/1.crl",
    ] {
        assert_eq!(path.parse::<CrlId>(), Err(NotACrl), "{path}");
    }
    for wrong in [r#"{"generation":3,"shard":1088}"#, r#"{"generation":3,"issuing":1}"#] {
        assert!(serde_json::from_str::<CrlId>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_list_is_renewed_at_half_its_lifetime() {
    let due = |after| is_due(TODAY, TODAY + LIFETIME, TODAY + after);
    assert!(!due(Duration::ZERO) && !due(LIFETIME / 2 - Duration::SECOND));
    assert!(due(LIFETIME / 2) && due(LIFETIME * 2));
}

#[test]
fn reasons_have_venafis_numbers() {
    let numbered: Vec<_> = (0..=7).map(Reason::from_number).collect();
    assert_eq!(numbered[1], Some(Reason::KeyCompromise));
    assert_eq!(numbered[5], Some(Reason::CessationOfOperation));
    assert_eq!(numbered[6..], [None, None]);
}

/// Of a signer with a million devices, each of which was renewed once.
#[test]
fn the_fullest_list_fits_with_every_certificate_revoked() {
    let signer = SignerId::from(IssuingId { generation: 3, number: 1 });
    // SplitMix64, for random numbers that are the same in each run.
    let mut state = 17_u64;
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_be_bytes()
    };
    let mut lists: HashMap<CrlId, Vec<Serial>> = HashMap::new();
    for _ in 0..2_000_000 {
        let (one, other) = (random(), random());
        let serial = Serial::of_leaf(std::array::from_fn(|at| if at < 8 { one[at] } else { other[at - 8] }));
        lists.entry(CrlId::of(signer, &serial)).or_default().push(serial);
    }
    assert_eq!(lists.len(), usize::from(LISTS));
    let (list, fullest) = lists.into_iter().max_by_key(|(_, serials)| serials.len()).unwrap();
    assert!((1953..2400).contains(&fullest.len()), "{}", fullest.len());
    let key = Key::shared(KeyAlgorithm::EcdsaP256);
    let root = key.root(6);
    let revoked: Vec<Revoked> =
        fullest.into_iter().map(|serial| Revoked { serial, at: TODAY, reason: Reason::Superseded }).collect();
    let crl = key.complete(prepare_crl(&spec(list, revoked.clone()), &root).unwrap());
    assert_eq!(crl.revoked().unwrap(), revoked);
    // DynamoDB takes 400 KB an item.
    let stored = String::from(crl).len();
    assert!(stored < 200 << 10, "{stored}");
}
