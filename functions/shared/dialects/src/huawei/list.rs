//! The query of a list of certificates, and a page of the answer.

use std::fmt::Display;
use std::str::FromStr;

use rootcast_core::inventory::name::EnterpriseProject;
use rootcast_ledger::{CertificateRow, ListPosition, Sort};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use time::{Duration, OffsetDateTime};

use super::HuaweiError;
use super::certificate::{EXPIRED, Listed, REVOKED, UPLOAD, project};

#[derive(Debug, Serialize)]
pub struct Certificates {
    pub certificates: Vec<Listed>,
    pub total_count: u64,
    /// Ours, if there are more: the position after this page, unaffected by imports and deletions before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The vendor's documented parameters, and `cursor`.
#[derive(Debug, Default, Deserialize)]
pub struct ListRequest {
    #[serde(default, deserialize_with = "filled")]
    limit: Option<usize>,
    #[serde(default, deserialize_with = "filled")]
    offset: Option<usize>,
    sort_dir: Option<String>,
    sort_key: Option<String>,
    status: Option<String>,
    enterprise_project_id: Option<String>,
    #[serde(default, deserialize_with = "filled")]
    deploy_support: Option<bool>,
    /// All certificates are the caller's own, so both values mean the same.
    #[serde(default, deserialize_with = "filled", rename = "owned_by_self")]
    _owned_by_self: Option<bool>,
    #[serde(default, deserialize_with = "filled")]
    expired_days_since: Option<u32>,
    content: Option<String>,
    cursor: Option<String>,
}

/// A validated query.
#[derive(Debug, PartialEq, Eq)]
pub struct Chosen {
    pub sort: Sort,
    pub descending: bool,
    pub limit: usize,
    pub skipped: usize,
    pub place: Option<ListPosition>,
    pub ends_from: Option<OffsetDateTime>,
    pub ends_before: Option<OffsetDateTime>,
    pub filter: Filter,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In lower case. Part of the name or of a domain.
    content: Option<String>,
    project: Option<String>,
    /// Whether the certificate is revoked.
    revoked: Option<bool>,
}

/// The position where a page ended. It is valid for one order; the filter may change between pages.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cursor {
    pub sort: Sort,
    pub descending: bool,
    #[serde(flatten)]
    pub place: ListPosition,
}

/// The vendor's statuses. Only three occur here: no certificate has any of the others.
const STATUSES: [&str; 13] = [
    "ALL",
    "PAID",
    "ISSUED",
    "CHECKING",
    "CANCELCHECKING",
    "UNPASSED",
    EXPIRED,
    "REVOKING",
    REVOKED,
    UPLOAD,
    "CHECKING_ORG",
    "ISSUING",
    "SUPPLEMENTCHECKING",
];

/// Clients send what they leave open as an empty text.
fn filled<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(value: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(value)?;
    (!text.is_empty()).then(|| text.parse().map_err(D::Error::custom)).transpose()
}

impl ListRequest {
    /// As it was sent.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// `None`: no certificate can have the status. The vendor's defaults are 10 certificates, the latest update first.
    /// `opened`: the [cursor](Self::cursor), if it is one of this list.
    pub fn choose(self, now: OffsetDateTime, opened: Option<Cursor>) -> Result<Option<Chosen>, HuaweiError> {
        let refused = |text: &str| Err(HuaweiError::invalid(text));
        let limit = self.limit.unwrap_or(10);
        if ![10, 20, 50].contains(&limit) {
            return refused("limit is 10, 20 or 50.");
        }
        let sort = match self.sort_key.as_deref() {
            None | Some("" | "certUpdateTime") => Sort::Update,
            // Every expired certificate ended before every valid one: the order by status is the order by time, or its
            // reverse. Revoked ones are between them.
            Some("certExpiredTime" | "certStatus") => Sort::Expiry,
            Some(_) => return refused("sort_key is certExpiredTime, certStatus or certUpdateTime."),
        };
        let descending = match self.sort_dir.as_deref() {
            None | Some("" | "DESC") => true,
            Some("ASC") => false,
            Some(_) => return refused("sort_dir is ASC or DESC."),
        };
        let status = self.status.as_deref().filter(|status| !status.is_empty()).unwrap_or("ALL");
        if !STATUSES.contains(&status) {
            return Err(HuaweiError::invalid(format!("status is one of {}.", STATUSES.join(", "))));
        }
        let place = opened.filter(|cursor| (cursor.sort, cursor.descending) == (sort, descending));
        let place = place.map(|cursor| cursor.place);
        if place.is_none() && self.cursor.is_some() {
            return refused("The cursor is not one of this list and its order: start again without.");
        }
        if place.is_some() && self.offset.is_some_and(|offset| offset > 0) {
            return refused("cursor and offset are two ways of paging: send the one or the other.");
        }
        let project = self.enterprise_project_id.filter(|id| !id.is_empty() && id != "all");
        if let Some(Err(why)) = project.as_deref().map(str::parse::<EnterpriseProject>) {
            return Err(HuaweiError::invalid(format!("enterprise_project_id: {why}.")));
        }
        let days = self.expired_days_since.map(|days| now.checked_sub(Duration::days(i64::from(days))));
        let alive = status == UPLOAD || self.deploy_support == Some(true);
        Ok(["ALL", UPLOAD, EXPIRED, REVOKED].contains(&status).then_some(Chosen {
            sort,
            descending,
            limit,
            skipped: self.offset.unwrap_or_default(),
            place,
            ends_from: days.flatten().max(alive.then_some(now)),
            ends_before: (status == EXPIRED).then_some(now),
            filter: Filter {
                content: self.content.filter(|text| !text.is_empty()).map(|text| text.to_lowercase()),
                project,
                revoked: match status {
                    REVOKED => Some(true),
                    _ => (alive || status == EXPIRED).then_some(false),
                },
            },
        }))
    }
}

