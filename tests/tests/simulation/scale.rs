//! What does not grow with the fleet, and how long a pass takes with devices that are dead or hang.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::clock;
use crate::dynamo::JOBS;
use crate::functions::Function;
use crate::openbmc::{Bmc, Mood};
use crate::world::{PASSWORD, World};

/// Workers of the world, with ten devices each.
const PLACES: f64 = 50.0;

fn at(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    ([10, 1, high, low], 443).into()
}

/// A first root, and so many devices. The schedule wakes nobody: what a wake-up costs is counted.
async fn enrol(world: &World, devices: u16) {
    world.must("PUT", "/signingCertificate", Value::Null).await;
    let rows: Vec<Value> = (0..devices)
        .map(|number| {
            world.cloud.fleet.add(at(number), Bmc::new(PASSWORD));
            world.enrolment(&format!("d{number}"), at(number))
        })
        .collect();
    for some in rows.chunks(100) {
        world.must("POST", "/devices", json!(some)).await;
    }
}

/// The tasks of the job, by partition.
fn tasks(world: &World, job: u64) -> BTreeMap<String, u64> {
    let mut tasks = BTreeMap::new();
    for row in world.cloud.tables.all(JOBS) {
        let (pk, sk) = (row["pk"].as_str().unwrap(), row["sk"].as_str().unwrap());
        if pk.starts_with(&format!("{job}#")) && sk.starts_with("task#") {
            *tasks.entry(pk.to_owned()).or_default() += 1;
        }
    }
    tasks
}

fn since(world: &World, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let calls = world.cloud.calls().into_iter();
    let more = calls.map(|(name, count)| (name.clone(), count - before.get(&name).copied().unwrap_or(0)));
    more.filter(|(_, count)| *count > 0).collect()
}

/// A wake-up by the schedule: the cheapest of several, since some of them do what comes up every few minutes.
async fn wake_up(world: &World) -> BTreeMap<String, u64> {
    let mut costs = Vec::new();
    for _ in 0..6 {
        sleep(Duration::from_millis(61_300)).await;
        let (before, units) = (world.cloud.calls(), world.cloud.tables.read_units());
        world.functions.event(Function::Conduct, json!({ "wake": "running" })).await.unwrap();
        let mut cost = since(world, &before);
        cost.insert("half read units".to_owned(), (2.0 * (world.cloud.tables.read_units() - units)) as u64);
        costs.push(cost);
    }
    costs.into_iter().min_by_key(|calls| calls.values().sum::<u64>()).unwrap()
}

#[test]
fn a_wave_lies_in_all_shards() {
    World::live(3, async move |world| {
        enrol(&world, 200).await;
        let job = world.regenerate("?canary=64&wavePause=3600").await.unwrap();
        let is_sent = |job: &Value| job["wave"]["dispatched"] == 64 && job["sending"].is_null();
        world.job_when(job, Duration::from_secs(600), is_sent).await;
        sleep(Duration::from_secs(30)).await;
        let tasks = tasks(&world, job);
        assert_eq!((tasks.len(), tasks.values().sum::<u64>()), (16, 64), "{tasks:?}");
        assert!(tasks.values().all(|count| *count <= 5), "{tasks:?}");
        world.assert_whole();
    });
}

/// How many seconds it takes until every healthy device has a proof.
fn lasts(devices: u16, moods: &'static [(u16, Mood)], delay: Duration) -> f64 {
    World::live(5, async move |world| {
        enrol(&world, devices).await;
        sleep(Duration::from_secs(120)).await;
        world.cloud.fleet.answer_after(delay);
        for (number, mood) in moods {
            world.cloud.fleet.at(at(*number), |bmc| bmc.mood = *mood).unwrap();
        }
        let begun = clock::age();
        let job = world.regenerate(&format!("?canary={devices}&errorBudget=100")).await.unwrap();
        let healthy = u64::from(devices) - moods.len() as u64;
        while tasks(&world, job).values().sum::<u64>() < healthy {
            sleep(Duration::from_millis(250)).await;
        }
        world.assert_whole();
        (clock::age() - begun).as_secs_f64()
    })
}

