//! Devices that are malicious, or might as well be.

use std::time::Duration;

use rootcast_core::device::Profile;
use rootcast_core::job::task::ErrorClass;
use serde_json::json;

use super::fake::{Fake, Model, Reply, pem, root};
use super::{Attempt, install, prints, remove, sorted};

/// Replaces the slot's listing by `reply`; returns the class and message of the failure.
async fn listing(reply: impl Fn() -> Reply + Send + 'static) -> (ErrorClass, String) {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(move |request, _| request.is("GET", "/Truststore").then(&reply));
    let mut attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")]));
    attempt.limit = Duration::from_secs(4);
    let failure = attempt.fails().await;
    assert!(fake.requests().len() < 80);
    (failure.class, failure.message)
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    let (class, message) = listing(|| Reply::Raw(vec![b' '; 3 << 20])).await;
    assert_eq!(class, ErrorClass::Unsupported, "{message}");
    assert!(message.contains("longer than 1048576 bytes"), "{message}");
    assert_eq!(listing(|| Reply::Drip).await.0, ErrorClass::Timeout);
    assert_eq!(listing(|| Reply::Broken).await.0, ErrorClass::Connect);
}

#[tokio::test]
async fn answers_that_are_not_redfish_are_unsupported() {
    let deep = "[".repeat(100_000).into_bytes();
    for raw in [b"\xff\xfe\x00".to_vec(), b"<html>".to_vec(), Vec::new(), b"[]".to_vec(), b"{}".to_vec(), deep] {
        let raw_reply = raw.clone();
        assert_eq!(listing(move || Reply::Raw(raw_reply.clone())).await.0, ErrorClass::Unsupported);
    }
    for members in [json!({"Members": 7}), json!({"Members": [7]}), json!({"Members": [{"@odata.id": 7}]})] {
        assert_eq!(listing(move || Reply::json(members.clone())).await.0, ErrorClass::Unsupported);
    }
}

#[tokio::test]
async fn endless_listings_are_cut_off() {
    let many: Vec<_> =
        (0..10_000).map(|id| json!({"@odata.id": format!("/redfish/v1/x/{id}"), "CertificateString": ""})).collect();
    let many = json!({"Members": many});
    let (class, message) = listing(move || Reply::json(many.clone())).await;
    assert_eq!(class, ErrorClass::Unsupported);
    assert!(message.contains("more than 64"), "{message}");
    let endless =
        json!({"Members": [], "Members@odata.nextLink": "/redfish/v1/Managers/bmc/Truststore/Certificates?$skip=1"});
    assert_eq!(listing(move || Reply::json(endless.clone())).await.0, ErrorClass::Unsupported);
}

#[tokio::test]
async fn foreign_links_are_not_followed() {
    let elsewhere = Fake::start(Model::OpenBmc).await;
    for link in [
        format!("{}/redfish/v1/x", elsewhere.address),
        "//evil.example/redfish/v1/x".to_owned(),
        "/redfish/../admin".to_owned(),
        "http://169.254.169.254/redfish/".to_owned(),
    ] {
        for body in [json!({"Members": [{"@odata.id": link}]}), json!({"Members": [], "Members@odata.nextLink": link})]
        {
            let (class, message) = listing(move || Reply::json(body.clone())).await;
            assert_eq!(class, ErrorClass::Unsupported);
            assert!(message.contains("not a resource of its own"), "{message}");
        }
    }
    let redirect = format!("{}/redfish/v1/x", elsewhere.address);
    let redirected = listing(move || Reply::Json(307, vec![("Location", redirect.clone())], json!({}))).await;
    assert_eq!(redirected.0, ErrorClass::Unsupported);
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn unreadable_members_are_ignored() {
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    let (one, two, new) = (root("one"), root("two"), root("new"));
    fake.fault(move |_, state| {
        if state.members.is_empty() {
            for text in
                ["", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----"]
            {
                state.store(text.to_owned());
            }
            state.store(format!("{}noise{}", pem(&one), pem(&two)));
        }
        None
    });
    let (one, two) = {
        Attempt::new(&fake, Profile::Dmtf, install(&[])).done().await;
        let held = fake.held();
        (held[0], held[1])
    };
    let converged = Attempt::new(&fake, Profile::Dmtf, install(&[&new])).done().await;
    assert_eq!(converged.held.anchors, sorted([vec![one, two], prints(&[&new])].concat()));
    // The member with `one` also holds `two`, whose removal is not wanted.
    let mut goal = remove(&[]);
    goal.remove.push(one);
    let failure = Attempt::new(&fake, Profile::Dmtf, goal).fails().await;
    assert_eq!(failure.class, ErrorClass::Rejected);
    assert_eq!(fake.held().len(), 3);
}

#[tokio::test]
async fn a_single_slot_with_unreadable_content_is_replaced() {
    let fake = Fake::start(Model::Vmedia { replace: true }).await;
    let new = root("new");
    fake.fault(|_, state| {
        if state.members.is_empty() {
            state.store("rubbish".to_owned());
        }
        None
    });
    let converged = Attempt::new(&fake, Profile::Vmedia, install(&[&new])).done().await;
    assert_eq!(converged.held.anchors, prints(&[&new]));
}
