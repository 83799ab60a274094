//! The second person: operations that nobody carries out alone, who counts as another person, and what becomes of a
//! request from its first call to the one that is carried out.
//!
//! The first call is not carried out: it leaves an [`Ask`]. Somebody else [decides](Decision) on it. Then the first one
//! sends the same call again, and it is carried out once.

mod body;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::{Duration, OffsetDateTime};

pub use self::body::ShownBody;
use super::permission::{EVERYTHING, Grants, NotAnOperation, Operation, Right};
use super::principal::{NotAPrincipalName, PrincipalName};

/// How long a request waits for a decision, and a confirmed one for its second call: together, from the first call on.
pub const LIFETIME: Duration = Duration::DAY;

/// Most open requests of a principal: a request must not be lost among others, and whoever may ask must not fill the table.
pub const MOST_OPEN: usize = 100;

/// The operations that need a second person. None by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TwoPersons(BTreeSet<Operation>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotTwoPersons {
    #[error(transparent)]
    Operation(#[from] NotAnOperation),
    #[error(
        "the list has no {}: whoever may do that alone makes a second principal for himself, and confirms everything \
         else with it. Add it, or leave the list empty",
        Operation::AdministerAccess
    )]
    AccessAlone,
}

impl TwoPersons {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, operation: Operation) -> bool {
        self.0.contains(&operation)
    }
}

impl FromStr for TwoPersons {
    type Err = NotTwoPersons;

    /// Operations between commas, or nothing.
    fn from_str(text: &str) -> Result<Self, NotTwoPersons> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let operations = text.split(',').map(|each| each.trim().parse()).collect::<Result<BTreeSet<_>, _>>()?;
        if operations.contains(&Operation::AdministerAccess) {
            Ok(Self(operations))
        } else {
            Err(NotTwoPersons::AccessAlone)
        }
    }
}

/// A human being, or whoever answers for a program. Written as a principal's name, whose letter case does not matter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Person(String);

impl From<&PrincipalName> for Person {
    fn from(name: &PrincipalName) -> Self {
        Self(name.to_string().to_ascii_lowercase())
    }
}

impl Person {
    /// Whoever calls without a principal, by the caller's name. Two such names are two persons only for who made whom.
    pub fn unknown(caller: &str) -> Self {
        let name = caller.parse().or_else(|_| Fingerprint::of(caller.as_bytes()).to_string().parse::<PrincipalName>());
        name.map_or_else(|_| Self("unknown".to_owned()), |name| Self::from(&name))
    }
}

impl FromStr for Person {
    type Err = NotAPrincipalName;

    fn from_str(text: &str) -> Result<Self, NotAPrincipalName> {
        Ok(Self::from(&text.parse::<PrincipalName>()?))
    }
}

rootcast_pki::as_text!(Person);

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A principal, and who may act as it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    pub name: PrincipalName,
    /// Tells it from an earlier principal of its name.
    pub epoch: u64,
    /// Whose principal it is.
    pub person: Person,
    /// Whoever made the principal or set its password through the API: they know a credential of it, or may.
    pub made_by: BTreeSet<Person>,
}

impl Party {
    /// Whether these are two persons: nobody may act as both.
    pub fn is_second_to(&self, other: &Self) -> bool {
        let hands = |party: &Self| party.made_by.iter().cloned().chain([party.person.clone()]).collect::<BTreeSet<_>>();
        self.name != other.name && hands(self).is_disjoint(&hands(other))
    }
}

/// What makes two calls the same one, besides their caller.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    /// The header `Content-Type`, which decides how the body is read.
    pub content_type: &'a [u8],
    /// What is shown of it counts, so that a stored request cannot show something else.
    pub body: &'a ShownBody,
}

impl Call<'_> {
    /// The same for the same call of the same principal only: each part is preceded by its length.
    pub fn digest(&self, name: &PrincipalName, epoch: u64) -> Fingerprint {
        let Self { method, path, query, content_type, body } = *self;
        let (name, epoch, bytes) = (name.to_string(), epoch.to_be_bytes(), body.bytes.to_be_bytes());
        let parts = [
            name.as_bytes(),
            &epoch,
            method.as_bytes(),
            path.as_bytes(),
            query.as_bytes(),
            content_type,
            body.sha256.as_bytes(),
            &bytes,
            body.members.as_deref().unwrap_or_default().as_bytes(),
        ];
        let mut text = Vec::new();
        // Behind the name of a member, which is never as long.
        let rollout = body.rollout.iter().flat_map(|rollout| ["the stored rollout".as_bytes(), rollout.as_bytes()]);
        for part in parts.into_iter().chain(body.left_out.iter().map(String::as_bytes)).chain(rollout) {
            text.extend((part.len() as u64).to_be_bytes());
            text.extend(part);
        }
        Fingerprint::of(&text)
    }
}

