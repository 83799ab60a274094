//! `rootcast device label`: when and in which order jobs come to devices.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use rootcast_core::device::DeviceId;
use rootcast_core::device::labels::Selector;
use rootcast_dialects::native::Device;
use serde_json::{Value, json};

use super::list::selected;
use crate::{
    api::{Api, ApiError},
    exit::{End, Usage},
    output::{self, Format, out, table},
};

/// Concurrent requests.
const AT_ONCE: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Label {
    /// Which devices
    #[arg(required_unless_present = "selector", value_name = "ID")]
    devices: Vec<DeviceId>,
    /// Every device with these labels, such as site=fra or site=fra,row=7
    #[arg(long = "where", id = "selector", value_name = "LABELS", conflicts_with = "devices")]
    selector: Option<Selector>,
    /// Set a label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Remove a label; may be repeated
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
}

/// A label, as in `site=fra`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let _: Selector = text.parse().map_err(|error| format!("{error}"))?;
    let (key, value) = text.split_once('=').filter(|(_, value)| !value.contains('=')).ok_or("it is no KEY=VALUE")?;
    if value.contains(',') { Err("one label at a time".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}

pub(super) async fn run(api: &Api, label: Label, format: Format) -> Result<End> {
    let body = json!({ "labels": label.changes()? });
    let devices = match &label.selector {
        Some(selector) => selected(api, selector).await?.into_iter().collect(),
        None => label.devices,
    };
    let edits = devices.into_iter().map(|id| edit(api, id, &body));
    let labelled: Vec<Device> = stream::iter(edits).buffered(AT_ONCE).try_collect().await?;
    match format {
        Format::Json => output::list(&labelled)?,
        Format::Text if labelled.is_empty() => out!("No device has these labels."),
        Format::Text => {
            let rows: Vec<_> =
                labelled.iter().map(|device| [device.id.to_string(), device.labels.to_string()]).collect();
            out!("{}", table(["device", "labels"], &rows));
        }
    }
    Ok(End::Done)
}

async fn edit(api: &Api, id: DeviceId, body: &Value) -> Result<Device> {
    let path = format!("/devices/{id}");
    let device: Option<Device> = api.send(Method::PATCH, &path, &[], Some(body)).await?;
    Ok(device.ok_or_else(|| ApiError::unintelligible(&path, "it has no response"))?)
}

impl Label {
    /// `null` removes a label.
    fn changes(&self) -> Result<BTreeMap<&str, Option<&str>>> {
        let set = self.set.iter().map(|(key, value)| (key.as_str(), Some(value.as_str())));
        let changes: BTreeMap<_, _> = set.chain(self.remove.iter().map(|key| (key.as_str(), None))).collect();
        match changes.len() {
            0 => Err(Usage("say which labels: --set KEY=VALUE or --remove KEY".to_owned()).into()),
            some if some < self.set.len() + self.remove.len() => {
                Err(Usage("a label is set or removed once".to_owned()).into())
            }
            _ => Ok(changes),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

    use clap::Parser;

    use crate::arguments::{Arguments, Command};
    use crate::device::DeviceCommand;

    fn body(options: &str) -> anyhow::Result<serde_json::Value> {
        let line = format!("rootcast device label {options}");
        match Arguments::try_parse_from(line.split_whitespace())?.command {
            Command::Device(DeviceCommand::Label(label)) => Ok(serde_json::to_value(label.changes()?)?),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn labels_are_set_and_removed() {
        let sent = body("bmc-1 bmc-2 --set site=fra --set row=7 --remove old").unwrap();
        assert_eq!(sent, serde_json::json!({ "site": "fra", "row": "7", "old": null }));
        assert!(body("--where site=fra --set site=ams").is_ok());
    }

    #[test]
    fn what_is_no_label_is_refused_before_it_is_sent() {
        for options in
            ["bmc-1", "--set site=fra", "bmc-1 --set site", "bmc-1 --set a=b,c=d", "bmc-1 --set a=b --remove a"]
        {
            assert!(body(options).is_err(), "{options}");
        }
    }
}
