//! Audit chains, in a table of their own, under their subject. `audit#{sequence}` is an entry's line as it was hashed,
//! `audit` is the head, which is in an index by the time of its last entry: see `heads`. No role may update or delete an
//! item there, and none that speaks to devices may write one.
//!
//! An entry is written in one transaction with its act, on the condition that the head is unchanged since it was read.
//! On a conflict, neither the act nor the entry is written, and the caller repeats both.

use aws_sdk_dynamodb::types::TransactWriteItem;
use rootcast_core::audit::{Act, Entry, Head, Subject};
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tracing::info;

use crate::commit::{Condition, put};
use crate::heads::shard_of;
use crate::item::{Item, from_item, job_key, number, text};
use crate::retries::pause;
use crate::{Ledger, LedgerError};

/// The sort key of a chain's head.
pub(crate) const HEAD_SORT: &str = "audit";
/// Retries of a standalone entry after a conflict over the head: at most 1.8 s in total.
const RACES: u32 = 7;
/// Entries in one transaction, of 8 KiB each at most.
const AT_ONCE: usize = 40;

/// One page of a chain, in order.
#[derive(Debug, Clone, Default)]
pub struct AuditPage {
    /// The lines as they were hashed.
    pub lines: Vec<String>,
    /// Where the next page starts.
    pub next: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LineItem {
    pub(crate) line: String,
}

/// A head with the keys of its index.
#[derive(Debug, Serialize)]
struct HeadItem {
    hash: Fingerprint,
    sequence: u64,
    shard: u8,
    #[serde(with = "time::serde::timestamp")]
    changed: OffsetDateTime,
}

/// The next entries of several chains.
#[derive(Debug, Default)]
pub(crate) struct Links {
    writes: Vec<TransactWriteItem>,
    made: Vec<(Entry, Head)>,
}

impl Links {
    /// To be written in one transaction with the acts.
    pub(crate) fn writes(&self) -> impl Iterator<Item = TransactWriteItem> {
        self.writes.iter().cloned()
    }

    pub(crate) fn and(mut self, other: Self) -> Self {
        self.writes.extend(other.writes);
        self.made.extend(other.made);
        self
    }

    /// Logs the written entries. The log then holds each head too, where a change of the table cannot reach it.
    pub(crate) fn tell(&self) {
        for (entry, head) in &self.made {
            info!(
                caller = entry.principal, request.id = entry.request_id, audit.subject = %entry.subject,
                audit.sequence = entry.sequence, audit.sha256 = %head.hash, audit.action = ?entry.action,
                audit.outcome = ?entry.outcome, "recorded"
            );
        }
    }
}

/// Others were faster at every attempt. That says nothing about the act itself, as [`LedgerError::Conflict`] would.
fn outrun() -> LedgerError {
    let source = "other entries of the same chain were written at every attempt".into();
    LedgerError::Transient { operation: "TransactWriteItems audited", source }
}

fn head_key(subject: &Subject) -> Item {
    job_key(subject.to_string(), HEAD_SORT)
}

pub(crate) fn line_sort(sequence: u64) -> String {
    format!("audit#{sequence:012}")
}

impl Ledger {
    /// The head of a chain. One call.
    pub async fn audit_head(&self, subject: &Subject) -> Result<Head, LedgerError> {
        let get = self.client.get_item().table_name(self.audits()?).set_key(Some(head_key(subject)));
        let answer = get.consistent_read(true).send().await.map_err(LedgerError::aws("GetItem audit"))?;
        Ok(answer.item.map(|item| from_item("audit head", item)).transpose()?.unwrap_or(Head::NONE))
    }

    /// At most `limit` entries after `after`; 0 stands for the start. One call.
    pub async fn audit_page(&self, subject: &Subject, after: u64, limit: u32) -> Result<AuditPage, LedgerError> {
        let query = self.client.query().table_name(self.audits()?);
        let query = query.key_condition_expression("pk = :subject AND sk BETWEEN :first AND :last");
        let query = query
            .expression_attribute_values(":subject", text(subject.to_string()))
            .expression_attribute_values(":first", text(line_sort(after.saturating_add(1))))
            .expression_attribute_values(":last", text(line_sort(999_999_999_999)));
        let query = query.consistent_read(true).limit(i32::try_from(limit).unwrap_or(100));
        let answer = query.send().await.map_err(LedgerError::aws("Query audit"))?;
        let more = answer.last_evaluated_key.is_some();
        let lines = answer.items.unwrap_or_default().into_iter().map(|item| from_item::<LineItem>("audit", item));
        let lines: Vec<String> = lines.map(|item| Ok(item?.line)).collect::<Result<_, LedgerError>>()?;
        Ok(AuditPage { next: more.then_some(after + lines.len() as u64), lines })
    }

