//! Visits: one worker at one device, once. What a device's record keeps of them decides what becomes of the next one.
//!
//! The queue's receives decide nothing: a throttled service, or a device that another worker holds, would use up a task's
//! tries without anybody having been at the device.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::job::backoff;
use crate::job::message::Task;
use crate::job::task::{ErrorClass, Failure};
use crate::job::{JobId, Leg};

/// After so many visits in a row that began and never ended the device is left alone. Each may have ended its worker; one
/// that was merely cut off with others of its batch is not likely to be cut off three times.
pub const MOST_UNENDED: u32 = 3;

/// Work that a device does by itself is waited for so long. Real ones take minutes for a certificate.
pub const LONGEST_WORK: Duration = Duration::HOUR;

/// Workers' clocks differ a little: who comes so much before the time has come in time.
const EARLY: Duration = Duration::seconds(2);

/// One attempt at a device's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAttempt {
    pub job: JobId,
    pub leg: Leg,
    pub attempt: u32,
}

impl From<&Task> for TaskAttempt {
    fn from(task: &Task) -> Self {
        Self { job: task.job, leg: task.leg, attempt: task.attempt }
    }
}

/// The failed visits for one attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    pub task: TaskAttempt,
    pub count: u32,
    /// The last one's.
    pub failure: Failure,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    /// `None`: that was the last one, and the failure is to be recorded.
    #[serde(default, with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub next: Option<OffsetDateTime>,
}

impl Tries {
    fn last(task: TaskAttempt, count: u32, failure: Failure, at: OffsetDateTime) -> Self {
        Self { task, count, failure, at, next: None }
    }
}

/// What a device works on by itself since a visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Working {
    /// Where the device says whether it is done.
    pub monitor: String,
    /// For which it was begun.
    pub task: TaskAttempt,
    #[serde(with = "time::serde::timestamp")]
    pub since: OffsetDateTime,
}

impl Working {
    pub fn is_overdue(&self, now: OffsetDateTime) -> bool {
        now >= self.since + LONGEST_WORK
    }
}

/// Whether something of an attempt at a device's task is still to come by itself: its next try, or the end of what the
/// device works on, for whomever it was begun. What is overdue for longer than `late` does not come any more.
pub fn is_under_way(
    task: TaskAttempt,
    tries: Option<&Tries>,
    working: Option<&Working>,
    late: Duration,
    now: OffsetDateTime,
) -> bool {
    let next = tries.filter(|tries| tries.task == task).and_then(|tries| tries.next);
    let end = working.map(|working| working.since + LONGEST_WORK);
    next.into_iter().chain(end).any(|comes| now < comes + late)
}

/// What a worker does that has just leased a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    Visit,
    /// Not before its time; the device is given back.
    Wait {
        until: OffsetDateTime,
    },
    /// The failure is known: it is recorded, and the device is left alone.
    Record(Tries),
}

/// `begun`: visits that began and are not known to have ended, this one included.
pub fn open(task: TaskAttempt, tries: Option<&Tries>, begun: u32, now: OffsetDateTime) -> Opening {
    let tries = tries.filter(|tries| tries.task == task);
    match tries {
        Some(tries @ Tries { next: None, .. }) => return Opening::Record(tries.clone()),
        Some(Tries { next: Some(next), .. }) if *next > now + EARLY => return Opening::Wait { until: *next },
        _ => {}
    }
    if begun > MOST_UNENDED {
        let message = format!("{} visits to the device began, and none of them gave a result.", begun - 1);
        let count = tries.map_or(0, |tries| tries.count);
        return Opening::Record(Tries::last(task, count, Failure::new(ErrorClass::Lost, message), now));
    }
    Opening::Visit
}

/// How often a device is visited for one attempt at a task.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub max_tries: u32,
    /// The first wait, in seconds.
    pub base: u32,
}

/// After a visit that failed: the error's class decides whether there is another, and the count when. `earlier`: as of
/// the device's record.
pub fn failed(
    task: TaskAttempt,
    earlier: Option<&Tries>,
    failure: Failure,
    patience: Patience,
    random: u32,
    now: OffsetDateTime,
) -> Tries {
    let count = earlier.filter(|tries| tries.task == task).map_or(0, |tries| tries.count) + 1;
    let again = failure.class.is_retryable() && count < patience.max_tries;
    let wait = Duration::seconds(backoff::seconds(patience.base, count, random).into());
    Tries { next: again.then(|| now + wait), ..Tries::last(task, count, failure, now) }
}

