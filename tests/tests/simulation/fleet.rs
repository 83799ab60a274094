//! A large fleet through the whole cycle, counted and priced: the benchmark `fleet`, and a small case of it as a test.
//!
//! Devices are cheap (no TLS, one key for all until they make their own), and no invariant is checked: it is the other
//! worlds that find faults.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use rootcast_core::device::SHARDS;
use rootcast_core::usage::{Prices, Usage};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::clock;
use crate::functions::Function;
use crate::openbmc::{Bmc, Mood};
use crate::world::{PASSWORD, REAL, Setting, World};

/// The parameter `MaximumConcurrency`, and the messages of a batch.
const WORKERS: usize = 50;
/// As template.yaml has it.
pub const ISSUERS: usize = 4;
const PLACES: f64 = 500.0;
/// How long a request to a device takes, in milliseconds: TLS and a small processor.
const LATENCY: (u64, u64) = (50, 350);
/// Devices in a request that enrols, and that waives.
const ROWS: usize = 1000;
/// People who ask at the same time.
pub const AT_ONCE: usize = 32;
/// Of a hundred devices, one is dead and one hangs.
const PERCENT: u32 = 100;
/// In which two of a hundred may fail.
const CANARY: &str = "canary=100";

/// What a part of the cycle took.
#[derive(Debug, Clone)]
pub struct Part {
    pub name: String,
    pub used: Usage,
    pub worker_seconds: f64,
    pub lasted: Duration,
    pub real: Duration,
    /// Connections to devices, and how long they lasted in sum.
    pub visits: u64,
    pub visited: Duration,
}

/// Of one size.
#[derive(Debug, Clone)]
pub struct Measured {
    pub devices: u32,
    pub parts: Vec<Part>,
    /// The most that one invocation of a function held.
    pub memory: BTreeMap<Function, u64>,
    /// What the second root's job itself says that it used.
    pub told: Value,
}

/// How far the world is.
struct Mark {
    used: Usage,
    worker: Duration,
    age: Duration,
    real: Instant,
    visits: (u64, Duration),
}

impl Mark {
    fn now(world: &World) -> Self {
        let worker = world.functions.runs().get(&Function::Worker).map_or(Duration::ZERO, |runs| runs.lasted);
        let (age, real, visits) = (clock::age(), Instant::now(), world.cloud.fleet.visits());
        Self { used: used(world), worker, age, real, visits }
    }

    /// What happened since then; it is now from now on.
    fn part(&mut self, world: &World, name: impl Into<String>) -> Part {
        let before = std::mem::replace(self, Self::now(world));
        Part {
            name: name.into(),
            used: less(self.used, before.used),
            worker_seconds: (self.worker - before.worker).as_secs_f64(),
            lasted: self.age - before.age,
            real: self.real - before.real,
            visits: self.visits.0 - before.visits.0,
            visited: self.visits.1 - before.visits.1,
        }
    }
}

/// Everything so far, counted at the services.
fn used(world: &World) -> Usage {
    let mut used = Usage::default();
    for (call, count) in world.cloud.calls() {
        let (service, operation) = call.split_once('.').unwrap();
        let mut one = Usage::default();
        one.count_call(sdk_name(service), operation);
        used += times(one, count);
    }
    used.write_units = world.cloud.tables.write_units() as u64;
    used.half_read_units = (2.0 * world.cloud.tables.read_units()) as u64;
    for (function, runs) in world.functions.runs() {
        used.invocations += runs.invocations;
        used.megabyte_millis += u64::try_from(runs.lasted.as_millis()).unwrap() * function.memory();
        // Lambda receives a batch, and deletes it.
        used.queue_requests += 2 * runs.batches;
    }
    used
}

fn sdk_name(service: &str) -> &str {
    match service {
        "AmazonSQS" => "SQS",
        "TrentService" => "KMS",
        "AmazonSSM" => "SSM",
        "AWSEvents" => "EventBridge",
        other => other,
    }
}

