//! Ordinary actions while a job runs, step by step. Each scenario has once broken the gate.

mod addresses;
mod anchors;
mod bmc;
mod chains;
mod compromise;
mod credentials;
mod fences;
mod ids;
mod in_use;
mod keys;
mod old_roots;
mod preflight;
mod proofs;
mod renamed;
mod renewals;
mod root_compromised;
mod rotation;
mod second_half;
mod windows;

use std::time::Duration;

use rootcast_core::device::DeviceId;
use rootcast_pki::certificate::Certificate;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::time::sleep;

use crate::clock;
use crate::cloud::Faults;
use crate::dynamo::{CERTIFICATES, DEVICES, JOBS, Row};
use crate::end;
use crate::imported;
use crate::openbmc::Mood;
use crate::truth;
use crate::world::World;

const ROLLOUT: &str = "?canary=20&errorBudget=100";
const HOUR: Duration = Duration::from_secs(3600);

/// A world with an active root, and these devices, which have it already.
fn scene(devices: u8, life: impl AsyncFnOnce(&Scene)) {
    World::live(u64::from(devices), async move |world| {
        found(&world).await;
        let rows: Vec<Value> =
            (1..=devices).map(|number| world.enrolment(&id(number), world.install(number))).collect();
        if !rows.is_empty() {
            world.must("POST", "/devices", json!(rows)).await;
        }
        let scene = Scene { world };
        life(&scene).await;
        scene.world.assert_whole();
    });
}

/// The first root, and the issuing authority that the conductor makes below it.
pub async fn found(world: &World) {
    world.must("PUT", "/signingCertificate", Value::Null).await;
    let issuing = || world.cloud.tables.named(CERTIFICATES, "authority").map(|record| record["issuing"].is_object());
    while issuing() != Some(true) {
        sleep(Duration::from_millis(100)).await;
    }
}

fn id(number: u8) -> String {
    format!("bmc-{number}")
}

struct Scene {
    world: World,
}

impl Scene {
    fn mood(&self, number: u8, mood: Mood) {
        self.place(number, |bmc| bmc.mood = mood);
    }

    fn place<T>(&self, number: u8, what: impl FnOnce(&mut crate::openbmc::Bmc) -> T) -> T {
        self.world.cloud.fleet.at(([10, 0, 0, number], 443).into(), what).unwrap()
    }

    /// Whether the device at this place has the generation's root.
    fn holds(&self, number: u8, generation: u64) -> bool {
        let root = truth::root(&self.world.cloud, generation).fingerprint();
        self.place(number, |bmc| bmc.holds(&root))
    }

    fn signing(&self) -> u64 {
        self.world.cloud.tables.named(CERTIFICATES, "authority").unwrap()["signing"].as_u64().unwrap()
    }

    /// The job's counts of proofs, without the time of the oldest one.
    async fn proofs(&self, job: u64) -> Value {
        let mut proofs =
            self.world.must("GET", &format!("/jobs/{job}"), Value::Null).await["response"]["proofs"].take();
        proofs.as_object_mut().unwrap().remove("oldest");
        proofs
    }

    /// Waits until the deployment has ended.
    async fn shows(&self, number: u8, leaf: &Certificate) {
        let end = clock::age() + HOUR;
        while self.place(number, |bmc| bmc.leaf() != leaf) {
            assert!(clock::age() < end, "{number} shows another certificate\n{}", self.world.cloud.trace());
            sleep(Duration::from_secs(1)).await;
        }
        // Let the worker poll the device itself.
        sleep(Duration::from_secs(60)).await;
    }

    async fn begin(&self) -> u64 {
        self.world.regenerate(ROLLOUT).await.unwrap()
    }

    async fn post(&self, job: u64, what: &str, body: Value) {
        self.world.must("POST", &format!("/jobs/{job}/{what}"), body).await;
    }

