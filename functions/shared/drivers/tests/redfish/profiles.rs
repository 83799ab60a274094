//! Successful attempts, and their number of requests.

use rootcast_core::device::Profile;
use rootcast_core::job::task::ErrorClass;
use rootcast_drivers::TrustGoal;

use super::fake::{Fake, Model, Reply, root};
use super::{Attempt, install, prints, remove, sorted};

#[tokio::test]
async fn openbmc_needs_six_requests_at_first_and_four_when_repeated() {
    let fake = Fake::start(Model::OpenBmc).await;
    let new = root("one");
    let attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&new]));
    let converged = attempt.done().await;
    assert!(converged.changed);
    assert_eq!(converged.held.anchors, prints(&[&new]));
    assert_eq!(fake.requests().len(), 6);
    let again = attempt.done().await;
    assert!(!again.changed);
    assert_eq!(again.held, converged.held);
    assert_eq!(fake.requests().len(), 4);
    assert_eq!(fake.open_sessions(), 0);
}

#[tokio::test]
async fn other_anchors_stay_and_only_named_ones_are_removed() {
    for (model, profile, requests) in [
        (Model::OpenBmc, Profile::Openbmc, 12),
        (Model::Xcc, Profile::LenovoXcc, 12),
        (Model::Dmtf { expand: false }, Profile::Dmtf, 15),
        (Model::Dmtf { expand: true }, Profile::Dmtf, 8),
    ] {
        let fake = Fake::start(model).await;
        let (foreign, foreign2, old, new) = (root("foreign"), root("foreign 2"), root("old"), root("new"));
        for der in [&foreign, &foreign2, &old] {
            fake.hold(der);
        }
        let converged = Attempt::new(&fake, profile, install(&[&new, &new])).done().await;
        assert_eq!(converged.held.anchors, sorted(prints(&[&foreign, &foreign2, &old, &new])));
        assert_eq!(fake.requests().len(), requests, "{model:?}");
        let converged = Attempt::new(&fake, profile, remove(&[&old])).done().await;
        assert!(converged.changed);
        assert_eq!(converged.held.anchors, sorted(prints(&[&foreign, &foreign2, &new])));
        assert_eq!(fake.held(), prints(&[&foreign, &foreign2, &new]));
        assert!(!Attempt::new(&fake, profile, remove(&[&old])).done().await.changed);
        assert_eq!(fake.open_sessions(), 0);
    }
}

#[tokio::test]
async fn new_anchors_are_proven_before_old_ones_are_removed() {
    let (old, new) = (root("old"), root("new"));
    let goal = TrustGoal { install: vec![new.clone()], remove: prints(&[&old]), ..TrustGoal::default() };
    let fake = Fake::start(Model::OpenBmc).await;
    fake.hold(&old);
    fake.fault(|request, _| request.is("POST", "/Truststore").then(|| Reply::status(204)));
    assert_eq!(Attempt::new(&fake, Profile::Openbmc, goal.clone()).fails().await.class, ErrorClass::NotStored);
    assert_eq!(fake.held(), prints(&[&old]));
    fake.recover();
    let converged = Attempt::new(&fake, Profile::Openbmc, goal).done().await;
    assert_eq!(converged.held.anchors, prints(&[&new]));
}

#[tokio::test]
async fn a_certificate_held_twice_is_removed_twice() {
    let (old, other) = (root("old"), root("other"));
    let fake = Fake::start(Model::Xcc).await;
    for der in [&old, &other, &old] {
        fake.hold(der);
    }
    Attempt::new(&fake, Profile::LenovoXcc, remove(&[&old])).done().await;
    assert_eq!(fake.held(), prints(&[&other]));
}

#[tokio::test]
async fn dmtf_falls_back_to_the_update_service() {
    let fake = Fake::start(Model::Xcc).await;
    fake.fault(|request, _| {
        let uri = "/redfish/v1/UpdateService/RemoteServerCertificates";
        let service = serde_json::json!({"RemoteServerCertificates": {"@odata.id": uri}});
        match request.uri.as_str() {
            "/redfish/v1/Managers/1/SecurityPolicy" => Some(Reply::status(404)),
            "/redfish/v1/UpdateService" => Some(Reply::json(service)),
            _ => None,
        }
    });
    let new = root("one");
    assert_eq!(Attempt::new(&fake, Profile::Dmtf, install(&[&new])).done().await.held.anchors, prints(&[&new]));
}

