//! Maintenance windows, order, and waves that overlap.

use rootcast_core::device::SHARDS;
use rootcast_core::job::{Front, JobId};

use super::*;
use crate::openbmc::Bmc;

impl Scene {
    async fn label(&self, number: u8, site: &str) {
        let labels = json!({ "labels": { "site": site } });
        self.world.must("PATCH", &format!("/devices/{}", id(number)), labels).await;
    }

    pub(super) fn logins(&self, number: u8) -> usize {
        self.place(number, |bmc| bmc.logins.len())
    }

    /// When the device proved what it holds, in seconds.
    fn acked_at(&self, job: u64, pass: &str, number: u8) -> Option<i64> {
        self.row(job, pass, number)?["ack"]["at"].as_i64()
    }

    async fn sleep_to(&self, at: OffsetDateTime) {
        let left = at - clock::now();
        sleep(left.try_into().unwrap_or(Duration::ZERO)).await;
    }
}

/// It begins on Monday morning in Auckland: on Sunday evening here.
#[test]
fn nothing_begins_at_a_device_before_its_window() {
    let bad = Faults { kill: 0.05, lost_answer: 0.02, conflict: 0.05, throttled: 0.02, ..Faults::default() };
    let (opens, closes) = (datetime!(2026-03-01 17:00 UTC), datetime!(2026-03-01 21:00 UTC));
    for faults in [Faults::default(), bad] {
        scene(3, async |scene| {
            for number in [1, 2] {
                scene.label(number, "akl").await;
            }
            let window = json!({ "where": "site=akl", "days": ["mon"], "from": "06:00", "to": "10:00", "zone": "Pacific/Auckland" });
            let monday = json!({ "errorBudget": 100, "holdDown": 0, "windows": [window] });
            scene.world.must("PUT", "/rollouts/monday", monday).await;
            let before = [1, 2].map(|number| scene.logins(number));
            scene.world.faults(faults);
            let job = scene.world.regenerate("?rollout=monday&until=activate").await.unwrap();
            sleep(2 * HOUR).await;
            assert!(scene.holds(3, 2), "it is free at any time\n{}", scene.world.cloud.trace());
            let waits = scene.world.job(job);
            let reason = waits["reason"].as_str().unwrap();
            assert!(
                reason.contains("the window of site=akl, which opens at 2026-03-02 06:00 Pacific/Auckland"),
                "{reason}"
            );
            scene.sleep_to(opens - time::Duration::minutes(2)).await;
            assert_eq!([1, 2].map(|number| scene.logins(number)), before, "{}", scene.world.cloud.trace());
            assert_eq!((scene.world.job(job)["state"].as_str(), scene.signing()), (Some("running"), 1));
            scene.sleep_to(closes).await;
            scene.world.faults(Faults::default());
            scene.world.ended(job).await;
            assert_eq!(scene.signing(), 2, "{}", scene.world.cloud.trace());
            for number in [1, 2] {
                let at = scene.acked_at(job, "distribute", number).unwrap();
                assert!((opens.unix_timestamp()..closes.unix_timestamp()).contains(&at), "{at}");
            }
            assert_eq!(scene.world.job(job)["rollout"]["name"], "monday");
            end::rest(&scene.world).await;
        });
    }
}

/// The device is dead while its window is open, and well afterwards.
#[test]
fn a_retry_after_the_window_waits_for_the_next_one() {
    let opens = datetime!(2026-03-01 14:00 UTC);
    scene(2, async |scene| {
        scene.label(1, "fra").await;
        scene.mood(1, Mood::Refuses);
        let window = |from, to| json!({ "where": "site=fra", "from": from, "to": to, "zone": "Europe/Berlin" });
        let windows = [window("15:00", "16:00"), window("19:00", "20:00")];
        let daily = json!({ "holdDown": 0, "errorBudget": 100, "windows": windows });
        scene.world.must("PUT", "/rollouts/daily", daily).await;
        let job = scene.world.regenerate("?rollout=daily&until=activate").await.unwrap();
        // The first try is in the window, the next would be after it.
        scene.sleep_to(opens + time::Duration::minutes(59)).await;
        scene.task_is(job, "distribute", 1, "failed").await;
        scene.post(job, "retry", json!({ "devices": [id(1)] })).await;
        scene.sleep_to(opens + time::Duration::hours(2)).await;
        scene.task_is(job, "distribute", 1, "postponed").await;
        scene.mood(1, Mood::Well);
        let logins = scene.logins(1);
        scene.sleep_to(opens + time::Duration::minutes(235)).await;
        let (state, signing) = (scene.world.job(job)["state"].clone(), scene.signing());
        assert_eq!((state.as_str(), signing, scene.logins(1)), (Some("running"), 1, logins));
        scene.world.ended(job).await;
        assert_eq!(scene.signing(), 2, "{}", scene.world.cloud.trace());
        let at = scene.acked_at(job, "distribute", 1).unwrap() - (opens + time::Duration::hours(4)).unix_timestamp();
        assert!((0..3600).contains(&at), "{at}");
        end::rest(&scene.world).await;
    });
}

