//! What makes lists of certificates cost what they show: stored counts, and imported certificates by name.
//!
//! `listed#00` to `listed#63` in the certificates table count the certificates, and change in the transaction that stores or
//! deletes one; a renewal changes none. `listed#all` has the number of those from before there were counts, and says that the
//! counts are complete. Until then, a list counts the rows of its index.
//!
//! The index `by-name` has the reserved names of imported certificates. A device's own certificate is found by the name of
//! the device.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{Select, TransactWriteItem, Update};
use futures::{StreamExt, TryStreamExt, stream};
use rootcast_core::access::permission::{CertificatesSeen, DnPrefix};
use rootcast_core::inventory::dn::{CertificateDn, is_of_devices};
use rootcast_core::inventory::id::CertificateId;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::certificates::{Holder, name_key};
use crate::commit::{Condition, put_of};
use crate::item::{Item, from_item, id_key, number, text};
use crate::{CertificateOrPending, CertificateRow, Ledger, LedgerError, ListPosition, Listing, Sort};

/// Two concurrent transactions on one item get into each other's way, and hundreds of certificates are issued a second. The
/// keys of one read.
const COUNTERS: u64 = 64;
const ALL: &str = "listed#all";
/// Without a change for so long, the eventually consistent indexes show what the counters count.
const QUIET: Duration = Duration::MINUTE;
/// Certificates of which the names are put into the index before that is noted.
const PAGE: usize = 500;
/// Concurrent writes.
const CONCURRENCY: usize = 16;
/// Certificates that are all loaded for a page of them: ten calls. Among more, a page is found sooner in the list of all.
const MOST_LOADED: usize = 1000;
const BY_NAME: &str = "by-name";

/// Numbers of certificates, without devices' own that were never issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    #[serde(default)]
    pub of_devices: u64,
    #[serde(default)]
    pub others: u64,
}

impl Counted {
    pub const fn all(self) -> u64 {
        self.of_devices + self.others
    }
}

/// A counter. Fewer than none: certificates from before the counts were deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
struct Counter {
    #[serde(rename = "ofDevices")]
    of_devices: i64,
    others: i64,
    changes: u64,
    at: i64,
}

impl Counter {
    fn plus(self, other: Self) -> Self {
        Self {
            of_devices: self.of_devices + other.of_devices,
            others: self.others + other.others,
            changes: self.changes + other.changes,
            at: self.at.max(other.at),
        }
    }
}

/// How far certificates from before this are counted and named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Before {
    revision: u64,
    /// The last certificate whose name is in the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<ListPosition>,
    is_named: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    counted: Option<Base>,
}

/// What is to be added to the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Base {
    of_devices: i64,
    others: i64,
}

/// What a caller may read of the certificates, before any of them is listed.
#[derive(Debug)]
pub enum Visible {
    /// These, and no others; those that were never issued among them.
    Few(Vec<CertificateOrPending>),
    /// So many; `None`: whoever needs the number counts them.
    Many(Option<u64>),
}

impl Visible {
    pub const fn count(&self) -> Option<u64> {
        match self {
            Self::Few(held) => Some(held.len() as u64),
            Self::Many(count) => *count,
        }
    }
}

fn counter_key(certificate: CertificateId) -> Item {
    id_key(format!("listed#{:02}", certificate.number() % COUNTERS))
}

/// The attribute by which a name is in the index; devices' own certificates have none.
pub(crate) fn tree(folder: &str) -> Option<(String, aws_sdk_dynamodb::types::AttributeValue)> {
    let first = folder.split('\\').next().unwrap_or_default().to_lowercase();
    (!is_of_devices(folder)).then(|| ("tree".to_owned(), text(first)))
}

