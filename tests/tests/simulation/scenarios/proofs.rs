//! Proofs that grow old, and devices that prove what they hold later.

use super::*;

#[test]
fn a_device_approved_between_rollovers_gets_the_current_bundle() {
    scene(1, async |scene| {
        let job = scene.begin().await;
        scene.world.ended(job).await;
        let at = scene.world.install(9);
        scene.world.must("POST", "/devices", scene.world.enrolment("late", at)).await;
        sleep(HOUR).await;
        assert!(scene.holds(9, 2));
    });
}

/// A device that joins and refuses the password: it is tried at once, and then once a day.
#[test]
fn a_joining_device_sees_a_wrong_password_once_a_day() {
    scene(1, async |scene| {
        let job = scene.begin().await;
        scene.world.ended(job).await;
        let at = scene.world.install(9);
        let enrolment = scene.world.enrolment("late", at);
        scene.world.credential("late", "wrong");
        scene.world.must("POST", "/devices", enrolment).await;
        sleep(23 * HOUR).await;
        assert_eq!(scene.place(9, |bmc| bmc.wrong), 1);
        sleep(2 * HOUR).await;
        assert_eq!(scene.place(9, |bmc| bmc.wrong), 2);
    });
}

/// Seed 3205. An edit lets the device join at once.
#[test]
fn repeated_messages_repeat_no_log_in_of_a_joining_device() {
    scene(1, async |scene| {
        let job = scene.begin().await;
        scene.world.ended(job).await;
        let at = scene.world.install(9);
        let enrolment = scene.world.enrolment("late", at);
        scene.world.credential("late", "wrong");
        scene.world.faults(Faults { duplicate: 1.0, ..Faults::default() });
        scene.world.must("POST", "/devices", enrolment).await;
        sleep(HOUR).await;
        scene.world.faults(Faults::default());
        assert_eq!(scene.place(9, |bmc| bmc.wrong), 1);
        scene.world.credential("shared/other", crate::world::PASSWORD);
        scene.world.must("PATCH", "/devices/late", json!({ "credential": "/devices/shared/other" })).await;
        sleep(Duration::from_secs(180)).await;
        assert!(scene.holds(9, 2));
    });
}

/// A device loses its anchor after its proof, and another one keeps the job open until the proofs are old.
async fn old_proofs(scene: &Scene) -> u64 {
    scene.mood(3, Mood::Refuses);
    let job = scene.world.regenerate(&format!("{ROLLOUT}&proofAge=600")).await.unwrap();
    scene.task_is(job, "distribute", 1, "acked").await;
    scene.task_is(job, "distribute", 2, "acked").await;
    scene.place(1, |bmc| bmc.forget());
    scene.world.job_when(job, HOUR, |job| job["state"] == "paused").await;
    sleep(Duration::from_secs(700)).await;
    scene.mood(3, Mood::Well);
    job
}

#[test]
fn old_proofs_are_renewed_before_the_root_is_activated() {
    scene(3, async |scene| {
        let job = old_proofs(scene).await;
        assert_eq!(scene.proofs(job).await, json!({ "fresh": 2, "old": 0, "missing": 0, "failed": 1, "waived": 0 }));
        scene.mood(1, Mood::Refuses);
        scene.post(job, "resume", Value::Null).await;
        scene.task_is(job, "distribute", 3, "acked").await;
        scene.task_is(job, "distribute", 1, "waiting").await;
        scene.task_is(job, "distribute", 2, "acked").await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(scene.proofs(job).await, json!({ "fresh": 1, "old": 2, "missing": 0, "failed": 0, "waived": 0 }));
        assert_eq!((scene.signing(), scene.holds(1, 2)), (1, false));
        scene.mood(1, Mood::Well);
        assert_eq!(scene.world.ended(job).await["outcome"], "activated");
        assert_eq!((scene.signing(), scene.holds(1, 2)), (2, true));
        assert_eq!(scene.proofs(job).await, json!({ "fresh": 3, "old": 0, "missing": 0, "failed": 0, "waived": 0 }));
        end::rest(&scene.world).await;
    });
}

#[test]
fn a_device_that_lost_its_root_and_lies_is_named() {
    scene(3, async |scene| {
        let job = old_proofs(scene).await;
        scene.mood(1, Mood::Lies);
        scene.post(job, "resume", Value::Null).await;
        scene.task_is(job, "distribute", 1, "failed").await;
        let job = scene.world.job_when(job, HOUR, |job| job["state"] == "paused").await;
        let failures = scene.world.failures(&job);
        assert!(failures.len() == 1 && failures[0].contains(&id(1)), "{failures:?}");
        assert_eq!(scene.signing(), 1);
        scene.mood(1, Mood::Well);
        end::rest(&scene.world).await;
        assert_eq!((scene.signing(), scene.holds(1, 2)), (2, true));
    });
}

/// The conductor reads a device's entry, and the device is edited within the same second.
#[test]
fn an_entry_of_an_edited_device_is_not_removed() {
    scene(1, async |scene| {
        let ledger = scene.world.functions.ledger();
        let enrolment = scene.world.enrolment("late", scene.world.install(9));
        // Wait for a new second, on the clock of the function that writes the entries.
        sleep(Duration::from_millis(1000 - u64::from(clock::of::<1>().millisecond()))).await;
        scene.world.must("POST", "/devices", enrolment).await;
        let entries = async || {
            let mut due = ledger.due_to_join(clock::now() + HOUR, 10).await.unwrap();
            due.retain(|joining| joining.device.as_str() == "late");
            due
        };
        let read = entries().await;
        scene.world.credential("shared/other", crate::world::PASSWORD);
        scene.world.must("PATCH", "/devices/late", json!({ "credential": "/devices/shared/other" })).await;
        let edited = entries().await;
        assert_eq!((read.len(), edited.len(), edited[0].due), (1, 1, read[0].due), "in the place of the other");
        assert!(ledger.postpone_joining([(read[0].clone(), clock::now() + HOUR)]).await.unwrap().is_empty());
        ledger.finish_joining(&read).await.unwrap();
        assert_eq!(entries().await, edited);
    });
}
