//! The private key: read once, in whatever form, and kept as unencrypted PKCS#8.

use std::fmt;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::asn1_rs::Tag;
use zeroize::Zeroizing;

use super::der::{dotted, element, identifier, oid_of, sequence, tagged};
use super::pem::{self, Block};
use super::problem::{Field, Place, Problem};
use super::public_key::{self, KeyFault, Kind, LeafKey, PublicKey};
use super::signature::{Hash, Scheme, Verdict};
use super::{KEY_LIMIT, Secret, text};

/// A private key as unencrypted PKCS#8 (RFC 5958, version 1), the same for the same key whatever form it came in.
/// Overwritten when dropped.
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
        // All of it at once: a text that grows leaves copies behind.
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

/// Shows nothing of the key.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

/// A key that AWS-LC found consistent, ready to sign.
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

/// What is signed to prove that a key is a certificate's: no message of any protocol, so of no other use.
const PROOF: &[u8] = b"rootcast import: this key belongs to this certificate";

impl Key {
    /// As `subjectPublicKey` holds it, an EC point uncompressed.
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
        self.sign(PROOF).is_ok_and(|signature| scheme.verify(public, PROOF, &signature) == Verdict::Good)
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

/// The one key of `private_key`. An `EC PARAMETERS` block, which OpenSSL writes before a SEC1 key, may stand beside it.
pub(super) fn from_pem(text: &str, problems: &mut Vec<Problem>) -> Option<Key> {
    if text.len() > KEY_LIMIT {
        problems.push(Problem::TooLarge { part: "the private key", limit: KEY_LIMIT });
        return None;
    }
    let place = |line| Place { field: Field::PrivateKey, line };
    let (blocks, fault) = pem::blocks(text);
    if let Some((line, fault)) = fault {
        problems.push(Problem::KeyFraming { place: place(line), fault });
    }
    let mut keys = Vec::new();
    let mut curve = None;
    for block in &blocks {
        match block.label {
            "EC PARAMETERS" => curve = block.decode(),
            label if label.ends_with("PRIVATE KEY") => keys.push(block),
            label if label.ends_with("CERTIFICATE") => problems.push(Problem::CertificateAsKey(place(block.line))),
            label => problems.push(Problem::NotAKey { place: place(block.line), label: text::shown(label) }),
        }
    }
    let read = match keys.as_slice() {
        [] if blocks.is_empty() && fault.is_none() => Err(Problem::KeyMissing),
        [] => return None,
        [only] => from_block(only, curve),
        several => Err(Problem::SeveralKeys(several.len())),
    };
    read.map_err(|problem| problems.push(problem)).ok()
}

fn from_block(block: &Block<'_>, curve: Option<Secret>) -> Result<Key, Problem> {
    if block.is_empty() {
        return Err(Problem::KeyMissing);
    }
    if block.label == "ENCRYPTED PRIVATE KEY" || block.is_encrypted() {
        return Err(Problem::KeyEncrypted);
    }
    let decoded = || block.decode().ok_or(Problem::KeyUnreadable("it is not base64"));
    match block.label {
        "PRIVATE KEY" => from_pkcs8(&decoded()?),
        "RSA PRIVATE KEY" => rsa(&decoded()?),
        "EC PRIVATE KEY" => sec1(&decoded()?, curve.as_deref().map(Vec::as_slice)),
        "OPENSSH PRIVATE KEY" => Err(Problem::KeyUnsupported("OpenSSH, in its own format".to_owned())),
        other => Err(Problem::KeyUnsupported(text::shown(other))),
    }
}

/// OneAsymmetricKey (RFC 5958 §2), of which PrivateKeyInfo of RFC 5208 is version 1. Attributes are dropped.
pub(super) fn from_pkcs8(der: &[u8]) -> Result<Key, Problem> {
    let malformed = || Problem::KeyUnreadable("it is not PKCS#8");
    let content = sequence(der).ok_or_else(malformed)?;
    let (rest, version) = element(content, Tag::Integer).ok_or_else(malformed)?;
    let (rest, algorithm) = element(rest, Tag::Sequence).ok_or_else(malformed)?;
    let (rest, inner) = element(rest, Tag::OctetString).ok_or_else(malformed)?;
    let (oid, parameters) = identifier(algorithm).ok_or_else(malformed)?;
    let public = match (version, options(rest).ok_or_else(malformed)?) {
        ([0], None) => None,
        ([1], Some(public)) => Some(public),
        _ => return Err(malformed()),
    };
    let curve = || parameters.as_ref().and_then(oid_of);
    let kind = public_key::algorithm_of(&oid, curve).map_err(refused)?;
    // RFC 8017 A.1 wants NULL with RSA, RFC 8410 §3 and RFC 9881 §2 nothing with the others.
    let fits = match (&kind, &parameters) {
        (Kind::Rsa, Some(null)) => null.header.tag() == Tag::Null && null.data.is_empty(),
        (Kind::Other(LeafKey::P256 | LeafKey::P384 | LeafKey::P521), _) | (_, None) => true,
        _ => false,
    };
    let key = match kind {
        _ if !fits => return Err(malformed()),
        Kind::Rsa => rsa(inner)?,
        Kind::Other(algorithm @ (LeafKey::P256 | LeafKey::P384 | LeafKey::P521)) => ec(algorithm, inner)?,
        Kind::Other(LeafKey::Ed25519) => {
            let der = pkcs8(ED25519, inner);
            let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(|_| inconsistent())?;
            Key { algorithm: LeafKey::Ed25519, pair: Pair::Ed25519(pair), pkcs8: PrivateKey { der } }
        }
        Kind::Other(algorithm) => ml_dsa(algorithm, inner)?,
    };
    match public {
        // The first byte of a BIT STRING counts its unused bits.
        Some(bits) if bits.split_first() != Some((&0, key.public_bits())) => Err(inconsistent()),
        _ => Ok(key),
    }
}

/// RSAPrivateKey (RFC 8017 A.1.2), the content of PKCS#1. Its size is looked at before AWS-LC computes with it.
fn rsa(der: &[u8]) -> Result<Key, Problem> {
    let malformed = || Problem::KeyUnreadable("it is not PKCS#1");
    let content = sequence(der).ok_or_else(malformed)?;
    let (rest, _version) = element(content, Tag::Integer).ok_or_else(malformed)?;
    let (rest, modulus) = element(rest, Tag::Integer).ok_or_else(malformed)?;
    let (_, exponent) = element(rest, Tag::Integer).ok_or_else(malformed)?;
    let algorithm = public_key::rsa_numbers(modulus, exponent).map_err(refused)?;
    let pair = RsaKeyPair::from_der(der).map_err(|_| inconsistent())?;
    Ok(Key { algorithm, pair: Pair::Rsa(pair), pkcs8: PrivateKey { der: pkcs8(RSA, der) } })
}

/// ECPrivateKey (RFC 5915 §3), whose curve is in it or in the block before it.
fn sec1(der: &[u8], before: Option<&[u8]>) -> Result<Key, Problem> {
    let inside = ec_parts(der).ok_or(Problem::KeyUnreadable("it is not SEC1"))?;
    let curve = || element(inside.parameters.or(before)?, Tag::Oid).and_then(|(_, oid)| dotted(oid));
    match public_key::algorithm_of("1.2.840.10045.2.1", curve).map_err(refused)? {
        Kind::Other(algorithm) => ec(algorithm, der),
        Kind::Rsa => Err(inconsistent()),
    }
}

/// What an ECPrivateKey may hold beside the secret.
struct EcParts<'a> {
    parameters: Option<&'a [u8]>,
    public: Option<&'a [u8]>,
}

