//! A device's record.

use rootcast_core::audit::Actor;
use rootcast_core::device::address::DeviceAddress;
use rootcast_core::device::credential::sealed_name;
use rootcast_core::device::labels::Labels;
use rootcast_core::device::probe::Probed;
use rootcast_core::device::{DeviceId, DeviceVersion, Driver, Incarnation, Pin, Profile, Slot};
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::inventory::sealed::{SealContext, Sealed};
use rootcast_core::job::task::{Ack, Failure};
use rootcast_core::job::tries::AllTries;
use rootcast_core::job::visit::{self, TaskAttempt, Working};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::subject::DeviceSubject;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::{Lease, LedgerError};

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
    /// When and in which order jobs come to it. No part of its identity: whoever may write the device may change them.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    pub address: DeviceAddress,
    pub driver: Driver,
    pub profile: Profile,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// The subject of its own certificate; `None`: the host of its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<DeviceSubject>,
    /// Of the key that it makes for its own certificate; `None`: ECDSA on P-384. Whoever may write the device may change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_algorithm: Option<KeyAlgorithm>,
    /// Name of the SSM parameter with user name and password, or of the sealed ones. Never the credential itself.
    pub credential: String,
    /// User name and password, which only a worker opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// Empty until the certificate that the device shows is known.
    #[serde(default)]
    pub pins: Vec<Pin>,
    /// Absent if the identity is approved, or was set by somebody who may approve it, but without pins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unapproved: Option<Unapproved>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<ObservedTrustStore>,
    /// The last probe that a person asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probed: Option<Probed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Visits that began since the last one that is known to have ended. Each lease counts as one.
    #[serde(default)]
    pub begun: u32,
    /// The failed visits for the last tasks that were not settled at the first visit.
    #[serde(default, skip_serializing_if = "AllTries::is_empty")]
    pub tries: AllTries,
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

/// What decides where a device's credential and keys are sent, and which name its certificate carries. Only a caller
/// with the operation `approve-device` decides that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub address: DeviceAddress,
    pub pins: Vec<Pin>,
    pub profile: Profile,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    pub credential: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<DeviceSubject>,
}

/// A new or changed identity that waits for its approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unapproved {
    /// Name of the principal who made the last change.
    pub by: String,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    /// The last approved identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formerly: Option<Identity>,
}

/// Who writes a device, and what this principal may decide.
#[derive(Debug, Clone, Copy)]
pub struct Editor<'a> {
    pub name: &'a str,
    /// Request id of the API call.
    pub request: Option<&'a str>,
    /// Whether a new identity counts as approved.
    pub may_approve: bool,
    /// Whether a device may leave the fleet while a rollover waits for its proof.
    pub may_release: bool,
    /// Whether the device's own certificate may be revoked.
    pub may_revoke: bool,
}

