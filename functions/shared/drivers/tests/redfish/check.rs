//! A check reads what a rollover depends on, and writes nothing.

use std::sync::Arc;
use std::time::Duration;

use rootcast_core::device::Profile;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_core::preflight::Reading;
use rootcast_drivers::{Credential, Endpoint, Inspection, Redfish};
use serde_json::json;
use time::macros::datetime;
use tokio::time::Instant;

use super::fake::{Fake, Model, PASSWORD, Reply, Request, USER, root};
use super::{prints, sorted};

pub(super) const MODELS: [(Model, Profile); 5] = [
    (Model::OpenBmc, Profile::Openbmc),
    (Model::Xcc, Profile::LenovoXcc),
    (Model::Dmtf { expand: true }, Profile::Dmtf),
    (Model::Dmtf { expand: false }, Profile::Dmtf),
    (Model::Vmedia { replace: true }, Profile::Vmedia),
];

async fn check_as(fake: &Fake, profile: Profile, password: &str, endpoint: &Endpoint) -> Result<Reading, Failure> {
    let parameter = json!({"username": USER, "password": password}).to_string();
    let credential: Credential = parameter.parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let wanted = Inspection { endpoint, profile, slot: None, credential: &credential, known: &[], deadline };
    let read = Redfish::new(Arc::new("127.0.0.1".parse().unwrap())).check(&wanted).await;
    assert_eq!(fake.open_sessions(), 0, "a session stayed after {read:?}");
    read
}

async fn check(fake: &Fake, profile: Profile) -> Result<Reading, Failure> {
    let endpoint = Endpoint { address: fake.address.clone(), pins: vec![fake.pin] };
    check_as(fake, profile, PASSWORD, &endpoint).await
}

fn is_write(request: &Request) -> bool {
    request.method != "GET" && !request.uri.contains("/Sessions")
}

#[tokio::test]
async fn every_profile_is_read_and_not_written() {
    let ders = [root("one"), root("two")];
    for (model, profile) in MODELS {
        let fake = Fake::start(model).await;
        ders.iter().take(if profile == Profile::Vmedia { 1 } else { 2 }).for_each(|der| fake.hold(der));
        let held = sorted(fake.held());
        let read = check(&fake, profile).await.unwrap();
        assert_eq!(sorted(read.held), held, "{profile}");
        assert_eq!((read.members, read.places), (held.len(), profile.places()), "{profile}");
        let requests = fake.requests();
        assert!(!requests.iter().any(is_write), "{profile}: {requests:?}");
        let log_outs = requests.iter().filter(|request| request.method == "DELETE").count();
        assert_eq!(read.requests as usize, requests.len() - log_outs, "{profile}");
        assert_eq!(sorted(fake.held()), held, "{profile}");
    }
}

#[tokio::test]
async fn a_full_store_has_no_free_place() {
    let fake = Fake::start(Model::Xcc).await;
    let ders: Vec<_> = (0..4).map(|number| root(&number.to_string())).collect();
    ders.iter().for_each(|der| fake.hold(der));
    let read = check(&fake, Profile::LenovoXcc).await.unwrap();
    assert_eq!((read.members, read.places), (4, Some(4)));
    assert_eq!(sorted(read.held), sorted(prints(&ders.iter().map(Vec::as_slice).collect::<Vec<_>>())));
}

#[tokio::test]
async fn the_clock_is_that_of_the_answers() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.lives_in("Thu, 01 Jan 1970 00:02:03 GMT");
    let read = check(&fake, Profile::Openbmc).await.unwrap();
    assert_eq!(read.clock, Some(datetime!(1970-01-01 00:02:03 UTC)));
}

#[tokio::test]
async fn a_refused_password_and_another_certificate_end_the_check() {
    let fake = Fake::start(Model::OpenBmc).await;
    let endpoint = Endpoint { address: fake.address.clone(), pins: vec![fake.pin] };
    let failure = check_as(&fake, Profile::Openbmc, "wrong", &endpoint).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::Unauthorized);
    assert_eq!(fake.requests().len(), 1, "one log-in");
    let other = Endpoint { pins: vec![Fake::start(Model::OpenBmc).await.pin], ..endpoint };
    let failure = check_as(&fake, Profile::Openbmc, PASSWORD, &other).await.unwrap_err();
    assert_eq!((failure.class, fake.requests().len()), (ErrorClass::PinMismatch, 0));
}

#[tokio::test]
async fn the_security_policy_names_the_signatures() {
    let fake = Fake::start(Model::Dmtf { expand: true }).await;
    fake.fault(|request, state| {
        if !request.is("GET", "/SecurityPolicy") {
            return None;
        }
        let Reply::Json(status, headers, mut body) = state.answer(request) else { return None };
        body["TLS"]["Client"]["Allowed"] = json!({ "SignatureAlgorithms": ["rsa_pkcs1_sha256", 7] });
        Some(Reply::Json(status, headers, body))
    });
    let read = check(&fake, Profile::Dmtf).await.unwrap();
    assert_eq!(read.signatures, ["rsa_pkcs1_sha256"]);
}

#[tokio::test]
async fn a_device_without_the_slot_is_unsupported() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, _| request.is("GET", "/Truststore").then(|| Reply::status(404)));
    assert_eq!(check(&fake, Profile::Openbmc).await.unwrap_err().class, ErrorClass::Unsupported);
}
