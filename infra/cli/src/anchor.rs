//! `rootcast anchor`: the trust anchors of others that the devices hold beside our roots.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use reqwest::Method;
use rootcast_core::anchors::AnchorId;
use rootcast_core::job::JobId;
use rootcast_dialects::native::Trusted;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    api::{Api, ApiError},
    ask,
    exit::End,
    output::{self, Format, note, out, plain, table},
    rotate::RolloutArguments,
    watch,
};

#[derive(Debug, Subcommand)]
pub(crate) enum AnchorCommand {
    /// List the certificates of others that the devices trust, get or lose
    List,
    /// Have every device trust these root certificates of others
    Add(Add),
    /// Remove one from every device; asks before
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// PEM, with one certificate or several
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// From `rootcast anchor list`
    #[arg(value_name = "ID")]
    id: AnchorId,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub(crate) struct How {
    /// Follow the job until it ends or pauses
    #[arg(long)]
    watch: bool,
    /// Why; kept in the audit record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    rollout: RolloutArguments,
}

const PATH: &str = "/trustedCertificates";

pub(crate) async fn run(api: &Api, command: AnchorCommand, format: Format) -> Result<End> {
    match command {
        AnchorCommand::List => list(api, format).await,
        AnchorCommand::Add(Add { files, how }) => {
            let mut certificate = String::new();
            for file in &files {
                let text =
                    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
                certificate.push_str(&text);
                certificate.push('\n');
            }
            let changed = send(api, Method::POST, PATH, &how, Some(&json!({ "certificate": certificate }))).await?;
            follow(api, changed, "brings it to the devices", how.watch, format).await
        }
        AnchorCommand::Remove(Remove { id, yes, how }) => {
            let what = format!("Remove trusted certificate {id}? Every device refuses what is below it.");
            if !ask::is_meant(yes, &what, &id.to_string()).await? {
                note!("Nothing is removed.");
                return Ok(End::Failed);
            }
            let changed = send(api, Method::DELETE, &format!("{PATH}/{id}"), &how, None).await?;
            follow(api, changed, "takes it off the devices", how.watch, format).await
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    ids: Vec<String>,
    job_path: String,
    /// Some devices may have no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

async fn send(api: &Api, method: Method, path: &str, how: &How, body: Option<&Value>) -> Result<Changed> {
    let reason = how.reason.clone().map(|reason| ("reason", reason));
    let query: Vec<_> = reason.into_iter().chain(how.rollout.query()).collect();
    let changed = api.send(method, path, &query, body).await?;
    changed.context("the API did not answer with a trusted certificate")
}

async fn follow(api: &Api, changed: Changed, what: &str, watched: bool, format: Format) -> Result<End> {
    if let Some(warning) = &changed.warning {
        note!("{}", plain(warning));
    }
    let ids = plain(&changed.ids.join(", "));
    let Some(job) = changed.job_path.rsplit('/').next().filter(|job| !job.is_empty()) else {
        match format {
            Format::Text => out!("Trusted certificate {ids}: there is no approved device, so that is all."),
            Format::Json => output::json(&changed)?,
        }
        return Ok(End::Done);
    };
    let job: JobId = job
        .parse()
        .map_err(|_| ApiError::unintelligible(PATH, format_args!("{} names no job", plain(&changed.job_path))))?;
    match format {
        Format::Text => out!("Trusted certificate {ids}: job {job} {what}."),
        Format::Json if !watched => output::json(&changed)?,
        Format::Json => {}
    }
    if watched {
        return watch::follow(api, job, format).await;
    }
    if format == Format::Text {
        note!("Follow it: rootcast job watch {job}");
    }
    Ok(End::Done)
}

async fn list(api: &Api, format: Format) -> Result<End> {
    if format == Format::Json {
        let listed: Vec<Value> = api.get(PATH, &[]).await?;
        output::list(&listed)?;
        return Ok(End::Done);
    }
    let listed: Vec<Trusted> = api.get(PATH, &[]).await?;
    if listed.is_empty() {
        out!("The devices trust our own roots alone.");
        return Ok(End::Done);
    }
    let row = |each: &Trusted| {
        let (id, sha256) = (each.id.to_string(), each.fingerprint.to_string());
        [id, each.subject_dn.clone(), each.not_after.clone(), sha256, each.status.clone()]
    };
    let rows: Vec<_> = listed.iter().map(row).collect();
    out!("{}", table(["id", "subject", "expires", "sha256", "status"], &rows));
    Ok(End::Done)
}
