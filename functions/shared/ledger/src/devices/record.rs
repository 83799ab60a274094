//! A device's record.

use rootcast_core::device::address::DeviceAddress;
use rootcast_core::device::{DeviceId, DeviceVersion, Driver, Incarnation, Pin, Profile, Slot};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::task::{Ack, Failure};
use rootcast_core::job::visit::{self, TaskAttempt, Tries, Working};
use rootcast_pki::subject::DeviceSubject;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::Lease;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceRecord {
    pub id: DeviceId,
    /// The current enrolment.
    pub incarnation: Incarnation,
    /// See [`DeviceVersion`].
    pub endpoint_revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub address: DeviceAddress,
    pub driver: Driver,
    pub profile: Profile,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// The subject of its own certificate; `None`: the host of its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<DeviceSubject>,
    /// Name of the SSM parameter with user name and password. Never the credential itself.
    pub credential: String,
    /// Empty until an operator has approved the certificate that the device showed.
    #[serde(default)]
    pub pins: Vec<Pin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<ObservedTrustStore>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Visits that began since the last one that is known to have ended. Each lease counts as one.
    #[serde(default)]
    pub begun: u32,
    /// The failed visits for the last task that was not settled at the first visit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<Tries>,
    /// Work that the device does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working: Option<Working>,
    /// The highest bundle version requested for this device. Late tasks for an older version are ignored.
    #[serde(default)]
    pub goal: u64,
    /// The stored certificate that the device was last proven to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateId>,
    /// Certificates with a [use](crate::UseRecord) on this device: shown, on their way, or failed.
    #[serde(default)]
    pub bindings: Vec<CertificateId>,
    /// Incremented by each change of pins, bindings, or what an operator edits; not by leases and findings.
    pub revision: u64,
}

/// What the device's trust store was last *seen* to hold, or why it could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedTrustStore {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<Ack>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

impl DeviceRecord {
    /// A new device: without name or slot, not approved, nothing known about it.
    pub const fn new(
        id: DeviceId,
        incarnation: Incarnation,
        address: DeviceAddress,
        driver: Driver,
        profile: Profile,
        credential: String,
    ) -> Self {
        Self {
            id,
            incarnation,
            endpoint_revision: 1,
            name: None,
            address,
            driver,
            profile,
            slot: None,
            subject: None,
            credential,
            pins: Vec::new(),
            held: None,
            lease: None,
            begun: 0,
            tries: None,
            working: None,
            goal: 0,
            certificate: None,
            bindings: Vec::new(),
            revision: 0,
        }
    }

    /// The current version of the device.
    pub const fn version(&self) -> DeviceVersion {
        DeviceVersion { incarnation: self.incarnation, endpoint_revision: self.endpoint_revision }
    }

    /// `None` until the device's pins are approved: jobs skip it.
    pub fn approved_version(&self) -> Option<DeviceVersion> {
        (!self.pins.is_empty()).then(|| self.version())
    }

    /// Whether a worker holds the device, or this attempt will continue by itself.
    pub fn is_under_way(&self, task: TaskAttempt, late: Duration, now: OffsetDateTime) -> bool {
        let is_leased = self.lease.as_ref().is_some_and(|lease| now < lease.until);
        is_leased || visit::is_under_way(task, self.tries.as_ref(), self.working.as_ref(), late, now)
    }

    /// Whether both have the same address, pins and other endpoint attributes.
    pub(super) fn is_same_endpoint(&self, other: &Self) -> bool {
        let of = |device: &'_ Self| {
            (
                device.address.clone(),
                device.pins.clone(),
                device.profile,
                device.slot.clone(),
                device.credential.clone(),
            )
        };
        of(self) == of(other)
    }
}
