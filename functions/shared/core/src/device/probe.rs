//! What a probe of a device finds: a person's look at a device that fails, or before its record is written.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::job::task::Failure;

/// The last probe, in the device's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probed {
    /// Which probe this is of: what the call that asked for it returned.
    pub number: u32,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// Why the device could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// What the device shows. Texts are the device's own, without control characters and shortened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managers: Vec<Manager>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<FoundSlot>,
    /// By its own clock, at the end of the visit.
    #[serde(default, with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub clock: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub can: Vec<Ability>,
    /// What a job would fail with, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manager {
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// A system of the device says that it is managed by it.
    #[serde(default)]
    pub manages_system: bool,
    /// The one whose web server gets the device's certificate.
    #[serde(default)]
    pub is_used: bool,
}

/// A collection that takes trust anchors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundSlot {
    pub path: String,
    /// Certificates in it.
    pub members: u32,
    /// How many it takes, if there is a known limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub places: Option<u32>,
    /// The one that rollovers use.
    #[serde(default)]
    pub is_used: bool,
}

impl FoundSlot {
    pub fn free(&self) -> Option<u32> {
        self.places.map(|places| places.saturating_sub(self.members))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ability {
    /// Log-ins that end with a log-out; otherwise each request has the password.
    Sessions,
    /// A listing with its members in one request.
    Expand,
    /// Operations that go on after the answer.
    Tasks,
    /// It makes a key and a certificate request.
    Requests,
    ReplacesCertificate,
    /// With the certificate it takes a private key, by its profile.
    TakesPrivateKey,
    /// With the certificate it takes its chain, by its profile.
    TakesChain,
}
