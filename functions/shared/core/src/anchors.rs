//! The trust anchors of others: which ones the devices hold, which ones they are getting, and which ones they must lose.
//!
//! A job brings each change to the devices. Its abort is the opposite change: what was being added is removed, and what
//! was being removed is added.

use std::fmt;
use std::str::FromStr;

use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;

use crate::job::JobId;

/// Most trust anchors of others at a time. What a bundle has room for may be less.
pub const MOST: usize = 50;
/// Most fingerprints of removed ones that a bundle lists, the newest: twice what one job can remove. A device that missed
/// the removal of an older one keeps it.
pub const MOST_WITHDRAWN: usize = 2 * MOST;

/// A decimal number. Each one's is higher than the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AnchorId(pub u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the id of a trusted certificate is a decimal number")]
pub struct NotAnAnchorId;

impl fmt::Display for AnchorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for AnchorId {
    type Err = NotAnAnchorId;

    /// Each id has one spelling only.
    fn from_str(text: &str) -> Result<Self, NotAnAnchorId> {
        text.parse().ok().map(Self).filter(|id| id.to_string() == text).ok_or(NotAnAnchorId)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AnchorState {
    /// A job brings it to the devices.
    Adding,
    /// The devices hold it, or get it when they join.
    Trusted,
    /// A job removes it from the devices.
    Removing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub id: AnchorId,
    pub certificate: Certificate,
    pub state: AnchorState,
    /// The job that adds or removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    #[serde(with = "time::serde::timestamp")]
    pub added: OffsetDateTime,
}

/// All trust anchors of others: one record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Anchors {
    /// 0 before the first write.
    pub revision: u64,
    /// The last id given out.
    last: u64,
    anchors: Vec<Anchor>,
    /// Removed ones, the newest last.
    withdrawn: Vec<Fingerprint>,
}

/// Why the trust anchors of others are not changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotChanged {
    #[error("{0:.256} is one of our own roots, or has the name or the key of one")]
    Ours(String),
    #[error("{subject:.256} is trusted already, under the id {id}")]
    Twice { id: AnchorId, subject: String },
    #[error("{0:.256} is there twice")]
    Repeated(String),
    #[error("there may be {MOST} trusted certificates at most, and there are {0}")]
    Many(usize),
    #[error("there is no trusted certificate {0}")]
    Unknown(AnchorId),
    /// Two jobs for one anchor.
    #[error("a job is still at the trusted certificate {0}")]
    Busy(AnchorId),
}

/// What the operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnchorChange {
    Add(Vec<Certificate>),
    Remove(AnchorId),
}

impl Anchors {
    /// The record that replaces this one.
    #[must_use]
    pub fn next_revision(&self) -> Self {
        Self { revision: self.revision + 1, ..self.clone() }
    }

