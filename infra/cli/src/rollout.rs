//! `rootcast rollout`: rollouts under a name, so that nobody types one at night.

use std::{io, path::PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use reqwest::Method;
use rootcast_core::rollover::template::{RolloutName, Template};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::Api,
    ask,
    exit::{End, Usage},
    output::{self, Format, note, out, table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Store a rollout; `rootcast rotate --rollout NAME` starts with it
    Put(Put),
    /// List the stored rollouts
    List,
    /// Print a rollout as JSON, as `put` reads it
    Show(Named),
    /// Delete a rollout; jobs that started with it keep what they have; asks before
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// JSON file: canary, growth, largestWave, wavePause, errorBudget, errorBudgetMinimum, proofAge, holdDown, sample, until,
    /// windows and order, each with a default; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its name (default: the file's, without .json)
    #[arg(long)]
    name: Option<RolloutName>,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The rollout's name
    name: RolloutName,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    which: Named,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(api: &Api, command: RolloutCommand, format: Format) -> Result<End> {
    match command {
        RolloutCommand::Put(put) => store(api, &put, format).await,
        RolloutCommand::List => list(api, format).await,
        RolloutCommand::Show(Named { name }) => {
            let rollout: Value = api.get(&path(&name), &[]).await?;
            match format {
                Format::Text => out!("{}", serde_json::to_string_pretty(&rollout)?),
                Format::Json => output::json(&rollout)?,
            }
            Ok(End::Done)
        }
        RolloutCommand::Delete(Delete { which: Named { name }, yes }) => {
            if !ask::is_meant(yes, &format!("Delete rollout {name}?"), &name.to_string()).await? {
                note!("Nothing is deleted.");
                return Ok(End::Failed);
            }
            let _: Option<Value> = api.send(Method::DELETE, &path(&name), &[], None::<&()>).await?;
            match format {
                Format::Text => out!("Rollout {name} is deleted."),
                Format::Json => output::json(&json!({ "name": name, "deleted": true }))?,
            }
            Ok(End::Done)
        }
    }
}

fn path(name: &RolloutName) -> String {
    format!("/rollouts/{name}")
}

async fn store(api: &Api, put: &Put, format: Format) -> Result<End> {
    let (name, template) = put.read()?;
    let stored: Option<Value> = api.send(Method::PUT, &path(&name), &[], Some(&template)).await?;
    let stored = stored.context("the API did not answer with the rollout")?;
    match format {
        Format::Text => out!("Rollout {name} is stored. Start with it: rootcast rotate --rollout {name}"),
        Format::Json => output::json(&stored)?,
    }
    Ok(End::Done)
}

async fn list(api: &Api, format: Format) -> Result<End> {
    #[derive(Deserialize)]
    struct Answer {
        rollouts: Vec<Row>,
    }
    #[derive(Deserialize)]
    struct Row {
        name: RolloutName,
        rollout: Template,
    }
    if format == Format::Json {
        let listed: Value = api.get("/rollouts", &[]).await?;
        output::list(listed["rollouts"].as_array().map(Vec::as_slice).unwrap_or_default())?;
        return Ok(End::Done);
    }
    let Answer { rollouts } = api.get("/rollouts", &[]).await?;
    if rollouts.is_empty() {
        out!("No rollout is stored: rootcast rollout put FILE");
        return Ok(End::Done);
    }
    let row = |Row { name, rollout }: Row| {
        let windows: Vec<String> = rollout.windows.iter().map(|window| window.devices.to_string()).collect();
        let order: Vec<String> = rollout.order.iter().map(ToString::to_string).collect();
        let said = |words: Vec<String>| if words.is_empty() { "-".to_owned() } else { words.join("; ") };
        [name.to_string(), said(windows), said(order)]
    };
    let rows: Vec<_> = rollouts.into_iter().map(row).collect();
    out!("{}", table(["rollout", "windows of", "first"], &rows));
    Ok(End::Done)
}

impl Put {
    /// Checked before it is sent.
    fn read(&self) -> Result<(RolloutName, Template)> {
        let (file, is_stdin) = (self.file.display(), self.file.as_os_str() == "-");
        let read = if is_stdin { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(&self.file) };
        let text = read.with_context(|| format!("{file} cannot be read"))?;
        let template: Template = serde_json::from_str(&text).map_err(|error| Usage(format!("{file}: {error}")))?;
        let template = template.checked().map_err(|error| Usage(format!("{file}: {error}")))?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None if is_stdin => return Err(Usage("say --name for what standard input has".to_owned()).into()),
            None => {
                let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
                stem.parse().map_err(|error| Usage(format!("{error}: say --name")))?
            }
        };
        Ok((name, template))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    fn read(file: &str, text: &str, name: Option<&str>) -> Result<(RolloutName, Template)> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(file);
        std::fs::write(&file, text).unwrap();
        Put { file, name: name.map(|name| name.parse().unwrap()) }.read()
    }

    #[test]
    fn a_file_is_stored_under_its_name() {
        let text =
            r#"{"canary":2,"windows":[{"where":"site=fra","days":["sat"],"from":"22:00","to":"04:00","zone":"UTC"}]}"#;
        let (name, template) = read("weekend.json", text, None).unwrap();
        assert_eq!((name.to_string().as_str(), template.canary, template.windows.len()), ("weekend", Some(2), 1));
        assert_eq!(read("weekend.json", "{}", Some("other")).unwrap().0.to_string(), "other");
    }

    #[test]
    fn an_invalid_file_is_refused_before_it_is_sent() {
        for (file, text) in
            [("a.json", "{"), ("a.json", r#"{"canary":0}"#), ("A B.json", "{}"), ("a.json", r#"{"x":1}"#)]
        {
            assert!(read(file, text, None).is_err(), "{file} {text}");
        }
    }
}
