//! Revocation lists and their entries, in the jobs table under `crl#{signer}#{shard}`.
//!
//! `signed` is the signed list, and `list` is about it: a revocation costs the same whatever the length of the list. The
//! latter's revision is incremented by everything that should change the list. Each revoked certificate has a record under its
//! serial number. A list that is behind is marked as such, so the schedule finds it even if a message is lost.
//! A list that an earlier release published is itself in `list`, until it is published again.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use rootcast_core::audit::Act;
use rootcast_core::inventory::id::CertificateId;
use rootcast_pki::crl::{Crl, CrlId, Reason};
use rootcast_pki::root::Serial;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::commit::{Condition, put, put_of};
use crate::item::{Item, from_item, id_key, job_key, number, text, to_item};
use crate::{CertificateRecord, Ledger, LedgerError};

/// A signed list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrlRecord {
    pub list: CrlId,
    /// Incremented by each write, and by each revocation.
    pub revision: u64,
    pub crl: Crl,
    /// The CRL number.
    pub number: u64,
    #[serde(with = "time::serde::timestamp")]
    pub this_update: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub next_update: OffsetDateTime,
    /// Every address that certificates name for it, the latest last.
    pub urls: Vec<String>,
    /// A revocation is not in the published list yet.
    #[serde(default)]
    pub behind: bool,
    /// And one of them says more than that another certificate took its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
}

/// What is on record about a list, without the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrlHead {
    pub list: CrlId,
    pub revision: u64,
    pub number: u64,
    #[serde(with = "time::serde::timestamp")]
    pub this_update: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub next_update: OffsetDateTime,
    pub urls: Vec<String>,
    #[serde(default)]
    pub behind: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
}

/// The signed list, and its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCrl {
    pub number: u64,
    pub crl: Crl,
}

impl From<&CrlRecord> for CrlHead {
    fn from(record: &CrlRecord) -> Self {
        let CrlRecord { list, revision, number, this_update, next_update, urls, behind, urgent, .. } = record.clone();
        Self { list, revision, number, this_update, next_update, urls, behind, urgent }
    }
}

impl CrlHead {
    fn with(self, SignedCrl { number, crl }: SignedCrl) -> CrlRecord {
        let Self { list, revision, this_update, next_update, urls, behind, urgent, .. } = self;
        CrlRecord { list, revision, crl, number, this_update, next_update, urls, behind, urgent }
    }
}

/// The revocation in a certificate's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// The list in which it is published.
    pub list: CrlId,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    pub reason: Reason,
    /// The principal.
    pub by: String,
}

/// A revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevokedRecord {
    pub serial: Serial,
    pub certificate: CertificateId,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    pub reason: Reason,
    /// The principal that requested the revocation; `comments` is what it said about it.
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comments: Option<String>,
    /// The certificate's expiry. Some time after it, the lists no longer contain the certificate.
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
}

/// The first two are a root's, also of an earlier build: `crl#2#17`, `crl#2#authorities`; an issuing authority's is
/// `crl#2.1#17`.
fn partition(list: CrlId) -> String {
    match list.shard() {
        Some(shard) => format!("crl#{}#{shard}", list.signer()),
        None => format!("crl#{}#authorities", list.signer()),
    }
}

fn revoked_key(list: CrlId, serial: Serial) -> Item {
    job_key(partition(list), serial.to_string())
}

impl Condition {
    fn same_reason(before: &RevokedRecord) -> Result<Self, LedgerError> {
        let mut item = to_item("revoked certificate", before)?;
        let reason = item.remove("reason").unwrap_or(AttributeValue::Null(true));
        Ok(Self {
            expression: "#reason = :before".to_owned(),
            names: Some([("#reason".to_owned(), "reason".to_owned())].into()),
            values: Some([(":before".to_owned(), reason)].into()),
        })
    }
}

pub(crate) fn list_key(list: CrlId) -> Item {
    job_key(partition(list), LIST)
}

