//! The stack on one machine: the local cloud, this checkout's template.yaml in it with the functions built here, a TLS
//! front before its API, and a demo fleet of Redfish devices. Everything listens on loopback only.
//!
//! In scope: bringing it up and down, breaking devices, the proof from the devices' side.
//! Out of scope: enrolling and rotating, which go through the API like everybody's.

mod bootstraps;
mod cloud;
mod deploy;
mod fleet;
mod front;
mod leash;
mod progress;
mod proof;
#[cfg(test)]
mod rehearsal;
mod stack;
mod tls;
mod tools;

pub use deploy::Outputs;
pub use fleet::{Device, Fleet, store_credentials};
pub use progress::{Progress, Stage, Step};
pub use proof::{ImageServer, Verdict, prove};
pub use stack::{LocalOptions, LocalStack};
pub use tools::{cache_folder, project_folder, python_environment};
