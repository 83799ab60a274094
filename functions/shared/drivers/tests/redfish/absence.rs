//! An empty list is no proof that nothing is there.

use std::time::Duration;

use rootcast_core::device::Profile;
use rootcast_core::job::task::ErrorClass;

use super::fake::{Fake, Model, Reply, error, root};
use super::install::{Device, identity};
use super::{Attempt, remove};

#[tokio::test]
async fn an_empty_list_of_a_service_that_is_down_proves_nothing() {
    let old = root("old");
    let fake = Fake::start(Model::OpenBmc).await;
    fake.hold(&old);
    fake.services(true);
    let failure = Attempt::new(&fake, Profile::Openbmc, remove(&[&old])).fails().await;
    assert_eq!(failure.class, ErrorClass::ServerError, "it is tried again: {failure:?}");
    assert!(failure.message.contains("listed as empty, which proves nothing"), "{failure:?}");
    assert_eq!(fake.held().len(), 1);
    fake.services(false);
    assert!(Attempt::new(&fake, Profile::Openbmc, remove(&[&old])).done().await.changed);
    assert!(fake.held().is_empty());
}

#[tokio::test]
async fn an_empty_list_counts_if_another_resource_answers() {
    for (model, profile) in [
        (Model::OpenBmc, Profile::Openbmc),
        (Model::Xcc, Profile::LenovoXcc),
        (Model::Dmtf { expand: false }, Profile::Dmtf),
        (Model::Vmedia { replace: true }, Profile::Vmedia),
    ] {
        let fake = Fake::start(model).await;
        let mut attempt = Attempt::new(&fake, profile, remove(&[&root("old")]));
        assert!(!attempt.done().await.changed, "{model:?}");
        // The slot's path has parts that are no resources.
        attempt.slot = (profile == Profile::Dmtf)
            .then_some("/redfish/v1/Managers/1/SecurityPolicy/TLS/Client/TrustedCertificates");
        attempt.done().await;
    }
}

#[tokio::test]
async fn an_empty_list_does_not_count_if_nothing_above_it_answers() {
    let fake = Fake::start(Model::Xcc).await;
    fake.fault(|request, state| {
        let is_above = request.is("GET", "/UpdateService") && !request.is("GET", state.collection());
        is_above.then(|| error(404, "No such resource."))
    });
    let failure = Attempt::new(&fake, Profile::LenovoXcc, remove(&[&root("old")])).fails().await;
    assert_eq!(failure.class, ErrorClass::ServerError);
}

/// Its service dies between the list and the deletion, which is answered as for a certificate that is gone.
#[tokio::test]
async fn an_unconfirmed_deletion_and_an_empty_list_prove_nothing() {
    let old = root("old");
    let fake = Fake::start(Model::OpenBmc).await;
    fake.hold(&old);
    let mut is_down = false;
    fake.fault(move |request, state| {
        is_down |= request.is("DELETE", "/Truststore");
        let is_kept = request.uri.contains("/Certificates") && is_down;
        is_kept.then(|| match request.method.as_str() {
            "GET" if request.uri == state.collection() || request.uri.ends_with("/Certificates") => {
                Reply::json(serde_json::json!({"Members": []}))
            }
            _ => error(404, "The requested resource was not found."),
        })
    });
    let failure = Attempt::new(&fake, Profile::Openbmc, remove(&[&old])).fails().await;
    assert_eq!(failure.class, ErrorClass::ServerError);
    assert_eq!(fake.held().len(), 1);
}

#[tokio::test]
async fn an_empty_list_of_own_certificates_is_tried_again() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.services(true);
    let mut device = Device::new(&fake, Profile::Openbmc);
    let (failure, new) = (device.fails(&identity()).await, identity());
    assert!(failure.class.is_retryable(), "{failure:?}");
    assert!(failure.message.contains("listed as empty"), "{failure:?}");
    fake.services(false);
    fake.restarts(Duration::ZERO, Duration::ZERO);
    assert_eq!(device.done(&new).await.shown, new.leaf());
}
