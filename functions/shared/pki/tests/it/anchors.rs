//! Certificates of others that may become trust anchors, and those that may not.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
};
use rootcast_pki::anchor::{NoAnchors, NotAnAnchor, anchors};
use rootcast_pki::certificate::Certificate;
use time::Duration;

use crate::keys::TODAY;

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Other Root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = (TODAY - Duration::DAY, TODAY + Duration::DAY);
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn pem(params: &CertificateParams) -> String {
    params.self_signed(&key()).unwrap().pem()
}

fn refused(text: &str) -> NotAnAnchor {
    match anchors(text, 5, TODAY) {
        Err(NoAnchors::One { number: 1, why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn roots_of_others_are_taken_in_their_order() {
    let mut open = authority();
    // As `openssl req -x509` makes them.
    open.key_usages.clear();
    let text = format!("Bag Attributes\n{}\n{}", pem(&authority()), pem(&open));
    let taken = anchors(&text, 2, TODAY).unwrap();
    assert_eq!(taken.len(), 2);
    assert!(text.find(&taken[0].pem()).unwrap() < text.find(&taken[1].pem()).unwrap());
    assert!(matches!(anchors(&text, 1, TODAY), Err(NoAnchors::Many(2, 1))));
}

/// Lenovo's page gives a root of one of its servers, signed with SHA-1, as its example.
#[test]
fn an_old_root_that_signed_itself_with_sha1_is_taken() {
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha1", "-subj", "/CN=Old", "-days", "2", "-keyout"])
        .arg("/dev/null")
        .args(["-not_before", "20260101000000Z", "-not_after", "20480101000000Z"])
        .output()
        .unwrap();
    let text = String::from_utf8(made.stdout).unwrap();
    // Releases before 3.4 do not take dates.
    if made.status.success() && !text.is_empty() {
        assert_eq!(anchors(&text, 1, TODAY).unwrap().len(), 1);
    }
}

#[test]
fn what_is_no_root_of_an_authority_is_refused() {
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = authority();
        change(&mut params);
        refused(&pem(&params))
    };
    assert!(matches!(with(|params| params.is_ca = IsCa::NoCa), NotAnAnchor::NotAnAuthority));
    assert!(matches!(with(|params| params.is_ca = IsCa::ExplicitNoCa), NotAnAnchor::NotAnAuthority));
    assert!(matches!(with(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]), NotAnAnchor::Usage));
    assert!(matches!(with(|params| params.distinguished_name = Default::default()), NotAnAnchor::NoSubject));
    assert!(matches!(with(|params| params.not_before = TODAY + Duration::HOUR), NotAnAnchor::Early(_)));
    assert!(matches!(with(|params| params.not_after = TODAY - Duration::HOUR), NotAnAnchor::Expired(_)));
    let critical = with(|params| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
    });
    assert!(matches!(&critical, NotAnAnchor::Critical(oid) if oid == "1.2.3.4"), "{critical}");
    let large = with(|params| {
        params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0; 7000]));
    });
    assert!(matches!(large, NotAnAnchor::Large));
    let strange = authority().self_signed(&KeyPair::generate_for(&PKCS_ED25519).unwrap()).unwrap().pem();
    assert!(matches!(refused(&strange), NotAnAnchor::Key));
}

#[test]
fn an_authority_below_a_root_is_refused_with_its_issuer() {
    let (root, below) = (key(), key());
    let issuer = rcgen::Issuer::new(authority(), root);
    let mut params = authority();
    params.distinguished_name.push(DnType::CommonName, "Below");
    let why = refused(&params.signed_by(&below, &issuer).unwrap().pem());
    assert!(matches!(&why, NotAnAnchor::NotARoot { issuer } if issuer == "CN=Other Root"), "{why}");
    // With its name, and not with its key.
    let forged = authority().signed_by(&below, &issuer).unwrap().pem();
    assert!(matches!(refused(&forged), NotAnAnchor::Forged));
}

#[test]
fn hostile_text_is_refused_without_its_content() {
    let good = pem(&authority());
    let der = Certificate::from_pem(&good).unwrap().der().to_vec();
    let secret = key().serialize_pem();
    let trailing = pem::encode(&pem::Pem::new("CERTIFICATE", [der.as_slice(), b"more"].concat()));
    for text in ["", "\0", "no PEM", &secret, &format!("{good}{secret}"), &trailing, &good[..good.len() / 2]] {
        let refused = anchors(text, 5, TODAY);
        let said = match &refused {
            Err(why) => why.to_string(),
            Ok(taken) => panic!("{text} gives {taken:?}"),
        };
        assert!(!secret.lines().skip(1).take(2).any(|line| said.contains(line)), "{said}");
    }
    // Whatever bit is turned, nothing is taken that its key did not sign.
    for bit in (0..der.len() * 8).step_by(37) {
        let mut turned = der.clone();
        turned[bit / 8] ^= 1 << (bit % 8);
        let text = pem::encode(&pem::Pem::new("CERTIFICATE", turned));
        assert!(anchors(&text, 5, TODAY).is_err(), "bit {bit}");
    }
}
