//! The tries of all tasks at a device. Several tasks may be under way there at once, such as a join and an install: the
//! visits of each are counted for themselves.

use serde::{Deserialize, Serialize};

use crate::job::visit::{TaskAttempt, Tries};

/// More tasks than are ever under way at one device. The failures of ended tasks make room for those of later ones.
const MOST: usize = 4;

/// One entry per task that was not settled at the first visit, the latest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct AllTries(Vec<Tries>);

/// Earlier records have the tries of one task.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    All(Vec<Tries>),
    One(Box<Tries>),
}

impl From<Stored> for AllTries {
    fn from(stored: Stored) -> Self {
        Self(match stored {
            Stored::All(all) => all,
            Stored::One(one) => vec![*one],
        })
    }
}

impl AllTries {
    pub const NONE: Self = Self(Vec::new());

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Tries> {
        self.0.iter()
    }

    /// Of this very attempt.
    pub fn of(&self, task: TaskAttempt) -> Option<&Tries> {
        self.iter().find(|tries| tries.task == task)
    }

    /// Whether a visit for this part of the pass wrote to the device, and then failed.
    pub fn have_written(&self, task: TaskAttempt) -> bool {
        self.iter().any(|tries| tries.wrote && tries.lead_to(task))
    }

    /// In place of the earlier ones of the same task.
    #[must_use]
    pub fn with(&self, tries: Tries) -> Self {
        let Self(others) = self.without(tries.task);
        Self([tries].into_iter().chain(others).take(MOST).collect())
    }

    #[must_use]
    pub fn without(&self, task: TaskAttempt) -> Self {
        Self(self.iter().filter(|tries| !tries.lead_to(task)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use time::OffsetDateTime;

    use super::*;
    use crate::job::task::{ErrorClass, Failure};
    use crate::job::visit::gave_up;
    use crate::job::{JobId, Pass};

    fn task(job: u64, attempt: u32) -> TaskAttempt {
        TaskAttempt { job: JobId(job), pass: Pass::Distribute, attempt }
    }

    fn tries(of: TaskAttempt) -> Tries {
        let failure = Failure::new(ErrorClass::Connect, "Nobody answers.");
        gave_up(of, &AllTries::NONE, failure, OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn a_new_attempt_replaces_earlier_ones_of_its_task() {
        let all = [(1, 1), (2, 1), (1, 2)].map(|(job, attempt)| tries(task(job, attempt)));
        let kept = all.into_iter().fold(AllTries::NONE, |all, tries| all.with(tries));
        let kept: Vec<TaskAttempt> = kept.iter().map(|tries| tries.task).collect();
        assert_eq!(kept, [task(1, 2), task(2, 1)]);
    }

    #[test]
    fn the_latest_tries_of_a_few_tasks_are_kept() {
        let kept = (0..9).fold(AllTries::NONE, |all, job| all.with(tries(task(job, 1))));
        assert_eq!(kept.iter().map(|tries| tries.task.job.0).collect::<Vec<_>>(), [8, 7, 6, 5]);
        assert_eq!(kept.without(task(7, 2)).iter().count(), MOST - 1);
    }

    #[test]
    fn records_with_tries_of_one_task_are_read() {
        let one = tries(task(1, 1));
        let read = |stored: Value| serde_json::from_value::<AllTries>(stored).ok();
        let expected = Some(AllTries(vec![one.clone()]));
        assert_eq!((read(json!(one)), read(json!([one]))), (expected.clone(), expected));
        assert_eq!(read(json!(7)), None);
    }
}
