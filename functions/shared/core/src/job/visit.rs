//! Visits: one worker's contact with one device. The record of past visits decides whether there is another one.
//!
//! The queue's receive count decides nothing. A throttled service, or a device leased to another worker, would use up a
//! task's tries without any visit.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::job::backoff;
use crate::job::message::Task;
use crate::job::task::{ErrorClass, Failure};
use crate::job::tries::AllTries;
use crate::job::{JobId, Pass};

/// After this many visits in a row that began and never ended, the device is left alone. Each of them may have killed
/// its worker. A visit that was only interrupted with others of its batch is unlikely to be interrupted three times.
pub const MOST_UNENDED: u32 = 3;

/// Longest wait for work that a device does by itself. Real devices take minutes for a certificate.
pub const LONGEST_WORK: Duration = Duration::HOUR;

/// Tolerance for clock differences between workers: a visit this early counts as on time.
const EARLY: Duration = Duration::seconds(2);

/// One attempt at a device's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAttempt {
    pub job: JobId,
    #[serde(rename = "leg")]
    pub pass: Pass,
    pub attempt: u32,
}

impl From<&Task> for TaskAttempt {
    fn from(task: &Task) -> Self {
        Self { job: task.job, pass: task.pass, attempt: task.attempt }
    }
}

/// Failed visits for one attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    pub task: TaskAttempt,
    pub count: u32,
    /// The failure of the last visit.
    pub failure: Failure,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    /// `None`: there is no further try, and the failure is to be recorded.
    #[serde(default, with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub next: Option<OffsetDateTime>,
    /// One of the visits, or of an earlier attempt's, wrote to the device before it failed: what the next one finds there proves
    /// nothing about before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wrote: bool,
}

impl Tries {
    fn last(task: TaskAttempt, count: u32, failure: Failure, at: OffsetDateTime) -> Self {
        Self { task, count, failure, at, next: None, wrote: false }
    }

    /// Whether they are of this attempt, or of an earlier one at the same device's part of the pass.
    pub fn lead_to(&self, task: TaskAttempt) -> bool {
        (self.task.job, self.task.pass) == (task.job, task.pass) && self.task.attempt <= task.attempt
    }
}

/// Work that a device has been doing by itself since a visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Working {
    /// Where the device reports progress.
    pub monitor: String,
    /// The attempt that started the work.
    pub task: TaskAttempt,
    #[serde(with = "time::serde::timestamp")]
    pub since: OffsetDateTime,
}

impl Working {
    pub fn is_overdue(&self, now: OffsetDateTime) -> bool {
        now >= self.since + LONGEST_WORK
    }
}

/// Whether an attempt still has a next try to come, or the device still works by itself (for whichever attempt). Either
/// is given up when overdue by more than `late`.
pub fn is_under_way(
    task: TaskAttempt,
    tries: &AllTries,
    working: Option<&Working>,
    late: Duration,
    now: OffsetDateTime,
) -> bool {
    let next = tries.of(task).and_then(|tries| tries.next);
    let end = working.map(|working| working.since + LONGEST_WORK);
    next.into_iter().chain(end).any(|comes| now < comes + late)
}

/// What a worker does after it leased a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    Visit,
    /// Too early: the worker releases the device.
    Wait {
        until: OffsetDateTime,
    },
    /// The failure is final: the worker records it without a visit.
    Record(Tries),
}

