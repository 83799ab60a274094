//! The names that certificates may carry: DNS suffixes and address ranges.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Host;

use crate::subject::{DeviceSubject, is_dns_name};

/// A name or an address in the form that is compared: in lower case, in A-labels, without a final dot; an IPv4-mapped
/// IPv6 address is the IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostName {
    Name {
        /// Without the leading `*.` of a wildcard.
        name: String,
        wildcard: bool,
    },
    Address(IpAddr),
}

impl HostName {
    /// What a client may take the text for. `None`: no client finds a host in it.
    pub fn in_text(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(address.into());
        }
        let rest = text.strip_prefix("*.").unwrap_or(text);
        let wildcard = rest.len() < text.len() || rest.contains('*');
        match Host::parse(rest) {
            Ok(Host::Ipv4(v4)) if !wildcard => Some(IpAddr::from(v4).into()),
            Ok(Host::Ipv6(v6)) if !wildcard => Some(IpAddr::from(v6).into()),
            Ok(Host::Domain(name)) => Some(without_dot(&name).to_owned())
                .filter(|name| !name.is_empty())
                .map(|name| Self::Name { name, wildcard }),
            // Invalid punycode, or a wildcard above a number.
            _ if is_dns_name(rest) => Some(Self::Name { name: rest.to_ascii_lowercase(), wildcard }),
            _ => None,
        }
    }
}

