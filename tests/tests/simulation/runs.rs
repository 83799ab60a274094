//! Random worlds. `ROOTCAST_SEED=n` runs one of them, `ROOTCAST_RUNS=n` sets their number; both together run `n` worlds
//! from that seed on.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::clock;
use crate::cloud::Faults;
use crate::end;
use crate::loopback::Loopback;
use crate::openbmc::Mood;
use crate::people::{people, weather};
use crate::rollovers;
use crate::world::{REAL, SLOW, World};

/// Worlds in the README's test command.
const RUNS: u64 = 500;
/// With TLS, each world takes a second longer.
const TLS_RUNS: u64 = 3;

/// A long run reports its progress after this number of worlds.
const TOLD: usize = 1000;

/// The results of a world.
pub struct Life {
    pub seed: u64,
    pub broken: Vec<String>,
    pub trace: String,
    pub calls: BTreeMap<String, u64>,
    pub injected: BTreeMap<&'static str, u64>,
    /// How its rollovers, and its changes of the trusted certificates of others, have ended.
    pub outcomes: BTreeMap<String, u64>,
    pub devices: u64,
    pub units: f64,
    pub lasted: Duration,
    /// Handshakes over real TLS.
    pub handshakes: u64,
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn no_seed_breaks_what_must_hold() {
    let first = number("ROOTCAST_SEED");
    let runs = number("ROOTCAST_RUNS").unwrap_or(if first.is_some() { 1 } else { RUNS });
    let (first, next) = (first.unwrap_or(1), AtomicU64::new(0));
    let lives = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= runs {
                        break;
                    }
                    let life = survive(first + run);
                    for what in &life.broken {
                        eprintln!("seed {}: {what}", life.seed);
                    }
                    let mut lives = lives.lock().unwrap();
                    lives.push(life);
                    if lives.len() % TOLD == 0 {
                        eprintln!("{} worlds from seed {first} on", lives.len());
                    }
                }
            });
        }
    });
    report(&lives.into_inner().unwrap());
}

/// With the driver's own wire, and handshakes in which devices prove their identity.
#[test]
fn no_seed_breaks_what_must_hold_over_real_tls() {
    let first = number("ROOTCAST_SEED");
    let seeds = first.map_or(1..=TLS_RUNS, |seed| seed..=seed);
    let over_tls = |seed| live_with(seed, |world| Loopback::begin(&world.cloud));
    let lives: Vec<Life> = seeds.map(over_tls).collect();
    report(&lives);
    // A short world may visit few devices.
    assert!(lives.iter().map(|life| life.handshakes).sum::<u64>() > 100);
}