/// The id of a request: the place of its call, of which there is one request at a time, and random digits. So what was
/// said of an earlier request for the same call does not count for a later one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskId(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the id of a request has 32 hexadecimal digits in lower case")]
pub struct NotAnAskId;

impl AskId {
    const PLACE: usize = 20;

    pub fn new(digest: &Fingerprint, random: [u8; 6]) -> Self {
        Self(Self::place_of(digest) + &hex::encode(random))
    }

    /// Where the request for a call of this digest is kept.
    pub fn place_of(digest: &Fingerprint) -> String {
        digest.to_string().chars().take(Self::PLACE).collect()
    }

    pub fn place(&self) -> &str {
        self.0.get(..Self::PLACE).unwrap_or_default()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AskId {
    type Err = NotAnAskId;

    fn from_str(text: &str) -> Result<Self, NotAnAskId> {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 32 && text.bytes().all(digit)).then(|| Self(text.to_owned())).ok_or(NotAnAskId)
    }
}

rootcast_pki::as_text!(AskId);

impl fmt::Display for AskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request that waits for a second person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub ask: AskId,
    /// Of the [call](Call::digest).
    pub digest: Fingerprint,
    /// What the call needs, and what whoever decides on it has to hold.
    pub operations: BTreeSet<Operation>,
    pub by: PrincipalName,
    pub epoch: u64,
    pub person: Person,
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub query: String,
    /// As it was sent.
    #[serde(default)]
    pub content_type: String,
    pub body: ShownBody,
    /// The distinguished name of what the call is about: whoever decides on it has to be able to read that.
    #[serde(default = "everything")]
    pub about: String,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub expires: OffsetDateTime,
    /// Since when the confirmation is used up: the call was carried out, or began to be.
    #[serde(default, with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub carried_out: Option<OffsetDateTime>,
    /// The request before for the same call, if that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formerly: Option<AskId>,
}

fn everything() -> String {
    EVERYTHING.to_owned()
}

/// What a second person said of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub verdict: Verdict,
    pub by: PrincipalName,
    pub epoch: u64,
    pub person: Person,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    /// When the request does.
    #[serde(with = "time::serde::timestamp")]
    pub expires: OffsetDateTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    Confirmed,
    Rejected,
}

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Nobody has decided on it.
    Open,
    Confirmed,
    Rejected,
    CarriedOut,
    Expired,
}

impl Ask {
    pub fn state(&self, decision: Option<&Decision>, now: OffsetDateTime) -> State {
        match (self.carried_out, decision) {
            (Some(_), _) => State::CarriedOut,
            _ if now >= self.expires => State::Expired,
            (None, None) => State::Open,
            (None, Some(Decision { verdict: Verdict::Confirmed, .. })) => State::Confirmed,
            (None, Some(Decision { verdict: Verdict::Rejected, .. })) => State::Rejected,
        }
    }

    /// Whether the principal is the one that asked.
    pub fn is_by(&self, party: &Party) -> bool {
        (&self.by, self.epoch) == (&party.name, party.epoch)
    }

    /// Whether these grants suffice to decide on the request.
    pub fn is_up_to(&self, grants: &Grants) -> bool {
        self.operations.iter().all(|operation| grants.may(*operation)) && grants.allow(Right::Read, &self.about)
    }

    /// Whether the request shows the call that it is for. Functions that may store requests may store false ones.
    pub fn shows_its_call(&self) -> bool {
        let Self { method, path, query, content_type, body, .. } = self;
        let call = Call { method, path, query, content_type: content_type.as_bytes(), body };
        let digest = call.digest(&self.by, self.epoch);
        digest == self.digest && AskId::place_of(&digest) == self.ask.place()
    }

    /// Whether this principal's confirmation counts. It is asked when the request is confirmed, and again when it is
    /// carried out, with both principals as they are then. `asker`: `None` if that principal is gone.
    ///
    /// # Errors
    /// Why it does not.
    pub fn can_be_confirmed(&self, asker: Option<&Party>, by: &Party, grants: &Grants) -> Result<(), NotSecond> {
        if let Some(lacking) = self.operations.iter().find(|operation| !grants.may(**operation)) {
            return Err(NotSecond::Lacks(*lacking));
        }
        if !grants.allow(Right::Read, &self.about) {
            return Err(NotSecond::Unseen);
        }
        let asker = asker.filter(|asker| self.is_by(asker)).ok_or(NotSecond::NobodyAsks)?;
        if by.is_second_to(asker) { Ok(()) } else { Err(NotSecond::SamePerson) }
    }
}

/// Why a principal cannot confirm a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotSecond {
    #[error("this needs the permission {0}")]
    Lacks(Operation),
    #[error("this needs the right to read what the call is about")]
    Unseen,
    #[error("the principal that asked no longer exists")]
    NobodyAsks,
    #[error("nobody confirms his own request, nor that of a user who shares a person or a maker with his")]
    SamePerson,
}

#[cfg(test)]
#[path = "second/tests.rs"]
mod tests;
