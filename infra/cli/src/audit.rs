//! `rootcast audit`: who did what to a job, a certificate, a device or whatever has a chain, and whether the record is complete and
//! unchanged.

mod heads;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use rootcast_core::access::second::AskId;
use rootcast_core::audit::{Entry, Name, Policy, Subject, Unverified, Verified, export, verify_export};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::JobId;
use rootcast_dialects::native::AuditChain;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use url::Url;

use crate::{
    api::{Api, ApiError},
    exit::End,
    output::{self, Format, note, out},
};

/// Where the audit is read.
pub(crate) struct Source {
    pub(crate) api: Api,
    pub(crate) url: Url,
    /// The profile's file: what was seen before is beside it.
    pub(crate) profile: PathBuf,
}

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
    /// Show the audit record of a policy: issuance, certificate, or anchors (trusted certificates of others)
    Policy(Chain<Policy>),
    /// Show what a user, or an IAM identity (iam#ARN), tried without the right to
    Denials(Chain<Name>),
    /// Show who asked for something that needs a second person, and who confirmed it; also long afterwards
    Request(Chain<AskId>),
    /// Verify the signed statements of the chains' heads, and remember them: an API that withholds one later is found out
    Heads(heads::Heads),
    /// Verify that exported files are complete and unchanged, without the API; without files, every chain of the API that a
    /// statement names. Exit code 1 where one is not
    Verify(heads::Verify),
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

pub(crate) async fn run(source: impl FnOnce() -> Result<Source>, command: AuditCommand, format: Format) -> Result<End> {
    let (subject, export) = match command {
        AuditCommand::Job(Chain { id, export }) => (Subject::Job(id), export),
        AuditCommand::Certificate(Chain { id, export }) => (Subject::Certificate(id), export),
        AuditCommand::Root(Chain { id, export }) => (Subject::Root(id), export),
        AuditCommand::Device(Chain { id, export }) => (Subject::Device(id), export),
        AuditCommand::Principal(Chain { id, export }) => (Subject::Principal(id), export),
        AuditCommand::Policy(Chain { id, export }) => (Subject::Policy(id), export),
        AuditCommand::Denials(Chain { id, export }) => (Subject::Denials(id), export),
        AuditCommand::Request(Chain { id, export }) => (Subject::Request(Name::of(id.as_str())), export),
        AuditCommand::Heads(given) => return heads::show(&source()?, given, format).await,
        AuditCommand::Verify(given) => return heads::verify(source, given, format).await,
    };
    show(&source()?.api, subject, export.as_deref(), format).await
}

/// A chain's path, and its name in the query if it has one.
fn place(subject: &Subject) -> (String, Option<&str>) {
    match subject {
        Subject::Job(id) => (format!("/jobs/{id}/audit"), None),
        Subject::Certificate(id) => (format!("/certificates/{id}/audit"), None),
        Subject::Root(generation) => (format!("/roots/{generation}/audit"), None),
        Subject::Device(id) => (format!("/devices/{id}/audit"), None),
        Subject::Principal(name) => ("/audit/principals".to_owned(), Some(name.as_str())),
        Subject::Policy(policy) => ("/audit/policies".to_owned(), Some(policy.as_str())),
        Subject::Denials(name) => ("/audit/denials".to_owned(), Some(name.as_str())),
        Subject::Request(name) => ("/audit/requests".to_owned(), Some(name.as_str())),
    }
}

async fn show(api: &Api, subject: Subject, file: Option<&Path>, format: Format) -> Result<End> {
    let text = fetch(api, &subject).await?;
    if let Some(file) = file {
        std::fs::write(file, &text).with_context(|| format!("{} cannot be written", file.display()))?;
        return verified(&alone(verify_export(&text, None)), &file.display().to_string(), format);
    }
    // Only a verified chain is shown as the record.
    let Verified { entries, .. } = match verify_export(&text, None) {
        Ok(verified) => verified,
        broken => return self::verified(&alone(broken), &format!("the chain of {subject}"), format),
    };
    match format {
        Format::Json => output::list(&entries)?,
        Format::Text => {
            let rows = entries.iter().map(row).collect::<Result<Vec<_>>>()?;
            out!("{}", output::table(["#", "at", "who", "action", "outcome", "details"], &rows));
        }
    }
    Ok(End::Done)
}

/// All pages, in the format of an export.
async fn fetch(api: &Api, subject: &Subject) -> Result<String> {
    let (path, name) = place(subject);
    let (mut lines, mut cursor): (Vec<String>, Option<String>) = (Vec::new(), None);
    let head = loop {
        let cursors = cursor.iter().map(|cursor| ("cursor", cursor.as_str()));
        let query: Vec<(&str, &str)> = name.iter().map(|&name| ("name", name)).chain(cursors).collect();
        let page: AuditChain = api.get(&path, &query).await?;
        lines.extend(page.entries);
        match page.cursor {
            Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
            Some(_) => return Err(ApiError::unintelligible(&path, "its pages do not end").into()),
            None => break page.head,
        }
    };
    // Drop entries that were added after the head was read.
    lines.truncate(usize::try_from(head.sequence)?);
    Ok(export(subject.clone(), &lines, head)?)
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

/// With up to which entry signed statements name the chain, if it was compared with any.
type Compared = Result<(Verified, Option<u64>), Unverified>;

fn alone(result: Result<Verified, Unverified>) -> Compared {
    result.map(|verified| (verified, None))
}

fn verified(result: &Compared, what: &str, format: Format) -> Result<End> {
    match (result, format) {
        (Ok((Verified { subject, entries, head }, stated)), Format::Json) => {
            let (entries, signed) = (entries.len(), stated);
            let said =
                json!({ "subject": subject, "entries": entries, "head": head, "signed": signed, "verified": true });
            output::json(&said)?;
        }
        (Ok((Verified { subject, entries, head }, stated)), Format::Text) => {
            let signed = stated.map(|last| format!("; signed up to entry {last}")).unwrap_or_default();
            let (count, hash) = (entries.len(), head.hash);
            out!("{what}: {count} entries of {subject}, complete and unchanged up to the head {hash}{signed}");
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
    use rootcast_pki::fingerprint::Fingerprint;
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
        let url = "http://127.0.0.1".parse().unwrap();
        let source = Source { api, url, profile: PathBuf::new() };
        run(|| Ok(source), AuditCommand::Job(Chain { id: JobId(7), export }), Format::Text).await.unwrap()
    }

    async fn verify(file: &Path, head: Option<Fingerprint>) -> End {
        let offline = || anyhow::bail!("it needs no API");
        let given = heads::Verify::of(file, head);
        run(offline, AuditCommand::Verify(given), Format::Json).await.unwrap()
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
