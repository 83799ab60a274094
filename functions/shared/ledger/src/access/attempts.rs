//! Failed login attempts.
//!
//! Each count is a transaction with a single write. Unlike a plain write, a transaction is not applied twice when its
//! response was lost and the SDK retries.
//!
//! Names are stored as their SHA-256, because a user may have typed the password in place of the name.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use rootcast_core::access::lockout::{Attempts, Counted};
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;

use crate::commit::{Condition, put};
use crate::item::{id_key, number};
use crate::{Ledger, LedgerError};

/// Tries to update a record despite concurrent writers.
const LOOKS: u32 = 12;
/// The pause between tries grows by this each time: 0.66 s in total.
const PAUSE: Duration = Duration::from_millis(10);

/// No attempt is allowed for this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many failed attempts: the next one may be in {0}")]
pub struct Locked(pub time::Duration);

#[derive(Debug, Error)]
pub enum NotCounted {
    #[error(transparent)]
    Locked(#[from] Locked),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    attempts: Attempts,
    expires: i64,
}

impl Ledger {
    /// Counts an attempt as failed, before the password is verified. `of`: the name or the source address.
    ///
    /// # Errors
    /// [`NotCounted::Locked`] after too many failures. The attempt is not counted, and must not be made.
    pub async fn count_attempt(&self, whose: Counted, of: &str, now: OffsetDateTime) -> Result<(), NotCounted> {
        for look in 0..LOOKS {
            tokio::time::sleep(PAUSE * look).await;
            let read: Option<Record> =
                self.access_record("attempts", "GetItem attempts", attempts_id(whose, of)).await?;
            let counted = read.as_ref().map(|record| record.attempts).unwrap_or_default().one_more(whose, now);
            let attempts = counted.map_err(Locked)?;
            let (record, key) = (Record { attempts, expires: attempts.expires() }, id_key(attempts_id(whose, of)));
            let counted = put(self.access()?, "attempts", &record, key, Some(as_read(read.as_ref())))?;
            match self.transact(vec![counted]).await {
                Err(LedgerError::Conflict) => {}
                done => return Ok(done?),
            }
        }
        // So many concurrent attempts are guesses; a legitimate client retries.
        Err(Locked(time::Duration::SECOND).into())
    }

    /// Uncounts a successful attempt: clears all failures of a name, but only this one of a source.
    pub async fn forgive_attempt(&self, whose: Counted, of: &str) -> Result<(), LedgerError> {
        let none = (":none".to_owned(), number(0));
        let (expression, values) = match whose {
            Counted::Name => ("SET failures = :none", HashMap::from([none])),
            Counted::Source => {
                ("SET failures = failures - :one", HashMap::from([none, (":one".to_owned(), number(1))]))
            }
        };
        let update = Update::builder()
            .table_name(self.access()?)
            .set_key(Some(id_key(attempts_id(whose, of))))
            .update_expression(expression)
            .condition_expression("failures > :none")
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "attempts", source: Box::new(source) })?;
        match self.transact(vec![TransactWriteItem::builder().update(update).build()]).await {
            Err(LedgerError::Conflict) => Ok(()),
            done => done,
        }
    }
}

/// Two records with equal values here are equal altogether, so it does not matter which one is replaced.
fn as_read(read: Option<&Record>) -> Condition {
    let Some(Record { attempts, .. }) = read else { return Condition::absent("id") };
    let values = [(":failures", i64::from(attempts.failures)), (":counted", attempts.counted)];
    Condition {
        expression: "failures = :failures AND counted = :counted".to_owned(),
        names: None,
        values: Some(values.map(|(name, value)| (name.to_owned(), number(value))).into()),
    }
}

fn attempts_id(whose: Counted, of: &str) -> String {
    match whose {
        Counted::Name => format!("attempts#name#{}", Fingerprint::of(of.as_bytes())),
        Counted::Source => format!("attempts#source#{of}"),
    }
}