#[test]
fn devices_that_hang_hold_up_no_others() {
    const MOODS: &[(u16, Mood)] = &[
        (10, Mood::Hangs),
        (110, Mood::Hangs),
        (210, Mood::Hangs),
        (310, Mood::Hangs),
        (60, Mood::Refuses),
        (160, Mood::Refuses),
        (260, Mood::Refuses),
        (360, Mood::Refuses),
    ];
    let delay = Duration::from_millis(400);
    let one = lasts(1, &[], delay);
    let (well, ill) = (lasts(400, &[], delay), lasts(400, MOODS, delay));
    let ideal = 400.0 * one / PLACES;
    eprintln!(
        "a device takes {one:.1} s; 400 take {well:.1} s, with 1 % dead and 1 % hanging {ill:.1} s; ideal {ideal:.1} s"
    );
    assert!(ill <= 1.2 * ideal, "{ill} {ideal}");
}

/// SSM takes 40 of these calls a second, from all workers.
#[test]
fn ten_devices_share_a_call_for_their_credentials() {
    World::live(5, async move |world| {
        enrol(&world, 300).await;
        sleep(Duration::from_secs(120)).await;
        // No two visits take the same time.
        world.cloud.fleet.be_slow((50, 350));
        let before = world.cloud.calls();
        let job = world.regenerate("?canary=300").await.unwrap();
        assert_eq!(world.ended(job).await["outcome"], "activated");
        let calls = since(&world, &before)["AmazonSSM.GetParameters"];
        assert!((30..=45).contains(&calls), "{calls}");
    });
}

#[test]
fn a_wake_up_costs_the_same_with_any_fleet() {
    let [few, many] = [10, 150].map(|devices| {
        World::live(7, async move |world| {
            enrol(&world, devices).await;
            sleep(Duration::from_secs(1800)).await;
            let at_rest = wake_up(&world).await;
            let job = world.regenerate("?canary=5&wavePause=3600").await.unwrap();
            world.job_when(job, Duration::from_secs(600), |job| job["wave"]["closed"].is_number()).await;
            sleep(Duration::from_secs(90)).await;
            (at_rest, wake_up(&world).await)
        })
    });
    eprintln!("{few:#?}");
    assert_eq!(few, many);
    // Beside what it costs at rest: the job, and its counters.
    let units = |calls: &BTreeMap<String, u64>| calls["half read units"];
    assert!(units(&few.1) <= units(&few.0) + 12, "{few:?}");
}

#[test]
fn a_wake_up_costs_the_same_with_many_ended_jobs() {
    World::live(9, async move |world| {
        enrol(&world, 5).await;
        let job = world.regenerate("").await.unwrap();
        world.ended(job).await;
        sleep(Duration::from_secs(1800)).await;
        let before = wake_up(&world).await;
        let rows = world.cloud.tables.rows();
        let is_job = |row: &&Value| row["sk"]["S"] == "meta" && row["state"]["S"] == "ended";
        let job = rows.values().find(is_job).unwrap().clone();
        for number in 1000..3000 {
            let mut other = job.clone();
            (other["pk"], other["id"]) = (json!({ "S": number.to_string() }), json!({ "N": number.to_string() }));
            world.cloud.tables.put(JOBS, &other);
            let listed = json!({ "pk": { "S": "jobs" }, "sk": { "S": format!("{number:012}") } });
            world.cloud.tables.put(JOBS, &listed);
        }
        assert_eq!(wake_up(&world).await, before);
    });
}

/// Five canaries whose messages are lost: they are sent again from what was sent, not from the fleet.
#[test]
fn a_resend_reads_what_was_sent() {
    let [few, many] = [60, 200].map(|devices| {
        World::live(11, async move |world| {
            enrol(&world, devices).await;
            sleep(Duration::from_secs(1800)).await;
            world.cloud.fleet.each(|_, bmc| bmc.mood = Mood::Refuses);
            let job = world.regenerate("?canary=5").await.unwrap();
            world.job_when(job, Duration::from_secs(600), |job| job["wave"]["dispatched"] == 5).await;
            sleep(Duration::from_secs(90)).await;
            world.cloud.queues.lose("task");
            let before = world.cloud.calls();
            world.job_when(job, Duration::from_secs(3600), |job| job["resends"] == 1 && job["sweep"].is_null()).await;
            since(&world, &before).remove("DynamoDB.Query").unwrap_or(0)
        })
    });
    assert!(many <= few, "{few} queries in a fleet of 60, {many} in one of 200");
}
