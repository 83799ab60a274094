//! Public keys in certificates: supported, too weak, or unknown.

use std::fmt;

use x509_parser::asn1_rs::FromDer;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::der::{dotted, oid_of};
use super::text;
use crate::certificate::{self, Certificate};

/// The kinds of key that a certificate may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafKey {
    /// 2048 to 8192 bits.
    Rsa {
        bits: u32,
    },
    P256,
    P384,
    P521,
    Ed25519,
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

impl LeafKey {
    /// `None` if an import would refuse it.
    pub fn of(certificate: &Certificate) -> Option<Self> {
        let parsed = certificate::parse(certificate.der()).ok()?;
        PublicKey::of(parsed.public_key()).ok().map(|key| key.algorithm)
    }

    /// ML-DSA, which no TLS library offers for certificates by default yet.
    pub fn is_post_quantum(self) -> bool {
        matches!(self, Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87)
    }
}

impl fmt::Display for LeafKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa { bits } => return write!(f, "RSA {bits}"),
            Self::P256 => "EC P-256",
            Self::P384 => "EC P-384",
            Self::P521 => "EC P-521",
            Self::Ed25519 => "Ed25519",
            Self::MlDsa44 => "ML-DSA-44",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
        })
    }
}

/// A key of a supported kind and size. Its point or modulus is only checked when a signature is verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublicKey<'a> {
    pub(crate) algorithm: LeafKey,
    /// The content of `subjectPublicKey`: for RSA the DER of RSAPublicKey, for EC the point.
    pub(super) bits: &'a [u8],
}

/// Why a key is not supported, with a description of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyFault {
    Weak(String),
    Unsupported(String),
}

impl<'a> PublicKey<'a> {
    pub(crate) fn of(spki: &'a SubjectPublicKeyInfo<'a>) -> Result<Self, KeyFault> {
        let bits: &[u8] = &spki.subject_public_key.data;
        let oid = dotted(spki.algorithm.algorithm.as_bytes()).unwrap_or_default();
        let algorithm = match algorithm_of(&oid, || spki.algorithm.parameters.as_ref().and_then(oid_of))? {
            Kind::Rsa => rsa(bits)?,
            Kind::Other(algorithm) => algorithm,
        };
        if spki.subject_public_key.unused_bits != 0 {
            return Err(KeyFault::Unsupported(format!("{algorithm} in a malformed encoding")));
        }
        Ok(Self { algorithm, bits })
    }

    /// Whether this key has these `subjectPublicKey` bits, in which an EC point is uncompressed.
    pub(super) fn is(&self, bits: &[u8]) -> bool {
        match (self.bits, bits) {
            // SEC 1 §2.3.3: the compressed form is the parity of y, and x.
            ([form @ (2 | 3), x @ ..], [4, point @ .., last]) if point.len() + 1 == 2 * x.len() => {
                point.starts_with(x) && last & 1 == form & 1
            }
            (own, other) => own == other,
        }
    }
}

/// By the OID of an AlgorithmIdentifier, and by the curve's if any.
pub(super) enum Kind {
    /// The size is part of the key.
    Rsa,
    Other(LeafKey),
}

pub(super) fn algorithm_of(oid: &str, curve: impl FnOnce() -> Option<String>) -> Result<Kind, KeyFault> {
    Ok(Kind::Other(match oid {
        "1.2.840.113549.1.1.1" => return Ok(Kind::Rsa),
        "1.2.840.10045.2.1" => match curve().as_deref() {
            Some("1.2.840.10045.3.1.7") => LeafKey::P256,
            Some("1.3.132.0.34") => LeafKey::P384,
            Some("1.3.132.0.35") => LeafKey::P521,
            Some(other) => return Err(KeyFault::Unsupported(curve_name(other))),
            None => return Err(KeyFault::Unsupported(NAMELESS.to_owned())),
        },
        "1.3.101.112" => LeafKey::Ed25519,
        "2.16.840.1.101.3.4.3.17" => LeafKey::MlDsa44,
        "2.16.840.1.101.3.4.3.18" => LeafKey::MlDsa65,
        "2.16.840.1.101.3.4.3.19" => LeafKey::MlDsa87,
        "1.2.840.113549.1.1.10" => return Err(KeyFault::Unsupported("RSASSA-PSS only".to_owned())),
        "1.2.840.10040.4.1" => return Err(KeyFault::Unsupported("DSA".to_owned())),
        "1.3.101.110" => return Err(KeyFault::Unsupported("X25519".to_owned())),
        "1.3.101.113" => return Err(KeyFault::Unsupported("Ed448".to_owned())),
        other => return Err(KeyFault::Unsupported(format!("the algorithm {}", text::shown(other)))),
    }))
}

