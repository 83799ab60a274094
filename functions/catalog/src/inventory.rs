//! A device as the API shows it, and the rules for its fields.

use std::net::IpAddr;

use rootcast_core::device::address::{AddressPolicy, DeviceAddress};
use rootcast_core::device::credential::may_name;
use rootcast_core::device::probe::{Found, Probed};
use rootcast_core::device::{DeviceId, Pin};
use rootcast_core::job::task::Failure;
use rootcast_dialects::native::{Device, Held, LastFailure, LeasedUntil, Probe, Standing, Unapproved};
use rootcast_ledger::DeviceRecord;
use url::Host;

use crate::app::Parts;
use crate::stamp::stamp;

/// In characters.
const LONGEST_NAME: usize = 256;
/// Replacing a device's certificate needs two pins: the old certificate's and the new key's.
const MOST_PINS: usize = 8;

pub(crate) fn shown(record: DeviceRecord) -> Device {
    let version = record.version();
    let is_approved = record.approved_version().is_some();
    let (ack, failure, at) = match record.held {
        Some(held) => (held.ack, held.failure, stamp(held.at)),
        None => (None, None, String::new()),
    };
    Device {
        id: record.id,
        incarnation: record.incarnation,
        endpoint_revision: record.endpoint_revision,
        name: record.name,
        labels: record.labels,
        address: record.address,
        driver: record.driver,
        profile: record.profile,
        slot: record.slot,
        subject: record.subject,
        key_algorithm: record.key_algorithm,
        credential: record.credential,
        state: if is_approved { Standing::Approved } else { Standing::Pending },
        unapproved: record.unapproved.map(|rootcast_ledger::Unapproved { by, at, formerly }| Unapproved {
            by,
            at: stamp(at),
            formerly,
        }),
        pins: record.pins,
        certificate: record.certificate,
        held: ack.map(|ack| Held {
            bundle_version: ack.bundle_version,
            sha256: ack.sha256,
            at: stamp(ack.at),
            probe: ack.probe,
            current: ack.of == version,
        }),
        failure: failure.map(|failure| told(failure, at)),
        probe: record.probed.map(probe),
        lease: record.lease.map(|lease| LeasedUntil { until: stamp(lease.until) }),
    }
}

fn told(failure: Failure, at: String) -> LastFailure {
    LastFailure { recovery: failure.recovery().to_owned(), class: failure.class, message: failure.message, at }
}

fn probe(Probed { number, at, found, failure }: Probed) -> Probe {
    let clock = found.as_ref().and_then(|found| found.clock).map(stamp);
    // Told once, as text.
    let found = found.map(|found| Found { clock: None, ..found });
    let at = stamp(at);
    let failure = failure.map(|failure| LastFailure { recovery: failure.remedy(), ..told(failure, at.clone()) });
    Probe { number, at, clock, found, failure }
}

/// The deployment's rules for device records. Each refusal is a sentence that says what to do.
pub(crate) struct Rules<'a> {
    networks: &'a AddressPolicy,
    credential_prefix: &'a str,
}

impl<'a> From<&'a Parts> for Rules<'a> {
    fn from(parts: &'a Parts) -> Self {
        Self::new(&parts.networks, &parts.credential_prefix)
    }
}

impl<'a> Rules<'a> {
    pub(crate) fn new(networks: &'a AddressPolicy, credential_prefix: &'a str) -> Self {
        Self { networks, credential_prefix }
    }

    /// A host name is checked when it is resolved, at every visit to the device.
    pub(crate) fn address(&self, address: &DeviceAddress) -> Result<(), String> {
        let literal = match address.host() {
            Host::Ipv4(v4) => IpAddr::V4(*v4),
            Host::Ipv6(v6) => IpAddr::V6(*v6),
            Host::Domain(_) => return Ok(()),
        };
        self.networks.permits(literal).map_err(|why| {
            format!(
                "address: {why}. Correct it, or name the device's network in the deployment's DeviceCidrs parameter."
            )
        })
    }

    pub(crate) fn credential(&self, id: &DeviceId, name: &str) -> Result<(), String> {
        let prefix = self.credential_prefix;
        if may_name(prefix, name, id) {
            return Ok(());
        }
        Err(format!(
            "credential is the name of the SSM parameter with the device's user name and password: {prefix}{id}, or {prefix}shared/NAME for one that says itself for which addresses it is."
        ))
    }

