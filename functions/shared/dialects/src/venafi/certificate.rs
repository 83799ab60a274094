//! A certificate in Venafi's format.
//!
//! Source: the models `Certificate`, `X509`, `CertificateDetails` and `ProcessingDetails` of `pyvenafi` 1.1.0, and the
//! examples of Venafi's pages "GET Certificates" and "GET Certificates/{guid}".

use std::net::IpAddr;

use rootcast_core::deployment::lifecycle::{Entry, Lifecycle};
use rootcast_core::inventory::dn::application_dn;
use rootcast_core::inventory::guid::CertificateGuid;
use rootcast_ledger::{CertificateOrPending, CertificateRecord, UseRecord};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::filter::parent_dn;

/// A certificate in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    created_on: String,
    #[serde(rename = "DN")]
    dn: String,
    guid: String,
    name: String,
    parent_dn: String,
    schema_class: &'static str,
    /// Absent until a certificate is issued.
    #[serde(rename = "X509", skip_serializing_if = "Option::is_none")]
    x509: Option<X509>,
    #[serde(rename = "_links")]
    links: [Link; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Link {
    details: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct X509 {
    #[serde(rename = "CN")]
    cn: Option<String>,
    issuer: String,
    #[serde(flatten)]
    key: Key,
    #[serde(rename = "SANS")]
    sans: Names,
    serial: String,
    subject: String,
    thumbprint: String,
    valid_from: String,
    valid_to: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
struct Names {
    dns: Vec<String>,
    ip: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Key {
    /// `RSA` or `ECC`, or the algorithm's own name if Venafi has none for it.
    key_algorithm: String,
    /// In bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_size: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elliptic_curve: Option<&'static str>,
}

/// A certificate with all its details.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CertificateView {
    /// Absent until a certificate is issued.
    certificate_details: Option<Details>,
    consumers: Vec<String>,
    created_by: String,
    created_on: String,
    #[serde(rename = "DN")]
    dn: String,
    disabled: bool,
    guid: String,
    /// Ours: the work at each device, the oldest first.
    history: Vec<Event>,
    management_type: &'static str,
    name: String,
    #[serde(rename = "ParentDN")]
    parent_dn: String,
    processing_details: Processing,
    schema_class: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Details {
    #[serde(rename = "CN")]
    cn: Option<String>,
    issuer: String,
    #[serde(flatten)]
    key: Key,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_status: Option<&'static str>,
    serial: String,
    signature_algorithm: String,
    #[serde(rename = "SKIKeyIdentifier", skip_serializing_if = "Option::is_none")]
    ski_key_identifier: Option<String>,
    store_added: String,
    subject: String,
    #[serde(rename = "SubjectAltNameDNS")]
    subject_alt_name_dns: Vec<String>,
    #[serde(rename = "SubjectAltNameIPAddress")]
    subject_alt_name_ip_address: Vec<String>,
    thumbprint: String,
    valid_from: String,
    valid_to: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Processing {
    in_error: bool,
    /// `null`: there is no work to be done.
    stage: Option<u16>,
    status: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    consumer: String,
    stage: u16,
    attempt: u32,
    result: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    words: String,
    at: String,
}

impl From<&CertificateOrPending> for Listed {
    fn from(held: &CertificateOrPending) -> Self {
        let (folder, name) = held.place();
        let guid = CertificateGuid(held.id()).to_string();
        let (created, x509) = match held {
            CertificateOrPending::Certificate(record) => (record.created, Some(X509::of(record))),
            CertificateOrPending::Pending(place) => (place.created, None),
        };
        let details = format!("/vedsdk/certificates/%7b{}%7d", guid.trim_matches(['{', '}']));
        Self {
            created_on: time(created),
            dn: held.dn(),
            guid,
            name: name.to_owned(),
            parent_dn: parent_dn(folder),
            schema_class: class(held),
            x509,
            links: [Link { details }],
        }
    }
}

impl X509 {
    fn of(record: &CertificateRecord) -> Self {
        let (dns, ip) = names(record);
        Self {
            cn: record.common_name.clone(),
            issuer: record.leaf.issuer_dn().to_owned(),
            key: Key::of(&record.key_algorithm),
            sans: Names { dns, ip },
            serial: record.leaf.serial().to_ascii_uppercase(),
            subject: record.leaf.subject_dn().to_owned(),
            thumbprint: record.leaf.thumbprint(),
            valid_from: time(record.not_before),
            valid_to: time(record.not_after),
        }
    }
}

impl Details {
    fn of(record: &CertificateRecord) -> Self {
        let (dns, ip) = names(record);
        Self {
            cn: record.common_name.clone(),
            issuer: record.leaf.issuer_dn().to_owned(),
            key: Key::of(&record.key_algorithm),
            revocation_date: record.revoked.as_ref().map(|revocation| time(revocation.at)),
            revocation_status: record.revoked.as_ref().map(|_| "Revoked"),
            serial: record.leaf.serial().to_ascii_uppercase(),
            signature_algorithm: record.signature_algorithm.clone(),
            ski_key_identifier: record.leaf.subject_key_identifier().map(hex::encode_upper),
            store_added: time(record.updated),
            subject: record.leaf.subject_dn().to_owned(),
            subject_alt_name_dns: dns,
            subject_alt_name_ip_address: ip,
            thumbprint: record.leaf.thumbprint(),
            valid_from: time(record.not_before),
            valid_to: time(record.not_after),
        }
    }
}

impl Key {
    /// Parses a record's name of an algorithm: `RSA 2048`, `EC P-256`.
    fn of(shown: &str) -> Self {
        let named =
            |name: &str, key_size, elliptic_curve| Self { key_algorithm: name.to_owned(), key_size, elliptic_curve };
        match shown.split_once(' ') {
            Some(("RSA", bits)) => named("RSA", bits.parse().ok(), None),
            Some(("EC", "P-256")) => named("ECC", Some(256), Some("P256")),
            Some(("EC", "P-384")) => named("ECC", Some(384), Some("P384")),
            Some(("EC", "P-521")) => named("ECC", Some(521), Some("P521")),
            _ => named(shown, None, None),
        }
    }
}

impl CertificateView {
    /// `life`: the state of the certificate as a whole.
    pub fn of(held: &CertificateOrPending, uses: &[UseRecord], life: Option<&Lifecycle>) -> Self {
        let (folder, name) = held.place();
        let (created, by, certificate_details) = match held {
            CertificateOrPending::Certificate(record) => {
                (record.created, &record.imported_by, Some(Details::of(record)))
            }
            CertificateOrPending::Pending(place) => (place.created, &place.imported_by, None),
        };
        let mut entries: Vec<(&UseRecord, &Entry)> =
            uses.iter().flat_map(|each| each.lifecycle.history.iter().map(move |entry| (each, entry))).collect();
        entries.sort_by_key(|(_, entry)| entry.at);
        Self {
            certificate_details,
            consumers: uses.iter().map(|each| application_dn(&each.device)).collect(),
            created_by: by.clone(),
            created_on: time(created),
            dn: held.dn(),
            disabled: false,
            guid: CertificateGuid(held.id()).to_string(),
            history: entries.into_iter().map(|(each, entry)| Event::of(each, entry)).collect(),
            management_type: "Provisioning",
            name: name.to_owned(),
            parent_dn: parent_dn(folder),
            processing_details: Processing {
                in_error: life.is_some_and(|life| life.in_error),
                stage: life.and_then(|life| life.stage).map(u16::from),
                status: life.map(|life| life.status.clone()).unwrap_or_default(),
            },
            schema_class: class(held),
        }
    }
}

impl Event {
    fn of(binding: &UseRecord, entry: &Entry) -> Self {
        Self {
            consumer: application_dn(&binding.device),
            stage: entry.stage.number(),
            attempt: entry.attempt,
            result: entry.result.to_string(),
            words: entry.words.clone(),
            at: time(entry.at),
        }
    }
}

fn class(held: &CertificateOrPending) -> &'static str {
    if held.device().is_some() { "X509 Device Certificate" } else { "X509 Server Certificate" }
}

/// DNS names and IP addresses.
fn names(record: &CertificateRecord) -> (Vec<String>, Vec<String>) {
    record.names.iter().cloned().partition(|name| name.parse::<IpAddr>().is_err())
}

fn time(at: OffsetDateTime) -> String {
    at.to_utc().format(&Rfc3339).unwrap_or_default()
}