fn signed_key(list: CrlId) -> Item {
    job_key(partition(list), SIGNED)
}

/// Neither can be a serial number: those are hexadecimal.
const LIST: &str = "list";
const SIGNED: &str = "signed";

impl Ledger {
    /// The published list with what is on record about it; `None`: no certificate names this list. One call or two.
    pub async fn crl(&self, list: CrlId) -> Result<Option<CrlRecord>, LedgerError> {
        let Some(head) = self.crl_head(list).await? else { return Ok(None) };
        Ok(self.signed_crl(list).await?.map(|signed| head.with(signed)))
    }

    /// The published list, as it is served. One call; two if an earlier release published it, or if there is none.
    pub async fn signed_crl(&self, list: CrlId) -> Result<Option<SignedCrl>, LedgerError> {
        let item = match self.crl_item(signed_key(list)).await? {
            Some(signed) => Some(signed),
            None => self.crl_item(list_key(list)).await?,
        };
        item.map(|item| from_item("revocation list", item)).transpose()
    }

    /// What is on record about the published list; `None`: no certificate names this list. One call.
    pub async fn crl_head(&self, list: CrlId) -> Result<Option<CrlHead>, LedgerError> {
        self.crl_item(list_key(list)).await?.map(|item| from_item("revocation list", item)).transpose()
    }

    async fn crl_item(&self, key: Item) -> Result<Option<Item>, LedgerError> {
        let get = self.client.get_item().table_name(self.jobs()?).set_key(Some(key));
        Ok(get.send().await.map_err(LedgerError::aws("GetItem revocation list"))?.item)
    }

    /// The published list, and all revocations that belong to it. One call per megabyte.
    pub async fn crl_and_revoked(&self, list: CrlId) -> Result<(Option<CrlRecord>, Vec<RevokedRecord>), LedgerError> {
        let mut pages = self
            .client
            .query()
            .table_name(self.jobs()?)
            .key_condition_expression("pk = :list")
            .expression_attribute_values(":list", text(partition(list)))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let (mut head, mut signed, mut revoked) = (None::<CrlHead>, None::<SignedCrl>, Vec::new());
        while let Some(item) = pages.next().await {
            let item = item.map_err(LedgerError::aws("Query revocations"))?;
            match item.get("sk").and_then(|sk| sk.as_s().ok()).map(String::as_str) {
                Some(LIST) => {
                    if signed.is_none() && item.contains_key("crl") {
                        signed = Some(from_item("revocation list", item.clone())?);
                    }
                    head = Some(from_item("revocation list", item)?);
                }
                Some(SIGNED) => signed = Some(from_item("revocation list", item)?),
                _ => revoked.push(from_item("revoked certificate", item)?),
            }
        }
        Ok((head.zip(signed).map(|(head, signed)| head.with(signed)), revoked))
    }

    /// Publishes a list. `record.revision` is that of the list it replaces (0: none), and is incremented.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if another list was published since, or a certificate was revoked that this list may
    /// lack.
    pub async fn publish_crl(&self, record: &CrlRecord) -> Result<(), LedgerError> {
        if let (0, Some(shard)) = (record.revision, record.list.shard()) {
            self.note_made(record.list.signer(), [shard], None).await?;
        }
        let head = CrlHead { revision: record.revision + 1, ..record.into() };
        let signed = SignedCrl { number: record.number, crl: record.crl.clone() };
        // Two writes cost half of a transaction. Who dies between them leaves a list that is newer than what is on record about
        // it, which stays behind; the next number is above both. A first list has no entries that another one could lack.
        let below = if record.revision == 0 { "<=" } else { "<" };
        let older = Condition {
            expression: format!("attribute_not_exists(pk) OR #number {below} :number"),
            names: Some([("#number".to_owned(), "number".to_owned())].into()),
            values: Some([(":number".to_owned(), number(record.number))].into()),
        };
        let put = put_of(self.jobs()?, "revocation list", &signed, signed_key(record.list), Some(older))?;
        self.put_alone(put, "PutItem signed revocation list").await?;
        let condition = Some(Condition::as_read(record.revision, "pk"));
        let put = put_of(self.jobs()?, "revocation list", &head, list_key(record.list), condition)?;
        self.put_alone(put, "PutItem revocation list").await
    }

