//! The accepted forms of a private key, and the stored one. Stricter than AWS-LC: any part that could be changed
//! without being noticed is refused.

use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair, RsaKeyPair,
};
use x509_parser::asn1_rs::Tag;

use super::{Key, Pair, PrivateKey};
use crate::import::Secret;
use crate::import::der::{dotted, element, identifier, oid_of, sequence, tagged, tlv};
use crate::import::problem::Problem;
use crate::import::public_key::{self, KeyFault, Kind, LeafKey, PublicKey};

/// OneAsymmetricKey (RFC 5958 §2); its version 1 is PrivateKeyInfo of RFC 5208. Attributes are dropped.
pub(in crate::import) fn pkcs8(der: &[u8]) -> Result<Key, Problem> {
    let malformed = || Problem::KeyUnreadable("it is not PKCS#8");
    let content = sequence(der).ok_or_else(malformed)?;
    let (rest, version) = element(content, Tag::Integer).ok_or_else(malformed)?;
    let (rest, algorithm) = element(rest, Tag::Sequence).ok_or_else(malformed)?;
    let (rest, inner) = element(rest, Tag::OctetString).ok_or_else(malformed)?;
    let (oid, parameters) = identifier(algorithm).ok_or_else(malformed)?;
    let public = match (version, options(rest).ok_or_else(malformed)?) {
        // RFC 5958 has the version follow from the public key; OpenSSL reads version 2 without one.
        ([0 | 1], None) => None,
        ([1], Some(public)) => Some(public),
        _ => return Err(malformed()),
    };
    let curve = || parameters.as_ref().and_then(oid_of);
    let kind = public_key::algorithm_of(&oid, curve).map_err(refused)?;
    // RFC 8017 A.1 requires NULL for RSA; RFC 8410 §3 and RFC 9881 §2 require no parameters for the others.
    let fits = match (&kind, &parameters) {
        (Kind::Rsa, Some(null)) => null.header.tag() == Tag::Null && null.data.is_empty(),
        (Kind::Other(LeafKey::P256 | LeafKey::P384 | LeafKey::P521), _) | (_, None) => true,
        _ => false,
    };
    let key = match kind {
        _ if !fits => return Err(malformed()),
        Kind::Rsa => pkcs1(inner)?,
        Kind::Other(algorithm @ (LeafKey::P256 | LeafKey::P384 | LeafKey::P521)) => ec(algorithm, inner)?,
        Kind::Other(LeafKey::Ed25519) => {
            let der = private_key_info(ED25519, inner);
            let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(|_| inconsistent())?;
            Key { algorithm: LeafKey::Ed25519, pair: Pair::Ed25519(pair), pkcs8: PrivateKey { der } }
        }
        Kind::Other(algorithm) => ml_dsa(algorithm, inner)?,
    };
    match public {
        Some(bits) if !is_public(key.algorithm, bits, key.public_bits()) => Err(inconsistent()),
        _ => Ok(key),
    }
}

/// Whether a BIT STRING, whose first byte counts its unused bits, has this public key.
fn is_public(algorithm: LeafKey, bits: &[u8], public: &[u8]) -> bool {
    matches!(bits.split_first(), Some((0, bits)) if PublicKey { algorithm, bits }.is(public))
}

/// By its content: people write labels by hand, and OpenSSL 3 ignores them too. PKCS#8 has an AlgorithmIdentifier where
/// PKCS#1 has a number and SEC1 has the scalar.
pub(super) fn any(der: &[u8], curve: Option<&[u8]>, label: &str) -> Result<Key, Problem> {
    let second = sequence(der).and_then(|content| element(content, Tag::Integer)).map(|(rest, _)| rest);
    let is = |tag| second.is_some_and(|second| element(second, tag).is_some());
    let encrypted = || element(sequence(der)?, Tag::Sequence).and_then(|(rest, _)| element(rest, Tag::OctetString));
    match label {
        _ if is(Tag::Sequence) => pkcs8(der),
        _ if is(Tag::OctetString) => sec1(der, curve),
        _ if is(Tag::Integer) => pkcs1(der),
        _ if encrypted().is_some() => Err(Problem::KeyEncrypted),
        "RSA PRIVATE KEY" => pkcs1(der),
        "EC PRIVATE KEY" => sec1(der, curve),
        _ => pkcs8(der),
    }
}

/// RSAPrivateKey (RFC 8017 A.1.2), the content of PKCS#1. Its size is checked before AWS-LC computes with it.
fn pkcs1(der: &[u8]) -> Result<Key, Problem> {
    let malformed = || Problem::KeyUnreadable("it is not PKCS#1");
    let content = sequence(der).ok_or_else(malformed)?;
    let (rest, version) = element(content, Tag::Integer).ok_or_else(malformed)?;
    let (rest, modulus) = element(rest, Tag::Integer).ok_or_else(malformed)?;
    let (_, exponent) = element(rest, Tag::Integer).ok_or_else(malformed)?;
    let algorithm = public_key::rsa_numbers(modulus, exponent).map_err(refused)?;
    if version == [1] {
        return Err(Problem::KeyUnsupported("RSA with more than two primes".to_owned()));
    }
    let pair = RsaKeyPair::from_der(der).map_err(|_| inconsistent())?;
    Ok(Key { algorithm, pair: Pair::Rsa(pair), pkcs8: PrivateKey { der: private_key_info(RSA, der) } })
}