    /// Records an act on its own, with retries.
    pub async fn audit(&self, act: &Act) -> Result<(), LedgerError> {
        self.audit_all(std::slice::from_ref(act)).await
    }

    /// Records an act on its own, without a second try. Two calls.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if another act on the same subject was recorded at the same time.
    pub async fn try_audit(&self, act: &Act) -> Result<(), LedgerError> {
        self.transact_audited(Vec::new(), std::slice::from_ref(act)).await
    }

    /// Records acts on one subject, in this order, with retries. Two calls for each forty.
    pub async fn audit_all(&self, acts: &[Act]) -> Result<(), LedgerError> {
        for some in acts.chunks(AT_ONCE) {
            let mut race = 0;
            loop {
                match self.transact_audited(Vec::new(), some).await {
                    Err(LedgerError::Conflict) if race < RACES => race += 1,
                    Err(LedgerError::Conflict) => return Err(outrun()),
                    written => break written?,
                }
                pause(race).await;
            }
        }
        Ok(())
    }

    /// Makes one write together with its entry, and repeats both while others add to the chain. Two calls.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the write's own condition failed.
    pub(crate) async fn write_audited(&self, write: TransactWriteItem, act: &Act) -> Result<(), LedgerError> {
        self.write_audited_in_parts(write, std::slice::from_ref(act)).await
    }

    /// As [`Self::write_audited`], with an act that takes more than one entry.
    pub(crate) async fn write_audited_in_parts(
        &self,
        write: TransactWriteItem,
        acts: &[Act],
    ) -> Result<(), LedgerError> {
        for race in 0..=RACES {
            let links = self.link(acts).await?;
            let writes = std::iter::once(write.clone()).chain(links.writes()).collect();
            match self.transact_by_write(writes, "TransactWriteItems audited").await? {
                Ok(()) => {
                    links.tell();
                    return Ok(());
                }
                Err(codes) if codes.first().is_some_and(|code| code == "ConditionalCheckFailed") => {
                    return Err(LedgerError::Conflict);
                }
                Err(_) => pause(race + 1).await,
            }
        }
        Err(outrun())
    }

    /// Writes an act together with its entries, which have one subject. Two calls.
    pub(crate) async fn transact_audited(
        &self,
        mut writes: Vec<TransactWriteItem>,
        acts: &[Act],
    ) -> Result<(), LedgerError> {
        let links = self.link(acts).await?;
        writes.extend(links.writes());
        self.transact(writes).await?;
        links.tell();
        Ok(())
    }

    /// The acts, which have one subject, as the next entries of its chain. One call.
    pub(crate) async fn link(&self, acts: &[Act]) -> Result<Links, LedgerError> {
        match acts.first() {
            Some(act) => self.link_to(acts, self.audit_head(&act.subject).await?),
            None => Ok(Links::default()),
        }
    }

    /// The act as the first entry of its chain.
    pub(crate) fn first_link(&self, act: &Act) -> Result<Links, LedgerError> {
        self.link_to(std::slice::from_ref(act), Head::NONE)
    }

    pub(crate) fn link_to(&self, acts: &[Act], read: Head) -> Result<Links, LedgerError> {
        let (mut links, mut head) = (Links::default(), read);
        for act in acts {
            let entry = act.after(&head);
            let line =
                entry.line().map_err(|source| LedgerError::Unwritable { what: "audit", source: Box::new(source) })?;
            head = entry.head(&line);
            let key = job_key(act.subject.to_string(), line_sort(entry.sequence));
            links.writes.push(put(self.audits()?, "audit", &LineItem { line }, key, Some(Condition::absent("pk")))?);
            links.made.push((entry, head));
        }
        let as_read = match read.sequence {
            0 => Condition::absent("pk"),
            sequence => Condition {
                expression: "#sequence = :read".to_owned(),
                names: Some([("#sequence".to_owned(), "sequence".to_owned())].into()),
                values: Some([(":read".to_owned(), number(sequence))].into()),
            },
        };
        if let Some(act) = acts.last() {
            let key = head_key(&act.subject);
            let Head { hash, sequence } = head;
            let item = HeadItem { hash, sequence, shard: shard_of(&act.subject), changed: act.at };
            links.writes.push(put(self.audits()?, "audit head", &item, key, Some(as_read))?);
        }
        Ok(links)
    }
}