    fn task(&self, job: u64, pass: &str, number: u8) -> Option<String> {
        Some(self.row(job, pass, number)?["state"].as_str()?.to_owned())
    }

    fn row(&self, job: u64, pass: &str, number: u8) -> Option<Row> {
        let id = id(number);
        let pk = format!("{job}#{:02}", id.parse::<DeviceId>().unwrap().shard());
        self.world.cloud.tables.of_jobs(&pk, &format!("task#{pass}#{id}"))
    }

    async fn task_is(&self, job: u64, pass: &str, number: u8, state: &str) {
        let end = clock::age() + HOUR;
        while self.task(job, pass, number).as_deref() != Some(state) {
            assert!(clock::age() < end, "task of {number} is not {state}\n{}", self.world.cloud.trace());
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// One device is unreachable while its task is on its way, and another one failed and is retried; then the first
    /// one is deleted while the job is paused.
    async fn delete_one_while_another_is_retried(&self, job: u64, pass: &str, gone: u8, open: u8) {
        self.task_is(job, pass, open, "failed").await;
        self.world.credential(&id(open), "correct horse");
        self.mood(open, Mood::Refuses);
        self.post(job, "retry", json!({ "devices": [id(open)] })).await;
        self.task_is(job, pass, open, "waiting").await;
        self.post(job, "pause", Value::Null).await;
        self.world.must("DELETE", &format!("/devices/{}", id(gone)), Value::Null).await;
        self.post(job, "resume", Value::Null).await;
        sleep(HOUR / 2).await;
        self.world.assert_whole();
        self.mood(open, Mood::Well);
        end::rest(&self.world).await;
        self.world.assert_whole();
    }
}

#[test]
fn a_deleted_device_does_not_excuse_another_one() {
    scene(2, async |scene| {
        scene.mood(1, Mood::Refuses);
        scene.world.credential(&id(2), "wrong");
        let job = scene.begin().await;
        scene.delete_one_while_another_is_retried(job, "distribute", 1, 2).await;
        assert!(scene.holds(2, 2));
    });
}

#[test]
fn an_abort_ends_when_no_device_holds_the_root() {
    scene(3, async |scene| {
        scene.mood(3, Mood::Refuses);
        let job = scene.begin().await;
        scene.task_is(job, "distribute", 1, "acked").await;
        scene.task_is(job, "distribute", 2, "acked").await;
        scene.mood(1, Mood::Refuses);
        scene.mood(3, Mood::Well);
        scene.world.credential(&id(2), "wrong");
        scene.post(job, "abort", Value::Null).await;
        scene.delete_one_while_another_is_retried(job, "withdraw", 1, 2).await;
        assert!(!scene.holds(2, 2));
    });
}

/// The devices without a task were enrolled a minute earlier.
#[test]
fn an_abort_does_not_visit_devices_without_a_task() {
    scene(4, async |scene| {
        let job = scene.world.regenerate("?canary=1&wavePause=3600").await.unwrap();
        let acked = || (1..=4).filter(|number| scene.task(job, "distribute", *number).as_deref() == Some("acked"));
        let end = clock::age() + HOUR / 2;
        while acked().count() == 0 {
            assert!(clock::age() < end, "{}", scene.world.cloud.trace());
            sleep(Duration::from_millis(200)).await;
        }
        scene.post(job, "abort", Value::Null).await;
        assert_eq!(scene.world.ended(job).await["outcome"], "aborted");
        let visited: Vec<u8> = (1..=4).filter(|number| scene.task(job, "withdraw", *number).is_some()).collect();
        assert_eq!(visited, acked().collect::<Vec<u8>>());
    });
}

/// A device that never had a task gets the address of a device with the root.
#[test]
fn an_abort_visits_devices_that_have_another_id() {
    scene(3, async |scene| {
        scene.mood(2, Mood::Refuses);
        let job = scene.begin().await;
        scene.task_is(job, "distribute", 1, "acked").await;
        scene.task_is(job, "distribute", 3, "acked").await;
        scene.post(job, "pause", Value::Null).await;
        let at = scene.world.install(9);
        scene.world.must("POST", "/devices", scene.world.enrolment("another", at)).await;
        scene.mood(3, Mood::Refuses);
        scene.mood(1, Mood::Refuses);
        scene.post(job, "abort", Value::Null).await;
        sleep(Duration::from_secs(5)).await;
        scene.world.must("DELETE", &format!("/devices/{}", id(1)), Value::Null).await;
        let pin = scene.place(1, |bmc| bmc.pin());
        let edit = json!({ "address": "https://10.0.0.1", "pins": [pin] });
        scene.world.must("PATCH", "/devices/another", edit).await;
        (1..=3).for_each(|number| scene.mood(number, Mood::Well));
        end::rest(&scene.world).await;
        scene.world.assert_whole();
        assert!(!scene.holds(1, 2));
    });
}

#[test]
fn a_device_enrolled_again_elsewhere_is_visited_again() {
    scene(2, async |scene| {
        scene.mood(2, Mood::Refuses);
        let job = scene.begin().await;
        scene.task_is(job, "distribute", 1, "acked").await;
        scene.world.must("DELETE", &format!("/devices/{}", id(1)), Value::Null).await;
        let at = scene.world.install(9);
        scene.world.must("POST", "/devices", scene.world.enrolment(&id(1), at)).await;
        scene.mood(2, Mood::Well);
        end::rest(&scene.world).await;
        scene.world.assert_whole();
        assert!(scene.holds(9, 2));
    });
}

#[test]
fn a_device_with_a_new_address_is_visited_again() {
    scene(2, async |scene| {
        scene.mood(2, Mood::Refuses);
        let job = scene.begin().await;
        scene.task_is(job, "distribute", 1, "acked").await;
        scene.world.install(9);
        let pin = scene.place(9, |bmc| bmc.pin());
        let edit = json!({ "address": "https://10.0.0.9", "pins": [pin] });
        scene.world.must("PATCH", &format!("/devices/{}", id(1)), edit).await;
        scene.mood(2, Mood::Well);
        end::rest(&scene.world).await;
        scene.world.assert_whole();
        assert!(scene.holds(9, 2));
    });
}

/// Its attempts were nearly used up when the slow task began, so the task's hour ends after the job's limit.
#[test]
fn a_device_that_is_still_working_is_not_given_up() {
    scene(1, async |scene| {
        scene.mood(1, Mood::Refuses);
        let job = scene.begin().await;
        while scene.world.cloud.tables.named(DEVICES, &id(1)).unwrap()["tries"][0]["count"] != 4 {
            sleep(Duration::from_secs(1)).await;
        }
        scene.mood(1, Mood::Slow(3590));
        let job = scene.world.job_when(job, 3 * HOUR, |job| job["state"] != "running").await;
        assert_eq!(job["outcome"], "activated", "{job}");
    });
}

#[test]
fn a_refused_password_is_tried_once_even_if_unrecorded() {
    scene(1, async |scene| {
        scene.world.credential(&id(1), "wrong");
        let job = scene.begin().await;
        while scene.place(1, |bmc| bmc.wrong) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        scene.world.faults(Faults { conflict: 1.0, ..Faults::default() });
        sleep(Duration::from_secs(60)).await;
        scene.world.faults(Faults::default());
        scene.task_is(job, "distribute", 1, "failed").await;
        assert_eq!(scene.place(1, |bmc| bmc.wrong), 1);
    });
}

#[test]
fn a_disabled_old_key_does_not_prevent_a_rollover() {
    scene(2, async |scene| {
        let cloud = &scene.world.cloud;
        for (key, _) in cloud.keys.states() {
            cloud.keys.call(cloud, "DisableKey", json!({ "KeyId": key }).to_string().as_bytes()).unwrap();
        }
        let job = scene.begin().await;
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
        assert!(scene.holds(1, 2) && scene.holds(2, 2));
    });
}

/// Because devices' clocks may be behind.
#[test]
fn a_roots_validity_begins_before_its_creation() {
    scene(1, async |scene| {
        assert!(truth::root(&scene.world.cloud, 1).not_before() < clock::now() - HOUR / 2);
    });
}

#[test]
fn devices_at_the_in_flight_limit_do_not_block_others() {
    scene(8, async |scene| {
        scene.world.cloud.queues.limit_in_flight("task", 3);
        (1..=3).for_each(|number| scene.mood(number, Mood::Refuses));
        let job = scene.begin().await;
        for number in 4..=8 {
            scene.task_is(job, "distribute", number, "acked").await;
        }
        assert!(scene.world.cloud.injected().contains_key("over the limit in flight"));
        (1..=3).for_each(|number| scene.mood(number, Mood::Well));
        end::rest(&scene.world).await;
        assert!((1..=8).all(|number| scene.holds(number, 2)));
    });
}

#[test]
fn an_imported_certificate_is_deployed_replaced_and_deleted() {
    scene(1, async |scene| {
        let world = &scene.world;
        let leaf = |number| Certificate::from_pem(imported::body(number, "")["certificate"].as_str().unwrap()).unwrap();
        for (number, name) in [(0, "first"), (1, "second")] {
            world.must("POST", "/v3/scm/certificates/import", imported::body(number, name)).await;
        }
        let known = imported::known(world);
        let about = json!({
            "CertificateDN": r"\VED\Policy\Certificates\first", "PushToNew": true,
            "ApplicationDN": [format!(r"\VED\Policy\Devices\{}", id(1))],
        });
        world.must("POST", "/vedsdk/certificates/associate", about.clone()).await;
        scene.shows(1, &leaf(0)).await;
        let deployment = json!({ "service_name": "DEVICE", "resources": [{ "id": id(1) }] });
        world.must("POST", &format!("/v3/scm/certificates/{}/deploy", known[1].0), deployment).await;
        scene.shows(1, &leaf(1)).await;
        world.must("POST", "/vedsdk/certificates/dissociate", about).await;
        world.must("DELETE", &format!("/v3/scm/certificates/{}", known[0].0), Value::Null).await;
        end::rest(world).await;
        assert_eq!(imported::known(world), known[1..]);
    });
}

/// Without faults: so the other scenarios only fail because of theirs.
#[test]
fn a_healthy_fleet_moves_to_the_new_root() {
    scene(12, async |scene| {
        let job = scene.begin().await;
        let job = scene.world.ended(job).await;
        assert_eq!(job["outcome"], "activated");
        assert!((1..=12).all(|number| scene.holds(number, 2)));
        end::rest(&scene.world).await;
    });
}

/// DynamoDB refuses to read a key twice in one request, and to write an item twice in one transaction.
#[test]
fn a_device_named_twice_is_retried_and_waived_once() {
    scene(3, async |scene| {
        (1..=2).for_each(|number| scene.world.credential(&id(number), "wrong"));
        let job = scene.begin().await;
        scene.task_is(job, "distribute", 1, "failed").await;
        scene.task_is(job, "distribute", 2, "failed").await;
        scene.world.credential(&id(2), "correct horse");
        let twice = json!({ "devices": [id(2), id(2)] });
        let retried = scene.world.must("POST", &format!("/jobs/{job}/retry"), twice).await;
        assert_eq!(retried["response"]["retried"], 1, "{retried}");
        let waiver = json!({ "devices": [id(1), id(1)], "reason": "it is being replaced" });
        let waived = scene.world.must("POST", &format!("/jobs/{job}/waive"), waiver).await;
        assert_eq!(waived["response"]["results"], json!([{ "device": id(1), "result": "waived" }]), "{waived}");
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
    });
}
