//! Failures and their classes.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rootcast_core::device::Profile;
use rootcast_core::job::task::ErrorClass;
use rootcast_drivers::{Endpoint, TrustGoal};

use super::fake::{Fake, Model, Reply, error, root};
use super::{Attempt, install, prints, remove};

#[tokio::test]
async fn a_refused_write_of_an_existing_certificate_is_a_success() {
    let fake = Fake::start(Model::OpenBmc).await;
    let new = root("one");
    fake.hold(&new);
    let mut listed = false;
    fake.fault(move |request, state| {
        let first = request.is("GET", state.collection()) && !std::mem::replace(&mut listed, true);
        first.then(|| Reply::json(serde_json::json!({"Members": []})))
    });
    assert_eq!(Attempt::new(&fake, Profile::Openbmc, install(&[&new])).done().await.held.anchors, prints(&[&new]));
    assert!(fake.requests().iter().any(|request| request.is("POST", "/Truststore")));
}

#[tokio::test]
async fn a_connection_that_breaks_after_storing_is_a_success() {
    let fake = Fake::start(Model::OpenBmc).await;
    let new = root("one");
    let mut broken = 0;
    fake.fault(move |request, state| {
        if request.is("POST", "/Truststore") {
            state.answer(request);
            broken = 3;
        }
        broken -= 1;
        // The web server restarts: two more requests fail before it is back.
        (broken >= 0).then_some(Reply::Broken)
    });
    assert!(Attempt::new(&fake, Profile::Openbmc, install(&[&new])).done().await.changed);
    assert_eq!(fake.open_sessions(), 0);
}

#[tokio::test]
async fn full_stores_are_recognised_however_they_report_it() {
    for (model, profile, places) in [(Model::OpenBmc, Profile::Openbmc, 10), (Model::Xcc, Profile::LenovoXcc, 4)] {
        let fake = Fake::start(model).await;
        for place in 0..places {
            fake.hold(&root(&place.to_string()));
        }
        let failure = Attempt::new(&fake, profile, install(&[&root("one more")])).fails().await;
        assert_eq!(failure.class, ErrorClass::StoreFull);
        assert!(failure.message.contains("Look it up."), "{failure:?}");
        assert_eq!(fake.held().len(), places);
    }
}

#[tokio::test]
async fn an_accepted_certificate_must_also_be_stored() {
    for (model, profile) in [
        (Model::OpenBmc, Profile::Openbmc),
        (Model::Dmtf { expand: true }, Profile::Dmtf),
        (Model::Vmedia { replace: false }, Profile::Vmedia),
    ] {
        let fake = Fake::start(model).await;
        fake.fault(|request, state| request.is("POST", state.collection()).then(|| Reply::status(204)));
        let failure = Attempt::new(&fake, profile, install(&[&root("one")])).fails().await;
        assert_eq!(failure.class, ErrorClass::NotStored);
    }
}

#[tokio::test]
async fn an_accepted_deletion_must_also_take_effect() {
    let old = root("old");
    for (model, profile) in [(Model::OpenBmc, Profile::Openbmc), (Model::Vmedia { replace: false }, Profile::Vmedia)] {
        let fake = Fake::start(model).await;
        fake.hold(&old);
        fake.fault(|request, state| request.is("DELETE", state.collection()).then(|| Reply::status(204)));
        let failure = Attempt::new(&fake, profile, remove(&[&old])).fails().await;
        assert_eq!(failure.class, ErrorClass::NotStored);
    }
}

