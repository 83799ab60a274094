//! `rootcast device add`

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Read},
    path::PathBuf,
};

use anyhow::{Context, Result};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use rootcast_core::device::{DeviceId, Pin};
use rootcast_dialects::native::{Enrolled, Enrolment};
use serde::Deserialize;
use serde_json::{Value, json};

use super::credential::Login;
use crate::{
    api::{Api, ApiError},
    exit::{End, Usage},
    output::{self, Format, note, out, plain},
};

/// Devices per call. Each takes a write of a few milliseconds, and an HTTP API call ends after 30 seconds.
const BATCH: usize = 100;
const CALLS_AT_ONCE: usize = 4;

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// JSON file: an array of devices, or one device a line; - is standard input. Fields are those of the API: id, address, profile, credential, pins (an array), name, labels, slot, keyAlgorithm
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "address", "profile", "credential", "username", "pin", "name", "label", "slot", "key_algorithm"])]
    file: Option<PathBuf>,
    /// Permanent id: 1 to 64 of a-z 0-9 . _ - with a letter or digit first and last (default: one that the API chooses)
    #[arg(long, value_parser = DeviceId::to_enrol)]
    id: Option<DeviceId>,
    /// Address, such as https://10.0.0.7
    #[arg(long, required_unless_present = "file")]
    address: Option<String>,
    /// Driver
    #[arg(long, default_value = "redfish")]
    driver: String,
    /// Profile, which says where the device keeps its trust anchors: dmtf, openbmc, lenovo-xcc or vmedia; from documents,
    /// not seen: dell-idrac, hpe-ilo, supermicro
    #[arg(long = "device-profile", required_unless_present = "file", value_name = "PROFILE")]
    profile: Option<String>,
    /// SSM parameter with its user name and password
    #[arg(long, required_unless_present_any = ["file", "username"], conflicts_with = "username", value_name = "PARAMETER")]
    credential: Option<String>,
    #[command(flatten)]
    login: Login,
    /// Fingerprint of its TLS certificate (sha256:...) or key (spki-sha256:...), if known: approves the device. May be repeated
    #[arg(long, value_name = "FINGERPRINT", value_parser = super::approve::pin)]
    pin: Vec<Pin>,
    /// Display name
    #[arg(long)]
    name: Option<String>,
    /// A label, such as site=fra; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::label::pair)]
    label: Vec<(String, String)>,
    /// Redfish path of its trust slot, instead of the profile's
    #[arg(long, value_name = "PATH")]
    slot: Option<String>,
    /// Of the key that it makes for its own certificate: ECDSA_P256, ECDSA_P384, RSA_2048, RSA_3072 or RSA_4096 (default: ECDSA_P384)
    #[arg(long, value_name = "ALGORITHM")]
    key_algorithm: Option<String>,
}

pub(crate) async fn run(api: &Api, add: Add, format: Format) -> Result<End> {
    let devices = match &add.file {
        Some(file) => parse(&read(file)?).map_err(|error| Usage(format!("{}: {error}", file.display())))?,
        None => vec![add.device(add.login.asked().await?)],
    };
    let sent = devices.clone();
    let added = send(api, devices).await?;
    let count = |result| added.iter().filter(|added| added.result == result).count();
    match format {
        Format::Json => output::list(&added)?,
        Format::Text => {
            for refused in added.iter().filter(|added| added.result == Enrolment::Refused) {
                out!(
                    "{}  refused: {}",
                    plain(&refused.id),
                    plain(refused.message.as_deref().unwrap_or("no reason given"))
                );
            }
            for (added, sent) in added.iter().zip(&sent) {
                // The API has chosen it.
                if added.result == Enrolment::Created && sent["id"].is_null() {
                    let address = sent["address"].as_str().unwrap_or_default();
                    out!("{}  is the id of {}", plain(&added.id), plain(address));
                }
            }
            let (created, unchanged) = (count(Enrolment::Created), count(Enrolment::Unchanged));
            out!("{created} created, {unchanged} there already, {} refused", count(Enrolment::Refused));
            if created > 0 && sent.iter().any(|sent| sent["credential"].is_string()) {
                note!(
                    "Whether the SSM parameters exist, and are right, is seen at a visit: rootcast device probe ID, once a device is approved."
                );
            }
        }
    }
    Ok(End::unless(count(Enrolment::Refused) > 0))
}

