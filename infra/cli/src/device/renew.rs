//! `rootcast device renew` and `rootcast device certificate`: the devices' own certificates.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use rootcast_core::device::DeviceId;
use rootcast_dialects::native::{Issued, OwnCertificate};
use serde::Serialize;
use serde_json::Value;

use crate::{
    api::{Api, ApiError},
    exit::End,
    job::in_vain,
    output::{self, Format, dry, note, out, plain, table},
};

/// Concurrent requests. Job numbers come from one counter, so more requests would only wait for each other.
const AT_ONCE: usize = 4;
/// Poll interval with `--wait`.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// Which devices
    #[arg(required = true, value_name = "ID")]
    devices: Vec<DeviceId>,
    /// Wait until each device has its certificate or has failed
    #[arg(long)]
    wait: bool,
    /// Say which devices would be renewed, and renew none
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Which device
    #[arg(value_name = "ID")]
    device: DeviceId,
    /// Only the certificate and its chain
    #[arg(long)]
    pem: bool,
}

/// The result for one device.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Renewed {
    device: DeviceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_path: Option<String>,
    failed: bool,
    status: String,
}

pub(super) async fn run(api: &Api, renew: Renew, format: Format) -> Result<End> {
    let renewals = renew.devices.into_iter().map(|device| one(api, device, renew.wait, renew.dry_run));
    let renewed: Vec<Renewed> = stream::iter(renewals).buffered(AT_ONCE).try_collect().await?;
    match format {
        Format::Json => output::list(&renewed)?,
        Format::Text => {
            let row = |one: &Renewed| {
                let path = one.job_path.clone().unwrap_or_else(|| "-".to_owned());
                [one.device.to_string(), path, plain(&one.status)]
            };
            out!("{}", table(["device", "job", "status"], &renewed.iter().map(row).collect::<Vec<_>>()));
        }
    }
    Ok(End::unless(renewed.iter().any(|one| one.failed)))
}

async fn one(api: &Api, device: DeviceId, wait: bool, dry_run: bool) -> Result<Renewed> {
    let path = format!("/devices/{device}/certificate");
    let begun: Result<Option<Value>, ApiError> = api.send(Method::POST, &path, &dry(dry_run), None::<&()>).await;
    let job_path = match begun {
        Ok(begun) => begun.and_then(|begun| Some(begun["jobPath"].as_str()?.to_owned())),
        // A refusal for one device does not stop the others; an unreachable API does.
        Err(error @ ApiError::Refused(_)) if !error.is_no_access() => {
            return Ok(Renewed { device, job_path: None, failed: true, status: error.to_string() });
        }
        Err(error) => return Err(error.into()),
    };
    if dry_run {
        let status = "would make a key and a request, get a certificate and show it".to_owned();
        return Ok(Renewed { device, job_path: None, failed: false, status });
    }
    let mut told = None;
    loop {
        let own: OwnCertificate = api.get(&path, &[]).await?;
        if !wait || own.stage.is_none() || own.in_error {
            return Ok(Renewed { device, job_path, failed: own.in_error, status: standing(&own) });
        }
        if own.tries != told {
            if let Some(tries) = &own.tries {
                note!("{device}: {}", in_vain(tries));
            }
            told = own.tries;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn standing(own: &OwnCertificate) -> String {
    match (own.stage, own.in_error) {
        (Some(stage), true) => format!("failed at stage {stage}: {}", own.status),
        (Some(stage), false) => match &own.tries {
            Some(tries) => format!("at stage {stage}: {}", in_vain(tries)),
            None => format!("at stage {stage}: {}", own.status),
        },
        (None, _) => own.status.clone(),
    }
}

pub(super) async fn show(api: &Api, show: Show, format: Format) -> Result<End> {
    let path = format!("/devices/{}/certificate", show.device);
    if format == Format::Json {
        output::json(&api.get::<Value>(&path, &[]).await?)?;
        return Ok(End::Done);
    }
    let own: OwnCertificate = api.get(&path, &[]).await?;
    if show.pem {
        if let Some(Issued { certificate, chain, .. }) = &own.issued {
            out!("{}", format!("{certificate}{}", chain.concat()).trim_end());
        }
        return Ok(End::unless(own.issued.is_none()));
    }
    out!("{}", own.dn);
    if let Some(issued) = &own.issued {
        out!("{}, serial {}, until {}", plain(&issued.subject_dn), issued.serial_number, issued.not_after);
    }
    out!("{}", plain(&standing(&own)));
    let rows: Vec<_> = own
        .history
        .iter()
        .map(|past| {
            let (stage, attempt) = (past.stage.to_string(), past.attempt.to_string());
            [past.at.clone(), stage, attempt, past.result.clone(), plain(&past.words)]
        })
        .collect();
    if !rows.is_empty() {
        out!("{}", table(["at", "stage", "attempt", "result", "words"], &rows));
    }
    Ok(End::unless(own.in_error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use serde_json::json;

    #[test]
    fn a_waiting_certificate_is_shown_with_its_failed_visits() {
        let tries = json!({"count": 2, "class": "connect", "message": "Nobody answers.", "at": "2026-01-02T03:04:05Z", "next": "2026-01-02T03:05:05Z"});
        let own = json!({"id": "scs1600313391074", "dn": "x", "stage": 400, "inError": false, "status": "Queued.", "tries": tries, "history": []});
        let standing = super::standing(&serde_json::from_value(own).unwrap());
        assert_eq!(standing, "at stage 400: 2 visits failed, next at 2026-01-02T03:05:05Z; connect: Nobody answers.");
    }
}