/// RFC 5480 §2.1.1 wants a name, since explicit parameters have been used to forge signatures (CVE-2020-0601).
pub(super) const NAMELESS: &str = "an elliptic curve without a name (its parameters are explicit, or missing)";

fn curve_name(oid: &str) -> String {
    match oid {
        "1.3.132.0.10" => "the curve secp256k1".to_owned(),
        "1.2.840.10045.3.1.1" => "the curve P-192".to_owned(),
        "1.3.132.0.33" => "the curve P-224".to_owned(),
        "1.2.156.10197.1.301" => "the curve SM2".to_owned(),
        "1.3.36.3.3.2.8.1.1.7" => "the curve brainpoolP256r1".to_owned(),
        "1.3.36.3.3.2.8.1.1.11" => "the curve brainpoolP384r1".to_owned(),
        "1.3.36.3.3.2.8.1.1.13" => "the curve brainpoolP512r1".to_owned(),
        other => format!("the curve {}", text::shown(other)),
    }
}

/// RSAPublicKey (RFC 8017 A.1.1), 2048 to 8192 bits. The exponent must be odd, above 1 and of at most 33 bits, as in
/// AWS-LC: with a longer one, a verification takes as long as a signature.
pub(super) fn rsa(der: &[u8]) -> Result<LeafKey, KeyFault> {
    let malformed = || KeyFault::Unsupported("RSA in a malformed encoding".to_owned());
    let (rest, key) = RSAPublicKey::from_der(der).map_err(|_| malformed())?;
    if !rest.is_empty() {
        return Err(malformed());
    }
    rsa_numbers(key.modulus, key.exponent)
}

pub(super) fn rsa_numbers(modulus: &[u8], exponent: &[u8]) -> Result<LeafKey, KeyFault> {
    let bits = bit_length(modulus);
    if bits > 8192 {
        return Err(KeyFault::Unsupported(format!("RSA of {bits} bits, and 8192 are the most")));
    }
    if bits < 2048 {
        return Err(KeyFault::Weak(format!("RSA of {bits} bits, and 2048 are the least")));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    if !odd(modulus) || !odd(exponent) || bit_length(exponent) < 2 {
        return Err(KeyFault::Weak("RSA with an even modulus or exponent, or an exponent of 1".to_owned()));
    }
    if bit_length(exponent) > 33 {
        return Err(KeyFault::Unsupported("RSA with an exponent of more than 33 bits".to_owned()));
    }
    Ok(LeafKey::Rsa { bits })
}

fn bit_length(number: &[u8]) -> u32 {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let bits = number[zeros..].first().map_or(0, |first| (number.len() - zeros) * 8 - first.leading_zeros() as usize);
    u32::try_from(bits).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn number(bits: usize, low: u8) -> Vec<u8> {
        let mut bytes = vec![0; bits / 8 + 1];
        let at = bytes.len() - 1 - (bits - 1) / 8;
        bytes[at] |= 1 << ((bits - 1) % 8);
        *bytes.last_mut().unwrap() |= low;
        bytes
    }

    #[test]
    fn rsa_keys_have_2048_to_8192_bits_and_small_exponents() {
        let e = [1, 0, 1];
        for bits in [2048, 2049, 3072, 8192] {
            assert_eq!(rsa_numbers(&number(bits, 1), &e), Ok(LeafKey::Rsa { bits: bits as u32 }));
        }
        assert!(matches!(rsa_numbers(&number(2047, 1), &e), Err(KeyFault::Weak(_))));
        assert!(matches!(rsa_numbers(&number(8193, 1), &e), Err(KeyFault::Unsupported(_))));
        assert!(matches!(rsa_numbers(&number(2048, 0), &e), Err(KeyFault::Weak(_))));
        for exponent in [&[2][..], &[1], &[0], &[]] {
            assert!(matches!(rsa_numbers(&number(2048, 1), exponent), Err(KeyFault::Weak(_))));
        }
        assert!(rsa_numbers(&number(2048, 1), &[3]).is_ok());
        assert!(rsa_numbers(&number(2048, 1), &number(33, 1)).is_ok());
        assert!(matches!(rsa_numbers(&number(2048, 1), &number(34, 1)), Err(KeyFault::Unsupported(_))));
    }

    #[test]
    fn a_compressed_point_is_the_same_key() {
        let key = PublicKey { algorithm: LeafKey::P256, bits: &[3, 10, 11] };
        assert!(key.is(&[4, 10, 11, 20, 21]));
        assert!(!key.is(&[4, 10, 11, 20, 22]) && !key.is(&[4, 10, 12, 20, 21]) && !key.is(&[4, 10, 11, 21]));
    }
}