/// Enrols devices in batches. The results are in the order of the devices.
pub(crate) async fn send(api: &Api, devices: Vec<Value>) -> Result<Vec<Enrolled>> {
    let batches: Vec<Vec<Value>> = devices.chunks(BATCH).map(<[Value]>::to_vec).collect();
    let answers: Vec<Vec<Enrolled>> =
        stream::iter(batches).map(|batch| send_batch(api, batch)).buffered(CALLS_AT_ONCE).try_collect().await?;
    Ok(answers.into_iter().flatten().collect())
}

async fn send_batch(api: &Api, batch: Vec<Value>) -> Result<Vec<Enrolled>> {
    #[derive(Deserialize)]
    struct Answer {
        devices: Vec<Enrolled>,
    }
    let body = json!({"devices": batch});
    match api.send::<Answer>(Method::POST, "/devices", &[], Some(&body)).await {
        Ok(answer) => Ok(answer.context("the API did not say what became of the devices")?.devices),
        // If every device was refused, the answer has an error status and still gives the reason for each device.
        Err(error) if error.is_no_access() => Err(error.into()),
        Err(ApiError::Refused(mut refusal)) => match refusal.response.take().map(serde_json::from_value::<Answer>) {
            Some(Ok(answer)) => Ok(answer.devices),
            _ => Err(ApiError::Refused(refusal).into()),
        },
        Err(error) => Err(error.into()),
    }
}

impl Add {
    /// `login`: its user name and password, unless a parameter has them.
    fn device(&self, login: Option<Value>) -> Value {
        let mut device = json!({
            "id": self.id, "address": self.address, "driver": self.driver, "profile": self.profile,
            "credential": login.or_else(|| self.credential.clone().map(Value::String)), "name": self.name, "slot": self.slot,
            "keyAlgorithm": self.key_algorithm,
        });
        if let Some(fields) = device.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
            if !self.label.is_empty() {
                let labels: BTreeMap<_, _> = self.label.iter().cloned().collect();
                fields.insert("labels".to_owned(), json!(labels));
            }
            if !self.pin.is_empty() {
                fields.insert("pins".to_owned(), json!(self.pin));
            }
        }
        device
    }
}

fn read(file: &PathBuf) -> Result<String> {
    if file.as_os_str() != "-" {
        return std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()));
    }
    if std::io::stdin().is_terminal() {
        note!("Devices as JSON, one a line; Ctrl-D ends them:");
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
    Ok(text)
}

/// Accepts any sequence of objects, arrays of objects and `{"devices": [...]}`.
fn parse(text: &str) -> Result<Vec<Value>, String> {
    let mut devices = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter() {
        match value.map_err(|error| error.to_string())? {
            Value::Array(several) => devices.extend(several),
            Value::Object(mut fields) => match fields.remove("devices") {
                Some(Value::Array(several)) => devices.extend(several),
                _ => devices.push(Value::Object(fields)),
            },
            other => return Err(format!("a device is a JSON object, not {other}")),
        }
    }
    match devices.iter().find(|device| !device.is_object()) {
        Some(other) => Err(format!("a device is a JSON object, not {other}")),
        None if devices.is_empty() => Err("no devices in it".to_owned()),
        None => Ok(devices),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

    use clap::Parser;

    use super::parse;
    use crate::{
        arguments::{Arguments, Command},
        device::DeviceCommand,
    };

    #[test]
    fn arrays_lines_and_lists_are_parsed_alike() {
        let ids = |text| parse(text).unwrap().iter().map(|device| device["id"].to_string()).collect::<String>();
        assert_eq!(ids(r#"[{"id":1},{"id":2}]"#), "12");
        assert_eq!(ids("{\"id\":1}\n\n{\"id\":2}\n"), "12");
        assert_eq!(ids(r#"{"devices":[{"id":1}]} {"id":2}"#), "12");
        assert!(parse("").is_err() && parse("[1]").is_err() && parse("{\"id\":1}\n{").is_err());
    }

    #[test]
    fn options_become_a_device() {
        let pin = format!("sha256:{}", "0".repeat(64));
        let line = format!(
            "rootcast device add --id b --address https://10.0.0.7 --device-profile openbmc --credential /r/b --pin {pin}"
        );
        match Arguments::try_parse_from(line.split(' ')).unwrap().command {
            Command::Device(DeviceCommand::Add(add)) => assert_eq!(
                add.device(None),
                serde_json::json!({"id": "b", "address": "https://10.0.0.7", "driver": "redfish", "profile": "openbmc",
                                   "credential": "/r/b", "pins": [pin]})
            ),
            other => panic!("{other:?}"),
        }
    }
}