/// ECPrivateKey (RFC 5915 §3). The curve is in it or in the block before it.
fn sec1(der: &[u8], before: Option<&[u8]>) -> Result<Key, Problem> {
    let inside = ec_parts(der).ok_or(Problem::KeyUnreadable("it is not SEC1"))?;
    let curve = || element(inside.parameters.or(before)?, Tag::Oid).and_then(|(_, oid)| dotted(oid));
    match public_key::algorithm_of("1.2.840.10045.2.1", curve).map_err(refused)? {
        Kind::Other(algorithm) => ec(algorithm, der),
        Kind::Rsa => Err(inconsistent()),
    }
}

/// Parts of an ECPrivateKey.
struct EcParts<'a> {
    secret: &'a [u8],
    parameters: Option<&'a [u8]>,
    public: Option<&'a [u8]>,
}

/// AWS-LC ignores many parts that do not belong there, so they are checked here.
fn ec_parts(der: &[u8]) -> Option<EcParts<'_>> {
    let (rest, version) = element(sequence(der)?, Tag::Integer)?;
    let (rest, secret) = element(rest, Tag::OctetString)?;
    let (rest, parameters) = tagged(rest, 0, true).map_or((rest, None), |(rest, found)| (rest, Some(found)));
    let (rest, public) = tagged(rest, 1, true).map_or((rest, None), |(rest, found)| (rest, Some(found)));
    let public = match public {
        Some(public) => Some(element(public, Tag::BitString)?.1),
        None => None,
    };
    (version == [1] && rest.is_empty()).then_some(EcParts { secret, parameters, public })
}

fn ec(algorithm: LeafKey, der: &[u8]) -> Result<Key, Problem> {
    let (signing, identifier, octets) = match algorithm {
        LeafKey::P256 => (&ECDSA_P256_SHA256_ASN1_SIGNING, P256, 32),
        LeafKey::P384 => (&ECDSA_P384_SHA384_ASN1_SIGNING, P384, 48),
        _ => (&ECDSA_P521_SHA512_ASN1_SIGNING, P521, 66),
    };
    let EcParts { secret, parameters, public } = ec_parts(der).ok_or(Problem::KeyUnreadable("it is not SEC1"))?;
    // AWS-LC takes the numbers of a known curve for its name, and any number of zeros before a scalar. One is mbed TLS's.
    if parameters.is_some_and(|parameters| element(parameters, Tag::Oid).is_none()) {
        return Err(Problem::KeyUnsupported(public_key::NAMELESS.to_owned()));
    }
    if secret.len() > octets + 1 {
        return Err(inconsistent());
    }
    let pair = EcdsaKeyPair::from_private_key_der(signing, der).map_err(|_| inconsistent())?;
    if !public.is_none_or(|bits| is_public(algorithm, bits, pair.public_key().as_ref())) {
        return Err(inconsistent());
    }
    let secret = pair.private_key().as_be_bytes().map_err(|_| inconsistent())?;
    let inner = ec_private_key(secret.as_ref(), pair.public_key().as_ref());
    Ok(Key { algorithm, pair: Pair::Ec(pair), pkcs8: PrivateKey { der: private_key_info(identifier, &inner) } })
}

