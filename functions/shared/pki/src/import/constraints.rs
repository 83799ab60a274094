//! Name constraints (RFC 5280 §4.2.1.10): DNS names, IP addresses, directory names, mail addresses and URIs. A
//! constraint of any other kind refuses all names of that kind. So does one whose base is malformed, and a name that
//! cannot be read is refused wherever there is a constraint of its kind.

use std::borrow::Cow;
use std::net::IpAddr;

use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::extensions::{GeneralName, GeneralSubtree, NameConstraints};
use x509_parser::x509::X509Name;

use super::der::{element, sequence, tagged};
use super::leaf;
use super::node::Node;
use super::problem::{ConstraintFault, Problem};
use super::{names, text};

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
    let names = dns_names.iter().map(|name| Presented::Dns(name.into()));
    let (permitted, excluded) = (issuer.permitted_subtrees.as_deref(), issuer.excluded_subtrees.as_deref());
    let mut budget = COMPARISONS;
    names
        .chain(addresses.iter().map(|address| Presented::Ip(Some(*address))))
        .try_for_each(|name| refuse(&name, permitted.unwrap_or_default(), excluded.unwrap_or_default(), &mut budget))
}

/// Whether there is a subtree at all, as RFC 5280 demands of the extension and of both lists, and each has a base only:
/// otherwise minimum and maximum, which RFC 5280 does not use, would be ignored.
pub(super) fn is_strict(value: &[u8]) -> bool {
    let whole = |mut subtrees: &[u8]| {
        let is_empty = subtrees.is_empty();
        while !subtrees.is_empty() {
            let Some((rest, subtree)) = element(subtrees, x509_parser::asn1_rs::Tag::Sequence) else { return false };
            if !Any::from_der(subtree).is_ok_and(|(after, _)| after.is_empty()) {
                return false;
            }
            subtrees = rest;
        }
        !is_empty
    };
    let Some(mut rest) = sequence(value) else { return false };
    let is_empty = rest.is_empty();
    for tag in [0, 1] {
        if let Some((after, subtrees)) = tagged(rest, tag, true) {
            if !whole(subtrees) {
                return false;
            }
            rest = after;
        }
    }
    rest.is_empty() && !is_empty
}

/// Whether every base could be read.
pub(super) fn is_readable(constraints: &NameConstraints<'_>) -> bool {
    let lists = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
    lists.into_iter().flatten().flatten().all(|subtree| !matches!(subtree.base, GeneralName::Invalid(..)))
}

