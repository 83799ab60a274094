//! A certification request (PKCS #10, RFC 2986) as a device answers it: proof that it has a private key, and no more.
//!
//! Only the SubjectPublicKeyInfo is taken. What the request asks for beside it is not even read: OpenBMC, for one, puts
//! `subjectAltName=…` and `extendedKeyUsage=…` into the subject. Who the device is, its record says.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use x509_parser::asn1_rs::{BitString, FromDer, Tag};
use x509_parser::prelude::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use crate::algorithm::{KeyAlgorithm, UnsupportedKey};
use crate::fingerprint::Fingerprint;
use crate::import::LeafKey;
use crate::import::der::{element, identifier, sequence};
use crate::import::public_key::{KeyFault, PublicKey};
use crate::import::signature::{Scheme, SignatureCheck, Unusable};
use crate::import::text::shown;

/// Characters of a request. One with RSA 4096 and long names takes 3 KiB.
pub const LIMIT: usize = 16 * 1024;

/// A request whose signature verifies, with a key that our roots certify.
///
/// Serialised as the base64 of its DER, and verified again when it is read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SigningRequest {
    der: Vec<u8>,
    spki_der: Vec<u8>,
    key: Fingerprint,
    algorithm: LeafKey,
}

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidRequest {
    #[error("the certification request is longer than {LIMIT} characters")]
    TooLong,
    #[error("the certification request is neither PEM nor base64")]
    Text,
    #[error("the PEM text holds a {0} where a CERTIFICATE REQUEST is expected")]
    Label(String),
    #[error("the certification request is not PKCS #10 (RFC 2986) in DER")]
    Der,
    #[error("the request's key is too weak: {0}")]
    WeakKey(String),
    #[error("the request's key is {0}; ECDSA on P-256 or P-384 and RSA with 2048, 3072 or 4096 bits are certified")]
    Key(String),
    #[error("the request is signed with {0}, which proves nothing")]
    WeakSignature(&'static str),
    #[error("the request is signed with {0}, which is not verified here")]
    Algorithm(String),
    #[error("the request's signature does not verify: the device has not proved that it has the key")]
    Signature,
}

impl SigningRequest {
    /// From PEM (RFC 7468 §7, either label) or the base64 of the DER, blanks and line breaks ignored.
    pub fn parse(text: &str) -> Result<Self, InvalidRequest> {
        if text.len() > LIMIT {
            return Err(InvalidRequest::TooLong);
        }
        if !text.contains("-----BEGIN ") {
            let packed: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
            return Self::from_der(STANDARD.decode(packed).map_err(|_| InvalidRequest::Text)?);
        }
        let block = pem::parse(text).map_err(|_| InvalidRequest::Text)?;
        match block.tag() {
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => Self::from_der(block.into_contents()),
            other => Err(InvalidRequest::Label(shown(other))),
        }
    }

    fn from_der(der: Vec<u8>) -> Result<Self, InvalidRequest> {
        let parts = Parts::of(&der).ok_or(InvalidRequest::Der)?;
        let key = PublicKey::of(&parts.spki).map_err(|fault| match fault {
            KeyFault::Weak(what) => InvalidRequest::WeakKey(what),
            KeyFault::Unsupported(what) => InvalidRequest::Key(what),
        })?;
        let unsupported = |UnsupportedKey| InvalidRequest::Key(key.algorithm.to_string());
        KeyAlgorithm::of_spki(parts.spki.raw).map_err(unsupported)?;
        let scheme = Scheme::of(&parts.algorithm).map_err(|unusable| match unusable {
            Unusable::Weak(what) => InvalidRequest::WeakSignature(what),
            Unusable::Unsupported(what) => InvalidRequest::Algorithm(what),
        })?;
        if scheme.is_sha1() {
            return Err(InvalidRequest::WeakSignature("SHA-1"));
        }
        match scheme.verify(&key, parts.signed, &parts.signature.data) {
            SignatureCheck::Good => {}
            SignatureCheck::Unsupported => return Err(InvalidRequest::Algorithm(scheme.to_string())),
            SignatureCheck::Bad | SignatureCheck::Refused => return Err(InvalidRequest::Signature),
        }
        let spki_der = parts.spki.raw.to_vec();
        Ok(Self { key: Fingerprint::of(&spki_der), algorithm: key.algorithm, spki_der, der })
    }

    /// SubjectPublicKeyInfo, as the device wrote it.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// SHA-256 of the SubjectPublicKeyInfo: the key's own name, and what a device that uses it is pinned to.
    pub fn key(&self) -> Fingerprint {
        self.key
    }

    pub fn key_algorithm(&self) -> LeafKey {
        self.algorithm
    }
}

/// Of a CertificationRequest (RFC 2986 §4.2), what is used.
struct Parts<'a> {
    /// CertificationRequestInfo, whole.
    signed: &'a [u8],
    spki: SubjectPublicKeyInfo<'a>,
    algorithm: AlgorithmIdentifier<'a>,
    signature: BitString<'a>,
}

impl<'a> Parts<'a> {
    fn of(der: &'a [u8]) -> Option<Self> {
        let body = sequence(der)?;
        let (rest, info) = element(body, Tag::Sequence)?;
        let signed = body.strip_suffix(rest)?;
        // The signature does not cover what says of which kind it is: that must be as X.690 wants it, to the bit.
        identifier(element(rest, Tag::Sequence)?.1)?;
        let (rest, algorithm) = AlgorithmIdentifier::from_der(rest).ok()?;
        element(rest, Tag::BitString)?;
        let (rest, signature) = BitString::from_der(rest).ok()?;
        let (info, version) = element(info, Tag::Integer)?;
        let (info, _subject) = element(info, Tag::Sequence)?;
        let (_attributes, spki) = SubjectPublicKeyInfo::from_der(info).ok()?;
        // RFC 2986 has version 0 alone; OpenBMC's phosphor-certificate-manager writes 1, and means the same.
        let whole = rest.is_empty() && signature.unused_bits == 0 && matches!(version, [0 | 1]);
        whole.then_some(Self { signed, spki, algorithm, signature })
    }
}

impl TryFrom<String> for SigningRequest {
    type Error = InvalidRequest;

    fn try_from(text: String) -> Result<Self, InvalidRequest> {
        Self::parse(&text)
    }
}

impl From<SigningRequest> for String {
    fn from(request: SigningRequest) -> Self {
        STANDARD.encode(request.der)
    }
}

impl fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningRequest({})", self.key)
    }
}
