#![doc = include_str!("audit/README.md")]

mod export;
mod heads;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::{OffsetDateTime, UtcOffset};

pub use self::export::{Unverified, Verified, export, verify_export, verify_stated};
pub use self::heads::{
    BadStatement, Gathered, Latest, NotAsStated, OVERLAP, Stated, StatedHead, Statement, Unreadable, verify_statements,
};
use crate::device::DeviceId;
use crate::inventory::id::CertificateId;
use crate::job::JobId;

/// Longest text in an act, in characters. Longer texts are truncated.
const LONGEST_TEXT: usize = 256;
/// Most details of an act. Further ones are left out.
const MOST_DETAILS: usize = 12;
/// Most names in an entry. Further ones go into further entries.
const MOST_NAMED: usize = 100;
/// Most bytes of all names of an entry, or of a part of a long text. The rest goes into further entries.
const LONGEST_LIST: usize = 7 * 1024;
/// Longest old or new value of what was changed, in characters. Of a longer one, the entry has the SHA-256 too.
const LONGEST_VALUE: usize = 640;

/// What an audit chain is about. Written as a job's number, a certificate's id, `root-` and a generation, or a kind, a
/// colon and a name. The forms cannot be confused: without a colon, the first three differ in their first letter; with
/// one, everything before the first colon is the kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Job(JobId),
    Certificate(CertificateId),
    /// Root generation.
    Root(u32),
    /// All enrolments of the id.
    Device(DeviceId),
    /// A principal, or an IAM identity that has tokens without one.
    Principal(Name),
    Policy(Policy),
    /// What a caller tried without the right to.
    Denials(Name),
    /// An act that waits for a second person, or what an event asks for (`event-` and its id).
    Request(Name),
}

/// The policies that have chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Which names certificates may carry.
    Issuance,
    /// The algorithm of the next root's key.
    Certificate,
    /// Which trust anchors of others the devices hold.
    Anchors,
    /// The stored rollouts.
    Rollouts,
}

impl Policy {
    const ALL: [Self; 4] = [Self::Issuance, Self::Certificate, Self::Anchors, Self::Rollouts];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issuance => "issuance",
            Self::Certificate => "certificate",
            Self::Anchors => "anchors",
            Self::Rollouts => "rollouts",
        }
    }
}

impl FromStr for Policy {
    type Err = NotASubject;

    fn from_str(text: &str) -> Result<Self, NotASubject> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text).ok_or(NotASubject)
    }
}

/// The name of a caller or of a request: 1 to 1024 ASCII characters without white space. A principal's name and an IAM
/// identity are such names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// With its subject's kind, it fits into a key of the table (2048 bytes).
    const LONGEST: usize = 1024;

    /// The text, or the SHA-256 of a text that is no name: earlier versions gave tokens to any text.
    pub fn of(text: &str) -> Self {
        text.parse().unwrap_or_else(|_| Self(Fingerprint::of(text.as_bytes()).to_string()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NotASubject;

    fn from_str(text: &str) -> Result<Self, NotASubject> {
        let plain = (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        plain.then(|| Self(text.to_owned())).ok_or(NotASubject)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text names no subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "an audited thing is a job's number, a certificate's id, root- and a generation, or device:, principal:, policy:, \
     denials: or request: and a name"
)]
pub struct NotASubject;

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(id) => id.fmt(f),
            Self::Certificate(id) => id.fmt(f),
            Self::Root(generation) => write!(f, "root-{generation}"),
            Self::Device(id) => write!(f, "device:{}", id.as_str()),
            Self::Principal(name) => write!(f, "principal:{name}"),
            Self::Policy(policy) => write!(f, "policy:{}", policy.as_str()),
            Self::Denials(name) => write!(f, "denials:{name}"),
            Self::Request(name) => write!(f, "request:{name}"),
        }
    }
}

impl FromStr for Subject {
    type Err = NotASubject;

    fn from_str(text: &str) -> Result<Self, NotASubject> {
        let found = match text.split_once(':') {
            Some(("device", id)) => id.parse().ok().map(Self::Device),
            Some(("principal", name)) => name.parse().ok().map(Self::Principal),
            Some(("policy", name)) => name.parse().ok().map(Self::Policy),
            Some(("denials", name)) => name.parse().ok().map(Self::Denials),
            Some(("request", name)) => name.parse().ok().map(Self::Request),
            Some(_) => None,
            None => {
                let root = || text.strip_prefix("root-")?.parse().ok().map(Self::Root);
                text.parse().ok().map(Self::Certificate).or_else(|| text.parse().ok().map(Self::Job)).or_else(root)
            }
        };
        // Each subject has one spelling only.
        found.filter(|subject| subject.to_string() == text).ok_or(NotASubject)
    }
}

