//! Name constraints of a root: what OpenSSL and webpki accept below it.

use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::bundle::LARGEST_ANCHOR;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::root::{
    IssueError, LeafSpec, LinkKind, LinkSpec, ROOT_CRL, RootSpec, Serial, prepare_link, prepare_root,
    prepare_server_leaf,
};
use rootcast_pki::subject::DeviceSubject;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::Duration;
use url::Host;

use crate::keys::{Key, TODAY};
use crate::openssl;

fn root(key: &Key, generation: u32, permitted: &str) -> Certificate {
    let spec = RootSpec { permitted: permitted.parse().unwrap(), ..key.root_spec(generation) };
    key.complete(prepare_root(&spec, &key.spki_der).unwrap())
}

fn of_host(host: &str) -> LeafSpec {
    LeafSpec {
        subject: DeviceSubject::of_host(&Host::parse(host).unwrap()).unwrap(),
        serial: Serial::from_random([3; 16]),
        not_before: TODAY,
        not_after: TODAY + Duration::hours(24),
        crl: None,
    }
}

fn webpki(anchor: &Certificate, leaf: &Certificate, sent: &[&Certificate]) -> Result<(), webpki::Error> {
    let anchor = CertificateDer::from(anchor.der());
    let anchors = [webpki::anchor_from_trusted_cert(&anchor).unwrap()];
    let sent: Vec<CertificateDer<'_>> = sent.iter().map(|each| each.der().into()).collect();
    let der = CertificateDer::from(leaf.der());
    let leaf = webpki::EndEntityCert::try_from(&der)?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(TODAY.unix_timestamp().unsigned_abs()));
    let usage = webpki::KeyUsage::server_auth();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &sent, now, usage, None, None).map(|_| ())
}

const LISTS: [(&str, &[&str], &[&str]); 3] = [
    (
        "lab.example,10.0.0.0/8,fd12::/64",
        &["lab.example", "a.b.lab.example", "10.1.2.3", "[fd12::7]"],
        &["example", "evillab.example", "11.0.0.1", "[fd12:0:0:1::7]", "localhost"],
    ),
    ("lab.example", &["a.lab.example"], &["pay.example", "10.1.2.3", "[fd12::7]"]),
    ("10.0.0.0/8", &["10.1.2.3"], &["a.lab.example", "11.0.0.1", "[fd12::7]"]),
];

#[test]
fn a_root_certifies_its_permitted_names_only() {
    let key = Key::shared(KeyAlgorithm::EcdsaP384);
    let device = Key::shared(KeyAlgorithm::EcdsaP256);
    // The same name and key without constraints: what a thief of the signing permission would use.
    let free = root(key, 6, "");
    for (list, within, outside) in LISTS {
        let root = root(key, 6, list);
        let text = openssl::text(&root);
        assert!(text.contains("X509v3 Name Constraints: critical"), "{text}");
        for host in within {
            let leaf = key.complete(prepare_server_leaf(&of_host(host), &device.spki_der, &root).unwrap());
            openssl::verify(&[&root], &leaf, &[], TODAY).unwrap_or_else(|why| panic!("{host} of {list}: {why}"));
            webpki(&root, &leaf, &[]).unwrap_or_else(|why| panic!("{host} of {list}: {why}"));
        }
        for host in outside {
            let refused = prepare_server_leaf(&of_host(host), &device.spki_der, &root);
            assert!(matches!(refused, Err(IssueError::Constraints(_))), "{host} of {list}");
            let leaf = key.complete(prepare_server_leaf(&of_host(host), &device.spki_der, &free).unwrap());
            openssl::verify(&[&free], &leaf, &[], TODAY).unwrap();
            assert!(openssl::verify(&[&root], &leaf, &[], TODAY).unwrap_err().contains("subtree violation"), "{host}");
            assert_eq!(webpki(&root, &leaf, &[]), Err(webpki::Error::NameConstraintViolation), "{host} of {list}");
        }
    }
    assert!(!openssl::text(&free).contains("Name Constraints"));

    // A common name alone counts as a DNS name for OpenSSL.
    let root = root(key, 6, "lab.example,10.0.0.0/8");
    for (common, is_permitted) in [("a.lab.example", true), ("Rack 7", true), ("pay.example", false)] {
        let subject = DeviceSubject::new(common, [], vec![[10, 1, 2, 3].into()]).unwrap();
        let prepared = prepare_server_leaf(&LeafSpec { subject, ..of_host("10.1.2.3") }, &device.spki_der, &root);
        assert_eq!(prepared.is_ok(), is_permitted, "{common}");
        if let Ok(prepared) = prepared {
            openssl::verify(&[&root], &key.complete(prepared), &[], TODAY).unwrap();
        }
    }
}

#[test]
fn a_link_does_not_lead_around_constraints() {
    let (old_key, new_key) = (Key::shared(KeyAlgorithm::EcdsaP384), Key::shared(KeyAlgorithm::EcdsaP256));
    let device = Key::shared(KeyAlgorithm::EcdsaP256);
    let (old, new, free) = (root(old_key, 5, ""), root(new_key, 6, "lab.example"), root(new_key, 6, ""));
    let spec = |kind| LinkSpec { kind, serial: Serial::from_random([9; 16]), crl: None };
    let link = old_key.complete(prepare_link(&spec(LinkKind::NewWithOld), &new, &old).unwrap());
    assert!(openssl::text(&link).contains("X509v3 Name Constraints: critical"));
    for (host, is_accepted) in [("a.lab.example", true), ("pay.example", false)] {
        let leaf = new_key.complete(prepare_server_leaf(&of_host(host), &device.spki_der, &free).unwrap());
        assert_eq!(openssl::verify(&[&old], &leaf, &[&link], TODAY).is_ok(), is_accepted, "{host}");
        assert_eq!(webpki(&old, &leaf, &[&link]).is_ok(), is_accepted, "{host}");
    }
    let back = new_key.complete(prepare_link(&spec(LinkKind::OldWithNew), &old, &new).unwrap());
    assert!(!openssl::text(&back).contains("Name Constraints"), "the old root has none");
}

#[test]
fn the_largest_root_fits_into_a_bundle() {
    let key = Key::shared(KeyAlgorithm::Rsa4096);
    let wide = |count: usize| "\u{1f511}".repeat(count);
    let networks = (1..=15).map(|length| format!("::/{length}")).collect::<Vec<_>>().join(",");
    let suffix = format!("{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(35));
    let spec = RootSpec {
        root_name: wide(61),
        subject: format!("C=DE,ST={0},L={0},O={1},OU={1}", wide(128), wide(64)).parse().unwrap(),
        permitted: format!("{networks},{suffix}").parse().unwrap(),
        crl: Some(format!("https://{}.example", "d".repeat(ROOT_CRL - 16))),
        ..key.root_spec(6)
    };
    let largest = key.complete(prepare_root(&spec, &key.spki_der).unwrap());
    assert!((LARGEST_ANCHOR - 300..LARGEST_ANCHOR).contains(&largest.der().len()), "{}", largest.der().len());
}
