//! `rootcast device`: the devices of the fleet.

pub(crate) mod add;
pub(crate) mod approve;
mod credential;
mod edit;
mod label;
pub(crate) mod list;
mod probe;
mod renew;
mod show;
mod sign;

use anyhow::Result;
use clap::Subcommand;

use crate::{api::Api, exit::End, output::Format};

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Enrol devices: one by options, or many from a file
    Add(add::Add),
    /// List every device, or those with some labels
    List(list::List),
    /// Show everything that is recorded of a device
    Show(show::ShowDevice),
    /// Change a device's address, profile, credential, pins, name, trust slot, or the name and key of its own certificate
    Edit(edit::Edit),
    /// Delete devices: jobs do not wait for them any more; asks before
    Delete(edit::Delete),
    /// Set and remove labels, by which rollouts have windows and an order
    Label(label::Label),
    /// Approve devices by the TLS certificate that they show; approved devices take part in rollovers
    Approve(approve::Approve),
    /// Set a device's user name and password, which are stored sealed, or the SSM parameter that has them
    Credential(credential::Credential),
    /// Look at a device: its managers, trust slots, free places, clock, and what it can do
    Probe(probe::ProbeDevice),
    /// Renew devices' own certificates: each device makes a key and a request, which a root signs
    Renew(renew::Renew),
    /// Have a request signed that you brought from a device which cannot be reached, and print the certificate; requires the permission
    /// approve-device
    Sign(sign::Sign),
    /// Show a device's own certificate, its issuance status and its stages
    Certificate(renew::Show),
}

pub(crate) async fn run(api: &Api, command: DeviceCommand, format: Format) -> Result<End> {
    match command {
        DeviceCommand::Add(add) => add::run(api, add, format).await,
        DeviceCommand::List(list) => list::run(api, &list, format).await,
        DeviceCommand::Show(show) => show::run(api, show, format).await,
        DeviceCommand::Edit(edit) => edit::run(api, edit, format).await,
        DeviceCommand::Delete(delete) => edit::delete(api, delete, format).await,
        DeviceCommand::Label(label) => label::run(api, label, format).await,
        DeviceCommand::Approve(approve) => approve::run(api, approve, format).await,
        DeviceCommand::Credential(credential) => credential::run(api, credential, format).await,
        DeviceCommand::Probe(probe) => probe::run(api, probe, format).await,
        DeviceCommand::Renew(renew) => renew::run(api, renew, format).await,
        DeviceCommand::Sign(sign) => sign::run(api, sign, format).await,
        DeviceCommand::Certificate(show) => renew::show(api, show, format).await,
    }
}