/// AWS-LC reads past much that does not belong there.
fn ec_parts(der: &[u8]) -> Option<EcParts<'_>> {
    let (rest, version) = element(sequence(der)?, Tag::Integer)?;
    let (rest, _secret) = element(rest, Tag::OctetString)?;
    let (rest, parameters) = tagged(rest, 0, true).map_or((rest, None), |(rest, found)| (rest, Some(found)));
    let (rest, public) = tagged(rest, 1, true).map_or((rest, None), |(rest, found)| (rest, Some(found)));
    let public = match public {
        Some(public) => Some(element(public, Tag::BitString)?.1),
        None => None,
    };
    (version == [1] && rest.is_empty()).then_some(EcParts { parameters, public })
}

fn ec(algorithm: LeafKey, der: &[u8]) -> Result<Key, Problem> {
    let signing = match algorithm {
        LeafKey::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        LeafKey::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        _ => &ECDSA_P521_SHA512_ASN1_SIGNING,
    };
    let EcParts { public, .. } = ec_parts(der).ok_or(Problem::KeyUnreadable("it is not SEC1"))?;
    let pair = EcdsaKeyPair::from_private_key_der(signing, der).map_err(|_| inconsistent())?;
    // The first byte of a BIT STRING counts its unused bits.
    let same = |bits: &[u8]| {
        bits.split_first()
            .is_some_and(|(unused, bits)| *unused == 0 && PublicKey { algorithm, bits }.is(pair.public_key().as_ref()))
    };
    if !public.is_none_or(same) {
        return Err(inconsistent());
    }
    let document = pair.to_pkcs8v1().map_err(|_| inconsistent())?;
    let pkcs8 = PrivateKey { der: Secret::new(document.as_ref().to_vec()) };
    Ok(Key { algorithm, pair: Pair::Ec(pair), pkcs8 })
}

