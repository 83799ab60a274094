//! `rootcast device approve`: an operator confirms that a certificate belongs to the device.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use rootcast_core::device::{DeviceId, Pin};
use rootcast_dialects::native::{Device, Fingerprint, Standing};
use rootcast_ledger::Identity;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    api::{Api, ApiError},
    ask,
    exit::{End, Usage},
    output::{self, Format, out, plain, table},
};

/// Concurrent requests. For each, a function waits for a TLS handshake with a device.
const AT_ONCE: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// Which devices
    #[arg(required_unless_present_any = ["all_pending", "fingerprints"], value_name = "ID")]
    devices: Vec<DeviceId>,
    /// Every device that is not approved yet
    #[arg(long, conflicts_with = "devices")]
    all_pending: bool,
    /// Approve whatever the devices show now, without a question (trust on first use)
    #[arg(long, conflicts_with_all = ["fingerprint", "fingerprints"])]
    yes: bool,
    /// Approve the one device if it shows this certificate (sha256:...) or key (spki-sha256:...)
    #[arg(long, value_name = "FINGERPRINT", requires = "devices", conflicts_with = "fingerprints", value_parser = pin)]
    fingerprint: Option<Pin>,
    /// Approve devices that show what this file says: an ID and a fingerprint a line, also as AB:CD:…. Without IDs, all that
    /// it names
    #[arg(long, value_name = "FILE")]
    fingerprints: Option<PathBuf>,
    /// Pin the device's key and not its certificate: a renewal with the same key needs no new approval
    #[arg(long)]
    pin_key: bool,
}

/// How a device's identity is confirmed.
#[derive(Debug)]
pub(crate) enum Judge {
    /// The person at the terminal confirms one device at a time.
    Person(Mutex<()>),
    /// Any certificate is accepted: trust on first use.
    Anyone,
    /// Fingerprints that were known beforehand.
    Known(HashMap<DeviceId, Pin>),
}

/// The result for one device.
#[derive(Debug, Serialize)]
pub(crate) struct Decision {
    pub(crate) id: DeviceId,
    #[serde(flatten)]
    pub(crate) verdict: Approval,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "result")]
pub(crate) enum Approval {
    Approved {
        pin: Pin,
    },
    /// The device shows another certificate or key than expected.
    Differs {
        shown: Fingerprint,
        expected: Option<Pin>,
    },
    Declined,
    /// A second person has to confirm it.
    Waits {
        message: String,
    },
    /// The device could not be reached, or its record could not be changed.
    Failed {
        message: String,
    },
}

pub(super) async fn run(api: &Api, approve: Approve, format: Format) -> Result<End> {
    let judge = approve.judge()?;
    let devices = match &judge {
        _ if approve.all_pending => pending(api).await?,
        Judge::Known(known) if approve.devices.is_empty() => known.keys().cloned().collect(),
        _ => approve.devices,
    };
    let decisions = decide(api, devices, &judge, approve.pin_key).await?;
    match format {
        Format::Json => output::list(&decisions)?,
        Format::Text if decisions.is_empty() => out!("No device is pending."),
        Format::Text => {
            let rows: Vec<_> =
                decisions.iter().map(|decision| [decision.id.to_string(), decision.verdict.words()]).collect();
            out!("{}", table(["device", "decision"], &rows));
        }
    }
    let waits = |decision: &Decision| matches!(decision.verdict, Approval::Waits { .. });
    let failed = decisions.iter().any(|decision| !decision.is_approval() && !waits(decision));
    Ok(if !failed && decisions.iter().any(waits) { End::Waits } else { End::unless(failed) })
}

