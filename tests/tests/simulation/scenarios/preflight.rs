//! A preflight reads every device, and writes to none.

use super::*;

impl Scene {
    /// The devices hold the first root.
    async fn settled(&self, devices: u8) {
        while !(1..=devices).all(|number| self.holds(number, 1)) {
            sleep(Duration::from_secs(5)).await;
        }
        sleep(Duration::from_secs(60)).await;
    }

    async fn begin_preflight(&self) -> u64 {
        let path = format!("/rollovers/preflight{ROLLOUT}");
        let begun = self.world.must("POST", &path, Value::Null).await;
        let path = begun["response"]["jobPath"].as_str().unwrap();
        path.rsplit('/').next().unwrap().parse().unwrap()
    }

    async fn job_shown(&self, job: u64) -> Value {
        self.world.must("GET", &format!("/jobs/{job}"), Value::Null).await["response"].take()
    }

    /// Requests that may have changed a device.
    fn writes(&self, devices: u8) -> u32 {
        (1..=devices).map(|number| self.place(number, |bmc| bmc.writes)).sum()
    }
}

/// By finding.
fn names(report: &Value) -> Map<String, Value> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|found| (found["finding"].as_str().unwrap().to_owned(), found["names"].clone())).collect()
}

#[test]
fn a_preflight_finds_what_would_fail_and_writes_nothing() {
    scene(8, async |scene| {
        scene.settled(8).await;
        scene.place(1, |bmc| bmc.behind = Some(Duration::from_secs(600)));
        scene.world.credential(&id(2), "wrong");
        scene.place(3, |bmc| bmc.change_identity());
        scene.place(5, |bmc| bmc.behind = Some(3 * HOUR));
        scene.place(4, |bmc| (bmc.behind, bmc.by_manager) = (Some(3 * HOUR), true));
        scene.place(6, |bmc| bmc.forget());
        scene.mood(7, Mood::Broken);
        let before = scene.writes(8);
        let job = scene.begin_preflight().await;
        let job = scene.world.ended(job).await["id"].as_u64().unwrap();
        assert_eq!(scene.writes(8), before, "nothing was written");
        assert_eq!(scene.place(2, |bmc| bmc.wrong), 1, "a refused password is not tried again");
        let shown = scene.job_shown(job).await;
        assert_eq!((&shown["outcome"], &shown["purpose"]), (&json!("checked"), &json!("preflight")), "{shown}");
        let report = &shown["report"];
        assert_eq!((&report["devices"], &report["ready"], &report["read"]), (&json!(8), &json!(2), &json!(5)));
        let expected = json!({
            "unauthorized": [id(2)], "pinMismatch": [id(3)], "clock": [id(4), id(5)], "changed": [id(6)], "serverError": [id(7)],
        });
        let mut found = names(report);
        found.values_mut().for_each(|names| names.as_array_mut().unwrap().sort_by_key(Value::to_string));
        assert_eq!(Value::Object(found), expected);
        assert_eq!(report["estimate"]["parts"][0]["phase"], "distribute", "{report}");
        let path = format!("/jobs/{job}/tasks?ready=false");
        let tasks = scene.world.must("GET", &path, Value::Null).await["response"]["tasks"].take();
        let of_clock = tasks.as_array().unwrap().iter().find(|task| task["device"] == id(5)).unwrap();
        assert!(of_clock["findings"][0]["message"].as_str().unwrap().contains("behind"), "{of_clock}");
        assert_eq!(tasks.as_array().unwrap().len(), 6);
    });
}

#[test]
fn a_full_trust_store_is_found() {
    scene(2, async |scene| {
        scene.settled(2).await;
        scene.place(1, |bmc| bmc.fill());
        let job = scene.begin_preflight().await;
        scene.world.ended(job).await;
        let shown = scene.job_shown(job).await;
        assert_eq!(names(&shown["report"])["noRoom"], json!([id(1)]), "{shown}");
    });
}

#[test]
fn a_rollover_shows_what_has_changed_since_its_preflight() {
    scene(5, async |scene| {
        scene.settled(5).await;
        scene.world.credential(&id(2), "wrong");
        scene.world.credential(&id(3), "wrong");
        let preflight = scene.begin_preflight().await;
        scene.world.ended(preflight).await;
        let at = scene.world.install(9);
        scene.world.must("POST", "/devices", scene.world.enrolment("another", at)).await;
        scene.world.must("DELETE", &format!("/devices/{}", id(1)), Value::Null).await;
        scene.world.install(8);
        let pin = scene.place(8, |bmc| bmc.pin());
        scene.world.credential(&id(3), "correct horse");
        let edit = json!({ "address": "https://10.0.0.8", "pins": [pin] });
        scene.world.must("PATCH", &format!("/devices/{}", id(3)), edit).await;
        let job = scene.begin().await;
        scene.task_is(job, "distribute", 4, "acked").await;
        let shown = scene.job_shown(job).await;
        let before = &shown["preflight"];
        assert_eq!(before["job"], preflight);
        assert_eq!(before["readyThen"], json!({ "devices": 5, "ready": 3 }));
        let one = |name: String| json!({ "count": 1, "names": [name] });
        let expected = json!({
            "enrolled": one("another".to_owned()), "left": one(id(1)), "edited": one(id(3)), "stillOpen": one(id(2)),
        });
        assert_eq!(before["changedSince"], expected, "{shown}");
    });
}

