//! Devices with two managers: the BMC, and the one of a GPU board.

use rootcast_core::device::Profile;
use rootcast_core::job::task::ErrorClass;
use serde_json::{Value, json};

use super::fake::{Fake, Model, REPLACE, Reply, Request, root};
use super::install::{Device, identity};
use super::request;
use super::{Attempt, install, prints};

const SLOT: &str = "/redfish/v1/Managers/BMC_0/SecurityPolicy/TLS/Client/TrustedCertificates";

/// What says which manager is the BMC.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Says {
    System,
    Certificate,
    Nothing,
}

/// The fake's manager 1 is `BMC_0` here, and there is another one, whose web server has another certificate.
fn two(fake: &Fake, says: Says) {
    let foreign = super::fake::pem(&root("GPU"));
    fake.fault(move |request, state| {
        let bmc = request.uri.replace("/Managers/BMC_0", "/Managers/1");
        let member = |uri: &str| json!({"@odata.id": uri});
        let other = "/redfish/v1/Managers/HGX_BMC_0";
        let answer = match request.uri.as_str() {
            "/redfish/v1/Managers" => json!({"Members": [member(other), member("/redfish/v1/Managers/BMC_0/")]}),
            "/redfish/v1/Systems/1" if says == Says::System => {
                json!({"Links": {"ManagedBy": [member("/redfish/v1/Managers/BMC_0")]}})
            }
            "/redfish/v1/Systems/1" => json!({"Links": {}}),
            uri if uri.starts_with(other) && request.method != "GET" => panic!("the GPU board is written: {uri}"),
            uri if uri == format!("{other}/NetworkProtocol") => {
                json!({"HTTPS": {"Certificates": member(&format!("{other}/NetworkProtocol/HTTPS/Certificates"))}})
            }
            uri if uri == format!("{other}/NetworkProtocol/HTTPS/Certificates") => {
                json!({"Members": [{"@odata.id": format!("{uri}/1"), "CertificateString": foreign}]})
            }
            uri if uri.ends_with("/HTTPS/Certificates") && says == Says::Nothing => json!({"Members": []}),
            uri if uri != bmc => return Some(named(state.answer(&of(request, bmc)), "/Managers/1")),
            _ => return None,
        };
        Some(Reply::json(answer))
    });
}

/// The request to the fake's own manager; in the body, too.
fn of(request: &Request, uri: String) -> Request {
    let body = request.body.to_string().replace("/Managers/BMC_0", "/Managers/1");
    Request { uri, body: serde_json::from_str(&body).unwrap(), ..request.clone() }
}

fn named(reply: Reply, own: &str) -> Reply {
    let Reply::Json(status, headers, body) = reply else { return reply };
    let body: Value = serde_json::from_str(&body.to_string().replace(own, "/Managers/BMC_0")).unwrap();
    Reply::Json(status, headers, body)
}

#[tokio::test]
async fn the_trust_slot_is_that_of_the_systems_manager() {
    for says in [Says::System, Says::Certificate] {
        let fake = Fake::start(Model::Dmtf { expand: false }).await;
        two(&fake, says);
        let new = root("one");
        Attempt::new(&fake, Profile::Dmtf, install(&[&new])).done().await;
        assert_eq!(fake.held(), prints(&[&new]), "{says:?}");
    }
}

#[tokio::test]
async fn a_manager_that_nothing_names_is_not_guessed() {
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    two(&fake, Says::Nothing);
    let failure = Attempt::new(&fake, Profile::Dmtf, install(&[&root("one")])).fails().await;
    assert_eq!(failure.class, ErrorClass::Unsupported);
    for words in ["2 Managers (HGX_BMC_0, BMC_0)", "name its trust slot", "/redfish/v1/Managers/"] {
        assert!(failure.message.contains(words), "{failure:?}");
    }
    assert!(!fake.requests().iter().any(|request| request.is("POST", "Certificates")));
    let failure = Device::new(&fake, Profile::Dmtf).fails(&identity()).await;
    assert!(failure.message.contains("name its trust slot"), "{failure:?}");
}

#[tokio::test]
async fn a_named_slot_names_the_manager_of_the_web_server() {
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    two(&fake, Says::Nothing);
    let new = root("one");
    let mut attempt = Attempt::new(&fake, Profile::Dmtf, install(&[&new]));
    attempt.slot = Some(SLOT);
    attempt.done().await;
    assert_eq!(fake.held(), prints(&[&new]));
    two(&fake, Says::Certificate);
    // The fake knows the action's body by its own manager.
    let mut device = Device::new(&fake, Profile::Dmtf);
    device.slot = Some(SLOT.parse().unwrap());
    let failure = device.install(&identity(), "").await;
    let requests = fake.requests();
    let sent = requests.iter().find(|request| request.is("POST", REPLACE)).expect("a write");
    let uri = sent.body.pointer("/CertificateUri/@odata.id").and_then(Value::as_str).unwrap();
    assert!(uri.starts_with("/redfish/v1/Managers/BMC_0/NetworkProtocol/"), "{uri} {failure:?}");
    assert!(!requests.iter().any(|request| request.is("GET", "/Systems")), "no search");
    let mut attempt = request::Attempt::new(&fake, Profile::Dmtf);
    attempt.slot = Some(SLOT.parse().unwrap());
    let _ = attempt.run().await;
    let requests = fake.requests();
    let asked = requests.iter().find(|request| request.is("POST", "GenerateCSR")).expect("a request");
    let uri = asked.body.pointer("/CertificateCollection/@odata.id").and_then(Value::as_str).unwrap();
    assert!(uri.starts_with("/redfish/v1/Managers/BMC_0/NetworkProtocol/"), "{uri}");
}

#[tokio::test]
async fn an_openbmc_with_another_manager_is_named_by_its_slot() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, state| {
        let uri = request.uri.replace("/Managers/BMC_0", "/Managers/bmc");
        let moved = uri != request.uri || request.uri.starts_with("/redfish/v1/Managers/bmc");
        if moved && uri == request.uri {
            return Some(super::fake::error(404, "There is no manager bmc."));
        }
        moved.then(|| named(state.answer(&Request { uri, ..request.clone() }), "/Managers/bmc"))
    });
    let new = root("one");
    let mut attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&new]));
    attempt.slot = Some("/redfish/v1/Managers/BMC_0/Truststore/Certificates");
    let failure = attempt.run().await;
    assert!(fake.requests().iter().any(|request| request.is("POST", "/Managers/BMC_0/Truststore")), "{failure:?}");
    let mut device = Device::new(&fake, Profile::Openbmc);
    device.slot = attempt.slot.map(|slot| slot.parse().unwrap());
    let _ = device.install(&identity(), "").await;
    let read: Vec<_> = fake.requests().into_iter().filter(|request| request.is("GET", "/Managers/")).collect();
    assert!(read.iter().all(|request| request.uri.contains("/Managers/BMC_0/")) && !read.is_empty(), "{read:?}");
}
