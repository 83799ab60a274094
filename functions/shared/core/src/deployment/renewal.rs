//! When a device's own certificate is renewed by itself. Pure.
//!
//! | moment | rule |
//! |---|---|
//! | due | when [`PercentLeft`] of its life is left, and up to a third of that later, by the device's id |
//! | again | after a thirtieth of its life: a day at most, an hour at least; also once its renewal is signed, until the device is proven to show that |
//! | late | when a tenth of the life of what the device shows is left, or a third of the percentage if that is less |
//!
//! The delay by the device's id spreads a fleet that was issued in one hour, and keeps it spread: the same device has
//! the same delay in every life. However much is due, only so many renewals begin in one [`Hour`].

use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::audit::Actor;
use crate::device::DeviceId;

/// Most certificates of one renewal job: with five writes for each, the job's records and the hour's count, they fit into
/// one transaction.
pub const MOST_RENEWED: usize = 18;

/// While renewal is switched off, certificates are planned as if this much had to be left: it may be switched on again.
const USUAL_PERCENT: u8 = 33;
/// Parts of the life that is left, over which renewals are spread.
const SPREAD: i32 = 3;
const LATE_PERCENT: u8 = 10;
const SECONDS_AN_HOUR: i64 = 3600;

/// Who renews, in the audit: the rule, whichever function carries it out.
pub fn rule() -> Actor {
    Actor::rule("renewal")
}

/// The deployment's setting: what is left of a certificate's life when it is renewed, in percent. 0: nothing is renewed by
/// itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentLeft(pub u8);

impl PercentLeft {
    pub const fn is_on(self) -> bool {
        self.0 > 0
    }

    fn percent(self) -> u8 {
        if self.is_on() { self.0.min(100) } else { USUAL_PERCENT }
    }

    /// When the certificate is due.
    pub fn due(self, device: &DeviceId, life: Life) -> OffsetDateTime {
        let left = life.percent(self.percent());
        life.not_after - left + share(device, left / SPREAD)
    }

    /// Whether so little is left that a person has to look.
    pub fn is_late(self, life: Life, now: OffsetDateTime) -> bool {
        let percent = LATE_PERCENT.min(self.percent() / 3);
        life.not_after - now <= life.percent(percent)
    }
}

/// A certificate's validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

impl Life {
    fn length(&self) -> Duration {
        Duration::max(self.not_after - self.not_before, Duration::ZERO)
    }

    fn percent(&self, percent: u8) -> Duration {
        self.length() * i32::from(percent) / 100
    }

    /// One that is as long, and ends then.
    #[must_use]
    pub fn ending(&self, not_after: OffsetDateTime) -> Self {
        Self { not_before: not_after - self.length(), not_after }
    }

    /// When a renewal that begins now, or cannot begin now, is tried again unless there is another certificate by then.
    pub fn again(&self, now: OffsetDateTime) -> OffsetDateTime {
        let day = self.length() / 30;
        now + Duration::clamp(day, Duration::HOUR, Duration::DAY)
    }
}

/// The device's share of the whole, the same at any time.
fn share(device: &DeviceId, whole: Duration) -> Duration {
    let hash = Fingerprint::of(device.as_str().as_bytes());
    // The first bytes choose the device's shard.
    let part = hash.as_bytes().iter().rev().take(4).fold(0_u32, |part, byte| (part << 8) | u32::from(*byte));
    let seconds = (i128::from(whole.whole_seconds()) * i128::from(part)) >> 32;
    Duration::seconds(i64::try_from(seconds).unwrap_or_default())
}

/// What begins in one hour. One record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hour {
    /// Incremented by each write, which is conditional on the previous revision.
    pub revision: u64,
    /// Hours since 1970.
    pub hour: i64,
    pub begun: u32,
}

impl Hour {
    /// How many more renewals may begin in the present hour.
    pub fn room(&self, most: u32, now: OffsetDateTime) -> usize {
        most.saturating_sub(self.now(now).begun).try_into().unwrap_or(usize::MAX)
    }

    /// With this many more renewals.
    #[must_use]
    pub fn with(&self, certificates: usize, now: OffsetDateTime) -> Self {
        let before = self.now(now);
        let more = u32::try_from(certificates).unwrap_or(u32::MAX);
        Self { begun: before.begun.saturating_add(more), ..before }
    }

    /// Functions' clocks differ: an hour that is over does not begin again.
    fn now(&self, now: OffsetDateTime) -> Self {
        let hour = now.unix_timestamp().div_euclid(SECONDS_AN_HOUR);
        if hour > self.hour { Self { hour, begun: 0, ..*self } } else { *self }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);
    const USUAL: PercentLeft = PercentLeft(33);

