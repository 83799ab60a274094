//! What a certificate can be used for in TLS: its key, keyUsage and extKeyUsage, and the extKeyUsage of its issuers.

use std::fmt;

use super::node::Node;
use super::problem::Problem;
use super::public_key::LeafKey;
use crate::certificate::{self, Certificate};

/// For a server, a client, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purposes {
    pub server: bool,
    pub client: bool,
}

impl Purposes {
    const ALL: Self = Self { server: true, client: true };
    const NONE: Self = Self { server: false, client: false };

    /// Of a certificate with the chain that was sent with it. What cannot be read limits nothing: it is found elsewhere.
    pub fn of(leaf: &Certificate, chain: &[Certificate]) -> Self {
        let parsed: Vec<_> = std::iter::once(leaf).chain(chain).map(|each| certificate::parse(each.der())).collect();
        let mut purposes = Self::ALL;
        for (at, certificate) in parsed.iter().enumerate() {
            let Ok(certificate) = certificate else { continue };
            let node = Node::new(certificate, false, true);
            purposes = purposes.and(if at == 0 { of_leaf(&node) } else { extended(&node) });
        }
        purposes
    }

    /// As in extKeyUsage: `server` and `client`.
    pub fn names(self) -> Vec<&'static str> {
        [(self.server, "server"), (self.client, "client")]
            .iter()
            .filter(|(has, _)| *has)
            .map(|(_, name)| *name)
            .collect()
    }

    fn and(self, other: Self) -> Self {
        Self { server: self.server && other.server, client: self.client && other.client }
    }
}

impl fmt::Display for Purposes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names().as_slice() {
            [] => f.write_str("none"),
            names => f.write_str(&names.join(" and ")),
        }
    }
}

/// Of the leaf alone.
pub(super) fn of_leaf(leaf: &Node<'_>) -> Purposes {
    by_key_usage(leaf).and(extended(leaf))
}

/// Why the leaf serves no purpose in TLS.
pub(super) fn refused(leaf: &Node<'_>) -> Option<Problem> {
    let why = if by_key_usage(leaf) == Purposes::NONE {
        if only_signs(leaf) {
            "its keyUsage does not allow digitalSignature, without which such a key is of no use (RFC 8446 §4.4.2.2)"
        } else {
            "its keyUsage allows neither digitalSignature nor keyEncipherment"
        }
    } else if extended(leaf) == Purposes::NONE {
        "its extKeyUsage has neither serverAuth nor clientAuth"
    } else if of_leaf(leaf) == Purposes::NONE {
        "its extKeyUsage has clientAuth only, and a client signs, which its keyUsage does not allow"
    } else {
        return None;
    };
    Some(Problem::Usage { subject: leaf.subject(), why })
}

/// An issuer's extKeyUsage limits the certificates below it. RFC 5280 does not say so, but TLS clients enforce it. At
/// least one purpose must remain. `path`: the leaf first.
pub(super) fn narrow(path: &[&Node<'_>], problems: &mut Vec<Problem>) -> Purposes {
    let mut left = path.first().map_or(Purposes::NONE, |leaf| of_leaf(leaf));
    for issuer in path.iter().skip(1) {
        let narrowed = left.and(extended(issuer));
        if narrowed == Purposes::NONE && left != Purposes::NONE {
            let why = "its extKeyUsage has nothing of what the leaf below it is for";
            problems.push(Problem::Usage { subject: issuer.subject(), why });
        }
        left = narrowed;
    }
    left
}

/// A key that signs serves both; one that only decrypts serves a server of TLS 1.2, whose clients encrypt to it.
fn by_key_usage(leaf: &Node<'_>) -> Purposes {
    match leaf.usage {
        None => Purposes::ALL,
        Some(usage) if usage.digital_signature() => Purposes::ALL,
        Some(usage) => Purposes { server: usage.key_encipherment() && !only_signs(leaf), client: false },
    }
}

/// Every key but RSA. One that is not known here is a problem of its own.
fn only_signs(leaf: &Node<'_>) -> bool {
    leaf.key.as_ref().is_ok_and(|key| !matches!(key.algorithm, LeafKey::Rsa { .. }))
}

/// By extKeyUsage (RFC 5280 §4.2.1.12), if any.
fn extended(node: &Node<'_>) -> Purposes {
    node.purposes.map_or(Purposes::ALL, |purposes| Purposes {
        server: purposes.server_auth || purposes.any,
        client: purposes.client_auth || purposes.any,
    })
}
