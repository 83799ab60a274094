//! Certificates (RFC 5280 §4.1), ordinary except for what the case changes.

use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::der::{BOOLEAN_TRUE, bits, explicit, integer, number, octets, oid, sequence, set, time, tlv};
use super::key::{Key, Kind};

/// The time of all these tests.
pub(crate) const TODAY: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

/// Bits of keyUsage, from the first one (RFC 5280 §4.2.1.3).
pub(crate) const DIGITAL_SIGNATURE: u8 = 0b1000_0000;
pub(crate) const KEY_ENCIPHERMENT: u8 = 0b0010_0000;
pub(crate) const KEY_CERT_SIGN: u8 = 0b0000_0100;
pub(crate) const CRL_SIGN: u8 = 0b0000_0010;

pub(crate) const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
pub(crate) const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";
pub(crate) const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";

/// The contents of a certificate.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) version: u64,
    pub(crate) serial: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    /// Replaces the issuer's subject.
    pub(crate) issuer: Option<Vec<u8>>,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
    /// Replaces both dates: two elements.
    pub(crate) dates: Option<Vec<u8>>,
    pub(crate) spki: Vec<u8>,
    pub(crate) basic_constraints: Option<Vec<u8>>,
    pub(crate) key_usage: Option<Vec<u8>>,
    pub(crate) extended_key_usage: Option<Vec<u8>>,
    pub(crate) names: Option<Vec<u8>>,
    pub(crate) ski: Option<Vec<u8>>,
    /// Replaces the issuer's identifier.
    pub(crate) aki: Aki,
    /// Further extensions, after the others.
    pub(crate) more: Vec<Vec<u8>>,
    /// Replaces the algorithm in the signed part.
    pub(crate) algorithm_inside: Option<Vec<u8>>,
    pub(crate) signature: Signature,
}

#[derive(Clone)]
pub(crate) enum Aki {
    Issuers,
    Other(Vec<u8>),
    None,
}

#[derive(Clone)]
pub(crate) enum Signature {
    /// By the issuer's key.
    Good,
    /// With one bit flipped.
    Broken,
    /// AlgorithmIdentifier, and the signature function.
    Other(Vec<u8>, fn(&Key, &[u8]) -> Vec<u8>),
}

/// A certificate authority with its key.
#[derive(Clone)]
pub(crate) struct Authority {
    pub(crate) der: Vec<u8>,
    pub(crate) key: &'static Key,
    subject: Vec<u8>,
    ski: Option<Vec<u8>>,
}

impl Spec {
    /// A TLS server's, valid for a year from the day before.
    pub(crate) fn leaf(name: &str, key: &Key) -> Self {
        let usage = if matches!(key.kind, Kind::Rsa2048 | Kind::Rsa3072 | Kind::Rsa4096 | Kind::Rsa1024) {
            DIGITAL_SIGNATURE | KEY_ENCIPHERMENT
        } else {
            DIGITAL_SIGNATURE
        };
        Self {
            version: 2,
            serial: serial(name.as_bytes()),
            subject: common_name(name),
            issuer: None,
            not_before: TODAY - Duration::DAY,
            not_after: TODAY + Duration::days(365),
            dates: None,
            spki: key.spki.clone(),
            basic_constraints: Some(extension("2.5.29.19", true, &sequence::<Vec<u8>>([]))),
            key_usage: Some(key_usage(usage)),
            extended_key_usage: Some(extended_key_usage(&[SERVER_AUTH])),
            names: Some(alternative_names(&[dns(name)])),
            ski: Some(identifier(&key.spki)),
            aki: Aki::Issuers,
            more: Vec::new(),
            algorithm_inside: None,
            signature: Signature::Good,
        }
    }

    /// A certificate authority's, valid for ten years from the year before.
    pub(crate) fn authority(name: &str, key: &Key) -> Self {
        Self {
            not_before: TODAY - Duration::days(365),
            not_after: TODAY + Duration::days(3650),
            basic_constraints: Some(basic_constraints(None)),
            key_usage: Some(key_usage(KEY_CERT_SIGN | CRL_SIGN)),
            extended_key_usage: None,
            names: None,
            ..Self::leaf(name, key)
        }
    }

    pub(crate) fn signed_by(&self, issuer: &Authority) -> Vec<u8> {
        self.sign(issuer.key, &issuer.subject, issuer.ski.as_deref())
    }

    pub(crate) fn self_signed(&self, key: &'static Key) -> Authority {
        self.authority_of(key, self.sign(key, &self.subject, self.ski.as_deref()))
    }

    pub(crate) fn authority_by(&self, key: &'static Key, issuer: &Authority) -> Authority {
        self.authority_of(key, self.signed_by(issuer))
    }

    fn authority_of(&self, key: &'static Key, der: Vec<u8>) -> Authority {
        Authority { der, key, subject: self.subject.clone(), ski: self.ski.clone() }
    }

