//! Signed statements of the chains' heads: a chain that was written anew, with matching hashes, differs from what was
//! stated of it before.
//!
//! Statements are a chain too: each has the SHA-256 of the one before, as it was signed. A statement names the heads
//! that have changed since the one before, and is made each hour even if none has, so that none can be left out
//! unnoticed.

use std::collections::BTreeMap;

use rootcast_pki::bundle::JwsError;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::notary::open;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::{Duration, OffsetDateTime, UtcOffset};

use super::{Entry, Head, Subject};

/// A statement looks this far behind the one before for heads that have changed: an entry's time is that of its request
/// (a function runs 15 minutes at most), by the clock of its writer (AWS accepts no request whose clock is further than 15
/// minutes from its own), and the index of heads follows the table with a delay, usually of less than a second.
pub const OVERLAP: Duration = Duration::HOUR;
/// How far the clock of the signer may be ahead of the verifier's.
const AHEAD: Duration = Duration::minutes(5);
/// Most bytes of a statement's heads. Signed and in base64url, it fits into an item of DynamoDB (400 KB).
const LARGEST: usize = 256 * 1024;

/// The head of a chain, as it was stated. Members are declared in alphabetical order, as in an [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatedHead {
    pub hash: Fingerprint,
    pub sequence: u64,
    pub subject: Subject,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub heads: Vec<StatedHead>,
    /// From 1.
    pub number: u64,
    /// SHA-256 of the previous statement's JWS; zeros for the first.
    pub previous: Fingerprint,
    /// All that has changed until then is in this statement or an earlier one. Where the heads do not fit into one
    /// statement, only the last of several advances it.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// The last statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latest {
    pub number: u64,
    pub sha256: Fingerprint,
    pub at: OffsetDateTime,
    pub until: OffsetDateTime,
}

impl Latest {
    /// There is no statement yet.
    pub const NONE: Self = Self {
        number: 0,
        sha256: Fingerprint::from_bytes([0; 32]),
        at: OffsetDateTime::UNIX_EPOCH,
        until: OffsetDateTime::UNIX_EPOCH,
    };

    /// Verifies the signature, by whichever key.
    pub fn read(jws: &str) -> Result<Self, Unreadable> {
        let (_, Statement { number, at, until, .. }) = Statement::read(jws)?;
        Ok(Self { number, sha256: Fingerprint::of(jws.as_bytes()), at, until })
    }

    /// From when on changed heads are wanted for the next statement.
    pub fn since(&self) -> OffsetDateTime {
        if self.number == 0 { self.until } else { self.until - OVERLAP }
    }
}

impl Statement {
    /// The next statement. `complete`: all that has changed until `now` is in it or in those before.
    pub fn after(last: &Latest, heads: Vec<StatedHead>, now: OffsetDateTime, complete: bool) -> Self {
        let now = now.to_offset(UtcOffset::UTC).replace_nanosecond(0).unwrap_or(now);
        Self {
            at: now.max(last.at),
            heads,
            number: last.number.saturating_add(1),
            previous: last.sha256,
            until: if complete { now.max(last.until) } else { last.until },
        }
    }

    /// The bytes that are signed: canonical JSON, as an [`Entry`]'s line.
    ///
    /// # Errors
    /// If a time lies before the year 0 or after 9999.
    pub fn payload(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    fn read(jws: &str) -> Result<(Fingerprint, Self), Unreadable> {
        let signed = open(jws)?;
        let statement: Self = serde_json::from_slice(&signed.payload).map_err(|_| Unreadable::NotAStatement)?;
        let canonical = statement.payload().is_ok_and(|payload| payload == signed.payload);
        if canonical { Ok((signed.key, statement)) } else { Err(Unreadable::NotAStatement) }
    }
}

/// Heads for the next statement.
#[derive(Debug, Default)]
pub struct Gathered {
    heads: Vec<StatedHead>,
    bytes: usize,
}

impl Gathered {
    /// Returns the heads before this one if they fill a statement.
    pub fn add(&mut self, head: StatedHead) -> Option<Vec<StatedHead>> {
        // JSON may escape each byte of a name with another one; the rest is bounded.
        let bytes = 2 * head.subject.to_string().len() + 160;
        let full = self.bytes + bytes > LARGEST;
        let before = full.then(|| std::mem::take(self).heads);
        self.heads.push(head);
        self.bytes += bytes;
        before
    }

