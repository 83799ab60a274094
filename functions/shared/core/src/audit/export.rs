//! A chain as a file: one entry per line, and the head as the last line, so that a truncated file is detected.

use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Broken, Entry, Head, NotAsStated, Stated, Subject, verify};

/// The last line of a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    head: Head,
    subject: Subject,
}

/// The contents of a file whose chain is intact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub subject: Subject,
    pub entries: Vec<Entry>,
    pub head: Head,
}

/// Why a file cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unverified {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("the last line does not name the head: the end of the file is missing")]
    NoHead,
    #[error(
        "the entries end with number {found}, and the last line names {expected}: entries are missing at the end, or were added"
    )]
    OtherEnd { expected: u64, found: u64 },
    #[error("entry {0}, the last one, is not that which the last line names: it was changed")]
    OtherHead(u64),
    #[error("the last line is about {found}, and the entries are about {expected}")]
    OtherSubject { expected: Subject, found: Subject },
    #[error("it has no entries, and no last line that names a chain")]
    Empty,
    #[error(transparent)]
    NotAsStated(#[from] NotAsStated),
    #[error("the head is {found}, and {expected} was expected: the file is of another state, or was made anew")]
    NotExpected { expected: Fingerprint, found: Fingerprint },
}

/// Writes a chain as a file. `lines`: as recorded, oldest first.
///
/// # Errors
/// None in practice: the JSON holds only numbers and hexadecimal text.
pub fn export(subject: Subject, lines: &[String], head: Head) -> Result<String, serde_json::Error> {
    let mut file = String::new();
    for line in lines.iter().map(String::as_str).chain([serde_json::to_string(&End { head, subject })?.as_str()]) {
        file.push_str(line);
        file.push('\n');
    }
    Ok(file)
}

/// Verifies an exported chain. `expected`: the head's hash from another source, such as the functions' log. Without it,
/// a file whose chain was recomputed from the start cannot be told from the original.
///
/// # Errors
/// Says which line is wrong, and how.
///
/// ```
/// use rootcast_core::audit::{Act, Action, Actor, Head, Subject, export, verify_export};
/// use rootcast_core::job::JobId;
/// use time::macros::datetime;
///
/// let job = Subject::Job(JobId(7));
/// let (mut lines, mut head) = (Vec::new(), Head::NONE);
/// for action in [Action::Pause, Action::Resume, Action::Abort] {
///     let entry = Act::new(job.clone(), action, &Actor::function("doc"), datetime!(2026-06-01 12:00 UTC)).after(&head);
///     let line = entry.line()?;
///     head = entry.head(&line);
///     lines.push(line);
/// }
/// let file = export(job, &lines, head)?;
/// assert_eq!(verify_export(&file, Some(head.hash))?.entries.len(), 3);
///
/// // Somebody makes another act of the second line: the third no longer follows from it.
/// let changed = file.replace("resume", "delete");
/// assert!(verify_export(&changed, None).unwrap_err().to_string().starts_with("line 3:"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify_export(file: &str, expected: Option<Fingerprint>) -> Result<Verified, Unverified> {
    let mut lines: Vec<&str> = file.lines().collect();
    let end: Option<End> = lines.last().and_then(|line| serde_json::from_str(line).ok());
    if end.is_some() {
        lines.pop();
    }
    // A broken entry is reported even if the end is missing too.
    let (entries, head) = verify(lines)?;
    let End { head: named, subject } = end.ok_or(Unverified::NoHead)?;
    if let Some(first) = entries.first().filter(|first| first.subject != subject) {
        return Err(Unverified::OtherSubject { expected: first.subject.clone(), found: subject });
    }
    if named.sequence != head.sequence {
        return Err(Unverified::OtherEnd { expected: named.sequence, found: head.sequence });
    }
    if named.hash != head.hash {
        return Err(Unverified::OtherHead(head.sequence));
    }
    match expected {
        Some(expected) if expected != head.hash => Err(Unverified::NotExpected { expected, found: head.hash }),
        _ => Ok(Verified { subject, entries, head }),
    }
}

/// As [`verify_export`], and compares the chain with what was stated of it. Then the last line may be missing: the end
/// is known from the statements. Returns also up to which entry the chain is stated.
///
/// # Errors
/// Says which line is wrong, or which entry is another one than that which was stated.
pub fn verify_stated(
    file: &str,
    expected: Option<Fingerprint>,
    stated: &Stated,
) -> Result<(Verified, u64), Unverified> {
    let verified = match verify_export(file, expected) {
        Err(Unverified::NoHead) => {
            let (entries, head) = verify(file.lines())?;
            let subject = entries.first().ok_or(Unverified::Empty)?.subject.clone();
            if let Some(expected) = expected.filter(|expected| *expected != head.hash) {
                return Err(Unverified::NotExpected { expected, found: head.hash });
            }
            Verified { subject, entries, head }
        }
        verified => verified?,
    };
    let until = stated.check(&verified.subject, &verified.entries, verified.head)?;
    Ok((verified, until))
}
