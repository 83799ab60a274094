//! A fleet through the whole cycle: what it costs at AWS and how long it takes, and how that grows with the fleet. In the
//! simulation's world: the real handlers, virtual time, AWS and the devices in memory.
//!
//! `cargo bench --bench fleet`: 1 000, 10 000 and 100 000 devices, an hour; `-- --million` adds 1 000 000, which takes a
//! day and 40 GB; `-- 1000 10000` takes these sizes, `--first-root` only a first root.
//! First, sending and signing beside the SDK alone; `--beside` is only that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    dead_code,
    reason = "a benchmark prints, and breaks off where something is missing; the simulation's tests use more of its world"
)]

#[path = "../tests/simulation/charges.rs"]
mod charges;
#[path = "../tests/simulation/clock.rs"]
mod clock;
#[path = "../tests/simulation/cloud.rs"]
mod cloud;
#[path = "../tests/simulation/devices.rs"]
mod devices;
#[path = "../tests/simulation/dynamo.rs"]
mod dynamo;
#[path = "../tests/simulation/fan_out.rs"]
mod fan_out;
#[path = "../tests/simulation/fleet.rs"]
mod fleet;
#[path = "../tests/simulation/functions.rs"]
mod functions;
#[path = "../tests/simulation/keys.rs"]
mod keys;
#[path = "../tests/simulation/loopback.rs"]
mod loopback;
#[path = "../tests/simulation/memory.rs"]
mod memory;
#[path = "../tests/simulation/openbmc.rs"]
mod openbmc;
#[path = "../tests/simulation/passwords.rs"]
mod passwords;
#[path = "../tests/simulation/queues.rs"]
mod queues;
#[path = "../tests/simulation/random.rs"]
mod random;
#[path = "../tests/simulation/services.rs"]
mod services;
#[path = "../tests/simulation/snapshot.rs"]
mod snapshot;
#[path = "../tests/simulation/trust.rs"]
mod trust;
#[path = "../tests/simulation/truth.rs"]
mod truth;
#[path = "../tests/simulation/world.rs"]
mod world;

use std::time::Duration;

use fan_out::Beside;
use fleet::{Measured, Part, table};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const SIZES: [u32; 3] = [1_000, 10_000, 100_000];
const MILLION: u32 = 1_000_000;
/// In dollars, of one remote action of AWS IoT Device Management's Jobs, which is one device in one pass; the first
/// 250 000 a month (aws.amazon.com/iot-device-management/pricing, September 2026).
const REMOTE_ACTION: f64 = 0.003;
/// Distribute, reissue, distrust.
const PASSES: f64 = 3.0;
/// The aims.
const MOST_EXPONENT: f64 = 1.02;
const MOST_DISTRIBUTE: f64 = 5.0;
const MOST_CYCLE: f64 = 20.0;
const MOST_TIME: f64 = 1.2;
const LEAST_SENT: f64 = 0.8;
const LEAST_SIGNED: f64 = 0.9;

const SENT: u32 = 5_000;
/// So many that the beginning and the end, with less than all places taken, hardly count.
const SIGNED: u32 = 4_000;

fn main() {
    memory::count_by(|| ALLOCATED.current_usage());
    let mut sizes: Vec<u32> = std::env::args().filter_map(|size| size.parse().ok()).collect();
    if sizes.is_empty() {
        sizes.extend(SIZES);
        println!("beside the SDK alone");
        beside("tasks sent", SENT, &fan_out::sending(SENT), LEAST_SENT);
        beside("certificates signed", SIGNED, &fan_out::issuing(SIGNED), LEAST_SIGNED);
    }
    if std::env::args().any(|flag| flag == "--beside") {
        sizes.clear();
    }
    if std::env::args().any(|flag| flag == "--million") {
        sizes.push(MILLION);
    }
    let mut all: Vec<(Measured, Part)> = Vec::new();
    let is_whole = !std::env::args().any(|flag| flag == "--first-root");
    for devices in sizes {
        let measured = if is_whole { fleet::cycle(devices) } else { fleet::first_root(devices) };
        let (failing, living) = fleet::with_dead(devices);
        println!("\n{devices} devices\n{}", table(measured.parts.iter().chain([&failing]), devices));
        judge(&measured, &failing, living, is_whole);
        if let Some((few, few_failing)) = all.last() {
            grows(few, &measured, few_failing, &failing);
        }
        all.push((measured, failing));
    }
}