impl Ledger {
    /// Changes the counter of a certificate that is stored or deleted.
    pub(crate) fn count_listed(
        &self,
        certificate: CertificateId,
        folder: &str,
        more: i64,
        at: OffsetDateTime,
    ) -> Result<TransactWriteItem, LedgerError> {
        let update = Update::builder()
            .table_name(self.certificates()?)
            .set_key(Some(counter_key(certificate)))
            .update_expression("ADD #kind :more, changes :one SET #at = :at")
            .expression_attribute_names("#kind", if is_of_devices(folder) { "ofDevices" } else { "others" })
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":more", number(more))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":at", number(at.unix_timestamp()))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "count", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// The stored counts; `None` while certificates from before them are not counted. One call.
    pub async fn counted_certificates(&self) -> Result<Option<Counted>, LedgerError> {
        let (before, counter) = self.counters_listed().await?;
        let number = |base: i64, more: i64| u64::try_from(base + more).unwrap_or_default();
        Ok(before.counted.map(|base| Counted {
            of_devices: number(base.of_devices, counter.of_devices),
            others: number(base.others, counter.others),
        }))
    }

    /// What there is of the certificates that a caller may read. At most one call for everything, and no call for nothing.
    pub async fn visible(&self, seen: &CertificatesSeen) -> Result<Visible, LedgerError> {
        let (of_devices, below) = match seen {
            CertificatesSeen::All => return Ok(Visible::Many(self.counted_certificates().await?.map(Counted::all))),
            CertificatesSeen::Some { of_devices, below } => (*of_devices, below),
        };
        let Some((count, ids)) = self.certificates_below(below, MOST_LOADED).await? else {
            return Ok(Visible::Many(None));
        };
        if of_devices {
            return Ok(Visible::Many(self.counted_certificates().await?.map(|counted| counted.of_devices + count)));
        }
        match ids.len() <= MOST_LOADED {
            true => Ok(Visible::Few(self.certificates_or_pending(ids).await?)),
            false => Ok(Visible::Many(Some(count))),
        }
    }

    async fn counters_listed(&self) -> Result<(Before, Counter), LedgerError> {
        let mut keys: Vec<Item> = (0..COUNTERS).map(|counter| id_key(format!("listed#{counter:02}"))).collect();
        keys.push(id_key(ALL));
        let (mut before, mut sum) = (Before::default(), Counter::default());
        for item in self.batch_get_of(self.certificates()?, keys, "BatchGetItem counts").await? {
            if item.get("id") == Some(&text(ALL)) {
                before = from_item("count", item)?;
            } else {
                sum = sum.plus(from_item("count", item)?);
            }
        }
        Ok((before, sum))
    }

    /// The number of imported certificates below the prefixes, and up to `most` of their ids, with devices' own whose devices
    /// the prefixes name. `None` while those from before the index are not in it. A call a prefix, more for thousands.
    pub async fn certificates_below(
        &self,
        prefixes: &[DnPrefix],
        most: usize,
    ) -> Result<Option<(u64, BTreeSet<CertificateId>)>, LedgerError> {
        if prefixes.is_empty() {
            return Ok(Some((0, BTreeSet::new())));
        }
        let (devices, folders): (Vec<_>, Vec<_>) = prefixes.iter().partition(|prefix| is_of_devices(prefix.path()));
        let mut ids = self.named_exactly(&devices, &folders).await?;
        if folders.is_empty() {
            return Ok(Some((ids.len() as u64, ids)));
        }
        let before = self.certificate_item(id_key(ALL)).await?.map(|item| from_item::<Before>("count", item));
        if !before.transpose()?.is_some_and(|before| before.is_named) {
            return Ok(None);
        }
        let folders: Vec<DnPrefix> = folders.into_iter().cloned().collect();
        let below = stream::iter(folders).map(|prefix| async move { self.ids_below(&prefix, most).await });
        let found: Vec<(u64, Vec<CertificateId>)> = below.buffer_unordered(CONCURRENCY).try_collect().await?;
        let mut count = ids.len() as u64;
        for (number, some) in found {
            count += number;
            ids.extend(some);
        }
        Ok(Some((count, ids)))
    }

    /// The certificates of devices, and those that are named themselves. One call a hundred.
    async fn named_exactly(
        &self,
        devices: &[&DnPrefix],
        names: &[&DnPrefix],
    ) -> Result<BTreeSet<CertificateId>, LedgerError> {
        let own = devices.iter().filter_map(|prefix| {
            let dn = prefix.device().map(|device| CertificateDn::of_device(&device)).or_else(|| dn(prefix))?;
            Some(name_key(&dn.folder.to_string(), &dn.name.to_string()))
        });
        let named = names.iter().filter_map(|prefix| dn(prefix));
        let named = named.map(|dn| name_key(&dn.folder.to_string(), &dn.name.to_string()));
        let keys = own.chain(named).collect();
        let found = self.batch_get_of(self.certificates()?, keys, "BatchGetItem names").await?;
        let holder = |item| from_item("name", item).map(|holder: Holder| holder.certificate);
        found.into_iter().map(holder).collect()
    }

    async fn ids_below(&self, prefix: &DnPrefix, most: usize) -> Result<(u64, Vec<CertificateId>), LedgerError> {
        let path = prefix.path().to_lowercase();
        let tree = path.split('\\').next().unwrap_or_default();
        let query = |count: bool| {
            let query = self.client.query().table_name(self.certificates()?).index_name(BY_NAME);
            let query = query
                .key_condition_expression("tree = :tree AND begins_with(id, :below)")
                .expression_attribute_values(":tree", text(tree))
                .expression_attribute_values(":below", text(format!("name#{path}\\")));
            Ok::<_, LedgerError>(if count { query.select(Select::Count) } else { query })
        };
        let mut found = Vec::new();
        let mut items = query(false)?.into_paginator().items().send();
        while let Some(item) = items.next().await {
            let item = item.map_err(LedgerError::aws("Query by-name"))?;
            found.push(from_item("name", item).map(|holder: Holder| holder.certificate)?);
            if found.len() > most {
                break;
            }
        }
        if found.len() <= most {
            return Ok((found.len() as u64, found));
        }
        let mut pages = query(true)?.into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            count += u64::try_from(page.map_err(LedgerError::aws("Query by-name"))?.count).unwrap_or_default();
        }
        Ok((count, found))
    }

    /// Puts the names of certificates from before the index into it, and then counts what is from before the counts: once in
    /// the life of a table, in as many runs as it takes. Returns whether there is nothing left to do. One call from then on.
    /// `more`: whether there is time for more.
    pub async fn complete_lists(&self, now: OffsetDateTime, more: impl Fn() -> bool) -> Result<bool, LedgerError> {
        let item = self.certificate_item(id_key(ALL)).await?;
        let mut before: Before = item.map(|item| from_item("count", item)).transpose()?.unwrap_or_default();
        let listing =
            Listing { sort: Sort::Update, descending: false, ends_from: None, ends_before: None, filter: None };
        while !before.is_named {
            if !more() {
                return Ok(false);
            }
            let rows = self.certificates_behind(&listing, before.after, PAGE).await?;
            let imported = rows.iter().filter_map(|row| Some((name_key(&row.folder, &row.name), tree(&row.folder)?)));
            stream::iter(imported)
                .map(|(key, (attribute, tree))| self.put_in_tree(key, attribute, tree))
                .buffer_unordered(CONCURRENCY)
                .try_collect::<()>()
                .await?;
            before.after = rows.last().map(|row| listing.place(row)).or(before.after);
            before.is_named = rows.len() < PAGE;
            self.put_before(&mut before).await?;
        }
        if before.counted.is_some() {
            return Ok(true);
        }
        let (_, counter) = self.counters_listed().await?;
        let is_quiet = counter.at == 0 || now.unix_timestamp() - counter.at > QUIET.whole_seconds();
        if !is_quiet || !more() {
            return Ok(false);
        }
        let own = |row: &CertificateRow| is_of_devices(&row.folder);
        let (of_devices, _) = self.survey_certificates(&Listing { filter: Some(&own), ..listing }, 0).await?;
        let (all, _) = self.survey_certificates(&listing, 0).await?;
        let (_, afterwards) = self.counters_listed().await?;
        if afterwards != counter {
            return Ok(false);
        }
        let number = |counted: u64| i64::try_from(counted).unwrap_or(i64::MAX);
        before.counted = Some(Base {
            of_devices: number(of_devices) - counter.of_devices,
            others: number(all) - number(of_devices) - counter.others,
        });
        before.after = None;
        self.put_before(&mut before).await?;
        Ok(true)
    }

    async fn put_in_tree(
        &self,
        key: Item,
        attribute: String,
        tree: aws_sdk_dynamodb::types::AttributeValue,
    ) -> Result<(), LedgerError> {
        let update = self.client.update_item().table_name(self.certificates()?).set_key(Some(key));
        let sent = update
            .update_expression("SET #tree = :tree")
            .condition_expression("attribute_exists(id)")
            .set_expression_attribute_names(Some(HashMap::from([("#tree".to_owned(), attribute)])))
            .expression_attribute_values(":tree", tree)
            .send()
            .await;
        match sent {
            Err(error) if error.as_service_error().is_some_and(|it| it.is_conditional_check_failed_exception()) => {
                Ok(())
            }
            sent => sent.map(|_| ()).map_err(LedgerError::aws("UpdateItem name")),
        }
    }

    async fn put_before(&self, before: &mut Before) -> Result<(), LedgerError> {
        let condition = Condition::as_read(before.revision, "id");
        before.revision += 1;
        let put = put_of(self.certificates()?, "count", before, id_key(ALL), Some(condition))?;
        self.put_alone(put, "PutItem count").await
    }
}

/// The certificate that a prefix stands for, if it can be the name of one.
fn dn(prefix: &DnPrefix) -> Option<CertificateDn> {
    prefix.to_string().parse().ok()
}
