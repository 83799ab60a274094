//! The rate at which devices finish, and the remaining time.

use std::{collections::VecDeque, time::Duration};

/// Older results do not predict the current rate: waves grow, and devices differ.
const WINDOW: Duration = Duration::from_secs(60);

/// An estimate that is late by this factor was wrong: what is left waits for its next try.
const LATE: u32 = 3;

/// Observations of the last minute: time, and number of devices with a result.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(Duration, u64)>);

impl Pace {
    /// `at`: time since a fixed moment. `settled`: devices of the current pass with a result.
    pub(super) fn observe(&mut self, at: Duration, settled: u64) {
        // A lower count means that another pass began or that failed devices are retried.
        if self.0.back().is_some_and(|(_, before)| settled < *before) {
            self.0.clear();
        }
        self.0.push_back((at, settled));
        // Keep the newest observation outside of the window: it gives the count at the window's beginning.
        while self.0.get(1).is_some_and(|(next, _)| at.saturating_sub(*next) >= WINDOW) {
            self.0.pop_front();
        }
    }

    /// Time since the last result, as far as it was observed.
    pub(super) fn stalled(&self) -> Duration {
        let Some((now, settled)) = self.0.back() else { return Duration::ZERO };
        let since = self.0.iter().find(|(_, then)| then == settled).map_or(*now, |(then, _)| *then);
        now.saturating_sub(since)
    }

    /// Devices per second.
    pub(super) fn per_second(&self) -> Option<f64> {
        let ((from, before), (to, after)) = (self.0.front()?, self.0.back()?);
        let seconds = to.saturating_sub(*from).as_secs_f64();
        // Device counts are far below 2^53, up to which an `f64` is exact.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let settled = (after - before) as f64;
        (seconds > 0.0 && settled > 0.0).then(|| settled / seconds)
    }

    /// Time until `total` devices have a result, at the current rate.
    pub(super) fn remaining(&self, total: u64) -> Option<Duration> {
        let (_, settled) = self.0.back()?;
        #[expect(clippy::cast_precision_loss, reason = "as above")]
        let left = total.saturating_sub(*settled) as f64;
        Duration::try_from_secs_f64((left / self.per_second()?).ceil()).ok()
    }
}

/// `3.2/s, 1 min 20 s left`; empty if unknown.
pub(super) fn words(pace: &Pace, total: Option<u64>) -> String {
    let Some(rate) = pace.per_second() else {
        return String::new();
    };
    let left = total.and_then(|total| pace.remaining(total)).filter(|left| !left.is_zero());
    if left.is_some_and(|left| pace.stalled() > left * LATE) {
        return String::new();
    }
    let left = left.map_or_else(String::new, |left| format!(", {} left", duration(left)));
    format!("{rate:.1}/s{left}")
}

pub(super) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "quotients of small whole numbers")]

    use std::time::Duration;

    use super::{Pace, words};

    fn pace(seen: &[(u64, u64)]) -> Pace {
        let mut pace = Pace::default();
        for (second, settled) in seen {
            pace.observe(Duration::from_secs(*second), *settled);
        }
        pace
    }

    #[test]
    fn the_rate_is_unknown_before_the_first_result() {
        assert_eq!(pace(&[]).per_second(), None);
        assert_eq!(pace(&[(0, 5)]).per_second(), None);
        assert_eq!(words(&pace(&[(0, 5), (9, 5)]), Some(10)), "");
    }

    #[test]
    fn the_remaining_time_follows_the_last_minutes_rate() {
        assert_eq!(pace(&[(0, 0), (10, 20)]).per_second(), Some(2.0));
        assert_eq!(pace(&[(0, 0), (10, 20)]).remaining(25), Some(Duration::from_secs(3)));
        // A slow start an hour ago does not count.
        assert_eq!(pace(&[(0, 0), (3600, 1), (3630, 1), (3660, 61)]).per_second(), Some(1.0));
        assert_eq!(words(&pace(&[(0, 0), (10, 20)]), Some(200)), "2.0/s, 1 min 30 s left");
        assert_eq!(words(&pace(&[(0, 0), (10, 20)]), Some(100_000)), "2.0/s, 13 h 53 min left");
        assert_eq!(words(&pace(&[(0, 0), (10, 20)]), Some(20)), "2.0/s");
        assert_eq!(words(&pace(&[(0, 0), (10, 20)]), None), "2.0/s");
    }

    #[test]
    fn a_late_estimate_is_not_repeated() {
        let seen = [(0, 0), (10, 46), (12, 46)];
        assert_eq!(words(&pace(&seen), Some(49)), "3.8/s, 1 s left");
        let stuck = pace(&[seen.as_slice(), &[(20, 46)]].concat());
        assert_eq!((words(&stuck, Some(49)), stuck.stalled()), (String::new(), Duration::from_secs(10)));
    }

    #[test]
    fn another_pass_resets_the_rate() {
        let mut pace = pace(&[(0, 0), (10, 20)]);
        pace.observe(Duration::from_secs(11), 0);
        assert_eq!(pace.per_second(), None);
        pace.observe(Duration::from_secs(13), 2);
        assert_eq!(pace.per_second(), Some(1.0));
    }
}
