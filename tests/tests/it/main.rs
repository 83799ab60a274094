//! Rootcast as a whole, each test on a separate stack: the deployed functions, template.yaml, queues, tables and keys
//! in the local cloud, and Redfish devices over real TLS.
//!
//! In scope: what only shows when all parts run together. Out of scope: what one crate's tests can show.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests fail by panicking, and say why on standard error"
)]

mod access;
mod anchors;
mod api;
mod asked;
mod attacks;
mod audit;
mod authority;
mod awake;
mod aws;
mod chains;
mod clients;
mod compromise;
mod console;
mod cost;
mod faults;
mod import;
mod import_readers;
mod interruptions;
mod issuing;
mod local;
mod preflight;
mod privilege;
mod proxy;
mod refusals;
mod retrying;
mod revocation_lists;
mod rollover;
mod secrets;
mod stack;
mod steering;
mod told;
mod upgrade;
mod venafi;

use rootcast_fake as fake;