/// Of each count.
fn each(one: Usage, other: Usage, of: impl Fn(u64, u64) -> u64) -> Usage {
    Usage {
        database_calls: of(one.database_calls, other.database_calls),
        queue_requests: of(one.queue_requests, other.queue_requests),
        key_requests: of(one.key_requests, other.key_requests),
        signatures: of(one.signatures, other.signatures),
        parameter_calls: of(one.parameter_calls, other.parameter_calls),
        event_requests: of(one.event_requests, other.event_requests),
        write_units: of(one.write_units, other.write_units),
        half_read_units: of(one.half_read_units, other.half_read_units),
        invocations: of(one.invocations, other.invocations),
        megabyte_millis: of(one.megabyte_millis, other.megabyte_millis),
    }
}

fn less(all: Usage, before: Usage) -> Usage {
    each(all, before, |all, before| all - before)
}

fn times(one: Usage, count: u64) -> Usage {
    each(one, one, |one, _| one * count)
}

pub fn id(number: u32) -> String {
    format!("bmc-{number:07}")
}

pub fn place(number: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0x0A00_0000 + number), 443))
}

/// A fleet without a root. `moods`: of which devices.
pub async fn enrolled(world: &World, devices: u32, mood: impl Fn(u32) -> Mood) {
    world.cloud.fleet.be_slow(LATENCY);
    world.credential("shared/fleet", PASSWORD);
    let model = Bmc::new(PASSWORD);
    let numbers: Vec<u32> = (1..=devices).collect();
    for some in numbers.chunks(ROWS) {
        let row = |number: &u32| {
            let mut bmc = model.clone();
            bmc.mood = mood(*number);
            world.cloud.fleet.add(place(*number), bmc);
            json!({
                "id": id(*number), "address": format!("https://{}", place(*number).ip()), "profile": "openbmc",
                "credential": "/devices/shared/fleet", "pins": [model.pin()],
            })
        };
        let rows: Vec<Value> = some.iter().map(row).collect();
        world.must("POST", "/devices", json!(rows)).await;
    }
}

/// Nothing is under way any more.
async fn rest(world: &World) {
    while !world.is_at_rest() {
        sleep(Duration::from_secs(5)).await;
    }
}

