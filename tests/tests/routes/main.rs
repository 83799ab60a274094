//! Every route × way of calling × caller, at the real routers with AWS mocked: who gets through, and who does not, is
//! what the table of routes says.
//!
//! In scope: 401, 403 and what looks as if it were not there, in each API's own form. Out of scope: what a call does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod requests;
mod tables;
mod walk;
mod world;
