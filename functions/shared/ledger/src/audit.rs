//! Audit chains, in the jobs table under their subject. `audit#{sequence}` is an entry's line as it was hashed, `audit`
//! is the head.
//!
//! An entry is written in one transaction with its act, on the condition that the head is unchanged since it was read.
//! On a conflict, neither the act nor the entry is written, and the caller repeats both.

use aws_sdk_dynamodb::types::TransactWriteItem;
use rootcast_core::audit::{Act, Entry, Head, Subject};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::commit::{Condition, put};
use crate::item::{Item, from_item, job_key, number, text};
use crate::retries::pause;
use crate::{Ledger, LedgerError};

/// Retries of a standalone entry after a conflict over the head: at most 1.8 s in total.
const RACES: u32 = 7;

/// One page of a chain, in order.
#[derive(Debug, Clone, Default)]
pub struct AuditPage {
    /// The lines as they were hashed.
    pub lines: Vec<String>,
    /// Where the next page starts.
    pub next: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LineItem {
    line: String,
}

/// The next entries of several chains, at most one per chain.
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

fn head_key(subject: &Subject) -> Item {
    job_key(subject.to_string(), "audit")
}

fn line_sort(sequence: u64) -> String {
    format!("audit#{sequence:012}")
}

impl Ledger {
    /// The head of a chain. One call.
    pub async fn audit_head(&self, subject: &Subject) -> Result<Head, LedgerError> {
        let get = self.client.get_item().table_name(self.jobs()?).set_key(Some(head_key(subject)));
        let answer = get.consistent_read(true).send().await.map_err(LedgerError::aws("GetItem audit"))?;
        Ok(answer.item.map(|item| from_item("audit head", item)).transpose()?.unwrap_or(Head::NONE))
    }

    /// At most `limit` entries after `after`; 0 stands for the start. One call.
    pub async fn audit_page(&self, subject: &Subject, after: u64, limit: u32) -> Result<AuditPage, LedgerError> {
        let query = self.client.query().table_name(self.jobs()?);
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
        for race in 0.. {
            match self.transact_audited(Vec::new(), act).await {
                Err(LedgerError::Conflict) if race < RACES => pause(race + 1).await,
                written => return written,
            }
        }
        Err(LedgerError::Conflict)
    }

    /// Writes an act together with its entry. Two calls.
    pub(crate) async fn transact_audited(
        &self,
        mut writes: Vec<TransactWriteItem>,
        act: &Act,
    ) -> Result<(), LedgerError> {
        let links = self.link(act).await?;
        writes.extend(links.writes());
        self.transact(writes).await?;
        links.tell();
        Ok(())
    }

    /// The act as the next entry of its chain. One call.
    pub(crate) async fn link(&self, act: &Act) -> Result<Links, LedgerError> {
        self.link_to(act, &self.audit_head(&act.subject).await?)
    }

    /// The act as the first entry of its chain.
    pub(crate) fn first_link(&self, act: &Act) -> Result<Links, LedgerError> {
        self.link_to(act, &Head::NONE)
    }

    fn link_to(&self, act: &Act, read: &Head) -> Result<Links, LedgerError> {
        let entry = act.after(read);
        let line =
            entry.line().map_err(|source| LedgerError::Unwritable { what: "audit", source: Box::new(source) })?;
        let head = entry.head(&line);
        let key = job_key(act.subject.to_string(), line_sort(entry.sequence));
        let as_read = match read.sequence {
            0 => Condition::absent("pk"),
            sequence => Condition {
                expression: "#sequence = :read".to_owned(),
                names: Some([("#sequence".to_owned(), "sequence".to_owned())].into()),
                values: Some([(":read".to_owned(), number(sequence))].into()),
            },
        };
        let writes = vec![
            put(self.jobs()?, "audit", &LineItem { line }, key, Some(Condition::absent("pk")))?,
            put(self.jobs()?, "audit head", &head, head_key(&act.subject), Some(as_read))?,
        ];
        Ok(Links { writes, made: vec![(entry, head)] })
    }
}