#[test]
fn a_preflight_of_the_day_before_yesterday_counts_no_more() {
    scene(2, async |scene| {
        scene.settled(2).await;
        let preflight = scene.begin_preflight().await;
        scene.world.ended(preflight).await;
        sleep(25 * HOUR).await;
        let job = scene.begin().await;
        scene.world.ended(job).await;
        assert_eq!(scene.job_shown(job).await["preflight"], Value::Null);
    });
}

#[test]
fn a_rollover_does_not_wait_for_a_preflight() {
    scene(3, async |scene| {
        scene.settled(3).await;
        scene.mood(1, Mood::Refuses);
        let preflight = scene.begin_preflight().await;
        scene.task_is(preflight, "preflight", 2, "acked").await;
        let second = scene.world.ask("POST", "/rollovers/preflight", Value::Null).await.unwrap();
        assert_eq!(second.0, 409, "{second:?}");
        let job = scene.begin().await;
        assert_eq!(scene.world.ended(preflight).await["outcome"], "aborted");
        let during = scene.world.ask("POST", "/rollovers/preflight", Value::Null).await.unwrap();
        assert_eq!(during.0, 409, "{during:?}");
        scene.mood(1, Mood::Well);
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
        let again = scene.begin_preflight().await;
        assert_eq!(scene.world.ended(again).await["outcome"], "checked");
    });
}

/// Nobody resumes it, and the next one is not held up.
#[test]
fn a_rollover_ends_a_paused_preflight() {
    scene(2, async |scene| {
        scene.settled(2).await;
        scene.mood(1, Mood::Refuses);
        let preflight = scene.begin_preflight().await;
        scene.task_is(preflight, "preflight", 2, "acked").await;
        scene.post(preflight, "pause", Value::Null).await;
        scene.mood(1, Mood::Well);
        let job = scene.begin().await;
        assert_eq!(scene.world.ended(preflight).await["outcome"], "aborted");
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
    });
}

#[test]
fn an_aborted_preflight_visits_no_further_device() {
    scene(3, async |scene| {
        scene.settled(3).await;
        scene.mood(1, Mood::Refuses);
        let job = scene.begin_preflight().await;
        scene.task_is(job, "preflight", 2, "acked").await;
        scene.post(job, "abort", Value::Null).await;
        assert_eq!(scene.world.ended(job).await["outcome"], "aborted");
        assert_ne!(scene.task(job, "preflight", 1).as_deref(), Some("acked"));
        let next = scene.begin_preflight().await;
        scene.mood(1, Mood::Well);
        assert_eq!(scene.world.ended(next).await["outcome"], "checked");
    });
}

#[test]
fn no_device_is_counted_twice_when_functions_die() {
    let bad =
        Faults { kill: 0.1, lost_answer: 0.05, conflict: 0.05, throttled: 0.05, duplicate: 0.1, ..Faults::default() };
    scene(12, async |scene| {
        scene.settled(12).await;
        scene.world.faults(bad);
        let job = scene.begin_preflight().await;
        scene.world.ended(job).await;
        scene.world.faults(Faults::default());
        let report = scene.job_shown(job).await["report"].take();
        assert_eq!((&report["devices"], &report["ready"]), (&json!(12), &json!(12)), "{report}");
    });
}

#[test]
fn a_probe_is_in_the_devices_record() {
    scene(1, async |scene| {
        scene.settled(1).await;
        let number = scene.world.must("POST", "/devices/bmc-1/probe", Value::Null).await["response"]["number"].take();
        sleep(Duration::from_secs(60)).await;
        let probe = scene.world.must("GET", "/devices/bmc-1", Value::Null).await["response"]["probe"].take();
        assert!(probe["number"] == number && probe["failure"].is_null(), "{probe}");
        let slot = &probe["found"]["slots"][0];
        assert!(slot["isUsed"] == true && slot["members"] == 1 && slot["places"] == 10, "{probe}");
        scene.mood(1, Mood::Refuses);
        let number = scene.world.must("POST", "/devices/bmc-1/probe", Value::Null).await["response"]["number"].take();
        sleep(Duration::from_secs(60)).await;
        let probe = scene.world.must("GET", "/devices/bmc-1", Value::Null).await["response"]["probe"].take();
        assert!(probe["number"] == number && probe["failure"]["class"].is_string(), "{probe}");
    });
}
