//! Name constraints (RFC 5280 §4.2.1.10): DNS names, IP addresses, directory names, mail addresses and URIs. A
//! constraint of any other kind refuses all names of that kind.

use std::net::IpAddr;

use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::extensions::{GeneralName, GeneralSubtree, NameConstraints};
use x509_parser::x509::{AttributeTypeAndValue, RelativeDistinguishedName, X509Name};

use super::der::{element, sequence, tagged};
use super::leaf;
use super::node::Node;
use super::problem::{ConstraintFault, Problem};
use super::text;

/// Most comparisons of names with subtrees, over all paths: enough for a thousand names and a hundred subtrees.
pub const COMPARISONS: usize = 100_000;

/// Checks every certificate below an issuer with constraints, except self-issued ones other than the leaf. `path`: the
/// leaf first. `budget` counts comparisons, up to [`COMPARISONS`] over all paths.
pub(super) fn check(path: &[&Node<'_>], budget: &mut usize, problems: &mut Vec<Problem>) {
    for (at, issuer) in path.iter().enumerate().skip(1) {
        let Some(constraints) = issuer.constraints else { continue };
        let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
        let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
        for (below, node) in path[..at].iter().enumerate() {
            if below > 0 && node.is_self_issued() {
                continue;
            }
            let fault = presented(node).iter().find_map(|name| refuse(name, permitted, excluded, budget).err());
            if let Some(what) = fault {
                problems.push(Problem::NameConstraints { issuer: issuer.subject(), subject: node.subject(), what });
            }
        }
    }
}

/// Whether an issuer may certify these names.
pub(crate) fn permits(
    issuer: &NameConstraints<'_>,
    dns_names: &[String],
    addresses: &[IpAddr],
) -> Result<(), ConstraintFault> {
    let names = dns_names.iter().map(|name| Presented::Dns(name));
    let (permitted, excluded) = (issuer.permitted_subtrees.as_deref(), issuer.excluded_subtrees.as_deref());
    let mut budget = COMPARISONS;
    names
        .chain(addresses.iter().map(|address| Presented::Ip(Some(*address))))
        .try_for_each(|name| refuse(&name, permitted.unwrap_or_default(), excluded.unwrap_or_default(), &mut budget))
}

/// Whether each subtree has a base only. Otherwise minimum and maximum, which RFC 5280 does not use, would be ignored.
pub(super) fn is_strict(value: &[u8]) -> bool {
    let whole = |mut subtrees: &[u8]| {
        while !subtrees.is_empty() {
            let Some((rest, subtree)) = element(subtrees, x509_parser::asn1_rs::Tag::Sequence) else { return false };
            if !Any::from_der(subtree).is_ok_and(|(after, _)| after.is_empty()) {
                return false;
            }
            subtrees = rest;
        }
        true
    };
    let Some(mut rest) = sequence(value) else { return false };
    for tag in [0, 1] {
        if let Some((after, subtrees)) = tagged(rest, tag, true) {
            if !whole(subtrees) {
                return false;
            }
            rest = after;
        }
    }
    rest.is_empty()
}

/// A name in the form used for comparison.
enum Presented<'a> {
    Directory(&'a X509Name<'a>),
    Dns(&'a str),
    Ip(Option<IpAddr>),
    Mail(&'a str),
    /// The host, if it is a name (RFC 5280: others cannot be constrained).
    Uri(&'a str, Option<String>),
    Other(&'static str),
}

fn presented<'a>(node: &'a Node<'a>) -> Vec<Presented<'a>> {
    let subject = node.parsed.subject();
    let mut names: Vec<_> = node.names.iter().map(Presented::of).collect();
    let common = || leaf::common_name(node).filter(|name| !node.is_ca() && leaf::is_host(name));
    if let Some(name) = if leaf::has_alternative(node) { None } else { common() } {
        names.push(name.parse().map_or(Presented::Dns(name), |address| Presented::Ip(Some(address))));
    }
    if subject.iter().next().is_some() {
        names.push(Presented::Directory(subject));
    }
    names.extend(subject.iter_email().filter_map(|attribute| attribute.as_str().ok()).map(Presented::Mail));
    names
}

impl<'a> Presented<'a> {
    fn of(name: &'a GeneralName<'a>) -> Self {
        match name {
            GeneralName::DirectoryName(name) => Self::Directory(name),
            GeneralName::DNSName(name) => Self::Dns(name),
            GeneralName::IPAddress(bytes) => Self::Ip(leaf::ip(bytes)),
            GeneralName::RFC822Name(name) => Self::Mail(name),
            GeneralName::URI(uri) => {
                let host = url::Url::parse(uri).ok().and_then(|uri| uri.domain().map(str::to_owned));
                Self::Uri(uri, host)
            }
            other => Self::Other(kind(other)),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directoryName",
            Self::Dns(_) => "dNSName",
            Self::Ip(_) => "iPAddress",
            Self::Mail(_) => "rfc822Name",
            Self::Uri(..) => "uniformResourceIdentifier",
            Self::Other(kind) => kind,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Directory(name) => text::shown(&crate::name::display(name)),
            Self::Dns(name) | Self::Mail(name) | Self::Uri(name, _) => text::shown(name),
            Self::Ip(Some(address)) => address.to_string(),
            Self::Ip(None) => "an IP address".to_owned(),
            Self::Other(kind) => (*kind).to_owned(),
        }
    }
}

fn kind(name: &GeneralName<'_>) -> &'static str {
    match name {
        GeneralName::DirectoryName(_) => "directoryName",
        GeneralName::DNSName(_) => "dNSName",
        GeneralName::IPAddress(_) => "iPAddress",
        GeneralName::RFC822Name(_) => "rfc822Name",
        GeneralName::URI(_) => "uniformResourceIdentifier",
        GeneralName::OtherName(..) => "otherName",
        GeneralName::X400Address(_) => "x400Address",
        GeneralName::EDIPartyName(_) => "ediPartyName",
        GeneralName::RegisteredID(_) => "registeredID",
        GeneralName::Invalid(..) => "unreadable",
    }
}

fn refuse(
    name: &Presented<'_>,
    permitted: &[GeneralSubtree<'_>],
    excluded: &[GeneralSubtree<'_>],
    budget: &mut usize,
) -> Result<(), ConstraintFault> {
    let mut compare = |subtrees: &[GeneralSubtree<'_>], excluding| -> Result<Option<bool>, ConstraintFault> {
        let mut applies = None;
        for subtree in subtrees {
            *budget = budget.checked_sub(1).ok_or(ConstraintFault::TooMany)?;
            if kind(&subtree.base) != name.kind() {
                continue;
            }
            if within(name, &subtree.base, excluding).ok_or(ConstraintFault::Unsupported(name.kind()))? {
                return Ok(Some(true));
            }
            applies = Some(false);
        }
        Ok(applies)
    };
    if compare(excluded, true)? == Some(true) {
        return Err(ConstraintFault::Excluded(name.shown()));
    }
    if compare(permitted, false)? == Some(false) {
        return Err(ConstraintFault::NotPermitted(name.shown()));
    }
    Ok(())
}

/// `None` if this cannot be determined.
fn within(name: &Presented<'_>, base: &GeneralName<'_>, excluding: bool) -> Option<bool> {
    match (name, base) {
        (Presented::Dns(name), GeneralName::DNSName(base)) => Some(dns_within(name, base, excluding)),
        (Presented::Ip(address), GeneralName::IPAddress(base)) => ip_within((*address)?, base),
        (Presented::Directory(name), GeneralName::DirectoryName(base)) => directory_within(name, base),
        (Presented::Mail(name), GeneralName::RFC822Name(base)) => Some(mail_within(name, base)),
        (Presented::Uri(_, host), GeneralName::URI(base)) => Some(host_within(host.as_deref()?, base)),
        _ => None,
    }
}

/// The name itself and everything below it. With a leading dot only what is below, as in OpenSSL and webpki. A wildcard
/// is excluded if it can match an excluded name.
fn dns_within(name: &str, base: &str, excluding: bool) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let below = ends_with_label(name, base.strip_prefix('.').unwrap_or(base));
    let wildcard = || {
        name.strip_prefix("*.")
            .zip(base.split_once('.'))
            .is_some_and(|(rest, (first, parent))| !first.is_empty() && rest.eq_ignore_ascii_case(parent))
    };
    base.is_empty() || name.eq_ignore_ascii_case(base) || below || (excluding && wildcard())
}

/// One host; with a leading dot, everything below it (RFC 5280: URIs, and the hosts of mail addresses).
fn host_within(host: &str, base: &str) -> bool {
    match base.strip_prefix('.') {
        Some(parent) => ends_with_label(host, parent),
        None => base.is_empty() || host.eq_ignore_ascii_case(base),
    }
}

fn mail_within(name: &str, base: &str) -> bool {
    let Some((local, host)) = name.rsplit_once('@') else { return false };
    match base.rsplit_once('@') {
        Some((box_, at)) => local == box_ && host.eq_ignore_ascii_case(at),
        None => host_within(host, base),
    }
}

fn ends_with_label(name: &str, parent: &str) -> bool {
    let split = name.len().checked_sub(parent.len()).filter(|at| name.is_char_boundary(*at));
    split.is_some_and(|at| name[..at].ends_with('.') && name[at..].eq_ignore_ascii_case(parent))
}

/// Address and mask, the mask without gaps. An address of the other family never matches.
fn ip_within(address: IpAddr, base: &[u8]) -> Option<bool> {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    if base.len() != 8 && base.len() != 32 {
        return None;
    }
    let (network, mask) = base.split_at(base.len() / 2);
    let bits = mask.iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte)) << (128 - 8 * mask.len());
    if bits.leading_ones() != bits.count_ones() {
        return None;
    }
    let masked = |((a, n), m): ((&u8, &u8), &u8)| a & m == n & m;
    Some(bytes.len() == network.len() && bytes.iter().zip(network).zip(mask).all(masked))
}

/// Whether the base is a prefix of the name. Text is compared without case and surplus blanks (RFC 5280 §7.1). `None`
/// if a part has more values than any real name: comparing them as sets takes quadratic time.
fn directory_within(name: &X509Name<'_>, base: &X509Name<'_>) -> Option<bool> {
    let mut parts = name.iter();
    for wanted in base.iter() {
        let Some(part) = parts.next() else { return Some(false) };
        if part.iter().nth(VALUES).is_some() || wanted.iter().nth(VALUES).is_some() {
            return None;
        }
        if !same_part(part, wanted) {
            return Some(false);
        }
    }
    Some(true)
}

/// Most values in one part of a directory name.
const VALUES: usize = 8;

fn same_part(a: &RelativeDistinguishedName<'_>, b: &RelativeDistinguishedName<'_>) -> bool {
    let holds = |one: &RelativeDistinguishedName<'_>, other: &RelativeDistinguishedName<'_>| {
        one.iter().all(|attribute| other.iter().any(|candidate| same_attribute(attribute, candidate)))
    };
    holds(a, b) && holds(b, a)
}

fn same_attribute(a: &AttributeTypeAndValue<'_>, b: &AttributeTypeAndValue<'_>) -> bool {
    fn folded(text: &str) -> impl Iterator<Item = char> + '_ {
        text.split_whitespace().flat_map(|word| word.chars().flat_map(char::to_lowercase).chain([' ']))
    }
    a.attr_type() == b.attr_type()
        && match (a.as_str(), b.as_str()) {
            (Ok(a), Ok(b)) => folded(a).eq(folded(b)),
            _ => a.attr_value() == b.attr_value(),
        }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_dns_subtree_covers_the_name_and_all_below() {
        for (name, base) in [
            ("example.com", "example.com"),
            ("A.Example.com", "example.COM"),
            ("a.b.example.com", ".example.com"),
            ("*.example.com", "example.com"),
            ("anything", ""),
        ] {
            assert!(dns_within(name, base, false), "{name} in {base}");
        }
        for (name, base) in
            [("badexample.com", "example.com"), ("example.com", ".example.com"), ("*.example.com", "a.example.com")]
        {
            assert!(!dns_within(name, base, false), "{name} in {base}");
        }
        assert!(dns_within("*.example.com", "a.example.com", true), "the wildcard stands for it");
        assert!(!dns_within("*.example.com", "b.a.example.com", true), "a wildcard is one label");
    }

    #[test]
    fn an_address_subtree_has_one_family_and_no_gaps() {
        let ten = "10.1.2.3".parse().unwrap();
        assert_eq!(ip_within(ten, &[10, 0, 0, 0, 255, 0, 0, 0]), Some(true));
        assert_eq!(ip_within(ten, &[11, 0, 0, 0, 255, 0, 0, 0]), Some(false));
        assert_eq!(ip_within(ten, &[0; 8]), Some(true));
        assert_eq!(ip_within(ten, &[0; 32]), Some(false));
        assert_eq!(ip_within(ten, &[10, 0, 0, 0, 255, 0, 255, 0]), None);
        assert_eq!(ip_within(ten, &[10, 0, 0, 0]), None);
    }

    #[test]
    fn mail_and_uri_subtrees_are_a_host_or_all_below() {
        assert!(mail_within("a@Example.com", "example.com") && mail_within("a@b.example.com", ".example.com"));
        assert!(mail_within("a@example.com", "a@EXAMPLE.com") && !mail_within("A@example.com", "a@example.com"));
        assert!(!mail_within("a@b.example.com", "example.com") && !mail_within("example.com", "example.com"));
        assert!(host_within("b.example.com", ".example.com") && !host_within("example.com", ".example.com"));
    }
}
