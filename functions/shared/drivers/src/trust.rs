//! The wanted content of a device's trust slot, and the content that was read.

use std::time::Duration;

use rootcast_core::device::Pin;
use rootcast_core::device::address::DeviceAddress;
use rootcast_pki::fingerprint::Fingerprint;

use crate::redfish::Monitor;

/// How to reach and recognise a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub address: DeviceAddress,
    /// One match suffices: during a renewal of the device's certificate there are two.
    pub pins: Vec<Pin>,
}

/// The wanted change of a device's trust slot. Anchors in no list stay unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustGoal {
    /// Certificates, DER, the most urgent first: a device may have places for some only.
    pub install: Vec<Vec<u8>>,
    /// Certificates, DER, for the places that are left. That a device refuses one is no failure.
    pub optional: Vec<Vec<u8>>,
    /// Certificates that must be absent afterwards. A certificate to be installed, too, is refused.
    pub remove: Vec<Fingerprint>,
}

/// The content of a trust slot as read back: each certificate once, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustStoreContent {
    pub anchors: Vec<Fingerprint>,
}

/// The goal is reached, proven by a listing after the last write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converged {
    pub held: TrustStoreContent,
    /// Whether anything was written, besides optional anchors.
    pub changed: bool,
}

/// The device has the certificate: read back, and shown on a connection made after the last write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Installed {
    /// SHA-256 of the leaf that the device showed.
    pub shown: Fingerprint,
    /// Whether anything was written.
    pub changed: bool,
}

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<T = Converged> {
    Done(T),
    /// The device is processing the write asynchronously. Query the monitor after `after`; at most 900 s, the longest
    /// delay of a queue message.
    Running {
        monitor: Monitor,
        after: Duration,
    },
}
