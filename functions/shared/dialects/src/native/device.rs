//! The devices of the fleet.

use rootcast_core::device::address::DeviceAddress;
use rootcast_core::device::labels::Labels;
use rootcast_core::device::probe::Found;
use rootcast_core::device::{DeviceId, Driver, Incarnation, Pin, Profile, Slot};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::task::{ErrorClass, Probe as Proof};
use rootcast_ledger::Identity;
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::fingerprint::Fingerprint as Sha256;
use rootcast_pki::subject::DeviceSubject;
use serde::{Deserialize, Serialize};

/// `GET /devices`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    pub id: DeviceId,
    /// Changes when the id is enrolled again.
    pub incarnation: Incarnation,
    /// Grows with each change of address, pins, profile, slot, credential or subject.
    pub endpoint_revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When and in which order jobs come to it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    pub address: DeviceAddress,
    pub driver: Driver,
    pub profile: Profile,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// The device's name in its own certificate, if it differs from the host of its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<DeviceSubject>,
    /// Of the key that it makes for its own certificate, if it is not `ECDSA_P384`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_algorithm: Option<KeyAlgorithm>,
    pub credential: String,
    pub pins: Vec<Pin>,
    pub state: Standing,
    /// A changed identity that waits for its approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unapproved: Option<Unapproved>,
    /// The imported certificate that the device was last proven to present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateId>,
    /// The last proven content of the trust store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// The failure of the last visit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<LastFailure>,
    /// What the last probe found: `POST /devices/{id}/probe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// The lease of the worker that is working on the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeasedUntil>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unapproved {
    pub by: String,
    pub at: String,
    /// The last approved identity, to be compared with the device's present attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formerly: Option<Identity>,
}

/// Whether the device's identity is approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// Jobs skip the device.
    Pending,
    Approved,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    pub bundle_version: u64,
    pub sha256: Sha256,
    pub at: String,
    pub probe: Proof,
    /// Whether the proof is of the device's current version.
    pub current: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    pub class: ErrorClass,
    pub message: String,
    pub recovery: String,
    pub at: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// As the call that asked for the probe returned it.
    pub number: u32,
    pub at: String,
    /// By the device's own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<LastFailure>,
}

/// `POST /devices/{id}/probe`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeBegun {
    pub number: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedUntil {
    pub until: String,
}

/// `GET /devices/{id}/fingerprint`: what the device presents now, to any client. The operator decides whether it is the
/// right device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fingerprint {
    pub fingerprint: Pin,
    pub spki: Pin,
    pub subject: String,
    #[serde(default)]
    pub issuer: String,
    #[serde(default)]
    pub not_before: String,
    #[serde(default)]
    pub not_after: String,
}

/// The result of one row of `POST /devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// As sent, or made of the address; empty if it could not be read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    pub result: Enrolment,
    /// Why the row was refused, or what the device waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Enrolment {
    Created,
    /// The same device was enrolled before.
    Unchanged,
    Refused,
}
