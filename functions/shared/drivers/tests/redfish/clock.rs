//! Devices whose clock is behind, with each kind of error that they report.

use rootcast_core::device::Profile;
use rootcast_core::job::task::ErrorClass;
use serde_json::json;

use super::fake::{Fake, MONITOR, Model, REPLACE, Reply, error, root, running};
use super::install::{Device, identity};
use super::{Attempt, install};

/// A management controller without a battery, some minutes after power-on. The fake's roots are old, but not older
/// than this.
const REBOOTED: &str = "Thu, 01 Jan 1970 00:02:03 GMT";
const TODAY: &str = "Mon, 01 Jun 2026 12:00:00 GMT";

const SHAPES: [(Model, Profile); 3] = [
    (Model::OpenBmc, Profile::Openbmc),
    (Model::Dmtf { expand: true }, Profile::Dmtf),
    (Model::Vmedia { replace: false }, Profile::Vmedia),
];

#[tokio::test]
async fn vendors_messages_for_not_yet_valid_have_its_class() {
    for (status, words) in [
        (400, "The certificate is not yet valid."),
        (500, "Certificate start date is in the future."),
        (409, "Certificate not valid before 2026-01-01."),
    ] {
        let fake = Fake::start(Model::OpenBmc).await;
        fake.fault(move |request, _| request.is("POST", "/Truststore").then(|| error(status, words)));
        let failure = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")])).fails().await;
        assert_eq!(failure.class, ErrorClass::NotYetValid, "{failure:?}");
        assert!(failure.message.contains(words), "{failure:?}");
    }
}

#[tokio::test]
async fn a_task_with_such_a_message_has_the_class() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, state| {
        if request.is("POST", state.collection()) {
            return Some(running("1"));
        }
        let said = json!([{"MessageId": "iDRAC.2.8.CertificateNotYetValid", "Message": "Certificate not yet valid."}]);
        let failed = json!({"TaskState": "Exception", "TaskStatus": "Critical", "Messages": said});
        request.is("GET", MONITOR).then(|| Reply::json(failed))
    });
    let failure = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")])).fails().await;
    assert_eq!(failure.class, ErrorClass::NotYetValid, "{failure:?}");
}

#[tokio::test]
async fn a_refusal_before_the_validity_is_a_clock_failure() {
    for (date, class) in [(REBOOTED, ErrorClass::NotYetValid), (TODAY, ErrorClass::Rejected)] {
        for (model, profile) in SHAPES {
            let fake = Fake::start(model).await;
            fake.lives_in(date);
            fake.fault(|request, state| request.is("POST", state.collection()).then(|| error(400, "No.")));
            let failure = Attempt::new(&fake, profile, install(&[&root("one")])).fails().await;
            assert_eq!(failure.class, class, "{date}: {failure:?}");
            assert!(failure.message.contains("No."), "{failure:?}");
            assert_eq!(
                failure.message.contains("1970-01-01T00:02:03Z"),
                class == ErrorClass::NotYetValid,
                "{failure:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_certificate_dropped_before_its_validity_is_a_clock_failure() {
    for (date, class) in [(REBOOTED, ErrorClass::NotYetValid), (TODAY, ErrorClass::NotStored)] {
        for (model, profile) in SHAPES {
            let fake = Fake::start(model).await;
            fake.lives_in(date);
            fake.fault(|request, state| request.is("POST", state.collection()).then(|| Reply::status(204)));
            let failure = Attempt::new(&fake, profile, install(&[&root("one")])).fails().await;
            assert_eq!(failure.class, class, "{date}: {failure:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_after_the_validity_is_a_class_of_its_own() {
    for (model, profile) in SHAPES {
        let fake = Fake::start(model).await;
        fake.lives_in("Fri, 31 Dec 9999 12:00:00 GMT");
        fake.fault(|request, state| request.is("POST", state.collection()).then(|| error(400, "Expired.")));
        let failure = Attempt::new(&fake, profile, install(&[&short()])).fails().await;
        assert_eq!(failure.class, ErrorClass::ClockAhead, "{failure:?}");
        assert!(failure.message.contains("9999-12-31") && !failure.class.is_retryable(), "{failure:?}");
    }
}

/// A root that ends before the year 9999.
fn short() -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

#[tokio::test]
async fn a_slow_clock_that_keeps_the_certificate_is_no_failure() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.lives_in(REBOOTED);
    assert!(Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")])).done().await.changed);
}

#[tokio::test]
async fn a_web_servers_certificate_refused_early_is_a_clock_failure() {
    for (date, class) in [(REBOOTED, ErrorClass::NotYetValid), (TODAY, ErrorClass::Rejected)] {
        let fake = Fake::start(Model::OpenBmc).await;
        fake.lives_in(date);
        fake.fault(|request, _| request.is("POST", REPLACE).then(|| error(400, "No.")));
        let failure = Device::new(&fake, Profile::Openbmc).fails(&identity()).await;
        assert_eq!(failure.class, class, "{date}: {failure:?}");
    }
}