/// `hastens`: which tries nobody waits for any more. `begun`: visits that began and are not known to have ended,
/// including this one.
pub fn open(
    task: TaskAttempt,
    tries: &AllTries,
    hastens: impl Fn(&Tries) -> bool,
    begun: u32,
    now: OffsetDateTime,
) -> Opening {
    let tries = tries.of(task);
    match tries {
        Some(tries @ Tries { next: None, .. }) => return Opening::Record(tries.clone()),
        Some(tries @ Tries { next: Some(next), .. }) if *next > now + EARLY && !hastens(tries) => {
            return Opening::Wait { until: *next };
        }
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

/// The tries after a failed visit. The error class decides whether there is another try, the count decides when.
/// `earlier`: from the device's record.
pub fn failed(
    task: TaskAttempt,
    earlier: &AllTries,
    failure: Failure,
    patience: Patience,
    random: u32,
    now: OffsetDateTime,
) -> Tries {
    let count = earlier.of(task).map_or(0, |tries| tries.count) + 1;
    let again = failure.class.is_retryable() && count < patience.max_tries;
    let wait = backoff::seconds(patience.base, count, random).max(failure.wait.unwrap_or(0)).min(backoff::LONGEST);
    let wait = Duration::seconds(wait.into());
    let wrote = failure.wrote || earlier.have_written(task);
    Tries { next: again.then(|| now + wait), wrote, ..Tries::last(task, count, failure, now) }
}

/// The tries after a failed visit that is not worth a retry.
pub fn gave_up(task: TaskAttempt, earlier: &AllTries, failure: Failure, now: OffsetDateTime) -> Tries {
    failed(task, earlier, failure, Patience { max_tries: 0, base: 1 }, 0, now)
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::NO_JOB;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const PATIENCE: Patience = Patience { max_tries: 3, base: 30 };

    fn task(attempt: u32) -> TaskAttempt {
        TaskAttempt { job: JobId(7), pass: Pass::Distribute, attempt }
    }

    const fn never(_: &Tries) -> bool {
        false
    }

    fn refused(class: ErrorClass) -> Failure {
        Failure::new(class, "No.")
    }

    #[test]
    fn a_retryable_failure_is_retried_until_tries_run_out() {
        let (mut tries, mut waits) = (AllTries::NONE, Vec::new());
        for _ in 0..3 {
            let next = failed(task(1), &tries, refused(ErrorClass::Connect), PATIENCE, 0, NOW);
            waits.push(next.next.map(|next| (next - NOW).whole_seconds()));
            tries = tries.with(next);
        }
        assert_eq!(waits, [Some(15), Some(30), None]);
        assert_eq!(tries.of(task(1)).map(|tries| tries.count), Some(3));
    }

    #[test]
    fn tries_of_two_tasks_run_out_side_by_side() {
        let other = TaskAttempt { job: NO_JOB, pass: Pass::Join, attempt: 1 };
        let mut tries = AllTries::NONE;
        for task in [task(1), other].repeat(3) {
            assert_eq!(open(task, &tries, |_| true, 1, NOW), Opening::Visit);
            tries = tries.with(failed(task, &tries, refused(ErrorClass::Connect), PATIENCE, 0, NOW));
        }
        for task in [task(1), other] {
            assert_eq!(tries.of(task).map(|tries| (tries.count, tries.next)), Some((3, None)));
        }
    }

    #[test]
    fn a_device_is_given_the_time_that_it_asks_for() {
        let next = |wait| {
            let failure = refused(ErrorClass::Throttled).not_before(wait);
            failed(task(1), &AllTries::NONE, failure, PATIENCE, 0, NOW).next.map(|next| (next - NOW).whole_seconds())
        };
        assert_eq!([next(None), next(Some(5)), next(Some(120))], [Some(15), Some(15), Some(120)]);
        assert_eq!(next(Some(86_400)), Some(900), "SQS's longest delay");
    }

    #[test]
    fn a_permanent_failure_is_not_retried() {
        let tries = failed(task(1), &AllTries::NONE, refused(ErrorClass::Unauthorized), PATIENCE, 0, NOW);
        assert_eq!((tries.count, tries.next), (1, None));
        assert_eq!(gave_up(task(1), &AllTries::NONE, refused(ErrorClass::Timeout), NOW).next, None);
    }

    #[test]
    fn a_new_attempt_counts_from_zero() {
        let used_up = AllTries::NONE.with(gave_up(task(1), &AllTries::NONE, refused(ErrorClass::Connect), NOW));
        assert_eq!(open(task(2), &used_up, never, 1, NOW), Opening::Visit);
        let first = failed(task(2), &used_up, refused(ErrorClass::Connect), PATIENCE, 0, NOW);
        assert_eq!((first.count, first.next.is_some()), (1, true));
    }

    #[test]
    fn a_known_failure_is_recorded_without_a_visit() {
        let known = gave_up(task(1), &AllTries::NONE, refused(ErrorClass::Unauthorized), NOW);
        assert_eq!(open(task(1), &AllTries::NONE.with(known.clone()), never, 1, NOW), Opening::Record(known.clone()));
    }

    #[test]
    fn a_visit_before_its_time_waits() {
        let tries =
            AllTries::NONE.with(failed(task(1), &AllTries::NONE, refused(ErrorClass::Connect), PATIENCE, 0, NOW));
        assert_eq!(open(task(1), &tries, never, 1, NOW), Opening::Wait { until: NOW + Duration::seconds(15) });
        assert_eq!(open(task(1), &tries, never, 1, NOW + Duration::seconds(13)), Opening::Visit);
    }

    #[test]
    fn a_hastened_visit_does_not_wait_but_final_failures_stay() {
        let tries =
            AllTries::NONE.with(failed(task(1), &AllTries::NONE, refused(ErrorClass::Connect), PATIENCE, 0, NOW));
        assert_eq!(open(task(1), &tries, |_| true, 1, NOW), Opening::Visit);
        let known = gave_up(task(1), &AllTries::NONE, refused(ErrorClass::Unauthorized), NOW);
        assert_eq!(
            open(task(1), &AllTries::NONE.with(known.clone()), |_| true, 1, NOW),
            Opening::Record(known.clone())
        );
    }

    #[test]
    fn a_device_that_killed_several_workers_is_left_alone() {
        assert_eq!(open(task(1), &AllTries::NONE, never, 3, NOW), Opening::Visit);
        let Opening::Record(tries) = open(task(1), &AllTries::NONE, never, 4, NOW) else { panic!("visited") };
        assert_eq!((tries.failure.class, tries.next), (ErrorClass::Lost, None));
    }

    #[test]
    fn pending_tries_and_device_work_count_as_under_way() {
        let late = Duration::minutes(15);
        let under_way = |tries: Option<&Tries>, working, seconds| {
            let tries = tries.into_iter().fold(AllTries::NONE, |all, tries| all.with(tries.clone()));
            is_under_way(task(1), &tries, working, late, NOW + Duration::seconds(seconds))
        };
        assert!(!under_way(None, None, 0));
        let tries = failed(task(1), &AllTries::NONE, refused(ErrorClass::Connect), PATIENCE, 0, NOW);
        assert!(under_way(Some(&tries), None, 15 + 899) && !under_way(Some(&tries), None, 15 + 900));
        let of_another = Tries { task: task(2), ..tries };
        assert!(!under_way(Some(&of_another), None, 0));
        let used_up = gave_up(task(1), &AllTries::NONE, refused(ErrorClass::Connect), NOW);
        assert!(!under_way(Some(&used_up), None, 0));
        let working = Working { monitor: "/redfish/v1/x".to_owned(), task: task(2), since: NOW };
        assert!(under_way(None, Some(&working), 3600 + 899) && !under_way(None, Some(&working), 3600 + 900));
    }

    #[test]
    fn device_work_is_awaited_for_an_hour() {
        let working = Working { monitor: "/redfish/v1/x".to_owned(), task: task(1), since: NOW };
        assert!(!working.is_overdue(NOW + Duration::minutes(59)));
        assert!(working.is_overdue(NOW + Duration::HOUR));
    }

    proptest! {
        /// However many messages arrive, and whenever, one attempt makes at most `max_tries` visits.
        #[test]
        fn no_more_visits_than_tries(max_tries in 1u32..9, gaps in proptest::collection::vec((0i64..2000, any::<u32>()), 0..60)) {
            let patience = Patience { max_tries, base: 30 };
            let (mut now, mut tries, mut visits) = (NOW, AllTries::NONE, 0);
            for (gap, random) in gaps {
                now += Duration::seconds(gap);
                if open(task(1), &tries, never, 1, now) == Opening::Visit {
                    visits += 1;
                    tries = tries.with(failed(task(1), &tries, refused(ErrorClass::Timeout), patience, random, now));
                }
            }
            prop_assert!(visits <= max_tries);
        }
    }
}
