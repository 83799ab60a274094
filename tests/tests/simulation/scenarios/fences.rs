//! Fenced writes: of a conductor that lost its job, through a gate whose fleet has changed, of a root that is behind.

use rootcast_core::job::JobId;
use rootcast_ledger::{Change, Conducting, FleetShard, Lease, LedgerError};
use tokio::task::spawn_local;

use super::*;
use crate::functions::Function;

/// A write through the gate is conditional on the fleet that the survey read.
#[test]
fn a_changed_fleet_closes_the_gate() {
    scene(3, async |scene| {
        let ledger = scene.world.functions.ledger();
        let read = async || -> Vec<(u8, u64)> {
            let shards = ledger.fleet_shards().await.unwrap();
            (0..).zip(shards.into_iter().map(|FleetShard { revision, .. }| revision)).collect()
        };
        let gate = async |fleet| ledger.commit(Change { fleet, ..Change::default() }).await;
        let before = read().await;
        gate(before.clone()).await.unwrap();
        let late = scene.world.enrolment("late", scene.world.install(9));
        scene.world.must("POST", "/devices", late).await;
        assert!(matches!(gate(before).await, Err(LedgerError::Conflict)), "enrolled");
        for (method, body) in [("PATCH", json!({ "profile": "dmtf" })), ("DELETE", Value::Null)] {
            let before = read().await;
            scene.world.must(method, "/devices/late", body).await;
            assert!(matches!(gate(before).await, Err(LedgerError::Conflict)), "{method}");
        }
        gate(read().await).await.unwrap();
    });
}

#[test]
fn a_conductor_without_its_lease_cannot_pass_the_gate() {
    scene(1, async |scene| {
        let (ledger, job, now) = (scene.world.functions.ledger(), JobId(77), clock::now());
        let held = ledger.conduct(job, "first", now, now + HOUR).await.unwrap().unwrap();
        let gate = async || ledger.commit(Change { conducting: Some(&held), ..Change::default() }).await;
        gate().await.unwrap();
        assert_eq!(ledger.conduct(job, "second", now, now + HOUR).await.unwrap(), None);
        ledger.conduct(job, "second", now + 2 * HOUR, now + 3 * HOUR).await.unwrap().unwrap();
        assert!(matches!(gate().await, Err(LedgerError::Conflict)));
    });
}

/// Each conductor loses the job at once, and another one is woken: they run concurrently.
#[test]
fn conductors_that_lost_their_lease_do_no_harm() {
    for devices in 12..15 {
        scene(devices, async |scene| {
            scene.world.credential(&id(1), "wrong");
            scene.mood(2, Mood::Refuses);
            let job = scene.begin().await;
            let robber = spawn_local(rob(scene.world.clone(), job));
            scene.task_is(job, "distribute", 1, "failed").await;
            scene.world.credential(&id(1), "correct horse");
            scene.post(job, "retry", json!({})).await;
            scene.mood(2, Mood::Well);
            end::rest(&scene.world).await;
            scene.world.assert_whole();
            assert!((1..=devices).all(|number| scene.holds(number, 2)), "{}", scene.world.cloud.trace());
            assert!(robber.is_finished(), "{}", scene.world.cloud.trace());
        });
    }
}

/// Takes the job from its conductor twenty times.
async fn rob(world: World, job: u64) {
    let mut taken = 0;
    while taken < 20 {
        sleep(Duration::from_millis(20)).await;
        let Some(row) = world.cloud.tables.of_jobs(&job.to_string(), "conductor") else { continue };
        let held = Conducting { job: JobId(job), owner: row["owner"].as_str().unwrap().to_owned() };
        if world.functions.ledger().finish_conducting(&held).await.unwrap() {
            taken += 1;
            let world = world.clone();
            spawn_local(async move { world.functions.event(Function::Conduct, json!({ "wake": "running" })).await });
        }
    }
}

/// As after the loss of a bundle's record during its first wave.
#[test]
fn one_device_ahead_of_the_tables_prevents_a_new_root() {
    World::live(1, async |world| {
        super::found(&world).await;
        let row = |number: u8| {
            let address = format!("https://10.0.1.{number}");
            json!({ "id": id(number), "address": address, "credential": "/devices/shared/bmc" })
        };
        world.credential("shared/bmc", crate::world::PASSWORD);
        world.must("POST", "/devices", (0..150).map(row).collect()).await;
        let last = world.cloud.tables.all(DEVICES).into_iter().rfind(|row| row["address"].is_string()).unwrap()["id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let lease = Lease { owner: "worker".to_owned(), until: clock::now() };
        world.functions.ledger().lease(&last, &lease, Some(9), clock::now()).await.unwrap();
        let (status, told) = world.ask("PUT", "/signingCertificate", Value::Null).await.unwrap();
        assert_eq!(status, 409, "{told}");
        assert!(told.to_string().contains("bundle 9 was brought to a device"), "{told}");
    });
}