    pub fn rest(self) -> Vec<StatedHead> {
        self.heads
    }
}

/// Why a text is no statement.
#[derive(Debug, Error)]
pub enum Unreadable {
    #[error(transparent)]
    Unsigned(#[from] JwsError),
    #[error("what is signed is no statement of audit heads")]
    NotAStatement,
}

/// Why statements cannot be trusted.
#[derive(Debug, Error)]
pub enum BadStatement {
    #[error("text {position} of {of} is no signed statement: {why}")]
    Unreadable { position: usize, of: usize, why: Unreadable },
    #[error("there is no statement")]
    None,
    #[error("statement {number} is signed by the key with the SHA-256 {found}, which is not one that is expected")]
    OtherKey { number: u64, found: Fingerprint },
    #[error("statements {first} to {last} are missing")]
    Missing { first: u64, last: u64 },
    #[error("there are two different statements {0}: the record was restored, or written anew")]
    Twice(u64),
    #[error("statement {0} does not follow from the one before: one of the two was signed anew")]
    NotLinked(u64),
    #[error("statement {number} is of {at}, which is in the future")]
    Future { number: u64, at: OffsetDateTime },
    #[error("statement {0} is of an earlier time than the one before")]
    Backwards(u64),
}

/// Why an entry that no statement names should be in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unstated {
    #[error("it was added afterwards")]
    Added,
    #[error(
        "it was added afterwards, or the chain has had no entry since statements are made, and its next one will be stated"
    )]
    Never,
    #[error("that is in the future, so its time is false")]
    Future,
    #[error("that is long before an earlier entry, so its time is false")]
    Backdated,
}

/// Why a chain is not what was stated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAsStated {
    #[error(
        "statement {statement} names entry {sequence} of {subject}, and the chain ends with {found}: entries were removed, or the copy of the chain is older than the statement"
    )]
    Shortened { subject: Subject, sequence: u64, statement: u64, found: u64 },
    #[error(
        "entry {sequence} of {subject} is not the one that statement {statement} names: the chain was written anew"
    )]
    Rewritten { subject: Subject, sequence: u64, statement: u64 },
    /// `why` that is no delay.
    #[error("entry {sequence} of {subject} is of {at}, and no statement names it or a later one: {why}")]
    Unstated { subject: Subject, sequence: u64, at: OffsetDateTime, why: Unstated },
    #[error(
        "statements {earlier} and {later} name two different entries {sequence} of {subject}: its chain was written anew"
    )]
    Contradiction { subject: Subject, sequence: u64, earlier: u64, later: u64 },
}

/// What statements say, after they were verified.
#[derive(Debug)]
pub struct Stated {
    /// The key of the last one.
    pub key: Fingerprint,
    pub latest: Latest,
    /// SHA-256 of each statement, in their order.
    digests: Vec<Fingerprint>,
    /// Of each chain, by the number of an entry: its hash, and the statement that names it.
    heads: BTreeMap<Subject, BTreeMap<u64, (Fingerprint, u64)>>,
    /// The first contradiction of each chain that has any. It says nothing of the others.
    contradictions: BTreeMap<Subject, NotAsStated>,
    /// The verifier's time.
    now: OffsetDateTime,
}

/// Verifies all statements from the first one on, in any order; the same one may be there several times. `keys`: the
/// SHA-256 of the keys that may have signed; without any, the first statement's own key is taken. `anchored`: number and
/// SHA-256 of a statement that was verified before: with which keys that one and those before it were signed does not matter
/// any more, since each names the one before.
///
/// # Errors
/// Names the first statement that cannot be trusted.
pub fn verify_statements<T: AsRef<str>>(
    texts: &[T],
    keys: &[Fingerprint],
    anchored: Option<(u64, Fingerprint)>,
    now: OffsetDateTime,
) -> Result<Stated, BadStatement> {
    let mut statements = BTreeMap::new();
    for (index, text) in texts.iter().map(AsRef::as_ref).enumerate() {
        let unreadable = |why| BadStatement::Unreadable { position: index + 1, of: texts.len(), why };
        let (key, statement) = Statement::read(text).map_err(unreadable)?;
        let (number, digest) = (statement.number, Fingerprint::of(text.as_bytes()));
        let (.., before) = statements.entry(number).or_insert((key, statement, digest));
        if *before != digest {
            return Err(BadStatement::Twice(number));
        }
    }
    let Some((own, ..)) = statements.values().next() else { return Err(BadStatement::None) };
    let keys = if keys.is_empty() { vec![*own] } else { keys.to_vec() };
    let mut stated = Stated {
        key: *own,
        latest: Latest::NONE,
        digests: Vec::new(),
        heads: BTreeMap::new(),
        contradictions: BTreeMap::new(),
        now,
    };
    let is_there = |(number, sha256): &(u64, Fingerprint)| {
        statements.get(number).is_some_and(|(.., digest): &(_, _, Fingerprint)| digest == sha256)
    };
    let known = anchored.filter(is_there).map_or(0, |(number, _)| number);
    for (number, (key, statement, digest)) in statements {
        if number > known && !keys.contains(&key) {
            return Err(BadStatement::OtherKey { number, found: key });
        }
        stated.append(number, key, statement, digest)?;
    }
    match stated.latest {
        Latest { number, at, .. } if at > now + AHEAD => Err(BadStatement::Future { number, at }),
        _ => Ok(stated),
    }
}

