//! `rootcast audit heads` and `verify`: chains, and the signed statements of their heads, from the API or from any copy.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use futures::{StreamExt, stream};
use reqwest::StatusCode;
use rootcast_core::audit::{
    BadStatement, Head, Stated, Subject, Unverified, Verified, verify_export, verify_stated, verify_statements,
};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::{Compared, Source, alone, fetch, verified};
use crate::{
    api::ApiError,
    exit::{End, Usage},
    output::{self, Format, note, out},
    seen::{Memory, SeenHeads},
};

/// An API whose last statement is older withholds some, or the stack makes none.
const STALE: Duration = Duration::hours(3);
/// Chains that are read at the same time.
const CONCURRENCY: usize = 8;

/// Whose statements are accepted.
#[derive(Debug, Default, Args)]
pub(crate) struct Trust {
    /// SHA-256 of the key that signs statements, as `aws kms get-public-key` gives the key. Several after the key was replaced.
    /// Without it: the key of the statements that were seen here last, or else the first statement's own
    #[arg(long, value_name = "SHA256")]
    key_sha256: Vec<Fingerprint>,
    /// Accept another key or fewer statements than were seen here last, because the stack was created again or restored
    #[arg(long)]
    anew: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Heads {
    #[command(flatten)]
    trust: Trust,
    /// Write the statements to this file, one a line
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Verify {
    /// Exported chains; their last line, which names the head, may be missing where there are statements
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// SHA-256 of the last entry, as it is known from elsewhere: an earlier export, or `audit.sha256` in the functions' logs
    #[arg(long, value_name = "SHA256")]
    head: Option<Fingerprint>,
    /// A copy of the signed statements: a file, or a folder of files. Without it, files are not compared with any
    #[arg(long, value_name = "PATH", conflicts_with = "anew")]
    heads: Vec<PathBuf>,
    /// Up to when the copy of the statements is meant to go (RFC 3339), where that is not now
    #[arg(long, value_name = "TIME", requires = "heads", value_parser = time_of)]
    until: Option<OffsetDateTime>,
    #[command(flatten)]
    trust: Trust,
}

#[cfg(test)]
impl Verify {
    /// Of one file, without statements.
    pub(super) fn of(file: &Path, head: Option<Fingerprint>) -> Self {
        Self { files: vec![file.to_owned()], head, ..Self::default() }
    }
}

pub(super) async fn show(source: &Source, given: Heads, format: Format) -> Result<End> {
    let (texts, stated) = match of_api(source, &given.trust).await? {
        Ok(found) => found,
        Err(why) => return refused(&why, format),
    };
    if let Some(file) = given.export {
        let text: String = texts.iter().flat_map(|text| [text.as_str(), "\n"]).collect();
        std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    tell(&stated, None, format)?;
    let contradictions = stated.contradictions().map(ToString::to_string);
    let warnings: Vec<String> = contradictions.chain(stale(&stated, OffsetDateTime::now_utc())).collect();
    warnings.iter().try_for_each(|why| warn(why, format))?;
    Ok(End::unless(!warnings.is_empty()))
}

pub(super) async fn verify(source: impl FnOnce() -> Result<Source>, given: Verify, format: Format) -> Result<End> {
    if given.head.is_some() && given.files.len() != 1 {
        return Err(Usage("--head is the head of one file".to_owned()).into());
    }
    let source = if given.files.is_empty() { Some(source()?) } else { None };
    let stated = match &source {
        Some(source) if given.heads.is_empty() => of_api(source, &given.trust).await?.map(|(_, stated)| Some(stated)),
        None if given.heads.is_empty() => Ok(None),
        _ => {
            let copies = given.heads.iter().map(|path| read_statements(path)).collect::<Result<Vec<_>>>()?.concat();
            let stated = verify_statements(&copies, &given.trust.key_sha256, None, OffsetDateTime::now_utc());
            stated.map(Some).map_err(|why| why.to_string())
        }
    };
    let stated = match stated {
        Ok(stated) => stated,
        Err(why) => return refused(&why, format),
    };
    let (mut compared, mut failed, mut unread) = (0, false, false);
    let mut say = |result: &Compared, what: &str| {
        (compared, failed) = (compared + 1, failed | result.is_err());
        verified(result, what, format)
    };
    for file in &given.files {
        let text = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        // Bytes that are not UTF-8 are no entry either, so verification fails.
        let text = String::from_utf8_lossy(&text);
        let result = match &stated {
            Some(stated) => verify_stated(&text, given.head, stated).map(|(chain, last)| (chain, Some(last))),
            None => alone(verify_export(&text, given.head)),
        };
        say(&result, &file.display().to_string())?;
    }
    if let (Some(source), Some(stated)) = (&source, &stated) {
        let mut chains = stream::iter(stated.subjects())
            .map(async |subject| (subject, chain(source, subject, stated).await))
            .buffered(CONCURRENCY);
        while let Some((subject, result)) = chains.next().await {
            let what = format!("the chain of {subject}");
            match result {
                Ok(result) => {
                    say(&result, &what)?;
                }
                // Somebody may have damaged it. That holds up no other chain.
                Err(error) if is_internal(&error) => {
                    warn(&format!("{what} cannot be read: {error:#}"), format)?;
                    unread = true;
                }
                Err(error) => return Err(error),
            }
        }
    }
    if let Some(stated) = stated {
        tell(&stated, Some(compared), format)?;
        if let Some(why) = stale(&stated, given.until.unwrap_or_else(OffsetDateTime::now_utc)) {
            warn(&why, format)?;
            failed = true;
        }
    }
    Ok(End::unless(failed || unread))
}

fn is_internal(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ApiError::Refused(refusal)) if refusal.status.is_server_error())
}

/// The API's chain, compared with the statements.
async fn chain(source: &Source, subject: &Subject, stated: &Stated) -> Result<Compared> {
    match fetch(&source.api, subject).await {
        Ok(text) => Ok(verify_stated(&text, None, stated).map(|(chain, last)| (chain, Some(last)))),
        Err(error) => match error.downcast_ref() {
            Some(ApiError::Refused(refusal)) if refusal.status == StatusCode::NOT_FOUND => {
                let gone = Verified { subject: subject.clone(), entries: Vec::new(), head: Head::NONE };
                let last = stated.check(subject, &[], Head::NONE).map_err(Unverified::from);
                Ok(last.map(|last| (gone, Some(last))))
            }
            _ => Err(error),
        },
    }
}

/// The API's statements, or why they cannot be trusted.
async fn of_api(source: &Source, trust: &Trust) -> Result<Result<(Vec<String>, Stated), String>> {
    let memory = Memory::<SeenHeads>::beside(&source.profile)?;
    let seen = memory.of(&source.url).filter(|_| !trust.anew);
    let texts: Vec<String> = source.api.pages("/audit/heads", &[], "statements").await?;
    // After the key was replaced, those before the one that was seen last are of another key.
    let (keys, anchored) = match seen {
        Some(seen) if trust.key_sha256.is_empty() => (vec![seen.key], Some((seen.number, seen.sha256))),
        _ => (trust.key_sha256.clone(), None),
    };
    let now = OffsetDateTime::now_utc();
    let stated = match verify_statements(&texts, &keys, anchored, now) {
        Ok(stated) => stated,
        Err(why @ BadStatement::OtherKey { .. }) if seen.is_some() && trust.key_sha256.is_empty() => {
            return Ok(Err(format!(
                "{why}. If the stack was created again, say so with --anew; if its key was replaced, name both keys with \
                 --key-sha256"
            )));
        }
        Err(why) => return Ok(Err(why.to_string())),
    };
    if let Some(seen) = seen.filter(|seen| !stated.has(seen.number, seen.sha256)) {
        return Ok(Err(format!(
            "statement {}, which was seen here before, is gone or is another one. If the stack was created again or \
             restored, say so with --anew",
            seen.number
        )));
    }
    let accepted = SeenHeads { key: stated.key, number: stated.latest.number, sha256: stated.latest.sha256 };
    if let Err(error) = memory.keep(&source.url, accepted, trust.anew) {
        note!("the statements are good, but are not remembered: {error:#}");
    }
    Ok(Ok((texts, stated)))
}

fn time_of(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Rfc3339)
}

