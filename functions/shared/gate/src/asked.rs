//! Carries out what an event asks for: once, however often it is delivered, and on record.

use lambda_http::lambda_runtime::Diagnostic;
use rootcast_core::asked::{Asked, NotAsked};
use rootcast_core::audit::Outcome;
use rootcast_ledger::{Ledger, LedgerError, Standing};
use thiserror::Error;
use time::OffsetDateTime;
use tracing::info;

/// Why what an event asks for was not done. Lambda delivers the event twice more, and then puts it into the dead-letter
/// queue.
#[derive(Debug, Error)]
pub enum Unmet {
    #[error("The event is not carried out: {0}. Correct it, and put it on the bus again.")]
    NotAsked(#[from] NotAsked),
    #[error("Another delivery of the event is carried out right now.")]
    UnderWay,
    #[error("The event was refused before: request:event-{0} in the audit says why.")]
    RefusedBefore(String),
    /// For good.
    #[error("What the event asks for is refused: {0}")]
    Refused(String),
    #[error("What the event asks for could not be done, and is tried again: {0}")]
    Passing(String),
    #[error("What the event asks for could not be done, and is tried again: {0}")]
    Ledger(#[from] LedgerError),
}

impl From<Unmet> for Diagnostic {
    fn from(why: Unmet) -> Self {
        let error_type = match why {
            Unmet::NotAsked(_) => "NotAsked",
            Unmet::UnderWay => "UnderWay",
            Unmet::RefusedBefore(_) | Unmet::Refused(_) => "Refused",
            Unmet::Passing(_) => "Passing",
            Unmet::Ledger(_) => "LedgerError",
        };
        Self { error_type: error_type.to_owned(), error_message: why.to_string() }
    }
}

/// Carries out `asked` by `work`, which says what came of it, unless an earlier delivery did. `work` is told whether an
/// earlier delivery was interrupted, and may have done some of it. The event's chain has an entry before, which must be
/// written first, and one after it.
///
/// # Errors
/// As `work`.
pub async fn once(
    ledger: &Ledger,
    asked: &Asked,
    clock: fn() -> OffsetDateTime,
    work: impl AsyncFnOnce(bool) -> Result<String, Unmet>,
) -> Result<(), Unmet> {
    let begun = asked.begun(clock());
    let again = match ledger.begin_request(&begun, begun.at).await? {
        Standing::New => false,
        Standing::Interrupted => true,
        Standing::UnderWay => return Err(Unmet::UnderWay),
        Standing::Refused => return Err(Unmet::RefusedBefore(asked.id.to_string())),
        Standing::Done => {
            info!(event.id = %asked.id, "the event was delivered again; it is carried out already");
            return Ok(());
        }
    };
    let done = work(again).await;
    let (outcome, said) = match &done {
        Ok(said) => (Outcome::Done, said.as_str()),
        Err(Unmet::Refused(why)) => (Outcome::Failed, why.as_str()),
        // The next delivery goes on.
        Err(_) => return done.map(drop),
    };
    ledger.audit_all(&asked.ended(outcome, said, clock())).await?;
    info!(event.id = %asked.id, event.source = asked.source, ?outcome, "an event is carried out: {said}");
    done.map(drop)
}
