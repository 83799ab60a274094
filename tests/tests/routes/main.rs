//! Every route × authentication scheme × caller, at the real routers with AWS mocked: access is exactly what the
//! table of routes says.
//!
//! In scope: 401, 403, and refusals that hide the object, in each API's format. Out of scope: the effects of a call.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod console;
mod gateway;
mod openapi;
mod provider;
mod requests;
mod signing_in;
mod tables;
mod walk;
mod world;
