//! The overall assessment: which certificate is the leaf, whether the key matches it, and the path to a root.

use std::fmt;
use std::mem::take;

use time::OffsetDateTime;
use x509_parser::asn1_rs::Tag;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

use super::der::{element, sequence};
use super::key::Key;
use super::leaf::{self, Names};
use super::node::{self, Node};
use super::path::{self, Found};
use super::problem::{Location, Problem, Problems, Unreadable};
use super::{Anchors, Checked, Sent, names, purposes, text};
use crate::certificate::{self, Certificate, InvalidCertificate};
use crate::fingerprint::Fingerprint;

/// Not a reason to refuse an import, but reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A certificate that is not part of the chain.
    Dropped { subject: String, fingerprint: Fingerprint },
    /// The root at which the chain ends. It was not sent, but is known.
    Completed { subject: String, fingerprint: Fingerprint },
    /// The chain leads to no root that was sent or is known, which the sender allowed.
    Unproven { issuer: String },
    /// Keys that are not the leaf's.
    KeysDropped(usize),
    /// A root whose self-signature is weak, or cannot be verified. Trust in a root does not rest on that signature.
    RootSignature { subject: String, what: String },
    /// A root of X.509 version 1: a name and a key, which is all that a trust anchor is (RFC 5280 §6.1.1 d).
    V1Root { subject: String },
    /// An address that is a DNS name too, for clients that look for it there.
    AddressAsName { subject: String, address: String },
    /// It names its issuer in other letters, spaces or string types than the issuer does.
    NameForm { subject: String, issuer: String },
    /// The TLS feature status_request (RFC 7633).
    MustStaple { subject: String },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped { subject, fingerprint } => {
                write!(f, "{subject} (SHA-256 {fingerprint}) is not part of the chain and was dropped")
            }
            Self::RootSignature { subject, what } => {
                write!(f, "{subject} is a root, whose signature by itself ({what}) is not relied on")
            }
            Self::Completed { subject, fingerprint } => {
                write!(
                    f,
                    "{subject} (SHA-256 {fingerprint}) was not sent; it is known, and stored as the end of the chain"
                )
            }
            Self::Unproven { issuer } => {
                write!(f, "the chain is incomplete: {issuer} was neither sent nor is it known, so nothing is proven")
            }
            Self::KeysDropped(count) => {
                write!(f, "{count} private keys that are not the leaf's were dropped")
            }
            Self::V1Root { subject } => {
                write!(f, "{subject} is a root of X.509 version 1, which some clients do not trust")
            }
            Self::AddressAsName { subject, address } => {
                write!(f, "{subject} has the address {address} as a DNS name too, where it matches nothing")
            }
            Self::NameForm { subject, issuer } => {
                write!(
                    f,
                    "{subject} names its issuer in another form (case, spaces or string type) than {issuer} does: clients that compare bytes, as Go and rustls do, refuse this chain"
                )
            }
            Self::MustStaple { subject } => {
                write!(
                    f,
                    "{subject} demands a stapled OCSP answer (TLS feature status_request, must-staple): clients may refuse a device, since management controllers staple none"
                )
            }
        }
    }
}

