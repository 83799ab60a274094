//! Local keys in place of KMS: they sign a digest, and have a SubjectPublicKeyInfo.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::CrlId;
use rootcast_pki::root::{Prepared, RootSpec, Serial, Unsigned, prepare_root};
use time::OffsetDateTime;
use time::macros::datetime;

/// The time of all these tests.
pub(crate) const TODAY: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

/// Where the lists are served.
pub(crate) const CRLS: &str = "http://pki.example.com/";

pub(crate) struct Key {
    pub(crate) algorithm: KeyAlgorithm,
    pub(crate) spki_der: Vec<u8>,
    pair: Pair,
    roots: Mutex<HashMap<u32, Certificate>>,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Self {
        let ecdsa = |kind| Pair::Ecdsa(EcdsaKeyPair::generate(kind).unwrap());
        let rsa = |size| Pair::Rsa(RsaKeyPair::generate(size).unwrap());
        let pair = match algorithm {
            KeyAlgorithm::EcdsaP256 => ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyAlgorithm::EcdsaP384 => ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyAlgorithm::Rsa2048 => rsa(KeySize::Rsa2048),
            KeyAlgorithm::Rsa3072 => rsa(KeySize::Rsa3072),
            KeyAlgorithm::Rsa4096 => rsa(KeySize::Rsa4096),
        };
        let spki: PublicKeyX509Der<'_> = match &pair {
            Pair::Ecdsa(pair) => pair.public_key().as_der().unwrap(),
            Pair::Rsa(pair) => pair.public_key().as_der().unwrap(),
        };
        Self { algorithm, spki_der: spki.as_ref().to_vec(), pair, roots: Mutex::default() }
    }

    /// One key per kind and process, since RSA keys are slow to make.
    pub(crate) fn shared(algorithm: KeyAlgorithm) -> &'static Self {
        static KEYS: [OnceLock<Key>; 5] = [const { OnceLock::new() }; 5];
        let index = KeyAlgorithm::ALL.iter().position(|each| *each == algorithm).unwrap();
        KEYS[index].get_or_init(|| Self::generate(algorithm))
    }

    /// Like `kms:Sign` with `MessageType` DIGEST: ECDSA as DER, RSA with PKCS #1 v1.5.
    pub(crate) fn sign(&self, digest: &[u8]) -> Vec<u8> {
        let (hash, padding): (_, &'static dyn RsaEncoding) = match digest.len() {
            32 => (&digest::SHA256, &signature::RSA_PKCS1_SHA256),
            _ => (&digest::SHA384, &signature::RSA_PKCS1_SHA384),
        };
        let digest = Digest::import_less_safe(digest, hash).unwrap();
        match &self.pair {
            Pair::Ecdsa(pair) => pair.sign_digest(&digest).unwrap().as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign_digest(padding, &digest, &mut signed).unwrap();
                signed
            }
        }
    }

    pub(crate) fn complete<T: Unsigned>(&self, prepared: Prepared<T>) -> T::Signed {
        let signature = self.sign(&prepared.digest());
        prepared.complete(&signature).unwrap()
    }

    /// This key's root: two years old at generation 5, one year old at generation 6, and so on. Always the same
    /// certificate: another ECDSA signature would make another one.
    pub(crate) fn root(&self, generation: u32) -> Certificate {
        let make = || self.complete(prepare_root(&self.root_spec(generation), &self.spki_der).unwrap());
        self.roots.lock().unwrap().entry(generation).or_insert_with(make).clone()
    }

    pub(crate) fn root_spec(&self, generation: u32) -> RootSpec {
        let not_before = TODAY - time::Duration::days(365 * (7 - i64::from(generation)));
        RootSpec {
            generation,
            root_name: "Rootcast Root".to_owned(),
            subject: "OU=Fleet,O=Example Corp,ST=Berlin,C=DE".parse().unwrap(),
            algorithm: self.algorithm,
            serial: Serial::from_random([generation.to_be_bytes()[3]; 16]),
            not_before,
            not_after: not_before + time::Duration::days(3650),
            permitted: Default::default(),
            crl: Some(CrlId::authorities(generation).url(CRLS)),
        }
    }
}
