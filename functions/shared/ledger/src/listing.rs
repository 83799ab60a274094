//! Lists of certificates: sixteen shards, each in index order, merged.
//!
//! DynamoDB's global indexes are eventually consistent: a certificate that was just imported may be missing, and its
//! listed values may be slightly old.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::Select;
use futures::{StreamExt, TryStreamExt, stream};
use rootcast_core::device::SHARDS;
use rootcast_core::inventory::id::{CertificateId, policy_dn};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::item::{from_item, number};
use crate::{CertificateOrPending, CertificateRecord, Ledger, LedgerError, Revocation};

/// Shards read concurrently: all of them.
const CONCURRENCY: usize = SHARDS as usize;

/// The index attributes of a certificate: what a list shows, and nothing about its key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRow {
    pub id: CertificateId,
    pub folder: String,
    pub name: String,
    pub key_algorithm: String,
    pub signature_algorithm: String,
    #[serde(default)]
    pub common_name: Option<String>,
    pub names: Vec<String>,
    #[serde(with = "time::serde::timestamp")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
    #[serde(default)]
    pub enterprise_project_id: Option<String>,
    #[serde(default)]
    pub uses: u64,
    #[serde(default)]
    pub revoked: Option<Revocation>,
    #[serde(with = "time::serde::timestamp")]
    pub updated: OffsetDateTime,
}

/// Sort order of a list. Certificates with the same second are ordered by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sort {
    Expiry,
    Update,
}

/// Which certificates, and in which order.
#[derive(Clone, Copy)]
pub struct Listing<'a> {
    pub sort: Sort,
    pub descending: bool,
    /// Certificates that expire in this second or later.
    pub ends_from: Option<OffsetDateTime>,
    /// Certificates that expire before this second.
    pub ends_before: Option<OffsetDateTime>,
    /// A further filter. It is applied after reading, so all matching rows are read.
    pub filter: Option<&'a (dyn Fn(&CertificateRow) -> bool + Sync)>,
}

/// A position in a list: directly after one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListPosition {
    /// The sort second; negated in a descending list, so that positions always ascend.
    rank: i64,
    id: CertificateId,
}

impl Ledger {
    /// The number of matching certificates, and the position after the first `skipped` of them, if there are more.
    ///
    /// Reads all index rows. With rows of 400 bytes, this takes a call and an eighth of a read unit for each of the 16
    /// shards, plus 50 read units per 1 000 certificates and a call per 2 600 certificates of a shard. Without
    /// `skipped` and a filter, DynamoDB only counts, and transfers no rows.
    pub async fn survey_certificates(
        &self,
        listing: &Listing<'_>,
        skipped: usize,
    ) -> Result<(u64, Option<ListPosition>), LedgerError> {
        let count_only = skipped == 0 && !listing.is_filtered();
        let shards = stream::iter(0..SHARDS).map(|shard| async move {
            if count_only {
                Ok((self.count(listing, shard).await?, Vec::new()))
            } else {
                self.places(listing, shard, None).await
            }
        });
        let add = |(total, mut all): (u64, Vec<ListPosition>), (count, places): (u64, Vec<ListPosition>)| async move {
            all.extend(places);
            Ok((total + count, all))
        };
        let (total, mut places) = shards.buffer_unordered(CONCURRENCY).try_fold((0, Vec::new()), add).await?;
        let behind = skipped.checked_sub(1).filter(|_| skipped < places.len());
        Ok((total, behind.map(|index| *places.select_nth_unstable(index).1)))
    }

    /// The position after the first `skipped` certificates, if there are more. For whoever knows their number: of each shard,
    /// no more than `skipped` rows are read, and the rest of a page.
    pub async fn position_behind(
        &self,
        listing: &Listing<'_>,
        skipped: usize,
    ) -> Result<Option<ListPosition>, LedgerError> {
        let Some(index) = skipped.checked_sub(1) else { return Ok(None) };
        let shards = stream::iter(0..SHARDS).map(|shard| self.places(listing, shard, Some(skipped)));
        let found: Vec<(u64, Vec<ListPosition>)> = shards.buffer_unordered(CONCURRENCY).try_collect().await?;
        let mut places: Vec<ListPosition> = found.into_iter().flat_map(|(_, places)| places).collect();
        Ok((skipped < places.len()).then(|| *places.select_nth_unstable(index).1))
    }

