//! A foreign certificate authority: a root, an intermediate, and issued leaves.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use time::{Duration, OffsetDateTime};

/// A leaf with its chain and key, in PEM.
#[derive(Clone)]
pub struct Bundle {
    pub leaf: String,
    pub leaf_der: Vec<u8>,
    pub intermediate: String,
    pub root: String,
    pub key: String,
}

impl Bundle {
    /// For a service on loopback, valid for 90 days.
    pub fn new(host: &str) -> Self {
        Self::lasting(host, Duration::days(90))
    }

    pub fn lasting(host: &str, left: Duration) -> Self {
        Self::made(host, left, &KeyPair::generate().unwrap())
    }

    pub fn made(host: &str, left: Duration, key: &KeyPair) -> Self {
        Self::of(host, left, key, Vec::new())
    }

    /// For TLS clients only.
    pub fn of_client(host: &str) -> Self {
        Self::of(host, Duration::days(90), &KeyPair::generate().unwrap(), vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    fn of(host: &str, left: Duration, key: &KeyPair, purposes: Vec<ExtendedKeyUsagePurpose>) -> Self {
        let now = OffsetDateTime::now_utc();
        let (root_key, intermediate_key) = (new_key(), new_key());
        let root =
            authority(&format!("Root of {host}"), BasicConstraints::Unconstrained).self_signed(&root_key).unwrap();
        let above = Issuer::from_ca_cert_der(root.der(), root_key).unwrap();
        let intermediate = authority(&format!("Intermediate of {host}"), BasicConstraints::Constrained(0));
        let intermediate = intermediate.signed_by(&intermediate_key, &above).unwrap();
        let issuer = Issuer::from_ca_cert_der(intermediate.der(), intermediate_key).unwrap();
        let mut leaf = CertificateParams::new([host.to_owned()]).unwrap();
        leaf.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        leaf.distinguished_name.push(DnType::CommonName, host);
        leaf.not_before = now - Duration::days(1);
        leaf.not_after = now + left;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = purposes;
        leaf.use_authority_key_identifier_extension = true;
        let leaf = leaf.signed_by(key, &issuer).unwrap();
        Self {
            leaf: leaf.pem(),
            leaf_der: leaf.der().to_vec(),
            intermediate: intermediate.pem(),
            root: root.pem(),
            key: key.serialize_pem(),
        }
    }

    pub fn all(&self) -> String {
        [self.leaf.as_str(), &self.intermediate, &self.root].concat()
    }

    pub fn chain(&self) -> String {
        [self.intermediate.as_str(), &self.root].concat()
    }
}

pub fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn authority(name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = OffsetDateTime::now_utc() - Duration::days(30);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(3650);
    params.use_authority_key_identifier_extension = true;
    params
}
