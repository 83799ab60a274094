//! Roots are replaced by themselves.

use super::*;
use crate::functions::Function;

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Scene {
    fn rollovers(&self) -> Vec<Row> {
        self.world.jobs().into_iter().filter(|job| job["kind"] == "rollover").collect()
    }

    /// The policy says that the root of today is due tomorrow: 12 hours after the beginning. The function looks every hour, three
    /// times each.
    async fn begin_rotation(&self) {
        for _ in 0..3 {
            self.world.schedule(Function::Regenerate, HOUR, Value::Null);
        }
        self.world.must("PUT", "/certificatePolicy", json!({ "rotation": { "on": "2026-03-02" } })).await;
    }

    async fn sleep_until(&self, age: Duration) {
        sleep(age.saturating_sub(clock::age())).await;
    }
}

#[test]
fn a_root_that_is_due_is_replaced_once() {
    let bad = Faults { kill: 0.05, lost_answer: 0.03, conflict: 0.05, throttled: 0.02, ..Faults::default() };
    for faults in [Faults::default(), bad] {
        scene(3, async |scene| {
            scene.begin_rotation().await;
            scene.world.faults(faults);
            scene.sleep_until(DAY / 2 - HOUR / 2).await;
            assert_eq!(scene.signing(), 1);
            // What a crash leaves is finished an hour later.
            scene.sleep_until(3 * DAY).await;
            scene.world.faults(Faults::default());
            end::rest(&scene.world).await;
            assert_eq!(scene.signing(), 2, "{}", scene.world.cloud.trace());
            let jobs = scene.rollovers();
            assert_eq!(jobs.len(), 1, "{jobs:?}");
            let reason = jobs[0]["requestedFor"].as_str().unwrap();
            assert_eq!(reason, "By the rotation policy: on 2026-03-02.");
            let path = format!("/jobs/{}/audit", jobs[0]["id"]);
            let audit = scene.world.must("GET", &path, Value::Null).await;
            assert!(audit.to_string().contains("rule:rotation"), "{audit}");
        });
    }
}

#[test]
fn an_aborted_rotation_begins_again_a_day_later() {
    scene(2, async |scene| {
        (1..=2).for_each(|number| scene.mood(number, Mood::Refuses));
        scene.begin_rotation().await;
        // Clocks differ by seconds: the look at the due hour may come before it.
        scene.sleep_until(DAY / 2 + HOUR + HOUR / 2).await;
        let job = scene.rollovers()[0]["id"].as_u64().unwrap();
        // Its devices may have used up the error budget.
        if scene.world.job(job)["state"] == "running" {
            scene.post(job, "pause", Value::Null).await;
        }
        scene.sleep_until(DAY + DAY / 2 + 2 * HOUR).await;
        assert_eq!(scene.rollovers().len(), 1, "one that is paused waits");
        (1..=2).for_each(|number| scene.mood(number, Mood::Well));
        scene.post(job, "abort", Value::Null).await;
        scene.world.ended(job).await;
        let ended = clock::age();
        scene.sleep_until(ended + DAY - HOUR).await;
        assert_eq!(scene.rollovers().len(), 1, "the root is due, and somebody had a reason to abort");
        scene.sleep_until(ended + DAY + 2 * HOUR).await;
        assert_eq!(scene.rollovers().len(), 2);
        end::rest(&scene.world).await;
    });
}

#[test]
fn a_rotation_that_is_rolled_back_waits_for_the_policy() {
    scene(2, async |scene| {
        scene.begin_rotation().await;
        while scene.signing() == 1 {
            assert!(clock::age() < 4 * DAY, "{}", scene.world.cloud.trace());
            sleep(HOUR / 6).await;
        }
        let job = scene.rollovers()[0]["id"].as_u64().unwrap();
        scene.post(job, "rollback", Value::Null).await;
        scene.job_is(job, "ended").await;
        sleep(HOUR).await;
        assert_eq!(scene.signing(), 1, "{}", scene.world.cloud.trace());
        sleep(3 * DAY).await;
        assert_eq!(scene.rollovers().len(), 1, "the old root is due, and somebody wants it");
        scene.world.must("PUT", "/certificatePolicy", json!({ "rotation": { "on": "2026-03-02" } })).await;
        sleep(2 * HOUR).await;
        assert_eq!(scene.rollovers().len(), 2);
        end::rest(&scene.world).await;
    });
}

#[test]
fn nothing_is_rotated_without_a_policy() {
    scene(1, async |scene| {
        scene.begin_rotation().await;
        scene.world.must("PUT", "/certificatePolicy", json!({ "rotation": null })).await;
        scene.sleep_until(DAY).await;
        assert!(scene.rollovers().is_empty() && scene.signing() == 1);
        end::rest(&scene.world).await;
    });
}
