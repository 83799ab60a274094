//! A certificate in the vendor's format.
//!
//! Source: `CertificateDetail` and `ShowCertificateResponse` of `huaweicloudsdkscm` 3.1.219; the form of times and
//! fingerprints from the examples at <https://support.huaweicloud.com/intl/en-us/api-ccm/ListCertificates.html> and
//! `ShowCertificate.html` there.

use rootcast_ledger::{CertificateRecord, CertificateRow};
use rootcast_pki::crl::Reason;
use rootcast_pki::import::Purposes;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Format of times, in UTC. The vendor's examples have this form and name no time zone.
const SECONDS: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].0");
/// Average in the Gregorian calendar.
const DAYS_A_MONTH: f64 = 365.2425 / 12.0;

/// A certificate in a list.
#[derive(Debug, Serialize)]
pub struct Listed {
    #[serde(flatten)]
    detail: Detail,
    deploy_support: bool,
    expire_time: String,
    /// The vendor's account id. We have none.
    domain_id: Option<String>,
}

/// A certificate with all its details.
#[derive(Debug, Serialize)]
pub struct CertificateView {
    #[serde(flatten)]
    detail: Detail,
    /// `null`: a certificate has no such field.
    issue_time: Option<String>,
    not_before: String,
    not_after: String,
    /// SHA-1 of the DER, in lower case.
    fingerprint: String,
    push_support: &'static str,
    shared: bool,
    multi_domain_type: Option<&'static str>,
    /// RFC 5280's name of the reason.
    revoke_reason: Option<Reason>,
    /// This field and the following ones apply to certificates that the vendor sells.
    order_id: Option<String>,
    validation_method: Option<String>,
    authentification: [(); 0],
    /// Ours, as all that follows: `server`, `client` or both, by keyUsage and extKeyUsage along the chain.
    purposes: Vec<&'static str>,
    /// Ours: where the chain ends was neither sent nor known, and nothing was proven.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete_chain: bool,
}

#[derive(Debug, Serialize)]
struct Detail {
    id: String,
    name: String,
    domain: Option<String>,
    /// Separated by semicolons.
    sans: Option<String>,
    signature_algorithm: String,
    /// The validation type (DV, OV or EV) and the brand. The vendor gives neither for a certificate issued elsewhere.
    #[serde(rename = "type")]
    kind: Option<String>,
    brand: Option<String>,
    domain_type: &'static str,
    /// In months.
    validity_period: i64,
    status: &'static str,
    domain_count: usize,
    wildcard_count: usize,
    description: Option<String>,
    enterprise_project_id: String,
    /// This field and the following ones are ours.
    dn: String,
    key_algorithm: String,
    /// Number of devices that have the certificate or are to get it.
    uses: u64,
}

impl Listed {
    pub fn of(row: &CertificateRow, now: OffsetDateTime) -> Self {
        Self {
            detail: Detail::of(row, now),
            deploy_support: status(row, now) == UPLOAD,
            expire_time: time(row.not_after),
            domain_id: None,
        }
    }
}

impl CertificateView {
    pub fn of(record: CertificateRecord, now: OffsetDateTime) -> Self {
        let fingerprint = record.leaf.thumbprint().to_ascii_lowercase();
        let purposes = Purposes::of(&record.leaf, &record.chain).names();
        let incomplete_chain = record.unproven;
        let row = CertificateRow::from(record);
        let (domain, others) = domains(&row);
        let primary = if domain.is_some_and(is_wildcard) { "primary_wildcard" } else { "primary_single" };
        Self {
            issue_time: None,
            not_before: time(row.not_before),
            not_after: time(row.not_after),
            fingerprint,
            push_support: "OFF",
            shared: false,
            multi_domain_type: (!others.is_empty()).then_some(primary),
            revoke_reason: row.revoked.as_ref().map(|revoked| revoked.reason),
            order_id: None,
            validation_method: None,
            authentification: [],
            purposes,
            incomplete_chain,
            detail: Detail::of(&row, now),
        }
    }
}

impl Detail {
    fn of(row: &CertificateRow, now: OffsetDateTime) -> Self {
        let (domain, others) = domains(row);
        let all = || domain.iter().chain(&others);
        Self {
            id: row.id.to_string(),
            name: row.name.clone(),
            domain: domain.map(str::to_owned),
            sans: (!others.is_empty()).then(|| others.join(";")),
            signature_algorithm: row.signature_algorithm.clone(),
            kind: None,
            brand: None,
            domain_type: match (domain, others.is_empty()) {
                (_, false) => "MULTI_DOMAIN",
                (Some(domain), true) if is_wildcard(domain) => "WILDCARD",
                _ => "SINGLE_DOMAIN",
            },
            validity_period: ((row.not_after - row.not_before).as_seconds_f64() / 86400.0 / DAYS_A_MONTH).round()
                as i64,
            status: status(row, now),
            domain_count: all().count(),
            wildcard_count: all().filter(|name| is_wildcard(name)).count(),
            description: None,
            enterprise_project_id: project(row).to_owned(),
            dn: row.dn(),
            key_algorithm: row.key_algorithm.clone(),
            uses: row.uses,
        }
    }
}

pub const UPLOAD: &str = "UPLOAD";
pub const EXPIRED: &str = "EXPIRED";
pub const REVOKED: &str = "REVOKED";

/// A revoked certificate stays revoked after it has expired.
fn status(row: &CertificateRow, now: OffsetDateTime) -> &'static str {
    match row.revoked {
        Some(_) => REVOKED,
        None if is_expired(row.not_after, now) => EXPIRED,
        None => UPLOAD,
    }
}