#[tokio::test]
async fn a_named_slot_needs_no_search() {
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    let mut attempt = Attempt::new(&fake, Profile::Dmtf, install(&[&root("one")]));
    attempt.slot = Some("/redfish/v1/Managers/1/SecurityPolicy/TLS/Client/TrustedCertificates");
    attempt.done().await;
    assert_eq!(fake.requests().len(), 7);
}

#[tokio::test]
async fn an_announced_but_refused_expand_costs_one_request() {
    let fake = Fake::start(Model::Dmtf { expand: true }).await;
    fake.fault(|request, _| request.uri.contains("$expand").then(|| Reply::status(501)));
    Attempt::new(&fake, Profile::Dmtf, install(&[&root("one")])).done().await;
    assert_eq!(fake.requests().len(), 10);
}

#[tokio::test]
async fn several_managers_require_a_named_slot() {
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    // The certificate that the device shows is listed by neither.
    fake.fault(|request, _| match request.uri.as_str() {
        "/redfish/v1/Managers" => {
            let managers = ["1", "2"].map(|id| serde_json::json!({"@odata.id": format!("/redfish/v1/Managers/{id}")}));
            Some(Reply::json(serde_json::json!({ "Members": managers })))
        }
        uri if uri.ends_with("/HTTPS/Certificates") => Some(Reply::json(serde_json::json!({"Members": []}))),
        _ => None,
    });
    let failure = Attempt::new(&fake, Profile::Dmtf, install(&[&root("one")])).fails().await;
    assert_eq!(failure.class, ErrorClass::Unsupported);
    assert!(
        failure.message.contains("2 Managers (1, 2)") && failure.message.contains("name its trust slot"),
        "{failure:?}"
    );
    assert!(fake.held().is_empty());
}

#[tokio::test]
async fn a_single_slot_is_replaced_in_one_step() {
    for (replace, first, second) in [(true, 7, 8), (false, 7, 9)] {
        let fake = Fake::start(Model::Vmedia { replace }).await;
        let (foreign, old, new) = (root("foreign"), root("old"), root("new"));
        Attempt::new(&fake, Profile::Vmedia, install(&[&foreign, &old])).done().await;
        assert_eq!(fake.requests().len(), first);
        let converged = Attempt::new(&fake, Profile::Vmedia, install(&[&new])).done().await;
        assert_eq!(converged.held.anchors, sorted(prints(&[&foreign, &old, &new])));
        let requests = fake.requests();
        assert_eq!(requests.len(), second);
        assert_eq!(requests.iter().any(|request| request.method == "DELETE"), !replace);
        Attempt::new(&fake, Profile::Vmedia, remove(&[&old])).done().await;
        assert_eq!(fake.held(), prints(&[&foreign, &new]));
        let emptied = Attempt::new(&fake, Profile::Vmedia, remove(&[&foreign, &new])).done().await;
        assert!(emptied.held.anchors.is_empty());
    }
}

#[tokio::test]
async fn a_replacement_that_fails_leaves_the_old_content() {
    let (old, new) = (root("old"), root("new"));
    for replace in [true, false] {
        let fake = Fake::start(Model::Vmedia { replace }).await;
        fake.hold(&old);
        let mut refused = 0;
        fake.fault(move |request, _| {
            let writes = request.is("POST", "");
            refused += i32::from(writes);
            // All but the last POST, which restores the old content.
            (writes && refused <= if replace { 2 } else { 1 }).then(|| super::fake::error(500, "No room."))
        });
        let failure = Attempt::new(&fake, Profile::Vmedia, install(&[&new])).fails().await;
        assert_eq!(failure.class, ErrorClass::ServerError);
        assert_eq!(fake.held(), prints(&[&old]));
    }
}
