//! A certificate's distinguished name, as Venafi writes it: `\VED\Policy\{folder}\{name}`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::device::DeviceId;
use crate::inventory::id::policy_dn;
use crate::inventory::name::{CertificateName, Folder};

/// Where a certificate is kept. Parses what [`policy_dn`](crate::inventory::id::policy_dn) writes. Two DNs that differ
/// only in letter case name the same certificate; the text is kept as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateDn {
    pub folder: Folder,
    pub name: CertificateName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotACertificateDn {
    #[error("a part of it is empty, or it has white space elsewhere than within a folder's part")]
    NullOrWhiteSpace,
    #[error("no certificate can be called so")]
    Unused,
}

/// The tree of all certificates.
const ROOT: [&str; 2] = ["VED", "Policy"];

/// The folder of devices: each device is an application in it.
pub(crate) const DEVICES: &str = "Devices";

impl CertificateDn {
    /// The DN of the device's own certificate.
    pub fn of_device(device: &DeviceId) -> Self {
        Self { folder: Folder::of_device(DEVICES, device), name: CertificateName::OWN }
    }
}

/// Whether the folder is of a device's own certificates. `folder`: as it is on record.
pub fn is_of_devices(folder: &str) -> bool {
    folder.split('\\').next().is_some_and(|first| first.eq_ignore_ascii_case(DEVICES))
}

impl fmt::Display for CertificateDn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&policy_dn(&self.folder.to_string(), &self.name.to_string()))
    }
}

/// Venafi's name for a device, which is an application in Venafi's terms: `\VED\Policy\Devices\{id}`.
pub fn application_dn(device: &DeviceId) -> String {
    policy_dn(DEVICES, device.as_str())
}

/// The device that an application DN names.
pub fn device_of_application(dn: &str) -> Option<DeviceId> {
    let (folder, device) = dn.rsplit_once('\\')?;
    let devices = folder.rsplit_once('\\').filter(|(root, _)| root.eq_ignore_ascii_case(r"\VED\Policy"))?;
    devices.1.eq_ignore_ascii_case(DEVICES).then(|| device.parse().ok())?
}

impl FromStr for CertificateDn {
    type Err = NotACertificateDn;

    /// Venafi's documentation says that a DN contains neither null nor white space, without defining them. But Venafi's
    /// own folders have spaces in their names, and so may ours. We take null to mean an empty part. Refused as white
    /// space are all control characters, all spaces other than U+0020, and U+0020 itself unless it stands between other
    /// characters of a folder's part. A backslash always separates parts: it cannot be escaped, and no name contains
    /// one.
    fn from_str(text: &str) -> Result<Self, NotACertificateDn> {
        if text.contains(|c: char| c.is_control() || (c.is_whitespace() && c != ' ')) {
            return Err(NotACertificateDn::NullOrWhiteSpace);
        }
        let path = text.strip_prefix('\\').unwrap_or(text);
        let null_or_padded = |part: &str| part.is_empty() || part.starts_with(' ') || part.ends_with(' ');
        let (folders, name) = path.rsplit_once('\\').unwrap_or(("", path));
        if name.contains(' ') || path.split('\\').any(null_or_padded) {
            return Err(NotACertificateDn::NullOrWhiteSpace);
        }
        let mut parts = folders.splitn(3, '\\');
        let is_root = ROOT.iter().all(|root| parts.next().is_some_and(|part| part.eq_ignore_ascii_case(root)));
        match (parts.next().map(str::parse), name.parse()) {
            (Some(Ok(folder)), Ok(name)) if is_root && path.len() < text.len() => Ok(Self { folder, name }),
            _ => Err(NotACertificateDn::Unused),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, NotACertificateDn> {
        text.parse().map(|CertificateDn { folder, name }| policy_dn(&folder.to_string(), &name.to_string()))
    }

    #[test]
    fn the_vendors_example_and_folders_with_spaces_are_read() {
        for text in [
            r"\VED\Policy\test_retry122017141215963\cert_122017141215969",
            r"\VED\Policy\Servers\Berlin 2\Web  shop\web-1.example.com",
        ] {
            assert_eq!(read(text), Ok(text.to_owned()));
        }
        assert_eq!(read(r"\vEd\POLICY\Servers\Web-1"), Ok(r"\VED\Policy\Servers\Web-1".to_owned()));
    }

    #[test]
    fn null_and_white_space_have_errors_of_their_own() {
        for text in [
            "",
            " ",
            "\\",
            r"\VED\Policy\",
            r"\VED\Policy\\web",
            r"\\VED\\Policy\\Servers\\web",
            r"\VED\Policy\Servers\web 1",
            r" \VED\Policy\Servers\web",
            r"\VED\Policy\Servers\web ",
            r"\VED\Policy\Servers \web",
            r"\VED\Policy\ Servers\web",
            "\\VED\\Policy\\Servers\\web\n",
            "\\VED\\Policy\\Ser\tvers\\web",
            "\\VED\\Policy\\Ser\u{a0}vers\\web",
            "\\VED\\Policy\\Servers\\we\0b",
        ] {
            assert_eq!(read(text), Err(NotACertificateDn::NullOrWhiteSpace), "{text:?}");
        }
        for text in [
            "web",
            r"VED\Policy\Servers\web",
            r"\VED\Policy",
            r"\VED\Policy\web",
            r"\VED\Discovery\Servers\web",
            r"\VED\Policy\Servers\ab",
            r"\VED\Policy\Ser#vers\web",
            "CN=web,O=Example",
        ] {
            assert_eq!(read(text), Err(NotACertificateDn::Unused), "{text:?}");
        }
    }

    #[test]
    fn a_device_is_an_application_above_its_own_certificate() {
        let longest = "x".repeat(64);
        for id in ["bmc-1", "a", "BMC_1.example", &longest] {
            let device: DeviceId = id.parse().unwrap();
            assert_eq!(device_of_application(&application_dn(&device)), Some(device.clone()));
            let dn = CertificateDn::of_device(&device);
            let text = dn.to_string();
            assert_eq!(text, format!(r"\VED\Policy\Devices\{id}\certificate"));
            assert_eq!(text.parse(), Ok(dn));
        }
        let bmc = Some("bmc-1".parse().unwrap());
        assert_eq!(device_of_application(r"\ved\policy\devices\bmc-1"), bmc);
        for text in [
            "",
            "bmc-1",
            r"Devices\bmc-1",
            r"\VED\Policy\Other\bmc-1",
            r"\VED\Policy\Devices\a b",
            r"\VED\Devices\bmc-1",
        ] {
            assert_eq!(device_of_application(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_valid_certificate_dn_is_parsed(
            folder in r"[A-Za-z0-9_.-]([ A-Za-z0-9_.-]{0,9}[A-Za-z0-9_.-])?(\\[A-Z][ a-z]{0,4}[0-9]){0,7}",
            name in r"[A-Za-z0-9_.-]{3,63}",
        ) {
            prop_assert!(folder.parse::<Folder>().is_ok());
            let dn = policy_dn(&folder, &name);
            prop_assert_eq!(read(&dn), Ok(dn));
        }

        #[test]
        fn parsed_dns_round_trip(text in r"(\\VED\\Policy)?[\\ a-z#\t]{0,20}") {
            if let Ok(written) = read(&text) {
                prop_assert_eq!(written, text);
            }
        }
    }
}