/// Follows a job, and says what each of its phases took.
async fn follow(world: &World, mark: &mut Mark, job: u64) -> (Vec<Part>, Value) {
    let mut parts = Vec::new();
    let mut phase = Value::Null;
    loop {
        let now = world.job(job);
        if now["phase"] != phase && !phase.is_null() {
            parts.push(mark.part(world, phase.as_str().unwrap()));
        }
        phase = now["phase"].clone();
        if now["state"] != "running" {
            rest(world).await;
            let last = mark.part(world, phase.as_str().unwrap());
            parts.extend(Some(last).filter(|part| part.used.calls() > 0));
            return (parts, (*now).clone());
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Every device makes a key of its own and gets a certificate for it. Begun one by one, as the API has it.
async fn own_certificates(world: &World, devices: u32) {
    let before = world.cloud.fleet.at(place(1), |bmc| bmc.pin()).unwrap();
    stream::iter(1..=devices)
        .for_each_concurrent(AT_ONCE, async |number| {
            world.must("POST", &format!("/devices/{}/certificate", id(number)), Value::Null).await;
        })
        .await;
    let open = || {
        let mut open = 0;
        world.cloud.fleet.each(|_, bmc| open += u32::from(bmc.pin() == before));
        open
    };
    while open() > 0 {
        sleep(Duration::from_secs(60)).await;
    }
    rest(world).await;
}

/// A first root. All devices are healthy.
#[allow(dead_code, reason = "only the benchmark stops there")]
pub fn first_root(devices: u32) -> Measured {
    live(async move |world| {
        enrolled(&world, devices, |_| Mood::Well).await;
        let parts = first(&world, &mut Mark::now(&world)).await;
        Measured { devices, parts, memory: memory(&world), told: Value::Null }
    })
}

async fn first(world: &World, mark: &mut Mark) -> Vec<Part> {
    let job = world.regenerate("").await.unwrap();
    let put = mark.part(world, "PUT");
    let (phases, ended) = follow(world, mark, job).await;
    assert_eq!(ended["outcome"], "activated", "{ended}");
    vec![put, sum("first root", &phases)]
}

fn memory(world: &World) -> BTreeMap<Function, u64> {
    world.functions.runs().into_iter().map(|(function, runs)| (function, runs.most_memory)).collect()
}

/// A first root, a certificate for each device, and a second root until the first is gone. All devices are healthy.
pub fn cycle(devices: u32) -> Measured {
    live(async move |world| {
        enrolled(&world, devices, |_| Mood::Well).await;
        let mut mark = Mark::now(&world);
        let mut parts = first(&world, &mut mark).await;
        own_certificates(&world, devices).await;
        parts.push(mark.part(&world, "certificates"));
        let second = world.regenerate("?until=retire").await.unwrap();
        parts.push(mark.part(&world, "PUT again"));
        let (second_root, ended) = follow(&world, &mut mark, second).await;
        assert_eq!(ended["outcome"], "completed", "{ended}");
        parts.extend(merged(second_root.clone()));
        parts.push(sum("second root", &second_root));
        let mut shown = world.must("GET", &format!("/jobs/{second}"), Value::Null).await;
        Measured { devices, parts, memory: memory(&world), told: shown["response"]["used"].take() }
    })
}

/// The distribution of a first root, until every device has a result, and how long it took until the last living one had
/// proven that it has the root. Of a hundred devices one is dead, and one hangs.
pub fn with_dead(devices: u32) -> (Part, Duration) {
    live(async move |world| {
        enrolled(&world, devices, |number| match number % PERCENT {
            17 => Mood::Refuses,
            67 => Mood::Hangs,
            _ => Mood::Well,
        })
        .await;
        let mut mark = Mark::now(&world);
        let job = world.regenerate(&format!("?{CANARY}")).await.unwrap();
        let bad = devices / PERCENT * 2;
        let living = async {
            let begun = clock::age();
            while proven(&world, job) < u64::from(devices - bad) {
                let now = world.job(job);
                assert_eq!(now["state"], "running", "it waits for living devices: {now}");
                sleep(Duration::from_millis(500)).await;
            }
            clock::age() - begun
        };
        let ((parts, paused), living) = tokio::join!(follow(&world, &mut mark, job), living);
        let reason = paused["reason"].as_str().unwrap();
        assert!(paused["state"] == "paused" && reason.contains(&bad.to_string()), "{paused}");
        (sum("1 % dead, 1 % hanging", &parts), living)
    })
}

/// The devices of a job with a proof, as they are counted.
fn proven(world: &World, job: u64) -> u64 {
    let counter =
        |shard| world.cloud.tables.of_jobs(&format!("{job}#counters"), &format!("counters#distribute#{shard:02}"));
    (0..SHARDS).filter_map(counter).filter_map(|row| row["acked"].as_u64()).sum()
}

fn live<T: 'static>(life: impl AsyncFnOnce(World) -> T) -> T {
    World::live_in(Setting { pace: REAL, workers: WORKERS, issuers: ISSUERS, is_watched: false }, 1, life)
}

fn sum(name: &str, parts: &[Part]) -> Part {
    Part {
        name: name.to_owned(),
        used: parts.iter().map(|part| part.used).sum(),
        worker_seconds: parts.iter().map(|part| part.worker_seconds).sum(),
        lasted: parts.iter().map(|part| part.lasted).sum(),
        real: parts.iter().map(|part| part.real).sum(),
        visits: parts.iter().map(|part| part.visits).sum(),
        visited: parts.iter().map(|part| part.visited).sum(),
    }
}

/// A phase that was observed several times is one part.
fn merged(parts: Vec<Part>) -> Vec<Part> {
    let mut merged: Vec<Part> = Vec::new();
    for part in parts {
        match merged.iter_mut().find(|known| known.name == part.name) {
            Some(known) => *known = sum(&known.name, &[known.clone(), part]),
            None => merged.push(part),
        }
    }
    merged
}

impl Measured {
    pub fn part(&self, name: &str) -> &Part {
        self.parts.iter().find(|part| part.name == name).unwrap()
    }
}

impl Part {
    pub fn dollars(&self) -> f64 {
        Prices::default().of(&self.used) as f64 / 1e9
    }

    /// All places busy with the visits that there were.
    pub fn ideal(&self) -> Duration {
        self.visited.div_f64(PLACES)
    }

    /// The figures whose growth counts, by name.
    pub fn figures(&self) -> [(&'static str, f64); 8] {
        [
            ("calls", self.used.calls() as f64),
            ("write units", self.used.write_units as f64),
            ("read units", self.used.read_units()),
            ("queue", self.used.queue_requests as f64),
            ("signatures", self.used.signatures as f64),
            ("worker s", self.worker_seconds),
            ("dollars", self.dollars()),
            ("virtual s", self.lasted.as_secs_f64()),
        ]
    }
}

/// A table of parts. `devices`: a second line has what each of them took.
pub fn table<'a>(parts: impl IntoIterator<Item = &'a Part>, devices: u32) -> String {
    let mut text = format!("{:<24}", "");
    for (index, part) in parts.into_iter().enumerate() {
        if index == 0 {
            part.figures().iter().for_each(|(name, _)| write!(text, "{name:>13}").unwrap());
            writeln!(text, "{:>10}", "real s").unwrap();
        }
        write!(text, "{:<24}", part.name).unwrap();
        for (name, figure) in part.figures() {
            let decimals = if name == "dollars" { 4 } else { 0 };
            write!(text, "{figure:>13.decimals$}").unwrap();
        }
        writeln!(text, "{:>10.1}", part.real.as_secs_f64()).unwrap();
        write!(text, "{:<24}", "  a device").unwrap();
        for (name, figure) in part.figures().iter().filter(|(name, _)| *name != "virtual s") {
            let (figure, decimals) = if *name == "dollars" { (figure * 1e6, 2) } else { (*figure, 3) };
            write!(text, "{:>13.decimals$}", figure / f64::from(devices)).unwrap();
        }
        writeln!(text).unwrap();
    }
    text
}

/// So that the benchmark does not rot. What a device costs is tested with sixty of them.
#[test]
fn three_hundred_devices_go_through_the_benchmark() {
    let measured = cycle(300);
    let devices = f64::from(measured.devices);
    eprintln!("{}", table(&measured.parts, measured.devices));
    let second = measured.part("second root");
    assert!(measured.memory.contains_key(&Function::Conduct));
    // For the new root, the request, the certificate, which is connected to twice, and the old root.
    assert!((5.0..6.0).contains(&(second.visits as f64 / devices)), "{second:?}");
    assert!(second.used.signatures > 300 && second.dollars() > 0.0, "{second:?}");
    // The job knows nearly all of what there was; processes bring along a little of the jobs before.
    for (name, counted) in [
        ("writeUnits", second.used.write_units),
        ("readUnits", second.used.half_read_units / 2),
        ("signatures", second.used.signatures),
        ("queueRequests", second.used.queue_requests),
        ("gigabyteSeconds", second.used.megabyte_millis / 1024 / 1000),
    ] {
        let share = measured.told[name].as_f64().unwrap() / counted as f64;
        assert!((0.8..1.2).contains(&share), "{name}: {share:.3} of {counted}; {}", measured.told);
    }
    let (failing, living) = with_dead(300);
    assert!(failing.lasted > failing.ideal() && living < failing.lasted, "{living:?} {failing:?}");
}