/// The three forms of RFC 9881 §6: seed, expanded key, or both. The form that was sent is kept.
fn ml_dsa(algorithm: LeafKey, inner: &[u8]) -> Result<Key, Problem> {
    let (signing, identifier) = match algorithm {
        LeafKey::MlDsa44 => (&ML_DSA_44_SIGNING, ML_DSA_44),
        LeafKey::MlDsa65 => (&ML_DSA_65_SIGNING, ML_DSA_65),
        _ => (&ML_DSA_87_SIGNING, ML_DSA_87),
    };
    let der = pkcs8(identifier, inner);
    let pair = PqdsaKeyPair::from_pkcs8(signing, &der).map_err(|_| inconsistent())?;
    Ok(Key { algorithm, pair: Pair::MlDsa(Box::new(pair)), pkcs8: PrivateKey { der } })
}

fn inconsistent() -> Problem {
    Problem::KeyUnreadable("its parts are damaged or do not fit each other")
}

fn refused(fault: KeyFault) -> Problem {
    match fault {
        KeyFault::Weak(what) => Problem::KeyWeak(what),
        KeyFault::Unsupported(what) => Problem::KeyUnsupported(what),
    }
}

/// DER of AlgorithmIdentifier: RFC 8017 A.1, RFC 8410 §3, RFC 9881 §2.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
const ED25519: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70";
const ML_DSA_44: &[u8] = b"\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x11";
const ML_DSA_65: &[u8] = b"\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12";
const ML_DSA_87: &[u8] = b"\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x13";

/// PrivateKeyInfo: version 0, the algorithm, the key.
fn pkcs8(algorithm: &[u8], key: &[u8]) -> Secret {
    let (octets, octets_length) = header(0x04, key.len());
    let content = 3 + algorithm.len() + octets_length + key.len();
    let (outer, outer_length) = header(0x30, content);
    let mut der = Secret::new(Vec::with_capacity(outer_length + content));
    der.extend_from_slice(&outer[..outer_length]);
    der.extend_from_slice(&[0x02, 0x01, 0x00]);
    der.extend_from_slice(algorithm);
    der.extend_from_slice(&octets[..octets_length]);
    der.extend_from_slice(key);
    der
}

/// Tag and length (X.690 §10.1), up to 65535, and how many bytes they take.
fn header(tag: u8, length: usize) -> ([u8; 4], usize) {
    let [.., high, low] = length.to_be_bytes();
    match length {
        0..=0x7f => ([tag, low, 0, 0], 2),
        0x80..=0xff => ([tag, 0x81, low, 0], 3),
        _ => ([tag, 0x82, high, low], 4),
    }
}

/// After the key: attributes [0] and the public key [1], each at most once. Gives the latter; `None` where there is
/// more.
fn options(rest: &[u8]) -> Option<Option<&[u8]>> {
    let rest = tagged(rest, 0, true).map_or(rest, |(rest, _attributes)| rest);
    let (rest, public) = tagged(rest, 1, false).map_or((rest, None), |(rest, found)| (rest, Some(found)));
    rest.is_empty().then_some(public)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use aws_lc_rs::encoding::AsDer;

    use super::*;

    #[test]
    fn lengths_are_written_as_der_wants_them() {
        assert_eq!(header(0x04, 127), ([0x04, 0x7f, 0, 0], 2));
        assert_eq!(header(0x04, 128), ([0x04, 0x81, 0x80, 0], 3));
        assert_eq!(header(0x30, 256), ([0x30, 0x82, 1, 0], 4));
    }

    #[test]
    fn a_key_is_kept_as_aws_lc_itself_would_write_it() {
        let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let written = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        assert_eq!(from_pkcs8(written.as_ref()).unwrap().into_pkcs8().pkcs8_der(), written.as_ref());

        let written = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
        assert_eq!(from_pkcs8(written.as_ref()).unwrap().into_pkcs8().pkcs8_der(), written.as_ref());

        for (signing, name) in
            [(&ML_DSA_44_SIGNING, "ML-DSA-44"), (&ML_DSA_65_SIGNING, "ML-DSA-65"), (&ML_DSA_87_SIGNING, "ML-DSA-87")]
        {
            let written = PqdsaKeyPair::generate(signing).unwrap().to_pkcs8v1().unwrap();
            let key = from_pkcs8(written.as_ref()).unwrap();
            assert_eq!(key.algorithm.to_string(), name);
            assert_eq!(key.into_pkcs8().pkcs8_der(), written.as_ref());
        }
    }

    #[test]
    fn debug_shows_nothing_and_the_pem_is_read_again() {
        let written = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
        let key = from_pkcs8(written.as_ref()).unwrap().into_pkcs8();
        assert_eq!(format!("{key:?}"), "PrivateKey");
        let again = from_pem(&key.pem(), &mut Vec::new()).unwrap();
        assert_eq!(again.into_pkcs8().pkcs8_der(), key.pkcs8_der());
    }
}
