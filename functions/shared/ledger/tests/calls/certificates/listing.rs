use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::types::{AttributeValue, Select};
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use proptest::prelude::*;
use rootcast_core::device::SHARDS;
use rootcast_ledger::{CertificateRow, Ledger, Listing, Sort, Tables};
use time::OffsetDateTime;

use super::{number, text};

/// Rows per page, whatever the query's limit: forces several calls, as with many certificates.
const PAGE: usize = 3;

fn row(id: u64, not_after: i64, updated: i64) -> CertificateRow {
    let at = |second| OffsetDateTime::from_unix_timestamp(second).unwrap();
    CertificateRow {
        id: format!("scs{id:013}").parse().unwrap(),
        folder: "Certificates".to_owned(),
        name: format!("web-{id}"),
        key_algorithm: "EC P-256".to_owned(),
        signature_algorithm: "SHA256withECDSA".to_owned(),
        common_name: None,
        names: vec!["a.test".to_owned()],
        not_before: at(0),
        not_after: at(not_after),
        enterprise_project_id: None,
        uses: 0,
        revoked: None,
        updated: at(updated),
    }
}

fn item(row: &CertificateRow) -> HashMap<String, AttributeValue> {
    let pairs = [
        ("id", text(&row.id.to_string())),
        ("shard", number(i64::from(row.id.shard()))),
        ("folder", text(&row.folder)),
        ("name", text(&row.name)),
        ("keyAlgorithm", text(&row.key_algorithm)),
        ("signatureAlgorithm", text(&row.signature_algorithm)),
        ("names", AttributeValue::L(row.names.iter().map(|name| text(name)).collect())),
        ("notBefore", number(row.not_before.unix_timestamp())),
        ("notAfter", number(row.not_after.unix_timestamp())),
        ("updated", number(row.updated.unix_timestamp())),
        ("uses", number(0)),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// Answers an index query like DynamoDB. The order within a second is arbitrary: here by the id's last digits,
/// reversed.
fn answer(rows: &[CertificateRow], query: &QueryInput) -> QueryOutput {
    let value = |name: &str| query.expression_attribute_values().unwrap()[name].as_n().unwrap().parse::<i64>().unwrap();
    let second = |row: &CertificateRow| match query.index_name() {
        Some("by-expiry") => row.not_after.unix_timestamp(),
        Some("by-update") => row.updated.unix_timestamp(),
        other => panic!("{other:?}"),
    };
    assert!(value(":from") <= value(":to"), "DynamoDB refuses such a BETWEEN");
    let mut found: Vec<&CertificateRow> = rows
        .iter()
        .filter(|row| i64::from(row.id.shard()) == value(":shard"))
        .filter(|row| (value(":from")..=value(":to")).contains(&second(row)))
        .collect();
    found.sort_by_key(|row| (second(row), row.id.to_string().chars().rev().collect::<String>()));
    if query.scan_index_forward() == Some(false) {
        found.reverse();
    }
    let start = query.exclusive_start_key().map_or(0, |key| key["place"].as_n().unwrap().parse().unwrap());
    let end = found.len().min(start + PAGE.min(query.limit().map_or(PAGE, |limit| limit as usize)));
    let last = (end < found.len()).then(|| [("place".to_owned(), number(end as i64))].into_iter().collect());
    let page = &found[start..end];
    let items = (query.select() != Some(&Select::Count)).then(|| page.iter().map(|row| item(row)).collect());
    QueryOutput::builder().count(page.len() as i32).set_items(items).set_last_evaluated_key(last).build()
}

fn ledger(rows: Vec<CertificateRow>) -> Ledger {
    let rows = Arc::new(rows);
    let rule = mock!(aws_sdk_dynamodb::Client::query).then_compute_output(move |query| answer(&rows, query));
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&rule]);
    Ledger::new(client, Tables { certificates: Some("certificates".to_owned()), ..Tables::default() })
}

