//! Failed attempts to log in.
//!
//! Each count is a transaction of one write: such a one is not done twice where its answer was lost.
//!
//! Names are kept as their SHA-256: what somebody typed in the place of a name may be his password.

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

/// Looks at a record that others write at the same time ...
const LOOKS: u32 = 12;
/// ... with pauses between them that grow by this: 0.66 s in all.
const PAUSE: Duration = Duration::from_millis(10);

/// Nobody may try before so much time is over.
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
    /// Counts an attempt as failed, before anybody knows whether it is. `of`: the name or the source address.
    ///
    /// # Errors
    /// [`NotCounted::Locked`] where there were too many; the attempt is not counted then, and may not be made.
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
        // So many at once are guesses, or will come again.
        Err(Locked(time::Duration::SECOND).into())
    }

    /// The attempt was none: of a name every failure is forgotten, of a source this one.
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

/// Two records that are equal in this are equal in all, so it does not matter which of them is replaced.
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
