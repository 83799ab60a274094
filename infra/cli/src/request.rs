//! `rootcast request`: calls of others that wait for a second person.

use anyhow::Result;
use clap::{Args, Subcommand};
use reqwest::Method;
use rootcast_core::access::second::AskId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{Api, ApiError},
    ask,
    exit::{End, Usage},
    output::{self, Format, out, plain, table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum RequestCommand {
    /// List the requests that wait for you, and your own
    List {
        /// All of the last day, whatever became of them
        #[arg(long)]
        all: bool,
    },
    /// Show a request: what it would do, and who wants it
    Show(Which),
    /// Confirm a request of somebody else, after you have seen it; whoever asked then repeats his call
    Confirm(Confirm),
    /// Reject a request, or withdraw your own
    Reject {
        #[command(flatten)]
        which: Which,
        /// Why; shown to whoever asked, and kept in the audit record
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    #[arg(value_name = "REQUEST")]
    id: AskId,
}

#[derive(Debug, Args)]
pub(crate) struct Confirm {
    #[command(flatten)]
    which: Which,
    /// Confirm without a question at the terminal
    #[arg(long)]
    yes: bool,
}

/// What a list and a question show of a request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: AskId,
    state: String,
    permissions: Vec<String>,
    by: String,
    person: String,
    method: String,
    path: String,
    query: String,
    body: ShownBody,
    created: String,
    expires: String,
    #[serde(default)]
    decision: Option<Decision>,
    #[serde(default)]
    formerly: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ShownBody {
    sha256: String,
    bytes: u64,
    members: Option<Value>,
    left_out: Vec<String>,
    #[serde(default)]
    rollout: Option<Value>,
}

#[derive(Deserialize)]
struct Decision {
    verdict: String,
    by: String,
    at: String,
    #[serde(default)]
    reason: Option<String>,
}

pub(crate) async fn run(api: &Api, command: RequestCommand, format: Format) -> Result<End> {
    match command {
        RequestCommand::List { all } => list(api, all, format).await,
        RequestCommand::Show(Which { id }) => tell(&api.get(&path(&id), &[]).await?, &id, format),
        RequestCommand::Confirm(Confirm { which: Which { id }, yes }) => {
            if !yes {
                if !ask::is_possible() {
                    return Err(Usage(
                        "cannot ask for confirmation without a terminal: look at the request, and use --yes".to_owned(),
                    )
                    .into());
                }
                tell(&api.get(&path(&id), &[]).await?, &id, Format::Text)?;
                if !ask::agrees("Do you want this to be done? [y/N] ")? {
                    out!("Not confirmed. `rootcast request reject {id} --reason …` tells whoever asked.");
                    return Ok(End::Failed);
                }
            }
            let confirmed: Option<Value> =
                api.send(Method::POST, &format!("{}/confirm", path(&id)), &[], None::<&()>).await?;
            tell(&confirmed.unwrap_or_default(), &id, format)
        }
        RequestCommand::Reject { which: Which { id }, reason } => {
            let body = json!({ "reason": reason });
            let rejected: Option<Value> =
                api.send(Method::POST, &format!("{}/reject", path(&id)), &[], Some(&body)).await?;
            tell(&rejected.unwrap_or_default(), &id, format)
        }
    }
}

fn path(id: &AskId) -> String {
    format!("/requests/{id}")
}

async fn list(api: &Api, all: bool, format: Format) -> Result<End> {
    let state = if all { "all" } else { "open" };
    let requests: Vec<Value> = api.pages("/requests", &[("state", state)], "requests").await?;
    if format == Format::Json {
        output::list(&requests)?;
        return Ok(End::Done);
    }
    if requests.is_empty() {
        out!("No request waits for a second person.");
        return Ok(End::Done);
    }
    let mut rows = Vec::new();
    for request in requests {
        let Shown { id, state, permissions, by, method, path, query, expires, .. } = read(request)?;
        rows.push([id.to_string(), state, by, permissions.join(" "), call(&method, &path, &query), expires]);
    }
    out!("{}", table(["request", "state", "by", "needs", "call", "until"], &rows));
    Ok(End::Done)
}

fn read(request: Value) -> Result<Shown> {
    Ok(serde_json::from_value(request).map_err(|error| ApiError::unintelligible("/requests", error))?)
}

fn call(method: &str, path: &str, query: &str) -> String {
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{method} {path}{mark}{query}")
}

fn tell(request: &Value, id: &AskId, format: Format) -> Result<End> {
    if format == Format::Json {
        output::json(request)?;
        return Ok(End::Done);
    }
    let Shown {
        state, permissions, by, person, method, path, query, body, created, expires, decision, formerly, ..
    } = read(request.clone())?;
    let line = |name: &str, value: &str| {
        out!("  {name:<12}{}", plain(value));
        anyhow::Ok(())
    };
    out!("Request {id} is {}", plain(&state));
    line("asked by", &format!("{by} ({person}), {created}"))?;
    line("needs", &permissions.join(" "))?;
    line("call", &call(&method, &path, &query))?;
    line("body", &said(&body))?;
    line("body's hash", &format!("sha256:{}, {} bytes", body.sha256, body.bytes))?;
    if let Some(device) = approved(&path) {
        line("identity", &format!("`rootcast device show {device}` shows what is approved"))?;
    }
    line("until", &expires)?;
    if let Some(former) = formerly {
        line("before", &format!("the same call was carried out by request {former}"))?;
    }
    if let Some(Decision { verdict, by, at, reason }) = decision {
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        line(&verdict, &format!("by {by}, {at}{reason}"))?;
    }
    Ok(End::Done)
}

/// The device, if the call approves one: the body has only the versions of what was looked at.
fn approved(path: &str) -> Option<&str> {
    path.strip_prefix("/devices/")?.strip_suffix("/approval")
}

fn said(body: &ShownBody) -> String {
    let Some(members) = &body.members else {
        return "cannot be shown: compare its hash with whoever asked".to_owned();
    };
    let rollout = body.rollout.iter().map(|rollout| format!("; the stored rollout that it names: {rollout}"));
    let said = match body.left_out.as_slice() {
        [] => members.to_string(),
        left_out => format!("{members}, and what is not shown: {}", left_out.join(" ")),
    };
    rollout.fold(said, |said, rollout| said + &rollout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_says_where_the_identity_is_shown() {
        assert_eq!(approved("/devices/bmc-1/approval"), Some("bmc-1"));
        assert_eq!(approved("/devices/bmc-1"), None);
    }

    #[test]
    fn a_body_that_cannot_be_shown_says_so() {
        let body = |members: Option<Value>, left_out: &[&str]| {
            let left_out = left_out.iter().map(|name| (*name).to_owned()).collect();
            said(&ShownBody { sha256: "00".to_owned(), bytes: 7, members, left_out, rollout: None })
        };
        assert_eq!(body(Some(json!({ "name": "eve" })), &[]), r#"{"name":"eve"}"#);
        assert!(body(Some(json!({})), &["password"]).ends_with("not shown: password"));
        assert!(body(None, &[]).starts_with("cannot be shown"));
    }
}
