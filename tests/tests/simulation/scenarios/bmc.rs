//! What a live OpenBMC did: a full trust store, services that are down, keys that somebody else replaced, and devices
//! that come back while their tasks wait.

use super::*;

/// Devices that nobody has brought a root yet.
async fn enrolled(world: &World, devices: u8) {
    let rows: Vec<Value> = (1..=devices).map(|number| world.enrolment(&id(number), world.install(number))).collect();
    world.must("POST", "/devices", json!(rows)).await;
}

impl Scene {
    async fn own_certificate(&self) -> Value {
        self.world.must("GET", "/devices/bmc-1/certificate", Value::Null).await["response"].take()
    }

    /// Has the first device get a certificate of its own. Returns its job.
    async fn issues(&self) -> u64 {
        let begun = self.world.must("POST", "/devices/bmc-1/certificate", Value::Null).await;
        begun["response"]["jobPath"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap()
    }

    async fn own_when(&self, is: impl Fn(&Value) -> bool) -> Value {
        let end = clock::age() + HOUR;
        loop {
            let own = self.own_certificate().await;
            if is(&own) {
                return own;
            }
            assert!(clock::age() < end, "{own}\n{}", self.world.cloud.trace());
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn tried(&self, times: u64) {
        let end = clock::age() + HOUR;
        let tries = || self.world.cloud.tables.named(DEVICES, &id(1)).unwrap()["tries"][0].clone();
        while tries()["count"] != times {
            assert!(clock::age() < end, "{}\n{}", tries(), self.world.cloud.trace());
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Its list of trust anchors is empty then, although it holds the root.
#[test]
fn an_empty_list_alone_ends_no_abort() {
    World::live(3, async move |world| {
        enrolled(&world, 2).await;
        let job = world.regenerate(ROLLOUT).await.unwrap();
        let scene = Scene { world };
        scene.mood(2, Mood::Refuses);
        scene.task_is(job, "distribute", 1, "acked").await;
        scene.mood(1, Mood::Quiet);
        scene.mood(2, Mood::Well);
        scene.post(job, "abort", Value::Null).await;
        scene.task_is(job, "withdraw", 2, "acked").await;
        scene.tried(2).await;
        assert_eq!(scene.task(job, "withdraw", 1), None, "nothing is proven");
        scene.mood(1, Mood::Well);
        let ended = scene.world.ended(job).await;
        assert_eq!(ended["outcome"], "aborted", "{ended}");
        assert!(!scene.holds(1, 1) && !scene.holds(2, 1));
        scene.world.assert_whole();
    });
}

/// Ten places, of which eight belong to others; with `until=activate` no root ever leaves.
#[test]
fn the_next_root_finds_a_place_before_superseded_ones() {
    scene(1, async |scene| {
        scene.signs("1.1").await;
        let last = "?canary=20&errorBudget=100&until=activate";
        scene.roll_over(last).await;
        scene.roll_over(last).await;
        scene.place(1, |bmc| bmc.fill());
        let roots = [1, 2, 3].map(|generation| truth::root(&scene.world.cloud, generation).fingerprint());
        let job = scene.world.regenerate(last).await.unwrap();
        scene.job_is(job, "paused").await;
        let failure = scene.row(job, "distribute", 1).unwrap()["failure"].clone();
        let message = failure["message"].as_str().unwrap();
        assert_eq!(failure["class"], "storeFull", "{failure}");
        assert!(message.contains("Superseded roots, which may go:") && message.contains("G2"), "{message}");
        // As the message says.
        scene.place(1, |bmc| bmc.drop_anchor(&roots[0]));
        scene.post(job, "resume", Value::Null).await;
        let ended = scene.job_is(job, "ended").await;
        assert_eq!(ended["outcome"], "activated", "{ended}");
        assert!(scene.holds(1, 4) && scene.holds(1, 3) && !scene.holds(1, 1), "the oldest is not put back");
    });
}

#[test]
fn a_device_whose_key_was_replaced_makes_one_more_request() {
    scene(1, async |scene| {
        scene.signs("1.1").await;
        scene.place(1, |bmc| bmc.overtaken = 1);
        let job = scene.issues().await;
        let own = scene.own_when(|own| own["stage"].is_null()).await;
        let said: Vec<_> = own["history"].as_array().unwrap().iter().map(|past| past["result"].clone()).collect();
        assert!(own["inError"] == false && said.contains(&json!("rejected")), "{own}");
        scene.world.job_when(job, HOUR, |job| job["outcome"] == "deployed").await;
        assert_eq!(scene.place(1, |bmc| bmc.leaf().pem()), own["issued"]["certificate"], "{own}");
        end::rest(&scene.world).await;
    });
}

#[test]
fn a_device_that_refuses_every_certificate_fails_after_two_requests() {
    scene(1, async |scene| {
        scene.signs("1.1").await;
        scene.place(1, |bmc| bmc.overtaken = 9);
        let job = scene.issues().await;
        let own = scene.own_when(|own| own["inError"] == true).await;
        assert!(own["stage"] == 800 && scene.place(1, |bmc| bmc.overtaken) == 7, "{own}");
        // A retry is another attempt, with one more request of its own.
        scene.place(1, |bmc| bmc.overtaken = 0);
        scene.post(job, "resume", Value::Null).await;
        scene.own_when(|own| own["stage"].is_null() && own["inError"] == false).await;
    });
}

#[test]
fn a_retry_hastens_a_device_that_waits_for_its_next_try() {
    scene(2, async |scene| {
        scene.mood(1, Mood::Refuses);
        let job = scene.begin().await;
        scene.task_is(job, "distribute", 2, "acked").await;
        scene.tried(4).await;
        let path = format!("/jobs/{job}/tasks?state=waiting");
        let tasks = scene.world.must("GET", &path, Value::Null).await["response"]["tasks"].take();
        assert_eq!(
            (&tasks[0]["tries"]["count"], &tasks[0]["tries"]["class"]),
            (&json!(4), &json!("connect")),
            "{tasks}"
        );
        scene.mood(1, Mood::Well);
        let asked = clock::age();
        let retried = scene.world.must("POST", &format!("/jobs/{job}/retry"), json!({ "devices": [id(1)] })).await;
        assert_eq!(
            (&retried["response"]["retried"], &retried["response"]["hastened"]),
            (&json!(0), &json!(1)),
            "{retried}"
        );
        scene.task_is(job, "distribute", 1, "acked").await;
        assert!(clock::age() < asked + Duration::from_secs(20), "{:?}", clock::age() - asked);
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
        end::rest(&scene.world).await;
    });
}

#[test]
fn a_resume_hastens_a_device_of_a_deployment() {
    scene(1, async |scene| {
        scene.signs("1.1").await;
        // It has joined: its failed visits are those of one task.
        while !scene.holds(1, 1) {
            sleep(Duration::from_secs(1)).await;
        }
        sleep(Duration::from_secs(60)).await;
        scene.mood(1, Mood::Refuses);
        let job = scene.issues().await;
        scene.tried(4).await;
        let own = scene.own_certificate().await;
        assert_eq!((&own["tries"]["count"], &own["tries"]["class"]), (&json!(4), &json!("connect")), "{own}");
        scene.mood(1, Mood::Well);
        let asked = clock::age();
        scene.post(job, "resume", Value::Null).await;
        let own = scene.own_when(|own| own["stage"].is_null()).await;
        assert!(clock::age() < asked + Duration::from_secs(60), "{:?}", clock::age() - asked);
        assert_eq!((&own["inError"], &own["tries"]), (&json!(false), &Value::Null), "{own}");
        end::rest(&scene.world).await;
    });
}

#[test]
fn an_abort_says_which_devices_it_did_not_read() {
    scene(2, async |scene| {
        scene.mood(2, Mood::Lies);
        let job = scene.begin().await;
        scene.task_is(job, "distribute", 1, "acked").await;
        scene.mood(2, Mood::Refuses);
        scene.post(job, "abort", Value::Null).await;
        scene.task_is(job, "withdraw", 2, "failed").await;
        scene.post(job, "waive", json!({ "devices": [id(2)], "reason": "it is being replaced" })).await;
        scene.job_is(job, "ended").await;
        let job = scene.world.must("GET", &format!("/jobs/{job}"), Value::Null).await;
        let reason = job["response"]["reason"].as_str().unwrap();
        assert!(reason.contains("1 waived device was not read, and may still hold it"), "{reason}");
    });
}
