//! A managed device: its address, its protocol, and how it is authenticated.

pub mod address;
pub mod credential;
pub mod labels;
pub mod probe;

use std::fmt;
use std::str::FromStr;

use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::address::DeviceAddress;

/// Number of partitions over which devices and the rows of a job are spread. A DynamoDB partition takes 1 000 write
/// units a second, and a settled task costs about two and a half: sixteen partitions, in all of which each wave lies, carry
/// some 6 000 devices a second.
pub const SHARDS: u8 = 16;

/// The permanent id of a device. One that is read has 1–64 of `A–Z a–z 0–9 . _ -`, because a fleet that was enrolled
/// earlier may have any of them; one that is enrolled has one spelling ([`DeviceId::to_enrol`]).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(String);

impl DeviceId {
    /// The id of a device that is to be enrolled: 1–64 of `a–z 0–9 . _ -`, a letter or digit first and last. Two ids
    /// that differ in letter case would be one name to whoever reads it, and `.` and `..` have a meaning of their own in
    /// a path.
    pub fn to_enrol(text: &str) -> Result<Self, InvalidDevice> {
        let id: Self = text.parse().map_err(|_| InvalidDevice::NewId)?;
        let ends = |c: char| c.is_ascii_alphanumeric();
        if !(text.starts_with(ends) && text.ends_with(ends)) {
            return Err(InvalidDevice::NewId);
        }
        let lower = text.to_ascii_lowercase();
        if lower == text { Ok(id) } else { Err(InvalidDevice::UpperCase(lower)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The device's partition. It never changes, since it depends only on the id.
    pub fn shard(&self) -> u8 {
        Fingerprint::of(self.0.as_bytes()).as_bytes()[0] % SHARDS
    }
}

/// One enrolment of a device id, from random bytes. Enrolling the id again means another device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation([u8; 16]);

impl Incarnation {
    pub const fn from_random(random: [u8; 16]) -> Self {
        Self(random)
    }
}

impl FromStr for Incarnation {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidDevice::Incarnation)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A version of a device's record. A proof for one version is void for any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceVersion {
    pub incarnation: Incarnation,
    /// Incremented when a person changes the address, pins, profile, slot, credential or subject. A worker that replaces the
    /// device's certificate does not increment it: the connection with the old pin vouches for the new certificate.
    pub endpoint_revision: u64,
}

/// An invalid value in a device record.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidDevice {
    #[error("an incarnation has 32 hexadecimal digits")]
    Incarnation,
    #[error("a device id has 1 to 64 characters of A–Z, a–z, 0–9, dot, underscore and hyphen")]
    Id,
    #[error(
        "a new device's id has 1 to 64 characters of a–z, 0–9, dot, underscore and hyphen, a letter or digit first and last"
    )]
    NewId,
    #[error("a new device's id is in lower case: send {0}")]
    UpperCase(String),
    #[error("a pin is sha256: or spki-sha256: and 64 hexadecimal digits")]
    Pin,
    #[error("a trust slot is a path under /redfish/ without a query, a fragment or dot segments")]
    Slot,
}

impl FromStr for DeviceId {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || text.len() > 64 || !text.chars().all(allowed) {
            return Err(InvalidDevice::Id);
        }
        Ok(Self(text.to_owned()))
    }
}

/// What a device's TLS certificate must match. Captured at enrolment, approved by an operator, never trusted on first
/// use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pin {
    /// SHA-256 of the leaf certificate's DER.
    Certificate(Fingerprint),
    /// SHA-256 of the DER of its SubjectPublicKeyInfo: stays valid when the certificate is renewed with the same key.
    Key(Fingerprint),
}

const CERTIFICATE_PREFIX: &str = "sha256:";
const KEY_PREFIX: &str = "spki-sha256:";

impl FromStr for Pin {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let parse = |hex: &str| hex.parse().map_err(|_| InvalidDevice::Pin);
        if let Some(hex) = text.strip_prefix(KEY_PREFIX) {
            Ok(Self::Key(parse(hex)?))
        } else if let Some(hex) = text.strip_prefix(CERTIFICATE_PREFIX) {
            Ok(Self::Certificate(parse(hex)?))
        } else {
            Err(InvalidDevice::Pin)
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(fingerprint) => write!(f, "{CERTIFICATE_PREFIX}{fingerprint}"),
            Self::Key(fingerprint) => write!(f, "{KEY_PREFIX}{fingerprint}"),
        }
    }
}

/// The protocol that a device speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    Redfish,
}