/// Both groups are sent to by the same way through the fleet.
#[test]
fn a_retry_of_a_wave_takes_no_other_groups_devices() {
    scene(4, async |scene| {
        for number in [1, 2] {
            scene.label(number, "fra").await;
        }
        let order = json!({ "canary": 20, "holdDown": 0, "errorBudget": 100, "order": ["site=fra"] });
        scene.world.must("PUT", "/rollouts/fra-first", order).await;
        for number in [1, 3] {
            scene.mood(number, Mood::Full);
        }
        let job = scene.world.regenerate("?rollout=fra-first&until=activate").await.unwrap();
        scene.job_is(job, "paused").await;
        for number in [1, 3] {
            scene.mood(number, Mood::Well);
        }
        let retried = scene.world.must("POST", &format!("/jobs/{job}/retry"), json!({ "waves": [1] })).await;
        assert_eq!(retried["response"]["retried"], 1, "{retried}");
        scene.job_is(job, "paused").await;
        assert_eq!([1, 3].map(|number| scene.holds(number, 2)), [true, false]);
        scene.post(job, "resume", Value::Null).await;
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
        end::rest(&scene.world).await;
    });
}

#[test]
fn the_first_site_is_done_before_the_others_begin() {
    scene(12, async |scene| {
        for number in 7..=12 {
            scene.label(number, "fra").await;
        }
        let order = json!({ "canary": 2, "growth": 2, "holdDown": 0, "order": ["site=fra"] });
        scene.world.must("PUT", "/rollouts/fra-first", order).await;
        let job = scene.world.regenerate("?rollout=fra-first&until=activate").await.unwrap();
        // Relabelled meanwhile: it is reached all the same.
        scene.label(1, "fra").await;
        scene.world.ended(job).await;
        let at = |number| scene.acked_at(job, "distribute", number).unwrap();
        let last = (7..=12).map(at).max().unwrap();
        assert!((2..=6).all(|number| at(number) >= last), "{}", scene.world.cloud.trace());
        assert!((1..=12).all(|number| scene.holds(number, 2)));
        end::rest(&scene.world).await;
    });
}

#[test]
fn a_dead_device_holds_up_no_wave_within_the_budget() {
    scene(60, async |scene| {
        let dead = 33;
        scene.mood(dead, Mood::Refuses);
        let query = "?canary=5&growth=4&largestWave=20&errorBudget=10&holdDown=0&until=distribute";
        let job = scene.world.regenerate(query).await.unwrap();
        scene.task_is(job, "distribute", dead, "failed").await;
        let others: Vec<u8> = (1..=60).filter(|number| *number != dead).collect();
        assert!(others.iter().all(|number| scene.holds(*number, 2)), "{}", scene.world.cloud.trace());
        let waves = scene.world.must("GET", &format!("/jobs/{job}"), Value::Null).await["response"]["waves"].clone();
        assert!(waves.as_array().unwrap().iter().any(|wave| wave["open"].as_u64() > Some(0)), "{waves}");
    });
}

/// Which devices the job's waves of this size take: the first of each shard that are left, then the second.
fn waves(job: u64, devices: u8, size: usize) -> Vec<Vec<u8>> {
    let shard = |number: &u8| id(*number).parse::<DeviceId>().unwrap().shard();
    let step = |number: &u8| (0..SHARDS).find(|step| Front::shard(JobId(job), *step) == shard(number)).unwrap();
    let mut left: Vec<u8> = (1..=devices).collect();
    left.sort_by_key(|number| id(*number));
    let mut waves = Vec::new();
    while !left.is_empty() {
        let rank = |at: usize| left[..at].iter().filter(|other| shard(other) == shard(&left[at])).count();
        let mut places: Vec<_> = (0..left.len()).map(|at| (rank(at), step(&left[at]), left[at])).collect();
        places.sort_unstable();
        let wave: Vec<u8> = places.into_iter().take(size).map(|(.., number)| number).collect();
        left.retain(|number| !wave.contains(number));
        waves.push(wave);
    }
    waves
}

