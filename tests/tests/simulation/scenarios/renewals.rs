//! Devices' own certificates are renewed by themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::functions::{Function, RENEWALS_AN_HOUR};

const DEVICES: u8 = 24;
/// With certificates of two days, the first renewal of each device is due between 32 and 38 hours, the second one between 65
/// and 75.
const SECOND: Duration = Duration::from_secs(52 * 3600);

/// A certificate that one of our authorities signed.
struct Signed {
    device: String,
    at: i64,
}

impl Scene {
    fn signed(&self) -> Vec<Signed> {
        let rows = self.world.cloud.tables.all(CERTIFICATES);
        let signed = rows.iter().filter(|row| row["id"].as_str().is_some_and(|id| id.starts_with("serial#")));
        let signed = signed.filter(|row| row["leaf"].is_string());
        let signed = signed.map(|row| {
            let (device, at) = (row["device"].as_str().unwrap().to_owned(), row["at"].as_i64().unwrap());
            Signed { device, at }
        });
        signed.collect()
    }

    /// The jobs that no person began.
    fn by_rule(&self) -> Vec<Row> {
        self.world.jobs().into_iter().filter(|job| job["requestedBy"] == "rule:renewal").collect()
    }

    /// Issues certificates of two days, all in one hour, and has `rotate` look, twice each time.
    async fn begin_renewals(&self) {
        let rule = json!({ "prefix": r"\VED\Policy\Devices", "networks": ["10.0.0.0/8"], "longestDays": 2 });
        self.world.must("PUT", "/issuancePolicy", json!({ "revision": 0, "rules": [rule] })).await;
        self.world.cloud.keys.have_notary();
        for _ in 0..2 {
            self.world.schedule(Function::Rotate, HOUR, Value::Null);
        }
        for number in 1..=DEVICES {
            self.world.must("POST", &format!("/devices/{}/certificate", id(number)), Value::Null).await;
        }
        sleep(HOUR / 2).await;
        assert_eq!(self.signed().len(), usize::from(DEVICES));
    }

    /// Lives on until this age. No device ever shows a certificate that has ended.
    async fn live_until(&self, age: Duration) {
        while clock::age() < age {
            sleep(HOUR).await;
            for number in 1..=DEVICES {
                let ends = self.place(number, |bmc| bmc.leaf().not_after());
                assert!(
                    ends > clock::now(),
                    "{number} shows a certificate that has ended\n{}",
                    self.world.cloud.trace()
                );
            }
        }
    }
}

#[test]
fn a_fleets_certificates_are_renewed_once_and_spread() {
    scene(DEVICES, async |scene| {
        scene.begin_renewals().await;
        let before = scene.signed().len();
        let begun = clock::now().unix_timestamp();
        scene.live_until(SECOND).await;
        let signed = scene.signed();
        let again: Vec<&Signed> = signed.iter().filter(|signed| signed.at > begun).collect();
        let devices: BTreeSet<&str> = again.iter().map(|signed| signed.device.as_str()).collect();
        assert_eq!((devices.len(), again.len()), (usize::from(DEVICES), before), "each of them once");
        let mut an_hour = BTreeMap::<i64, u32>::new();
        again.iter().for_each(|signed| *an_hour.entry(signed.at / 3600).or_default() += 1);
        assert!(an_hour.len() >= 4 && an_hour.values().all(|some| *some <= RENEWALS_AN_HOUR), "{an_hour:?}");
        // Fewer jobs than devices, each with the rule's name.
        let jobs = scene.by_rule();
        assert!(!jobs.is_empty() && jobs.len() < usize::from(DEVICES), "{}", jobs.len());
        end::rest(&scene.world).await;
    });
}

/// Functions die between any two calls, answers are lost, and some devices cannot be reached for hours.
#[test]
fn a_renewal_that_fails_is_tried_again_in_time() {
    scene(DEVICES, async |scene| {
        scene.begin_renewals().await;
        scene.world.faults(Faults { kill: 0.03, lost_answer: 0.02, conflict: 0.03, ..Faults::default() });
        (1..=4).for_each(|number| scene.mood(number, Mood::Refuses));
        scene.live_until(Duration::from_secs(40 * 3600)).await;
        (1..=4).for_each(|number| scene.mood(number, Mood::Well));
        scene.live_until(SECOND).await;
        scene.world.faults(Faults::default());
        let ends = |number| scene.place(number, |bmc| bmc.leaf().not_after());
        assert!((1..=DEVICES).all(|number| ends(number) > clock::at(SECOND) + Duration::from_secs(24 * 3600)));
        end::rest(&scene.world).await;
    });
}

/// The certificate's record is of the new one from then on, and the device shows the one before.
#[test]
fn a_renewal_that_is_signed_and_not_installed_is_tried_again() {
    scene(DEVICES, async |scene| {
        scene.begin_renewals().await;
        (1..=4).for_each(|number| scene.mood(number, Mood::Declines));
        scene.live_until(Duration::from_secs(40 * 3600)).await;
        let signed = |number| scene.signed().iter().filter(|signed| signed.device == id(number)).count();
        assert!((1..=4).all(|number| signed(number) > 2), "they are signed, and tried again");
        assert!((5..=DEVICES).all(|number| signed(number) == 2), "the others are not");
        (1..=4).for_each(|number| scene.mood(number, Mood::Well));
        scene.live_until(SECOND).await;
        let ends = |number| scene.place(number, |bmc| bmc.leaf().not_after());
        assert!((1..=4).all(|number| ends(number) > clock::at(SECOND) + Duration::from_secs(24 * 3600)));
        end::rest(&scene.world).await;
    });
}

#[test]
fn what_must_not_be_renewed_is_left_alone() {
    scene(DEVICES, async |scene| {
        scene.begin_renewals().await;
        let shown = |number: u8| scene.place(number, |bmc| bmc.leaf().clone());
        let before: Vec<Certificate> = (1..=3).map(shown).collect();
        // One is revoked; of another one nobody knows any more who it is; a third has an imported certificate.
        let own = scene.world.must("GET", "/devices/bmc-1/certificate", Value::Null).await;
        let revocation = json!({ "CertificateDN": own["response"]["dn"], "Reason": 1 });
        scene.world.must("POST", "/vedsdk/certificates/revoke", revocation).await;
        scene.world.must("PATCH", "/devices/bmc-2", json!({ "pins": [] })).await;
        scene.world.must("POST", "/v3/scm/certificates/import", imported::body(0, "imported")).await;
        let imported = imported::known(&scene.world)[0].0.clone();
        let deployment = json!({ "service_name": "DEVICE", "resources": [{ "id": id(3) }] });
        scene.world.must("POST", &format!("/v3/scm/certificates/{imported}/deploy"), deployment).await;
        sleep(HOUR).await;
        let third = scene.place(3, |bmc| bmc.leaf().clone());
        assert_ne!(third, before[2]);
        while clock::age() < SECOND {
            sleep(HOUR).await;
        }
        assert_eq!([shown(1), shown(2), shown(3)], [before[0].clone(), before[1].clone(), third]);
        let devices: BTreeSet<String> = scene.signed().into_iter().map(|signed| signed.device).collect();
        assert_eq!(scene.signed().len(), devices.len() * 2 - 3, "all others were renewed once");
        end::rest(&scene.world).await;
    });
}