    /// The revocation of a serial number; `None`: it is not revoked. One call.
    pub async fn revoked(&self, list: CrlId, serial: Serial) -> Result<Option<RevokedRecord>, LedgerError> {
        let get = self.client.get_item().table_name(self.jobs()?).set_key(Some(revoked_key(list, serial)));
        let answer = get.consistent_read(true).send().await.map_err(LedgerError::aws("GetItem revoked certificate"))?;
        answer.item.map(|item| from_item("revoked certificate", item)).transpose()
    }

    /// The revoked ones among these serial numbers, in no order.
    pub async fn revoked_among(
        &self,
        serials: impl IntoIterator<Item = (CrlId, Serial)>,
    ) -> Result<Vec<RevokedRecord>, LedgerError> {
        let keys = serials.into_iter().map(|(list, serial)| revoked_key(list, serial)).collect();
        let found = self.batch_get(keys, "BatchGetItem revoked certificates").await?;
        found.into_iter().map(|item| from_item("revoked certificate", item)).collect()
    }

    /// Revokes a serial number, and marks its list as behind. Returns `false` if it was already revoked. `read`: the
    /// certificate that holds it, as it was read; `None`: it was renewed or deleted. `before`: the revocation that this
    /// one replaces, as it was read. `act`: for the certificate's audit chain, which outlives it.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the certificate has changed since it was read, or the list does not exist, in which
    /// case no certificate names it.
    pub async fn revoke(
        &self,
        read: Option<&CertificateRecord>,
        list: CrlId,
        record: &RevokedRecord,
        before: Option<&RevokedRecord>,
        act: &Act,
    ) -> Result<bool, LedgerError> {
        let key = revoked_key(list, record.serial);
        let unwritable = |what| move |source| LedgerError::Unwritable { what, source: Box::new(source) };
        let change = match record.reason {
            Reason::Superseded => "SET behind = :true ADD revision :one",
            _ => "SET behind = :true, urgent = :true ADD revision :one",
        };
        let behind = Update::builder()
            .table_name(self.jobs()?)
            .set_key(Some(list_key(list)))
            .update_expression(change)
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":one", number(1))
            .build()
            .map_err(unwritable("revocation list"))?;
        let condition = match before {
            Some(before) => Condition::same_reason(before)?,
            None => Condition::absent("pk"),
        };
        let mut writes = vec![
            put(self.jobs()?, "revoked certificate", record, key, Some(condition))?,
            TransactWriteItem::builder().update(behind).build(),
        ];
        if let Some(read) = read {
            let revocation = Revocation { list, at: record.at, reason: record.reason, by: record.by.clone() };
            let revoked = Update::builder()
                .table_name(self.certificates()?)
                .set_key(Some(id_key(read.id)))
                .update_expression("SET revoked = :revoked ADD revision :one")
                .condition_expression("revision = :read")
                .expression_attribute_values(":revoked", AttributeValue::M(to_item("revocation", &revocation)?))
                .expression_attribute_values(":read", number(read.revision))
                .expression_attribute_values(":one", number(1))
                .build()
                .map_err(unwritable("certificate"))?;
            writes.push(TransactWriteItem::builder().update(revoked).build());
        }
        let links = self.link(std::slice::from_ref(act)).await?;
        writes.extend(links.writes());
        match self.transact_by_write(writes, "TransactWriteItems revocation").await? {
            Ok(()) => {
                links.tell();
                Ok(true)
            }
            Err(codes) if codes.first().is_some_and(|code| code == "ConditionalCheckFailed") => Ok(false),
            Err(_) => Err(LedgerError::Conflict),
        }
    }
}
