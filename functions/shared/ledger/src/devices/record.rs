//! A device's record.

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
    /// Of this enrolment.
    pub incarnation: Incarnation,
    /// See [`DeviceVersion`].
    pub endpoint_revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `https://host[:port]`.
    pub address: String,
    pub driver: Driver,
    pub profile: Profile,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// What its own certificate says of it; `None`: the host of its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<DeviceSubject>,
    /// Name of the SSM parameter that holds user name and password. Never the credential itself.
    pub credential: String,
    /// Empty until an operator approved what the device showed.
    #[serde(default)]
    pub pins: Vec<Pin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<ObservedTrustStore>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Visits that began since one is known to have ended. Each lease counts.
    #[serde(default)]
    pub begun: u32,
    /// The failed visits for the last task that was not settled at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<Tries>,
    /// What it works on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working: Option<Working>,
    /// The highest bundle version that a task wanted here: a late task of an older one does nothing.
    #[serde(default)]
    pub goal: u64,
    /// The imported certificate that the device was last proven to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateId>,
    /// Certificates with a [use](crate::UseRecord) of this device: shown, on their way, or failed.
    #[serde(default)]
    pub bindings: Vec<CertificateId>,
    /// Grows with each change of what an operator edits, of pins and of bindings; leases and findings do not touch it.
    pub revision: u64,
}

/// What the device's trust store was last *seen* to hold, or why it was not.
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
    /// A device as it begins: without a name or a slot, not approved, nothing known of it.
    pub const fn new(
        id: DeviceId,
        incarnation: Incarnation,
        address: String,
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

    /// The device as it is now.
    pub const fn version(&self) -> DeviceVersion {
        DeviceVersion { incarnation: self.incarnation, endpoint_revision: self.endpoint_revision }
    }

    /// `None` while nobody has approved what the device showed: jobs pass over it.
    pub fn approved_version(&self) -> Option<DeviceVersion> {
        (!self.pins.is_empty()).then(|| self.version())
    }

    /// Whether a worker is at it, or something of this attempt is still to come by itself.
    pub fn is_under_way(&self, task: TaskAttempt, late: Duration, now: OffsetDateTime) -> bool {
        let is_leased = self.lease.as_ref().is_some_and(|lease| now < lease.until);
        is_leased || visit::is_under_way(task, self.tries.as_ref(), self.working.as_ref(), late, now)
    }

    /// Whether it is reached and recognised in the same way.
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