pub(super) fn assess(
    mut sent: Sent,
    anchors: Anchors<'_>,
    now: OffsetDateTime,
    mut problems: Vec<Problem>,
) -> Result<Checked, Problems> {
    let (keys, key_problems, mut doubts) = (take(&mut sent.keys), take(&mut sent.key_problems), take(&mut sent.doubts));
    let parsed = parse(&sent.certificates, &mut problems);
    sent.partial |= parsed.len() < sent.certificates.len();
    let own = own_authorities(&parsed, anchors.ours);
    let ends = others(&parsed, anchors.others);
    let mut nodes: Vec<Node<'_>> = parsed
        .iter()
        .map(|sent| Node::new(sent, is_root(sent) && anchors.ours.iter().any(|own| own.der() == sent.as_raw()), true))
        .collect();
    nodes.extend(own.iter().map(|own| Node::new(own, is_root(own), false)));
    let ends_from = nodes.len();
    nodes.extend(ends.iter().map(|end| Node::new(end, false, false)));

    let (key, dropped_keys) = choose_key(keys, key_problems, &nodes[..parsed.len()], &mut problems);
    let leaf = choose_leaf(&nodes[..parsed.len()], &sent, key.as_ref(), now);
    // A damaged header hides the leaf, and an authority was chosen for want of it.
    let hidden = leaf.is_some_and(|at| nodes[at].is_ca()) && !doubts.is_empty();
    if hidden {
        problems.append(&mut doubts);
    }
    let leaf = leaf.filter(|_| !hidden);
    let checked = leaf.map(|at| {
        let names = leaf::check(&nodes[at], &mut problems);
        nodes[at].problems(false, false, now, &mut problems);
        if let Some(key) = &key {
            match_key(key, &nodes[..parsed.len()], at, &mut problems);
        }
        let mut found = path::find(&nodes, at, now);
        if sent.partial {
            found
                .problems
                .retain(|problem| !matches!(problem, Problem::ChainIncomplete { .. } | Problem::ChainTooLong));
        }
        let incomplete = |problem: &Problem| matches!(problem, Problem::ChainIncomplete { .. });
        let unproven = anchors.allow_incomplete && found.problems.iter().any(incomplete);
        if unproven {
            found.problems.retain(|problem| !incomplete(problem));
        }
        problems.append(&mut found.problems);
        (found, names, unproven)
    });
    let lacks = |problem: &Problem| matches!(problem, Problem::ChainIncomplete { .. } | Problem::KeyMismatch { .. });
    if problems.iter().any(lacks) {
        problems.append(&mut doubts);
    }
    let ready = Problems::of(problems).map_or(Ok(()), Err);
    match (ready, checked, key) {
        (Ok(()), Some((Found { path, .. }, names, unproven)), Some(key)) => {
            let chain = path.iter().skip(1).filter(|at| nodes[**at].sent || **at >= ends_from);
            let whole = |at: &usize| Certificate::of(nodes[*at].parsed);
            let certificates: Vec<&Node<'_>> = path.iter().map(|at| &nodes[*at]).collect();
            match path.first().map(whole) {
                Some(leaf) => Ok(Checked {
                    unproven,
                    purposes: purposes::narrow(&certificates, &mut Vec::new()),
                    warnings: ends_of(&nodes, &path, ends_from, unproven)
                        .chain(warnings(&nodes, &path, &names, dropped_keys))
                        .collect(),
                    leaf,
                    chain: chain.map(whole).collect(),
                    key_algorithm: key.algorithm,
                    key: key.into_pkcs8(),
                    common_name: names.common_name,
                    names: names.alternative,
                }),
                None => Err(Problems::only(Problem::CertificateMissing(Location::default()))),
            }
        }
        (Err(problems), ..) => Err(problems),
        (Ok(()), None, _) => Err(Problems::only(Problem::CertificateMissing(Location::default()))),
        (Ok(()), _, None) => Err(Problems::only(Problem::KeyMissing)),
    }
}