    fn sign(&self, key: &Key, issuer: &[u8], issuer_ski: Option<&[u8]>) -> Vec<u8> {
        let algorithm = match &self.signature {
            Signature::Good | Signature::Broken => key.algorithm(),
            Signature::Other(algorithm, _) => algorithm.clone(),
        };
        let aki = match &self.aki {
            Aki::Issuers => issuer_ski,
            Aki::Other(identifier) => Some(identifier.as_slice()),
            Aki::None => None,
        };
        let extensions: Vec<Vec<u8>> = [
            self.basic_constraints.clone(),
            self.key_usage.clone(),
            self.extended_key_usage.clone(),
            self.names.clone(),
            self.ski.as_ref().map(|ski| extension("2.5.29.14", false, &octets(ski))),
            aki.map(|aki| extension("2.5.29.35", false, &sequence([tlv(0x80, aki)]))),
        ]
        .into_iter()
        .flatten()
        .chain(self.more.iter().cloned())
        .collect();
        let mut parts = vec![
            explicit(0, &number(self.version)),
            integer(&self.serial),
            self.algorithm_inside.clone().unwrap_or_else(|| algorithm.clone()),
            self.issuer.clone().unwrap_or_else(|| issuer.to_vec()),
            tlv(0x30, &self.dates.clone().unwrap_or_else(|| [time(self.not_before), time(self.not_after)].concat())),
            self.subject.clone(),
            self.spki.clone(),
        ];
        if self.version == 0 {
            parts.remove(0); // DEFAULT v1
        } else {
            parts.push(explicit(3, &sequence(extensions)));
        }
        let tbs = sequence(parts);
        let mut signature = match self.signature {
            Signature::Other(_, make) => make(key, &tbs),
            _ => key.sign(&tbs).1,
        };
        if matches!(self.signature, Signature::Broken) {
            *signature.last_mut().unwrap() ^= 1;
        }
        sequence([tbs, algorithm, bits(&signature)])
    }
}

pub(crate) fn extension(dotted: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { BOOLEAN_TRUE } else { &[] };
    sequence([&oid(dotted), critical, &octets(value)])
}

/// For a certificate authority (RFC 5280 §4.2.1.9).
pub(crate) fn basic_constraints(path_length: Option<u64>) -> Vec<u8> {
    let value = [BOOLEAN_TRUE.to_vec(), path_length.map(number).unwrap_or_default()].concat();
    extension("2.5.29.19", true, &tlv(0x30, &value))
}

pub(crate) fn key_usage(usage: u8) -> Vec<u8> {
    extension("2.5.29.15", true, &tlv(0x03, &[usage.trailing_zeros() as u8, usage]))
}

pub(crate) fn extended_key_usage(purposes: &[&str]) -> Vec<u8> {
    let purposes: Vec<_> = purposes.iter().map(|purpose| oid(purpose)).collect();
    extension("2.5.29.37", false, &sequence(purposes))
}

pub(crate) fn alternative_names(names: &[Vec<u8>]) -> Vec<u8> {
    extension("2.5.29.17", false, &sequence(names))
}

/// RFC 5280 §4.2.1.10.
pub(crate) fn name_constraints(permitted: &[Vec<u8>], excluded: &[Vec<u8>]) -> Vec<u8> {
    let subtrees = |tag, names: &[Vec<u8>]| match names {
        [] => Vec::new(),
        _ => tlv(tag, &names.iter().flat_map(|name| sequence([name])).collect::<Vec<_>>()),
    };
    extension("2.5.29.30", true, &sequence([subtrees(0xa0, permitted), subtrees(0xa1, excluded)]))
}

/// GeneralNames.
pub(crate) fn dns(name: &str) -> Vec<u8> {
    tlv(0x82, name.as_bytes())
}

pub(crate) fn ip(octets: &[u8]) -> Vec<u8> {
    tlv(0x87, octets)
}

pub(crate) fn email(address: &str) -> Vec<u8> {
    tlv(0x81, address.as_bytes())
}

/// A Name with only a CN.
pub(crate) fn common_name(value: &str) -> Vec<u8> {
    name(&[("2.5.4.3", tlv(0x0c, value.as_bytes()))])
}

pub(crate) fn name(attributes: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let attribute = |(kind, value): &(&str, Vec<u8>)| set([sequence([&oid(kind), value])]);
    sequence(attributes.iter().map(attribute).collect::<Vec<_>>())
}

/// RFC 7093 §2 method 1: the left 160 bits of a SHA-256, but of the whole SubjectPublicKeyInfo.
pub(crate) fn identifier(spki: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, spki).as_ref()[..20].to_vec()
}

fn serial(seed: &[u8]) -> Vec<u8> {
    let mut serial = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, seed).as_ref()[..16].to_vec();
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}
