//! One certificate of a possible chain: its relevant contents, and its own problems.

use std::cell::OnceCell;
use std::collections::HashSet;

use time::OffsetDateTime;
use x509_parser::asn1_rs::{Any, FromDer, Oid, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{
    BasicConstraints, ExtendedKeyUsage, GeneralName, KeyUsage, NameConstraints, ParsedExtension,
};
use x509_parser::x509::X509Version;

use super::der::element;
use super::problem::Problem;
use super::public_key::{KeyFault, PublicKey};
use super::signature::{Scheme, Unusable};
use super::{constraints, text};
use crate::name;

pub(super) struct Node<'p> {
    pub(super) parsed: &'p X509Certificate<'p>,
    /// Whether it is one of our own generations, sent or not.
    pub(super) ours: bool,
    /// Whether it was sent, so that the chain may contain it.
    pub(super) sent: bool,
    pub(super) key: Result<PublicKey<'p>, KeyFault>,
    pub(super) scheme: Result<Scheme, Unusable>,
    pub(super) basic: Option<&'p BasicConstraints>,
    pub(super) usage: Option<KeyUsage>,
    pub(super) purposes: Option<&'p ExtendedKeyUsage<'p>>,
    pub(super) names: &'p [GeneralName<'p>],
    pub(super) constraints: Option<&'p NameConstraints<'p>>,
    /// keyIdentifier of the AKI.
    pub(super) authority: Option<&'p [u8]>,
    /// SKI.
    pub(super) identifier: Option<&'p [u8]>,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    extensions: Vec<ExtensionFault>,
    shown: OnceCell<String>,
}

#[derive(Clone)]
enum ExtensionFault {
    Twice(String),
    Malformed(String),
    Unknown(String),
}

impl<'p> Node<'p> {
    pub(super) fn new(parsed: &'p X509Certificate<'p>, ours: bool, sent: bool) -> Self {
        let mut node = Self {
            parsed,
            ours,
            sent,
            key: PublicKey::of(parsed.public_key()),
            scheme: Scheme::of(&parsed.signature_algorithm),
            basic: None,
            usage: None,
            purposes: None,
            names: &[],
            constraints: None,
            authority: None,
            identifier: None,
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
            extensions: Vec::new(),
            shown: OnceCell::new(),
        };
        node.read_extensions();
        node
    }

