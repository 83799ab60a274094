//! What devices serve at each phase of a rollover, judged by OpenSSL, webpki and Python cryptography with the anchors of a
//! device that holds the old root only, both, or the new one only.

#[path = "../../../../functions/shared/pki/tests/it/openssl.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod openssl;
#[path = "../../it/import_readers/python.rs"]
#[allow(dead_code, reason = "others use more of it")]
mod python;
#[path = "../../it/authority/webpki.rs"]
mod webpki;

use time::OffsetDateTime;

use self::python::{bundle, python};
use super::*;

/// Accepted with the old root, both, the new one.
const OF_OLD: [bool; 3] = [true, true, false];
const OF_ALL: [bool; 3] = [true; 3];
const OF_NEW: [bool; 3] = [false, true, true];

/// A leaf with what follows it, and whose anchors are to verify it.
struct Served {
    when: &'static str,
    address: String,
    chain: Vec<Certificate>,
    at: OffsetDateTime,
    expected: [bool; 3],
}

impl Scene {
    fn served(&self, when: &'static str, number: u8, expected: [bool; 3]) -> Served {
        let chain = self.place(number, |bmc| std::iter::once(bmc.leaf()).chain(bmc.chain()).cloned().collect());
        Served { when, address: format!("10.0.0.{number}"), chain, at: clock::now(), expected }
    }

    /// The device gets a certificate of its own, or another one.
    async fn certify(&self, number: u8) {
        let before = self.place(number, |bmc| bmc.leaf().clone());
        self.world.must("POST", &format!("/devices/{}/certificate", id(number)), Value::Null).await;
        let own = self.own(number, Some(&before)).await;
        self.shows(number, &own).await;
    }
}

/// The first device's certificate is from before the rollover, the second's from after the activation, the third's from the
/// time when the old root had left the devices.
#[test]
fn chains_verify_at_each_phase_with_the_anchors_of_that_phase() {
    let (served, roots) = World::live(3, async move |world| {
        found(&world).await;
        let rows: Vec<Value> = (1..=3).map(|number| world.enrolment(&id(number), world.install(number))).collect();
        world.must("POST", "/devices", json!(rows)).await;
        let scene = Scene { world };
        scene.signs("1.1").await;
        scene.certify(1).await;
        let job = scene.world.regenerate("?canary=20&until=publish").await.unwrap();
        scene.job_is(job, "paused").await;
        let mut served = vec![scene.served("published", 1, OF_OLD)];
        scene.post(job, "continue?until=distribute", Value::Null).await;
        scene.world.job_when(job, HOUR, |job| job["state"] == "paused" && job["phase"] == "distribute").await;
        served.push(scene.served("distributed", 1, OF_OLD));
        scene.post(job, "continue?until=activate", Value::Null).await;
        scene.job_is(job, "ended").await;
        scene.signs("2.1").await;
        scene.certify(2).await;
        served.extend([scene.served("activated", 1, OF_OLD), scene.served("activated", 2, OF_ALL)]);
        scene.post(job, "continue?until=reissue", Value::Null).await;
        scene.world.job_when(job, 3 * HOUR, |job| job["state"] == "ended" && job["reached"] == "reissue").await;
        served.extend([1, 2].map(|number| scene.served("reissued", number, OF_ALL)));
        scene.post(job, "continue?until=distrust", Value::Null).await;
        scene.world.job_when(job, 3 * HOUR, |job| job["state"] == "ended" && job["reached"] == "distrust").await;
        scene.certify(3).await;
        served.extend([1, 2].map(|number| scene.served("distrusted", number, OF_ALL)));
        served.push(scene.served("distrusted", 3, OF_NEW));
        scene.world.assert_whole();
        (served, [1, 2].map(|generation| truth::root(&scene.world.cloud, generation)))
    });
    let [old, new] = &roots;
    let held: [&[&Certificate]; 3] = [&[old], &[old, new], &[new]];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for Served { when, address, chain, at, expected } in &served {
        let (leaf, sent) = chain.split_first().unwrap();
        let sent: Vec<&Certificate> = sent.iter().collect();
        let ders: Vec<&[u8]> = sent.iter().map(|each| each.der()).collect();
        let asked = held.map(|anchors| {
            let anchors: Vec<&[u8]> = anchors.iter().map(|each| each.der()).collect();
            bundle(leaf.der(), &ders, &anchors, None)
        });
        let python = runtime.block_on(python(asked.to_vec(), *at));
        for (place, anchors) in held.into_iter().enumerate() {
            let verdicts = [
                openssl::verify(anchors, leaf, &sent, *at).err(),
                webpki::verify(anchors, leaf, &sent, address, *at).err().map(|why| why.to_string()),
                python[place].clone(),
            ];
            let accepted = verdicts.each_ref().map(Option::is_none);
            assert_eq!(accepted, [expected[place]; 3], "{when}, {address}, anchors {place}: {verdicts:?} {sent:?}");
        }
    }
}