rootcast_pki::as_text!(Subject);

/// What was done with the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    Create,
    Pause,
    Resume,
    Abort,
    /// Failed devices are retried.
    Retry,
    /// Failed devices no longer hold up the gate.
    Waive,
    /// A bundle was published without the signature of every live root.
    Publish,
    /// The root (or the job's root) signs from now on.
    Activate,
    /// The root will never sign: its job was aborted.
    Withdraw,
    Import,
    /// The private key was exported.
    Export,
    Delete,
    Deploy,
    /// The first own certificate of a device was requested.
    Issue,
    /// The next own certificate of a device, or the next issuing authority below a root, was requested.
    Renew,
    /// One of our authorities signed the certificate.
    Sign,
    Revoke,
    /// Work under way or failed was given up.
    Reset,
    /// After tables were lost or restored: counters were raised and the fleet's list was repaired. Recorded with the
    /// last root of which there is any evidence.
    Restore,
    Associate,
    Dissociate,
    /// The device was put on record.
    Enrol,
    /// A record was changed; for a device, its details name the old and the new identity.
    Edit,
    /// The identity of the device, in the version that the details name, was approved.
    Approve,
    /// The rights of the principal were changed.
    Grant,
    ChangePassword,
    /// An access key or an identity was given to the principal.
    AddCredential,
    RemoveCredential,
    /// A token was made.
    Login,
    /// Tokens of the principal were ended.
    Logout,
    SetPolicy,
    /// An operation was refused.
    Deny,
    /// After failed logins, the name was locked.
    Lock,
    Unlock,
    /// The act waits for a second person, or an event asks for it.
    Request,
    /// A second person confirmed it.
    Confirm,
    /// A second person rejected it, or the requester withdrew it.
    Reject,
    /// The confirmed act was carried out, by whoever had asked for it; or what an event asks for was.
    CarryOut,
    /// What a renewal of the certificate replaced was revoked, since the new one is proven.
    Supersede,
    /// The root's key, which sleeps, was woken to sign.
    Wake,
    /// The root before (or the job's) signs again.
    RollBack,
    /// The root left the bundle: devices are to trust it no more.
    Distrust,
    /// The root's key is out of use, and its deletion is scheduled.
    Retire,
    /// The deletion of the retired root's key is cancelled.
    Keep,
    /// Somebody else may have the root's key: it is disabled, and another root takes the place of all others.
    Compromise,
    /// Somebody outside of the stack disabled the root's key, or one of an issuing authority below it, or had it deleted.
    Tamper,
}

/// The result of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Written in one transaction with the act, or after it.
    Done,
    /// Written before the act. Unless a `failed` entry follows, assume that the act was done.
    Begun,
    Failed,
}

/// Who acted, and in which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A principal's name, a function (`function:conduct`), or a rule (`rule:renewal`).
    pub principal: String,
    /// Request id of the API call, as in the access log. `None` for a function's own acts.
    pub request_id: Option<String>,
}

impl Actor {
    pub fn function(name: &str) -> Self {
        Self { principal: format!("function:{name}"), request_id: None }
    }

    /// What acts by itself, as a person has set it.
    pub fn rule(name: &str) -> Self {
        Self { principal: format!("rule:{name}"), request_id: None }
    }
}

/// An act to be recorded, without its place in the chain. Must not contain secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub subject: Subject,
    pub action: Action,
    pub outcome: Outcome,
    pub actor: Actor,
    /// When the caller's request came: less than [`OVERLAP`] before the entry is written, or no statement may name it.
    pub at: OffsetDateTime,
    details: BTreeMap<String, String>,
}

impl Act {
    /// An act with the outcome [`Outcome::Done`].
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

    /// The act with the names of all these objects: further acts follow where they are more than an entry takes.
    pub fn naming(self, what: &str, names: impl IntoIterator<Item = String>) -> Vec<Self> {
        let mut lists = vec![(0, String::new())];
        for name in names {
            // The end of a name may be an address's domain: it counts too.
            let name = value(Some(&name));
            match lists.last_mut() {
                Some((count, list)) if *count < MOST_NAMED && list.len() + 1 + name.len() <= LONGEST_LIST => {
                    *list = if list.is_empty() { name } else { format!("{list} {name}") };
                    *count += 1;
                }
                _ => lists.push((1, name)),
            }
        }
        self.in_parts(what, lists.into_iter().map(|(_, list)| list).collect())
    }

