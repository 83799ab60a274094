//! When somebody who failed to log in may try again.
//!
//! An attempt is counted as failed before its password is looked at, and taken back when it was right: so however many
//! come at once, no more are looked at than are free.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

/// Failed attempts to log in, under one name or from one place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    pub failures: u32,
    /// When the last one was counted, in Unix seconds.
    pub counted: i64,
}

/// Whose attempts they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Of one name, be there anybody with it or not.
    Name,
    /// From one source address, behind which may be many.
    Source,
}

impl Counted {
    /// So many failures cost nothing.
    const fn free(self) -> u32 {
        match self {
            Self::Name => 10,
            Self::Source => 30,
        }
    }
}

/// After the first failure that costs; it doubles with each one more, up to ...
const FIRST_PAUSE: Duration = Duration::SECOND;
/// ... the lock: about a hundred guesses a day then.
const LOCK: Duration = Duration::minutes(15);
/// Without another failure.
const FORGOTTEN: Duration = Duration::DAY;

impl Attempts {
    /// With one more failure, of now.
    ///
    /// # Errors
    /// How long there can be none, at least a second.
    pub fn one_more(self, whose: Counted, now: OffsetDateTime) -> Result<Self, Duration> {
        let now = now.unix_timestamp();
        let remembered = if now >= self.expires() { Self::default() } else { self };
        let left = remembered.counted.saturating_add(remembered.pause(whose).whole_seconds()).saturating_sub(now);
        if remembered.failures > 0 && left > 0 {
            return Err(Duration::seconds(left));
        }
        Ok(Self { failures: remembered.failures.saturating_add(1), counted: now })
    }

    /// From when on they are forgotten, in Unix seconds.
    pub fn expires(self) -> i64 {
        self.counted.saturating_add(FORGOTTEN.whole_seconds())
    }

    fn pause(self, whose: Counted) -> Duration {
        match self.failures.checked_sub(whose.free()) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LOCK),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

    use super::*;

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).unwrap()
    }

    fn failed(whose: Counted, times: u32) -> Attempts {
        assert!(times <= whose.free());
        (0..times).fold(Attempts::default(), |attempts, _| attempts.one_more(whose, at(1000)).unwrap())
    }

    #[test]
    fn after_some_free_failures_each_pause_is_twice_the_last() {
        for whose in [Counted::Name, Counted::Source] {
            let mut attempts = failed(whose, whose.free());
            let mut now = 1000;
            for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900] {
                assert_eq!(attempts.one_more(whose, at(now)), Err(Duration::seconds(pause)));
                assert_eq!(attempts.one_more(whose, at(now + pause - 1)), Err(Duration::SECOND));
                now += pause;
                attempts = attempts.one_more(whose, at(now)).unwrap();
            }
            assert_eq!(Attempts { failures: u32::MAX, ..attempts }.one_more(whose, at(now)), Err(LOCK));
        }
        assert!(failed(Counted::Source, Counted::Name.free()).one_more(Counted::Source, at(1000)).is_ok());
    }

    #[test]
    fn failures_are_forgotten_after_a_day_without_one() {
        let locked = Attempts { failures: 40, counted: 1000 };
        let day = FORGOTTEN.whole_seconds();
        assert_eq!(locked.one_more(Counted::Name, at(1000 + day - 1)).unwrap().failures, 41);
        assert_eq!(locked.one_more(Counted::Name, at(1000 + day)).unwrap().failures, 1);
    }

    #[test]
    fn who_failed_never_waits_for_nothing() {
        assert_eq!(Attempts::default().one_more(Counted::Name, at(0)).unwrap().failures, 1);
        assert_eq!(Attempts { failures: 0, counted: 1000 }.one_more(Counted::Name, at(1000)).unwrap().failures, 1);
    }
}
