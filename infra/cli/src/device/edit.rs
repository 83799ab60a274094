//! `rootcast device edit` and `rootcast device delete`.

use anyhow::Result;
use clap::Args;
use reqwest::Method;
use rootcast_core::device::{DeviceId, Pin};
use rootcast_dialects::native::Standing;
use rootcast_pki::algorithm::KeyAlgorithm;
use serde_json::{Map, Value, json};

use super::approve::pin;
use crate::{
    api::{Api, ApiError},
    ask,
    exit::{End, Usage},
    output::{self, Format, note, out},
};

/// Unless you may approve devices, all but the name puts the device back to pending.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// Which device
    #[arg(value_name = "ID")]
    device: DeviceId,
    /// Address, such as https://10.0.0.7
    #[arg(long, value_name = "URL")]
    address: Option<String>,
    /// As in `device add`
    #[arg(long, value_name = "PROFILE")]
    device_profile: Option<String>,
    /// SSM parameter with its user name and password
    #[arg(long, value_name = "PARAMETER")]
    credential: Option<String>,
    /// Fingerprint of its TLS certificate or key, in place of those that are approved; may be repeated
    #[arg(long, value_name = "FINGERPRINT", value_parser = pin)]
    pin: Vec<Pin>,
    /// Take its approval back: no job visits it until `device approve`
    #[arg(long, conflicts_with = "pin")]
    no_pins: bool,
    /// Display name
    #[arg(long)]
    name: Option<String>,
    #[arg(long, conflicts_with = "name")]
    no_name: bool,
    /// Redfish path of its trust slot, instead of the profile's
    #[arg(long, value_name = "PATH")]
    slot: Option<String>,
    /// The profile's slot again
    #[arg(long, conflicts_with = "slot")]
    no_slot: bool,
    /// Name in its own certificate, as JSON: {"commonName":…,"dnsNames":[…],"ipAddresses":[…]}
    #[arg(long, value_name = "JSON", value_parser = subject)]
    subject: Option<Value>,
    /// The host of its address again
    #[arg(long, conflicts_with = "subject")]
    no_subject: bool,
    /// Of the key that it makes for its next certificate of its own: ECDSA_P256, ECDSA_P384, RSA_2048, RSA_3072, RSA_4096, or
    /// default
    #[arg(long, value_name = "ALGORITHM", value_parser = key_algorithm)]
    key_algorithm: Option<Value>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Which devices
    #[arg(required = true, value_name = "ID")]
    devices: Vec<DeviceId>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

fn subject(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(subject @ Value::Object(_)) => Ok(subject),
        Ok(_) => Err("it is no JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// `null` for the default.
fn key_algorithm(text: &str) -> Result<Value, serde_json::Error> {
    let name = Some(text.to_ascii_uppercase()).filter(|name| name != "DEFAULT");
    let algorithm: Option<KeyAlgorithm> = serde_json::from_value(json!(name))?;
    Ok(json!(algorithm))
}

pub(super) async fn run(api: &Api, edit: Edit, format: Format) -> Result<End> {
    let path = format!("/devices/{}", edit.device);
    let edited: Option<Value> = api.send(Method::PATCH, &path, &[], Some(&edit.changes()?)).await?;
    let edited = edited.ok_or_else(|| ApiError::unintelligible(&path, "it has no response"))?;
    match format {
        Format::Json => output::json(&edited)?,
        Format::Text if edited["state"] == json!(Standing::Pending) => {
            out!("{0} is changed, and pending: rootcast device approve {0}", edit.device);
        }
        Format::Text => out!("{} is changed.", edit.device),
    }
    Ok(End::Done)
}

impl Edit {
    /// `null` removes.
    fn changes(&self) -> Result<Map<String, Value>> {
        let texts = [
            ("address", &self.address),
            ("profile", &self.device_profile),
            ("credential", &self.credential),
            ("name", &self.name),
            ("slot", &self.slot),
        ];
        let texts = texts.into_iter().filter_map(|(field, text)| Some((field, json!(text.as_ref()?))));
        let gone = [("name", self.no_name), ("slot", self.no_slot), ("subject", self.no_subject)];
        let gone = gone.into_iter().filter_map(|(field, is_gone)| is_gone.then_some((field, Value::Null)));
        let pins = (self.no_pins || !self.pin.is_empty()).then(|| ("pins", json!(self.pin)));
        let subject = self.subject.clone().map(|subject| ("subject", subject));
        let algorithm = self.key_algorithm.clone().map(|algorithm| ("keyAlgorithm", algorithm));
        let all = texts.chain(gone).chain(pins).chain(subject).chain(algorithm);
        let changes: Map<_, _> = all.map(|(field, value)| (field.to_owned(), value)).collect();
        if changes.is_empty() {
            return Err(Usage(
                "say what to change: rootcast device edit --help; labels: rootcast device label".to_owned(),
            )
            .into());
        }
        Ok(changes)
    }
}

/// One after the other: each is asked about.
pub(super) async fn delete(api: &Api, delete: Delete, format: Format) -> Result<End> {
    let mut deleted = Vec::new();
    for id in &delete.devices {
        let what = format!(
            "Delete device {id}? Jobs do not wait for it any more, and its own certificate is revoked. Its trust store keeps \
             what is in it."
        );
        if !ask::is_meant(delete.yes, &what, id.as_str()).await? {
            note!("{id} is not deleted.");
            continue;
        }
        let _: Option<Value> = api.send(Method::DELETE, &format!("/devices/{id}"), &[], None::<&()>).await?;
        deleted.push(json!({ "deleted": id }));
        if format == Format::Text {
            out!("{id} is deleted.");
        }
    }
    if format == Format::Json {
        output::list(&deleted)?;
    }
    Ok(End::unless(deleted.len() < delete.devices.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

    use clap::Parser;
    use serde_json::{Value, json};

    use crate::arguments::{Arguments, Command};
    use crate::device::DeviceCommand;

    fn body(options: &str) -> anyhow::Result<Value> {
        let line = format!("rootcast device edit bmc-1 {options}");
        match Arguments::try_parse_from(line.split_whitespace())?.command {
            Command::Device(DeviceCommand::Edit(edit)) => Ok(Value::Object(edit.changes()?)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_is_said_is_changed() {
        let sent =
            body("--address https://10.0.0.8 --device-profile openbmc --no-slot --key-algorithm rsa_3072").unwrap();
        let expected =
            json!({"address": "https://10.0.0.8", "profile": "openbmc", "slot": null, "keyAlgorithm": "RSA_3072"});
        assert_eq!(sent, expected);
        assert_eq!(body("--key-algorithm default --no-pins").unwrap(), json!({"keyAlgorithm": null, "pins": []}));
        let colons = ["AB"; 32].join(":");
        assert_eq!(body(&format!("--pin {colons}")).unwrap(), json!({"pins": [format!("sha256:{}", "ab".repeat(32))]}));
        for wrong in ["", "--name x --no-name", "--key-algorithm DSA", "--subject 7", "--pin sha256:00"] {
            assert!(body(wrong).is_err(), "{wrong}");
        }
    }
}
