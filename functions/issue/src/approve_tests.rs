#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use rcgen::{KeyPair, PublicKeyData};
use rootcast_core::device::{Driver, Profile};
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-06-01 12:00:00.5 UTC);
const YEAR: Duration = Duration::days(365);

fn root(not_before: OffsetDateTime, not_after: OffsetDateTime) -> Certificate {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (not_before, not_after);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap()
}

fn device(address: &str) -> DeviceRecord {
    let id = "bmc-1".parse().unwrap();
    DeviceRecord::new(
        id,
        rootcast_core::device::Incarnation::from_random([1; 16]),
        address.parse().unwrap(),
        Driver::Redfish,
        Profile::Openbmc,
        "/rootcast/devices/bmc-1".to_owned(),
    )
}

fn made(root: &Certificate, validity: Duration) -> Result<LeafSpec, Failure> {
    let subject = subject(&device("https://10.0.0.7")).unwrap();
    spec(subject, Serial::from_random([9; 16]), (3, root), "https://pki.example.com/", validity, NOW)
}

#[test]
fn a_certificate_never_outlives_its_root() {
    let old = root(NOW - YEAR, NOW + YEAR * 2);
    let spec = made(&old, YEAR).unwrap();
    assert_eq!(spec.not_before, datetime!(2026-06-01 11:00 UTC), "an hour for slow clocks");
    assert_eq!(spec.not_after, datetime!(2027-06-01 12:00 UTC));
    assert_eq!(spec.crl.as_deref(), Some("https://pki.example.com/crl/3/9.crl"));

    let young = root(datetime!(2026-06-01 11:59:30 UTC), datetime!(2026-07-01 0:00 UTC));
    let spec = made(&young, YEAR).unwrap();
    assert_eq!((spec.not_before, spec.not_after), (young.not_before(), young.not_after()));
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    check(&spec, &key.subject_public_key_info(), &young).unwrap();

    let ending = made(&root(NOW - YEAR, NOW + Duration::hours(23)), YEAR).unwrap_err();
    assert_eq!((ending.class, ending.stage), (ErrorClass::Authority, Some(Stage::ApproveRequest)));
}

#[test]
fn a_reservation_is_only_used_by_its_root() {
    let old = root(NOW - YEAR, NOW + YEAR * 2);
    let reserved = Reserved { generation: 3, spec: made(&old, YEAR).unwrap() };
    assert!(is_usable(&reserved, 3, NOW) && is_usable(&reserved, 3, NOW + Duration::days(300)));
    assert!(!is_usable(&reserved, 4, NOW), "another root signs now");
    assert!(!is_usable(&reserved, 3, NOW + Duration::days(364) + Duration::hours(1)));
}

#[test]
fn the_subject_comes_from_the_devices_record() {
    let by_address = subject(&device("https://bmc-1.example:8443")).unwrap();
    assert_eq!(
        (by_address.common_name(), by_address.dns_names()),
        ("bmc-1.example", &["bmc-1.example".to_owned()][..])
    );
    let said = DeviceSubject::new("Rack 7", ["a.example".to_owned()], Vec::new()).unwrap();
    let named = DeviceRecord { subject: Some(said.clone()), ..device("https://bmc-1.example") };
    assert_eq!(subject(&named).unwrap(), said);

    let failure = subject(&device("https://bmc_1.example")).unwrap_err();
    assert_eq!((failure.class, failure.stage), (ErrorClass::Subject, Some(Stage::ApproveRequest)));
    assert!(failure.message.contains("bmc_1.example"), "{}", failure.message);
}
