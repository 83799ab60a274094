//! TLS server certificates, for devices and other services.

use rcgen::{
    CertificateParams, CrlDistributionPoint, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, SanType,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use x509_parser::extensions::NameConstraints;

use super::prepared::{IssueError, Issuer, Prepared};
use super::{Serial, key_identifier, validity};
use crate::algorithm::KeyAlgorithm;
use crate::certificate::{Certificate, parse};
use crate::crl::is_url;
use crate::import::constraints;
use crate::subject::{DeviceSubject, InvalidSubject};

/// Everything that determines the bytes of a TLS server certificate, except its key and its issuer. Recorded before the
/// signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeafSpec {
    pub subject: DeviceSubject,
    pub serial: Serial,
    #[serde(with = "time::serde::timestamp")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
    /// URL of the revocation list that covers the certificate (RFC 5280 §4.2.1.13).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<String>,
}

/// Prepares a TLS server certificate, signed by `issuer`. The caller decides the validity, within the issuer's.
pub fn prepare_server_leaf(spec: &LeafSpec, spki_der: &[u8], issuer: &Certificate) -> Result<Prepared, IssueError> {
    if spec.not_before < issuer.not_before() || spec.not_after > issuer.not_after() {
        return Err(IssueError::OutlivesIssuer);
    }
    // Clients would refuse the certificate.
    let subject = &spec.subject;
    let permits =
        |names: &NameConstraints<'_>| constraints::permits(names, subject.dns_names(), subject.ip_addresses());
    if let Some(names) = parse(issuer.der())?.name_constraints().map_err(|_| IssueError::NotAnAuthority)? {
        permits(names.value).map_err(IssueError::Constraints)?;
    }
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    match KeyAlgorithm::of_spki(spki_der)? {
        KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 => {}
        // For the RSA key exchange of TLS 1.2, which old controllers still choose.
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if spec.subject.client_auth() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier(spki_der)?);
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name = spec.subject.attributes().with_common_name(spec.subject.common_name());
    params.subject_alt_names = alternative_names(&spec.subject)?;
    if let Some(url) = &spec.crl {
        if !is_url(url) {
            return Err(IssueError::CrlUrl);
        }
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![url.clone()] }];
    }
    params.serial_number = Some(spec.serial.0.to_vec().into());
    (params.not_before, params.not_after) = validity(spec.not_before, spec.not_after)?;
    Prepared::certificate(params, spki_der, Issuer::of(issuer)?)
}

fn alternative_names(subject: &DeviceSubject) -> Result<Vec<SanType>, IssueError> {
    let dns_name = |name: &String| {
        let text = name.as_str().try_into().map_err(|_| InvalidSubject::DnsName(name.clone()))?;
        Ok::<_, InvalidSubject>(SanType::DnsName(text))
    };
    let mut names = subject.dns_names().iter().map(dns_name).collect::<Result<Vec<_>, _>>()?;
    names.extend(subject.ip_addresses().iter().copied().map(SanType::IpAddress));
    Ok(names)
}
