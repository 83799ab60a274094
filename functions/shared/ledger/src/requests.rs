//! Requests that events make. Each has an audit chain of its own, which also says how far it is: an event is delivered at
//! least once, and carried out once.

use rootcast_core::audit::{Act, Entry, Outcome, Subject};
use time::{Duration, OffsetDateTime};

use crate::audit::line_sort;
use crate::item::{from_item, job_key};
use crate::{Ledger, LedgerError};

/// Longer than any function that carries a request out may run (29 s): whoever began it before is dead.
const PATIENCE: Duration = Duration::seconds(60);

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Begun now.
    New,
    /// Begun before, and interrupted or failed: part of it may be done.
    Interrupted,
    /// Another delivery is at it.
    UnderWay,
    Done,
    Refused,
}

impl Ledger {
    /// Records that a request is begun, unless it was before. `act`: the first entry of its chain. At most three calls.
    pub async fn begin_request(&self, act: &Act, now: OffsetDateTime) -> Result<Standing, LedgerError> {
        let subject = &act.subject;
        let Some(first) = self.audit_entry(subject, 1).await? else {
            let links = self.first_link(act)?;
            return match self.transact(links.writes().collect()).await {
                Ok(()) => {
                    links.tell();
                    Ok(Standing::New)
                }
                Err(LedgerError::Conflict) => Ok(Standing::UnderWay),
                Err(error) => Err(error),
            };
        };
        Ok(match self.audit_entry(subject, 2).await?.map(|entry| entry.outcome) {
            Some(Outcome::Failed) => Standing::Refused,
            Some(_) => Standing::Done,
            None if now < first.at + PATIENCE => Standing::UnderWay,
            None => Standing::Interrupted,
        })
    }

    /// One entry of a chain. One call.
    pub async fn audit_entry(&self, subject: &Subject, sequence: u64) -> Result<Option<Entry>, LedgerError> {
        let key = job_key(subject.to_string(), line_sort(sequence));
        let get = self.client.get_item().table_name(self.audits()?).set_key(Some(key)).consistent_read(true);
        let answer = get.send().await.map_err(LedgerError::aws("GetItem audit"))?;
        let Some(item) = answer.item else { return Ok(None) };
        let line = from_item::<crate::audit::LineItem>("audit", item)?.line;
        let entry = Entry::parse(&line);
        entry.map(Some).map_err(|source| LedgerError::Corrupt { what: "audit", source: Box::new(source) })
    }
}
