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

fn said(status: u16, id: &str, words: &str) -> Reply {
    let said = json!([{"MessageId": id, "Message": words}]);
    Reply::Json(status, Vec::new(), json!({"error": {"@Message.ExtendedInfo": said}}))
}

#[tokio::test]
async fn used_up_sessions_are_throttled_not_a_full_store() {
    for (status, id, words) in [
        (503, "IDRAC.2.4.RAC0218", "The maximum number of user sessions is reached."),
        (400, "Base.1.18.SessionLimitExceeded", "The session establishment failed."),
        (403, "Base.1.18.SessionLimitExceeded", "The session establishment failed."),
        (503, "Base.1.8.CreateLimitReachedForResource", "The create operation failed."),
        (400, "Base.1.8.CreateLimitReachedForResource", "The create operation failed."),
        (507, "Base.1.8.InsufficientStorage", "Insufficient storage."),
        (400, "Oem.1.0.Sessions", "Too many sessions are open."),
    ] {
        let fake = Fake::start(Model::OpenBmc).await;
        fake.fault(move |request, _| request.is("POST", "/Sessions").then(|| said(status, id, words)));
        let failure = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")])).fails().await;
        assert_eq!(failure.class, ErrorClass::Throttled, "{status} {id}: {failure:?}");
        assert!(failure.class.is_retryable() && failure.message.contains(words), "{failure:?}");
        assert_eq!(fake.requests().len(), 1, "no Basic");
    }
}

#[tokio::test]
async fn a_password_that_must_be_changed_is_named_after_one_log_in() {
    for (status, body) in [(403, true), (403, false), (401, false)] {
        let fake = Fake::start(Model::OpenBmc).await;
        fake.fault(move |request, state| {
            let words = "Change the password first, then log in again.";
            let entry = json!([{"MessageId": "Base.1.8.PasswordChangeRequired", "Message": words}]);
            match request.method.as_str() {
                "POST" => {
                    let Reply::Json(made, headers, mut answer) = state.answer(request) else { return None };
                    answer["@Message.ExtendedInfo"] = entry;
                    Some(Reply::Json(made, headers, answer))
                }
                "GET" if body => Some(said(status, "Base.1.8.PasswordChangeRequired", words)),
                "GET" => Some(Reply::status(status)),
                _ => None,
            }
        });
        let failure = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")])).fails().await;
        assert_eq!(failure.class, ErrorClass::Unauthorized);
        assert!(failure.message.contains("Change the password first"), "{failure:?}");
        let requests = fake.requests();
        assert_eq!(requests.iter().filter(|request| request.is("POST", "/Sessions")).count(), 1);
    }
}

#[tokio::test]
async fn a_service_root_behind_a_login_is_read_after_it() {
    for model in [Model::Dmtf { expand: true }, Model::Dmtf { expand: false }] {
        let fake = Fake::start(model).await;
        fake.fault(|request, _| {
            let is_root = request.uri.trim_end_matches('/') == "/redfish/v1";
            (is_root && request.token.is_none()).then(|| error(401, "Log in first."))
        });
        let new = root("one");
        assert!(Attempt::new(&fake, Profile::Dmtf, install(&[&new])).done().await.changed);
        assert_eq!((fake.held(), fake.open_sessions()), (super::prints(&[&new]), 0));
        let mut wrong = Attempt::new(&fake, Profile::Dmtf, install(&[&new]));
        wrong.password = "wrong horse";
        fake.requests();
        assert_eq!(wrong.fails().await.class, ErrorClass::Unauthorized);
        assert_eq!(fake.requests().iter().filter(|request| request.is("POST", "/Sessions")).count(), 1);
    }
}

#[tokio::test]
async fn a_log_in_without_a_token_is_unsupported() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, _| request.is("POST", "/Sessions").then(|| Reply::status(201)));
    let failure = Attempt::new(&fake, Profile::Openbmc, install(&[])).fails().await;
    assert_eq!(failure.class, ErrorClass::Unsupported);
}
