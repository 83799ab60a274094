//! A key that signs statements, in place of KMS's. For the tests of whoever makes or verifies them, in other crates too.

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rootcast_pki::notary::NotaryKey;

pub(crate) struct Key(EcdsaKeyPair);

impl Key {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    pub(crate) fn public(&self) -> NotaryKey {
        NotaryKey::from_spki(&self.spki()).unwrap()
    }

    /// Like `kms:Sign` with `MessageType` DIGEST.
    pub(crate) fn sign_digest(&self, digest: &[u8]) -> Vec<u8> {
        self.0.sign_digest(&Digest::import_less_safe(digest, &SHA256).unwrap()).unwrap().as_ref().to_vec()
    }

    /// As a JWS.
    pub(crate) fn sign(&self, payload: &[u8]) -> String {
        let public = self.public();
        let unsigned = public.sign(payload);
        let signature = self.sign_digest(&unsigned.digest());
        unsigned.complete(&signature).unwrap()
    }
}