/// Reads each device's certificate through the API, has it confirmed, and pins exactly the confirmed certificate.
pub(crate) async fn decide(api: &Api, devices: Vec<DeviceId>, judge: &Judge, pin_key: bool) -> Result<Vec<Decision>> {
    let decisions = devices.into_iter().map(async |id| {
        let verdict = match approve_one(api, &id, judge, pin_key).await {
            Ok(verdict) => verdict,
            // An unreachable device does not stop the others; an unreachable API does.
            Err(error) => match error.downcast::<ApiError>() {
                Ok(error @ ApiError::Waits(_)) => Approval::Waits { message: error.to_string() },
                Ok(error @ ApiError::Refused(_)) if !error.is_no_access() => {
                    Approval::Failed { message: error.to_string() }
                }
                Ok(error) => return Err(error.into()),
                Err(error) => return Err(error),
            },
        };
        Ok(Decision { id, verdict })
    });
    stream::iter(decisions).buffered(AT_ONCE).try_collect().await
}

/// Approves the identity as it was read here, and no later one.
async fn approve_one(api: &Api, id: &DeviceId, judge: &Judge, pin_key: bool) -> Result<Approval> {
    let device: Device = api.get(&format!("/devices/{id}"), &[]).await?;
    let shown: Fingerprint = api.get(&format!("/devices/{id}/fingerprint"), &[]).await?;
    let pin = if pin_key { shown.spki } else { shown.fingerprint };
    // A fingerprint says nothing of what was changed besides: a person has to look at it.
    let is_changed = device.unapproved.as_ref().is_some_and(|unapproved| unapproved.formerly.is_some());
    if is_changed && !matches!(judge, Judge::Person(_)) {
        let message =
            format!("{}Look at it, and approve it at a terminal, without --yes and --fingerprint.", changes(&device));
        return Ok(Approval::Failed { message });
    }
    let pin = match judge {
        Judge::Anyone => pin,
        Judge::Known(known) => match known.get(id) {
            Some(expected) if [shown.fingerprint, shown.spki].contains(expected) => *expected,
            expected => {
                return Ok(Approval::Differs { expected: expected.copied(), shown });
            }
        },
        Judge::Person(terminal) => {
            let _one_at_a_time = terminal.lock().await;
            let question = question(&device, &shown);
            if !tokio::task::spawn_blocking(move || ask::agrees(&question)).await?? {
                return Ok(Approval::Declined);
            }
            pin
        }
    };
    let approval =
        json!({"incarnation": device.incarnation, "endpointRevision": device.endpoint_revision, "pins": [pin]});
    let _: Option<Value> = api.send(Method::POST, &format!("/devices/{id}/approval"), &[], Some(&approval)).await?;
    Ok(Approval::Approved { pin })
}

async fn pending(api: &Api) -> Result<Vec<DeviceId>> {
    // An older API does not know the parameter, and answers with all of them.
    let devices: Vec<Device> = api.pages("/devices", &[("state", "pending")], "devices").await?;
    Ok(devices.into_iter().filter(|device| device.state == Standing::Pending).map(|device| device.id).collect())
}

impl Approve {
    fn judge(&self) -> Result<Judge> {
        if self.yes {
            return Ok(Judge::Anyone);
        }
        if let Some(file) = &self.fingerprints {
            return Ok(Judge::Known(read(file)?));
        }
        match (self.fingerprint, self.devices.as_slice()) {
            (Some(pin), [device]) => Ok(Judge::Known(HashMap::from([(device.clone(), pin)]))),
            (Some(_), _) => Err(Usage("--fingerprint is for one device; see --fingerprints".to_owned()).into()),
            (None, _) if ask::is_possible() => Ok(Judge::Person(Mutex::default())),
            (None, _) => Err(Usage(
                "cannot ask for confirmation without a terminal: use --fingerprint, --fingerprints or --yes".to_owned(),
            )
            .into()),
        }
    }
}

impl Decision {
    pub(crate) const fn is_approval(&self) -> bool {
        matches!(self.verdict, Approval::Approved { .. })
    }
}

