//! The signature algorithms of certificates, and their verification.

use std::fmt;

use aws_lc_rs::signature::{self, RsaParameters, RsaPssSaltLength, VerificationAlgorithm};
use x509_parser::asn1_rs::{Any, FromDer, Tag};
use x509_parser::x509::AlgorithmIdentifier;

use super::der::{dotted, identifier, sequence, tagged};
use super::public_key::{LeafKey, PublicKey};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// A signature algorithm that can be verified here with some kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    RsaPkcs1(Hash),
    /// Salt length in bytes. MGF1 uses the same hash.
    RsaPss(Hash, u16),
    Ecdsa(Hash),
    Ed25519,
    MlDsa(LeafKey),
}

/// An algorithm that is not accepted, with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    Weak(&'static str),
    Unsupported(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignatureCheck {
    Good,
    Bad,
    /// The algorithm cannot be verified with this kind of key.
    Unsupported,
    /// Not tried, because the algorithm or the key is refused already.
    Refused,
}

impl Scheme {
    pub(crate) fn of(algorithm: &AlgorithmIdentifier<'_>) -> Result<Self, Unusable> {
        let oid = dotted(algorithm.algorithm.as_bytes()).unwrap_or_default();
        Ok(match oid.as_str() {
            "1.2.840.113549.1.1.2" => return Err(Unusable::Weak("MD2")),
            "1.2.840.113549.1.1.3" => return Err(Unusable::Weak("MD4")),
            "1.2.840.113549.1.1.4" | "1.3.14.3.2.3" => return Err(Unusable::Weak("MD5")),
            "1.2.840.10040.4.3" | "1.3.14.3.2.13" | "1.3.14.3.2.27" => return Err(Unusable::Weak("SHA-1")),
            "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => Self::RsaPkcs1(Hash::Sha1),
            "1.2.840.113549.1.1.11" => Self::RsaPkcs1(Hash::Sha256),
            "1.2.840.113549.1.1.12" => Self::RsaPkcs1(Hash::Sha384),
            "1.2.840.113549.1.1.13" => Self::RsaPkcs1(Hash::Sha512),
            "1.2.840.113549.1.1.10" => return pss(algorithm.parameters.as_ref()),
            "1.2.840.10045.4.1" => Self::Ecdsa(Hash::Sha1),
            "1.2.840.10045.4.3.1" => Self::Ecdsa(Hash::Sha224),
            "1.2.840.10045.4.3.2" => Self::Ecdsa(Hash::Sha256),
            "1.2.840.10045.4.3.3" => Self::Ecdsa(Hash::Sha384),
            "1.2.840.10045.4.3.4" => Self::Ecdsa(Hash::Sha512),
            "1.3.101.112" => Self::Ed25519,
            "2.16.840.1.101.3.4.3.17" => Self::MlDsa(LeafKey::MlDsa44),
            "2.16.840.1.101.3.4.3.18" => Self::MlDsa(LeafKey::MlDsa65),
            "2.16.840.1.101.3.4.3.19" => Self::MlDsa(LeafKey::MlDsa87),
            _ => return Err(Unusable::Unsupported(name(&oid))),
        })
    }

    /// SHA-1 collisions can be made: <https://shattered.io>.
    pub(crate) fn is_sha1(self) -> bool {
        matches!(self, Self::RsaPkcs1(Hash::Sha1) | Self::RsaPss(Hash::Sha1, _) | Self::Ecdsa(Hash::Sha1))
    }

    pub(crate) fn verify(self, key: &PublicKey<'_>, message: &[u8], signature: &[u8]) -> SignatureCheck {
        use Hash::{Sha1, Sha224, Sha256, Sha384, Sha512};
        use LeafKey::{Ed25519, MlDsa44, MlDsa65, MlDsa87, P256, P384, P521, Rsa};
        let salted: RsaParameters;
        let algorithm: &dyn VerificationAlgorithm = match (self, key.algorithm) {
            (Self::RsaPkcs1(Sha1), Rsa { .. }) => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            (Self::RsaPkcs1(Sha256), Rsa { .. }) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Self::RsaPkcs1(Sha384), Rsa { .. }) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Self::RsaPkcs1(Sha512), Rsa { .. }) => &signature::RSA_PKCS1_2048_8192_SHA512,
            (Self::RsaPss(hash, salt), Rsa { .. }) => {
                let plain = match hash {
                    Sha256 => signature::RSA_PSS_2048_8192_SHA256,
                    Sha384 => signature::RSA_PSS_2048_8192_SHA384,
                    Sha512 => signature::RSA_PSS_2048_8192_SHA512,
                    Sha1 | Sha224 => return SignatureCheck::Unsupported,
                };
                salted = plain.with_pss_salt_length(RsaPssSaltLength::Custom(salt));
                &salted
            }
            (Self::Ecdsa(Sha1), P256) => &signature::ECDSA_P256_SHA1_ASN1,
            (Self::Ecdsa(Sha256), P256) => &signature::ECDSA_P256_SHA256_ASN1,
            (Self::Ecdsa(Sha384), P256) => &signature::ECDSA_P256_SHA384_ASN1,
            (Self::Ecdsa(Sha512), P256) => &signature::ECDSA_P256_SHA512_ASN1,
            (Self::Ecdsa(Sha256), P384) => &signature::ECDSA_P384_SHA256_ASN1,
            (Self::Ecdsa(Sha384), P384) => &signature::ECDSA_P384_SHA384_ASN1,
            (Self::Ecdsa(Sha512), P384) => &signature::ECDSA_P384_SHA512_ASN1,
            (Self::Ecdsa(Sha1), P521) => &signature::ECDSA_P521_SHA1_ASN1,
            (Self::Ecdsa(Sha224), P521) => &signature::ECDSA_P521_SHA224_ASN1,
            (Self::Ecdsa(Sha256), P521) => &signature::ECDSA_P521_SHA256_ASN1,
            (Self::Ecdsa(Sha384), P521) => &signature::ECDSA_P521_SHA384_ASN1,
            (Self::Ecdsa(Sha512), P521) => &signature::ECDSA_P521_SHA512_ASN1,
            (Self::Ecdsa(Sha1 | Sha224), P256 | P384) => return SignatureCheck::Unsupported,
            (Self::Ed25519, Ed25519) => &signature::ED25519,
            (Self::MlDsa(MlDsa44), MlDsa44) => &signature::ML_DSA_44,
            (Self::MlDsa(MlDsa65), MlDsa65) => &signature::ML_DSA_65,
            (Self::MlDsa(MlDsa87), MlDsa87) => &signature::ML_DSA_87,
            _ => return SignatureCheck::Bad,
        };
        match algorithm.verify_sig(key.bits, message, signature) {
            Ok(()) => SignatureCheck::Good,
            Err(_) => SignatureCheck::Bad,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RsaPkcs1(hash) => write!(f, "RSA and {hash}"),
            Self::RsaPss(hash, _) => write!(f, "RSASSA-PSS and {hash}"),
            Self::Ecdsa(hash) => write!(f, "ECDSA and {hash}"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::MlDsa(key) => key.fmt(f),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "SHA-1",
            Self::Sha224 => "SHA-224",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// RSASSA-PSS-params (RFC 4055 §3.1): hash, MGF1 with the same hash, salt of any length, trailer 1. Omitted fields
/// default to SHA-1.
fn pss(parameters: Option<&Any<'_>>) -> Result<Scheme, Unusable> {
    let unsupported = |what: &str| Unusable::Unsupported(format!("RSASSA-PSS with {what}"));
    let (hash, mask, salt) = parameters
        .filter(|any| any.tag() == Tag::Sequence)
        .and_then(|any| pss_parameters(any.data))
        .ok_or_else(|| unsupported("parameters that are not those of RFC 4055"))?;
    match hash {
        Hash::Sha1 => Err(Unusable::Weak("SHA-1")),
        Hash::Sha224 => Err(unsupported("SHA-224")),
        _ if mask != hash => Err(unsupported("two different hashes")),
        _ => Ok(Scheme::RsaPss(hash, salt)),
    }
}

fn pss_parameters(mut rest: &[u8]) -> Option<(Hash, Hash, u16)> {
    let (mut hash, mut mask, mut salt) = (Hash::Sha1, Hash::Sha1, 20);
    for tag in 0..4 {
        let Some((after, field)) = tagged(rest, tag, true) else { continue };
        rest = after;
        match tag {
            0 => hash = hash_of(field)?,
            1 => {
                let (oid, inner) = identifier(sequence(field)?)?;
                mask = hash_in(inner.filter(|_| oid == "1.2.840.113549.1.1.8")?.data)?;
            }
            2 => salt = u16::from_der(field).ok()?.1,
            _ => _ = u8::from_der(field).ok().filter(|(_, trailer)| *trailer == 1)?,
        }
    }
    rest.is_empty().then_some((hash, mask, salt))
}

fn hash_of(algorithm: &[u8]) -> Option<Hash> {
    hash_in(sequence(algorithm)?)
}

/// From the content of an AlgorithmIdentifier.
fn hash_in(content: &[u8]) -> Option<Hash> {
    Some(match identifier(content)?.0.as_str() {
        "1.3.14.3.2.26" => Hash::Sha1,
        "2.16.840.1.101.3.4.2.4" => Hash::Sha224,
        "2.16.840.1.101.3.4.2.1" => Hash::Sha256,
        "2.16.840.1.101.3.4.2.2" => Hash::Sha384,
        "2.16.840.1.101.3.4.2.3" => Hash::Sha512,
        _ => return None,
    })
}

fn name(oid: &str) -> String {
    match oid {
        "1.2.840.113549.1.1.14" => "RSA with SHA-224",
        "1.3.101.113" => "Ed448",
        "1.2.156.10197.1.501" => "SM2",
        "2.16.840.1.101.3.4.3.1" | "2.16.840.1.101.3.4.3.2" => "DSA",
        other => return format!("the algorithm {}", super::text::shown(other)),
    }
    .to_owned()
}
