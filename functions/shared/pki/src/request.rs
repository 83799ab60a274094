//! A certification request (PKCS #10, RFC 2986) from a device: proves that the device has a private key, and nothing
//! else.
//!
//! Only the SubjectPublicKeyInfo is used. Other contents are not even parsed: OpenBMC, for one, puts `subjectAltName=…`
//! and `extendedKeyUsage=…` into the subject. The device's identity comes from its record.

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

/// Most characters of a request. With RSA 4096 and long names, a request takes 3 KiB.
pub const LIMIT: usize = 16 * 1024;

/// A request whose signature was verified, with a key that our roots certify.
///
/// Serialised as the base64 of its DER. Verified again when deserialised.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SigningRequest {
    der: Vec<u8>,
    spki_der: Vec<u8>,
    key: Fingerprint,
    algorithm: LeafKey,
}

/// Why a request is refused.
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
    /// Parses PEM (RFC 7468 §7, either label) or the base64 of the DER, ignoring blanks and line breaks.
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

    /// SHA-256 of the SubjectPublicKeyInfo: identifies the key, and is the pin of a device that uses it.
    pub fn key(&self) -> Fingerprint {
        self.key
    }

    pub fn key_algorithm(&self) -> LeafKey {
        self.algorithm
    }
}

/// The parts of a CertificationRequest (RFC 2986 §4.2) that are used.
struct Parts<'a> {
    /// The whole CertificationRequestInfo.
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
        // The signature does not cover the algorithm identifier, which therefore must be exact DER (X.690).
        identifier(element(rest, Tag::Sequence)?.1)?;
        let (rest, algorithm) = AlgorithmIdentifier::from_der(rest).ok()?;
        element(rest, Tag::BitString)?;
        let (rest, signature) = BitString::from_der(rest).ok()?;
        let (info, version) = element(info, Tag::Integer)?;
        let (info, _subject) = element(info, Tag::Sequence)?;
        let (_attributes, spki) = SubjectPublicKeyInfo::from_der(info).ok()?;
        // RFC 2986 only has version 0; OpenBMC's phosphor-certificate-manager writes 1 with the same meaning.
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