/// The expected rows, in order.
fn expected(rows: &[CertificateRow], listing: &Listing<'_>) -> Vec<CertificateRow> {
    let second = |row: &CertificateRow| match listing.sort {
        Sort::Expiry => row.not_after,
        Sort::Update => row.updated,
    };
    let mut rows: Vec<CertificateRow> = rows
        .iter()
        .filter(|row| listing.ends_from.is_none_or(|from| row.not_after >= from))
        .filter(|row| listing.ends_before.is_none_or(|end| row.not_after < end))
        .filter(|row| listing.filter.is_none_or(|filter| filter(row)))
        .cloned()
        .collect();
    rows.sort_by_key(|row| row.id);
    rows.sort_by_key(second);
    if listing.descending {
        rows.sort_by_key(|row| std::cmp::Reverse(second(row)));
    }
    rows
}

async fn by_cursor(ledger: &Ledger, listing: &Listing<'_>, limit: usize) -> Vec<CertificateRow> {
    let (mut all, mut place) = (Vec::new(), None);
    loop {
        let page = ledger.certificates_behind(listing, place, limit).await.unwrap();
        let Some(last) = page.last() else { return all };
        place = Some(listing.place(last));
        all.extend(page);
    }
}

async fn by_offset(ledger: &Ledger, listing: &Listing<'_>, limit: usize, total: usize) -> Vec<CertificateRow> {
    let mut all = Vec::new();
    loop {
        let (count, behind) = ledger.survey_certificates(listing, all.len()).await.unwrap();
        assert_eq!(count, total as u64);
        if !all.is_empty() && behind.is_none() {
            return all;
        }
        let page = ledger.certificates_behind(listing, behind, limit).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

#[test]
fn pages_by_cursor_or_offset_add_up_to_the_list() {
    let seconds = || (0..6i64, 0..6i64);
    let rows = proptest::collection::vec((0..200u64, seconds()), 0..60);
    let bounds = proptest::option::of(0..6i64);
    let order = (any::<bool>(), any::<bool>(), bounds.clone(), bounds, any::<bool>(), 1..12usize);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    let property = |(rows, (by_expiry, descending, from, before, even, limit)): (
        Vec<_>,
        (_, _, Option<i64>, Option<i64>, bool, _),
    )| {
        let rows: HashMap<u64, (i64, i64)> = rows.into_iter().collect();
        let rows: Vec<CertificateRow> = rows.into_iter().map(|(id, (end, update))| row(id, end, update)).collect();
        let at = |second| OffsetDateTime::from_unix_timestamp(second).unwrap();
        let is_even = |row: &CertificateRow| row.name.ends_with(['0', '2', '4', '6', '8']);
        let filter: Option<&(dyn Fn(&CertificateRow) -> bool + Sync)> = if even { Some(&is_even) } else { None };
        let listing = Listing {
            sort: if by_expiry { Sort::Expiry } else { Sort::Update },
            descending,
            ends_from: from.map(at),
            ends_before: before.map(at),
            filter,
        };
        let expected = expected(&rows, &listing);
        let ledger = ledger(rows);
        runtime.block_on(async {
            prop_assert_eq!(by_cursor(&ledger, &listing, limit).await, expected.clone());
            prop_assert_eq!(by_offset(&ledger, &listing, limit, expected.len()).await, expected);
            Ok(())
        })
    };
    proptest::test_runner::TestRunner::new(config).run(&(rows, order), property).unwrap();
}

#[tokio::test]
async fn an_unfiltered_first_page_is_only_counted() {
    let count = mock!(aws_sdk_dynamodb::Client::query)
        .match_requests(|query| query.select() == Some(&Select::Count))
        .then_output(|| QueryOutput::builder().count(5).build());
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&count]);
    let ledger = Ledger::new(client, Tables { certificates: Some("certificates".to_owned()), ..Tables::default() });
    let listing = Listing { sort: Sort::Update, descending: true, ends_from: None, ends_before: None, filter: None };
    let (total, behind) = ledger.survey_certificates(&listing, 0).await.unwrap();
    assert_eq!((total, behind), (5 * u64::from(SHARDS), None));
}
