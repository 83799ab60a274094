//! Delays between failed login attempts.
//!
//! An attempt is counted as failed before its password is verified, and uncounted if the password was right. So
//! concurrent attempts cannot verify more passwords than the limit allows.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

/// Failed login attempts for one name or from one source address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    pub failures: u32,
    /// Time of the last counted failure, in Unix seconds.
    pub counted: i64,
}

/// What the attempts are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// A principal's name, whether or not the principal exists.
    Name,
    /// A source address, which many clients may share.
    Source,
}

impl Counted {
    /// Failures without a delay.
    const fn free(self) -> u32 {
        match self {
            Self::Name => 10,
            Self::Source => 30,
        }
    }
}

/// Delay after the first failure beyond the free ones. Each further failure doubles it, up to [`LOCK`].
const FIRST_PAUSE: Duration = Duration::SECOND;
/// Longest delay: limits an attacker to about a hundred guesses a day.
const LOCK: Duration = Duration::minutes(15);
/// Failures are forgotten after this time without another one.
const FORGOTTEN: Duration = Duration::DAY;

impl Attempts {
    /// Counts one more failure, at `now`.
    ///
    /// # Errors
    /// The remaining delay, at least one second, if no attempt is allowed yet.
    pub fn one_more(self, whose: Counted, now: OffsetDateTime) -> Result<Self, Duration> {
        let now = now.unix_timestamp();
        let remembered = if now >= self.expires() { Self::default() } else { self };
        let left = remembered.counted.saturating_add(remembered.pause(whose).whole_seconds()).saturating_sub(now);
        if remembered.failures > 0 && left > 0 {
            return Err(Duration::seconds(left));
        }
        Ok(Self { failures: remembered.failures.saturating_add(1), counted: now })
    }

    /// When these failures are forgotten, in Unix seconds.
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
    fn each_delay_after_the_free_failures_doubles() {
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
    fn a_refused_attempt_always_has_a_positive_delay() {
        assert_eq!(Attempts::default().one_more(Counted::Name, at(0)).unwrap().failures, 1);
        assert_eq!(Attempts { failures: 0, counted: 1000 }.one_more(Counted::Name, at(1000)).unwrap().failures, 1);
    }
}