/// The only key, or that of several which belongs to a leaf that was sent, and how many others there are. Which of two
/// leaves is meant, the sender has to say.
fn choose_key(
    mut keys: Vec<Key>,
    mut key_problems: Vec<Problem>,
    nodes: &[Node<'_>],
    problems: &mut Vec<Problem>,
) -> (Option<Key>, usize) {
    let leaf_of = |key: &Key| nodes.iter().find(|node| node.has(key) && !node.is_ca());
    let count = keys.len();
    let leaves: Vec<(usize, String)> =
        keys.iter().enumerate().filter_map(|(at, key)| Some((at, leaf_of(key)?.subject()))).collect();
    if leaves.is_empty() {
        problems.append(&mut key_problems);
    }
    match (leaves.as_slice(), count) {
        (_, 0 | 1) => (keys.pop(), 0),
        ([(at, _)], _) => (Some(keys.swap_remove(*at)), count - 1),
        _ => {
            problems.push(Problem::SeveralKeys { count, leaves: leaves.into_iter().map(|(_, leaf)| leaf).collect() });
            (None, 0)
        }
    }
}

fn parse<'s>(certificates: &'s [(Vec<u8>, Location)], problems: &mut Vec<Problem>) -> Vec<X509Certificate<'s>> {
    let mut parsed = Vec::with_capacity(certificates.len());
    for (der, place) in certificates {
        match certificate::parse(der) {
            Ok(certificate)
                if node::is_integer(certificate.raw_serial())
                    && names::are_readable(certificate.subject())
                    && names::are_readable(certificate.issuer()) =>
            {
                parsed.push(certificate);
            }
            found => {
                let fault = match found {
                    Ok(certificate) if node::is_integer(certificate.raw_serial()) => Unreadable::Name,
                    Ok(_) => Unreadable::Serial,
                    Err(InvalidCertificate::Trailing) => Unreadable::Trailing,
                    Err(_) => what_is(der),
                };
                problems.push(Problem::CertificateUnreadable { place: *place, fault });
            }
        }
    }
    parsed
}

fn what_is(der: &[u8]) -> Unreadable {
    const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
    if sequence(der).and_then(|content| element(content, Tag::Oid)).is_some_and(|(_, kind)| kind == SIGNED_DATA) {
        Unreadable::Pkcs7
    } else if node::has_dates(der) == Some(false) {
        Unreadable::Date
    } else {
        Unreadable::Other
    }
}

/// A path ends at a root of ours, and goes through an issuing authority.
fn is_root(own: &X509Certificate<'_>) -> bool {
    own.subject().as_raw() == own.issuer().as_raw()
}

/// Our own authorities that were not sent and may have issued a certificate that was, or one of each other: compared by AKI
/// and SKI if both exist.
fn own_authorities<'r>(sent: &[X509Certificate<'_>], ours: &'r [Certificate]) -> Vec<X509Certificate<'r>> {
    let mut others: Vec<_> =
        ours.iter().filter(|own| sent.iter().all(|certificate| certificate.as_raw() != own.der())).collect();
    let mut named: Vec<Option<Vec<u8>>> = sent.iter().map(|each| authority(each).map(<[u8]>::to_vec)).collect();
    let mut found = Vec::new();
    // The issuing authorities, and then what they are below.
    for _ in 0..2 {
        let (fitting, rest): (Vec<_>, _) = others.into_iter().partition(|own| match own.subject_key_identifier() {
            Some(own) => named.iter().any(|named| named.as_deref().is_none_or(|named| named == own)),
            None => true,
        });
        others = rest;
        let parsed: Vec<_> = fitting.into_iter().filter_map(|own| certificate::parse(own.der()).ok()).collect();
        named = parsed.iter().map(|each| authority(each).map(<[u8]>::to_vec)).collect();
        found.extend(parsed);
    }
    found
}

/// Roots of others that were not sent, and are named by a certificate that was.
fn others<'r>(sent: &[X509Certificate<'_>], others: &'r [Certificate]) -> Vec<X509Certificate<'r>> {
    let named: Vec<Vec<u8>> = sent.iter().map(|each| names::canonical(each.issuer())).collect();
    let absent = others.iter().filter(|other| sent.iter().all(|each| each.as_raw() != other.der()));
    let parsed = absent.filter_map(|other| certificate::parse(other.der()).ok());
    parsed.filter(|other| named.contains(&names::canonical(other.subject()))).take(ENDS).collect()
}

/// Most roots of others that come into question: an authority has a handful of one name.
const ENDS: usize = 8;