/// A name in the form used for comparison; `None`: it cannot be read.
enum Presented<'a> {
    Directory(&'a X509Name<'a>),
    Dns(Cow<'a, str>),
    Ip(Option<IpAddr>),
    Mail(Option<Cow<'a, str>>),
    /// The host, if it is a name (RFC 5280: others cannot be constrained).
    Uri(&'a str, Option<String>),
    Other(&'static str),
    /// A name of a kind that may be any.
    Unreadable,
}

fn presented<'a>(node: &'a Node<'a>) -> Vec<Presented<'a>> {
    let subject = node.parsed.subject();
    let mut found: Vec<_> = node.names.iter().flat_map(Presented::of).collect();
    // Clients that find no DNS name in the SAN look for one in the CN, also beside addresses.
    if !node.is_ca() && !node.names.iter().any(|name| matches!(name, GeneralName::DNSName(_))) {
        for attribute in subject.iter_common_name() {
            match names::text(attribute) {
                // OpenSSL takes an address for a host name here, and others for an address.
                Some(name) => {
                    found.extend(name.parse().ok().map(|address| Presented::Ip(Some(address))));
                    found.extend(leaf::is_host(&name).then_some(Presented::Dns(name)));
                }
                None => found.push(Presented::Unreadable),
            }
        }
    }
    if subject.iter().next().is_some() {
        found.push(Presented::Directory(subject));
    }
    found.extend(subject.iter_email().map(|attribute| Presented::Mail(names::text(attribute))));
    found
}

/// id-on-SmtpUTF8Mailbox (RFC 9598 §3): a mail address, which constraints of mail addresses apply to.
const SMTP_UTF8_MAILBOX: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x08\x09";

impl<'a> Presented<'a> {
    fn of(name: &'a GeneralName<'a>) -> Vec<Self> {
        vec![match name {
            GeneralName::DirectoryName(name) => Self::Directory(name),
            GeneralName::DNSName(name) => Self::Dns((*name).into()),
            GeneralName::IPAddress(bytes) => Self::Ip(leaf::ip(bytes)),
            GeneralName::RFC822Name(name) => Self::Mail(Some((*name).into())),
            GeneralName::URI(uri) => {
                let host = url::Url::parse(uri).ok().and_then(|uri| uri.domain().map(str::to_owned));
                Self::Uri(uri, host)
            }
            GeneralName::OtherName(oid, _) if oid.as_bytes() == SMTP_UTF8_MAILBOX => {
                return vec![Self::Mail(None), Self::Other(kind(name))];
            }
            GeneralName::Invalid(..) => Self::Unreadable,
            other => Self::Other(kind(other)),
        }]
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directoryName",
            Self::Dns(_) => "dNSName",
            Self::Ip(_) => "iPAddress",
            Self::Mail(_) => "rfc822Name",
            Self::Uri(..) => "uniformResourceIdentifier",
            Self::Other(kind) => kind,
            Self::Unreadable => "unreadable",
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Directory(name) => text::shown(&crate::name::display(name)),
            Self::Dns(name) | Self::Mail(Some(name)) => text::shown(name),
            Self::Uri(name, _) => text::shown(name),
            Self::Ip(Some(address)) => address.to_string(),
            Self::Ip(None) => "an IP address".to_owned(),
            Self::Mail(None) => "a mail address".to_owned(),
            Self::Other(kind) => (*kind).to_owned(),
            Self::Unreadable => "a name that cannot be read".to_owned(),
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
            if kind(&subtree.base) != name.kind() && !matches!(name, Presented::Unreadable) {
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
        (Presented::Dns(name), GeneralName::DNSName(base)) => {
            let plain = name.strip_suffix('.').unwrap_or(name);
            let readable = leaf::is_host(plain) && (base.is_empty() || is_domain(base));
            readable.then(|| dns_within(plain, base, excluding))
        }
        (Presented::Ip(address), GeneralName::IPAddress(base)) => ip_within((*address)?, base),
        (Presented::Directory(name), GeneralName::DirectoryName(base)) => directory_within(name, base),
        (Presented::Mail(name), GeneralName::RFC822Name(base)) => mail_within(name.as_deref()?, base),
        (Presented::Uri(_, host), GeneralName::URI(base)) => {
            let host = host.as_deref()?;
            is_domain(base).then(|| host_within(host, base))
        }
        _ => None,
    }
}

/// A host, or with a leading dot all below it.
fn is_domain(base: &str) -> bool {
    leaf::is_labels(base.strip_prefix('.').unwrap_or(base))
}

/// The name itself and everything below it. With a leading dot only what is below, as in OpenSSL and webpki. A wildcard
/// is excluded if it can match an excluded name.
fn dns_within(name: &str, base: &str, excluding: bool) -> bool {
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
        None => host.eq_ignore_ascii_case(base),
    }
}

/// `None` if the address or the base is malformed, or has a quoted local part, which may be another's in other letters.
fn mail_within(name: &str, base: &str) -> Option<bool> {
    let (local, host) = mailbox(name)?;
    if base.contains('@') {
        let (only, at) = mailbox(base)?;
        return Some(local == only && host.eq_ignore_ascii_case(at));
    }
    is_domain(base).then(|| host_within(host, base))
}

/// Dot-string and domain of RFC 5321 §4.1.2.
fn mailbox(address: &str) -> Option<(&str, &str)> {
    let (local, host) = address.split_once('@')?;
    let atom = |c: char| c.is_ascii_graphic() && !"\"(),:;<>@[\\]".contains(c);
    let fits = local.split('.').all(|part| !part.is_empty() && part.chars().all(atom)) && leaf::is_labels(host);
    fits.then_some((local, host))
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

/// Whether the base is a prefix of the name. `None` if a part has more values than any real name, or a value that cannot
/// be read decides.
fn directory_within(name: &X509Name<'_>, base: &X509Name<'_>) -> Option<bool> {
    let mut parts = name.iter();
    for wanted in base.iter() {
        let Some(part) = parts.next() else { return Some(false) };
        if part.iter().nth(VALUES).is_some() || wanted.iter().nth(VALUES).is_some() {
            return None;
        }
        if !names::same_part(part, wanted)? {
            return Some(false);
        }
    }
    Some(true)
}

/// Most values in one part of a directory name.
const VALUES: usize = 8;

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
    fn a_malformed_name_or_base_is_not_compared() {
        let dns = |name: &str, base: &'static str| {
            within(&Presented::Dns(name.to_owned().into()), &GeneralName::DNSName(base), false)
        };
        assert_eq!(dns("a.example.com.", "example.com"), Some(true));
        assert_eq!(dns("10.0.0.7", "example.com"), Some(false), "an address as a DNS name");
        for (name, base) in [
            ("a.example.com", "*.example.com"),
            ("a.example.com", "example.com."),
            ("a.example.com", "exa mple.com"),
            ("a.example.com", ".."),
            ("a.example.com", "."),
            ("a..example.com", "example.com"),
        ] {
            assert_eq!(dns(name, base), None, "{name} in {base}");
        }
        let uri = |base| within(&Presented::Uri("", Some("a.example.com".to_owned())), &GeneralName::URI(base), false);
        assert_eq!((uri(".example.com"), uri("https://example.com"), uri("")), (Some(true), None, None));
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
        for (name, base, expected) in [
            ("a@Example.com", "example.com", Some(true)),
            ("a@b.example.com", ".example.com", Some(true)),
            ("a@example.com", "a@EXAMPLE.com", Some(true)),
            ("A@example.com", "a@example.com", Some(false)),
            ("a@b.example.com", "example.com", Some(false)),
            ("example.com", "example.com", None),
            ("\"a\"@example.com", "a@example.com", None),
            ("a@b@example.com", "example.com", None),
            ("a@[10.0.0.7]", "example.com", None),
            ("a@example.com", "", None),
            ("a@example.com", "@example.com", None),
            ("a@example.com", "*.example.com", None),
        ] {
            assert_eq!(mail_within(name, base), expected, "{name} in {base}");
        }
        assert!(host_within("b.example.com", ".example.com") && !host_within("example.com", ".example.com"));
    }
}