#[tokio::test]
async fn each_refusal_has_its_class_and_the_devices_message() {
    for (status, class) in [
        (400, ErrorClass::Rejected),
        (403, ErrorClass::Unauthorized),
        (404, ErrorClass::Unsupported),
        (405, ErrorClass::Unsupported),
        (409, ErrorClass::Rejected),
        (429, ErrorClass::Throttled),
        (500, ErrorClass::ServerError),
        (501, ErrorClass::Unsupported),
        (503, ErrorClass::Throttled),
    ] {
        for method in ["GET", "POST"] {
            let fake = Fake::start(Model::OpenBmc).await;
            fake.fault(move |request, _| request.is(method, "/Truststore").then(|| error(status, "Not today.")));
            let failure = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")])).fails().await;
            assert_eq!(failure.class, class, "{method} {status}");
            assert!(failure.message.contains("Not today. Look it up."), "{failure:?}");
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    for (model, profile) in [(Model::OpenBmc, Profile::Openbmc), (Model::Vmedia { replace: true }, Profile::Vmedia)] {
        let fake = Fake::start(model).await;
        let mut attempt = Attempt::new(&fake, profile, install(&[&root("one")]));
        attempt.password = "wrong horse";
        let failure = attempt.fails().await;
        assert_eq!(failure.class, ErrorClass::Unauthorized);
        assert!(!failure.message.contains("horse"), "{failure:?}");
        let used = fake
            .requests()
            .into_iter()
            .filter(|request| request.authorization.is_some() || request.body["Password"].is_string());
        assert_eq!(used.count(), 1);
    }
}

#[tokio::test]
async fn a_device_that_repeats_the_password_is_not_quoted() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, _| {
        let said = format!("Wrong: {}", request.body["Password"]);
        request.is("POST", "/Sessions").then(|| error(400, &said))
    });
    let failure = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")])).fails().await;
    assert!(failure.message.contains("Wrong: \"***\""), "{failure:?}");
}

#[tokio::test]
async fn the_session_of_a_hanging_device_ends_before_the_deadline() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, _| request.is("POST", "/Truststore").then_some(Reply::Hang));
    let mut attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")]));
    attempt.limit = Duration::from_secs(2);
    let start = Instant::now();
    assert_eq!(attempt.fails().await.class, ErrorClass::Timeout);
    assert!(start.elapsed() < Duration::from_millis(2100));
}

#[tokio::test]
async fn an_attempt_without_a_logout_ends_at_the_deadline() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, _| (!request.is("POST", "/Sessions")).then_some(Reply::Hang));
    let mut attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")]));
    attempt.limit = Duration::from_secs(1);
    let start = Instant::now();
    assert_eq!(attempt.run().await.unwrap_err().class, ErrorClass::Timeout);
    assert!(start.elapsed() < Duration::from_millis(1200));
}

#[tokio::test]
async fn a_switched_off_device_cannot_be_connected_to() {
    let fake = Fake::start(Model::OpenBmc).await;
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = Endpoint { address: format!("https://{unused}").parse().unwrap(), pins: vec![fake.pin] };
    let attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")]));
    let failure = attempt.run_at(&endpoint).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::Connect);
    assert!(failure.message.contains("refused"), "{failure:?}");
}

#[tokio::test]
async fn addresses_outside_the_policy_are_not_connected_to() {
    let fake = Fake::start(Model::OpenBmc).await;
    let attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")]));
    for address in ["https://127.0.0.2", "https://169.254.169.254", "https://[::1]", "https://[::ffff:10.0.0.1]"] {
        let endpoint = Endpoint { address: address.parse().unwrap(), pins: vec![fake.pin] };
        assert_eq!(attempt.run_at(&endpoint).await.unwrap_err().class, ErrorClass::AddressRefused, "{address}");
    }
}

#[tokio::test]
async fn a_contradictory_goal_is_refused_without_a_request() {
    let fake = Fake::start(Model::OpenBmc).await;
    let new = root("one");
    let goal = TrustGoal { install: vec![new.clone()], remove: prints(&[&new]), ..TrustGoal::default() };
    assert_eq!(Attempt::new(&fake, Profile::Openbmc, goal).fails().await.class, ErrorClass::Rejected);
    assert!(fake.requests().is_empty());
}
