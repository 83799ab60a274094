//! `rootcast issuance-policy`: which names, usages and life certificates may have.

use std::{io, path::PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use crate::{
    api::Api,
    exit::{End, Usage},
    output::{self, Format, out, plain},
};

#[derive(Debug, Subcommand)]
pub(crate) enum IssuancePolicyCommand {
    /// Print the policy as JSON, as `set` reads it
    Show,
    /// Replace the policy; refused if it was changed since the revision that the file names
    Set(Set),
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// JSON file, as `show` prints it: the revision that is replaced (0: the first policy), and all rules; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

const PATH: &str = "/issuancePolicy";

pub(crate) async fn run(api: &Api, command: IssuancePolicyCommand, format: Format) -> Result<End> {
    match command {
        IssuancePolicyCommand::Show => {
            let policy: Value = api.get(PATH, &[]).await?;
            match format {
                Format::Text => out!("{}", serde_json::to_string_pretty(&policy)?),
                Format::Json => output::json(&policy)?,
            }
        }
        IssuancePolicyCommand::Set(Set { file }) => {
            let read =
                if file.as_os_str() == "-" { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(&file) };
            let text = read.with_context(|| format!("{} cannot be read", file.display()))?;
            let policy: Value =
                serde_json::from_str(&text).map_err(|error| Usage(format!("{}: {error}", file.display())))?;
            let written: Option<Value> = api.send(Method::PUT, PATH, &[], Some(&policy)).await?;
            let written = written.context("the API did not answer with the policy")?;
            match format {
                Format::Text => out!("Issuance policy, revision {}.", plain(&written["revision"].to_string())),
                Format::Json => output::json(&written)?,
            }
        }
    }
    Ok(End::Done)
}
