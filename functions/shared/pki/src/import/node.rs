//! One certificate of a possible chain: its relevant contents, and its own problems.

use std::cell::OnceCell;
use std::collections::HashSet;

use time::OffsetDateTime;
use x509_parser::asn1_rs::{Any, FromDer, Oid, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{
    BasicConstraints, CertificatePolicies, ExtendedKeyUsage, GeneralName, KeyUsage, NameConstraints, ParsedExtension,
};
use x509_parser::time::ASN1Time;
use x509_parser::x509::{X509Name, X509Version};

use super::der::{element, sequence, tagged};
use super::key::Key;
use super::problem::Problem;
use super::public_key::{KeyFault, PublicKey};
use super::signature::{Scheme, Unusable};
use super::{constraints, names, text};
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
    /// authorityCertIssuer and authorityCertSerialNumber of the AKI.
    authority_certificate: Option<(&'p X509Name<'p>, &'p [u8])>,
    /// For comparison.
    subject_name: Vec<u8>,
    issuer_name: Vec<u8>,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    /// Whether its clients insist on a stapled OCSP answer (RFC 7633).
    pub(super) must_staple: bool,
    /// Whether both dates are DER.
    dates: bool,
    extensions: Vec<ExtensionFault>,
    shown: OnceCell<String>,
}

/// 1.3.6.1.5.5.7.1.24. Its value is a sequence of TLS extensions, of which status_request is 5.
const TLS_FEATURE: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x01\x18";

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
            authority_certificate: None,
            subject_name: names::canonical(parsed.subject()),
            issuer_name: names::canonical(parsed.issuer()),
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
            must_staple: parsed
                .extensions()
                .iter()
                .any(|each| each.oid.as_bytes() == TLS_FEATURE && each.value.contains(&5)),
            dates: sequence(parsed.tbs_certificate.as_ref()).and_then(has_der_dates).unwrap_or_default(),
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
                // RFC 5280 §4.2.1.1 and §4.2.1.2 forbid it, and OpenSSL, Go and rustls refuse it.
                ParsedExtension::AuthorityKeyIdentifier(_) | ParsedExtension::SubjectKeyIdentifier(_)
                    if extension.critical =>
                {
                    self.extensions.push(ExtensionFault::Unknown(format!("{} (never critical by RFC 5280)", oid())));
                }
                ParsedExtension::BasicConstraints(basic) => self.basic = Some(basic),
                ParsedExtension::KeyUsage(usage) => self.usage = Some(*usage),
                ParsedExtension::ExtendedKeyUsage(purposes) => self.purposes = Some(purposes),
                ParsedExtension::SubjectAlternativeName(names) => self.names = &names.general_names,
                ParsedExtension::NameConstraints(found)
                    if constraints::is_strict(extension.value) && constraints::is_readable(found) =>
                {
                    self.constraints = Some(found);
                }
                ParsedExtension::NameConstraints(_) => self.extensions.push(ExtensionFault::Malformed(oid())),
                ParsedExtension::AuthorityKeyIdentifier(authority) => {
                    self.authority = authority.key_identifier.as_ref().map(|identifier| identifier.0);
                    let issuer = authority.authority_cert_issuer.iter().flatten().find_map(|name| match name {
                        GeneralName::DirectoryName(name) => Some(name),
                        _ => None,
                    });
                    self.authority_certificate = issuer.zip(authority.authority_cert_serial);
                }
                ParsedExtension::SubjectKeyIdentifier(identifier) => self.identifier = Some(identifier.0),
                // RFC 5280 §4.2.1.4: who marks it critical wants its qualifiers to be understood.
                ParsedExtension::CertificatePolicies(policies) if extension.critical && !are_known(policies) => {
                    self.extensions
                        .push(ExtensionFault::Unknown("certificatePolicies with an unknown qualifier".to_owned()));
                }
                // Without a required policy, three of these cannot refuse a path (RFC 5280 §6.1). Revocation is not checked
                // here, so where a list is published refuses none either.
                ParsedExtension::CertificatePolicies(_)
                | ParsedExtension::PolicyMappings(_)
                | ParsedExtension::InhibitAnyPolicy(_)
                | ParsedExtension::CRLDistributionPoints(_) => {}
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

    /// Whether subject and issuer are the same.
    pub(super) fn is_self_issued(&self) -> bool {
        self.is_named(self)
    }

    /// Whether this certificate names `issuer` as its issuer (RFC 5280 §7.1).
    pub(super) fn is_named(&self, issuer: &Self) -> bool {
        self.issuer_name == issuer.subject_name
    }

    /// Whether its key is the public one of `key`.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.key.as_ref().is_ok_and(|public| public.is(key.public_bits()))
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

    /// A root of X.509 version 1, such as `openssl x509 -req -signkey` writes, has no extensions that could say cA. As a
    /// trust anchor it is a name and a key (RFC 5280 §6.1.1 d).
    pub(super) fn is_bare_anchor(&self) -> bool {
        self.is_self_issued() && self.parsed.version() == X509Version::V1
    }

    /// `true` if the AKI names this very certificate by its issuer and serial number, or none. A wish, not a condition: an
    /// authority that is renewed or cross-signed has several (RFC 5280 §4.2.1.1).
    pub(super) fn prefers(&self, issuer: &Self) -> bool {
        self.authority_certificate.is_none_or(|(name, serial)| {
            names::canonical(name) == issuer.issuer_name && serial == issuer.parsed.raw_serial()
        })
    }

    /// The algorithm of a signature that proves nothing, or cannot be verified.
    pub(super) fn unreliable(&self) -> Option<String> {
        match &self.scheme {
            Ok(scheme) if scheme.is_sha1() => Some("SHA-1".to_owned()),
            Ok(_) => None,
            Err(Unusable::Weak(what)) => Some((*what).to_owned()),
            Err(Unusable::Unsupported(what)) => Some(what.clone()),
        }
    }

    /// Problems of this certificate, whoever issued it. `issuer`: it has issued another of the path. Trust in an `anchor` does not rest on its own signature (RFC
    /// 5280 §6.1), so no algorithm is a problem there.
    pub(super) fn problems(&self, issuer: bool, anchor: bool, now: OffsetDateTime, problems: &mut Vec<Problem>) {
        let subject = || self.subject();
        if !self.dates {
            problems.push(Problem::MalformedDate(subject()));
        } else if self.is_expired_at(now) {
            problems.push(Problem::Expired { subject: subject(), at: self.not_after, issuer });
        }
        if self.dates && now < self.not_before {
            problems.push(Problem::NotYetValid { subject: subject(), at: self.not_before });
        }
        if self.parsed.version() != X509Version::V3 && !(anchor && self.is_bare_anchor()) {
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
            _ if self.ours || anchor => {}
            Ok(scheme) if scheme.is_sha1() => {
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

/// The qualifiers of RFC 5280 §4.2.1.4: id-qt-cps and id-qt-unotice.
fn are_known(policies: &CertificatePolicies<'_>) -> bool {
    let qualifiers = policies.iter().flat_map(|policy| policy.policy_qualifiers.iter().flatten());
    let mut oids = qualifiers.map(|qualifier| qualifier.policy_qualifier_id.to_id_string());
    oids.all(|oid| matches!(oid.as_str(), "1.3.6.1.5.5.7.2.1" | "1.3.6.1.5.5.7.2.2"))
}

/// Whether an INTEGER is DER (X.690 §8.3.2): OpenSSL reads no certificate whose serial number has surplus octets, or none.
pub(super) fn is_integer(content: &[u8]) -> bool {
    !matches!(content, [] | [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..])
}

/// Whether the dates of a certificate that may be unreadable are well-formed. `None` if they are not found.
pub(super) fn has_dates(certificate: &[u8]) -> Option<bool> {
    has_der_dates(element(sequence(certificate)?, Tag::Sequence)?.1)
}

/// UTCTime and GeneralizedTime in the only form that RFC 5280 §4.1.2.5 allows: to the second, in UTC, without fractions.
/// The parser reads others too. `content`: of TBSCertificate. `None` if the dates are not found.
fn has_der_dates(content: &[u8]) -> Option<bool> {
    let rest = tagged(content, 0, true).map_or(content, |(rest, _version)| rest);
    let (rest, _serial) = element(rest, Tag::Integer)?;
    let (rest, _algorithm) = element(rest, Tag::Sequence)?;
    let (rest, _issuer) = element(rest, Tag::Sequence)?;
    let (_, mut validity) = element(rest, Tag::Sequence)?;
    for _ in 0..2 {
        let found = element(validity, Tag::UtcTime)
            .map(|found| (12, found))
            .or_else(|| element(validity, Tag::GeneralizedTime).map(|found| (14, found)));
        let Some((digits, (rest, date))) = found else { return Some(false) };
        let fits = date.strip_suffix(b"Z").is_some_and(|all| all.len() == digits && all.iter().all(u8::is_ascii_digit));
        if !fits || ASN1Time::from_der(validity).is_err() {
            return Some(false);
        }
        validity = rest;
    }
    Some(validity.is_empty())
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