/// A visit that failed where no other one is of use.
pub fn gave_up(task: TaskAttempt, earlier: Option<&Tries>, failure: Failure, now: OffsetDateTime) -> Tries {
    failed(task, earlier, failure, Patience { max_tries: 0, base: 1 }, 0, now)
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const PATIENCE: Patience = Patience { max_tries: 3, base: 30 };

    fn task(attempt: u32) -> TaskAttempt {
        TaskAttempt { job: JobId(7), leg: Leg::Distribute, attempt }
    }

    fn refused(class: ErrorClass) -> Failure {
        Failure::new(class, "No.")
    }

    #[test]
    fn a_passing_failure_is_tried_until_tries_run_out() {
        let (mut tries, mut waits) = (None, Vec::new());
        for _ in 0..3 {
            let next = failed(task(1), tries.as_ref(), refused(ErrorClass::Connect), PATIENCE, 0, NOW);
            waits.push(next.next.map(|next| (next - NOW).whole_seconds()));
            tries = Some(next);
        }
        assert_eq!(waits, [Some(15), Some(30), None]);
        assert_eq!(tries.map(|tries| tries.count), Some(3));
    }

    #[test]
    fn a_lasting_failure_is_the_last_one_at_once() {
        let tries = failed(task(1), None, refused(ErrorClass::Unauthorized), PATIENCE, 0, NOW);
        assert_eq!((tries.count, tries.next), (1, None));
        assert_eq!(gave_up(task(1), None, refused(ErrorClass::Timeout), NOW).next, None);
    }

    #[test]
    fn another_attempt_begins_to_count_anew() {
        let used_up = gave_up(task(1), None, refused(ErrorClass::Connect), NOW);
        assert_eq!(open(task(2), Some(&used_up), 1, NOW), Opening::Visit);
        let first = failed(task(2), Some(&used_up), refused(ErrorClass::Connect), PATIENCE, 0, NOW);
        assert_eq!((first.count, first.next.is_some()), (1, true));
    }

    #[test]
    fn a_known_failure_is_recorded_without_a_visit() {
        let known = gave_up(task(1), None, refused(ErrorClass::Unauthorized), NOW);
        assert_eq!(open(task(1), Some(&known), 1, NOW), Opening::Record(known.clone()));
    }

    #[test]
    fn whoever_comes_before_the_time_waits() {
        let tries = failed(task(1), None, refused(ErrorClass::Connect), PATIENCE, 0, NOW);
        assert_eq!(open(task(1), Some(&tries), 1, NOW), Opening::Wait { until: NOW + Duration::seconds(15) });
        assert_eq!(open(task(1), Some(&tries), 1, NOW + Duration::seconds(13)), Opening::Visit);
    }

    #[test]
    fn a_device_that_ended_each_worker_is_left_alone() {
        assert_eq!(open(task(1), None, 3, NOW), Opening::Visit);
        let Opening::Record(tries) = open(task(1), None, 4, NOW) else { panic!("visited") };
        assert_eq!((tries.failure.class, tries.next), (ErrorClass::Lost, None));
    }

    #[test]
    fn a_try_to_come_and_work_under_way_are_not_lost() {
        let late = Duration::minutes(15);
        let under_way = |tries: Option<&Tries>, working, seconds| {
            is_under_way(task(1), tries, working, late, NOW + Duration::seconds(seconds))
        };
        assert!(!under_way(None, None, 0));
        let tries = failed(task(1), None, refused(ErrorClass::Connect), PATIENCE, 0, NOW);
        assert!(under_way(Some(&tries), None, 15 + 899) && !under_way(Some(&tries), None, 15 + 900));
        let of_another = Tries { task: task(2), ..tries };
        assert!(!under_way(Some(&of_another), None, 0));
        let used_up = gave_up(task(1), None, refused(ErrorClass::Connect), NOW);
        assert!(!under_way(Some(&used_up), None, 0));
        let working = Working { monitor: "/redfish/v1/x".to_owned(), task: task(2), since: NOW };
        assert!(under_way(None, Some(&working), 3600 + 899) && !under_way(None, Some(&working), 3600 + 900));
    }

    #[test]
    fn work_of_a_device_is_waited_for_an_hour() {
        let working = Working { monitor: "/redfish/v1/x".to_owned(), task: task(1), since: NOW };
        assert!(!working.is_overdue(NOW + Duration::minutes(59)));
        assert!(working.is_overdue(NOW + Duration::HOUR));
    }

    proptest! {
        /// However often and whenever its messages come, a device is visited `max_tries` times for one attempt at most.
        #[test]
        fn no_more_visits_than_tries(max_tries in 1u32..9, gaps in proptest::collection::vec((0i64..2000, any::<u32>()), 0..60)) {
            let patience = Patience { max_tries, base: 30 };
            let (mut now, mut tries, mut visits) = (NOW, None, 0);
            for (gap, random) in gaps {
                now += Duration::seconds(gap);
                if open(task(1), tries.as_ref(), 1, now) == Opening::Visit {
                    visits += 1;
                    tries = Some(failed(task(1), tries.as_ref(), refused(ErrorClass::Timeout), patience, random, now));
                }
            }
            prop_assert!(visits <= max_tries);
        }
    }
}