impl Approval {
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Approved { pin } => format!("approved  {pin}"),
            Self::Differs { shown, expected: Some(expected) } => {
                format!(
                    "NOT approved: it shows {} ({}), expected was {expected}. Find out why.",
                    shown.fingerprint, shown.subject
                )
            }
            Self::Differs { shown, expected: None } => {
                format!("NOT approved: it shows {}, and no fingerprint of it was given", shown.fingerprint)
            }
            Self::Declined => "not approved: you declined".to_owned(),
            Self::Waits { message } => message.clone(),
            Self::Failed { message } => format!("not approved: {message}"),
        }
    }
}

fn read(file: &Path) -> Result<HashMap<DeviceId, Pin>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let wrong = |why: &str| Usage(format!("{} line {}: {why}", file.display(), index + 1));
            let (id, pin) = line
                .trim()
                .split_once(char::is_whitespace)
                .ok_or_else(|| wrong("an ID and a fingerprint are needed"))?;
            let id = id.parse().map_err(|error| wrong(&format!("{error}")))?;
            let pin = self::pin(pin.trim()).map_err(|error| wrong(&error))?;
            Ok((id, pin))
        })
        .collect()
}

/// A fingerprint as in a record, or as other programs print it: `AB:CD:…`, also with a name and `=` before it. Without
/// a name it is of a certificate.
pub(super) fn pin(text: &str) -> Result<Pin, String> {
    let digits = text.rsplit('=').next().unwrap_or_default();
    let (kind, digits) = match digits.split_once("sha256:") {
        Some((kind, digits)) => (kind, digits),
        None => ("", digits),
    };
    let digits = digits.replace(':', "").to_ascii_lowercase();
    format!("{kind}sha256:{digits}").parse().map_err(|error| format!("{error}"))
}

fn question(device: &Device, shown: &Fingerprint) -> String {
    let Fingerprint { fingerprint, spki, subject, issuer, not_after, .. } = shown;
    format!(
        "{}{} shows\n  subject      {}\n  issuer       {}\n  valid until  {}\n{}Is this the device? [y/N] ",
        changes(device),
        device.id,
        plain(subject),
        plain(issuer),
        plain(not_after),
        pins(&approved(device), [*fingerprint, *spki])
    )
}

/// What was approved before: the pins that are replaced.
fn approved(device: &Device) -> Vec<Pin> {
    let formerly = device.unapproved.as_ref().and_then(|unapproved| unapproved.formerly.as_ref());
    formerly.map_or_else(|| device.pins.clone(), |formerly| formerly.pins.clone())
}

/// The old ones under the new one of the same kind.
fn pins(approved: &[Pin], shown: [Pin; 2]) -> String {
    let is_key = |pin: &Pin| matches!(pin, Pin::Key(_));
    let mut lines = String::new();
    for (name, now) in [("certificate", shown[0]), ("key", shown[1])] {
        lines.push_str(&format!("  {name:<12} {now}\n"));
        let before: Vec<&Pin> = approved.iter().filter(|old| is_key(old) == is_key(&now)).collect();
        for old in before {
            let same = if *old == now { "  the same" } else { "  ANOTHER ONE" };
            lines.push_str(&format!("  {:<12} {old}{same}\n", "approved"));
        }
    }
    lines
}

