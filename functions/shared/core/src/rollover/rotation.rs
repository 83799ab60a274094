//! When a root is replaced by itself. Pure. Off unless somebody sets it.
//!
//! A rollover that runs or is paused leaves nothing to begin. One that was aborted, whoever began it, leaves the root due:
//! the rule begins another one a day after the end of that. One that was rolled back does too, but a person had a reason to
//! want the old root: the rule begins nothing while that signs, until somebody sets it anew.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};

use crate::audit::Actor;

const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// Between two rollovers that the rule begins, and after one that was aborted.
const AT_LEAST: Duration = Duration::DAY;

/// Who rotates, in the audit: the rule, whichever function carries it out.
pub fn rule() -> Actor {
    Actor::rule("rotation")
}

/// What makes the root that signs due for its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Rotation {
    /// Only this much of its life is left.
    PercentLeft(u8),
    /// It has been valid for this long.
    AgeDays(u16),
    /// This day has begun (UTC), and the root was made before it.
    On(Date),
}

/// A rule that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotARotation {
    #[error("percentLeft is 1 to 90")]
    Percent,
    #[error("ageDays is 30 to 36500")]
    Age,
    #[error("on is a day, as in 2027-06-01")]
    Day,
}

/// As JSON has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Written {
    PercentLeft(u8),
    AgeDays(u16),
    On(String),
}

impl TryFrom<Written> for Rotation {
    type Error = NotARotation;

    fn try_from(written: Written) -> Result<Self, NotARotation> {
        match written {
            Written::PercentLeft(percent @ 1..=90) => Ok(Self::PercentLeft(percent)),
            Written::PercentLeft(_) => Err(NotARotation::Percent),
            Written::AgeDays(days @ 30..=36_500) => Ok(Self::AgeDays(days)),
            Written::AgeDays(_) => Err(NotARotation::Age),
            Written::On(day) => Date::parse(&day, DAY).map(Self::On).map_err(|_| NotARotation::Day),
        }
    }
}

impl From<Rotation> for Written {
    fn from(rotation: Rotation) -> Self {
        match rotation {
            Rotation::PercentLeft(percent) => Self::PercentLeft(percent),
            Rotation::AgeDays(days) => Self::AgeDays(days),
            Rotation::On(day) => Self::On(written(day)),
        }
    }
}

fn written(day: Date) -> String {
    let (year, month, day) = day.to_calendar_date();
    format!("{year:04}-{:02}-{day:02}", u8::from(month))
}

/// For people, and as the reason of the rollover in the audit.
impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PercentLeft(percent) => write!(f, "when {percent} % of a root's life is left"),
            Self::AgeDays(days) => write!(f, "when a root is {days} days old"),
            Self::On(day) => write!(f, "on {}", written(*day)),
        }
    }
}

/// The root that signs.
#[derive(Debug, Clone, Copy)]
pub struct Signing {
    pub generation: u32,
    pub made: OffsetDateTime,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

/// A rollover that a person had turned back after its root signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// The generation that signs again.
    pub to: u32,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

/// What happened before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Past {
    /// The rule last began a rollover.
    pub begun: Option<OffsetDateTime>,
    /// An aborted rollover last ended.
    pub aborted: Option<OffsetDateTime>,
    pub rolled_back: Option<RolledBack>,
    /// Somebody set the rule.
    pub set: Option<OffsetDateTime>,
}

impl Rotation {
    /// When this root is due.
    pub fn due(&self, root: &Signing) -> Option<OffsetDateTime> {
        match self {
            Self::PercentLeft(percent) => {
                Some(root.not_after - (root.not_after - root.not_before) * i32::from(*percent) / 100)
            }
            Self::AgeDays(days) => Some(root.not_before + Duration::days(i64::from(*days))),
            Self::On(day) => Some(day.midnight().assume_utc()).filter(|day| root.made < *day),
        }
    }

