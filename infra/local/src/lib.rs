#![doc = include_str!("../README.md")]

mod bootstraps;
mod cloud;
mod deploy;
mod fleet;
mod former;
mod front;
mod kept;
mod leash;
mod progress;
mod proof;
#[cfg(test)]
mod rehearsal;
mod stack;
mod tls;
mod tools;

pub use cloud::free_ports;
pub use deploy::Outputs;
pub use fleet::{Device, Fleet, store_credentials};
pub use progress::{Progress, Stage, Step};
pub use proof::{Download, ImageServer, prove};
pub use stack::{LocalOptions, LocalStack, is_running};
pub use tools::{cache_folder, project_folder, python_environment};
