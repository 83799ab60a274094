//! Randomly faulty chains, also judged by rustls-webpki. What webpki refuses is never imported; what it accepts is
//! imported, unless refused for a reason that webpki does not check.

use proptest::prelude::*;
use rootcast_pki::import::{Material, Problem, check};
use rustls_pki_types::{CertificateDer, UnixTime};
use time::Duration;

use crate::corpus::certificate::{
    Aki, CLIENT_AUTH, CODE_SIGNING, CRL_SIGN, DIGITAL_SIGNATURE, KEY_CERT_SIGN, SERVER_AUTH, Spec, TODAY,
    alternative_names, basic_constraints, common_name, dns, extended_key_usage, extension, ip, key_usage,
    name_constraints,
};
use crate::corpus::der::{sequence, tlv};
use crate::corpus::key::Key;
use crate::corpus::{Bundle, HOST, code, intermediate_key, leaf_key, other_key, pki};

/// Codes of problems that webpki does not check: key identifiers, and the leaf's names and usages beyond TLS.
const UNSEEN: [&str; 5] =
    [code::KEY_IDENTIFIER, code::NO_NAME, code::BAD_NAME, code::PURPOSE, code::DUPLICATE_EXTENSION];

/// Mostly good, so that a chain of several is sometimes good as a whole. None is self-issued: webpki counts self-issued
/// certificates for pathLen, contrary to RFC 5280 §4.2.1.9.
#[derive(Debug, Clone)]
struct Issuer {
    basic: u8,
    usage: u8,
    purposes: u8,
    validity: u8,
    constraints: u8,
    aki: bool,
}

fn rarely(limit: u8) -> impl Strategy<Value = u8> {
    prop_oneof![6 => Just(0_u8), 1 => 0..=limit]
}

prop_compose! {
    fn issuer()(
        basic in rarely(6),
        usage in rarely(2),
        purposes in rarely(4),
        validity in rarely(2),
        constraints in rarely(9),
        aki in prop::bool::weighted(0.95),
    ) -> Issuer {
        Issuer { basic, usage, purposes, validity, constraints, aki }
    }
}

fn basic(choice: u8) -> Option<Vec<u8>> {
    match choice {
        1 => None,
        2 => Some(extension("2.5.29.19", true, &sequence::<Vec<u8>>([]))),
        0 => Some(basic_constraints(None)),
        more => Some(basic_constraints(Some(u64::from(more - 3)))),
    }
}

/// Always with keyCertSign, which webpki does not require.
fn usage(choice: u8) -> Option<Vec<u8>> {
    [Some(KEY_CERT_SIGN | CRL_SIGN), None, Some(KEY_CERT_SIGN | DIGITAL_SIGNATURE)][usize::from(choice)].map(key_usage)
}

fn purposes(choice: u8) -> Option<Vec<u8>> {
    let purposes: &[&[&str]] = &[&[], &[SERVER_AUTH], &[SERVER_AUTH, CLIENT_AUTH], &[CLIENT_AUTH], &[CODE_SIGNING]];
    Some(purposes[usize::from(choice)]).filter(|purposes| !purposes.is_empty()).map(extended_key_usage)
}

fn validity(choice: u8, spec: &mut Spec) {
    match choice {
        1 => spec.not_after = TODAY - Duration::SECOND,
        2 => spec.not_before = TODAY + Duration::SECOND,
        _ => {}
    }
}

fn constraints(choice: u8) -> Option<Vec<u8>> {
    let (hosts, others) = (dns("fleet.example"), dns("other.example"));
    let (net, elsewhere) = (ip(&[192, 0, 2, 0, 255, 255, 255, 0]), ip(&[198, 51, 100, 0, 255, 255, 255, 0]));
    Some(match choice {
        0 => return None,
        1 => name_constraints(&[hosts], &[]),
        2 => name_constraints(&[others], &[]),
        3 => name_constraints(&[], &[hosts]),
        4 => name_constraints(&[], &[others]),
        5 => name_constraints(&[hosts, net], &[]),
        6 => name_constraints(&[elsewhere], &[]),
        7 => name_constraints(&[], &[net]),
        8 => name_constraints(&[hosts, others], &[dns("rack.fleet.example")]),
        _ => name_constraints(&[dns("example")], &[elsewhere]),
    })
}

