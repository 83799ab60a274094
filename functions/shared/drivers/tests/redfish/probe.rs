//! A probe shows a person what a device has, also where a job would fail.

use std::sync::Arc;
use std::time::Duration;

use rootcast_core::device::probe::{Ability, Found};
use rootcast_core::device::{Profile, Slot};
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_drivers::{Credential, Endpoint, Inspection, Redfish};
use serde_json::json;
use time::macros::datetime;
use tokio::time::Instant;

use super::check::MODELS;
use super::fake::{Fake, Model, PASSWORD, Reply, Request, USER, error, root};

async fn probe(fake: &Fake, profile: Profile, slot: Option<&str>) -> Result<Found, Failure> {
    let credential: Credential = json!({"username": USER, "password": PASSWORD}).to_string().parse().unwrap();
    let endpoint = Endpoint { address: fake.address.clone(), pins: vec![fake.pin] };
    let slot = slot.map(|slot| slot.parse::<Slot>().unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    let wanted =
        Inspection { endpoint: &endpoint, profile, slot: slot.as_ref(), credential: &credential, known: &[], deadline };
    let found = Redfish::new(Arc::new("127.0.0.1".parse().unwrap())).probe(&wanted).await;
    assert_eq!(fake.open_sessions(), 0, "a session stayed after {found:?}");
    found
}

fn is_write(request: &Request) -> bool {
    request.method != "GET" && !request.uri.contains("/Sessions")
}

#[tokio::test]
async fn every_profile_is_probed_and_not_written() {
    for (model, profile) in MODELS {
        let fake = Fake::start(model).await;
        fake.lives_in("Mon, 01 Jun 2026 12:00:00 GMT");
        fake.hold(&root("one"));
        let found = probe(&fake, profile, None).await.unwrap();
        let used: Vec<_> = found.slots.iter().filter(|slot| slot.is_used).collect();
        assert_eq!(used.len(), 1, "{profile}: {found:?}");
        let places = profile.places().map(|places| u32::try_from(places).unwrap());
        assert_eq!((used[0].members, used[0].places), (1, places), "{profile}");
        assert_eq!(used[0].free(), places.map(|places| places - 1));
        assert_eq!(found.clock, Some(datetime!(2026-06-01 12:00 UTC)));
        assert_eq!(found.managers.iter().filter(|manager| manager.path == "/redfish/v1/Managers/1").count(), 1);
        assert_eq!(found.can.contains(&Ability::Sessions), profile != Profile::Vmedia, "{profile}");
        assert_eq!(found.can.contains(&Ability::TakesPrivateKey), profile.takes_private_key());
        assert_eq!(found.can.contains(&Ability::Expand), model == Model::Dmtf { expand: true });
        let has_service = matches!(model, Model::Xcc | Model::Dmtf { .. });
        assert_eq!(found.can.contains(&Ability::Requests), has_service, "{profile}: {:?}", found.can);
        assert!(!fake.requests().iter().any(is_write), "{profile}");
    }
}

#[tokio::test]
async fn a_device_that_no_job_could_use_is_still_shown() {
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    fake.fault(|request, _| {
        let managers = ["BMC_0", "HGX_BMC_0"].map(|id| json!({"@odata.id": format!("/redfish/v1/Managers/{id}")}));
        match request.uri.as_str() {
            "/redfish/v1/Managers" => Some(Reply::json(json!({ "Members": managers }))),
            "/redfish/v1/Managers/BMC_0" => Some(Reply::json(json!({"Model": "B\u{7}MC", "FirmwareVersion": "1.2"}))),
            "/redfish/v1/Managers/HGX_BMC_0/Truststore/Certificates" => Some(Reply::json(json!({"Members": []}))),
            uri if uri.contains("/Managers/") => Some(error(404, "No such resource.")),
            _ => None,
        }
    });
    let found = probe(&fake, Profile::Dmtf, None).await.unwrap();
    let names: Vec<_> =
        found.managers.iter().map(|manager| (manager.path.as_str(), manager.model.as_deref())).collect();
    assert_eq!(names, [("/redfish/v1/Managers/BMC_0", Some("B MC")), ("/redfish/v1/Managers/HGX_BMC_0", None)]);
    assert!(!found.managers.iter().any(|manager| manager.is_used));
    let slots: Vec<_> = found.slots.iter().map(|slot| (slot.path.as_str(), slot.is_used)).collect();
    assert_eq!(slots, [("/redfish/v1/Managers/HGX_BMC_0/Truststore/Certificates", false)]);
    assert!(found.problems.iter().any(|problem| problem.contains("name its trust slot")), "{found:?}");
    let slot = "/redfish/v1/Managers/HGX_BMC_0/Truststore/Certificates";
    let found = probe(&fake, Profile::Dmtf, Some(slot)).await.unwrap();
    let used: Vec<_> = found.managers.iter().filter(|manager| manager.is_used).collect();
    assert_eq!((used.len(), used[0].path.as_str()), (1, "/redfish/v1/Managers/HGX_BMC_0"));
    assert!(found.slots[0].is_used && found.problems.is_empty(), "{found:?}");
}

#[tokio::test]
async fn a_refused_log_in_ends_a_probe() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, _| request.is("POST", "/Sessions").then(|| error(401, "No.")));
    assert_eq!(probe(&fake, Profile::Openbmc, None).await.unwrap_err().class, ErrorClass::Unauthorized);
    assert_eq!(fake.requests().iter().filter(|request| request.is("POST", "/Sessions")).count(), 1);
}
