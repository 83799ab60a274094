//! The APIs that we speak, a module for each: the format of requests, answers and refusals.
//!
//! In scope: the models of [`huawei`] (SCM v3), [`lenovo`] (XClarity Administrator, whose envelope our own API uses
//! too) and [`venafi`] (Web SDK), each after its vendor's pages and clients; those of our own API ([`native`]), which
//! the operator's command reads; and the error of each, which renders the neutral
//! [`Refusal`](rootcast_gate::Refusal) in that API's format. [`serve`] gives a router the requests that Lambda is
//! invoked with.
//!
//! The few fields of a single call are defined with its handler. Here is what several calls share, what is validated,
//! and what uses the vendor's terms.
//!
//! Out of scope: decisions, and reads and writes of records. `rootcast-gate` decides who may call, and the functions
//! carry out requests.

mod answer;
pub mod huawei;
pub mod lenovo;
pub mod native;
mod serve;
pub mod venafi;

pub use serve::{respond, serve, serve_with_events};