impl Stated {
    fn append(
        &mut self,
        number: u64,
        key: Fingerprint,
        statement: Statement,
        sha256: Fingerprint,
    ) -> Result<(), BadStatement> {
        let next = self.latest.number.saturating_add(1);
        if number != next {
            return Err(BadStatement::Missing { first: next, last: number.saturating_sub(1) });
        }
        if statement.previous != self.latest.sha256 {
            return Err(BadStatement::NotLinked(number));
        }
        let Statement { at, until, heads, .. } = statement;
        if at < self.latest.at || until < self.latest.until || until > at {
            return Err(BadStatement::Backwards(number));
        }
        for StatedHead { hash, sequence, subject } in heads {
            let chain = self.heads.entry(subject.clone()).or_default();
            let (before, earlier) = *chain.entry(sequence).or_insert((hash, number));
            if before != hash {
                let found = NotAsStated::Contradiction { subject: subject.clone(), sequence, earlier, later: number };
                self.contradictions.entry(subject).or_insert(found);
            }
        }
        self.digests.push(sha256);
        (self.key, self.latest) = (key, Latest { number, sha256, at, until });
        Ok(())
    }

    /// Whether this statement, which somebody remembers, is among them.
    pub fn has(&self, number: u64, sha256: Fingerprint) -> bool {
        let index = number.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.digests.get(index)) == Some(&sha256)
    }

    /// The chains that they name.
    pub fn subjects(&self) -> impl ExactSizeIterator<Item = &Subject> {
        self.heads.keys()
    }

    /// Of each chain of which two statements say different things: which ones.
    pub fn contradictions(&self) -> impl ExactSizeIterator<Item = &NotAsStated> {
        self.contradictions.values()
    }

    /// Whether the chain is what was stated of it. `entries` and `head`: as [`verify`](super::verify) returned them; of
    /// a chain that is gone, none. Returns up to which entry the chain is stated.
    ///
    /// # Errors
    /// Names the entry that differs.
    pub fn check(&self, subject: &Subject, entries: &[Entry], head: Head) -> Result<u64, NotAsStated> {
        if let Some(contradiction) = self.contradictions.get(subject) {
            return Err(contradiction.clone());
        }
        let none = BTreeMap::new();
        let heads = self.heads.get(subject).unwrap_or(&none);
        for (&sequence, &(hash, statement)) in heads {
            let of = || subject.clone();
            // An entry's hash is in the next one.
            let next = usize::try_from(sequence).ok().and_then(|index| entries.get(index));
            let found = match next {
                Some(next) => next.previous,
                None if sequence == head.sequence => head.hash,
                None => {
                    return Err(NotAsStated::Shortened { subject: of(), sequence, statement, found: head.sequence });
                }
            };
            if found != hash {
                return Err(NotAsStated::Rewritten { subject: of(), sequence, statement });
            }
        }
        let last = heads.last_key_value().map_or(0, |(last, _)| *last);
        let mut before = OffsetDateTime::UNIX_EPOCH;
        for &Entry { sequence, at, .. } in entries {
            let unstated = |why| NotAsStated::Unstated { subject: subject.clone(), sequence, at, why };
            // What is stated was judged by its hash.
            if sequence > last {
                if self.latest.until - at > OVERLAP {
                    return Err(unstated(if last == 0 { Unstated::Never } else { Unstated::Added }));
                }
                if at - self.now.max(self.latest.until) > OVERLAP {
                    return Err(unstated(Unstated::Future));
                }
                if before - at > OVERLAP {
                    return Err(unstated(Unstated::Backdated));
                }
            }
            before = before.max(at);
        }
        Ok(last)
    }
}

#[cfg(test)]
#[path = "heads_tests.rs"]
mod tests;
