//! `rootcast audit`: who did what to a job, a certificate, a device or whatever has a chain, and whether the record is complete and
//! unchanged.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use rootcast_core::access::second::AskId;
use rootcast_core::audit::{Entry, Name, Policy, Subject, Unverified, Verified, export, verify_export};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::JobId;
use rootcast_dialects::native::AuditChain;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use crate::{
    api::{Api, ApiError},
    exit::End,
    output::{self, Format, note, out},
};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Show the audit record of a job
    Job(Chain<JobId>),
    /// Show the audit record of a certificate, also of a deleted one
    Certificate(Chain<CertificateId>),
    /// Show the audit record of a root generation
    Root(Chain<u32>),
    /// Show the audit record of a device's id: enrolments, changes of its identity, approvals, deletions
    Device(Chain<DeviceId>),
    /// Show the audit record of a user, or of an IAM identity with tokens (iam#ARN)
    Principal(Chain<Name>),
    /// Show the audit record of a policy: issuance or certificate
    Policy(Chain<Policy>),
    /// Show what a user, or an IAM identity (iam#ARN), tried without the right to
    Denials(Chain<Name>),
    /// Show who asked for something that needs a second person, and who confirmed it; also long afterwards
    Request(Chain<AskId>),
    /// Verify that an exported file is complete and unchanged, without the API; exit code 1 where it is not
    Verify(Verify),
}

#[derive(Debug, Args)]
pub(crate) struct Chain<
    T: Clone + Send + Sync + std::str::FromStr<Err: std::error::Error + Send + Sync + 'static> + 'static,
> {
    /// Its id
    id: T,
    /// Write the entries to this file, one a line; each names the SHA-256 of the one before
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// SHA-256 of the last entry, as it is known from elsewhere: an earlier export, or `audit.sha256` in the functions' logs
    #[arg(long, value_name = "SHA256")]
    head: Option<Fingerprint>,
}

pub(crate) async fn run(api: impl FnOnce() -> Result<Api>, command: AuditCommand, format: Format) -> Result<End> {
    match command {
        AuditCommand::Job(Chain { id, export }) => {
            show(&api()?, (&format!("/jobs/{id}/audit"), None), Subject::Job(id), export.as_deref(), format).await
        }
        AuditCommand::Certificate(Chain { id, export }) => {
            let path = format!("/certificates/{id}/audit");
            show(&api()?, (&path, None), Subject::Certificate(id), export.as_deref(), format).await
        }
        AuditCommand::Root(Chain { id, export }) => {
            let path = format!("/roots/{id}/audit");
            show(&api()?, (&path, None), Subject::Root(id), export.as_deref(), format).await
        }
        AuditCommand::Device(Chain { id, export }) => {
            let path = format!("/devices/{id}/audit");
            show(&api()?, (&path, None), Subject::Device(id), export.as_deref(), format).await
        }
        AuditCommand::Principal(Chain { id, export }) => {
            let place = ("/audit/principals", Some(id.as_str()));
            show(&api()?, place, Subject::Principal(id.clone()), export.as_deref(), format).await
        }
        AuditCommand::Policy(Chain { id, export }) => {
            let place = ("/audit/policies", Some(id.as_str()));
            show(&api()?, place, Subject::Policy(id), export.as_deref(), format).await
        }
        AuditCommand::Denials(Chain { id, export }) => {
            let place = ("/audit/denials", Some(id.as_str()));
            show(&api()?, place, Subject::Denials(id.clone()), export.as_deref(), format).await
        }
        AuditCommand::Request(Chain { id, export }) => {
            let place = ("/audit/requests", Some(id.as_str()));
            show(&api()?, place, Subject::Request(Name::of(id.as_str())), export.as_deref(), format).await
        }
        AuditCommand::Verify(Verify { file, head }) => {
            let text = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
            // Bytes that are not UTF-8 are no entry either, so verification fails.
            verified(verify_export(&String::from_utf8_lossy(&text), head), &file.display().to_string(), format)
        }
    }
}

/// A chain's path, and its name in the query if it has one.
type Place<'a> = (&'a str, Option<&'a str>);

async fn show(api: &Api, place: Place<'_>, subject: Subject, file: Option<&Path>, format: Format) -> Result<End> {
    let text = fetch(api, place, subject.clone()).await?;
    if let Some(file) = file {
        std::fs::write(file, &text).with_context(|| format!("{} cannot be written", file.display()))?;
        return verified(verify_export(&text, None), &file.display().to_string(), format);
    }
    // Only a verified chain is shown as the record.
    let Verified { entries, .. } = match verify_export(&text, None) {
        Ok(verified) => verified,
        broken => return self::verified(broken, &format!("the chain of {subject}"), format),
    };
    match format {
        Format::Json => entries.iter().try_for_each(output::json)?,
        Format::Text => {
            let rows = entries.iter().map(row).collect::<Result<Vec<_>>>()?;
            out!("{}", output::table(["#", "at", "who", "action", "outcome", "details"], &rows));
        }
    }
    Ok(End::Done)
}