fn beside(what: &str, count: u32, took: &Beside, least: f64) {
    let rate = |took: Duration| f64::from(count) / took.as_secs_f64();
    let aim = if took.ratio() >= least { "(aim met)" } else { "(aim MISSED)" };
    println!(
        "{what}: {:.0}/s of {:.0}/s, ratio {:.2} {aim}; by the processor's time {:.2}",
        rate(took.ours),
        rate(took.bare),
        took.ratio(),
        took.work_ratio()
    );
}

/// The figures of one size, beside their aims.
fn judge(measured: &Measured, failing: &Part, living: Duration, is_whole: bool) {
    let devices = f64::from(measured.devices);
    let distribute = measured.part(if is_whole { "distribute" } else { "first root" });
    let a_million = |part: &Part| part.dollars() / devices * 1e6;
    println!("distribute, a million   ${:.2} {}", a_million(distribute), met(a_million(distribute), MOST_DISTRIBUTE));
    if is_whole {
        let second = measured.part("second root");
        println!("whole cycle, a million  ${:.2} {}", a_million(second), met(a_million(second), MOST_CYCLE));
        println!(
            "the job itself says      ${} of ${:.4}",
            measured.told["dollars"].as_str().unwrap(),
            second.dollars()
        );
    }
    println!(
        "AWS IoT Jobs, a million ${:.0} for {PASSES} passes without reissue's certificates",
        PASSES * REMOTE_ACTION * 1e6
    );
    let visit = distribute.visited.as_secs_f64() / distribute.visits as f64;
    println!("a visit                 {visit:.2} s");
    for part in [distribute, failing] {
        let ratio = part.lasted.as_secs_f64() / part.ideal().as_secs_f64();
        let (name, ideal) = (&part.name, part.ideal().as_secs_f64());
        println!(
            "{name}: {:.0} s, all places busy {ideal:.0} s, ratio {ratio:.2} {}",
            part.lasted.as_secs_f64(),
            met(ratio, MOST_TIME)
        );
    }
    let healthy = devices * visit / 500.0;
    let (living, all) = (living.as_secs_f64() / healthy, failing.lasted.as_secs_f64() / healthy);
    println!(
        "1 % dead, 1 % hanging, to devices × visit ÷ places ({healthy:.0} s): the last living device is proven after {living:.2} {}, the job ends after {all:.2}",
        met(living, MOST_TIME)
    );
    let held = measured.memory.iter().map(|(function, bytes)| format!("{function:?} {:.1}", *bytes as f64 / 1e6));
    println!("MB held by an invocation: {}", held.collect::<Vec<_>>().join(", "));
    println!("resident, at most: {:.1} GB", resident() / 1e9);
}

fn grows(few: &Measured, many: &Measured, few_failing: &Part, many_failing: &Part) {
    println!("growth from {} to {} devices, as an exponent", few.devices, many.devices);
    // A phase may be over between two looks at it.
    let in_both =
        few.parts.iter().filter_map(|one| Some((one, many.parts.iter().find(|other| other.name == one.name)?)));
    for (one, other) in in_both.chain([(few_failing, many_failing)]) {
        let figures = one.figures().into_iter().zip(other.figures()).filter(|((_, one), _)| *one > 0.0);
        let grown = figures.map(|((name, one), (_, other))| {
            let exponent = exponent((few.devices, one), (many.devices, other));
            format!("{name} {exponent:.3}{}", if exponent > MOST_EXPONENT { "!" } else { "" })
        });
        println!("  {:<24}{}", one.name, grown.collect::<Vec<_>>().join("  "));
    }
}

/// The exponent with which something grows.
fn exponent(few: (u32, f64), many: (u32, f64)) -> f64 {
    (many.1 / few.1).ln() / (f64::from(many.0) / f64::from(few.0)).ln()
}

const fn met(figure: f64, most: f64) -> &'static str {
    if figure <= most { "(aim met)" } else { "(aim MISSED)" }
}

/// The peak of this process so far, in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    peak.unwrap_or(0.0) * 1024.0
}
