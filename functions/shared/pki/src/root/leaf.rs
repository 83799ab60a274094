//! TLS server certificates, for devices and other services.

use std::borrow::Cow;
use std::net::IpAddr;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, SanType};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::prepared::{IssueError, Issuer, Prepared};
use super::{Serial, distribution_points, key_identifier, validity};
use crate::algorithm::KeyAlgorithm;
use crate::certificate::{Certificate, parse};
use crate::import::constraints;
use crate::permitted::HostName;
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
    let common_name = constrained(&spec.subject, issuer)?;
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
    params.distinguished_name = spec.subject.attributes().with_common_name(&common_name);
    params.subject_alt_names = alternative_names(&spec.subject)?;
    params.crl_distribution_points = distribution_points(spec.crl.as_deref())?;
    params.serial_number = Some(spec.serial.0.to_vec().into());
    (params.not_before, params.not_after) = validity(spec.not_before, spec.not_after)?;
    Prepared::certificate(params, spki_der, Issuer::of(issuer)?)
}

/// Refuses names that the issuer does not certify, since clients would. Returns the common name to be written.
fn constrained<'a>(subject: &'a DeviceSubject, issuer: &Certificate) -> Result<Cow<'a, str>, IssueError> {
    let common_name = subject.common_name();
    let parsed = parse(issuer.der())?;
    let Some(limits) = parsed.name_constraints().map_err(|_| IssueError::NotAnAuthority)? else {
        return Ok(common_name.into());
    };
    let permits = |names: &[String], addresses: &[IpAddr]| {
        constraints::permits(limits.value, names, addresses).map_err(IssueError::Constraints)
    };
    permits(subject.dns_names(), subject.ip_addresses())?;
    // If no DNS name is beside it, OpenSSL takes a common name for one, even an IPv4 address unless it is in brackets.
    match HostName::in_text(common_name).filter(|_| subject.dns_names().is_empty()) {
        Some(HostName::Address(IpAddr::V4(address))) => return Ok(format!("[{address}]").into()),
        Some(HostName::Name { .. }) => permits(&[common_name.to_owned()], &[])?,
        Some(HostName::Address(_)) | None => {}
    }
    Ok(common_name.into())
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