/// What somebody without the right to approve has changed, old and new.
fn changes(device: &Device) -> String {
    let Some(unapproved) = &device.unapproved else { return String::new() };
    let of = |identity: &Identity| {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            ("address", identity.address.to_string()),
            ("profile", identity.profile.to_string()),
            ("slot", or_none(identity.slot.as_ref().map(ToString::to_string))),
            ("credential", identity.credential.clone()),
            ("subject", or_none(identity.subject.as_ref().map(|subject| json!(subject).to_string()))),
            ("pins", identity.pins.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
        ]
    };
    let now = of(&Identity {
        address: device.address.clone(),
        profile: device.profile,
        slot: device.slot.clone(),
        credential: device.credential.clone(),
        subject: device.subject.clone(),
        pins: device.pins.clone(),
    });
    let Some(formerly) = unapproved.formerly.as_ref().map(of) else {
        let rows: Vec<_> = now.map(|(name, value)| format!("  {name:<12} {}\n", plain(&value))).into();
        return format!("{} was enrolled by {} with\n{}", device.id, plain(&unapproved.by), rows.concat());
    };
    let changed = formerly.iter().zip(&now).filter(|(old, new)| old != new);
    let rows: Vec<_> = changed
        .map(|((name, old), (_, new))| format!("  {name:<12} {}\n{:15}{}\n", plain(old), "-> ", plain(new)))
        .collect();
    format!("{} was changed by {}:\n{}", device.id, plain(&unapproved.by), rows.concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    #[test]
    fn an_approver_sees_what_was_changed() {
        let (old, new) = ("https://10.0.0.7", "https://10.6.6.6");
        let device = |unapproved: serde_json::Value| {
            serde_json::from_value::<super::Device>(serde_json::json!({
                "id": "bmc-1", "address": new, "driver": "redfish", "profile": "dmtf", "credential": "/c/bmc-1", "pins": [], "state": "pending",
                "incarnation": "01".repeat(16), "endpointRevision": 2, "unapproved": unapproved,
            }))
            .unwrap()
        };
        let formerly = serde_json::json!({ "address": old, "profile": "dmtf", "credential": "/c/bmc-1", "pins": [] });
        let shown = super::changes(&device(serde_json::json!({ "by": "eve", "at": "now", "formerly": formerly })));
        assert!(shown.contains("by eve") && shown.contains(old) && shown.contains(new), "{shown}");
        assert!(!shown.contains("credential"), "only what was changed: {shown}");
        let enrolled = super::changes(&device(serde_json::json!({ "by": "eve", "at": "now" })));
        assert!(enrolled.contains("enrolled by eve") && enrolled.contains("/c/bmc-1"), "{enrolled}");
        assert_eq!(super::changes(&device(serde_json::Value::Null)), "");
    }

    #[test]
    fn fingerprints_of_other_programs_are_taken() {
        let (digits, colons) = ("ab".repeat(32), ["AB"; 32].join(":"));
        let certificate = format!("sha256:{digits}");
        for text in
            [&certificate, &colons, &digits, &format!("sha256 Fingerprint={colons}"), &format!("sha256:{colons}")]
        {
            assert_eq!(super::pin(text).unwrap().to_string(), certificate, "{text}");
        }
        let key = format!("spki-sha256:{digits}");
        assert_eq!(super::pin(&format!("spki-sha256:{colons}")).unwrap().to_string(), key);
        for wrong in ["", "AB:CD", "md5:00", &format!("sha1:{digits}")] {
            assert!(super::pin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_old_pin_is_beside_the_new_one() {
        let pin = |prefix: &str, digits: &str| super::pin(&format!("{prefix}sha256:{}", digits.repeat(32))).unwrap();
        let shown = [pin("", "bb"), pin("spki-", "cc")];
        let text = super::pins(&[pin("", "aa"), pin("spki-", "cc")], shown);
        let expected = format!(
            "  certificate  sha256:{}\n  approved     sha256:{}  ANOTHER ONE\n  key          spki-sha256:{2}\n  approved     spki-sha256:{2}  the same\n",
            "bb".repeat(32),
            "aa".repeat(32),
            "cc".repeat(32)
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_wrong_line_in_a_fingerprint_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known");
        let pin = format!("spki-sha256:{}", "a".repeat(64));
        std::fs::write(&file, format!("bmc-1   {pin}\n\nbmc-2\t{pin}\n")).unwrap();
        let known = super::read(&file).unwrap();
        assert_eq!((known.len(), known[&"bmc-2".parse().unwrap()].to_string()), (2, pin));
        std::fs::write(&file, "bmc-1 sha256:00\n").unwrap();
        assert!(super::read(&file).unwrap_err().to_string().contains("line 1: a pin is"));
    }
}
