//! The signed bundle: JWS, general JSON serialisation (RFC 7515 §7.2.1), with a signature by every live generation. A
//! client with any one of them as its trust anchor can verify it.
//!
//! Implemented here rather than with a crate: jsonwebtoken writes the compact form only, josekit brings OpenSSL, and
//! both sign with a key in memory.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;
use time::OffsetDateTime;

use super::{Bundle, Seen, Untimely};
use crate::algorithm::{Encoding, KeyAlgorithm, UnsupportedKey, VerifyError};
use crate::certificate::Certificate;
use crate::fingerprint::Fingerprint;

/// A bundle and its signatures. Each signature is verified before it is added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBundle {
    /// base64url of [`Bundle::payload`].
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    protected: String,
    signature: String,
}

/// Why a signed bundle cannot be made, or is refused.
#[derive(Debug, Error)]
pub enum JwsError {
    #[error("not a JWS in the general JSON serialisation: {0}")]
    Form(#[source] serde_json::Error),
    #[error("not a JWS in the compact serialisation, with one key in its header and nothing else")]
    Compact,
    #[error("not base64url: {0}")]
    Base64(#[from] base64::DecodeError),
    #[error("a JWS header is not understood: {0}")]
    Header(#[source] serde_json::Error),
    #[error("a JWS header demands extensions (crit)")]
    Critical,
    #[error("a JWS header says {said} where the anchor's key signs {expected}")]
    Algorithm { said: String, expected: &'static str },
    #[error("the ECDSA signature is not DER of two positive integers of the curve's size")]
    Ecdsa,
    #[error(transparent)]
    Key(#[from] UnsupportedKey),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error("no signature is by a trusted anchor")]
    Untrusted,
    #[error("the signed bundle is malformed: {0}")]
    Bundle(#[source] serde_json::Error),
    /// The signature is good.
    #[error(transparent)]
    Untimely(#[from] Untimely),
}

/// `alg` must match the anchor's key and is never trusted; `x5t#S256` (RFC 7515 §4.1.8) names the anchor.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(rename = "x5t#S256")]
    x5t: String,
    crit: Option<serde_json::Value>,
}

impl SignedBundle {
    /// Without signatures.
    pub fn new(bundle: &Bundle) -> Self {
        Self { payload: URL_SAFE_NO_PAD.encode(bundle.payload()), signatures: Vec::new() }
    }

    /// The digest that `signer`'s key signs, with its algorithm's hash.
    pub fn digest(&self, signer: &Certificate) -> Result<Vec<u8>, JwsError> {
        let algorithm = signer.key_algorithm()?;
        let (_, input) = signing_input(&self.payload, algorithm, signer.fingerprint());
        Ok(algorithm.digest(&input))
    }

    /// Verifies and adds `signer`'s signature over [`SignedBundle::digest`], in KMS's encoding.
    pub fn add(&mut self, signer: &Certificate, kms_signature: &[u8]) -> Result<(), JwsError> {
        let algorithm = signer.key_algorithm()?;
        let (protected, input) = signing_input(&self.payload, algorithm, signer.fingerprint());
        let signature = jws_signature(algorithm, kms_signature)?;
        KeyAlgorithm::verify(signer.spki_der(), Encoding::Fixed, &input, &signature)?;
        self.signatures.retain(|existing| existing.protected != protected);
        self.signatures.push(Signature { protected, signature: URL_SAFE_NO_PAD.encode(signature) });
        Ok(())
    }

    /// `application/jose+json`
    pub fn to_json(&self) -> String {
        let signatures: Vec<_> =
            self.signatures.iter().map(|s| json!({"protected": s.protected, "signature": s.signature})).collect();
        json!({"payload": self.payload, "signatures": signatures}).to_string()
    }
}

/// The protected header (base64url) and the JWS Signing Input (RFC 7515 §5.1) of one signature. `payload` is base64url;
/// `x5t` is the fingerprint of the signing root.
fn signing_input(payload: &str, algorithm: KeyAlgorithm, x5t: Fingerprint) -> (String, Vec<u8>) {
    let x5t = URL_SAFE_NO_PAD.encode(x5t.as_bytes());
    // Libraries look keys up by `kid` (RFC 7515 §4.1.4) alone.
    let header = json!({"alg": algorithm.jws_alg(), "kid": x5t, "x5t#S256": x5t});
    let protected = URL_SAFE_NO_PAD.encode(header.to_string());
    let input = format!("{protected}.{payload}").into_bytes();
    (protected, input)
}

/// Converts a signature from KMS's encoding into that of a JWS: ECDSA as `r ‖ s`, RSA unchanged (RFC 7518 §3).
pub fn jws_signature(algorithm: KeyAlgorithm, kms_signature: &[u8]) -> Result<Vec<u8>, JwsError> {
    match algorithm {
        KeyAlgorithm::EcdsaP256 => fixed(kms_signature, 32),
        KeyAlgorithm::EcdsaP384 => fixed(kms_signature, 48),
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => Ok(kms_signature.to_vec()),
    }
}

/// Accepts a bundle that any trusted anchor signed, that is valid now, and that is not older than the last one.
/// `trusted`: one of our roots, or the [`Bundle::signers`] of a bundle that was accepted before.
/// `seen`: what the caller kept of that one, wherever the bundles came from; without it, only `now` shows that a server
/// sends an old bundle.
///
/// ```
/// use rootcast_pki::bundle::{Bundle, JwsError, SignedBundle, Untimely, verify_bundle};
/// use rootcast_pki::certificate::Certificate;
/// use time::Duration;
/// use time::macros::datetime;
/// # use aws_lc_rs::digest::{Digest, SHA256};
/// # use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
/// # use rcgen::{CertificateParams, KeyPair};
///
/// # let key = KeyPair::generate()?;
/// # let kms = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.serialize_der())?;
/// # let sign = |digest: &[u8]| kms.sign_digest(&Digest::import_less_safe(digest, &SHA256)?);
/// let root = Certificate::from_der(CertificateParams::default().self_signed(&key)?.der().to_vec())?;
/// let issued = datetime!(2026-06-01 12:00 UTC);
/// let exp = Some(issued + Duration::days(30));
/// let bundle = Bundle { version: 3, anchors: vec![root.clone()], others: vec![], withdrawn: vec![], issued, exp };
/// let mut signed = SignedBundle::new(&bundle);
/// let signature = sign(&signed.digest(&root)?)?; // KMS, with the root's key
/// signed.add(&root, signature.as_ref())?;
///
/// // Whoever trusts the root reads `GET /bundle`, from whatever server it came, and keeps `seen` for the next time.
/// let json = signed.to_json();
/// let accepted = verify_bundle(&json, &[root.clone()], issued, None)?;
/// assert_eq!(accepted, bundle);
/// let seen = Some(accepted.seen());
/// assert!(verify_bundle(&json, &[root.clone()], issued, seen).is_ok());
///
/// // A month later, the server still sends it.
/// let frozen = verify_bundle(&json, &[root], issued + Duration::days(30), seen);
/// assert!(matches!(frozen, Err(JwsError::Untimely(Untimely::Expired { version: 3, .. }))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify_bundle(
    json: impl AsRef<[u8]>,
    trusted: &[Certificate],
    now: OffsetDateTime,
    seen: Option<Seen>,
) -> Result<Bundle, JwsError> {
    let bundle = verify_jws(json, trusted)?;
    bundle.check(now, seen)?;
    Ok(bundle)
}

/// Accepts a bundle that any trusted anchor signed. The anchor's key determines the algorithm. A header that names
/// another algorithm, or that requires extensions, is refused. Neither dates nor version are checked: see
/// [`verify_bundle`].
pub fn verify_jws(json: impl AsRef<[u8]>, trusted: &[Certificate]) -> Result<Bundle, JwsError> {
    let signed: SignedBundle = serde_json::from_slice(json.as_ref()).map_err(JwsError::Form)?;
    let mut refusal = JwsError::Untrusted;
    for signature in &signed.signatures {
        match verify_one(&signed.payload, signature, trusted) {
            Ok(()) => {
                let payload = URL_SAFE_NO_PAD.decode(&signed.payload)?;
                return serde_json::from_slice(&payload).map_err(JwsError::Bundle);
            }
            Err(JwsError::Untrusted) => {}
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

fn verify_one(payload: &str, signature: &Signature, trusted: &[Certificate]) -> Result<(), JwsError> {
    let header = URL_SAFE_NO_PAD.decode(&signature.protected)?;
    let header: Header = serde_json::from_slice(&header).map_err(JwsError::Header)?;
    if header.crit.is_some() {
        return Err(JwsError::Critical);
    }
    let x5t = URL_SAFE_NO_PAD.decode(&header.x5t)?;
    let anchor = trusted.iter().find(|anchor| anchor.fingerprint().as_bytes().as_slice() == x5t);
    let anchor = anchor.ok_or(JwsError::Untrusted)?;
    let expected = anchor.key_algorithm()?.jws_alg();
    if header.alg != expected {
        return Err(JwsError::Algorithm { said: header.alg, expected });
    }
    let input = format!("{}.{payload}", signature.protected);
    let raw = URL_SAFE_NO_PAD.decode(&signature.signature)?;
    Ok(KeyAlgorithm::verify(anchor.spki_der(), Encoding::Fixed, input.as_bytes(), &raw)?)
}

/// Converts DER `SEQUENCE { r INTEGER, s INTEGER }` (RFC 3279 §2.2.3) into `r ‖ s`, each `size` bytes (RFC 7518 §3.4).
/// All lengths are below 128 here, so they take one byte.
fn fixed(der: &[u8], size: usize) -> Result<Vec<u8>, JwsError> {
    let (sequence, []) = element(0x30, der)? else {
        return Err(JwsError::Ecdsa);
    };
    let (r, rest) = element(0x02, sequence)?;
    let (s, []) = element(0x02, rest)? else {
        return Err(JwsError::Ecdsa);
    };
    let mut fixed = Vec::with_capacity(2 * size);
    for integer in [r, s] {
        let magnitude = match integer {
            [0, next, ..] if *next >= 0x80 => &integer[1..],
            [first, ..] if (1..0x80).contains(first) => integer,
            _ => return Err(JwsError::Ecdsa),
        };
        let padding = size.checked_sub(magnitude.len()).ok_or(JwsError::Ecdsa)?;
        fixed.resize(fixed.len() + padding, 0);
        fixed.extend_from_slice(magnitude);
    }
    Ok(fixed)
}

/// Content of the first DER element, and the bytes after it.
fn element(tag: u8, der: &[u8]) -> Result<(&[u8], &[u8]), JwsError> {
    match der {
        [found, length @ 0..0x80, rest @ ..] if *found == tag => {
            rest.split_at_checked(usize::from(*length)).ok_or(JwsError::Ecdsa)
        }
        _ => Err(JwsError::Ecdsa),
    }
}
