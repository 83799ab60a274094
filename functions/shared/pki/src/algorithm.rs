//! The key types that a root may have. Each has one hash, and its names in the APIs that refer to it.

use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rcgen::SignatureAlgorithm;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey;

/// The key algorithm of a root generation, and thereby its signature algorithm.
///
/// RSA signs with PKCS #1 v1.5, which every management controller verifies, unlike PSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    #[serde(rename = "ECDSA_P256")]
    EcdsaP256,
    #[default]
    #[serde(rename = "ECDSA_P384")]
    EcdsaP384,
    #[serde(rename = "RSA_2048")]
    Rsa2048,
    #[serde(rename = "RSA_3072")]
    Rsa3072,
    #[serde(rename = "RSA_4096")]
    Rsa4096,
}

/// The public key has none of the supported algorithms.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the public key is neither ECDSA on P-256 or P-384 nor RSA with 2048, 3072 or 4096 bits")]
pub struct UnsupportedKey;

/// The signature was not made over this message with this key.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// Encoding of an ECDSA signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// DER, as in certificates (RFC 5758 §3.2) and in KMS's answers.
    Der,
    /// `r ‖ s` of fixed length, as in a JWS (RFC 7518 §3.4).
    Fixed,
}

impl KeyAlgorithm {
    pub const ALL: [Self; 5] = [Self::EcdsaP256, Self::EcdsaP384, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// From the `specName` of `/certificatePolicy`. `DEFAULT` and `CNSA` are XClarity's, the others ours.
    pub fn from_spec_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.spec_name() == name)
    }

    /// The `specName` of `/certificatePolicy`.
    pub const fn spec_name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSA_P256",
            Self::EcdsaP384 => "ECDSA_P384",
            Self::Rsa2048 => "DEFAULT",
            Self::Rsa3072 => "CNSA",
            Self::Rsa4096 => "RSA_4096",
        }
    }

    /// [KMS `KeySpec`](https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html).
    pub const fn kms_key_spec(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECC_NIST_P256",
            Self::EcdsaP384 => "ECC_NIST_P384",
            Self::Rsa2048 => "RSA_2048",
            Self::Rsa3072 => "RSA_3072",
            Self::Rsa4096 => "RSA_4096",
        }
    }

    /// [KMS `SigningAlgorithm`](https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html).
    pub const fn kms_signing_algorithm(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSA_SHA_256",
            Self::EcdsaP384 => "ECDSA_SHA_384",
            Self::Rsa2048 => "RSASSA_PKCS1_V1_5_SHA_256",
            Self::Rsa3072 | Self::Rsa4096 => "RSASSA_PKCS1_V1_5_SHA_384",
        }
    }

    /// JWS `alg` (RFC 7518 §3.1).
    pub const fn jws_alg(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ES256",
            Self::EcdsaP384 => "ES384",
            Self::Rsa2048 => "RS256",
            Self::Rsa3072 | Self::Rsa4096 => "RS384",
        }
    }

    /// Java's name of the signature algorithm, as in XClarity's responses.
    pub const fn java_name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "SHA256withECDSA",
            Self::EcdsaP384 => "SHA384withECDSA",
            Self::Rsa2048 => "SHA256withRSA",
            Self::Rsa3072 | Self::Rsa4096 => "SHA384withRSA",
        }
    }

    /// The hash for KMS's `MessageType: DIGEST`, which avoids the limit of 4096 bytes per message.
    pub fn digest(self, message: &[u8]) -> Vec<u8> {
        let hash = match self {
            Self::EcdsaP256 | Self::Rsa2048 => &digest::SHA256,
            Self::EcdsaP384 | Self::Rsa3072 | Self::Rsa4096 => &digest::SHA384,
        };
        digest(hash, message).as_ref().to_vec()
    }

    /// The algorithm of a SubjectPublicKeyInfo, from the curve or the modulus length alone.
    pub fn of_spki(spki_der: &[u8]) -> Result<Self, UnsupportedKey> {
        // rcgen compares the whole AlgorithmIdentifier, named curve and parameters included.
        let known = rcgen::SubjectPublicKeyInfo::from_der(spki_der).map_err(|_| UnsupportedKey)?;
        let curve = rcgen::PublicKeyData::algorithm(&known);
        if curve == &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Ok(Self::EcdsaP256);
        }
        if curve == &rcgen::PKCS_ECDSA_P384_SHA384 {
            return Ok(Self::EcdsaP384);
        }
        let (_, spki) = SubjectPublicKeyInfo::from_der(spki_der).map_err(|_| UnsupportedKey)?;
        match spki.parsed() {
            Ok(PublicKey::RSA(key)) => match key.key_size() {
                2048 => Ok(Self::Rsa2048),
                3072 => Ok(Self::Rsa3072),
                4096 => Ok(Self::Rsa4096),
                _ => Err(UnsupportedKey),
            },
            _ => Err(UnsupportedKey),
        }
    }

    pub(crate) const fn rcgen(self) -> &'static SignatureAlgorithm {
        match self {
            Self::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
            Self::Rsa3072 | Self::Rsa4096 => &rcgen::PKCS_RSA_SHA384,
        }
    }

    /// Verifies with the key's own algorithm, whatever algorithm the message names.
    pub(crate) fn verify(
        spki_der: &[u8],
        encoding: Encoding,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        let algorithm = Self::of_spki(spki_der)?;
        let (_, spki) = SubjectPublicKeyInfo::from_der(spki_der).map_err(|_| UnsupportedKey)?;
        let verification: &dyn VerificationAlgorithm = match (algorithm, encoding) {
            (Self::EcdsaP256, Encoding::Der) => &signature::ECDSA_P256_SHA256_ASN1,
            (Self::EcdsaP256, Encoding::Fixed) => &signature::ECDSA_P256_SHA256_FIXED,
            (Self::EcdsaP384, Encoding::Der) => &signature::ECDSA_P384_SHA384_ASN1,
            (Self::EcdsaP384, Encoding::Fixed) => &signature::ECDSA_P384_SHA384_FIXED,
            (Self::Rsa2048, _) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Self::Rsa3072 | Self::Rsa4096, _) => &signature::RSA_PKCS1_2048_8192_SHA384,
        };
        UnparsedPublicKey::new(verification, &spki.subject_public_key.data)
            .verify(message, signature)
            .map_err(|_| VerifyError::Signature(BadSignature))
    }
}

/// Why a signature is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum VerifyError {
    #[error(transparent)]
    Key(#[from] UnsupportedKey),
    #[error(transparent)]
    Signature(#[from] BadSignature),
}