impl Editor<'_> {
    /// As named in the audit chains.
    pub(super) fn actor(&self) -> Actor {
        Actor { principal: self.name.to_owned(), request_id: self.request.map(str::to_owned) }
    }
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
            labels: Labels::NONE,
            address,
            driver,
            profile,
            slot: None,
            subject: None,
            key_algorithm: None,
            credential,
            sealed: None,
            pins: Vec::new(),
            unapproved: None,
            held: None,
            probed: None,
            lease: None,
            begun: 0,
            tries: AllTries::NONE,
            working: None,
            goal: 0,
            certificate: None,
            bindings: Vec::new(),
            revision: 0,
        }
    }

    /// The device's user name and password are in this SSM parameter from now on.
    pub fn take_parameter(&mut self, name: String) {
        (self.credential, self.sealed) = (name, None);
    }

    /// The device's user name and password are these from now on.
    pub fn take_sealed(&mut self, sealed: Sealed) {
        (self.credential, self.sealed) = (sealed_name(&sealed), Some(sealed));
    }

    /// What its credential is sealed for.
    pub fn seal_context(&self) -> SealContext {
        SealContext::DeviceCredential { device: self.id.clone(), incarnation: self.incarnation }
    }

    /// The current version of the device.
    pub const fn version(&self) -> DeviceVersion {
        DeviceVersion { incarnation: self.incarnation, endpoint_revision: self.endpoint_revision }
    }

    /// `None` until the device's identity is approved: jobs skip it, and nothing is sent to it.
    pub fn approved_version(&self) -> Option<DeviceVersion> {
        (!self.pins.is_empty() && self.unapproved.is_none()).then(|| self.version())
    }

    pub fn identity(&self) -> Identity {
        Identity {
            address: self.address.clone(),
            pins: self.pins.clone(),
            profile: self.profile,
            slot: self.slot.clone(),
            credential: self.credential.clone(),
            subject: self.subject.clone(),
        }
    }

    /// The record after an edit of `self` to `after`. A changed identity is a new version of the device. An approved
    /// device stays approved if its editor may approve devices; an unapproved one needs an approval of its own, so that
    /// nobody approves an earlier change without seeing it.
    pub(super) fn edited(&self, after: Self, editor: Editor<'_>, now: OffsetDateTime) -> Self {
        let moved = self.identity() != after.identity();
        let stays = !moved || (editor.may_approve && self.unapproved.is_none());
        let formerly = match &self.unapproved {
            Some(unapproved) => unapproved.formerly.clone(),
            None => self.approved_version().map(|_| self.identity()),
        };
        let unapproved = Unapproved { by: editor.name.to_owned(), at: now, formerly };
        Self {
            revision: self.revision + 1,
            endpoint_revision: self.endpoint_revision + u64::from(moved),
            unapproved: if stays { self.unapproved.clone() } else { Some(unapproved) },
            ..after
        }
    }

    /// The lease of the worker that is at the device.
    fn visited(&self, now: OffsetDateTime) -> Option<&Lease> {
        self.lease.as_ref().filter(|lease| now < lease.until)
    }

    /// # Errors
    /// [`LedgerError::Visited`].
    pub(super) fn refuse_while_visited(&self, now: OffsetDateTime) -> Result<(), LedgerError> {
        let refusal = |lease: &Lease| LedgerError::Visited { device: self.id.clone(), until: lease.until };
        self.visited(now).map_or(Ok(()), |lease| Err(refusal(lease)))
    }

    /// Whether a worker holds the device, or this attempt will continue by itself.
    pub fn is_under_way(&self, task: TaskAttempt, late: Duration, now: OffsetDateTime) -> bool {
        self.visited(now).is_some() || visit::is_under_way(task, &self.tries, self.working.as_ref(), late, now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const OPERATOR: Editor<'static> =
        Editor { name: "operator", request: None, may_approve: false, may_release: false, may_revoke: false };
    const APPROVER: Editor<'static> =
        Editor { name: "approver", request: None, may_approve: true, may_release: false, may_revoke: false };

    fn approved() -> DeviceRecord {
        let incarnation = Incarnation::from_random([1; 16]);
        let (address, credential) = ("https://10.0.0.7".parse().unwrap(), "/rootcast/devices/bmc-1".to_owned());
        let id = "bmc-1".parse().unwrap();
        let device = DeviceRecord::new(id, incarnation, address, Driver::Redfish, Profile::Dmtf, credential);
        DeviceRecord { pins: vec![format!("sha256:{}", "ab".repeat(32)).parse().unwrap()], ..device }
    }

    /// Each attribute of the identity, changed alone.
    fn moved(device: &DeviceRecord) -> [DeviceRecord; 6] {
        let subject = DeviceSubject::new("other", ["other.example".to_owned()], Vec::new()).unwrap();
        let pin = format!("sha256:{}", "cd".repeat(32)).parse().unwrap();
        [
            DeviceRecord { address: "https://10.9.9.9".parse().unwrap(), ..device.clone() },
            DeviceRecord { pins: vec![pin], ..device.clone() },
            DeviceRecord { profile: Profile::Openbmc, ..device.clone() },
            DeviceRecord { slot: Some("/redfish/v1/Managers/1/Other".parse().unwrap()), ..device.clone() },
            DeviceRecord { credential: "/rootcast/devices/bmc-2".to_owned(), ..device.clone() },
            DeviceRecord { subject: Some(subject), ..device.clone() },
        ]
    }

    #[test]
    fn an_operators_change_of_identity_needs_an_approval() {
        let before = approved();
        for after in moved(&before) {
            let edited = before.edited(after.clone(), OPERATOR, NOW);
            assert_eq!((edited.approved_version(), edited.endpoint_revision), (None, 2), "{after:?}");
            let unapproved = edited.unapproved.clone().unwrap();
            assert_eq!((unapproved.by.as_str(), &unapproved.formerly), ("operator", &Some(before.identity())));
            // Another change keeps the identity that was approved last.
            let again =
                edited.edited(DeviceRecord { address: "https://10.8.8.8".parse().unwrap(), ..after }, OPERATOR, NOW);
            assert_eq!(again.unapproved.unwrap().formerly, Some(before.identity()));
        }
    }

    #[test]
    fn nobody_approves_an_earlier_change_by_another_edit() {
        let before = approved();
        for after in moved(&before) {
            assert!(before.edited(after.clone(), APPROVER, NOW).approved_version().is_some(), "{after:?}");
            let pending = before.edited(after, OPERATOR, NOW);
            let named = DeviceRecord { name: Some("BMC".to_owned()), ..pending.clone() };
            assert_eq!(pending.edited(named, APPROVER, NOW).approved_version(), None);
            for next in moved(&pending) {
                assert_eq!(pending.edited(next, APPROVER, NOW).approved_version(), None);
            }
        }
    }

    #[test]
    fn a_name_or_an_unchanged_identity_needs_no_approval() {
        let before = approved();
        let named = before.edited(DeviceRecord { name: Some("BMC".to_owned()), ..before.clone() }, OPERATOR, NOW);
        assert_eq!((named.approved_version(), named.revision), (Some(before.version()), 1));
        assert!(before.edited(before.clone(), OPERATOR, NOW).approved_version().is_some());
    }
}
