//! Load, decide, write: from the start where somebody else wrote in between.

use std::iter::successors;
use std::time::Duration;

use rootcast_ledger::LedgerError;
use tokio::time::{Instant, sleep};

use crate::NotDone;

/// Conductors and workers write the same records all the time. So often, the first one included ...
const ATTEMPTS: usize = 9;
/// ... with pauses between that double from this one: 5.1 s in all.
const PAUSE: Duration = Duration::from_millis(20);

/// `attempt` decides anew on what is there now.
pub(crate) async fn attempts<T, R, F>(attempt: impl FnMut() -> F) -> Result<T, NotDone<R>>
where
    F: Future<Output = Result<T, NotDone<R>>>,
{
    attempts_until(None, |_| false, attempt).await
}

/// No attempt begins after the deadline. A refusal that `passes` is waited for, and told where it stays.
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
