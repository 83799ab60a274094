//! `rootcast device sign`: a certificate for a device that cannot be reached, from a request that somebody brought from it.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use reqwest::Method;
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::DeviceId;
use rootcast_dialects::native::OwnCertificate;
use serde_json::{Value, json};

use crate::{
    api::Api,
    exit::End,
    output::{self, Format, note, out, plain},
};

const PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// Which device
    #[arg(value_name = "ID")]
    device: DeviceId,
    /// PKCS #10 file, PEM: made by the device, whose key stays there. The certificate's names are those of the device's record
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
}

pub(super) async fn run(api: &Api, sign: Sign, format: Format) -> Result<End> {
    let Sign { device, csr } = sign;
    let request = std::fs::read_to_string(&csr).with_context(|| format!("{} cannot be read", csr.display()))?;
    let path = format!("/devices/{device}/certificate");
    let begun: Option<Value> =
        api.send(Method::POST, &format!("{path}/request"), &[], Some(&json!({ "request": request }))).await?;
    let job = begun.as_ref().and_then(|begun| begun["jobPath"].as_str()?.rsplit('/').next()?.parse().ok());
    loop {
        let own: OwnCertificate = api.get(&path, &[]).await?;
        // Another job came after this one, whose certificate it is.
        if own.job.map(|job| job.0) != job || is_signed(&own) {
            return told(&device, &own, format);
        }
        if own.in_error {
            note!("{}", plain(&own.status));
            return Ok(End::Failed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the device is what the job waits for.
fn is_signed(own: &OwnCertificate) -> bool {
    own.issued.is_some() && own.stage.is_none_or(|stage| stage >= Stage::InstallCertificate)
}

fn told(device: &DeviceId, own: &OwnCertificate, format: Format) -> Result<End> {
    let Some(issued) = &own.issued else {
        note!("{}", plain(&own.status));
        return Ok(End::Failed);
    };
    match format {
        Format::Json => output::json(own)?,
        Format::Text => {
            out!("{}", format!("{}{}", issued.certificate, issued.chain.concat()).trim_end());
            note!(
                "Serial {}, until {}. It is installed by itself when {device} is reached.",
                issued.serial_number,
                issued.not_after
            );
        }
    }
    Ok(End::Done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use serde_json::{Value, json};

    #[test]
    fn a_certificate_is_there_when_only_the_device_is_missing() {
        let issued = json!({"certificate": "", "chain": [], "subjectDn": "", "names": [], "serialNumber": "1", "notBefore": "", "notAfter": ""});
        let own = |stage: Value, issued: &Value| {
            let own = json!({"id": "scs1600313391074", "dn": "x", "issued": issued, "stage": stage, "inError": false, "status": "", "history": []});
            super::is_signed(&serde_json::from_value(own).unwrap())
        };
        assert!(own(json!(800), &issued) && own(Value::Null, &issued));
        // Of the certificate before, or of none.
        assert!(!own(json!(700), &issued) && !own(json!(800), &Value::Null));
    }
}
