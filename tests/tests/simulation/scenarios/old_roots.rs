//! What becomes of an old root: its key, or its return.

use super::*;
use crate::keys::State;

const ALL_THE_WAY: &str = "?canary=20&errorBudget=100&holdDown=600&until=retire";

impl Scene {
    pub(super) async fn roll_over(&self, query: &str) -> u64 {
        // A function may have died of it, or its answer may be lost.
        let running = || self.world.newest_job().filter(|job| job["state"] != "ended")?["id"].as_u64();
        for _ in 0..20 {
            if let Some(job) = self.world.regenerate(query).await.or_else(running) {
                self.job_is(job, "ended").await;
                return job;
            }
            sleep(Duration::from_secs(10)).await;
        }
        panic!("no rollover begins\n{}", self.world.cloud.trace())
    }

    fn record(&self, id: &str) -> Row {
        self.world.cloud.tables.named(CERTIFICATES, id).unwrap()
    }

    pub(super) fn key(&self, id: &str) -> State {
        let (record, states) = (self.record(id), self.world.cloud.keys.states());
        states.into_iter().find(|(arn, _)| record["key"] == arn.as_str()).unwrap().1
    }

    /// The keys of a root and of the authority that was made below it.
    fn keys(&self, generation: u64) -> [State; 2] {
        [self.key(&format!("root#{generation:010}")), self.key(&format!("issuing#{generation:010}#0000000001"))]
    }

    pub(super) async fn shown(&self, generation: u64) -> Value {
        let all = self.world.must("GET", "/signingCertificate/details", Value::Null).await["response"].take();
        all.as_array().unwrap().iter().find(|root| root["generation"] == generation).unwrap().clone()
    }
}

/// With processes that die between any two calls, and answers that are lost, too.
#[test]
fn the_keys_of_an_old_root_are_disabled_and_deleted_unless_kept() {
    let bad = Faults { kill: 0.05, lost_answer: 0.02, conflict: 0.05, throttled: 0.02, ..Faults::default() };
    for faults in [Faults::default(), bad] {
        scene(3, async |scene| {
            scene.signs("1.1").await;
            scene.world.faults(faults);
            scene.roll_over(ALL_THE_WAY).await;
            sleep(3 * HOUR).await;
            scene.world.faults(Faults::default());
            sleep(HOUR).await;
            assert!((1..=3).all(|number| scene.holds(number, 2) && !scene.holds(number, 1)));
            let pending = scene.keys(1).iter().all(|key| matches!(key, State::PendingDeletion(_)));
            assert!(pending, "{:?}\n{}", scene.keys(1), scene.world.cloud.trace());
            let shown = scene.shown(1).await;
            assert!(shown["state"] == "retired" && shown["keyDeletion"].is_string(), "{shown}");
            scene.world.must("POST", "/roots/1/keep", Value::Null).await;
            sleep(HOUR).await;
            assert_eq!(scene.keys(1), [State::Disabled; 2]);
            sleep(24 * HOUR).await;
            assert_eq!(scene.keys(1), [State::Disabled; 2], "still");
            let shown = scene.shown(1).await;
            assert!(shown["state"] == "retired" && shown["keyDeletion"].is_null(), "{shown}");
            end::rest(&scene.world).await;
        });
    }
}

#[test]
fn an_old_root_signs_again_after_a_rollback() {
    scene(2, async |scene| {
        scene.signs("1.1").await;
        let job = scene.roll_over("?canary=20&until=activate").await;
        scene.signs("2.1").await;
        assert_eq!(scene.signing(), 2);
        scene.post(job, "rollback", Value::Null).await;
        let ended = scene.job_is(job, "ended").await;
        sleep(HOUR).await;
        assert_eq!(
            (scene.signing(), &truth::job(&scene.world.cloud, job).unwrap()["outcome"]),
            (1, &json!("rolledBack"))
        );
        assert!(ended["activated"].is_number(), "{ended}");
        scene.signs("1.1").await;
        assert!((1..=2).all(|number| scene.holds(number, 1) && scene.holds(number, 2)), "both stay trusted");
        // The next one replaces both.
        scene.roll_over(ALL_THE_WAY).await;
        assert!((1..=2).all(|number| scene.holds(number, 3) && !scene.holds(number, 2) && !scene.holds(number, 1)));
        end::rest(&scene.world).await;
    });
}

/// As Lenovo's XCC has. Each time the device is read: the new root is all that it trusts, and the old root's keys are gone.
#[test]
fn three_rollovers_in_a_row_fit_a_device_with_four_places() {
    scene(1, async |scene| {
        scene.signs("1.1").await;
        scene.place(1, |bmc| bmc.places = 4);
        for generation in 2..=4 {
            let job = scene.roll_over(ALL_THE_WAY).await;
            assert_eq!(truth::job(&scene.world.cloud, job).unwrap()["outcome"], "completed");
            let root = truth::root(&scene.world.cloud, generation);
            assert_eq!(scene.place(1, |bmc| bmc.anchors().cloned().collect::<Vec<_>>()), [root]);
            scene.signs(&format!("{generation}.1")).await;
            sleep(HOUR).await;
            let old = generation - 1;
            assert!(scene.keys(old).iter().all(|key| matches!(key, State::PendingDeletion(_))), "{old}");
        }
        end::rest(&scene.world).await;
    });
}

/// The rollover was forgotten, and a device was reset meanwhile.
#[test]
fn a_rollover_from_an_expired_root_ends() {
    scene(2, async |scene| {
        scene.signs("1.1").await;
        clock::leap(3651 * 24 * HOUR);
        scene.place(2, |bmc| bmc.forget());
        let job = scene.begin().await;
        assert_eq!(scene.world.ended(job).await["outcome"], "activated", "{}", scene.world.cloud.trace());
        assert!(scene.holds(1, 2) && scene.holds(2, 2));
        assert!(!scene.holds(2, 1), "nobody needs it");
    });
}
