//! A device's address, and whether a worker may connect to it.
//!
//! The caller who enrols a device chooses its address, but the worker runs inside the network. Without a policy, the
//! caller could reach internal hosts through the worker (server-side request forgery). The policy judges addresses,
//! never names: a name is resolved first, and each of its addresses must be permitted.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use thiserror::Error;
use url::{Host, Url};

/// A device's base URL: `https://host` or `https://host:port`, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceAddress {
    host: Host<String>,
    port: u16,
}

/// The default port of `https` (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;

impl DeviceAddress {
    /// A name or an address. IPv4 addresses in the forms that browsers accept (`0x7f.1`) are already normalised.
    pub const fn host(&self) -> &Host<String> {
        &self.host
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The same text for every spelling of a name or of an IP address: without the dot at the end of a name (RFC 1034 §3.1),
    /// and an IPv4 address within an IPv6 one as [`AddressPolicy::permits`] judges it.
    pub fn canonical(&self) -> String {
        let host = match &self.host {
            Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(name).to_owned()),
            Host::Ipv6(address) => embedded(*address).map_or(Host::Ipv6(*address), Host::Ipv4),
            Host::Ipv4(address) => Host::Ipv4(*address),
        };
        Self { host, port: self.port }.to_string()
    }
}

/// Text that is not a device's address.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a device's address is https://host or https://host:port, without user, path, query or fragment")]
pub struct InvalidAddress;

impl FromStr for DeviceAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let authority = text.strip_prefix("https://").ok_or(InvalidAddress)?;
        // The URL parser drops tabs and line breaks and reads a backslash as a slash: neither may reach it.
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '\\' | '?' | '#' | '@' | '%');
        if authority.is_empty() || authority.len() > 255 || !authority.chars().all(plain) {
            return Err(InvalidAddress);
        }
        let url = Url::parse(text).map_err(|_| InvalidAddress)?;
        let host = url.host().ok_or(InvalidAddress)?.to_owned();
        match url.port().unwrap_or(HTTPS_PORT) {
            0 => Err(InvalidAddress),
            port => Ok(Self { host, port }),
        }
    }
}

rootcast_pki::as_text!(DeviceAddress);

impl fmt::Display for DeviceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            HTTPS_PORT => write!(f, "https://{}", self.host),
            port => write!(f, "https://{}:{port}", self.host),
        }
    }
}

/// The networks that the worker may reach.
///
/// An empty list permits every public unicast address and no other. A list permits what it names and nothing else. A
/// special-purpose block (loopback, private, documentation, …) is only named by an entry that lies inside that block:
/// `0.0.0.0/0` permits the public Internet, not `10.0.0.0/8`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    networks: Vec<IpNet>,
}

/// A list entry that is not a network.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not a network in CIDR notation, such as 10.1.0.0/16")]
pub struct InvalidNetwork(String);

impl FromStr for AddressPolicy {
    type Err = InvalidNetwork;

    /// A list of networks or single addresses, separated by commas. Blank entries are skipped.
    fn from_str(list: &str) -> Result<Self, InvalidNetwork> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Ok(Self { networks: entries.map(network).collect::<Result<_, _>>()? })
    }
}

fn network(entry: &str) -> Result<IpNet, InvalidNetwork> {
    let invalid = || InvalidNetwork(entry.to_owned());
    let network = match entry.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => entry.parse().map_err(|_| invalid())?,
    };
    // 10.0.0.7/8 is more likely a typing error than meant as 10.0.0.0/8.
    if network.trunc() == network { Ok(network) } else { Err(invalid()) }
}