    /// Whether a rollover begins now.
    pub fn begins(&self, root: &Signing, past: &Past, now: OffsetDateTime) -> bool {
        let is_held = past.rolled_back.is_some_and(|back| back.to == root.generation && past.set <= Some(back.at));
        let last = past.begun.max(past.aborted);
        self.due(root).is_some_and(|due| due <= now) && !is_held && last.is_none_or(|last| last + AT_LEAST <= now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;
    use time::macros::{date, datetime};

    use super::*;

    const MADE: OffsetDateTime = datetime!(2026-01-01 12:00 UTC);

    fn root(days: i64) -> Signing {
        Signing { generation: 1, made: MADE, not_before: MADE - Duration::HOUR, not_after: MADE + Duration::days(days) }
    }

    #[test]
    fn each_rule_has_its_moment() {
        for (rule, due) in [
            (Rotation::PercentLeft(20), Some(datetime!(2028-10-08 16:36 UTC))),
            (Rotation::AgeDays(30), Some(datetime!(2026-01-31 11:00 UTC))),
            (Rotation::On(date!(2026 - 06 - 01)), Some(datetime!(2026-06-01 0:00 UTC))),
            (Rotation::On(date!(2026 - 01 - 01)), None),
        ] {
            assert_eq!(rule.due(&root(1264)), due, "{rule}");
        }
    }

    #[test]
    fn a_root_of_the_day_or_later_is_not_replaced_again() {
        let (rule, now) = (Rotation::On(date!(2026 - 06 - 01)), datetime!(2026-06-03 0:00 UTC));
        let made = |made| Signing { made, ..root(3650) };
        assert!(rule.begins(&made(datetime!(2026-05-31 23:59 UTC)), &Past::default(), now));
        assert!(!rule.begins(&made(datetime!(2026-06-01 0:00 UTC)), &Past::default(), now));
    }

    #[test]
    fn an_abort_is_followed_by_nothing_for_a_day() {
        let (rule, ended) = (Rotation::AgeDays(30), MADE + Duration::days(50));
        for begun in [None, Some(ended - Duration::days(5))] {
            let past = Past { begun, aborted: Some(ended), ..Past::default() };
            let begins = |after| rule.begins(&root(1000), &past, ended + after);
            assert!(!begins(Duration::ZERO) && !begins(Duration::hours(23)) && begins(Duration::DAY));
        }
    }

    #[test]
    fn a_rollback_holds_the_rule_until_it_is_set_anew() {
        let (rule, at) = (Rotation::AgeDays(30), MADE + Duration::days(50));
        let now = at + Duration::days(300);
        for (to, set, begins) in [
            (1, None, false),
            (1, Some(MADE), false),
            (1, Some(at), false),
            (1, Some(at + Duration::SECOND), true),
            // Another root signs since.
            (2, None, true),
        ] {
            let past = Past { rolled_back: Some(RolledBack { to, at }), set, ..Past::default() };
            assert_eq!(rule.begins(&root(1000), &past, now), begins, "{past:?}");
            // One that was aborted later changes nothing of that, except that it has its day.
            let aborted = Past { aborted: Some(now), ..past };
            assert!(!rule.begins(&root(1000), &aborted, now + Duration::HOUR));
            assert_eq!(rule.begins(&root(1000), &aborted, now + Duration::DAY), begins, "{aborted:?}");
        }
    }

    proptest! {
        #[test]
        fn a_rule_begins_at_most_once_a_day(
            percent in 1_u8..=90, days in 30_i64..4000, looks in prop::collection::vec(0_i64..200_000, 1..200),
        ) {
            let (rule, root) = (Rotation::PercentLeft(percent), root(days));
            let (mut begun, mut now): (Option<OffsetDateTime>, _) = (None, MADE);
            for later in looks {
                now += Duration::seconds(later);
                if rule.begins(&root, &Past { begun, ..Past::default() }, now) {
                    prop_assert!(now >= rule.due(&root).unwrap());
                    prop_assert!(begun.is_none_or(|before| now - before >= Duration::DAY));
                    begun = Some(now);
                }
            }
            prop_assert_eq!(begun.is_some(), rule.due(&root).unwrap() <= now);
        }
    }

    #[test]
    fn a_rule_has_one_spelling() {
        for (text, rule) in [
            (r#"{"percentLeft":20}"#, Rotation::PercentLeft(20)),
            (r#"{"ageDays":700}"#, Rotation::AgeDays(700)),
            (r#"{"on":"2027-06-01"}"#, Rotation::On(date!(2027 - 06 - 01))),
        ] {
            assert_eq!(serde_json::from_str::<Rotation>(text).unwrap(), rule);
            assert_eq!(serde_json::to_string(&rule).unwrap(), text);
        }
        for text in [
            r#"{"percentLeft":0}"#,
            r#"{"percentLeft":91}"#,
            r#"{"ageDays":29}"#,
            r#"{"ageDays":36501}"#,
            r#"{"on":"2027-13-01"}"#,
            r#"{"on":"tomorrow"}"#,
            r#"{"never":1}"#,
            r#"{"percentLeft":20,"ageDays":700}"#,
            "{}",
            "20",
        ] {
            assert!(serde_json::from_str::<Rotation>(text).is_err(), "{text}");
        }
    }
}