    /// The first `limit` certificates after a position, or from the start.
    ///
    /// One call for each of the 16 shards, which reads a row more than `limit`: 2.5 read units for 50 rows of 400 bytes. More if a
    /// filter drops many rows, or many certificates share one second.
    pub async fn certificates_behind(
        &self,
        listing: &Listing<'_>,
        place: Option<ListPosition>,
        limit: usize,
    ) -> Result<Vec<CertificateRow>, LedgerError> {
        let shards = stream::iter(0..SHARDS).map(|shard| self.shard_behind(listing, shard, place, limit));
        let found: Vec<Vec<CertificateRow>> = shards.buffer_unordered(CONCURRENCY).try_collect().await?;
        let mut rows: Vec<CertificateRow> = found.into_iter().flatten().collect();
        listing.cut(&mut rows, limit);
        Ok(rows)
    }

    async fn count(&self, listing: &Listing<'_>, shard: u8) -> Result<u64, LedgerError> {
        let Some(query) = self.query(listing, shard, None)? else { return Ok(0) };
        let mut pages = query.select(Select::Count).into_paginator().send();
        let mut total = 0;
        while let Some(page) = pages.next().await {
            total += u64::try_from(page.map_err(LedgerError::aws("Query certificates"))?.count).unwrap_or_default();
        }
        Ok(total)
    }

    /// `enough`: more are not needed, but those that the same second may have before them.
    async fn places(
        &self,
        listing: &Listing<'_>,
        shard: u8,
        enough: Option<usize>,
    ) -> Result<(u64, Vec<ListPosition>), LedgerError> {
        let Some(query) = self.query(listing, shard, None)? else { return Ok((0, Vec::new())) };
        let mut items = query.into_paginator().items().send();
        let mut places: Vec<ListPosition> = Vec::new();
        while let Some(item) = items.next().await {
            let row = from_item("certificate", item.map_err(LedgerError::aws("Query certificates"))?)?;
            // The index is in the order of seconds, and so are the positions.
            let last = enough.and_then(|enough| places.get(enough));
            if last.is_some_and(|last| listing.place(&row).rank > last.rank) {
                break;
            }
            places.extend(listing.takes(&row).then(|| listing.place(&row)));
        }
        Ok((places.len() as u64, places))
    }

    async fn shard_behind(
        &self,
        listing: &Listing<'_>,
        shard: u8,
        place: Option<ListPosition>,
        limit: usize,
    ) -> Result<Vec<CertificateRow>, LedgerError> {
        let mut rows: Vec<CertificateRow> = Vec::new();
        let Some(mut query) = self.query(listing, shard, place)? else { return Ok(rows) };
        // A filter may drop many rows, so it uses the largest pages. Without one, a row more shows that the second is over.
        if !listing.is_filtered() {
            query = query.limit(i32::try_from(limit.saturating_add(1)).unwrap_or(i32::MAX));
        }
        let mut pages = query.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(LedgerError::aws("Query certificates"))?;
            let mut last = None;
            for item in page.items.unwrap_or_default() {
                let row = from_item("certificate", item)?;
                last = Some(listing.place(&row));
                if listing.takes(&row) && last > place {
                    rows.push(row);
                }
            }
            listing.cut(&mut rows, limit);
            // The index does not order rows of the same second, so that second is read completely before the shard is
            // cut.
            let enough = rows.last().filter(|_| rows.len() == limit).map(|row| listing.place(row));
            if enough.zip(last).is_some_and(|(enough, last)| enough.rank < last.rank) {
                break;
            }
        }
        Ok(rows)
    }

    /// `None` if there can be no rows after the position.
    fn query(
        &self,
        listing: &Listing<'_>,
        shard: u8,
        place: Option<ListPosition>,
    ) -> Result<Option<QueryFluentBuilder>, LedgerError> {
        let (index, second) = match listing.sort {
            Sort::Expiry => ("by-expiry", "notAfter"),
            Sort::Update => ("by-update", "updated"),
        };
        let (from, to) = listing.seconds(place);
        let query = self
            .client
            .query()
            .table_name(self.certificates()?)
            .index_name(index)
            .key_condition_expression(format!("#shard = :shard AND {second} BETWEEN :from AND :to"))
            .expression_attribute_names("#shard", "shard") // a reserved word
            .expression_attribute_values(":shard", number(shard))
            .expression_attribute_values(":from", number(from))
            .expression_attribute_values(":to", number(to))
            .scan_index_forward(!listing.descending);
        Ok((from <= to).then_some(query))
    }
}

