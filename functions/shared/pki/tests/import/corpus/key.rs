//! Private keys of every kind, in every form that users send.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, PqdsaKeyPair, PqdsaSigningAlgorithm,
    RsaEncoding, RsaKeyPair,
};

use super::der::{NULL, bits, explicit, number, octets, oid, read, read_all, sequence};
use super::openssl;

pub(crate) const RSA: &str = "1.2.840.113549.1.1.1";
pub(crate) const EC: &str = "1.2.840.10045.2.1";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    P256,
    P384,
    P521,
    Ed25519,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    /// Too weak. Made by OpenSSL, since AWS-LC refuses to make one.
    Rsa1024,
    /// A curve of the same size that no TLS client accepts. Made by OpenSSL.
    Secp256k1,
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

pub(crate) struct Key {
    pub(crate) kind: Kind,
    /// Unencrypted PKCS #8 (RFC 5208).
    pub(crate) pkcs8: Vec<u8>,
    pub(crate) spki: Vec<u8>,
}

impl Key {
    pub(crate) fn generate(kind: Kind) -> Self {
        let (pkcs8, spki) = match kind {
            Kind::P256 | Kind::P384 | Kind::P521 => {
                let pair = EcdsaKeyPair::generate(curve(kind)).unwrap();
                (pair.to_pkcs8v1().unwrap().as_ref().to_vec(), spki(pair.public_key()))
            }
            Kind::Ed25519 => {
                let pair = Ed25519KeyPair::generate().unwrap();
                (pair.to_pkcs8v1().unwrap().as_ref().to_vec(), spki(pair.public_key()))
            }
            Kind::Rsa2048 | Kind::Rsa3072 | Kind::Rsa4096 => {
                let pair = RsaKeyPair::generate(size(kind)).unwrap();
                let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                (pkcs8.as_ref().to_vec(), spki(pair.public_key()))
            }
            Kind::MlDsa44 | Kind::MlDsa65 | Kind::MlDsa87 => {
                let pair = PqdsaKeyPair::generate(lattice(kind)).unwrap();
                (pair.to_pkcs8v1().unwrap().as_ref().to_vec(), spki(pair.public_key()))
            }
            Kind::Rsa1024 => by_openssl(&["genrsa", "1024"]),
            Kind::Secp256k1 => by_openssl(&["ecparam", "-name", "secp256k1", "-genkey", "-noout"]),
        };
        Self { kind, pkcs8, spki }
    }

    /// On a curve.
    pub(crate) fn of(kind: Kind, pair: &EcdsaKeyPair) -> Self {
        Self { kind, pkcs8: pair.to_pkcs8v1().unwrap().as_ref().to_vec(), spki: spki(pair.public_key()) }
    }

