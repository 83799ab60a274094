//! The heads of the audit chains by the time of their last entry, and the signed statements of them.
//!
//! The index is on the head's own item, which is written with each entry anyway: it costs no further write in the
//! transaction. It is sparse, since nothing else in the table has a shard, and it follows the table with a delay
//! ([`OVERLAP`](rootcast_core::audit::OVERLAP)).
//!
//! The statements are in a table of their own, which only the signer may write. Statements are only appended:
//! `statement#{number}` is one as it was signed. `copied`, which is replaced, has the number of the last one that is in the auditors'
//! bucket: in the same table, so that restoring it restores both.

use rootcast_core::audit::{StatedHead, Subject};
use rootcast_core::device::SHARDS;
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tracing::error;

use crate::audit::HEAD_SORT;
use crate::item::{Item, from_item, job_key, number, text, to_item};
use crate::{Ledger, LedgerError};

const BY_CHANGE: &str = "by-change";
/// The partition of the statements.
const STATEMENTS: &str = "statements";
const COPIED: &str = "copied";

/// Heads of one shard, oldest change first.
#[derive(Debug, Default)]
pub struct HeadPage {
    pub heads: Vec<StatedHead>,
    /// Items of the index that are no head. The log names them.
    pub unreadable: u64,
    /// Where the next page starts.
    pub next: Option<Item>,
}

/// Statements in the order of their numbers.
#[derive(Debug, Default)]
pub struct StatementPage {
    pub statements: Vec<String>,
    /// Where the next page starts.
    pub next: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StatementItem {
    jws: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct CopiedItem {
    copied: u64,
}

#[derive(Deserialize)]
struct ChangedItem {
    #[serde(rename = "pk")]
    subject: Subject,
    sk: String,
    hash: Fingerprint,
    sequence: u64,
}

/// The index's partition of a chain's head.
pub(crate) fn shard_of(subject: &Subject) -> u8 {
    let [first, ..] = *Fingerprint::of(subject.to_string().as_bytes()).as_bytes();
    first % SHARDS
}

fn statement_sort(number: u64) -> String {
    format!("statement#{number:012}")
}

impl Ledger {
    /// One page of the shard's heads whose last entry is of `since` or later. One call. Several functions may put items into
    /// the table, so one that cannot be read does not hold up the others.
    pub async fn heads_changed(
        &self,
        shard: u8,
        since: OffsetDateTime,
        after: Option<Item>,
    ) -> Result<HeadPage, LedgerError> {
        let query = self.client.query().table_name(self.audits()?).index_name(BY_CHANGE);
        let query = query
            .key_condition_expression("#shard = :shard AND changed >= :since")
            .expression_attribute_names("#shard", "shard") // a reserved word
            .expression_attribute_values(":shard", number(shard))
            .expression_attribute_values(":since", number(since.unix_timestamp()));
        let answer = query.set_exclusive_start_key(after).send().await.map_err(LedgerError::aws("Query by-change"))?;
        let mut page = HeadPage { next: answer.last_evaluated_key, ..HeadPage::default() };
        for item in answer.items.unwrap_or_default() {
            let key = ["pk", "sk"].map(|name| item.get(name).and_then(|value| value.as_s().ok()).cloned());
            match from_item::<ChangedItem>("audit head", item) {
                Ok(ChangedItem { subject, sk, hash, sequence }) if sk == HEAD_SORT => {
                    page.heads.push(StatedHead { hash, sequence, subject });
                }
                found => {
                    page.unreadable += 1;
                    let why = found.err().map_or_else(|| "its key is not a head's".to_owned(), |why| why.to_string());
                    error!(
                        audit.key = ?key, error = why,
                        "an item of the index by-change is no head of a chain, and is not stated: find out who wrote it"
                    );
                }
            }
        }
        Ok(page)
    }

    /// The last statement. One call.
    pub async fn last_statement(&self) -> Result<Option<String>, LedgerError> {
        let query = self.client.query().table_name(self.statements_table()?);
        let query = query.key_condition_expression("pk = :statements AND begins_with(sk, :kind)");
        let query = query
            .expression_attribute_values(":statements", text(STATEMENTS))
            .expression_attribute_values(":kind", text("statement#"));
        let query = query.consistent_read(true).scan_index_forward(false).limit(1);
        let answer = query.send().await.map_err(LedgerError::aws("Query statements"))?;
        let last = answer.items.unwrap_or_default().into_iter().next();
        Ok(last.map(|item| from_item::<StatementItem>("statement", item)).transpose()?.map(|item| item.jws))
    }

    /// At most `limit` statements after `after`; 0 stands for the start. One call.
    pub async fn statements(&self, after: u64, limit: u32) -> Result<StatementPage, LedgerError> {
        let query = self.client.query().table_name(self.statements_table()?);
        let query = query.key_condition_expression("pk = :statements AND sk BETWEEN :first AND :last");
        let query = query
            .expression_attribute_values(":statements", text(STATEMENTS))
            .expression_attribute_values(":first", text(statement_sort(after.saturating_add(1))))
            .expression_attribute_values(":last", text(statement_sort(999_999_999_999)));
        let query = query.consistent_read(true).limit(i32::try_from(limit).unwrap_or(100));
        let answer = query.send().await.map_err(LedgerError::aws("Query statements"))?;
        let more = answer.last_evaluated_key.is_some();
        let items = answer.items.unwrap_or_default().into_iter();
        let statements: Vec<String> = items
            .map(|item| Ok(from_item::<StatementItem>("statement", item)?.jws))
            .collect::<Result<_, LedgerError>>()?;
        Ok(StatementPage { next: more.then_some(after + statements.len() as u64), statements })
    }

    /// The number of the last statement that was copied to the bucket; 0 for none. One call.
    pub async fn copied_statement(&self) -> Result<u64, LedgerError> {
        let query = self.client.query().table_name(self.statements_table()?);
        let query = query.key_condition_expression("pk = :statements AND sk = :copied");
        let query = query
            .expression_attribute_values(":statements", text(STATEMENTS))
            .expression_attribute_values(":copied", text(COPIED));
        let answer = query.consistent_read(true).send().await.map_err(LedgerError::aws("Query copied"))?;
        let item = answer.items.unwrap_or_default().into_iter().next();
        Ok(item.map(|item| from_item::<CopiedItem>("copied", item)).transpose()?.map_or(0, |item| item.copied))
    }

    /// Notes that this statement was copied, unless a later one was. One call.
    pub async fn note_copied(&self, last: u64) -> Result<(), LedgerError> {
        let mut item = to_item("copied", &CopiedItem { copied: last })?;
        item.extend(job_key(STATEMENTS, COPIED));
        let put = self.client.put_item().table_name(self.statements_table()?).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(pk) OR copied < :copied");
        match put.expression_attribute_values(":copied", number(last)).send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(service) if service.is_conditional_check_failed_exception() => Ok(()),
                _ => Err(LedgerError::aws("PutItem copied")(error)),
            },
        }
    }

    /// Stores a statement under a number that has none. One call.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if there is another one: a run at the same time was faster.
    pub async fn put_statement(&self, number: u64, jws: String) -> Result<(), LedgerError> {
        let mut item = to_item("statement", &StatementItem { jws })?;
        item.extend(job_key(STATEMENTS, statement_sort(number)));
        let put = self.client.put_item().table_name(self.statements_table()?).set_item(Some(item));
        match put.condition_expression("attribute_not_exists(pk)").send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(service) if service.is_conditional_check_failed_exception() => Err(LedgerError::Conflict),
                _ => Err(LedgerError::aws("PutItem statement")(error)),
            },
        }
    }
}