impl Listing<'_> {
    /// The index range after a position, including both ends.
    fn seconds(&self, place: Option<ListPosition>) -> (i64, i64) {
        let (mut from, mut to) = (i64::MIN, i64::MAX);
        if self.sort == Sort::Expiry {
            from = self.ends_from.map_or(from, OffsetDateTime::unix_timestamp);
            to = self.ends_before.map_or(to, |end| end.unix_timestamp() - 1);
        }
        match place {
            Some(place) if self.descending => to = to.min(place.rank.saturating_neg()),
            Some(place) => from = from.max(place.rank),
            None => {}
        }
        (from, to)
    }

    /// Whether rows must be filtered beyond the index range.
    fn is_filtered(&self) -> bool {
        let by_end = self.ends_from.is_some() || self.ends_before.is_some();
        self.filter.is_some() || (by_end && self.sort != Sort::Expiry)
    }

    fn takes(&self, row: &CertificateRow) -> bool {
        self.ends_from.is_none_or(|from| row.not_after.unix_timestamp() >= from.unix_timestamp())
            && self.ends_before.is_none_or(|end| row.not_after.unix_timestamp() < end.unix_timestamp())
            && self.filter.is_none_or(|filter| filter(row))
    }

    /// The position after this certificate.
    pub fn place(&self, row: &CertificateRow) -> ListPosition {
        let second = match self.sort {
            Sort::Expiry => row.not_after,
            Sort::Update => row.updated,
        };
        let second = second.unix_timestamp();
        ListPosition { rank: if self.descending { -second } else { second }, id: row.id }
    }

    /// The number of these certificates that match, and at most `limit` after the first `skipped` of them, or after a position.
    pub fn page_of(
        &self,
        all: impl IntoIterator<Item = CertificateRow>,
        skipped: usize,
        place: Option<ListPosition>,
        limit: usize,
    ) -> (u64, Vec<CertificateRow>) {
        let mut rows: Vec<CertificateRow> = all.into_iter().filter(|row| self.takes(row)).collect();
        rows.sort_unstable_by_key(|row| self.place(row));
        let total = rows.len() as u64;
        let behind = rows.into_iter().filter(|row| place.is_none_or(|place| self.place(row) > place));
        (total, behind.skip(skipped).take(limit).collect())
    }

    fn cut(&self, rows: &mut Vec<CertificateRow>, limit: usize) {
        rows.sort_unstable_by_key(|row| self.place(row));
        rows.truncate(limit);
    }
}

impl From<CertificateRecord> for CertificateRow {
    fn from(record: CertificateRecord) -> Self {
        Self {
            id: record.id,
            folder: record.folder,
            name: record.name,
            key_algorithm: record.key_algorithm,
            signature_algorithm: record.signature_algorithm,
            common_name: record.common_name,
            names: record.names,
            not_before: record.not_before,
            not_after: record.not_after,
            enterprise_project_id: record.enterprise_project_id,
            uses: record.uses,
            revoked: record.revoked,
            updated: record.updated,
        }
    }
}

impl CertificateRow {
    /// `None`: never issued.
    pub fn issued(held: CertificateOrPending) -> Option<Self> {
        match held {
            CertificateOrPending::Certificate(record) => Some((*record).into()),
            CertificateOrPending::Pending(_) => None,
        }
    }

    pub fn dn(&self) -> String {
        policy_dn(&self.folder, &self.name)
    }
}
