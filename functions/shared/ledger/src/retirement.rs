//! How far the keys of a root that left the devices are out of use. Each step is on record before it is taken.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{IssuingRecord, SignedPlace};

/// Part of the root's record from its retirement on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retirement {
    /// When a rollover asked for it.
    #[serde(with = "time::serde::timestamp")]
    pub since: OffsetDateTime,
    /// Where the search for certificates that are still valid goes on; `None`: at the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<SignedPlace>,
    /// Whether the search is over.
    #[serde(default)]
    pub searched: bool,
    /// What the search found, by the number of the issuing authority; 0: signed by the root itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub valid: BTreeMap<u32, StillValid>,
    /// Nothing is done before this time.
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub again: Option<OffsetDateTime>,
    /// When its key was put out of use for good.
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<OffsetDateTime>,
    /// When KMS deletes its key.
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<OffsetDateTime>,
    /// Its keys are not deleted, and stay disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// Whether KMS is as this record says.
    #[serde(default)]
    pub done: bool,
}

/// Certificates that are neither expired nor revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StillValid {
    pub certificates: u64,
    /// The end of the last one.
    #[serde(with = "time::serde::timestamp")]
    pub until: OffsetDateTime,
}

/// Who cancelled the deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    /// The principal.
    pub by: String,
}

impl Retirement {
    pub const fn new(since: OffsetDateTime) -> Self {
        Self {
            since,
            place: None,
            searched: false,
            valid: BTreeMap::new(),
            again: None,
            retired: None,
            deletion: None,
            kept: None,
            done: false,
        }
    }

    /// Until when something that this authority signed, or the root itself (0), is valid.
    pub fn needs(&self, number: u32, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.valid.get(&number).map(|valid| valid.until).filter(|until| *until > now)
    }

    /// Whether the authority still signs its lists.
    pub fn needs_lists(&self, issuing: &IssuingRecord, now: OffsetDateTime) -> bool {
        self.retired.is_none() || self.needs(issuing.id().number, now).is_some()
    }

    /// Certificates that the search found.
    pub fn certificates(&self, now: OffsetDateTime) -> u64 {
        self.valid.values().filter(|valid| valid.until > now).map(|valid| valid.certificates).sum()
    }
}