impl From<IpAddr> for HostName {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl<S: AsRef<str>> From<&Host<S>> for HostName {
    fn from(host: &Host<S>) -> Self {
        match host {
            Host::Domain(name) => Self::Name { name: without_dot(name.as_ref()).to_ascii_lowercase(), wildcard: false },
            Host::Ipv4(v4) => IpAddr::from(*v4).into(),
            Host::Ipv6(v6) => IpAddr::from(*v6).into(),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, wildcard: false } => f.write_str(name),
            Self::Name { name, wildcard: true } => write!(f, "*.{name}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

fn without_dot(name: &str) -> &str {
    name.trim_end_matches('.')
}

/// Permits the name itself and every name below it, as a name constraint does (RFC 5280 §4.2.1.10). In lower case and
/// A-labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSuffix(String);

impl DnsSuffix {
    /// `name`: in the compared form.
    pub fn covers(&self, name: &str) -> bool {
        name.strip_suffix(&self.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

/// A network, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// `address`: in the compared form.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotPermissible {
    #[error("{0:?} is not a DNS suffix such as lab.example.com: it has neither a wildcard nor a leading dot")]
    Suffix(String),
    #[error("{0:?} is not a network in CIDR notation, such as 10.1.0.0/16 or fd12::/64")]
    Network(String),
    #[error("a root's list of names has at most {MOST} entries and {LONGEST} characters")]
    ManyNames,
}

/// In characters, of a text that an error quotes.
const QUOTED: usize = 64;

impl FromStr for DnsSuffix {
    type Err = NotPermissible;

    fn from_str(text: &str) -> Result<Self, NotPermissible> {
        match Host::parse(text) {
            Ok(Host::Domain(name)) if is_dns_name(without_dot(&name)) && !name.contains('*') => {
                Ok(Self(without_dot(&name).to_owned()))
            }
            _ => Err(NotPermissible::Suffix(text.chars().take(QUOTED).collect())),
        }
    }
}

impl FromStr for Network {
    type Err = NotPermissible;

    fn from_str(text: &str) -> Result<Self, NotPermissible> {
        let invalid = || NotPermissible::Network(text.chars().take(QUOTED).collect());
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse().map_err(|_| invalid())?,
        };
        // 10.0.0.7/8 is more likely a typing error than meant as 10.0.0.0/8.
        if network.trunc() != network {
            return Err(invalid());
        }
        // The part of an IPv6 network that maps IPv4.
        match (network.network().to_canonical(), network.prefix_len().checked_sub(96)) {
            (IpAddr::V4(v4), Some(length)) if network.max_prefix_len() == 128 => {
                Ok(Self(Ipv4Net::new(v4, length).map_err(|_| invalid())?.into()))
            }
            _ => Ok(Self(network)),
        }
    }
}

as_text!(DnsSuffix);
as_text!(Network);

impl fmt::Display for DnsSuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Most entries of a root's list, and its length in characters: bundles with many roots have to fit into one record
/// ([`crate::bundle::LARGEST_ANCHOR`]).
const MOST: usize = 16;
const LONGEST: usize = 256;

/// All names that a root may certify (RFC 5280 §4.2.1.10); without any, every name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermittedNames {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_suffixes: Vec<DnsSuffix>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
}

impl FromStr for PermittedNames {
    type Err = NotPermissible;

    /// Suffixes and networks, separated by commas. Blank entries are skipped.
    fn from_str(list: &str) -> Result<Self, NotPermissible> {
        let mut names = Self::default();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match entry.parse::<Network>() {
                Ok(network) => names.networks.push(network),
                Err(error) if entry.contains(['/', ':']) => return Err(error),
                Err(_) => names.dns_suffixes.push(entry.parse()?),
            }
        }
        let count = names.dns_suffixes.len() + names.networks.len();
        if count > MOST || list.len() > LONGEST { Err(NotPermissible::ManyNames) } else { Ok(names) }
    }
}

impl PermittedNames {
    pub fn is_unlimited(&self) -> bool {
        self.dns_suffixes.is_empty() && self.networks.is_empty()
    }

    /// A type of name is only constrained by a subtree of that type: if none is permitted, all are excluded.
    pub(crate) fn constraints(&self) -> Option<NameConstraints> {
        if self.is_unlimited() {
            return None;
        }
        let names = self.dns_suffixes.iter().map(|suffix| GeneralSubtree::DnsName(suffix.0.clone()));
        let subtree = |network: &Network| {
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(network.0.network(), network.0.prefix_len()))
        };
        let mut excluded = Vec::new();
        if self.dns_suffixes.is_empty() {
            excluded.push(GeneralSubtree::DnsName(String::new()));
        }
        if self.networks.is_empty() {
            excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
            excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
        }
        let permitted_subtrees = names.chain(self.networks.iter().map(subtree)).collect();
        Some(NameConstraints { permitted_subtrees, excluded_subtrees: excluded })
    }
}

/// The alternative names of a subject's certificate, each with its spelling there.
pub fn names_of(subject: &DeviceSubject) -> impl Iterator<Item = (Cow<'_, str>, HostName)> {
    let names = subject.dns_names().iter().map(|name| {
        let unread = || HostName::Name { name: name.clone(), wildcard: name.contains('*') };
        (name.as_str().into(), HostName::in_text(name).unwrap_or_else(unread))
    });
    names.chain(subject.ip_addresses().iter().map(|address| (address.to_string().into(), (*address).into())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> String {
        HostName::in_text(text).map_or_else(|| "none".to_owned(), |host| host.to_string())
    }

    #[test]
    fn names_are_compared_in_one_form() {
        for (text, compared) in [
            ("BMC-1.Example.", "bmc-1.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("evil\u{3002}example", "evil.example"),
            ("ev\u{200b}il.example", "evil.example"),
            (" evil.example ", "evil.example"),
            ("bmc_1.example", "bmc_1.example"),
            ("xn--a.example", "xn--a.example"),
            ("*.Example.com", "*.example.com"),
            ("10.0.0.7", "10.0.0.7"),
            ("0x0a.7", "10.0.0.7"),
            ("[::ffff:10.0.0.7]", "10.0.0.7"),
            ("::ffff:a00:7", "10.0.0.7"),
            ("2001:DB8::7", "2001:db8::7"),
            ("Rack 7", "none"),
            ("Example/BMC", "none"),
        ] {
            assert_eq!(read(text), compared, "{text}");
        }
    }

    #[test]
    fn a_suffix_ends_at_a_label() {
        let suffix: DnsSuffix = "Lab.Example.".parse().unwrap();
        assert!(suffix.covers("lab.example") && suffix.covers("a.b.lab.example"));
        for name in ["example", "evillab.example", "lab.example.evil", "", ".lab.examples"] {
            assert!(!suffix.covers(name), "{name}");
        }
        for text in ["", ".", ".example", "*.example", "a..b", "10.0.0.7", "7", "a b", "a/8", "bmc_1.example", "[::1]"]
        {
            assert!(text.parse::<DnsSuffix>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mapped_network_is_an_ipv4_network() {
        let network = |text: &str| text.parse::<Network>().map(|network| network.to_string());
        assert_eq!(network("::ffff:10.0.0.0/104").unwrap(), "10.0.0.0/8");
        assert_eq!(network("10.0.0.7").unwrap(), "10.0.0.7/32");
        assert_eq!(network("::ffff:10.0.0.7").unwrap(), "10.0.0.7/32");
        assert!(!"::/0".parse::<Network>().unwrap().covers("10.0.0.7".parse().unwrap()));
        for text in ["", "10.0.0.7/8", "10.0.0.0/33", "example.com", "::ffff:0:0/129"] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_names_suffixes_and_networks() {
        let names: PermittedNames = "lab.example, 10.0.0.0/8,,fd12::/64,192.0.2.1".parse().unwrap();
        assert_eq!((names.dns_suffixes.len(), names.networks.len()), (1, 3));
        assert!(" , ".parse::<PermittedNames>().unwrap().is_unlimited());
        let (many, long) = (["a"; MOST + 1].join(","), format!("{}.{}", "a".repeat(63), "b.".repeat(97)));
        for list in ["*.example", "10.0.0.7/8", "lab.example;other", "fd12::/200", &many, &long] {
            assert!(list.parse::<PermittedNames>().is_err(), "{list}");
        }
    }

    proptest! {
        #[test]
        fn a_compared_form_stays_the_same(text in "\\PC{0,30}") {
            if let Some(host) = HostName::in_text(&text) {
                prop_assert_eq!(HostName::in_text(&host.to_string()), Some(host));
            }
        }

        #[test]
        fn suffixes_and_networks_round_trip(text in "[a-z0-9./:*-]{0,20}") {
            if let Ok(suffix) = text.parse::<DnsSuffix>() {
                prop_assert_eq!(suffix.to_string().parse::<DnsSuffix>(), Ok(suffix));
            }
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
            }
        }
    }
}
