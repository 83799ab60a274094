//! Devices that redirect a resource to its other spelling, with a slash at its end, and other redirects.

use rootcast_core::device::Profile;
use rootcast_core::job::task::ErrorClass;
use serde_json::Value;

use super::fake::{Fake, Model, Reply, root};
use super::{Attempt, install, prints};

/// Redirects whatever has no slash at its end and is for it.
fn redirects(fake: &Fake, status: u16, to: impl Fn(&str) -> String + Send + 'static) {
    fake.fault(move |request, _| {
        let (path, query) = request.uri.split_once('?').unwrap_or((&request.uri, ""));
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let moved = !path.ends_with('/');
        moved.then(|| Reply::Json(status, vec![("Location", to(&format!("{path}/{query}")))], Value::Null))
    });
}

#[tokio::test]
async fn a_slash_at_the_end_is_followed_with_method_and_body() {
    for status in [301, 302, 307, 308] {
        for (model, profile) in [
            (Model::OpenBmc, Profile::Openbmc),
            (Model::Xcc, Profile::LenovoXcc),
            (Model::Dmtf { expand: true }, Profile::Dmtf),
        ] {
            for absolute in [false, true] {
                let fake = Fake::start(model).await;
                let origin = if absolute { fake.address.to_string() } else { String::new() };
                redirects(&fake, status, move |path| format!("{origin}{path}"));
                let new = root("one");
                assert!(Attempt::new(&fake, profile, install(&[&new])).done().await.changed, "{status} {profile}");
                assert_eq!((fake.held(), fake.open_sessions()), (prints(&[&new]), 0));
            }
        }
    }
}

#[tokio::test]
async fn no_other_redirect_is_followed_and_nothing_is_sent_there() {
    let elsewhere = Fake::start(Model::OpenBmc).await;
    let other = elsewhere.address.to_string();
    for to in ["https://10.9.9.9", other.as_str(), "/redfish/v1/other"] {
        let fake = Fake::start(Model::OpenBmc).await;
        let target = to.to_owned();
        redirects(&fake, 308, move |path| format!("{target}{path}"));
        let failure = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")])).fails().await;
        assert_eq!(failure.class, ErrorClass::Unsupported, "{failure:?}");
        assert!(failure.message.contains("redirects to") && failure.message.contains(to), "{failure:?}");
        assert!(!failure.class.is_retryable());
        assert_eq!(fake.requests().len(), 1, "nothing but the log-in");
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, _| {
        let bare = request.uri.trim_end_matches('/');
        let other = if bare == request.uri { format!("{bare}/") } else { bare.to_owned() };
        Some(Reply::Json(308, vec![("Location", other)], Value::Null))
    });
    let failure = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")])).fails().await;
    assert_eq!((failure.class, fake.requests().len()), (ErrorClass::Unsupported, 2));
}