/// Why the worker may not connect to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressRefused {
    #[error("{0} is {1}: never permitted")]
    Never(IpAddr, &'static str),
    #[error("{0} is {1}: permitted only where the list of networks names a part of that block")]
    Special(IpAddr, &'static str),
    #[error("{0} is in none of the networks that this deployment permits")]
    NotListed(IpAddr),
}

impl AddressPolicy {
    /// An IPv6 address that embeds an IPv4 address is judged as that IPv4 address.
    pub fn permits(&self, address: IpAddr) -> Result<(), AddressRefused> {
        let judged = match address {
            IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        if let Some((_, what)) = lookup(NEVER, judged) {
            return Err(AddressRefused::Never(address, what));
        }
        let special = lookup(SPECIAL, judged).or_else(|| not_global(judged));
        let named = self
            .networks
            .iter()
            .any(|entry| entry.contains(&judged) && special.as_ref().is_none_or(|(block, _)| block.contains(entry)));
        match special {
            _ if named => Ok(()),
            Some((_, what)) => Err(AddressRefused::Special(address, what)),
            None if self.networks.is_empty() => Ok(()),
            None => Err(AddressRefused::NotListed(address)),
        }
    }
}

type Block = (&'static str, &'static str);

/// Addresses that no device has, or that serve the worker's own credentials.
const NEVER: &[Block] = &[
    ("0.0.0.0/8", "\"this network\" (RFC 791)"),
    ("169.254.0.0/16", "link-local (RFC 3927), where clouds keep instance metadata"),
    ("100.100.100.200/32", "the metadata service of Alibaba Cloud"),
    ("192.0.0.192/32", "the metadata service of Oracle Cloud"),
    ("168.63.129.16/32", "the platform address of Azure"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("255.255.255.255/32", "the broadcast address (RFC 919)"),
    ("::/128", "the unspecified address (RFC 4291)"),
    ("fe80::/10", "link-local (RFC 4291)"),
    ("fd00:ec2::/32", "the instance services of AWS"),
    ("fd20:ce::254/128", "the metadata service of Google Cloud"),
    ("fd00:42::42/128", "the metadata service of Scaleway"),
    ("ff00::/8", "multicast (RFC 4291)"),
];

/// The IANA special-purpose registries (RFC 6890 and its updates), without the blocks in [`NEVER`] and [`embedded`].
const SPECIAL: &[Block] = &[
    ("10.0.0.0/8", "private (RFC 1918)"),
    ("100.64.0.0/10", "shared address space (RFC 6598)"),
    ("127.0.0.0/8", "loopback (RFC 1122)"),
    ("172.16.0.0/12", "private (RFC 1918)"),
    ("192.0.0.0/24", "kept for protocols (RFC 6890)"),
    ("192.0.2.0/24", "kept for documentation (RFC 5737)"),
    ("192.88.99.0/24", "a 6to4 relay (RFC 7526)"),
    ("192.168.0.0/16", "private (RFC 1918)"),
    ("198.18.0.0/15", "kept for benchmarks (RFC 2544)"),
    ("198.51.100.0/24", "kept for documentation (RFC 5737)"),
    ("203.0.113.0/24", "kept for documentation (RFC 5737)"),
    ("240.0.0.0/4", "reserved (RFC 1112)"),
    ("::1/128", "loopback (RFC 4291)"),
    ("64:ff9b:1::/48", "a local translation prefix (RFC 8215)"),
    ("100::/64", "discarded (RFC 6666)"),
    ("2001::/23", "kept for protocols (RFC 2928)"),
    ("2001:db8::/32", "kept for documentation (RFC 3849)"),
    ("3fff::/20", "kept for documentation (RFC 9637)"),
    ("5f00::/16", "a segment identifier (RFC 9602)"),
    ("fc00::/7", "unique local (RFC 4193)"),
    ("fec0::/10", "site-local (RFC 3879)"),
];

fn lookup(table: &'static [Block], address: IpAddr) -> Option<(IpNet, &'static str)> {
    let parsed = table.iter().filter_map(|(block, what)| Some((block.parse::<IpNet>().ok()?, *what)));
    parsed.into_iter().find(|(block, _)| block.contains(&address))
}

/// Only 2000::/3 is allocated as global unicast (RFC 4291 §2.4 and IANA's IPv6 address space).
fn not_global(address: IpAddr) -> Option<(IpNet, &'static str)> {
    let handed_out = match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000,
    };
    let everything = IpNet::V6(ipnet::Ipv6Net::default());
    (!handed_out).then_some((everything, "not handed out for global unicast"))
}

/// The IPv4 address inside an IPv6 address: mapped and compatible (RFC 4291 §2.5.5), NAT64's well-known prefix (RFC
/// 6052), and 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let last = || {
        let [.., a, b, c, d] = address.octets();
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(last()),
        [0x2002, high, low, ..] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(list: &str, address: &str) -> Result<(), AddressRefused> {
        list.parse::<AddressPolicy>().unwrap().permits(address.parse().unwrap())
    }

    fn never(list: &str, address: &str) -> bool {
        matches!(verdict(list, address), Err(AddressRefused::Never(..)))
    }

    #[test]
    fn addresses_are_a_host_and_a_port_only() {
        for (text, shown) in [
            ("https://10.0.0.7:443", "https://10.0.0.7"),
            ("https://bmc-1.example:8443", "https://bmc-1.example:8443"),
            ("https://[2001:db8::7]:444", "https://[2001:db8::7]:444"),
            ("https://0x7f.1", "https://127.0.0.1"),
            ("https://BMC.example", "https://bmc.example"),
        ] {
            assert_eq!(text.parse::<DeviceAddress>().unwrap().to_string(), shown);
        }
        for text in [
            "http://host",
            "https://",
            "https://host/",
            "https://host/redfish",
            "https://host?q",
            "https://host#f",
            "https://user@host",
            "https://host:0",
            "https://host:99999",
            "https://ho st",
            "https://host\\x",
            "host",
            "https://ho%73t",
            "https://host\n",
            "HTTPS://host",
        ] {
            assert_eq!(text.parse::<DeviceAddress>(), Err(InvalidAddress), "{text}");
        }
    }

    #[test]
    fn an_empty_list_permits_public_unicast_only() {
        for public in "93.184.216.34 8.8.8.8 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808".split(' ') {
            assert_eq!(verdict("", public), Ok(()), "{public}");
        }
        for special in "127.0.0.1 10.1.2.3 172.31.0.1 192.168.1.1 100.64.0.1 240.0.0.1 198.18.0.1 ::1 fd12::1 \
             2001:db8::1 fec0::1 4000::1 ::ffff:10.0.0.1 2002:0a00:0001::1 64:ff9b::a00:1 64:ff9b:1::1 \
             ::10.0.0.1 2001::1"
            .split(' ')
        {
            assert!(matches!(verdict("", special), Err(AddressRefused::Special(..))), "{special}");
        }
    }

    #[test]
    fn a_list_permits_what_it_names() {
        assert_eq!(verdict("10.1.0.0/16, 127.0.0.1", "10.1.9.9"), Ok(()));
        assert_eq!(verdict("10.1.0.0/16, 127.0.0.1", "127.0.0.1"), Ok(()));
        assert_eq!(verdict("10.1.0.0/16", "::ffff:10.1.9.9"), Ok(()));
        assert_eq!(verdict("fd12::/16", "fd12::7"), Ok(()));
        assert_eq!(verdict("4000::/16", "4000::7"), Ok(()));
        assert!(verdict("10.1.0.0/16", "10.2.0.1").is_err());
        assert!(verdict("10.1.0.0/16", "8.8.8.8").is_err());
        assert_eq!(verdict("0.0.0.0/0", "8.8.8.8"), Ok(()));
        for inside in "10.0.0.1 127.0.0.1 192.168.0.1 172.16.0.1".split(' ') {
            assert!(verdict("0.0.0.0/0,::/0,172.0.0.0/8", inside).is_err(), "{inside}");
        }
    }

    #[test]
    fn some_addresses_are_refused_even_if_listed() {
        let list = "169.254.169.254,169.254.0.0/16,fe80::/10,fd00:ec2::254,fc00::/7,100.64.0.0/10,100.100.100.200,\
                    0.0.0.0/8,255.255.255.255,224.0.0.0/4,ff00::/8,::,192.0.0.192,168.63.129.16,64:ff9b::/96";
        for address in "169.254.169.254 169.254.170.2 fe80::1 fd00:ec2::254 100.100.100.200 0.0.0.0 0.1.2.3 \
             255.255.255.255 239.1.1.1 ff02::1 :: ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe \
             2002:a9fe:a9fe::1 ::169.254.169.254 192.0.0.192 168.63.129.16"
            .split(' ')
        {
            assert!(never(list, address), "{address}");
        }
    }

    #[test]
    fn invalid_lists_are_refused() {
        for list in "10.0.0.7/8 10.0.0.0/33 example.org 10.0.0.0/8;11.0.0.0/8".split(' ') {
            assert!(list.parse::<AddressPolicy>().is_err(), "{list}");
        }
        assert_eq!(" , ".parse::<AddressPolicy>().unwrap(), AddressPolicy::default());
    }

    #[test]
    fn the_tables_parse() {
        assert!(NEVER.iter().chain(SPECIAL).all(|(block, _)| block.parse::<IpNet>().is_ok()));
    }

    proptest! {
        /// Whatever the list, also when embedded in IPv6.
        #[test]
        fn link_local_addresses_are_always_refused(
            c: u8, d: u8, v4_base: u32, v4_length in 0u8..=32, v6_base: u128, v6_length in 0u8..=128,
        ) {
            let v4 = ipnet::Ipv4Net::new(v4_base.into(), v4_length).unwrap().trunc();
            let v6 = ipnet::Ipv6Net::new(v6_base.into(), v6_length).unwrap().trunc();
            let policy: AddressPolicy = format!("{v4},{v6},169.254.0.0/16").parse().unwrap();
            let inner = Ipv4Addr::new(169, 254, c, d);
            let nat64: Ipv6Addr = format!("64:ff9b::{inner}").parse().unwrap();
            for address in [IpAddr::V4(inner), IpAddr::V6(inner.to_ipv6_mapped()), IpAddr::V6(nat64)] {
                prop_assert!(policy.permits(address).is_err());
            }
        }

        /// An IPv4-mapped address is permitted exactly if the plain one is.
        #[test]
        fn embedded_addresses_are_judged_like_plain_ones(address: u32, base: u32, length in 0u8..=32) {
            let network = ipnet::Ipv4Net::new(base.into(), length).unwrap().trunc();
            let policy: AddressPolicy = network.to_string().parse().unwrap();
            let plain = Ipv4Addr::from(address);
            prop_assert_eq!(
                policy.permits(plain.into()).is_ok(),
                policy.permits(plain.to_ipv6_mapped().into()).is_ok()
            );
        }

        /// A list never permits what it does not contain.
        #[test]
        fn addresses_outside_the_list_are_refused(address: u32, base: u32, length in 1u8..=32) {
            let network = ipnet::Ipv4Net::new(base.into(), length).unwrap().trunc();
            let policy: AddressPolicy = network.to_string().parse().unwrap();
            let address = Ipv4Addr::from(address);
            prop_assert!(network.contains(&address) || policy.permits(address.into()).is_err());
        }

        #[test]
        fn parsed_addresses_round_trip(text in "https://[ -~]{0,40}") {
            if let Ok(address) = text.parse::<DeviceAddress>() {
                prop_assert_eq!(address.to_string().parse::<DeviceAddress>(), Ok(address));
            }
        }
    }
}
