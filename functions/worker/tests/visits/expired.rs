//! Trust anchors that have expired: devices refuse them, and nothing verifies with them.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rootcast_core::job::task::ErrorClass;
use rootcast_pki::bundle::{Bundle, content_hash};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;

use crate::fake::error;
use crate::{World, now};

/// A root that ends on a day of January 1970; the world's is the twelfth.
fn until(day: u8) -> Certificate {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    params.not_after = rcgen::date_time_ymd(1970, 1, day);
    Certificate::from_der(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()).unwrap()
}

fn brings(world: &World, old: &Certificate) -> Bundle {
    let anchors = vec![old.clone(), Certificate::from_der(world.root.clone()).unwrap()];
    Bundle { version: 3, anchors, others: Vec::new(), withdrawn: Vec::new(), issued: now(), exp: None }
}

#[tokio::test]
async fn an_expired_root_is_not_sent_and_holds_nobody_back() {
    let (old, refused) = (until(5), until(5));
    let world = World::new().await;
    let bundle = brings(&world, &old);
    world.publishes(bundle);
    let pem = refused.pem().len();
    world.fake.fault(move |request, _| {
        let sent = request.body["CertificateString"].as_str().unwrap_or_default().len();
        (request.is("POST", "/Truststore") && sent == pem).then(|| error(400, "It has expired."))
    });
    assert!(world.deliver().await);
    world.assert_acked();
    let held = [Fingerprint::of(&world.root)];
    assert_eq!(world.fake.held(), held);
    assert_eq!(world.task().unwrap().ack.unwrap().sha256, content_hash(held.into_iter()));
}

#[tokio::test]
async fn a_device_that_holds_an_expired_root_keeps_it() {
    let (old, world) = (until(5), World::new().await);
    let bundle = brings(&world, &old);
    world.publishes(bundle.clone());
    world.fake.hold(old.der());
    assert!(world.deliver().await);
    world.assert_acked();
    assert_eq!(world.task().unwrap().ack.unwrap().sha256, bundle.sha256());
    assert_eq!(world.fake.held(), [old.fingerprint(), Fingerprint::of(&world.root)]);
}

#[tokio::test]
async fn a_root_that_lives_must_be_held() {
    let (old, world) = (until(20), World::new().await);
    world.fake.lives_in("Mon, 12 Jan 1970 13:46:40 GMT");
    world.publishes(brings(&world, &old));
    let pem = old.pem();
    world.fake.fault(move |request, _| {
        let is_old = request.body["CertificateString"] == pem.as_str();
        (request.is("POST", "/Truststore") && is_old).then(|| error(400, "I do not like it."))
    });
    assert!(world.deliver().await);
    world.assert_failed(ErrorClass::Rejected);
}