/// The certificate is valid up to and including the second of notAfter (RFC 5280 §4.1.2.5).
pub fn is_expired(not_after: OffsetDateTime, now: OffsetDateTime) -> bool {
    not_after.unix_timestamp() < now.unix_timestamp()
}

/// The default project is the vendor's `0`. `all` counts as no project.
pub fn project(row: &CertificateRow) -> &str {
    row.enterprise_project_id.as_deref().filter(|id| *id != "all").unwrap_or("0")
}

/// The main name and the other names. The CN is used if there is no SAN (RFC 9525 §2), and is the main name if the SAN
/// has it too.
fn domains(row: &CertificateRow) -> (Option<&str>, Vec<&str>) {
    let common = row.common_name.as_deref();
    if row.names.is_empty() {
        return (common, Vec::new());
    }
    let mut names: Vec<&str> = row.names.iter().map(String::as_str).collect();
    let is_common = |name: &&str| common.is_some_and(|common| name.eq_ignore_ascii_case(common));
    let first = names.remove(names.iter().position(is_common).unwrap_or_default());
    (Some(first), names)
}

fn is_wildcard(name: &str) -> bool {
    name.starts_with("*.")
}

fn time(at: OffsetDateTime) -> String {
    at.to_utc().format(&SECONDS).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
pub mod tests {
    use rootcast_ledger::Revocation;
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-06-01 00:00 UTC);

    pub fn row(common_name: Option<&str>, names: &[&str]) -> CertificateRow {
        CertificateRow {
            id: "scs1600313391074".parse().unwrap(),
            folder: "Certificates".to_owned(),
            name: "web".to_owned(),
            key_algorithm: "EC P-256".to_owned(),
            signature_algorithm: "SHA256withECDSA".to_owned(),
            common_name: common_name.map(str::to_owned),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            not_before: datetime!(2026-01-01 00:00 UTC),
            not_after: datetime!(2027-01-01 00:00 UTC),
            enterprise_project_id: None,
            uses: 2,
            revoked: None,
            updated: NOW,
        }
    }

    pub fn revoked() -> Revocation {
        serde_json::from_value(json!({
            "list": { "generation": 1, "shard": 7 }, "at": 0, "reason": "keyCompromise", "by": "ops",
        }))
        .unwrap()
    }

    fn listed(row: &CertificateRow) -> Value {
        serde_json::to_value(Listed::of(row, NOW)).unwrap()
    }

    #[test]
    fn a_listed_certificate_has_the_vendors_fields() {
        assert_eq!(
            listed(&row(Some("www.test.com"), &["a.test.com", "WWW.test.com", "*.b.test.com"])),
            json!({
                "id": "scs1600313391074", "name": "web", "domain": "WWW.test.com", "sans": "a.test.com;*.b.test.com",
                "signature_algorithm": "SHA256withECDSA", "deploy_support": true, "type": null, "brand": null,
                "expire_time": "2027-01-01 00:00:00.0", "domain_type": "MULTI_DOMAIN", "validity_period": 12,
                "status": "UPLOAD", "domain_count": 3, "wildcard_count": 1, "description": null, "domain_id": null,
                "enterprise_project_id": "0",
                "dn": "\\VED\\Policy\\Certificates\\web", "key_algorithm": "EC P-256", "uses": 2,
            })
        );
    }

    #[test]
    fn the_domain_type_follows_the_names() {
        let of = |common_name, names: &[&str]| {
            let listed = listed(&row(common_name, names));
            let text = |field: &str| listed[field].as_str().unwrap_or_default().to_owned();
            (text("domain_type"), text("domain"), text("sans"))
        };
        let expected = |kind: &str, domain: &str, sans: &str| (kind.to_owned(), domain.to_owned(), sans.to_owned());
        assert_eq!(of(Some("a.test"), &[]), expected("SINGLE_DOMAIN", "a.test", ""));
        assert_eq!(of(Some("My server"), &["10.0.0.7"]), expected("SINGLE_DOMAIN", "10.0.0.7", ""));
        assert_eq!(of(None, &["*.a.test"]), expected("WILDCARD", "*.a.test", ""));
        assert_eq!(of(None, &["a.test", "b.test"]), expected("MULTI_DOMAIN", "a.test", "b.test"));
    }

    #[test]
    fn a_certificate_is_expired_after_the_second_of_not_after() {
        let at = |now| serde_json::to_value(Listed::of(&row(None, &["a.test"]), now)).unwrap();
        let last = at(datetime!(2027-01-01 00:00:00.9 UTC));
        assert_eq!((&last["status"], &last["deploy_support"]), (&json!("UPLOAD"), &json!(true)));
        let after = at(datetime!(2027-01-01 00:00:01 UTC));
        assert_eq!((&after["status"], &after["deploy_support"]), (&json!("EXPIRED"), &json!(false)));
    }

    #[test]
    fn a_revoked_certificate_is_not_deployable() {
        let row = CertificateRow { revoked: Some(revoked()), ..row(None, &["a.test"]) };
        for now in [NOW, datetime!(2028-01-01 00:00 UTC)] {
            let shown = serde_json::to_value(Listed::of(&row, now)).unwrap();
            assert_eq!((&shown["status"], &shown["deploy_support"]), (&json!("REVOKED"), &json!(false)));
        }
    }

    #[test]
    fn a_certificate_without_a_project_is_in_the_default_one() {
        let of = |id: Option<&str>| {
            let row = CertificateRow { enterprise_project_id: id.map(str::to_owned), ..row(None, &["a.test"]) };
            project(&row).to_owned()
        };
        let id = "5ad1a2c0-9f30-4d18-8d4d-2a1f0d4e6b7c";
        assert_eq!([of(None), of(Some("all")), of(Some("0")), of(Some(id))], ["0", "0", "0", id]);
    }
}
