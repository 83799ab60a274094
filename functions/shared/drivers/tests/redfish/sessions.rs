//! One log-in per attempt, always followed by a log-out.

use rootcast_core::device::Profile;
use rootcast_core::job::task::ErrorClass;
use serde_json::json;

use super::fake::{Fake, Model, Reply, error, root};
use super::{Attempt, install};

#[tokio::test]
async fn an_expired_session_is_reopened_once() {
    let fake = Fake::start(Model::OpenBmc).await;
    let mut ran_out = false;
    fake.fault(move |request, state| {
        if request.is("POST", "/Truststore") && !std::mem::replace(&mut ran_out, true) {
            state.sessions.clear();
        }
        None
    });
    assert!(Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")])).done().await.changed);
    let requests = fake.requests();
    assert_eq!(requests.iter().filter(|request| request.is("POST", "/Sessions")).count(), 2);
    assert_eq!(requests.iter().filter(|request| request.is("DELETE", "/Sessions/")).count(), 2);
    assert_eq!(fake.open_sessions(), 0);
}

#[tokio::test]
async fn sessions_that_always_expire_fail_the_attempt() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, _| request.is("GET", "/Truststore").then(|| error(401, "No.")));
    let failure = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")])).fails().await;
    assert_eq!(failure.class, ErrorClass::Unauthorized);
    assert_eq!(fake.requests().iter().filter(|request| request.is("POST", "/Sessions")).count(), 2);
}

#[tokio::test]
async fn basic_is_used_only_if_there_are_no_sessions() {
    for status in [404, 405, 501] {
        let fake = Fake::start(Model::OpenBmc).await;
        fake.fault(move |request, _| {
            let list = json!({"Members": []});
            match request.method.as_str() {
                "POST" if request.uri.contains("/Sessions") => Some(Reply::status(status)),
                _ => Some(Reply::json(list)),
            }
        });
        let outcome = Attempt::new(&fake, Profile::Openbmc, install(&[])).run().await;
        assert!(outcome.is_ok(), "{outcome:?}");
        assert!(fake.requests().last().unwrap().authorization.is_some());
    }
    for status in [400, 401, 403, 429, 500, 503] {
        let fake = Fake::start(Model::OpenBmc).await;
        fake.fault(move |request, _| request.is("POST", "/Sessions").then(|| Reply::status(status)));
        Attempt::new(&fake, Profile::Openbmc, install(&[])).fails().await;
        assert_eq!(fake.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_session_with_foreign_location_is_deleted_by_id() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, state| {
        if !request.is("POST", "/Sessions") {
            return None;
        }
        let Reply::Json(status, mut headers, body) = state.answer(request) else {
            return None;
        };
        headers.retain(|(name, _)| *name != "Location");
        headers.push(("Location", "https://evil.example/redfish/v1/SessionService/Sessions/1".to_owned()));
        Some(Reply::Json(status, headers, body))
    });
    Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")])).done().await;
    assert_eq!(fake.open_sessions(), 0);
}

#[tokio::test]
async fn a_log_in_without_a_token_is_unsupported() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, _| request.is("POST", "/Sessions").then(|| Reply::status(201)));
    let failure = Attempt::new(&fake, Profile::Openbmc, install(&[])).fails().await;
    assert_eq!(failure.class, ErrorClass::Unsupported);
}
