//! Trust stores with too few places.

use rootcast_core::device::Profile;
use rootcast_core::job::task::ErrorClass;
use rootcast_drivers::TrustGoal;
use rootcast_pki::fingerprint::Fingerprint;

use super::fake::{Fake, Model, root};
use super::{Attempt, prints};

fn goal(install: &[&Vec<u8>], optional: &[&Vec<u8>], remove: Vec<Fingerprint>) -> TrustGoal {
    let ders = |some: &[&Vec<u8>]| some.iter().map(|der| der.to_vec()).collect();
    TrustGoal { install: ders(install), optional: ders(optional), remove }
}

/// Four places: the new root, the one that signs, and what fits of the older ones.
#[tokio::test]
async fn optional_anchors_take_only_places_that_are_left() {
    let [foreign, oldest, older, signing, new] = ["foreign", "oldest", "older", "signing", "new"].map(root);
    let fake = Fake::start(Model::Xcc).await;
    fake.hold(&foreign);
    let wanted = goal(&[&new, &signing], &[&older, &oldest], Vec::new());
    let attempt = Attempt::new(&fake, Profile::LenovoXcc, wanted);
    assert!(attempt.done().await.changed);
    assert_eq!(fake.held(), prints(&[&foreign, &new, &signing, &older]));
    assert!(!attempt.done().await.changed, "nothing is tried again in a full store");
}

#[tokio::test]
async fn a_device_that_refuses_an_optional_anchor_is_done() {
    let [older, new] = ["older", "new"].map(root);
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    fake.fault({
        let refused = super::fake::pem(&older).split_whitespace().collect::<String>();
        move |request, state| {
            let sent = request.body["CertificateString"].as_str().unwrap_or_default();
            let is_refused = sent.split_whitespace().collect::<String>() == refused;
            (request.is("POST", state.collection()) && is_refused).then(|| super::fake::error(400, "No more."))
        }
    });
    let wanted = goal(&[&new], &[&older], Vec::new());
    assert_eq!(Attempt::new(&fake, Profile::Dmtf, wanted).done().await.held.anchors, prints(&[&new]));
}

#[tokio::test]
async fn a_full_store_names_what_may_go() {
    let [older, signing, new] = ["older", "signing", "new"].map(root);
    let fake = Fake::start(Model::Xcc).await;
    for der in [&older, &signing, &root("customer A"), &root("customer B")] {
        fake.hold(der);
    }
    let failure = Attempt::new(&fake, Profile::LenovoXcc, goal(&[&new, &signing], &[&older], Vec::new())).fails().await;
    assert_eq!(failure.class, ErrorClass::StoreFull);
    let message = &failure.message;
    assert!(message.contains("All 4 places are taken. Superseded roots, which may go: CN=older (sha256 "), "{message}");
    assert!(message.contains("Not from Rootcast: CN=customer A") && message.contains("Look it up."), "{message}");
    assert!(!message.contains("signing"), "{message}");
}

#[tokio::test]
async fn a_withdrawn_anchor_makes_room_for_the_new_one() {
    let [old, new] = ["old", "new"].map(root);
    let fake = Fake::start(Model::Xcc).await;
    for der in [&old, &root("a"), &root("b"), &root("c")] {
        fake.hold(der);
    }
    let converged = Attempt::new(&fake, Profile::LenovoXcc, goal(&[&new], &[], prints(&[&old]))).done().await;
    assert!(converged.held.anchors.contains(&Fingerprint::of(&new)));
    assert!(!fake.held().contains(&Fingerprint::of(&old)));
}
