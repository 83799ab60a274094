#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use rcgen::{KeyPair, PublicKeyData};
use rootcast_core::device::{Driver, Profile};
use rootcast_pki::signer::IssuingId;
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
    let mut device = DeviceRecord::new(
        id,
        rootcast_core::device::Incarnation::from_random([1; 16]),
        address.parse().unwrap(),
        Driver::Redfish,
        Profile::Openbmc,
        "/rootcast/devices/bmc-1".to_owned(),
    );
    device.pins = vec![format!("sha256:{}", "ab".repeat(32)).parse().unwrap()];
    device
}

fn made(root: &Certificate, validity: Duration) -> Result<LeafSpec, Failure> {
    of(&device("https://10.0.0.7"), &IssuancePolicy::default(), root, validity)
}

fn of(
    device: &DeviceRecord,
    policy: &IssuancePolicy,
    root: &Certificate,
    validity: Duration,
) -> Result<LeafSpec, Failure> {
    let limits = Limits { device, requested_at: &device.address, policy };
    spec(&limits, Serial::from_random([9; 16]), (SignerId::root(3), root), "https://pki.example.com/", validity, NOW)
}

fn policy(rule: &str) -> IssuancePolicy {
    serde_json::from_str(&format!(r#"{{"rules":[{{"prefix":"\\VED\\Policy\\Devices",{rule}}}]}}"#)).unwrap()
}

fn named(host: &str) -> DeviceSubject {
    DeviceSubject::new(host, [host.to_owned()], Vec::new()).unwrap()
}

#[test]
fn a_foreign_subject_in_the_record_is_not_signed() {
    let root = root(NOW - YEAR, NOW + YEAR * 2);
    let foreign = DeviceRecord { subject: Some(named("pay.example")), ..device("https://bmc-1.example") };
    let failure = of(&foreign, &IssuancePolicy::default(), &root, YEAR).unwrap_err();
    assert_eq!((failure.class, failure.stage), (ErrorClass::NotPermitted, Some(Stage::ApproveRequest)));
    assert!(failure.message.contains("pay.example") && failure.message.contains("bmc-1.example"), "{failure:?}");
    assert!(of(&foreign, &policy(r#""dnsSuffixes":["example"]"#), &root, YEAR).is_ok());

    let client = DeviceRecord { subject: Some(named("bmc-1.example").with_client_auth()), ..foreign };
    assert_eq!(of(&client, &IssuancePolicy::default(), &root, YEAR).unwrap_err().class, ErrorClass::NotPermitted);
    let pending = DeviceRecord { pins: Vec::new(), ..device("https://bmc-1.example") };
    assert_eq!(of(&pending, &IssuancePolicy::default(), &root, YEAR).unwrap_err().class, ErrorClass::Unapproved);
}

#[test]
fn a_reservation_is_void_under_a_narrower_policy() {
    let root = root(NOW - YEAR, NOW + YEAR * 2);
    let (before, short) = (policy(r#""dnsSuffixes":["example"]"#), policy(r#""longestDays":30"#));
    let device = DeviceRecord { subject: Some(named("a.example")), ..device("https://bmc-1.example") };
    let spec = of(&device, &before, &root, YEAR).unwrap();
    let checked = |policy: &IssuancePolicy, device: &DeviceRecord, spec: &LeafSpec| {
        Limits { device, requested_at: &"https://bmc-1.example".parse().unwrap(), policy }
            .check(spec)
            .map_err(|why| why.class)
    };
    assert_eq!(checked(&before, &device, &spec), Ok(()));
    assert_eq!(checked(&IssuancePolicy::default(), &device, &spec), Err(ErrorClass::NotPermitted));
    let own = DeviceRecord { subject: None, ..device };
    let year = of(&own, &before, &root, YEAR).unwrap();
    assert_eq!(checked(&short, &own, &year), Err(ErrorClass::NotPermitted), "too long");
    let month = of(&own, &short, &root, YEAR).unwrap();
    assert_eq!(month.not_after - month.not_before, Duration::days(30));
    assert_eq!(checked(&short, &own, &month), Ok(()));
    assert_eq!(of(&own, &short, &root, Duration::days(9)).unwrap().not_after, datetime!(2026-06-10 12:00 UTC));
}

/// The key of a device that was at another address would be certified for this one.
#[test]
fn a_request_from_another_address_is_made_again() {
    let (root, device, policy) =
        (root(NOW - YEAR, NOW + YEAR), device("https://pay.example"), IssuancePolicy::default());
    let asked_at = "https://bmc-1.example".parse().unwrap();
    let limits = Limits { device: &device, requested_at: &asked_at, policy: &policy };
    let failure =
        spec(&limits, Serial::from_random([9; 16]), (SignerId::root(3), &root), "https://pki.example.com/", YEAR, NOW);
    let failure = failure.unwrap_err();
    assert_eq!((failure.class, failure.stage), (ErrorClass::Rejected, Some(Stage::CreateCsr)));
}

#[test]
fn a_certificate_never_outlives_its_signer() {
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
fn a_reservation_is_only_used_by_its_signer() {
    let old = root(NOW - YEAR, NOW + YEAR * 2);
    let reserved = Reserved { signer: SignerId::root(3), spec: made(&old, YEAR).unwrap() };
    let (root, below) = (SignerId::root(3), SignerId::from(IssuingId { generation: 3, number: 1 }));
    assert!(is_usable(&reserved, root, NOW) && is_usable(&reserved, root, NOW + Duration::days(300)));
    assert!(!is_usable(&reserved, SignerId::root(4), NOW), "another root signs now");
    assert!(!is_usable(&reserved, below, NOW), "an issuing authority below it signs now");
    assert!(!is_usable(&reserved, root, NOW + Duration::days(364) + Duration::hours(1)));
    let reserved = Reserved { signer: below, ..reserved };
    assert!(is_usable(&reserved, below, NOW) && !is_usable(&reserved, root, NOW));
    assert!(!is_usable(&reserved, IssuingId { generation: 3, number: 2 }.into(), NOW), "the next one signs now");
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
