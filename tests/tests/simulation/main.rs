//! A world in which every fault happens: the real handlers of regenerate, conduct, worker and issue, and the real routers
//! of catalog, import and retry, in one process and in virtual time. Around them are doubles of what they speak to, each with the
//! real one's limits: DynamoDB (a strict engine in memory), SQS, KMS, SSM, and a fleet of devices behind the driver's port.
//!
//! A world is made of its seed alone. What must always hold is looked at after every write, by what physically happened
//! and not by what is on record.
//!
//! - `cargo test --release --workspace --test simulation` lives 500 worlds and the named scenarios.
//! - `ROOTCAST_SEED=17` lives that world again and prints what happened in it, where something broke;
//!   `ROOTCAST_TRACE=5000` prints so many lines of it, and those of a scenario that went well too.
//! - `ROOTCAST_RUNS=20000 cargo test --release --workspace --test simulation no_seed` is for a night.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests fail by panicking, and say why on standard error"
)]

/// A world allocates all the time; with this one it takes a third less of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod clock;
mod cloud;
mod devices;
mod dynamo;
mod end;
mod figures;
mod functions;
mod imported;
mod keys;
mod logins;
mod loopback;
mod openbmc;
mod passwords;
mod people;
mod queues;
mod random;
mod runs;
mod scenarios;
mod services;
mod truth;
mod world;
