//! `rootcast issuing`: the authorities below the roots, which sign devices' certificates.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use reqwest::Method;
use rootcast_dialects::native::Issuing;
use rootcast_pki::signer::IssuingId;
use serde_json::{Value, json};

use crate::{
    api::Api,
    ask,
    exit::End,
    output::{self, Format, note, out, plain, table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum IssuingCommand {
    /// List all of them, the newest first, and what follows for each
    List,
    /// Have the next one made, which signs from then on; no device is visited
    Rotate,
    /// Revoke one whose key somebody else may have: a new one signs, and what it signed is revoked and renewed
    Compromise(Compromise),
}

#[derive(Debug, Args)]
pub(crate) struct Compromise {
    /// Like 2.1: the first one below root generation 2
    #[arg(value_name = "ID")]
    id: IssuingId,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

const PATH: &str = "/issuingAuthorities";

pub(crate) async fn run(api: &Api, command: IssuingCommand, format: Format) -> Result<End> {
    match command {
        IssuingCommand::List => list(api, format).await,
        IssuingCommand::Rotate => {
            let asked: Option<Value> = api.send(Method::POST, PATH, &[], None::<&()>).await?;
            said(asked, format, "is made within a minute, and signs from then on: rootcast issuing list")
        }
        IssuingCommand::Compromise(Compromise { id, yes }) => {
            if !yes && !confirmed(id).await? {
                note!("Nothing is revoked.");
                return Ok(End::Failed);
            }
            let path = format!("{PATH}/{id}/compromise");
            // Twice is as good as once.
            let revoked: Option<Value> = api.send_repeatedly(Method::POST, &path, &json!({})).await?;
            said(revoked, format, "is revoked; what it signed is revoked and renewed: rootcast issuing list")
        }
    }
}

fn said(answer: Option<Value>, format: Format, what: &str) -> Result<End> {
    let answer = answer.context("the API did not answer with an issuing authority")?;
    match format {
        Format::Json => output::json(&answer)?,
        Format::Text => out!("Issuing authority {} {what}", plain(answer["id"].as_str().unwrap_or_default())),
    }
    Ok(End::Done)
}

async fn list(api: &Api, format: Format) -> Result<End> {
    if format == Format::Json {
        let listed: Vec<Value> = api.get(PATH, &[]).await?;
        output::list(&listed)?;
        return Ok(End::Done);
    }
    let listed: Vec<Issuing> = api.get(PATH, &[]).await?;
    if listed.is_empty() {
        out!("There is no issuing authority.");
        return Ok(End::Done);
    }
    let row = |each: &Issuing| {
        let state = json!(each.state);
        let state = state.as_str().unwrap_or_default().to_owned();
        [each.id.clone(), state, each.not_after.clone(), each.serial_number.to_string(), status(each)]
    };
    let rows: Vec<_> = listed.iter().map(row).collect();
    out!("{}", table(["id", "state", "expires", "serial", "status"], &rows));
    Ok(End::Done)
}

fn status(issuing: &Issuing) -> String {
    match &issuing.revoked {
        None => issuing.status.clone(),
        Some(revoked) => format!(
            "{} {} revoked and {} renewals, since {} by {}.",
            issuing.status, revoked.certificates_revoked, revoked.renewals, revoked.at, revoked.by
        ),
    }
}

/// Whoever revokes the wrong one cannot undo it, so the id is typed.
async fn confirmed(id: IssuingId) -> Result<bool> {
    let question = format!(
        "Revoke issuing authority {id}, and every certificate that it signed? Whoever checks revocation refuses them until \
         the devices have others; this cannot be undone. Type its id to go on: "
    );
    Ok(ask::typed(question).await?.parse() == Ok(id))
}