/// What to say of statements that end long before `wanted`. What they name can be compared all the same.
fn stale(stated: &Stated, wanted: OffsetDateTime) -> Option<String> {
    let until = stated.latest.until;
    (wanted - until > STALE).then(|| {
        format!(
            "the heads are stated until {until} only: later statements are withheld or missing, or none is made. A copy \
             that is meant to end earlier is verified with --until TIME"
        )
    })
}

/// The statements in a file, one a line, or in the files of a folder.
fn read_statements(path: &Path) -> Result<Vec<String>> {
    let cannot = || format!("{} cannot be read", path.display());
    if path.is_dir() {
        let files = std::fs::read_dir(path).with_context(cannot)?;
        let files = files.map(|file| Ok(file.with_context(cannot)?.path())).collect::<Result<Vec<_>>>()?;
        return Ok(files.iter().map(|file| read_statements(file)).collect::<Result<Vec<_>>>()?.concat());
    }
    let text = std::fs::read(path).with_context(cannot)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// That something is wrong with statements that verify.
fn warn(why: &str, format: Format) -> Result<()> {
    match format {
        Format::Json => output::json(&json!({ "verified": false, "why": why }))?,
        Format::Text => note!("{why}"),
    }
    Ok(())
}

fn refused(why: &str, format: Format) -> Result<End> {
    match format {
        Format::Json => output::json(&json!({ "verified": false, "why": why }))?,
        Format::Text => note!("the statements do not verify: {why}"),
    }
    Ok(End::Failed)
}

/// `compared`: how many chains were, if any were to be.
fn tell(stated: &Stated, compared: Option<u64>, format: Format) -> Result<()> {
    let (latest, chains) = (&stated.latest, stated.subjects().len());
    let until = latest.until.format(&Rfc3339)?;
    match format {
        Format::Json => output::json(&json!({
            "statements": latest.number, "sha256": latest.sha256, "key": stated.key, "until": until, "chains": chains,
            "compared": compared,
        }))?,
        Format::Text => {
            let (number, sha256) = (latest.number, latest.sha256);
            out!(
                "statements 1 to {number}, complete and unchanged, of {chains} chains until {until}; the last is {sha256}"
            );
            out!("signed by the key with the SHA-256 {}: compare it once with the stack's AuditKey", stated.key);
            if let Some(compared) = compared {
                out!("{compared} chains compared");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "heads_tests.rs"]
mod tests;
