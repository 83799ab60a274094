//! `rootcast device list`

use std::collections::BTreeSet;

use anyhow::Result;
use clap::{Args, ValueEnum};
use rootcast_core::device::DeviceId;
use rootcast_core::device::labels::Selector;
use rootcast_dialects::native::{Device, Standing};
use serde_json::Value;

use crate::{
    api::Api,
    exit::End,
    output::{self, Format, out, table},
};

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only devices with these labels, such as site=fra or site=fra,row=7
    #[arg(long = "where", id = "selector", value_name = "LABELS")]
    selector: Option<Selector>,
    /// Only pending or approved devices
    #[arg(long, value_enum)]
    state: Option<State>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Pending,
    Approved,
}

/// The ids of the devices with these labels.
pub(crate) async fn selected(api: &Api, selector: &Selector) -> Result<BTreeSet<DeviceId>> {
    let devices: Vec<Device> = api.pages("/devices", &[("where", &String::from(selector.clone()))], "devices").await?;
    Ok(devices.into_iter().map(|device| device.id).collect())
}

pub(super) async fn run(api: &Api, list: &List, format: Format) -> Result<End> {
    let selector = list.selector.clone().map(String::from);
    let selector = selector.iter().map(|selector| ("where", selector.as_str()));
    let state = list.state.map(|state| match state {
        State::Pending => "pending",
        State::Approved => "approved",
    });
    let query: Vec<(&str, &str)> = selector.chain(state.map(|state| ("state", state))).collect();
    if format == Format::Json {
        let devices: Vec<Value> = api.pages("/devices", &query, "devices").await?;
        output::list(&devices)?;
        return Ok(End::Done);
    }
    let devices: Vec<Device> = api.pages("/devices", &query, "devices").await?;
    if devices.is_empty() && !query.is_empty() {
        out!("No device has these labels or this state.");
        return Ok(End::Done);
    }
    if devices.is_empty() {
        out!("No devices yet: rootcast device add");
        return Ok(End::Done);
    }
    let rows: Vec<[String; 6]> = devices
        .into_iter()
        .map(|Device { id, labels, address, profile, state, held, .. }| {
            let state = match state {
                Standing::Pending => "pending",
                Standing::Approved => "approved",
            };
            let held =
                held.map_or_else(|| "-".to_owned(), |held| format!("bundle {} ({})", held.bundle_version, held.at));
            let labels = if labels.is_empty() { "-".to_owned() } else { labels.to_string() };
            [id.to_string(), state.to_owned(), profile.to_string(), address.to_string(), labels, held]
        })
        .collect();
    out!("{}", table(["device", "state", "profile", "address", "labels", "holds"], &rows));
    Ok(End::Done)
}
