//! A world with every kind of fault: the real handlers of regenerate, conduct, worker and issue, and the real routers
//! of catalog, import and retry, in one process and in virtual time. Around them are test doubles with the real
//! services' limits: DynamoDB (a strict engine in memory), SQS, KMS, SSM, and a fleet of devices behind the driver's
//! port.
//!
//! The seed determines everything in a world. Invariants are checked after every write, based on what physically
//! happened and not on the records.
//!
//! - `cargo test --release --workspace --test simulation` runs 500 worlds and the named scenarios.
//! - `ROOTCAST_SEED=17` runs that world and prints what happened in it if something broke; `ROOTCAST_TRACE=5000`
//!   prints this number of lines, also of a scenario that succeeded.
//! - `ROOTCAST_RUNS=20000 cargo test --release --workspace --test simulation no_seed` is for a run overnight; with
//!   `ROOTCAST_SEED=2501` it begins there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests fail by panicking, and say why on standard error"
)]

/// A world allocates all the time; with this allocator it takes a third less time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod attackers;
mod charges;
mod clock;
mod cloud;
mod devices;
mod dynamo;
mod end;
mod fan_out;
mod figures;
mod fleet;
mod functions;
mod imported;
mod keys;
mod lists;
mod logins;
mod loopback;
mod memory;
mod openbmc;
mod passwords;
mod people;
mod queues;
mod random;
mod rollovers;
mod runs;
mod scale;
mod scenarios;
mod services;
mod signatures;
mod snapshot;
mod sparse;
mod trust;
mod truth;
mod world;