fn report(lives: &[Life]) {
    let (mut calls, mut injected, mut outcomes) =
        (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
    for life in lives {
        life.outcomes.iter().for_each(|(name, count)| *outcomes.entry(name).or_default() += count);
        life.calls.iter().for_each(|(name, count)| *calls.entry(name).or_default() += count);
        life.injected.iter().for_each(|(name, count)| *injected.entry(name).or_default() += count);
    }
    let lasted: Duration = lives.iter().map(|life| life.lasted).sum();
    let devices: u64 = lives.iter().map(|life| life.devices).sum();
    let units: f64 = lives.iter().map(|life| life.units).sum();
    eprintln!("{} worlds, {devices} devices, {:.1} virtual days", lives.len(), lasted.as_secs_f64() / 86_400.0);
    eprintln!("faults: {injected:?}");
    eprintln!("calls: {calls:?}");
    eprintln!("outcomes: {outcomes:?}");
    eprintln!("write units a device: {:.1}", units / devices as f64);
    let broken: Vec<&Life> = lives.iter().filter(|life| !life.broken.is_empty()).collect();
    if let Some(worst) = broken.iter().min_by_key(|life| life.seed) {
        let seeds: Vec<u64> = broken.iter().map(|life| life.seed).collect();
        panic!(
            "{}\nbroken: {} of {} seeds: {seeds:?}; the first is ROOTCAST_SEED={}\n{}",
            worst.trace,
            broken.len(),
            lives.len(),
            worst.seed,
            worst.broken.join("\n")
        );
    }
    // Otherwise the people of these worlds miss a part of what they are here for.
    let ends = ["activated", "completed", "rolledBack", "aborted", "distributed"];
    let missing: Vec<&str> = ends.into_iter().filter(|end| !outcomes.contains_key(*end)).collect();
    assert!(lives.len() < 200 || missing.is_empty(), "no job has ended so: {missing:?}");
}

/// A panic counts as a broken world, and its seed is reported too.
fn survive(seed: u64) -> Life {
    std::panic::catch_unwind(|| live(seed)).unwrap_or_else(|_| Life {
        seed,
        broken: vec!["it panicked".to_owned()],
        trace: String::new(),
        calls: BTreeMap::new(),
        injected: BTreeMap::new(),
        outcomes: BTreeMap::new(),
        devices: 0,
        units: 0.0,
        lasted: Duration::ZERO,
        handshakes: 0,
    })
}

/// Runs one world from its seed.
pub fn live(seed: u64) -> Life {
    live_with(seed, |_| {})
}

fn live_with(seed: u64, prepare: impl FnOnce(&World) + 'static) -> Life {
    // Each fourth one lives for hours, with hold-downs of hours.
    let pace = if seed.is_multiple_of(4) { SLOW } else { REAL };
    World::live_at(pace, seed, async move |world| {
        prepare(&world);
        let random = &world.cloud.random;
        let devices = random.between(5, if random.chance(0.05) { 60 } else { 9 });
        if random.chance(0.1) {
            world.cloud.queues.limit_in_flight("task", usize::try_from(random.between(2, 6)).unwrap());
        }
        found(&world, devices).await;
        world.faults(faults(&world));
        // In a longer life as much happens, so that it also meets the second half of a rollover.
        let slowness = if world.is_slow() { random.between(5, 60) } else { 1 };
        let until = clock::age() + Duration::from_secs(slowness * random.between(60, 200));
        let busy = slowness * random.between(6, 24);
        spawn_local(weather(world.clone(), busy, until));
        spawn_local(people(world.clone(), busy, until));
        world.regenerate(&rollovers::query(&world)).await;
        people(world.clone(), busy, until).await;
        // Let everything under way come to an end.
        sleep(Duration::from_secs(60)).await;
        mend(&world).await;
        end::rest(&world).await;
        Life {
            seed,
            broken: world.cloud.truth.broken(),
            trace: world.cloud.trace(),
            calls: world.cloud.calls(),
            injected: world.cloud.injected(),
            outcomes: outcomes(&world),
            devices,
            units: world.cloud.tables.write_units(),
            lasted: clock::age(),
            handshakes: world.cloud.loopback.get().map_or(0, |tls| tls.handshakes.load(Ordering::Relaxed)),
        }
    })
}

fn outcomes(world: &World) -> BTreeMap<String, u64> {
    let mut outcomes = BTreeMap::new();
    for job in world.jobs().iter().filter(|job| job["kind"] == "rollover") {
        *outcomes.entry(job["outcome"].as_str().unwrap_or("open").to_owned()).or_default() += 1;
    }
    outcomes
}

/// A first active root, and a fleet that has it.
async fn found(world: &World, devices: u64) {
    world.must("PUT", "/signingCertificate", Value::Null).await;
    let spare = 3;
    let mut rows = Vec::new();
    for number in 0..devices + spare {
        let at = world.install(u8::try_from(number + 1).unwrap());
        if number < devices {
            rows.push(world.enrolment(&format!("d{number}"), at));
        }
    }
    world.must("POST", "/devices", json!(rows)).await;
    if world.cloud.random.chance(0.6) {
        // Some have a certificate of their own when the first rollover begins.
        sleep(Duration::from_secs(30)).await;
        for number in (0..devices).filter(|number| number % 2 == 0) {
            world.must("POST", &format!("/devices/d{number}/certificate"), Value::Null).await;
        }
        sleep(Duration::from_secs(90)).await;
    }
}

/// The fault rates of this world: some worlds have every kind of fault, others only a few.
fn faults(world: &World) -> Faults {
    let random = &world.cloud.random;
    let some = |most: f64| if random.chance(0.5) { most * random.below(100) as f64 / 100.0 } else { 0.0 };
    Faults {
        conflict: some(0.15),
        throttled: some(0.04),
        server_error: some(0.04),
        lost_answer: some(0.04),
        unseen: some(0.8),
        duplicate: some(0.2),
        late: some(0.1),
        kill: some(0.15),
        network: some(0.03),
    }
}

/// Ends all faults, and mends every device.
async fn mend(world: &World) {
    world.faults(Faults::default());
    world.cloud.note("=== mended");
    world.slow_down();
    world.cloud.fleet.each(|_, bmc| bmc.mood = Mood::Well);
    end::put_right(world, false).await;
}