/// Where a Redfish implementation keeps its trust anchors, and its peculiarities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The collections of the Redfish standard.
    Dmtf,
    /// `Managers/bmc/Truststore/Certificates`, at most ten.
    Openbmc,
    /// `UpdateService/RemoteServerCertificates`, at most four.
    LenovoXcc,
    /// One virtual media slot, which takes all anchors as one PEM bundle.
    Vmedia,
    /// Dell iDRAC. From documents, not seen: `DelliDRACCardService` takes the directory service's CA certificates as one
    /// PEM bundle, and the signed certificate of the web server, which a restart of the controller puts to use.
    DellIdrac,
    /// HPE iLO. From documents, not seen: `HpeCertAuth` takes CA certificates, and shows their serial numbers and names
    /// alone; `HpeHttpsCert` makes the web server's request and takes its certificate.
    HpeIlo,
    /// Supermicro. From documents, not seen: the collections of the standard, under manager 1; the web server takes one
    /// certificate, for a key of its own, which a restart of the controller puts to use.
    Supermicro,
}

impl Profile {
    pub const ALL: [Self; 7] =
        [Self::Dmtf, Self::Openbmc, Self::LenovoXcc, Self::Vmedia, Self::DellIdrac, Self::HpeIlo, Self::Supermicro];

    /// The slot for trust anchors where the vendor fixes it, unless a device's record names another.
    pub const fn slot(self) -> Option<&'static str> {
        match self {
            Self::Openbmc => Some("/redfish/v1/Managers/bmc/Truststore/Certificates"),
            Self::LenovoXcc => Some("/redfish/v1/UpdateService/RemoteServerCertificates"),
            Self::Dmtf | Self::Vmedia | Self::DellIdrac | Self::HpeIlo | Self::Supermicro => None,
        }
    }

    /// The manager's id where the vendor fixes it. With any other profile the device says which manager is meant.
    pub const fn manager(self) -> Option<&'static str> {
        match self {
            Self::Openbmc => Some("bmc"),
            Self::DellIdrac => Some("iDRAC.Embedded.1"),
            Self::HpeIlo | Self::Supermicro => Some("1"),
            Self::Dmtf | Self::LenovoXcc | Self::Vmedia => None,
        }
    }

    /// Whether its controller shows a new certificate only after a restart, which is then asked for. Dell's collection for
    /// Ansible: "Until iDRAC is reset, the old certificate will be active." Supermicro's tools restart it, too. Others
    /// restart their web server by themselves.
    pub const fn restarts_for_certificate(self) -> bool {
        matches!(self, Self::DellIdrac | Self::Supermicro)
    }

    /// How many trust anchors its slot takes, if there is a known limit. OpenBMC answers the eleventh with 500, as observed on
    /// a running one; Lenovo's REST API guide for XClarity Controller says that the fifth is answered with 409.
    pub const fn places(self) -> Option<usize> {
        match self {
            Self::Openbmc => Some(10),
            Self::LenovoXcc => Some(4),
            Self::Dmtf | Self::Vmedia | Self::DellIdrac | Self::HpeIlo | Self::Supermicro => None,
        }
    }

    /// Whether a device of this profile accepts a private key for its own web server. The Redfish standard and OpenBMC
    /// take it together with the certificate (DSP8010 `CertificateService.ReplaceCertificate`: "the client shall
    /// provide the private key as part of the string"). Lenovo's XCC only takes certificates for a key that it made
    /// itself, and virtual media have no web server. Dell, HPE and Supermicro have ways of their own for keys, which differ
    /// between firmware versions: not used.
    pub const fn takes_private_key(self) -> bool {
        match self {
            Self::Dmtf | Self::Openbmc => true,
            Self::LenovoXcc | Self::Vmedia | Self::DellIdrac | Self::HpeIlo | Self::Supermicro => false,
        }
    }

    /// Whether its web server takes the certificates that lead to the root, and serves them. The Redfish standard has a
    /// certificate type for them, and bmcweb serves the whole file that it was given. Lenovo's REST API guide for XCC allows
    /// a single certificate, and so do the others.
    pub const fn takes_chain(self) -> bool {
        match self {
            Self::Dmtf | Self::Openbmc => true,
            Self::LenovoXcc | Self::Vmedia | Self::DellIdrac | Self::HpeIlo | Self::Supermicro => false,
        }
    }

    /// Whether a device of this profile has its own web server, and makes its key and CSR itself. Virtual media do not.
    pub const fn has_web_server(self) -> bool {
        match self {
            Self::Dmtf | Self::Openbmc | Self::LenovoXcc | Self::DellIdrac | Self::HpeIlo | Self::Supermicro => true,
            Self::Vmedia => false,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dmtf => "dmtf",
            Self::Openbmc => "openbmc",
            Self::LenovoXcc => "lenovo-xcc",
            Self::Vmedia => "vmedia",
            Self::DellIdrac => "dell-idrac",
            Self::HpeIlo => "hpe-ilo",
            Self::Supermicro => "supermicro",
        })
    }
}

