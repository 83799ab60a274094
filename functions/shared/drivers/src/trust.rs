//! What a device should hold, and what it was seen to hold.

use std::time::Duration;

use rootcast_core::device::Pin;
use rootcast_core::device::address::DeviceAddress;
use rootcast_pki::fingerprint::Fingerprint;

use crate::redfish::Monitor;

/// A device as it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub address: DeviceAddress,
    /// Any of them will do: during a renewal of the device's certificate there are two.
    pub pins: Vec<Pin>,
}

/// The change wanted in a device's trust slot. Anchors that are named in neither list stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustGoal {
    /// Certificates, DER.
    pub install: Vec<Vec<u8>>,
    /// What must be gone at the end. A certificate in both lists is refused.
    pub remove: Vec<Fingerprint>,
}

/// Everything that was read back from a trust slot: each certificate once, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustStoreContent {
    pub anchors: Vec<Fingerprint>,
}

/// The goal is reached, and was proven by a listing after the last write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converged {
    pub held: TrustStoreContent,
    /// Whether anything was written.
    pub changed: bool,
}

/// The device has the certificate: read back, and shown on a connection that was made after the last write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// SHA-256 of the leaf that was shown.
    pub shown: Fingerprint,
    /// Whether anything was written.
    pub changed: bool,
}

/// How far one attempt came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<T = Converged> {
    Done(T),
    /// The device works on it by itself. Ask the monitor `after` that time; at most 900 s, which is what a queue
    /// message can be delayed by.
    Running {
        monitor: Monitor,
        after: Duration,
    },
}
