#![doc = include_str!("audit/README.md")]

mod export;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::{OffsetDateTime, UtcOffset};

pub use self::export::{Unverified, Verified, export, verify_export};
use crate::inventory::id::CertificateId;
use crate::job::JobId;

/// In characters, of each text that an act carries: what is longer is cut.
const LONGEST_TEXT: usize = 256;
/// Details of an act: what is over this is left out.
const MOST_DETAILS: usize = 12;

/// What has a chain. Written as a job's number, a certificate's id or `root-` and a generation, which cannot be mistaken
/// for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Job(JobId),
    Certificate(CertificateId),
    /// A generation.
    Root(u32),
}

/// Text that names nothing that has a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an audited thing is a job's number, a certificate's id, or root- and a generation")]
pub struct NotASubject;

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(id) => id.fmt(f),
            Self::Certificate(id) => id.fmt(f),
            Self::Root(generation) => write!(f, "root-{generation}"),
        }
    }
}

impl FromStr for Subject {
    type Err = NotASubject;

    fn from_str(text: &str) -> Result<Self, NotASubject> {
        let root = || text.strip_prefix("root-")?.parse().ok().map(Self::Root);
        let found = text.parse().ok().map(Self::Certificate).or_else(|| text.parse().ok().map(Self::Job)).or_else(root);
        // Nothing has two spellings.
        found.filter(|subject| subject.to_string() == text).ok_or(NotASubject)
    }
}

rootcast_pki::as_text!(Subject);

/// What was done, with a job, a certificate or a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    Create,
    Pause,
    Resume,
    Abort,
    /// What failed is tried again.
    Retry,
    /// Failed devices are taken out of the gate.
    Waive,
    /// A bundle went out that not every live root could sign.
    Publish,
    /// The root, or the job's, signs from now on.
    Activate,
    /// The root will never sign: its job was aborted.
    Withdraw,
    Import,
    /// The private key is given out.
    Export,
    Delete,
    Deploy,
    /// A device is to have its first own certificate.
    Issue,
    /// ... and the next one.
    Renew,
    /// A root of ours signed it.
    Sign,
    Revoke,
    /// What was under way, or failed, is given up.
    Reset,
    /// After tables were lost or restored, counters were raised and the fleet's list mended; of the last root that
    /// anything shows.
    Restore,
    Associate,
    Dissociate,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Written in one transaction with the act, or after it.
    Done,
    /// Written before the act: without a `failed` after it, it is to be taken for done.
    Begun,
    Failed,
}

/// Who acts, and in which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A principal's name, or a function's own (`function:conduct`).
    pub principal: String,
    /// The API's, which its access log has too; a function's own acts have none.
    pub request_id: Option<String>,
}

impl Actor {
    pub fn function(name: &str) -> Self {
        Self { principal: format!("function:{name}"), request_id: None }
    }
}

/// What is to be recorded of an act, without its place in the chain. Nothing secret belongs in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub subject: Subject,
    pub action: Action,
    pub outcome: Outcome,
    pub actor: Actor,
    pub at: OffsetDateTime,
    details: BTreeMap<String, String>,
}

impl Act {
    /// Something that is done.
    pub fn new(subject: Subject, action: Action, actor: &Actor, at: OffsetDateTime) -> Self {
        Self { subject, action, outcome: Outcome::Done, actor: actor.clone(), at, details: BTreeMap::new() }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        if self.details.len() < MOST_DETAILS {
            self.details.insert(cut(name), cut(&value.to_string()));
        }
        self
    }

    /// The same act, as something else was done by it.
    #[must_use]
    pub fn about(self, subject: Subject) -> Self {
        Self { subject, ..self }
    }

    #[must_use]
    pub fn came_to(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// The act as the next link of a chain.
    pub fn after(&self, head: &Head) -> Entry {
        Entry {
            action: self.action,
            // Whole seconds: what is written is what is read.
            at: self.at.to_offset(UtcOffset::UTC).replace_nanosecond(0).unwrap_or(self.at),
            details: self.details.clone(),
            outcome: self.outcome,
            previous: head.hash,
            principal: cut(&self.actor.principal),
            request_id: self.actor.request_id.as_deref().map(cut),
            sequence: head.sequence + 1,
            subject: self.subject,
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

/// Where a chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// SHA-256 of the last entry; zeros where there is none.
    pub hash: Fingerprint,
    /// How many entries there are.
    pub sequence: u64,
}

impl Head {
    /// Of a chain without an entry.
    pub const NONE: Self = Self { hash: Fingerprint::from_bytes([0; 32]), sequence: 0 };
}

/// One link. Its members are declared in the order in which they are written, which is that of their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    pub action: Action,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    pub outcome: Outcome,
    /// SHA-256 of the entry before; zeros for the first.
    pub previous: Fingerprint,
    pub principal: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// From 1.
    pub sequence: u64,
    pub subject: Subject,
}

impl Entry {
    /// The bytes that are hashed, kept and exported.
    ///
    /// # Errors
    /// For a time before the year 0 or after 9999.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The chain's end when this line is its last.
    pub fn head(&self, line: &str) -> Head {
        Head { hash: Fingerprint::of(line.as_bytes()), sequence: self.sequence }
    }

    fn parse(line: &str) -> Result<Self, Fault> {
        let entry: Self = serde_json::from_str(line).map_err(|_| Fault::NotAnEntry)?;
        if entry.line().is_ok_and(|canonical| canonical == line) { Ok(entry) } else { Err(Fault::NotCanonical) }
    }
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("it is no entry")]
    NotAnEntry,
    #[error("its JSON is not as it was written")]
    NotCanonical,
    #[error("it is of {found}, and the chain is of {expected}")]
    OtherSubject { expected: Subject, found: Subject },
    #[error("it has the number {found}, and {expected} is next: entries are missing, doubled or swapped")]
    OutOfSequence { expected: u64, found: u64 },
    #[error("it does not follow from the entry before it: one of the two was changed")]
    NotLinked,
}

/// Where a chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("line {line}: {fault}")]
pub struct Broken {
    /// From 1.
    pub line: usize,
    pub fault: Fault,
}

/// The entries of one chain from its first one on, and the head that follows from them. Whether that is the head that it
/// should have is for the caller to compare: without it, nobody sees that entries at the end are missing.
///
/// # Errors
/// Names the first line that does not follow from those before it.
pub fn verify<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<(Vec<Entry>, Head), Broken> {
    let (mut entries, mut head): (Vec<Entry>, Head) = (Vec::new(), Head::NONE);
    for (index, line) in lines.into_iter().enumerate() {
        let broken = |fault| Broken { line: index + 1, fault };
        let entry = Entry::parse(line).map_err(broken)?;
        let expected = entries.first().map_or(entry.subject, |first| first.subject);
        if entry.subject != expected {
            return Err(broken(Fault::OtherSubject { expected, found: entry.subject }));
        }
        if entry.sequence != head.sequence + 1 {
            return Err(broken(Fault::OutOfSequence { expected: head.sequence + 1, found: entry.sequence }));
        }
        if entry.previous != head.hash {
            return Err(broken(Fault::NotLinked));
        }
        head = entry.head(line);
        entries.push(entry);
    }
    Ok((entries, head))
}

#[cfg(test)]
#[path = "audit/tests.rs"]
mod tests;