    fn read_extensions(&mut self) {
        let mut seen = HashSet::new();
        for extension in self.parsed.extensions() {
            let oid = || extension_name(&extension.oid.to_id_string());
            if !seen.insert(extension.oid.as_bytes()) {
                self.extensions.push(ExtensionFault::Twice(oid()));
                continue;
            }
            // The parser ignores bytes after a value, and takes any octet for true.
            if is_used(&extension.oid) && !is_strict(extension.value) {
                self.extensions.push(ExtensionFault::Malformed(oid()));
                continue;
            }
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(basic) => self.basic = Some(basic),
                ParsedExtension::KeyUsage(usage) => self.usage = Some(*usage),
                ParsedExtension::ExtendedKeyUsage(purposes) => self.purposes = Some(purposes),
                ParsedExtension::SubjectAlternativeName(names) => self.names = &names.general_names,
                ParsedExtension::NameConstraints(found) if constraints::is_strict(extension.value) => {
                    self.constraints = Some(found);
                }
                ParsedExtension::NameConstraints(_) => self.extensions.push(ExtensionFault::Malformed(oid())),
                ParsedExtension::AuthorityKeyIdentifier(authority) => {
                    self.authority = authority.key_identifier.as_ref().map(|identifier| identifier.0);
                }
                ParsedExtension::SubjectKeyIdentifier(identifier) => self.identifier = Some(identifier.0),
                // Without a required policy, these three cannot refuse a path (RFC 5280 §6.1).
                ParsedExtension::CertificatePolicies(_)
                | ParsedExtension::PolicyMappings(_)
                | ParsedExtension::InhibitAnyPolicy(_) => {}
                ParsedExtension::ParseError { .. } if extension.critical || is_used(&extension.oid) => {
                    self.extensions.push(ExtensionFault::Malformed(oid()));
                }
                _ if extension.critical => self.extensions.push(ExtensionFault::Unknown(oid())),
                _ => {}
            }
        }
    }

    /// For messages. Computed once, because a hostile subject is long and may appear in many problems.
    pub(super) fn subject(&self) -> String {
        self.shown.get_or_init(|| text::shown(&name::display(self.parsed.subject()))).clone()
    }

    pub(super) fn issuer(&self) -> String {
        text::shown(&name::display(self.parsed.issuer()))
    }

    /// Whether subject and issuer are the same, byte for byte.
    pub(super) fn is_self_issued(&self) -> bool {
        self.parsed.subject().as_raw() == self.parsed.issuer().as_raw()
    }

    pub(super) fn is_ca(&self) -> bool {
        self.basic.is_some_and(|basic| basic.ca)
    }

    pub(super) fn is_valid_at(&self, now: OffsetDateTime) -> bool {
        self.not_before <= now && !self.is_expired_at(now)
    }

    /// The certificate stays valid until the end of its last second (RFC 5280 §4.1.2.5).
    fn is_expired_at(&self, now: OffsetDateTime) -> bool {
        now.unix_timestamp() > self.not_after.unix_timestamp()
    }

    /// `false` if both key identifiers exist and differ.
    pub(super) fn may_be_signed_by(&self, issuer: &Self) -> bool {
        !matches!((self.authority, issuer.identifier), (Some(named), Some(own)) if named != own)
    }

    /// Problems of this certificate, whoever issued it. Trust in an `anchor` does not rest on its own signature (RFC
    /// 5280 §6.1), so SHA-1 is no problem there.
    pub(super) fn problems(&self, anchor: bool, now: OffsetDateTime, problems: &mut Vec<Problem>) {
        let subject = || self.subject();
        if self.is_expired_at(now) {
            problems.push(Problem::Expired { subject: subject(), at: self.not_after });
        }
        if now < self.not_before {
            problems.push(Problem::NotYetValid { subject: subject(), at: self.not_before });
        }
        if self.parsed.version() != X509Version::V3 {
            problems.push(Problem::Version(subject()));
        }
        for fault in &self.extensions {
            let subject = subject();
            problems.push(match fault.clone() {
                ExtensionFault::Twice(extension) => Problem::DuplicateExtension { subject, extension },
                ExtensionFault::Malformed(extension) => Problem::MalformedExtension { subject, extension },
                ExtensionFault::Unknown(extension) => Problem::UnknownCritical { subject, extension },
            });
        }
        match &self.key {
            Ok(_) => {}
            Err(KeyFault::Weak(what)) => {
                problems.push(Problem::WeakKey { subject: subject(), what: what.clone() });
            }
            Err(KeyFault::Unsupported(what)) => {
                problems.push(Problem::UnsupportedKey { subject: subject(), what: what.clone() });
            }
        }
        match &self.scheme {
            // The signature of our own root is not checked.
            _ if self.ours => {}
            Ok(scheme) if scheme.is_sha1() && !anchor => {
                problems.push(Problem::WeakSignature { subject: subject(), what: "SHA-1".to_owned() });
            }
            Ok(_) => {}
            Err(Unusable::Weak(what)) => {
                problems.push(Problem::WeakSignature { subject: subject(), what: (*what).to_owned() });
            }
            Err(Unusable::Unsupported(what)) => {
                problems.push(Problem::UnsupportedSignature { subject: subject(), what: what.clone() });
            }
        }
    }
}

/// Exactly one element. If it is a sequence that starts with a BOOLEAN, as in basicConstraints, the BOOLEAN must be DER
/// (X.690 §11.1). Only sequences are checked, because the octets of an identifier may look like a BOOLEAN.
fn is_strict(value: &[u8]) -> bool {
    let Ok(([], whole)) = Any::from_der(value) else { return false };
    whole.tag() != Tag::Sequence
        || element(whole.data, Tag::Boolean).is_none_or(|(_, octets)| matches!(octets, [0x00] | [0xff]))
}

/// The extensions that are interpreted here: numbers below id-ce (2.5.29), named in [`extension_name`].
fn is_used(oid: &Oid<'_>) -> bool {
    matches!(oid.as_bytes(), [0x55, 0x1d, 14 | 15 | 17 | 19 | 30 | 35 | 37])
}

fn extension_name(oid: &str) -> String {
    match oid {
        "2.5.29.14" => "subjectKeyIdentifier",
        "2.5.29.15" => "keyUsage",
        "2.5.29.17" => "subjectAltName",
        "2.5.29.19" => "basicConstraints",
        "2.5.29.30" => "nameConstraints",
        "2.5.29.35" => "authorityKeyIdentifier",
        "2.5.29.36" => "policyConstraints",
        "2.5.29.37" => "extKeyUsage",
        "1.3.6.1.4.1.11129.2.4.3" => "CT poison (it is a precertificate)",
        other => return text::shown(other),
    }
    .to_owned()
}