/// All pages, in the format of an export.
async fn fetch(api: &Api, (path, name): Place<'_>, subject: Subject) -> Result<String> {
    let (mut lines, mut cursor): (Vec<String>, Option<String>) = (Vec::new(), None);
    let head = loop {
        let cursors = cursor.iter().map(|cursor| ("cursor", cursor.as_str()));
        let query: Vec<(&str, &str)> = name.iter().map(|name| ("name", *name)).chain(cursors).collect();
        let page: AuditChain = api.get(path, &query).await?;
        lines.extend(page.entries);
        match page.cursor {
            Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
            Some(_) => return Err(ApiError::unintelligible(path, "its pages do not end").into()),
            None => break page.head,
        }
    };
    // Drop entries that were added after the head was read.
    lines.truncate(usize::try_from(head.sequence)?);
    Ok(export(subject, &lines, head)?)
}

fn row(entry: &Entry) -> Result<[String; 6]> {
    let details = entry.details.iter().map(|(name, value)| format!("{name}={value}"));
    let word = |value| Ok::<_, serde_json::Error>(serde_json::to_string(&value)?.trim_matches('"').to_owned());
    Ok([
        entry.sequence.to_string(),
        entry.at.format(&Rfc3339)?,
        entry.principal.clone(),
        word(json!(entry.action))?,
        word(json!(entry.outcome))?,
        details.collect::<Vec<_>>().join(" "),
    ])
}

fn verified(result: Result<Verified, Unverified>, what: &str, format: Format) -> Result<End> {
    match (&result, format) {
        (Ok(Verified { subject, entries, head }), Format::Json) => {
            output::json(&json!({ "subject": subject, "entries": entries.len(), "head": head, "verified": true }))?;
        }
        (Ok(Verified { subject, entries, head }), Format::Text) => {
            out!("{what}: {} entries of {subject}, complete and unchanged up to the head {}", entries.len(), head.hash);
        }
        (Err(why), Format::Json) => output::json(&json!({ "verified": false, "why": why.to_string() }))?,
        (Err(why), Format::Text) => note!("{what} does not verify: {why}"),
    }
    Ok(End::unless(result.is_err()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use axum::{Json, Router, extract::Query, routing::get};
    use rootcast_core::access::token::Token;
    use rootcast_core::audit::{Act, Action, Actor, Head};
    use serde_json::Value;
    use time::OffsetDateTime;

    use super::*;
    use crate::profile::Access;

    const JOB: Subject = Subject::Job(JobId(7));

    fn chain(length: usize) -> (Vec<String>, Head) {
        let (mut lines, mut head) = (Vec::new(), Head::NONE);
        let by = Actor { principal: "ops".to_owned(), request_id: None };
        for number in 0..length {
            let act = Act::new(JOB, Action::Pause, &by, OffsetDateTime::UNIX_EPOCH).with("number", number);
            let entry = act.after(&head);
            let line = entry.line().unwrap();
            head = entry.head(&line);
            lines.push(line);
        }
        (lines, head)
    }

    /// An API with these entries, two per page, and this head.
    async fn api(lines: Vec<String>, head: Head) -> Api {
        let page = async move |Query(query): Query<Vec<(String, String)>>| {
            let from: usize = query.iter().find(|(name, _)| name == "cursor").map_or(0, |(_, at)| at.parse().unwrap());
            let until = lines.len().min(from + 2);
            let cursor = (until < lines.len()).then(|| until.to_string());
            let page: Value = json!({ "subject": JOB, "entries": lines[from..until], "head": head, "cursor": cursor });
            Json(json!({ "response": page, "result": "success", "messages": [] }))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let app = Router::new().route("/jobs/7/audit", get(page));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Api::connect(&Access { url, token: Token::from_text("secret==".to_owned()), ca: None }).unwrap()
    }

    async fn job(api: Api, export: Option<PathBuf>) -> End {
        run(|| Ok(api), AuditCommand::Job(Chain { id: JobId(7), export }), Format::Text).await.unwrap()
    }

    async fn verify(file: &Path, head: Option<Fingerprint>) -> End {
        let offline = || anyhow::bail!("it needs no API");
        run(offline, AuditCommand::Verify(Verify { file: file.to_owned(), head }), Format::Json).await.unwrap()
    }

    #[tokio::test]
    async fn a_chain_read_in_pages_is_verified_offline() {
        let (lines, head) = chain(5);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chain.jsonl");
        assert_eq!(job(api(lines.clone(), head).await, Some(file.clone())).await, End::Done);
        assert_eq!(verify(&file, Some(head.hash)).await, End::Done);
        assert_eq!(verify(&file, Some(Head::NONE.hash)).await, End::Failed);
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().take(5).collect::<Vec<_>>(), lines);
        std::fs::write(&file, text.replacen("ops", "oops", 1)).unwrap();
        assert_eq!(verify(&file, None).await, End::Failed);
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert_eq!(verify(&file, None).await, End::Failed);
    }

    #[tokio::test]
    async fn entries_added_during_the_export_are_left_out() {
        let (lines, _) = chain(5);
        let (_, before) = chain(4);
        assert_eq!(job(api(lines, before).await, None).await, End::Done);
    }

    #[tokio::test]
    async fn a_chain_from_the_api_is_verified_too() {
        let (mut lines, head) = chain(5);
        lines.remove(2);
        assert_eq!(job(api(lines, head).await, None).await, End::Failed);
    }
}
