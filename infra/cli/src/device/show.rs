//! `rootcast device show`: everything that is recorded of a device.

use anyhow::Result;
use clap::Args;
use rootcast_core::device::DeviceId;
use rootcast_dialects::native::{Device, Standing};
use serde_json::{Value, json};

use crate::{
    api::{Api, ApiError},
    exit::End,
    output::{self, Format, out, plain},
};

#[derive(Debug, Args)]
pub(crate) struct ShowDevice {
    /// Which device
    #[arg(value_name = "ID")]
    device: DeviceId,
}

pub(super) async fn run(api: &Api, ShowDevice { device }: ShowDevice, format: Format) -> Result<End> {
    let path = format!("/devices/{device}");
    let answer: Value = api.get(&path, &[]).await?;
    match format {
        Format::Json => output::json(&answer)?,
        Format::Text => out!("{}", describe(&path, &answer)?),
    }
    Ok(End::Done)
}

fn describe(path: &str, answer: &Value) -> Result<String> {
    let device: Device =
        serde_json::from_value(answer.clone()).map_err(|error| ApiError::unintelligible(path, error))?;
    let state = match (device.state, &device.unapproved) {
        (Standing::Approved, _) => "approved".to_owned(),
        (Standing::Pending, None) => format!("pending: rootcast device approve {}", device.id),
        (Standing::Pending, Some(unapproved)) => format!(
            "pending since {}, changed by {}: rootcast device approve {}",
            unapproved.at, unapproved.by, device.id
        ),
    };
    let mut lines = vec![("Device", device.id.to_string())];
    lines.extend(device.name.map(|name| ("Name", name)));
    lines.push(("State", state));
    lines.push(("Address", device.address.to_string()));
    lines.push(("Profile", device.profile.to_string()));
    lines.extend(device.slot.map(|slot| ("Slot", slot.to_string())));
    lines.extend((!device.labels.is_empty()).then(|| ("Labels", device.labels.to_string())));
    lines.push(("Credential", device.credential));
    lines.extend(device.pins.iter().map(|pin| ("Pin", pin.to_string())));
    lines.extend(device.subject.map(|subject| ("Subject", json!(subject).to_string())));
    lines.extend(answer["keyAlgorithm"].as_str().map(|algorithm| ("Key", algorithm.to_owned())));
    lines.push(match device.held {
        Some(held) => {
            let of = if held.current { "" } else { "; of an earlier version of this record, so no proof any more" };
            ("Holds", format!("bundle {}, read at {}{of}", held.bundle_version, held.at))
        }
        None => ("Holds", "not read yet".to_owned()),
    });
    lines.extend(device.certificate.map(|id| ("Shows", format!("certificate {id}"))));
    lines.extend(device.failure.map(|failure| {
        let words = format!("{}: {} ({}). {}", failure.class, failure.message, failure.at, failure.recovery);
        ("Failed", words)
    }));
    lines.extend(device.probe.map(|probe| ("Probed", probe.at)));
    lines.extend(device.lease.map(|lease| ("Worker", format!("is at it, until {} at most", lease.until))));
    Ok(lines.iter().map(|(name, value)| format!("{name:12}{}", plain(value))).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use serde_json::json;

    #[test]
    fn a_device_is_described_with_its_last_failure() {
        let pin = format!("sha256:{}", "ab".repeat(32));
        let answer = json!({
            "id": "bmc-1", "address": "https://10.0.0.7", "driver": "redfish", "profile": "dmtf", "credential": "/c/bmc-1",
            "pins": [pin], "state": "pending", "incarnation": "01".repeat(16), "endpointRevision": 2, "labels": {"site": "fra"},
            "unapproved": {"by": "eve", "at": "2026-01-02T03:04:05Z"}, "keyAlgorithm": "RSA_3072",
            "failure": {"class": "connect", "message": "Nobody\nanswers.", "recovery": "Switch it on.", "at": "2026-01-02T03:04:06Z"},
        });
        let expected = format!(
            "Device      bmc-1\n\
             State       pending since 2026-01-02T03:04:05Z, changed by eve: rootcast device approve bmc-1\n\
             Address     https://10.0.0.7\n\
             Profile     dmtf\n\
             Labels      site=fra\n\
             Credential  /c/bmc-1\n\
             Pin         {pin}\n\
             Key         RSA_3072\n\
             Holds       not read yet\n\
             Failed      connect: Nobody answers. (2026-01-02T03:04:06Z). Switch it on."
        );
        assert_eq!(super::describe("/devices/bmc-1", &answer).unwrap(), expected);
    }
}
