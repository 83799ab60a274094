//! What is few among many costs what it is: failed devices of a large fleet, and revocation lists that were made.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::cloud::Faults;
use crate::dynamo::JOBS;
use crate::fleet::{enrolled, id};
use crate::functions::Function;
use crate::openbmc::Mood;
use crate::world::{REAL, Setting, World};

const MANY: u32 = 1000;
const FAILED: [u32; 3] = [17, 400, 981];

fn live<T: 'static>(life: impl AsyncFnOnce(World) -> T) -> T {
    World::live_in(Setting { pace: REAL, workers: 50, issuers: 4, is_watched: false }, 1, life)
}

/// The read units that a call takes, and its answer.
async fn read(world: &World, method: &str, path: &str, body: Value) -> (f64, Value) {
    let before = world.cloud.tables.read_units();
    let body = world.must(method, path, body).await;
    (world.cloud.tables.read_units() - before, body)
}

/// All pages of a list of tasks: the read units of all, and the devices.
async fn pages(world: &World, path: &str) -> (f64, Vec<String>) {
    let (mut units, mut devices, mut cursor) = (0.0, Vec::new(), String::new());
    loop {
        let (more, body) = read(world, "GET", &format!("{path}{cursor}"), Value::Null).await;
        units += more;
        let tasks = body["response"]["tasks"].as_array().unwrap();
        devices.extend(tasks.iter().map(|task| task["device"].as_str().unwrap().to_owned()));
        match body["response"]["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    devices.sort_unstable();
    (units, devices)
}

#[test]
fn failed_devices_cost_what_they_are() {
    live(async |world| {
        enrolled(&world, MANY, |number| if FAILED.contains(&number) { Mood::Refuses } else { Mood::Well }).await;
        let job = world.regenerate("?canary=1000&errorBudget=5").await.unwrap();
        let failed = FAILED.map(id).to_vec();
        world.job_when(job, Duration::from_secs(7200), |job| job["state"] == "paused").await;
        let tasks = format!("/jobs/{job}/tasks?state=failed");
        let (units, found) = pages(&world, &tasks).await;
        assert_eq!(found, failed);
        // A query of each shard, and a task each; beside those the caller and the job.
        assert!(units < 50.0, "{units}");
        assert_eq!(pages(&world, &format!("{tasks}&limit=2")).await.1, failed);
        for number in FAILED {
            world.cloud.fleet.at(crate::fleet::place(number), |bmc| bmc.mood = Mood::Well).unwrap();
        }
        let (units, body) =
            read(&world, "POST", &format!("/jobs/{job}/retry"), json!({ "classes": ["connect"] })).await;
        assert!(body["messages"].to_string().contains('3'), "{body}");
        assert!(units < 50.0, "{units}");
        world.ended(job).await;
        assert_eq!(pages(&world, &tasks).await.1, Vec::<String>::new());
    });
}

/// An earlier release neither wrote their records nor counted them.
#[test]
fn failures_of_an_earlier_release_are_found_all_the_same() {
    live(async |world| {
        enrolled(&world, 40, |number| if number % 10 == 7 { Mood::Refuses } else { Mood::Well }).await;
        let job = world.regenerate("?canary=1000&errorBudget=50").await.unwrap();
        world.job_when(job, Duration::from_secs(7200), |job| job["state"] == "paused").await;
        let tables = &world.cloud.tables;
        let mut old = tables.rows();
        old.retain(|(table, key), _| *table != JOBS || !key.contains("trouble#"));
        let apart = old.values().filter(|row| row["pk"]["S"] == format!("{job}#counters")).cloned();
        let apart: Vec<Value> = apart.collect();
        old.retain(|(table, _), row| *table != JOBS || row["pk"]["S"] != format!("{job}#counters"));
        let partition = job.to_string();
        for row in old.values_mut().filter(|row| row["pk"]["S"] == partition.as_str() && row["sk"]["S"] == "meta") {
            row.as_object_mut().unwrap().remove("countedTogether");
        }
        tables.restore(&old);
        for mut row in apart {
            let (sort, shard) = row["sk"]["S"].as_str().unwrap().rsplit_once('#').unwrap();
            (row["pk"], row["sk"]) = (json!({ "S": format!("{job}#{shard}") }), json!({ "S": sort }));
            row.as_object_mut().unwrap().remove("listed");
            tables.put(JOBS, &row);
        }
        let failed: Vec<String> = [7, 17, 27, 37].map(id).to_vec();
        let tasks = format!("/jobs/{job}/tasks?state=failed");
        assert_eq!(pages(&world, &tasks).await.1, failed);
        let counted = world.must("GET", &format!("/jobs/{job}"), Value::Null).await;
        assert_eq!(counted["response"]["devices"]["failed"], 4, "{counted}");
        for number in [7, 17, 27, 37] {
            world.cloud.fleet.at(crate::fleet::place(number), |bmc| bmc.mood = Mood::Well).unwrap();
        }
        let body = world.must("POST", &format!("/jobs/{job}/retry"), json!({ "classes": ["connect"] })).await;
        assert!(body["messages"].to_string().contains('4'), "{body}");
        world.ended(job).await;
        assert_eq!(pages(&world, &tasks).await.1, Vec::<String>::new());
    });
}

/// The issuer's schedule reads what is on record about the lists that there are, and not about 1 088 possible ones.
#[test]
fn the_schedule_reads_the_lists_that_were_made() {
    live(async |world| {
        world.faults(Faults::default());
        enrolled(&world, 3, |_| Mood::Well).await;
        let job = world.regenerate("").await.unwrap();
        world.ended(job).await;
        for number in 1..=3 {
            world.must("POST", &format!("/devices/{}/certificate", id(number)), Value::Null).await;
        }
        sleep(Duration::from_secs(300)).await;
        let wake = async || {
            let before = world.cloud.tables.read_units();
            world.functions.event(Function::Issue, json!({ "wake": "lists" })).await.unwrap();
            world.cloud.tables.read_units() - before
        };
        wake().await;
        let units = wake().await;
        let made = world.cloud.tables.rows();
        let made = made.iter().filter(|((table, _), row)| *table == JOBS && row["sk"]["S"] == "list").count();
        assert!((3..=5).contains(&made), "{made}");
        assert!(units < 40.0, "{units}");
        // As an earlier release leaves a stack: without the record.
        let mut old = world.cloud.tables.rows();
        old.retain(|_, row| row["sk"]["S"] != "made");
        world.cloud.tables.restore(&old);
        let all = wake().await;
        assert!(all > 1000.0 && wake().await < 40.0, "{all}");
    });
}
