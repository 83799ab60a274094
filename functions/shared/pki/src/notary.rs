//! A text that one key signed: JWS, compact serialisation (RFC 7515 §7.1), with the public key in its header (`jwk`,
//! §4.1.3). To verify a copy, nothing else is needed than the SHA-256 of the key that is expected.
//!
//! ECDSA on P-256 only. A key has one header, byte for byte: no other is read, so none has to be understood.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::algorithm::{Encoding, KeyAlgorithm, UnsupportedKey};
use crate::bundle::{JwsError, jws_signature};
use crate::fingerprint::Fingerprint;

/// What the SubjectPublicKeyInfo of every P-256 key begins with (RFC 5480 §2); both coordinates follow.
const PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotaryKey {
    x: [u8; 32],
    y: [u8; 32],
}

/// What a key is to sign.
#[derive(Debug)]
pub struct Unsigned<'a> {
    key: &'a NotaryKey,
    input: String,
}

/// What a key signed. Whether that is the right key is for the caller to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notarised {
    pub key: Fingerprint,
    pub payload: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    jwk: Jwk,
}

#[derive(Deserialize)]
struct Jwk {
    x: String,
    y: String,
}

impl NotaryKey {
    /// From a SubjectPublicKeyInfo in DER.
    pub fn from_spki(der: &[u8]) -> Result<Self, UnsupportedKey> {
        let (x, y) = der.strip_prefix(&PREFIX).and_then(|point| point.split_at_checked(32)).ok_or(UnsupportedKey)?;
        let half = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(|_| UnsupportedKey);
        Ok(Self { x: half(x)?, y: half(y)? })
    }

    fn spki(&self) -> Vec<u8> {
        [PREFIX.as_slice(), &self.x, &self.y].concat()
    }

    /// SHA-256 of the SubjectPublicKeyInfo in DER, as `openssl` and `aws kms get-public-key` give it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.spki())
    }

    fn header(&self) -> String {
        let [x, y] = [self.x, self.y].map(|half| URL_SAFE_NO_PAD.encode(half));
        URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","jwk":{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}}}"#))
    }

    pub fn sign(&self, payload: &[u8]) -> Unsigned<'_> {
        Unsigned { key: self, input: format!("{}.{}", self.header(), URL_SAFE_NO_PAD.encode(payload)) }
    }
}

impl Unsigned<'_> {
    /// The digest to be signed.
    pub fn digest(&self) -> Vec<u8> {
        KeyAlgorithm::EcdsaP256.digest(self.input.as_bytes())
    }

    /// The JWS with the key's signature of [`Self::digest`], in KMS's encoding, which is verified first.
    pub fn complete(self, kms_signature: &[u8]) -> Result<String, JwsError> {
        let signature = jws_signature(KeyAlgorithm::EcdsaP256, kms_signature)?;
        KeyAlgorithm::verify(&self.key.spki(), Encoding::Fixed, self.input.as_bytes(), &signature)?;
        Ok(format!("{}.{}", self.input, URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Verifies a JWS with the key in its header.
///
/// ```
/// use rootcast_pki::notary::{NotaryKey, open};
/// # use aws_lc_rs::digest::{Digest, SHA256};
/// # use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
/// # use rcgen::{KeyPair, PublicKeyData};
///
/// # let pair = KeyPair::generate()?;
/// # let kms = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pair.serialize_der())?;
/// # let sign = |digest: &[u8]| kms.sign_digest(&Digest::import_less_safe(digest, &SHA256)?);
/// # let spki = pair.subject_public_key_info();
/// let key = NotaryKey::from_spki(&spki)?;
/// let unsigned = key.sign(b"12 chains");
/// let signature = sign(&unsigned.digest())?; // KMS
/// let jws = unsigned.complete(signature.as_ref())?;
///
/// let found = open(&jws)?;
/// assert_eq!((found.key, found.payload.as_slice()), (key.fingerprint(), b"12 chains".as_slice()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open(jws: &str) -> Result<Notarised, JwsError> {
    let parts: Vec<&str> = jws.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else { return Err(JwsError::Compact) };
    let Header { jwk } = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header)?).map_err(JwsError::Header)?;
    let half = |text: &str| -> Result<[u8; 32], JwsError> {
        URL_SAFE_NO_PAD.decode(text)?.try_into().map_err(|_| UnsupportedKey.into())
    };
    let key = NotaryKey { x: half(&jwk.x)?, y: half(&jwk.y)? };
    if key.header() != *header {
        return Err(JwsError::Compact);
    }
    let input = format!("{header}.{payload}");
    let raw = URL_SAFE_NO_PAD.decode(signature)?;
    KeyAlgorithm::verify(&key.spki(), Encoding::Fixed, input.as_bytes(), &raw)?;
    Ok(Notarised { key: key.fingerprint(), payload: URL_SAFE_NO_PAD.decode(payload)? })
}