    /// By their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Anchor> {
        self.anchors.iter()
    }

    pub fn get(&self, id: AnchorId) -> Option<&Anchor> {
        self.iter().find(|anchor| anchor.id == id)
    }

    /// Those that the devices are to hold.
    pub fn live(&self) -> impl Iterator<Item = &Certificate> {
        self.iter().filter(|anchor| anchor.state != AnchorState::Removing).map(|anchor| &anchor.certificate)
    }

    /// Those that the devices are to lose, or to have lost.
    pub fn withdrawn(&self) -> impl Iterator<Item = Fingerprint> {
        let removing = self.iter().filter(|anchor| anchor.state == AnchorState::Removing);
        removing.map(|anchor| anchor.certificate.fingerprint()).chain(self.withdrawn.iter().copied())
    }

    /// Makes the change as far as the bundle goes; [`Anchors::begin`] or [`Anchors::settle`] must follow. Returns the ids of
    /// what changes. `ours`: all of our roots, also former ones.
    pub fn change<'a>(
        &mut self,
        change: &AnchorChange,
        ours: impl Iterator<Item = &'a Certificate> + Clone,
        now: OffsetDateTime,
    ) -> Result<Vec<AnchorId>, NotChanged> {
        match change {
            AnchorChange::Remove(id) => {
                let anchor = self.anchors.iter_mut().find(|anchor| anchor.id == *id).ok_or(NotChanged::Unknown(*id))?;
                if anchor.state != AnchorState::Trusted {
                    return Err(NotChanged::Busy(*id));
                }
                anchor.state = AnchorState::Removing;
                Ok(vec![*id])
            }
            AnchorChange::Add(certificates) => {
                let (before, known) = (self.clone(), self.last);
                let added =
                    certificates.iter().try_for_each(|certificate| self.add(certificate, known, ours.clone(), now));
                if let Err(why) = added {
                    *self = before;
                    return Err(why);
                }
                Ok((known + 1..=self.last).map(AnchorId).collect())
            }
        }
    }

    /// `known`: the last id before this request.
    fn add<'a>(
        &mut self,
        certificate: &Certificate,
        known: u64,
        mut ours: impl Iterator<Item = &'a Certificate>,
        now: OffsetDateTime,
    ) -> Result<(), NotChanged> {
        let subject = || certificate.subject_dn().to_owned();
        // A device that builds a chain by names would try a stranger's key for what our root signed.
        let is_ours = |root: &Certificate| {
            root.spki_der() == certificate.spki_der() || root.subject_dn() == certificate.subject_dn()
        };
        if ours.any(is_ours) {
            return Err(NotChanged::Ours(subject()));
        }
        let is_same = |other: &Certificate| {
            other == certificate
                || (other.subject_dn() == certificate.subject_dn() && other.spki_der() == certificate.spki_der())
        };
        match self.iter().find(|anchor| is_same(&anchor.certificate)) {
            Some(anchor) if anchor.id.0 > known => return Err(NotChanged::Repeated(subject())),
            Some(anchor) => return Err(NotChanged::Twice { id: anchor.id, subject: subject() }),
            None => {}
        }
        if self.anchors.len() >= MOST {
            return Err(NotChanged::Many(self.anchors.len()));
        }
        self.last += 1;
        // A bundle with one certificate in both lists would be refused.
        self.withdrawn.retain(|gone| *gone != certificate.fingerprint());
        self.anchors.push(Anchor {
            id: AnchorId(self.last),
            certificate: certificate.clone(),
            state: AnchorState::Adding,
            job: None,
            added: now,
        });
        Ok(())
    }

    /// The job brings what was changed to the devices.
    pub fn begin(&mut self, job: JobId) {
        for anchor in self.anchors.iter_mut().filter(|anchor| anchor.state != AnchorState::Trusted) {
            anchor.job.get_or_insert(job);
        }
    }

    /// The job is aborted: it brings the opposite to the devices.
    pub fn turn_back(&mut self, job: JobId) {
        for anchor in self.anchors.iter_mut().filter(|anchor| anchor.job == Some(job)) {
            anchor.state = match anchor.state {
                AnchorState::Adding => AnchorState::Removing,
                AnchorState::Removing => AnchorState::Adding,
                AnchorState::Trusted => AnchorState::Trusted,
            };
        }
    }

    /// The job is over: the devices hold what they are to hold. `None`: there are no devices.
    pub fn settle(&mut self, job: Option<JobId>) {
        let is_of_it = |anchor: &Anchor| anchor.state != AnchorState::Trusted && anchor.job == job;
        let gone = self.anchors.extract_if(.., |anchor| is_of_it(anchor) && anchor.state == AnchorState::Removing);
        self.withdrawn.extend(gone.map(|anchor| anchor.certificate.fingerprint()));
        let too_many = self.withdrawn.len().saturating_sub(MOST_WITHDRAWN);
        self.withdrawn.drain(..too_many);
        for anchor in self.anchors.iter_mut().filter(|anchor| is_of_it(anchor)) {
            (anchor.state, anchor.job) = (AnchorState::Trusted, None);
        }
    }
}

#[cfg(test)]
#[path = "anchors_tests.rs"]
mod tests;