/// The three forms of RFC 9881 §6: seed, expanded key, or both. The form that was sent is kept. OpenSSL 3.5 also reads a
/// seed or an expanded key as it is, without a tag; they are told by their length.
fn ml_dsa(algorithm: LeafKey, inner: &[u8]) -> Result<Key, Problem> {
    const SEED: usize = 32;
    // FIPS 204, table 2.
    let (signing, identifier, expanded) = match algorithm {
        LeafKey::MlDsa44 => (&ML_DSA_44_SIGNING, ML_DSA_44, 2560),
        LeafKey::MlDsa65 => (&ML_DSA_65_SIGNING, ML_DSA_65, 4032),
        _ => (&ML_DSA_87_SIGNING, ML_DSA_87, 4896),
    };
    let der = match inner.len() {
        SEED => private_key_info(identifier, &tlv(0x80, &[inner])),
        length if length == expanded => private_key_info(identifier, &tlv(0x04, &[inner])),
        _ => private_key_info(identifier, inner),
    };
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

/// DER of AlgorithmIdentifier: RFC 8017 A.1, RFC 5480 §2.1.1, RFC 8410 §3, RFC 9881 §2.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
const P256: &[u8] = b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
const P521: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23";
const ED25519: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70";
const ML_DSA_44: &[u8] = b"\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x11";
const ML_DSA_65: &[u8] = b"\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x12";
const ML_DSA_87: &[u8] = b"\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x13";

/// PrivateKeyInfo: version 0, the algorithm, the key.
fn private_key_info(algorithm: &[u8], key: &[u8]) -> Secret {
    tlv(0x30, &[&[0x02, 0x01, 0x00], algorithm, &tlv(0x04, &[key])])
}

/// ECPrivateKey (RFC 5915 §3): version 1, the secret, and the public key as an uncompressed point.
fn ec_private_key(secret: &[u8], public: &[u8]) -> Secret {
    let public = tlv(0xa1, &[&tlv(0x03, &[&[0], public])]);
    tlv(0x30, &[&[0x02, 0x01, 0x01], &tlv(0x04, &[secret]), &public])
}

/// Parses what follows the key: attributes [0] and the public key [1], each at most once. Returns the public key;
/// `None` if anything else follows. RFC 5958 has [1] implicit; ring, and so rcgen, wrote it explicit for years.
fn options(rest: &[u8]) -> Option<Option<&[u8]>> {
    let rest = tagged(rest, 0, true).map_or(rest, |(rest, _attributes)| rest);
    let (rest, public) = match (tagged(rest, 1, false), tagged(rest, 1, true)) {
        (Some((rest, bits)), _) => (rest, Some(bits)),
        (_, Some((rest, explicit))) => {
            (rest, Some(element(explicit, Tag::BitString).filter(|(after, _)| after.is_empty())?.1))
        }
        _ => (rest, None),
    };
    rest.is_empty().then_some(public)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use aws_lc_rs::encoding::{AsDer, AsRawBytes};

    use super::*;

    #[test]
    fn lengths_are_written_as_der_requires() {
        for (length, start) in
            [(127, &[4, 0x7f][..]), (128, &[4, 0x81, 0x80]), (255, &[4, 0x81, 255]), (256, &[4, 0x82, 1, 0])]
        {
            assert!(tlv(4, &[&vec![7; length]]).starts_with(start), "{length}");
        }
    }

    #[test]
    fn a_key_is_stored_as_aws_lc_would_write_it() {
        let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let written = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        assert_eq!(pkcs8(written.as_ref()).unwrap().into_pkcs8().pkcs8_der(), written.as_ref());

        let written = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
        assert_eq!(pkcs8(written.as_ref()).unwrap().into_pkcs8().pkcs8_der(), written.as_ref());

        for signing in
            [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING]
        {
            let written = EcdsaKeyPair::generate(signing).unwrap().to_pkcs8v1().unwrap();
            assert_eq!(pkcs8(written.as_ref()).unwrap().into_pkcs8().pkcs8_der(), written.as_ref());
        }

        for (signing, name) in
            [(&ML_DSA_44_SIGNING, "ML-DSA-44"), (&ML_DSA_65_SIGNING, "ML-DSA-65"), (&ML_DSA_87_SIGNING, "ML-DSA-87")]
        {
            let written = PqdsaKeyPair::generate(signing).unwrap().to_pkcs8v1().unwrap();
            let key = pkcs8(written.as_ref()).unwrap();
            assert_eq!(key.algorithm.to_string(), name);
            assert_eq!(key.into_pkcs8().pkcs8_der(), written.as_ref());
        }
    }

    #[test]
    fn ml_dsa_keys_are_read_in_each_form_with_and_without_tags() {
        for (signing, algorithm) in [
            (&ML_DSA_44_SIGNING, LeafKey::MlDsa44),
            (&ML_DSA_65_SIGNING, LeafKey::MlDsa65),
            (&ML_DSA_87_SIGNING, LeafKey::MlDsa87),
        ] {
            let written = PqdsaKeyPair::generate(signing).unwrap().to_pkcs8v1().unwrap();
            // [0] with the seed, which is the last of the three elements.
            let (_, seed) = written.as_ref().split_at(written.as_ref().len() - 32);
            let pair = PqdsaKeyPair::from_pkcs8(signing, written.as_ref()).unwrap();
            let expanded = pair.private_key().as_raw_bytes().unwrap();
            let expanded = expanded.as_ref();
            let both = tlv(0x30, &[&tlv(0x04, &[seed]), &tlv(0x04, &[expanded])]);
            for inner in [&tlv(0x80, &[seed])[..], seed, &tlv(0x04, &[expanded]), expanded, &both] {
                let public = ml_dsa(algorithm, inner).map(|key| key.public_bits().to_vec());
                assert_eq!(public, Ok(pair.public_key().as_ref().to_vec()), "{algorithm}, {} bytes", inner.len());
            }
            let other = tlv(0x30, &[&tlv(0x04, &[&[7; 32]]), &tlv(0x04, &[expanded])]);
            assert!(ml_dsa(algorithm, &other).is_err(), "another seed");
        }
    }
}