impl Filter {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn takes(&self, row: &CertificateRow) -> bool {
        let holds = |content: &String| {
            let mut texts = row.names.iter().chain(&row.common_name).chain([&row.name]);
            texts.any(|text| text.to_lowercase().contains(content))
        };
        self.content.as_ref().is_none_or(holds)
            && self.revoked.is_none_or(|wanted| wanted == row.revoked.is_some())
            && self.project.as_deref().is_none_or(|id| id == project(row))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use axum::extract::Query;
    use axum::http::Uri;
    use serde_json::json;
    use time::macros::datetime;

    use super::super::certificate::tests::{revoked, row};
    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-06-01 00:00 UTC);

    fn chosen(query: &str) -> Result<Option<Chosen>, String> {
        chosen_at(query, None)
    }

    fn chosen_at(query: &str, opened: Option<Cursor>) -> Result<Option<Chosen>, String> {
        let uri: Uri = format!("/?{query}").parse().unwrap();
        let Query(wanted) = Query::<ListRequest>::try_from_uri(&uri).map_err(|why| why.body_text())?;
        wanted.choose(NOW, opened).map_err(|refusal| refusal.text().to_owned())
    }

    fn place(rank: i64) -> ListPosition {
        serde_json::from_value(json!({"rank": rank, "id": "scs0000000000007"})).unwrap()
    }

    #[test]
    fn the_vendors_defaults() {
        let expected = Chosen {
            sort: Sort::Update,
            descending: true,
            limit: 10,
            skipped: 0,
            place: None,
            ends_from: None,
            ends_before: None,
            filter: Filter::default(),
        };
        assert_eq!(chosen("").unwrap().unwrap(), expected);
        let said = "limit=10&offset=0&sort_dir=DESC&sort_key=certUpdateTime&status=ALL&enterprise_project_id=all\
                    &deploy_support=false&owned_by_self=true&content=";
        assert_eq!(chosen(said).unwrap().unwrap(), expected);
        let empty = "limit=&offset=&sort_dir=&sort_key=&status=&enterprise_project_id=&deploy_support=&owned_by_self=\
                     &expired_days_since=&content=";
        assert_eq!(chosen(empty).unwrap().unwrap(), expected);
    }

    #[test]
    fn status_and_age_become_times_of_expiry() {
        let ends = |query: &str| chosen(query).unwrap().map(|chosen| (chosen.ends_from, chosen.ends_before));
        assert_eq!(ends("status=UPLOAD"), Some((Some(NOW), None)));
        assert_eq!(ends("status=EXPIRED"), Some((None, Some(NOW))));
        assert_eq!(ends("deploy_support=true"), Some((Some(NOW), None)));
        assert_eq!(ends("expired_days_since=2"), Some((Some(NOW - Duration::days(2)), None)));
        assert_eq!(ends("expired_days_since=2&status=UPLOAD"), Some((Some(NOW), None)));
        assert_eq!(ends("expired_days_since=4294967295"), Some((None, None)));
        assert_eq!(ends("status=REVOKED"), Some((None, None)));
        assert_eq!(ends("status=ISSUED"), None);
    }

    #[test]
    fn a_revoked_certificate_has_no_other_status() {
        let whole = row(None, &["a.test"]);
        let revoked = CertificateRow { revoked: Some(revoked()), ..whole.clone() };
        let takes = |query: &str| {
            let filter = chosen(query).unwrap().unwrap().filter;
            (filter.takes(&whole), filter.takes(&revoked))
        };
        assert_eq!(takes("status=REVOKED"), (false, true));
        for query in ["status=UPLOAD", "status=EXPIRED", "deploy_support=true"] {
            assert_eq!(takes(query), (true, false), "{query}");
        }
        assert_eq!(takes(""), (true, true));
    }

    #[test]
    fn an_invalid_parameter_is_refused_by_name() {
        for (query, named) in [
            ("limit=11", "limit"),
            ("limit=0", "limit"),
            ("limit=x", "limit"),
            ("offset=-1", "offset"),
            ("sort_dir=UP", "sort_dir"),
            ("sort_key=name", "sort_key"),
            ("status=GONE", "status"),
            ("enterprise_project_id=7", "enterprise_project_id"),
            ("deploy_support=yes", "deploy_support"),
            ("expired_days_since=-1", "expired_days_since"),
            ("cursor=e30", "cursor"),
            ("limit=10&limit=20", "limit"),
        ] {
            assert!(chosen(query).unwrap_err().contains(named), "{query}");
        }
    }

    #[test]
    fn a_cursor_is_valid_for_one_order() {
        let at = |query: &str| {
            let cursor = Cursor { sort: Sort::Expiry, descending: false, place: place(7) };
            chosen_at(&format!("{query}&cursor=x"), Some(cursor)).map(|chosen| chosen.unwrap().place)
        };
        assert_eq!(at("sort_key=certStatus&sort_dir=ASC"), Ok(Some(place(7))));
        for other in ["sort_key=certStatus", "sort_dir=ASC", "sort_key=certStatus&sort_dir=ASC&offset=1"] {
            assert!(at(other).unwrap_err().contains("cursor"), "{other}");
        }
    }

    #[test]
    fn content_is_part_of_a_name_or_domain_any_case() {
        let takes = |content: &str| {
            let filter = chosen(&format!("content={content}")).unwrap().unwrap().filter;
            filter.takes(&row(Some("Intranet"), &["www.Example.com", "10.0.0.7"]))
        };
        assert!(["WEB", "example", "0.0.7", "intra"].into_iter().all(takes));
        assert!(!["org", "certificates"].into_iter().any(takes));
    }
}