    /// Shared by kind and number within a process, since RSA keys are slow to make.
    pub(crate) fn shared(kind: Kind, number: u8) -> &'static Self {
        static KEYS: OnceLock<Mutex<HashMap<(Kind, u8), &'static Key>>> = OnceLock::new();
        let mut keys = KEYS.get_or_init(Mutex::default).lock().unwrap();
        keys.entry((kind, number)).or_insert_with(|| Box::leak(Box::new(Self::generate(kind))))
    }

    /// The AlgorithmIdentifier, and this key's signature of the message in a certificate.
    pub(crate) fn sign(&self, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        match self.kind {
            Kind::P256 | Kind::P384 | Kind::P521 => {
                let pair = EcdsaKeyPair::from_pkcs8(curve(self.kind), &self.pkcs8).unwrap();
                (self.algorithm(), pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec())
            }
            Kind::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8(&self.pkcs8).unwrap();
                (self.algorithm(), pair.sign(message).as_ref().to_vec())
            }
            Kind::Rsa2048 | Kind::Rsa3072 | Kind::Rsa4096 => {
                (self.algorithm(), self.sign_rsa(&signature::RSA_PKCS1_SHA256, message))
            }
            Kind::MlDsa44 | Kind::MlDsa65 | Kind::MlDsa87 => {
                let pair = PqdsaKeyPair::from_pkcs8(lattice(self.kind), &self.pkcs8).unwrap();
                let mut signed = vec![0; lattice(self.kind).signature_len()];
                pair.sign(message, &mut signed).unwrap();
                (self.algorithm(), signed)
            }
            Kind::Rsa1024 | Kind::Secp256k1 => (self.algorithm(), openssl::sign(&self.pem(), "sha256", message)),
        }
    }

    pub(crate) fn sign_rsa(&self, padding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let pair = RsaKeyPair::from_pkcs8(&self.pkcs8).unwrap();
        let mut signed = vec![0; pair.public_modulus_len()];
        pair.sign(padding, &SystemRandom::new(), message, &mut signed).unwrap();
        signed
    }

    /// RFC 5758 §3.2, RFC 8410 §3, RFC 4055 §5, RFC 9881 §2.
    pub(crate) fn algorithm(&self) -> Vec<u8> {
        match self.kind {
            Kind::P256 | Kind::Secp256k1 => sequence([oid("1.2.840.10045.4.3.2")]),
            Kind::P384 => sequence([oid("1.2.840.10045.4.3.3")]),
            Kind::P521 => sequence([oid("1.2.840.10045.4.3.4")]),
            Kind::Ed25519 => sequence([oid("1.3.101.112")]),
            Kind::Rsa1024 | Kind::Rsa2048 | Kind::Rsa3072 | Kind::Rsa4096 => {
                sequence([oid("1.2.840.113549.1.1.11"), NULL.to_vec()])
            }
            Kind::MlDsa44 => sequence([oid("2.16.840.1.101.3.4.3.17")]),
            Kind::MlDsa65 => sequence([oid("2.16.840.1.101.3.4.3.18")]),
            Kind::MlDsa87 => sequence([oid("2.16.840.1.101.3.4.3.19")]),
        }
    }

    /// `PRIVATE KEY`
    pub(crate) fn pem(&self) -> String {
        pem("PRIVATE KEY", &self.pkcs8)
    }

    /// RSAPrivateKey (RFC 8017 §A.1.2).
    pub(crate) fn pkcs1(&self) -> Vec<u8> {
        self.inner().to_vec()
    }

    /// ECPrivateKey with its curve (RFC 5915 §3), as `openssl ecparam -genkey` writes it.
    pub(crate) fn sec1(&self) -> Vec<u8> {
        let scalar = read_all(read(self.inner()).0)[1];
        let curve = explicit(0, &oid(self.curve_oid()));
        sequence([number(1), octets(scalar), curve, explicit(1, &bits(self.public()))])
    }

    pub(crate) fn curve_oid(&self) -> &'static str {
        match self.kind {
            Kind::P256 => "1.2.840.10045.3.1.7",
            Kind::P384 => "1.3.132.0.34",
            Kind::P521 => "1.3.132.0.35",
            Kind::Secp256k1 => "1.3.132.0.10",
            other => panic!("{other:?} has no curve"),
        }
    }

    /// The content of the SubjectPublicKeyInfo's BIT STRING.
    pub(crate) fn public(&self) -> &[u8] {
        &read_all(read(&self.spki).0)[1][1..]
    }

    /// The OCTET STRING of PrivateKeyInfo.
    pub(crate) fn inner(&self) -> &[u8] {
        read_all(read(&self.pkcs8).0)[2]
    }
}

/// RFC 7468, lines end in LF.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), config)
}

/// SubjectPublicKeyInfo with any RSA numbers (RFC 4055 §1.2).
pub(crate) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = sequence([super::der::integer(modulus), super::der::integer(exponent)]);
    sequence([sequence([oid(RSA), NULL.to_vec()]), bits(&key)])
}

fn by_openssl(arguments: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let key = openssl::run(arguments, b"");
    let pkcs8 = openssl::run(&["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"], &key);
    (pkcs8, openssl::run(&["pkey", "-pubout", "-outform", "DER"], &key))
}

fn spki<'a>(public: &impl AsDer<PublicKeyX509Der<'a>>) -> Vec<u8> {
    public.as_der().unwrap().as_ref().to_vec()
}

fn curve(kind: Kind) -> &'static EcdsaSigningAlgorithm {
    match kind {
        Kind::P256 => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        Kind::P384 => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        _ => &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
    }
}

fn lattice(kind: Kind) -> &'static PqdsaSigningAlgorithm {
    match kind {
        Kind::MlDsa44 => &signature::ML_DSA_44_SIGNING,
        Kind::MlDsa65 => &signature::ML_DSA_65_SIGNING,
        _ => &signature::ML_DSA_87_SIGNING,
    }
}

fn size(kind: Kind) -> KeySize {
    match kind {
        Kind::Rsa2048 => KeySize::Rsa2048,
        Kind::Rsa3072 => KeySize::Rsa3072,
        _ => KeySize::Rsa4096,
    }
}