    pub(crate) fn name(name: &str) -> Result<(), String> {
        if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(format!("name has 1 to {LONGEST_NAME} characters, none of them a control character."));
        }
        Ok(())
    }

    /// Without duplicates, in the order given.
    pub(crate) fn pins(pins: &[Pin]) -> Result<Vec<Pin>, String> {
        let mut unique: Vec<Pin> = Vec::new();
        for pin in pins {
            if !unique.contains(pin) {
                unique.push(*pin);
            }
        }
        if unique.len() > MOST_PINS {
            return Err(format!("a device has at most {MOST_PINS} pins."));
        }
        Ok(unique)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::device::{DeviceVersion, Driver, Incarnation, Profile};
    use rootcast_core::job::task::{Ack, ErrorClass, Failure, Probe};
    use rootcast_pki::fingerprint::Fingerprint;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn serializes_a_device() {
        let pin: Pin = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let incarnation = Incarnation::from_random([1; 16]);
        let at = datetime!(2026-01-02 03:04:05 UTC);
        let of = DeviceVersion { incarnation, endpoint_revision: 1 };
        let sha256 = Fingerprint::from_bytes([0xcd; 32]);
        let ack = Ack { of, at, bundle_version: 3, sha256, probe: Probe::ReadBack };
        let held = rootcast_ledger::ObservedTrustStore { ack: Some(ack), failure: None, at };
        let (address, credential) = ("https://10.0.0.7".parse().unwrap(), "/rootcast/devices/bmc-1".to_owned());
        let id = "bmc-1".parse().unwrap();
        let mut record = DeviceRecord::new(id, incarnation, address, Driver::Redfish, Profile::LenovoXcc, credential);
        let expected = json!({
            "id": "bmc-1", "incarnation": "01".repeat(16), "endpointRevision": 1, "address": "https://10.0.0.7", "driver": "redfish", "profile": "lenovo-xcc",
            "credential": "/rootcast/devices/bmc-1", "pins": [], "state": "pending",
        });
        assert_eq!(serde_json::to_value(shown(record.clone())).unwrap(), expected);
        record.pins = vec![pin];
        record.held = Some(held.clone());
        record.lease =
            Some(rootcast_ledger::Lease { owner: "w".to_owned(), until: datetime!(2026-01-02 03:06:05 UTC) });
        let seen = serde_json::to_value(shown(record.clone())).unwrap();
        assert_eq!(seen["state"], "approved");
        assert_eq!(
            seen["held"],
            json!({ "bundleVersion": 3, "sha256": "cd".repeat(32), "at": "2026-01-02T03:04:05Z", "probe": "readBack", "current": true })
        );
        assert_eq!(seen["lease"], json!({ "until": "2026-01-02T03:06:05Z" }));
        record.held = Some(rootcast_ledger::ObservedTrustStore {
            ack: None,
            failure: Some(Failure::new(ErrorClass::StoreFull, "full")),
            ..held
        });
        let seen = serde_json::to_value(shown(record)).unwrap();
        assert_eq!((&seen["held"], &seen["failure"]["class"]), (&json!(null), &json!("storeFull")));
    }

    #[test]
    fn rules_refuse_invalid_device_fields() {
        let networks: AddressPolicy = "10.0.0.0/8".parse().unwrap();
        let rules = Rules::new(&networks, "/rootcast/devices/");
        let address = |text: &str| rules.address(&text.parse().unwrap());
        assert!(address("https://10.0.0.7").is_ok() && address("https://bmc.example:444").is_ok());
        for refused in ["https://11.0.0.7", "https://169.254.169.254", "https://[::ffff:127.0.0.1]", "https://0x7f.1"] {
            assert!(address(refused).unwrap_err().contains("DeviceCidrs"), "{refused}");
        }
        let credential = |name: &str| rules.credential(&"bmc-1".parse().unwrap(), name);
        assert!(credential("/rootcast/devices/bmc-1").is_ok() && credential("/rootcast/devices/shared/rack").is_ok());
        assert!(credential("/rootcast/devices/bmc-2").unwrap_err().contains("/rootcast/devices/bmc-1"));
        assert!(
            Rules::name("Rack 1, unit 7 – Köln").is_ok() && Rules::name("a\nb").is_err() && Rules::name("").is_err()
        );
        let pin = |digit: u8| format!("spki-sha256:{}", hex(digit)).parse::<Pin>().unwrap();
        assert_eq!(Rules::pins(&[pin(1), pin(2), pin(1)]).unwrap(), [pin(1), pin(2)]);
        assert!(Rules::pins(&(0..9).map(pin).collect::<Vec<_>>()).is_err());
    }

    fn hex(byte: u8) -> String {
        format!("{byte:02x}").repeat(32)
    }
}
