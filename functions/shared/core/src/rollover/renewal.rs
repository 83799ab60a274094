//! When the published bundle is signed again, although nothing in it has changed.

use time::{Duration, OffsetDateTime};

/// Clocks of two functions may differ.
const SLACK: Duration = Duration::DAY;

/// Two wake-ups of the conductor.
const WINDOW: Duration = Duration::minutes(2);

/// When half of its life is left. A bundle is also due if it never expires, or expires later than the present setting
/// permits.
pub fn is_due(expires: Option<OffsetDateTime>, life: Duration, now: OffsetDateTime) -> bool {
    expires.is_none_or(|at| now >= at - life / 2 || at > now + life + SLACK)
}

/// Once a day: the minutes in which a bundle that lacks signatures is signed again.
pub fn is_daily(expires: Option<OffsetDateTime>, life: Duration, now: OffsetDateTime) -> bool {
    expires.is_some_and(|at| {
        let age = now - (at - life);
        age >= Duration::DAY && age.whole_seconds().rem_euclid(Duration::DAY.whole_seconds()) < WINDOW.whole_seconds()
    })
}

/// What is left of a bundle's life, in percent: 0 when it is over.
pub fn percent_left(expires: OffsetDateTime, life: Duration, now: OffsetDateTime) -> u64 {
    let percent = (expires - now).whole_seconds().saturating_mul(100) / life.whole_seconds().max(1);
    percent.try_into().unwrap_or(0)
}

/// The signatures that a bundle would no longer have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    None,
    Some,
    /// Nobody could verify it.
    All,
}

/// Whether a bundle that is signed again replaces the published one, which expires then. A key that is back within
/// days signs it again.
pub fn is_better(lost: Lost, expires: Option<OffsetDateTime>, life: Duration, now: OffsetDateTime) -> bool {
    match lost {
        Lost::None => true,
        Lost::Some => expires.is_none_or(|at| at - now <= life / 4),
        Lost::All => expires.is_some_and(|at| at <= now),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_bundle_is_signed_again_at_half_its_life() {
        let now = datetime!(2026-06-01 12:00 UTC);
        let life = Duration::days(30);
        let expires_in = |days| Some(now + Duration::days(days));
        for (expires, due) in [
            (None, true),
            (expires_in(-1), true),
            (expires_in(15), true),
            (Some(now + Duration::days(15) + Duration::SECOND), false),
            (expires_in(30), false),
            (expires_in(31), false),
            (expires_in(365), true),
        ] {
            assert_eq!(is_due(expires, life, now), due, "{expires:?}");
        }
    }

    #[test]
    fn a_bundle_without_a_signature_is_due_once_a_day() {
        let (now, life) = (datetime!(2026-06-01 12:00 UTC), Duration::days(30));
        let due = |age| is_daily(Some(now + life - age), life, now);
        for age in [Duration::DAY, Duration::DAY + Duration::seconds(119), Duration::days(9)] {
            assert!(due(age), "{age}");
        }
        for age in [Duration::ZERO, Duration::DAY - Duration::SECOND, Duration::DAY + WINDOW, Duration::hours(36)] {
            assert!(!due(age), "{age}");
        }
        assert!(!is_daily(None, life, now));
    }

    #[test]
    fn the_life_that_is_left_is_never_below_zero() {
        let (now, life) = (datetime!(2026-06-01 12:00 UTC), Duration::days(30));
        for (hours, percent) in [(720, 100), (360, 50), (180, 25), (179, 24), (1, 0), (0, 0), (-720, 0)] {
            assert_eq!(percent_left(now + Duration::hours(hours), life, now), percent, "{hours}");
        }
        assert_eq!(percent_left(now + Duration::HOUR, Duration::ZERO, now), 360_000);
    }

    #[test]
    fn a_bundle_is_not_replaced_early_by_a_worse_one() {
        let (now, life) = (datetime!(2026-06-01 12:00 UTC), Duration::days(20));
        for (lost, left, better) in [
            (Lost::None, 10, true),
            (Lost::Some, 6, false),
            (Lost::Some, 5, true),
            (Lost::All, 5, false),
            (Lost::All, 1, false),
            (Lost::All, 0, true),
        ] {
            assert_eq!(is_better(lost, Some(now + Duration::days(left)), life, now), better, "{lost:?} {left}");
        }
        assert!(is_better(Lost::Some, None, life, now) && !is_better(Lost::All, None, life, now));
    }
}