fn names(choice: u8) -> Option<Vec<u8>> {
    let names: &[Vec<u8>] = &[dns(HOST), dns("x.rack.fleet.example"), dns("x.other.example"), ip(&[192, 0, 2, 9])];
    match choice {
        0..4 => Some(alternative_names(&names[usize::from(choice)..=usize::from(choice)])),
        4 => Some(alternative_names(names)),
        _ => Some(alternative_names(&[names[0].clone(), names[3].clone()])),
    }
}

fn bundle(issuers: &[Issuer], leaf: &Issuer, leaf_names: u8) -> Bundle {
    let keys = [intermediate_key(), other_key()];
    let mut chain = vec![pki().root.clone()];
    for (number, issuer) in issuers.iter().enumerate() {
        let key: &'static Key = keys[number % 2];
        let mut spec = Spec::authority(&format!("Issuing {number}"), key);
        spec.serial = vec![1, number as u8];
        spec.basic_constraints = basic(issuer.basic);
        spec.key_usage = usage(issuer.usage);
        spec.extended_key_usage = purposes(issuer.purposes);
        spec.more = constraints(issuer.constraints).into_iter().collect();
        validity(issuer.validity, &mut spec);
        if !issuer.aki {
            spec.aki = Aki::Other(vec![7; 20]);
        }
        let next = spec.authority_by(key, &chain[0]);
        chain.insert(0, next);
    }
    let mut spec = Spec::leaf(HOST, leaf_key());
    // webpki does not look for a host in the CN, as others do where the SAN has no DNS name.
    spec.subject = common_name("Board 7");
    spec.names = names(leaf_names);
    spec.extended_key_usage = purposes(leaf.purposes);
    validity(leaf.validity, &mut spec);
    if leaf.basic == 1 {
        spec.more = vec![extension("1.3.6.1.4.1.99999.1", leaf.aki, &tlv(0x05, &[]))];
    }
    Bundle {
        leaf: spec.signed_by(&chain[0]),
        others: chain.iter().map(|authority| authority.der.clone()).collect(),
        own_roots: Vec::new(),
        key: leaf_key().pem(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn webpki_agrees_except_on_what_it_does_not_check(
        issuers in proptest::collection::vec(issuer(), 0..4),
        leaf in issuer(),
        leaf_names in prop_oneof![4 => Just(0_u8), 1 => 0..=5_u8],
    ) {
        let bundle = bundle(&issuers, &leaf, leaf_names);
        let text = bundle.text();
        let ours = check(&Material::Pem { certificate: &text, certificate_chain: None, private_key: &bundle.key }, &[], TODAY);
        match (ours, webpki(&bundle)) {
            (Ok(_), Ok(())) | (Err(_), Err(_)) => {}
            (Ok(_), Err(error)) => prop_assert!(false, "imported, and webpki says {:?}", error),
            (Err(problems), Ok(())) => {
                let seen = problems.iter().map(Problem::code).filter(|code| !UNSEEN.contains(code));
                prop_assert_eq!(seen.collect::<Vec<_>>(), [""; 0], "refused, and webpki accepts: {}", problems);
            }
        }
    }
}

/// Accepted as a server or a client certificate.
fn webpki(bundle: &Bundle) -> Result<(), webpki::Error> {
    let root = CertificateDer::from(bundle.others.last().unwrap().as_slice());
    let anchors = [webpki::anchor_from_trusted_cert(&root)?];
    let sent: Vec<CertificateDer<'_>> = bundle.others.iter().map(|der| der.as_slice().into()).collect();
    let leaf = CertificateDer::from(bundle.leaf.as_slice());
    let leaf = webpki::EndEntityCert::try_from(&leaf)?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(TODAY.unix_timestamp().unsigned_abs()));
    let verify = |usage| {
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        leaf.verify_for_usage(algorithms, &anchors, &sent, now, usage, None, None).map(drop)
    };
    verify(webpki::KeyUsage::server_auth()).or_else(|_| verify(webpki::KeyUsage::client_auth()))
}
