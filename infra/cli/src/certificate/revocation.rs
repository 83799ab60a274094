//! `rootcast certificate signed` and `revoke`.

use anyhow::Result;
use clap::{Args, ValueEnum};
use reqwest::Method;
use rootcast_core::inventory::id::CertificateId;
use rootcast_dialects::native::{Revocation, Signed};
use rootcast_pki::root::Serial;
use serde_json::{Value, json};

use crate::{
    api::Api,
    ask,
    exit::End,
    output::{self, Format, note, out, plain, table},
};

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Serial number, or SHA-1 thumbprint, of what was signed; or a certificate's id, for what it holds now
    #[arg(value_parser = which)]
    which: Which,
    #[arg(long, value_enum, default_value = "unspecified")]
    reason: Reason,
    /// Kept with the revocation; at most 250 characters
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// RFC 5280 §5.3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reason {
    Unspecified,
    KeyCompromise,
    CaCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    Certificate(CertificateId),
    Serial(Serial),
    Thumbprint(String),
}

fn which(text: &str) -> Result<Which, String> {
    if let Ok(id) = text.parse() {
        return Ok(Which::Certificate(id));
    }
    let digits = text.replace(':', "").to_ascii_lowercase();
    if digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Which::Thumbprint(digits));
    }
    let hint = "it is a serial number (32 hexadecimal digits), a SHA-1 thumbprint (40), or scs and 13 digits";
    digits.try_into().map(Which::Serial).map_err(|_| hint.to_owned())
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "caCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
        }
    }
}

pub(super) async fn revoke(api: &Api, revoke: &Revoke, format: Format) -> Result<End> {
    let (field, value) = match &revoke.which {
        Which::Certificate(id) => ("certificate", id.to_string()),
        Which::Serial(serial) => ("serial", serial.to_string()),
        Which::Thumbprint(print) => ("thumbprint", print.clone()),
    };
    if !revoke.yes && !confirmed(field, &value, revoke.reason).await? {
        note!("Nothing is revoked.");
        return Ok(End::Failed);
    }
    let mut body = json!({ field: value, "reason": revoke.reason.name() });
    if let Some(comment) = &revoke.comment {
        body["comments"] = json!(comment);
    }
    // The same revocation twice changes nothing.
    let shown: Option<Revocation> = api.send_repeatedly(Method::POST, "/certificates/revocation", &body).await?;
    match (format, shown) {
        (Format::Json, shown) => output::json(&shown)?,
        (Format::Text, Some(Revocation { serial, dn, requested: true, list, .. })) => {
            out!("{serial} of {} is revoked; its list is {}.", plain(&dn), plain(&list));
        }
        (Format::Text, Some(Revocation { serial, dn, revoked, reason, .. })) => {
            out!("{serial} of {} was revoked already, at {} ({}).", plain(&dn), plain(&revoked), word(&json!(reason)));
        }
        (Format::Text, None) => out!("It is revoked."),
    }
    Ok(End::Done)
}

async fn confirmed(field: &str, value: &str, reason: Reason) -> Result<bool> {
    ask::confirmed(format!(
        "Revoke the certificate with the {field} {value} ({})? Whoever verifies it refuses it from then on; this cannot be undone. [y/N] ",
        reason.name()
    ))
    .await
}

pub(super) async fn signed(api: &Api, format: Format) -> Result<End> {
    if format == Format::Json {
        let signed: Vec<Value> = api.pages("/certificates/signed", &[], "signed").await?;
        output::list(&signed)?;
        return Ok(End::Done);
    }
    let signed: Vec<Signed> = api.pages("/certificates/signed", &[], "signed").await?;
    if signed.is_empty() {
        out!("Nothing is signed yet.");
        return Ok(End::Done);
    }
    let row = |each: &Signed| {
        let reason = each.reason.map(|reason| format!(" ({})", word(&json!(reason)))).unwrap_or_default();
        let state = format!("{}{reason}", word(&json!(each.state)));
        let subject = each.subject.clone().unwrap_or_else(|| "-".to_owned());
        [each.serial.to_string(), subject, each.device.to_string(), each.signer.clone(), each.not_after.clone(), state]
    };
    let rows: Vec<_> = signed.iter().map(row).collect();
    out!("{}", table(["serial", "subject", "device", "signer", "expires", "state"], &rows));
    Ok(End::Done)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;

    #[test]
    fn serials_thumbprints_and_ids_are_told_apart() {
        let serial = Serial::from_random([0x41; 16]);
        assert_eq!(which(&"41".repeat(16)), Ok(Which::Serial(serial)));
        let colons = ["4A"; 16].join(":");
        assert_eq!(which(&colons), Ok(Which::Serial(Serial::from_random([0x4a; 16]))));
        assert_eq!(which(&"AB".repeat(20)), Ok(Which::Thumbprint("ab".repeat(20))));
        assert_eq!(which("scs0000000000001"), Ok(Which::Certificate("scs0000000000001".parse().unwrap())));
        for wrong in ["", "7", &"ff".repeat(16), &"41".repeat(17), &"xy".repeat(20)] {
            assert!(which(wrong).unwrap_err().contains("serial number"), "{wrong}");
        }
    }
}
