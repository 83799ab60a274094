//! The standing of a device in a job: its result, or why it has none.

use super::task::{TaskRecord, TaskState};
use super::{Job, JobOutcome, JobState};
use crate::device::DeviceId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Settled(TaskState),
    /// The task was sent or is still to be sent.
    Waiting,
    /// The job ended, or turned back, before it reached the device.
    Never,
    /// The device joined after the job had ended.
    NotInJob,
}

impl Standing {
    /// `task`: `None` until its first attempt is settled.
    pub fn of(job: &Job, device: &DeviceId, task: Option<&TaskRecord>) -> Self {
        match task {
            Some(task) if matches!(task.state, TaskState::Waiting | TaskState::Postponed) => Self::Waiting,
            Some(task) => Self::Settled(task.state),
            None if job.outcome == Some(JobOutcome::Aborted) => Self::Never,
            None if job.state == JobState::Ended => Self::NotInJob,
            None if job.bound.as_ref().is_some_and(|bound| !bound.is_past(job.id, device)) => Self::Never,
            None => Self::Waiting,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::job::{Activation, Front, JobId, NewJob, Phase};
    use crate::rollover::rollout::Rollout;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn of(job: &Job, state: Option<TaskState>) -> Standing {
        let task = state.map(|state| TaskRecord::new("a".parse().unwrap(), state, 1, NOW));
        Standing::of(job, &"a".parse().unwrap(), task.as_ref())
    }

    #[test]
    fn a_standing_follows_from_job_and_task() {
        let new = NewJob {
            id: JobId(7),
            generation: 2,
            old_generation: Some(1),
            activation: Activation::Proven,
            rollout: Rollout::default(),
            until: Phase::Activate,
            requested_for: None,
        };
        let mut job = Job::new(new, NOW);
        job.publish(3);
        job.distribute(NOW);
        assert_eq!(of(&job, None), Standing::Waiting);
        assert_eq!(of(&job, Some(TaskState::Waiting)), Standing::Waiting);
        assert_eq!(of(&job, Some(TaskState::Failed)), Standing::Settled(TaskState::Failed));
        job.bound = Some(Front::default());
        assert_eq!(of(&job, None), Standing::Never);
        job.end(JobOutcome::Aborted, "");
        assert_eq!(of(&job, None), Standing::Never);
        job.end(JobOutcome::Activated, "");
        assert_eq!(of(&job, None), Standing::NotInJob);
        assert_eq!(of(&job, Some(TaskState::Acked)), Standing::Settled(TaskState::Acked));
    }
}
