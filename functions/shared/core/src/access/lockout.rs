//! Delays between failed login attempts.
//!
//! An attempt reserves a place before its password is verified. A wrong password turns the reservation into a failure,
//! a right one gives it back. Reservations and failures share the free places, so concurrent attempts cannot verify
//! more passwords than the limit allows; while all places are reserved, an attempt waits instead of being refused. So a
//! burst of right passwords succeeds. A refused attempt reserves nothing and counts nowhere.
//!
//! Failures are forgotten one after the other, so nobody is punished for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

/// What the attempts are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted<'a> {
    /// A name from one source address. After a right password, the name is known at that source, and only this count
    /// applies there: what strangers do elsewhere, or under other names, delays nobody who has logged in before.
    Pair { name: &'a str, source: &'a str },
    /// All names from a source address, which many people may share.
    Source(&'a str),
    /// A name from all source addresses, whether or not there is such a principal. Slows a guess that is distributed
    /// over many sources.
    Name(&'a str),
}

impl Counted<'_> {
    /// Failures without a delay.
    const fn free(self) -> i64 {
        match self {
            Self::Pair { .. } => 10,
            Self::Source(_) => 30,
            Self::Name(_) => 100,
        }
    }

    /// The time in which one failure is forgotten, and the longest delay. In the long run an attacker has one guess in
    /// this time: 96 a day for a pair, 288 from a source, 1440 for a name. A name's delay is the shortest one, because
    /// it also meets its owner at a new address.
    const fn memory(self) -> Duration {
        match self {
            Self::Pair { .. } => Duration::minutes(15),
            Self::Source(_) => Duration::minutes(5),
            Self::Name(_) => Duration::MINUTE,
        }
    }

    /// For the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pair { .. } => "name and source",
            Self::Source(_) => "source",
            Self::Name(_) => "name",
        }
    }
}

/// Delay after the first failure beyond the free ones. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::SECOND;
/// A reservation without a result counts as a failure after this time: every function's timeout is shorter, so its
/// attempt has ended, and its password may have been verified.
const LIFE: Duration = Duration::seconds(30);
/// A name stays known at a source for this time after its last right password, as long as a refresh token is valid.
const KNOWN: Duration = Duration::days(30);
/// A right password clears a pair's failures at most once in this time. Otherwise a guesser behind the same source as a
/// client that logs in all the time would never be slowed.
const CLEARED: Duration = Duration::HOUR;

/// Failed and present attempts. Times are in Unix seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// When the last failure will be forgotten.
    pub forgotten: i64,
    /// Time of the last failure.
    pub counted: i64,
    /// Until when the name is known at the source.
    pub known_until: i64,
    /// From when on a right password clears the failures again.
    pub clears_from: i64,
    /// Reservations by id, each with the time after which it counts as a failure.
    pub in_flight: BTreeMap<String, i64>,
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// With fewer than this many reservations.
    Free { places: i64 },
    /// Every place is reserved: there will be a result soon.
    Busy,
    /// After too many failures, for at least one second.
    Locked(Duration),
}

impl Attempts {
    pub fn verdict(&self, of: Counted<'_>, now: OffsetDateTime) -> Verdict {
        let left = self.locked_until(of).saturating_sub(now.unix_timestamp());
        let places = of.free().saturating_sub(self.failures(of, now.unix_timestamp())).max(1);
        if left > 0 {
            Verdict::Locked(Duration::seconds(left))
        } else if self.in_flight.len() as i64 >= places {
            Verdict::Busy
        } else {
            Verdict::Free { places }
        }
    }

    /// Until when a new reservation is kept.
    pub fn kept_until(now: OffsetDateTime) -> i64 {
        (now + LIFE).unix_timestamp()
    }

    /// The reservations whose attempts ended without a result. Each is to be counted as a failure.
    pub fn lost(&self, now: OffsetDateTime) -> Vec<&str> {
        let lost = self.in_flight.iter().filter(|(_, until)| **until <= now.unix_timestamp());
        lost.map(|(id, _)| id.as_str()).collect()
    }

    /// After this many wrong passwords.
    #[must_use]
    pub fn failed(&self, of: Counted<'_>, times: usize, now: OffsetDateTime) -> Self {
        let now = now.unix_timestamp();
        let times = i64::try_from(times).unwrap_or(i64::MAX);
        let more = of.memory().whole_seconds().saturating_mul(times);
        Self { forgotten: self.forgotten.max(now).saturating_add(more), counted: self.counted.max(now), ..self.clone() }
    }

    /// After the right password, which only a pair's count takes note of. Unchanged if the note is less than a day old:
    /// a client may log in for every request.
    #[must_use]
    pub fn succeeded(&self, of: Counted<'_>, now: OffsetDateTime) -> Self {
        let mut next = self.clone();
        if !matches!(of, Counted::Pair { .. }) {
            return next;
        }
        if (now + KNOWN - Duration::DAY).unix_timestamp() >= self.known_until {
            next.known_until = (now + KNOWN).unix_timestamp();
        }
        if self.forgotten > now.unix_timestamp() && now.unix_timestamp() >= self.clears_from {
            (next.forgotten, next.counted) = (0, 0);
            next.clears_from = (now + CLEARED).unix_timestamp();
        }
        next
    }

    /// Whether the right password came from this source before.
    pub fn is_known(&self, now: OffsetDateTime) -> bool {
        now.unix_timestamp() < self.known_until
    }

    /// The delay that the last failure caused, if any.
    pub fn pause(&self, of: Counted<'_>) -> Option<Duration> {
        let pause = self.locked_until(of).saturating_sub(self.counted);
        (pause > 0).then(|| Duration::seconds(pause))
    }

    /// When nothing of this matters any more.
    pub fn expires(&self) -> i64 {
        let reserved = self.in_flight.values().copied().max().unwrap_or_default();
        self.forgotten.max(self.known_until).max(self.clears_from).max(reserved)
    }

    /// Failures that are not forgotten at `at`.
    fn failures(&self, of: Counted<'_>, at: i64) -> i64 {
        let memory = of.memory().whole_seconds();
        self.forgotten.saturating_sub(at).max(0).saturating_add(memory - 1) / memory
    }

    fn locked_until(&self, of: Counted<'_>) -> i64 {
        let over = self.failures(of, self.counted) - of.free();
        let pause =
            if over < 0 { 0 } else { (FIRST_PAUSE.whole_seconds() << over.min(16)).min(of.memory().whole_seconds()) };
        self.counted.saturating_add(pause)
    }
}

#[cfg(test)]
mod tests;