    /// The act with the whole text: further acts follow where it is longer than an entry takes.
    pub fn saying(self, what: &str, text: &str) -> Vec<Self> {
        let mut parts = vec![String::new()];
        for each in text.chars() {
            match parts.last_mut() {
                Some(part) if part.len() + each.len_utf8() <= LONGEST_LIST => part.push(each),
                _ => parts.push(each.to_string()),
            }
        }
        self.in_parts(what, parts)
    }

    fn in_parts(self, what: &str, texts: Vec<String>) -> Vec<Self> {
        let parts = texts.len();
        let part = |(text, number): (String, usize)| {
            let mut act = self.clone();
            if !text.is_empty() {
                act.details.insert(cut(what), text);
            }
            if parts > 1 { act.with("part", format!("{number} of {parts}")) } else { act }
        };
        texts.into_iter().zip(1..).map(part).collect()
    }

    /// What a value was and is, if that is not the same.
    #[must_use]
    pub fn changing(mut self, name: &str, before: Option<&str>, after: Option<&str>) -> Self {
        if before != after && self.details.len() < MOST_DETAILS {
            let said = match before {
                None => value(after),
                Some(_) => format!("{} -> {}", value(before), value(after)),
            };
            self.details.insert(cut(name), said);
        }
        self
    }

    /// The same act, recorded for another subject too.
    #[must_use]
    pub fn about(self, subject: Subject) -> Self {
        Self { subject, ..self }
    }

    #[must_use]
    pub fn came_to(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// The act as the next entry of a chain.
    pub fn after(&self, head: &Head) -> Entry {
        Entry {
            action: self.action,
            // Whole seconds, so that parsing the line gives the same entry.
            at: self.at.to_offset(UtcOffset::UTC).replace_nanosecond(0).unwrap_or(self.at),
            details: self.details.clone(),
            outcome: self.outcome,
            previous: head.hash,
            principal: cut(&self.actor.principal),
            request_id: self.actor.request_id.as_deref().map(cut),
            sequence: head.sequence + 1,
            subject: self.subject.clone(),
        }
    }
}

fn value(text: Option<&str>) -> String {
    let Some(text) = text else { return "none".to_owned() };
    if text.chars().count() <= LONGEST_VALUE {
        return text.to_owned();
    }
    let some: String = text.chars().take(LONGEST_VALUE).collect();
    format!("{some}... (sha256 {})", Fingerprint::of(text.as_bytes()))
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// SHA-256 of the last entry; zeros for an empty chain.
    pub hash: Fingerprint,
    /// Number of entries.
    pub sequence: u64,
}

impl Head {
    /// The head of an empty chain.
    pub const NONE: Self = Self { hash: Fingerprint::from_bytes([0; 32]), sequence: 0 };
}

/// One entry of a chain. Its members are declared in the order in which they are written, which is alphabetical.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    pub action: Action,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    pub outcome: Outcome,
    /// SHA-256 of the previous entry; zeros for the first.
    pub previous: Fingerprint,
    pub principal: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// From 1.
    pub sequence: u64,
    pub subject: Subject,
}

impl Entry {
    /// The bytes that are hashed, stored and exported.
    ///
    /// # Errors
    /// If the time lies before the year 0 or after 9999.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The chain's head if this line is its last.
    pub fn head(&self, line: &str) -> Head {
        Head { hash: Fingerprint::of(line.as_bytes()), sequence: self.sequence }
    }

    /// One line by itself; [`verify`] reads a chain.
    ///
    /// # Errors
    /// If it is not as it was written.
    pub fn parse(line: &str) -> Result<Self, Fault> {
        let entry: Self = serde_json::from_str(line).map_err(|_| Fault::NotAnEntry)?;
        if entry.line().is_ok_and(|canonical| canonical == line) { Ok(entry) } else { Err(Fault::NotCanonical) }
    }
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
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
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {fault}")]
pub struct Broken {
    /// From 1.
    pub line: usize,
    pub fault: Fault,
}

/// Verifies the entries of one chain from the first one on. Returns them with the head that results. The caller must
/// compare that head with the expected one; otherwise missing entries at the end go unnoticed.
///
/// # Errors
/// Names the first line that does not follow from those before it.
pub fn verify<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<(Vec<Entry>, Head), Broken> {
    let (mut entries, mut head): (Vec<Entry>, Head) = (Vec::new(), Head::NONE);
    for (index, line) in lines.into_iter().enumerate() {
        let broken = |fault| Broken { line: index + 1, fault };
        let entry = Entry::parse(line).map_err(broken)?;
        let first = entries.first().unwrap_or(&entry);
        if entry.subject != first.subject {
            let expected = first.subject.clone();
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
