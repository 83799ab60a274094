//! Requirements for a leaf: no CA, for TLS, and with names.

use std::borrow::Cow;
use std::net::IpAddr;

use x509_parser::extensions::GeneralName;

use super::node::Node;
use super::problem::Problem;
use super::{purposes, text};

/// Most alternative names in one certificate, of all kinds together.
pub const NAMES: usize = 1000;

/// `ub-common-name` (RFC 5280 Appendix A.1), in characters.
const COMMON_NAME: usize = 64;

/// The names of the leaf.
#[derive(Default)]
pub(super) struct Names {
    pub(super) common_name: Option<String>,
    pub(super) alternative: Vec<String>,
    /// Addresses of the SAN that are DNS names as well: nothing looks for them there any more.
    pub(super) addresses: Vec<String>,
}

pub(super) fn check(leaf: &Node<'_>, problems: &mut Vec<Problem>) -> Names {
    let subject = || leaf.subject();
    if leaf.is_ca() {
        problems.push(Problem::LeafIsCa { subject: subject(), why: "its basicConstraints say cA" });
    } else if leaf.usage.is_some_and(|usage| usage.key_cert_sign()) {
        problems.push(Problem::LeafIsCa { subject: subject(), why: "its keyUsage allows keyCertSign" });
    }
    problems.extend(purposes::refused(leaf));
    names(leaf, problems)
}

fn names(leaf: &Node<'_>, problems: &mut Vec<Problem>) -> Names {
    let mut names = Names { common_name: common_name(leaf), ..Names::default() };
    let bad = |name: &str, kind| Problem::BadName { subject: leaf.subject(), name: text::shown(name), kind };
    if leaf.names.len() > NAMES {
        problems.push(Problem::TooManyNames(leaf.subject()));
        return names;
    }
    for name in leaf.names {
        match name {
            GeneralName::DNSName(name) if is_address_of(leaf, name) => names.addresses.push((*name).to_owned()),
            GeneralName::DNSName(name) if is_dns_name(name) => names.alternative.push((*name).to_owned()),
            GeneralName::DNSName(name) => problems.push(bad(name, "DNS name")),
            GeneralName::IPAddress(bytes) => match ip(bytes) {
                Some(address) => names.alternative.push(address.to_string()),
                None => problems.push(bad(&hex::encode(bytes), "IP address")),
            },
            GeneralName::Invalid(_, bytes) => problems.push(bad(&hex::encode(bytes), "readable name")),
            _ => {}
        }
    }
    if !has_alternative(leaf) && !names.common_name.as_deref().is_some_and(is_host) {
        problems.push(Problem::NoName(leaf.subject()));
    }
    names
}

/// The last CN of the subject, which is the most specific. `None` if it is too long for a CN or holds control
/// characters.
fn common_name(node: &Node<'_>) -> Option<String> {
    let last = node.parsed.subject().iter_common_name().last().and_then(super::names::text);
    last.filter(|name| name.chars().count() <= COMMON_NAME && !name.chars().any(char::is_control)).map(Cow::into_owned)
}

/// Whether a DNS name is the text of an address that the SAN has as an address too, as internal authorities write it for
/// old clients.
fn is_address_of(leaf: &Node<'_>, name: &str) -> bool {
    // As in a URL: an IPv6 address may be in brackets.
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let Ok(address) = bare.parse::<IpAddr>() else { return false };
    leaf.names.iter().any(|other| matches!(other, GeneralName::IPAddress(bytes) if ip(bytes) == Some(address)))
}

/// Whether the SAN names a host, valid or not: then the CN is not a host name (RFC 6125 §6.4.4).
fn has_alternative(node: &Node<'_>) -> bool {
    node.names.iter().any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
}

pub(super) fn is_host(name: &str) -> bool {
    is_dns_name(name) || name.parse::<IpAddr>().is_ok()
}

/// RFC 1123 §2.1, with underscores, which exist in practice, and `*` as first label (RFC 6125 §6.4.3). Not an IPv4
/// address.
pub(super) fn is_dns_name(name: &str) -> bool {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253 && is_labels(labels) && !labels.rsplit('.').next().is_some_and(numeric)
}

/// At least one label, without a wildcard.
pub(super) fn is_labels(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// 4 or 16 bytes.
pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dns_name_has_at_most_one_wildcard_in_front() {
        for good in
            ["localhost", "a.example.com", "*.example.com", "xn--bcher-kva.example", "_dmarc.a", "1.example", "A.B"]
        {
            assert!(is_dns_name(good), "{good}");
        }
        let long = format!("{}a", "a.".repeat(127));
        for bad in [
            "", ".", "a.", ".a", "a..b", "*", "*.*.a", "a.*.b", "w*.a", "-a.b", "a-.b", "a b", "a/b", "ü.de",
            "10.0.0.1", &long,
        ] {
            assert!(!is_dns_name(bad), "{bad}");
        }
        assert!(is_host("10.0.0.1") && is_host("2001:db8::1") && !is_host("10.0.0.1/8"));
    }
}
