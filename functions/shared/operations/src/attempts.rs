//! Load, decide, write: repeated from the start after a conflict with another writer.

use std::iter::successors;
use std::time::Duration;

use rootcast_ledger::LedgerError;
use tokio::time::{Instant, sleep};

use crate::NotDone;

/// Attempts, including the first one. Conductors and workers write the same records all the time.
const ATTEMPTS: usize = 9;
/// The first pause between attempts. Each pause is twice the previous one: 5.1 s in all.
const PAUSE: Duration = Duration::from_millis(20);

/// Each call of `attempt` decides on the records as they are then.
pub(crate) async fn attempts<T, R, F>(attempt: impl FnMut() -> F) -> Result<T, NotDone<R>>
where
    F: Future<Output = Result<T, NotDone<R>>>,
{
    attempts_until(None, |_| false, attempt).await
}

/// No attempt starts after the deadline. A refusal for which `passes` holds is retried, and returned after the last
/// attempt.
pub(crate) async fn attempts_until<T, R, F>(
    deadline: Option<Instant>,
    passes: impl Fn(&R) -> bool,
    mut attempt: impl FnMut() -> F,
) -> Result<T, NotDone<R>>
where
    F: Future<Output = Result<T, NotDone<R>>>,
{
    let mut pauses = successors(Some(PAUSE), |pause| Some(*pause * 2)).take(ATTEMPTS - 1);
    loop {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(NotDone::Late);
        }
        let last = match attempt().await {
            Err(NotDone::Ledger(LedgerError::Conflict)) => NotDone::Busy,
            Err(NotDone::Refused(why)) if passes(&why) => NotDone::Refused(why),
            done => return done,
        };
        let Some(pause) = pauses.next() else { return Err(last) };
        if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
            return Err(NotDone::Late);
        }
        sleep(pause).await;
    }
}
