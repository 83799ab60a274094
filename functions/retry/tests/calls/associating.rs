//! `POST Certificates/Associate`, `/Dissociate` and `/Push`.

use crate::*;

fn dn(device: &str) -> String {
    format!(r"\VED\Policy\Devices\{device}")
}

fn associate(devices: &[&str], push: Value) -> Request<Body> {
    let applications: Vec<String> = devices.iter().map(|device| dn(device)).collect();
    post("Associate", json!({ "CertificateDN": DN, "ApplicationDN": applications, "PushToNew": push }))
}

fn dissociate(device: &str) -> Request<Body> {
    post("Dissociate", json!({ "CertificateDN": DN, "ApplicationDN": dn(device), "DeleteOrphans": false }))
}

/// A use that is bound, but was never brought to the device.
fn fresh(device: &str) -> UseRecord {
    UseRecord { job: None, ..binding(device, 0, 0, None) }
}

const OTHER: &str = "scs0000000000002";

#[tokio::test]
async fn new_devices_are_bound_in_one_transaction() {
    let wake = woken("created");
    let there = devices(vec![device("bmc-1", &[CERTIFICATE]), device("bmc-2", &[])]);
    let bound = written(&["update scs0000000000001", "put scs0000000000001 use#bmc-2", "update bmc-2"]);
    let rules = [
        &name(),
        &held(record()),
        &there,
        &uses_then(vec![binding("bmc-1", 7, 1, Some(false))]),
        &no_rollovers(),
        &chain(),
        &bound,
    ];
    assert_eq!(call(associate(&["bmc-1", "bmc-2"], json!(false)), &rules, &wake).await, success());
    assert_eq!((bound.num_calls(), wake.num_calls()), (1, 0));

    let there = devices(vec![device("bmc-1", &[CERTIFICATE])]);
    let rules = [&name(), &held(record()), &there, &uses_then(vec![binding("bmc-1", 7, 1, None)])];
    assert_eq!(call(associate(&["bmc-1"], json!(null)), &rules, &wake).await, success());
}

#[tokio::test]
async fn a_conflict_on_a_device_is_retried() {
    let there = || devices(vec![device("bmc-1", &[])]);
    let bound = written(&["update scs0000000000001", "put scs0000000000001 use#bmc-1", "update bmc-1"]);
    let (first, then) = (held(record()), held(record()));
    let rules = [&name(), &first, &there(), &chain(), &lost(), &then, &there(), &chain(), &bound];
    assert_eq!(call(associate(&["bmc-1"], json!(false)), &rules, &woken("")).await, success());
}

#[tokio::test]
async fn one_refused_device_refuses_the_whole_association() {
    let stranger = DeviceRecord { pins: Vec::new(), ..device("bmc-2", &[]) };
    let busy = UseRecord { certificate: OTHER.parse().unwrap(), ..binding("bmc-3", 9, 1, Some(false)) };
    let there = devices(vec![device("bmc-1", &[]), stranger, device("bmc-3", &[OTHER])]);
    let rules = [&name(), &held(record()), &there, &uses_then(vec![busy]), &no_rollovers()];
    let asked = associate(&["bmc-1", "bmc-2", "bmc-3", "bmc-4"], json!(true));
    let (status, said) = call(asked, &rules, &woken("")).await;
    let told: Vec<&str> = said["Error"].as_str().unwrap().lines().collect();
    assert_eq!((status, told.len()), (400, 3), "{told:?}");
    assert!(told[0].starts_with(r"[\VED\Policy\Devices\bmc-2] The device is not approved"), "{told:?}");
    assert!(told[1].starts_with(r"[\VED\Policy\Devices\bmc-3] Job 9 is bringing scs0000000000002"), "{told:?}");
    assert!(told[2].starts_with(r"[\VED\Policy\Devices\bmc-4] There is no such device"), "{told:?}");
}

#[tokio::test]
async fn unknown_applications_are_named_in_the_error() {
    for call_name in ["Associate", "Dissociate", "Push"] {
        let body = json!({ "CertificateDN": DN, "ApplicationDN": [r"\VED\Policy\F5\web"] });
        let (status, said) = call(post(call_name, body), &[], &woken("")).await;
        assert_eq!(status, 400);
        assert!(said["Error"].as_str().unwrap().starts_with(r"[\VED\Policy\F5\web] is no application"), "{said}");
    }
}

#[tokio::test]
async fn an_own_certificate_goes_to_no_other_device() {
    let rules = [&name(), &held(own())];
    let text = "It is the own certificate of the device bmc-1, whose private key never left it: renew it there.";
    assert_eq!(call(associate(&["bmc-2"], json!(false)), &rules, &woken("")).await, refused(text));
    assert_eq!(call(dissociate("bmc-1"), &[&name(), &held(place())], &woken("")).await, refused(text));
}

#[tokio::test]
async fn push_to_new_skips_devices_that_got_the_certificate() {
    let wake = woken("created");
    let there = || devices(vec![device("bmc-1", &[CERTIFICATE]), device("bmc-2", &[CERTIFICATE])]);
    let known = || uses_then(vec![binding("bmc-1", 5, 1, None), fresh("bmc-2")]);
    let begun = written(&[
        "put 7 meta",
        "put jobs 000000000007",
        "put running 000000000007",
        "update scs0000000000001",
        "put scs0000000000001 use#bmc-2",
        "update bmc-2",
    ]);
    let one = devices(vec![device("bmc-2", &[CERTIFICATE])]);
    let rules = [
        &name(),
        &held(record()),
        &there(),
        &known(),
        &known(),
        &held(record()),
        &one,
        &uses_then(vec![fresh("bmc-2")]),
        &next_job(),
        &chain(),
        &begun,
    ];
    assert_eq!(call(associate(&["bmc-1", "bmc-2"], json!("true")), &rules, &wake).await, success());
    assert_eq!((begun.num_calls(), wake.num_calls()), (1, 1));
}

