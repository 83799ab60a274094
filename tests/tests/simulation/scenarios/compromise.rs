//! Issuing authorities are replaced, and revoked with everything that they signed, while devices keep their roots.

use super::*;

impl Scene {
    /// The device's own certificate, once it has another one than `before`.
    pub(super) async fn own(&self, number: u8, before: Option<&Certificate>) -> Certificate {
        let end = clock::age() + 3 * HOUR;
        loop {
            let path = format!("/devices/{}/certificate", id(number));
            let shown = self.world.ask("GET", &path, Value::Null).await;
            let shown = shown.map(|(_, shown)| shown["response"].clone()).unwrap_or_default();
            let held = shown["issued"]["certificate"].as_str().and_then(|pem| Certificate::from_pem(pem).ok());
            if let Some(held) = held.filter(|held| Some(held) != before) {
                return held;
            }
            assert!(clock::age() < end, "{number} gets no other certificate: {shown}\n{}", self.world.cloud.trace());
            sleep(Duration::from_secs(20)).await;
        }
    }

    async fn issuing(&self) -> Vec<Value> {
        let listed = self.world.must("GET", "/issuingAuthorities", Value::Null).await;
        listed["response"].as_array().unwrap().clone()
    }

    /// Waits until an issuing authority with this id signs.
    pub(super) async fn signs(&self, id: &str) {
        let end = clock::age() + HOUR;
        while !self.issuing().await.iter().any(|each| each["id"] == id && each["state"] == "signing") {
            assert!(clock::age() < end, "{id} does not sign\n{}", self.world.cloud.trace());
            sleep(Duration::from_secs(20)).await;
        }
    }
}

#[test]
fn an_issuing_authority_is_replaced_without_a_visit() {
    scene(2, async |scene| {
        scene.signs("1.1").await;
        scene.world.must("POST", "/devices/bmc-1/certificate", Value::Null).await;
        let first = scene.own(1, None).await;
        scene.world.must("POST", "/issuingAuthorities", Value::Null).await;
        scene.signs("1.2").await;
        scene.shows(1, &first).await;
        scene.world.must("POST", "/devices/bmc-1/certificate", Value::Null).await;
        let second = scene.own(1, Some(&first)).await;
        assert!(first.issuer_dn().contains("Issuing G1.1") && second.issuer_dn().contains("Issuing G1.2"));
        end::rest(&scene.world).await;
    });
}

/// With processes that die between any two calls, and answers that are lost, too.
#[test]
fn what_a_compromised_one_signed_is_revoked_and_renewed() {
    let bad = Faults { kill: 0.05, lost_answer: 0.02, conflict: 0.05, throttled: 0.02, ..Faults::default() };
    for faults in [Faults::default(), bad] {
        scene(3, async |scene| {
            scene.signs("1.1").await;
            let mut before = Vec::new();
            for number in 1..=3 {
                let path = format!("/devices/{}/certificate", id(number));
                scene.world.must("POST", &path, Value::Null).await;
                before.push(scene.own(number, None).await);
            }
            scene.world.faults(faults);
            scene.world.must("POST", "/issuingAuthorities/1.1/compromise", Value::Null).await;
            scene.signs("1.2").await;
            for (number, before) in (1..).zip(&before) {
                let after = scene.own(number, Some(before)).await;
                assert!(after.issuer_dn().contains("Issuing G1.2"), "{}", after.issuer_dn());
            }
            sleep(HOUR).await;
            scene.world.faults(Faults::default());
            sleep(HOUR).await;
            let listed = scene.issuing().await;
            let revoked = &listed.iter().find(|each| each["id"] == "1.1").unwrap()["revoked"];
            assert_eq!(revoked["isDone"], true, "{revoked}\n{}", scene.world.cloud.trace());
            end::rest(&scene.world).await;
        });
    }
}