/// One text for one place of trust anchors, however it is named. With different slots, an address may be of several devices.
pub fn place(address: &DeviceAddress, profile: Profile, slot: Option<&Slot>) -> String {
    let named = slot.map(Slot::as_str).filter(|slot| Some(*slot) != profile.slot());
    let slot = named.map(|slot| format!("#{slot}")).unwrap_or_default();
    format!("{}{slot}", address.canonical())
}

/// A Redfish path that overrides the trust slot of the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot(String);

impl Slot {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slot {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let plain = text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '%' | '\\'));
        let rest = text.strip_prefix("/redfish/").ok_or(InvalidDevice::Slot)?;
        if !plain || text.len() > 256 || rest.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return Err(InvalidDevice::Slot);
        }
        Ok(Self(text.to_owned()))
    }
}

rootcast_pki::as_text!(DeviceId);
rootcast_pki::as_text!(Incarnation);
rootcast_pki::as_text!(Pin);
rootcast_pki::as_text!(Slot);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_is_one_text_however_it_is_named() {
        let of = |address: &str, profile: Profile, slot: Option<&str>| {
            place(&address.parse().unwrap(), profile, slot.map(|slot| slot.parse().unwrap()).as_ref())
        };
        let bmcweb = "/redfish/v1/Managers/bmc/Truststore/Certificates";
        let plain = of("https://10.0.0.7", Profile::Openbmc, None);
        for address in ["https://10.0.0.7:443", "https://[::ffff:10.0.0.7]", "https://[64:ff9b::10.0.0.7]"] {
            assert_eq!(of(address, Profile::Openbmc, Some(bmcweb)), plain, "{address}");
        }
        assert_eq!(of("https://a.example.", Profile::Dmtf, None), of("https://A.example", Profile::Dmtf, None));
        let ldap = "/redfish/v1/AccountService/LDAP/Certificates";
        assert_eq!(of("https://10.0.0.7", Profile::Openbmc, Some(ldap)), format!("{plain}#{ldap}"));
        assert_ne!(of("https://10.0.0.7:8443", Profile::Openbmc, None), plain);
    }

    #[test]
    fn a_new_id_has_one_spelling() {
        for text in ["a", "7", "bmc-1", "10.0.0.7-8443", "a..b", &"x".repeat(64)] {
            assert_eq!(DeviceId::to_enrol(text).unwrap().as_str(), text);
        }
        for (text, lower) in [("CASE-x", "case-x"), ("A", "a"), ("bmC.1", "bmc.1")] {
            let why = DeviceId::to_enrol(text).unwrap_err();
            assert!(why.to_string().ends_with(&format!("send {lower}")), "{why}");
        }
        for text in [
            "",
            ".",
            "..",
            "...",
            "-",
            "_a",
            "a.",
            "-a",
            "a-",
            "a b",
            "a/b",
            "a%2e",
            "\u{430}bc",
            "\u{ff41}",
            &"x".repeat(65),
        ] {
            assert_eq!(DeviceId::to_enrol(text), Err(InvalidDevice::NewId), "{text}");
        }
    }

    #[test]
    fn ids_of_an_earlier_fleet_are_still_read() {
        for text in ["CASE-x", ".", "..", "-a", "A_"] {
            let id: DeviceId = serde_json::from_value(serde_json::json!(text)).unwrap();
            assert_eq!((id.as_str(), serde_json::to_value(&id).unwrap()), (text, serde_json::json!(text)));
        }
    }

    proptest! {
        #[test]
        fn new_ids_differ_in_more_than_case(one in "[A-Ca-c.-]{0,3}", other in "[A-Ca-c.-]{0,3}") {
            if let (Ok(one), Ok(other)) = (DeviceId::to_enrol(&one), DeviceId::to_enrol(&other)) {
                prop_assert_eq!(one == other, one.as_str().eq_ignore_ascii_case(other.as_str()));
            }
        }
    }
}