#[tokio::test]
async fn dissociation_unbinds_even_a_pending_device() {
    let stranger = DeviceRecord { pins: Vec::new(), ..device("bmc-1", &[CERTIFICATE]) };
    let gone = written(&["update scs0000000000001", "delete scs0000000000001 use#bmc-1", "update bmc-1"]);
    let failed = uses_then(vec![binding("bmc-1", 7, 1, Some(true))]);
    let rules = [&name(), &held(record()), &devices(vec![stranger]), &failed, &chain(), &gone];
    assert_eq!(call(dissociate("bmc-1"), &rules, &woken("")).await, success());
    assert_eq!(gone.num_calls(), 1);

    // A repeated request has nothing to do.
    let rules = [&name(), &held(record()), &devices(vec![device("bmc-1", &[])])];
    assert_eq!(call(dissociate("bmc-1"), &rules, &woken("")).await, success());
}

#[tokio::test]
async fn a_device_with_a_job_is_neither_dissociated_nor_deleted() {
    let there = devices(vec![device("bmc-1", &[CERTIFICATE])]);
    let rules =
        [&name(), &held(record()), &there, &uses_then(vec![binding("bmc-1", 7, 1, Some(false))]), &no_rollovers()];
    let text = r"[\VED\Policy\Devices\bmc-1] Job 7 is bringing scs0000000000001 to the device: send this again when it has ended.";
    assert_eq!(call(dissociate("bmc-1"), &rules, &woken("")).await, refused(text));
    let orphans = json!({ "CertificateDN": DN, "ApplicationDN": dn("bmc-1"), "DeleteOrphans": "true" });
    let (status, said) = call(post("Dissociate", orphans), &[], &woken("")).await;
    assert_eq!(status, 400);
    assert!(said["Error"].as_str().unwrap().contains("DELETE /devices/ID"), "{said}");
}

#[tokio::test]
async fn a_push_goes_to_every_device_or_is_refused() {
    let push = |body: Value| {
        let mut whole = json!({ "CertificateDN": DN });
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        post("Push", whole)
    };
    let wake = woken("created");
    let begun = written(&[
        "put 7 meta",
        "put jobs 000000000007",
        "put running 000000000007",
        "update scs0000000000001",
        "put scs0000000000001 use#bmc-1",
        "update bmc-1",
        "put scs0000000000001 use#bmc-2",
        "update bmc-2",
    ]);
    let known = vec![binding("bmc-1", 5, 1, None), fresh("bmc-2")];
    let there = devices(vec![device("bmc-1", &[CERTIFICATE]), device("bmc-2", &[CERTIFICATE])]);
    let rules = [
        &name(),
        &held(record()),
        &uses(known.clone()),
        &held(record()),
        &there,
        &uses_then(known),
        &next_job(),
        &chain(),
        &begun,
    ];
    assert_eq!(call(push(json!({ "PushToAll": true })), &rules, &wake).await, success());
    assert_eq!((begun.num_calls(), wake.num_calls()), (1, 1));

    let failed = uses_then(vec![binding("bmc-1", 5, 1, Some(true)), binding("bmc-2", 5, 1, Some(false))]);
    let asked = push(json!({ "ApplicationDN": [dn("bmc-1"), dn("bmc-2"), dn("bmc-3")] }));
    let (status, said) = call(asked, &[&name(), &held(record()), &failed], &wake).await;
    let told: Vec<&str> = said["Error"].as_str().unwrap().lines().collect();
    assert_eq!((status, told.len()), (400, 3), "{told:?}");
    assert!(told[0].contains("Certificates/Retry") && told[1].contains("on its way"), "{told:?}");
    assert!(told[2].contains("Certificates/Associate"), "{told:?}");

    for body in [json!({}), json!({ "PushToAll": true, "ApplicationDN": dn("bmc-1") })] {
        let text = "Send either ApplicationDN, or PushToAll with true.";
        assert_eq!(call(push(body), &[], &wake).await, refused(text));
    }
    let (status, said) = call(push(json!({ "PushToAll": true })), &[&name(), &held(own())], &wake).await;
    assert_eq!(status, 400);
    assert!(said["Error"].as_str().unwrap().starts_with("There is no private key to push"), "{said}");
    let (status, _) = call(push(json!({ "PushToAll": 1 })), &[&name(), &held(record()), &uses(vec![])], &wake).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_full_device_is_named_before_anything_is_written() {
    let bindings: Vec<String> =
        (0..rootcast_ledger::MOST_BINDINGS_OF_DEVICE).map(|number| format!("scs{:013}", number + 10)).collect();
    let full = device("bmc-1", &bindings.iter().map(String::as_str).collect::<Vec<_>>());
    let rules = [&name(), &held(record()), &devices(vec![full]), &uses_then(Vec::new())];
    let text = r"[\VED\Policy\Devices\bmc-1] The device has 45 certificates already, the most that one can have: dissociate one from it first.";
    assert_eq!(call(associate(&["bmc-1"], json!(false)), &rules, &woken("")).await, refused(text));
}
