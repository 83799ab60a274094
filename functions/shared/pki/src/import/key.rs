//! The private key: parsed from any form, and kept as unencrypted PKCS#8.

mod forms;

use std::fmt;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, PqdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::pem::{self, Block, Blocks};
use super::problem::{Field, Location, Problem};
use super::public_key::{LeafKey, PublicKey};
use super::signature::{Hash, Scheme, SignatureCheck};
use super::{KEY_LIMIT, Secret, Sent, text};

pub(super) use forms::pkcs8 as from_pkcs8;

/// A private key as unencrypted PKCS#8 (RFC 5958, version 1). The same key always gives the same bytes, whatever its
/// original form. Zeroised when dropped.
pub struct PrivateKey {
    der: Secret,
}

impl PrivateKey {
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.der
    }

    /// `PRIVATE KEY` (RFC 7468 §10), lines end in LF.
    pub fn pem(&self) -> Zeroizing<String> {
        let lines = self.der.len().div_ceil(48);
        // Allocated at full size, since a growing string leaves copies of the key in memory.
        let mut pem = Zeroizing::new(String::with_capacity(lines * 65 + 64));
        pem.push_str("-----BEGIN PRIVATE KEY-----\n");
        for line in self.der.chunks(48) {
            STANDARD.encode_string(line, &mut pem);
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        pem
    }
}

/// Hides the key.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

/// A key that AWS-LC found consistent and that can sign.
pub(super) struct Key {
    pub(super) algorithm: LeafKey,
    pair: Pair,
    pkcs8: PrivateKey,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    MlDsa(Box<PqdsaKeyPair>),
}

/// The message that is signed to prove that a key belongs to a certificate. It occurs in no protocol, so the signature
/// is useless elsewhere.
const PROOF: &[u8] = b"rootcast import: this key belongs to this certificate";

impl Key {
    /// As in `subjectPublicKey`; an EC point is uncompressed.
    pub(super) fn public_bits(&self) -> &[u8] {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref(),
            Pair::Ec(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
            Pair::MlDsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// Whether a signature made with this key verifies with `public`.
    pub(super) fn proves(&self, public: &PublicKey<'_>) -> bool {
        let scheme = match public.algorithm {
            LeafKey::Rsa { .. } => Scheme::RsaPkcs1(Hash::Sha256),
            LeafKey::P256 => Scheme::Ecdsa(Hash::Sha256),
            LeafKey::P384 => Scheme::Ecdsa(Hash::Sha384),
            LeafKey::P521 => Scheme::Ecdsa(Hash::Sha512),
            LeafKey::Ed25519 => Scheme::Ed25519,
            LeafKey::MlDsa44 | LeafKey::MlDsa65 | LeafKey::MlDsa87 => Scheme::MlDsa(public.algorithm),
        };
        self.sign(PROOF).is_ok_and(|signature| scheme.verify(public, PROOF, &signature) == SignatureCheck::Good)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        Ok(match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)?;
                signature
            }
            Pair::Ec(pair) => pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.try_sign(message)?.as_ref().to_vec(),
            Pair::MlDsa(pair) => {
                let mut signature = vec![0; pair.algorithm().signature_len()];
                pair.sign(message, &mut signature)?;
                signature
            }
        })
    }

    pub(super) fn into_pkcs8(self) -> PrivateKey {
        self.pkcs8
    }
}

/// The only key in `private_key`, in one form or several. Of what is beside it, only a certificate is refused.
pub(super) fn from_pem(text: &str, sent: &mut Sent, problems: &mut Vec<Problem>) {
    if text.len() > KEY_LIMIT {
        return problems.push(Problem::TooLarge { part: "the private key", limit: KEY_LIMIT });
    }
    let place = |line| Location { field: Field::PrivateKey, line };
    let Blocks { found, fault, .. } = pem::blocks(text);
    if let Some((line, fault)) = fault {
        problems.push(Problem::KeyFraming { place: place(line), fault });
    }
    let is_key = |block: &&Block<'_>| block.label.ends_with("PRIVATE KEY");
    let keys: Vec<_> = found.iter().filter(is_key).collect();
    let mut curve = None;
    for block in found.iter().filter(|block| !is_key(block)) {
        match block.label {
            "EC PARAMETERS" => curve = block.decode(),
            label if label.ends_with("CERTIFICATE") => problems.push(Problem::CertificateAsKey(place(block.line))),
            // A public key, a request or parameters beside a key, which tools write together.
            _ if !keys.is_empty() => {}
            label => problems.push(Problem::NotAKey { place: place(block.line), label: text::shown(label) }),
        }
    }
    if found.is_empty() && fault.is_none() {
        problems.push(Problem::KeyMissing);
    }
    for block in &keys {
        sent.push_key(from_block(block, curve.as_deref().map(Vec::as_slice)));
    }
    if sent.keys.len() + sent.key_problems.len() > 1 {
        problems.push(Problem::SeveralKeys { count: keys.len(), leaves: Vec::new() });
        (sent.keys, sent.key_problems) = (Vec::new(), Vec::new());
    }
}

fn from_block(block: &Block<'_>, curve: Option<&[u8]>) -> Result<Key, Problem> {
    if block.is_empty() {
        return Err(Problem::KeyMissing);
    }
    if block.label == "ENCRYPTED PRIVATE KEY" || block.is_encrypted() {
        return Err(Problem::KeyEncrypted);
    }
    let decoded = || block.decode().ok_or(Problem::KeyUnreadable("it is not base64"));
    match block.label {
        label @ ("PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY") => forms::any(&decoded()?, curve, label),
        "OPENSSH PRIVATE KEY" => Err(Problem::KeyUnsupported("OpenSSH, in its own format".to_owned())),
        other => Err(Problem::KeyUnsupported(text::shown(other))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use aws_lc_rs::signature::Ed25519KeyPair;

    use super::*;

    #[test]
    fn debug_hides_the_key_and_the_pem_parses_again() {
        let written = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
        let key = forms::pkcs8(written.as_ref()).unwrap().into_pkcs8();
        assert_eq!(format!("{key:?}"), "PrivateKey");
        let mut again = Sent::default();
        from_pem(&key.pem(), &mut again, &mut Vec::new());
        assert_eq!(again.keys.pop().unwrap().into_pkcs8().pkcs8_der(), key.pkcs8_der());
    }
}