/// What was added to the chain, or is missing at its end.
fn ends_of(nodes: &[Node<'_>], path: &[usize], ends_from: usize, unproven: bool) -> impl Iterator<Item = Warning> {
    let last = path.last().map(|at| (*at, &nodes[*at]));
    let completed = last.filter(|(at, _)| *at >= ends_from).map(|(_, node)| Warning::Completed {
        subject: node.subject(),
        fingerprint: Fingerprint::of(node.parsed.as_raw()),
    });
    let open = last.filter(|_| unproven).map(|(_, node)| Warning::Unproven { issuer: node.issuer() });
    completed.into_iter().chain(open)
}

fn authority<'c>(certificate: &'c X509Certificate<'_>) -> Option<&'c [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(authority) => authority.key_identifier.as_ref().map(|own| own.0),
        _ => None,
    })
}

/// The certificate that was sent as the leaf, or that matches the key. Of several matches, prefer one that is valid, and
/// expires last. Without a match other than an authority's, the first that is no CA, unless the leaf may be unreadable.
fn choose_leaf(nodes: &[Node<'_>], sent: &Sent, key: Option<&Key>, now: OffsetDateTime) -> Option<usize> {
    let all = || 0..nodes.len();
    let first = sent.certificates.first().map(|(der, _)| der.as_slice());
    if sent.leaf_first && nodes.first().map(|node| node.parsed.as_raw()) == first {
        return all().next();
    }
    let has_key = |at: &usize| key.is_some_and(|key| nodes[*at].has(key));
    let fitness = |at: &usize| {
        let node = &nodes[*at];
        (node.is_valid_at(now), node.not_after, node.parsed.as_raw())
    };
    let its = |ca| all().filter(has_key).filter(|at| nodes[*at].is_ca() == ca).max_by_key(fitness);
    let other = || all().find(|at| !nodes[*at].is_ca());
    match (key, sent.partial) {
        (Some(_), true) => its(false).or_else(|| its(true)),
        (None, true) => other(),
        (_, false) => its(false).or_else(other).or_else(|| its(true)).or_else(|| all().next()),
    }
}

fn match_key(key: &Key, sent: &[Node<'_>], leaf: usize, problems: &mut Vec<Problem>) {
    let is_its = |node: &Node<'_>| node.has(key);
    let proven = |node: &Node<'_>| node.key.as_ref().is_ok_and(|public| key.proves(public));
    if !is_its(&sent[leaf]) || !proven(&sent[leaf]) {
        let belongs = sent.iter().find(|node| is_its(node)).map(Node::subject);
        problems.push(Problem::KeyMismatch { subject: sent[leaf].subject(), belongs });
    }
}

fn warnings(nodes: &[Node<'_>], path: &[usize], names: &Names, dropped_keys: usize) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (at, node) in nodes.iter().enumerate().filter(|(_, node)| node.sent) {
        if !path.contains(&at) {
            let fingerprint = Fingerprint::of(node.parsed.as_raw());
            warnings.push(Warning::Dropped { subject: node.subject(), fingerprint });
            continue;
        }
        if let Some(what) = node.unreliable().filter(|_| !node.ours) {
            warnings.push(Warning::RootSignature { subject: node.subject(), what });
        }
        if node.is_bare_anchor() {
            warnings.push(Warning::V1Root { subject: node.subject() });
        }
    }
    for link in path.windows(2) {
        let (child, issuer) = (&nodes[link[0]], &nodes[link[1]]);
        if child.parsed.issuer().as_raw() != issuer.parsed.subject().as_raw() {
            warnings.push(Warning::NameForm { subject: child.subject(), issuer: issuer.subject() });
        }
    }
    if dropped_keys > 0 {
        warnings.push(Warning::KeysDropped(dropped_keys));
    }
    let leaf = || path.first().map_or_else(String::new, |leaf| nodes[*leaf].subject());
    let as_name = |address: &String| Warning::AddressAsName { subject: leaf(), address: text::shown(address) };
    warnings.extend(names.addresses.iter().map(as_name));
    if path.first().is_some_and(|leaf| nodes[*leaf].must_staple) {
        warnings.push(Warning::MustStaple { subject: leaf() });
    }
    warnings
}