    fn life(days: i64) -> Life {
        Life { not_before: NOW, not_after: NOW + Duration::days(days) }
    }

    fn device(number: usize) -> DeviceId {
        format!("bmc-{number}").parse().unwrap()
    }

    proptest! {
        #[test]
        fn a_renewal_has_time_for_another_try(
            seconds in 3600_i64..10 * 365 * 86_400, percent in 0_u8..=100, number in 0_usize..100_000,
        ) {
            let policy = PercentLeft(percent);
            let life = Life { not_before: NOW, not_after: NOW + Duration::seconds(seconds) };
            let due = policy.due(&device(number), life);
            let left = life.percent(if percent == 0 { USUAL_PERCENT } else { percent });
            prop_assert!(due >= life.not_after - left, "never before the percentage is left");
            prop_assert!(due <= life.not_after - left * 2 / 3 && due >= life.not_before);
            prop_assert_eq!(due, policy.due(&device(number), life));
            prop_assert!(percent == 0 || percent < 10 || !policy.is_late(life, due), "it is not late when it is due");
            prop_assert!(policy.is_late(life, life.not_after));
            prop_assert!(life.again(due) >= due + Duration::HOUR && life.again(due) <= due + Duration::DAY);
        }

        #[test]
        fn an_hour_never_has_more_than_its_renewals(
            most in 0_u32..100, jobs in prop::collection::vec((1_usize..=MOST_RENEWED, 0_i64..1800), 1..60),
        ) {
            let (mut hour, mut now, mut begun) = (Hour::default(), NOW, BTreeMap::<i64, u64>::new());
            for (wanted, later) in jobs {
                now += Duration::seconds(later);
                let some = wanted.min(hour.room(most, now));
                if some > 0 {
                    hour = hour.with(some, now);
                    *begun.entry(now.unix_timestamp() / 3600).or_default() += some as u64;
                }
            }
            prop_assert!(begun.values().all(|some| *some <= u64::from(most)), "{:?}", begun);
        }
    }

    #[test]
    fn a_fleet_of_one_hour_is_spread_over_the_window() {
        let (devices, days) = (20_000, 90);
        let mut an_hour = BTreeMap::<i64, u32>::new();
        for number in 0..devices {
            let due = USUAL.due(&device(number), life(days));
            *an_hour.entry(due.unix_timestamp() / 3600).or_default() += 1;
        }
        // 33 % of 90 days are 713 hours, a third of which is the window: 84 an hour.
        let hours = an_hour.len();
        assert!((236..=239).contains(&hours), "{hours} hours");
        assert!(an_hour.values().all(|devices| *devices < 84 * 2), "{:?}", an_hour.values().max());
    }

    #[test]
    fn a_third_of_the_life_is_left() {
        let left = |number| (life(398).not_after - USUAL.due(&device(number), life(398))).whole_days();
        assert!((0..1000).all(|number| (87..=131).contains(&left(number))));
    }

    #[test]
    fn switched_off_certificates_are_planned_as_usual() {
        let off = PercentLeft(0);
        assert!(!off.is_on() && USUAL.is_on());
        assert_eq!(off.due(&device(1), life(90)), USUAL.due(&device(1), life(90)));
    }

    #[test]
    fn a_short_rest_is_late() {
        let late = |policy: PercentLeft, left| policy.is_late(life(100), life(100).not_after - Duration::days(left));
        assert!(late(USUAL, 10) && !late(USUAL, 11));
        let short = PercentLeft(15);
        assert!(late(short, 5) && !late(short, 6));
    }

    #[test]
    fn what_a_device_still_shows_is_late_by_its_own_end() {
        let shown = life(90).ending(NOW + Duration::days(9));
        assert!(USUAL.is_late(shown, NOW) && !USUAL.is_late(life(90), NOW));
    }

    #[test]
    fn a_failed_renewal_is_tried_the_next_day() {
        for (days, hours) in [(398, 24), (30, 24), (15, 12), (1, 1)] {
            assert_eq!(life(days).again(NOW), NOW + Duration::hours(hours), "{days}");
        }
    }

    #[test]
    fn a_slow_clock_does_not_begin_an_hour_again() {
        let hour = Hour::default().with(100, NOW);
        assert_eq!(hour.room(100, NOW - Duration::MINUTE), 0);
        assert_eq!(hour.room(100, NOW + Duration::HOUR), 100);
    }
}
