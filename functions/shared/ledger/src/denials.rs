//! Entries about denials, bounded: whoever is refused all the time costs little. What a process left out is counted in the
//! next entry.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use rootcast_core::audit::Act;
use time::OffsetDateTime;
use tracing::warn;

use crate::Ledger;

/// Entries of a caller in a minute, by one process. Further denials are counted in the next entry.
const ENTRIES: u32 = 10;
const MINUTE: time::Duration = time::Duration::MINUTE;
/// Callers that a process remembers.
const CALLERS: usize = 1000;
/// An entry that takes longer is counted in the next one: the answer waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

impl Ledger {
    /// Records a denial with at most one entry, in a limited time. Two calls. It is no error if that fails.
    pub async fn audit_denial(&self, act: Act) {
        let caller = act.subject.to_string();
        let Some(left_out) = self.windows().admit(&caller, act.at) else { return };
        let act = if left_out > 0 { act.with("leftOut", left_out) } else { act };
        let written = tokio::time::timeout(PATIENCE, self.try_audit(&act)).await;
        let why: Option<&dyn Error> = match &written {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(elapsed) => Some(elapsed),
        };
        if let Some(why) = why {
            warn!(audit.subject = caller, error = why, "a denial was not recorded");
            self.windows().leave_out(&caller, left_out + 1);
        }
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many entries each caller has had lately.
#[derive(Debug, Default)]
pub(crate) struct Windows(HashMap<String, Window>);

#[derive(Debug)]
struct Window {
    began: OffsetDateTime,
    entries: u32,
    /// Denials without an entry.
    left_out: u64,
}

impl Windows {
    /// The number of denials that were left out before this one, if it may have an entry.
    fn admit(&mut self, caller: &str, now: OffsetDateTime) -> Option<u64> {
        let is_over = |window: &Window| now >= window.began + MINUTE || now < window.began;
        if self.0.len() >= CALLERS && !self.0.contains_key(caller) {
            self.0.retain(|_, window| !is_over(window));
            if self.0.len() >= CALLERS {
                return None;
            }
        }
        let fresh = Window { began: now, entries: 0, left_out: 0 };
        let window = self.0.entry(caller.to_owned()).or_insert(fresh);
        if is_over(window) {
            (window.began, window.entries) = (now, 0);
        }
        if window.entries < ENTRIES {
            window.entries += 1;
            Some(std::mem::take(&mut window.left_out))
        } else {
            window.left_out += 1;
            None
        }
    }

    fn leave_out(&mut self, caller: &str, denials: u64) {
        if let Some(window) = self.0.get_mut(caller) {
            window.left_out += denials;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_has_few_entries_which_count_the_rest() {
        let at = |seconds| OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds);
        let mut windows = Windows::default();
        let admitted = (0..1000).filter(|_| windows.admit("ops", at(1)) == Some(0)).count();
        assert_eq!(admitted, 10);
        assert_eq!(windows.admit("other", at(1)), Some(0), "one caller's flood hides no other's denials");
        assert_eq!(windows.admit("ops", at(61)), Some(990));
        windows.leave_out("ops", 991);
        assert_eq!((windows.admit("ops", at(62)), windows.admit("ops", at(63))), (Some(991), Some(0)));
    }

    #[test]
    fn many_callers_take_bounded_memory() {
        let mut windows = Windows::default();
        for number in 0..5000 {
            windows.admit(&number.to_string(), OffsetDateTime::UNIX_EPOCH);
        }
        assert_eq!(windows.0.len(), CALLERS);
        assert_eq!(windows.admit("late", OffsetDateTime::UNIX_EPOCH + MINUTE), Some(0));
    }
}
