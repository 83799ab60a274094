//! Whose credential a record or a parameter holds.
//!
//! A device record holds its user name and password, sealed, or names the SSM parameter with them. Without a rule, whoever
//! edits a record could have another device's password sent to a server of his own. So a sealed one opens for its device
//! alone, and a parameter belongs to the device that has its name, or says itself which addresses it is for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Host;

use super::DeviceId;
use crate::inventory::sealed::Sealed;

/// Below the installation's prefix. No device id has a slash, so a shared parameter is never a device's own.
const SHARED: &str = "shared/";
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>
const LONGEST: usize = 1011;

/// No name of a parameter begins so.
const SEALED: &str = "sealed:";

/// What a record shows instead of a parameter's name. Each new password has another one, since it is another identity, even
/// if it is the same password.
pub fn sealed_name(sealed: &Sealed) -> String {
    let digest = Fingerprint::of(&sealed.ciphertext).to_string();
    format!("{SEALED}{}", digest.get(..16).unwrap_or_default())
}

/// Whether this is the name of a sealed credential.
pub fn is_sealed(name: &str) -> bool {
    name.starts_with(SEALED)
}

/// Whether the parameter is this device's own, `PREFIX` and its id.
pub fn is_own(prefix: &str, parameter: &str, device: &DeviceId) -> bool {
    parameter.strip_prefix(prefix) == Some(device.as_str())
}

/// Whether a device record may name the parameter: its own, or a shared one.
pub fn may_name(prefix: &str, parameter: &str, device: &DeviceId) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    let shared = parameter.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(SHARED));
    let is_shared = shared.is_some_and(|name| !name.is_empty() && !name.ends_with('/') && name.chars().all(allowed));
    parameter.len() <= LONGEST && (is_own(prefix, parameter, device) || is_shared)
}

/// Addresses that a shared credential is for: `10.1.0.0/16`, `10.1.0.7`, `bmc-7.example.com`, or `.example.com` for
/// every name below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    Network(IpNet),
    Name(String),
    Below(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an address is a network such as 10.1.0.0/16, an IP address, a host name, or a full stop and a domain")]
pub struct NotAScope;

impl FromStr for Scope {
    type Err = NotAScope;

    fn from_str(text: &str) -> Result<Self, NotAScope> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return (network.trunc() == network).then_some(Self::Network(network)).ok_or(NotAScope);
        }
        let (name, of) = match text.strip_prefix('.') {
            Some(domain) => (domain, Self::Below as fn(String) -> Self),
            None => (text, Self::Name as fn(String) -> Self),
        };
        match Host::parse(name) {
            Ok(Host::Domain(name)) if name.split('.').all(|label| !label.is_empty() && label != "*") => Ok(of(name)),
            _ => Err(NotAScope),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = NotAScope;

    fn try_from(text: String) -> Result<Self, NotAScope> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::Below(domain) => write!(f, ".{domain}"),
        }
    }
}

impl Scope {
    /// A name is compared as it is written in the device's address, not as it is resolved.
    pub fn covers(&self, host: &Host<String>) -> bool {
        match (self, host) {
            (Self::Network(network), Host::Ipv4(address)) => network.contains(&IpAddr::V4(*address)),
            (Self::Network(network), Host::Ipv6(address)) => network.contains(&IpAddr::V6(*address)),
            (Self::Name(name), Host::Domain(host)) => name == host,
            (Self::Below(domain), Host::Domain(host)) => {
                host.strip_suffix(domain.as_str()).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;

    const PREFIX: &str = "/rootcast/devices/";

    #[test]
    fn a_device_names_only_its_own_or_a_shared_parameter() {
        let device: DeviceId = "bmc-1".parse().unwrap();
        let named = |name: &str| may_name(PREFIX, &format!("{PREFIX}{name}"), &device);
        assert!(named("bmc-1") && named("shared/rack") && named("shared/site/rack"));
        for foreign in ["", "bmc-2", "bmc-1/x", "BMC-1", "shared", "shared/", "shared/a/", "shared/a b", "x/bmc-1"] {
            assert!(!named(foreign), "{foreign}");
        }
        for foreign in ["/other/bmc-1", "bmc-1", "/rootcast/shared/rack", "rootcast/devices/bmc-1"] {
            assert!(!may_name(PREFIX, foreign, &device), "{foreign}");
        }
        assert!(!named(&format!("shared/{}", "a".repeat(LONGEST))));
        // A device may be called like a shared parameter: it is not its own.
        let shared: DeviceId = "shared".parse().unwrap();
        assert!(is_own(PREFIX, "/rootcast/devices/shared", &shared));
        assert!(!is_own(PREFIX, "/rootcast/devices/shared/rack", &"rack".parse().unwrap()));
    }

    #[test]
    fn a_scope_covers_its_networks_and_names() {
        for (scope, covered, foreign) in [
            ("10.1.0.0/16", "10.1.255.7", "10.2.0.1"),
            ("10.1.0.7", "10.1.0.7", "10.1.0.8"),
            ("fd00::/8", "[fd00::1]", "[fe00::1]"),
            ("BMC-7.example.com", "bmc-7.example.com", "x.bmc-7.example.com"),
            (".example.com", "a.b.example.com", "evilexample.com"),
            (".example.com", "a.example.com", "example.com"),
        ] {
            let scope: Scope = scope.parse().unwrap();
            let covers = |host: &str| scope.covers(&Host::parse(host).unwrap());
            assert!(covers(covered) && !covers(foreign), "{scope}");
            assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
        }
        for wrong in ["", ".", "..", "10.1.0.7/8", "a b", "*.example.com", ".10.0.0.1", "a..b", "https://x"] {
            assert_eq!(wrong.parse::<Scope>(), Err(NotAScope), "{wrong}");
        }
    }
}
