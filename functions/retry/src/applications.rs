//! Venafi's applications, which are devices here.

use std::collections::HashSet;
use std::fmt::Display;

use rootcast_core::access::permission::Right;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::{application_dn, device_of_application};
use rootcast_dialects::venafi::{VenafiError, lines};
use rootcast_gate::Principal;
use rootcast_gate::routes::Denied;
use rootcast_operations::DeviceRefusal;
use serde::Deserialize;

/// As clients send them: a list, or a single name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Applications {
    One(String),
    Several(Vec<String>),
}

/// An invalid name is repeated in the error up to this length, that of the longest valid name.
const LONGEST: usize = 90;

impl Applications {
    /// The devices without duplicates: 1 to `most`.
    ///
    /// # Errors
    /// If a name is not a device's; the error lists all of these names.
    pub(crate) fn devices(self, most: usize) -> Result<Vec<DeviceId>, VenafiError> {
        let dns = match self {
            Self::One(dn) => vec![dn],
            Self::Several(dns) => dns,
        };
        let (mut devices, mut strangers, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for dn in dns {
            match device_of_application(&dn) {
                Some(device) if seen.insert(device.clone()) => devices.push(device),
                Some(_) => {}
                None => strangers.push(dn.chars().take(LONGEST).collect::<String>()),
            }
        }
        if !strangers.is_empty() {
            let told = |dn: &String| {
                format!(r"[{dn}] is no application: those there are are devices, \VED\Policy\Devices\ID each.")
            };
            return Err(VenafiError::invalid(lines(strangers.iter().map(told))));
        }
        if !(1..=most).contains(&devices.len()) {
            return Err(VenafiError::invalid(format!("ApplicationDN names 1 to {most} applications.")));
        }
        Ok(devices)
    }
}

/// Bringing a certificate to a device, or taking it away, needs the right to write the device too.
pub(crate) fn may_write(caller: &Principal, devices: &[DeviceId]) -> Result<(), VenafiError> {
    let lacking = |device: &DeviceId| match caller.require(Right::Write, &application_dn(device)).err()? {
        Denied::Forbidden(why) => Some((device.clone(), why.to_string())),
        _ => Some((device.clone(), DeviceRefusal::NoDevice.to_string())),
    };
    let lacking: Vec<(DeviceId, String)> = devices.iter().filter_map(lacking).collect();
    if lacking.is_empty() { Ok(()) } else { Err(refused(&lacking)) }
}

/// The error that says why devices were refused.
pub(crate) fn refused<W: Display>(devices: &[(DeviceId, W)]) -> VenafiError {
    VenafiError::invalid(lines(devices.iter().map(|(device, why)| format!("[{}] {why}", application_dn(device)))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn devices(value: serde_json::Value) -> Result<Vec<String>, String> {
        let devices = from_value::<Applications>(value).unwrap().devices(2);
        devices.map(|ids| ids.iter().map(ToString::to_string).collect()).map_err(|why| why.text().to_owned())
    }

    #[test]
    fn a_list_or_single_name_yields_unique_devices() {
        assert_eq!(devices(json!(r"\VED\Policy\Devices\bmc-1")).unwrap(), ["bmc-1"]);
        let several = json!([r"\VED\Policy\Devices\b", r"\ved\policy\devices\a", r"\VED\Policy\Devices\b"]);
        assert_eq!(devices(several).unwrap(), ["b", "a"]);
        for bad in [json!([]), json!([r"\VED\Policy\Devices\a", r"\VED\Policy\Devices\b", r"\VED\Policy\Devices\c"])] {
            assert_eq!(devices(bad).unwrap_err(), "ApplicationDN names 1 to 2 applications.");
        }
    }

    #[test]
    fn names_of_no_device_are_reported() {
        let text = devices(json!([r"\VED\Policy\Devices\a", r"\VED\Policy\F5\web", "x".repeat(1000)])).unwrap_err();
        let told: Vec<&str> = text.lines().collect();
        assert!(told[0].starts_with(r"[\VED\Policy\F5\web] is no application"), "{text}");
        assert!(told[1].len() < 200 && told.len() == 2, "{text}");
    }
}