/// Each is within the budget of its own wave; both are more than the budget of one.
#[test]
fn dead_devices_of_several_waves_hold_up_none() {
    scene(60, async |scene| {
        let query = "?canary=15&growth=1&errorBudget=7&holdDown=0&until=distribute";
        let job = scene.world.regenerate(query).await.unwrap();
        let waves = waves(job, 60, 15);
        let dead = [waves[1][4], waves[2][9]];
        dead.iter().for_each(|number| scene.mood(*number, Mood::Refuses));
        scene.task_is(job, "distribute", dead[0], "failed").await;
        let others: Vec<u8> = (1..=60).filter(|number| !dead.contains(number)).collect();
        assert!(others.iter().all(|number| scene.holds(*number, 2)), "{}", scene.world.cloud.trace());
        let told = scene.world.must("GET", &format!("/jobs/{job}"), Value::Null).await["response"]["waves"].clone();
        let open: Vec<_> = told.as_array().unwrap().iter().map(|wave| wave["open"].as_u64().unwrap_or(0)).collect();
        assert_eq!(open[..3], [0, 1, 2], "{told}");
    });
}

/// Only the canary site had got the new root.
#[test]
fn an_abort_visits_only_devices_that_may_have_the_root() {
    scene(4, async |scene| {
        for number in [1, 2] {
            scene.label(number, "fra").await;
        }
        for number in [3, 4] {
            scene.label(number, "ams").await;
        }
        let window = json!({ "where": "site=ams", "days": ["sat"], "from": "08:00", "to": "10:00", "zone": "UTC" });
        let rollout = json!({ "holdDown": 0, "order": ["site=fra"], "windows": [window] });
        // Until the devices that joined have the first root.
        sleep(HOUR).await;
        scene.world.must("PUT", "/rollouts/fra-first", rollout).await;
        let job = scene.world.regenerate("?rollout=fra-first").await.unwrap();
        sleep(HOUR).await;
        assert!(scene.holds(1, 2) && scene.holds(2, 2) && !scene.holds(3, 2));
        let logins = scene.logins(3);
        scene.post(job, "abort", Value::Null).await;
        sleep(HOUR).await;
        let ended = scene.world.job(job);
        assert_eq!(ended["outcome"], "aborted", "{ended}\n{}", scene.world.cloud.trace());
        assert!((1..=4).all(|number| !scene.holds(number, 2)));
        assert_eq!(scene.logins(3), logins);
        end::rest(&scene.world).await;
    });
}

/// Each is read in its window. Then the other's proof, from the beginning of its own, is older than `proofAge`.
#[test]
fn sites_whose_windows_never_meet_prove_in_turn() {
    for forgets in [false, true] {
        scene(2, async |scene| {
            scene.label(1, "day").await;
            scene.label(2, "night").await;
            let window =
                |site, from, to| json!({ "where": format!("site={site}"), "from": from, "to": to, "zone": "UTC" });
            let windows = [window("day", "06:00", "18:00"), window("night", "18:00", "06:00")];
            let turns = json!({ "proofAge": 600, "holdDown": 86_400, "sample": 100, "windows": windows });
            sleep(HOUR).await;
            scene.world.must("PUT", "/rollouts/turns", turns).await;
            let job = scene.world.regenerate("?rollout=turns&until=activate").await.unwrap();
            scene.world.job_when(job, 24 * HOUR, |job| job["phase"] == "holdDown").await;
            let [day, night] = [1, 2].map(|number| scene.acked_at(job, "distribute", number).unwrap());
            assert!(day - night > 11 * 3600 && scene.signing() == 1, "{day} {night}");
            // Nobody can see it before the window opens.
            sleep(8 * HOUR).await;
            if forgets {
                scene.place(2, Bmc::forget);
                let paused = scene.job_is(job, "paused").await;
                assert!(paused["reason"].as_str().unwrap().contains("1 devices had lost the new root"), "{paused}");
                scene.post(job, "resume", Value::Null).await;
                sleep(20 * HOUR).await;
            }
            assert_eq!(scene.signing(), 1, "{}", scene.world.cloud.trace());
            scene.world.ended(job).await;
            assert_eq!(scene.signing(), 2, "{}", scene.world.cloud.trace());
            end::rest(&scene.world).await;
        });
    }
}
