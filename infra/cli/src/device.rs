//! `rootcast device`: the fleet's records.

pub(crate) mod add;
pub(crate) mod approve;
mod list;

use anyhow::Result;
use clap::Subcommand;

use crate::{api::Api, exit::End, output::Format};

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Enrol devices: one by options, or many from a file
    Add(add::Add),
    /// List every device
    List,
    /// Approve what devices show as their TLS certificate; they take part in rollovers from then on
    Approve(approve::Approve),
}

pub(crate) async fn run(api: &Api, command: DeviceCommand, format: Format) -> Result<End> {
    match command {
        DeviceCommand::Add(add) => add::run(api, add, format).await,
        DeviceCommand::List => list::run(api, format).await,
        DeviceCommand::Approve(approve) => approve::run(api, approve, format).await,
    }
}
