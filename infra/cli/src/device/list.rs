//! `rootcast device list`

use anyhow::Result;
use rootcast_dialects::native::{Device, Standing};
use serde_json::Value;

use crate::{
    api::Api,
    exit::End,
    output::{self, Format, out, table},
};

pub(super) async fn run(api: &Api, format: Format) -> Result<End> {
    if format == Format::Json {
        let devices: Vec<Value> = api.pages("/devices", &[], "devices").await?;
        devices.iter().try_for_each(output::json)?;
        return Ok(End::Done);
    }
    let devices: Vec<Device> = api.pages("/devices", &[], "devices").await?;
    if devices.is_empty() {
        out!("No devices yet: rootcast device add");
        return Ok(End::Done);
    }
    let rows: Vec<[String; 5]> = devices
        .into_iter()
        .map(|Device { id, address, profile, state, held, .. }| {
            let state = match state {
                Standing::Pending => "pending",
                Standing::Approved => "approved",
            };
            let held =
                held.map_or_else(|| "-".to_owned(), |held| format!("bundle {} ({})", held.bundle_version, held.at));
            [id.to_string(), state.to_owned(), profile.to_string(), address.to_string(), held]
        })
        .collect();
    out!("{}", table(["device", "state", "profile", "address", "holds"], &rows));
    Ok(End::Done)
}
