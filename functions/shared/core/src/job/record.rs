//! A job of either kind, and the commands that both kinds share.

use thiserror::Error;
use time::OffsetDateTime;

use super::{Command, Haste, Job, JobId, JobPurpose, JobState, Pass, Refusal, Selection};
use crate::deployment::{Deployment, NotResumed};

/// A job by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is read at a time, and none is kept")]
pub enum JobRecord {
    Rollover(Box<Job>),
    Deployment(Deployment),
}

/// Why a job of either kind refuses a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    #[error(transparent)]
    Rollover(#[from] Refusal),
    #[error(transparent)]
    Deployment(#[from] NotResumed),
    /// A deployment has no wave to pause before, nothing to withdraw, and no gate that waits for its devices.
    #[error("a deployment is neither paused nor aborted, and no device of it is waived")]
    OfDeployment,
}

impl JobRecord {
    pub const fn id(&self) -> JobId {
        match self {
            Self::Rollover(job) => job.id,
            Self::Deployment(deployment) => deployment.id,
        }
    }

    /// The job's present pass.
    pub fn pass(&self) -> Pass {
        match self {
            Self::Rollover(job) => job.pass(),
            Self::Deployment(_) => Pass::Install,
        }
    }

    /// The job after the command; the conductor does what follows from it. Resuming a deployment retries its failed
    /// devices, whether it has ended or not.
    pub fn command(self, command: Command, now: OffsetDateTime) -> Result<Self, Refused> {
        match (self, command) {
            (Self::Rollover(job), _) => Ok(Self::Rollover(Box::new(job.command(command, now)?))),
            (deployment, Command::Resume) => deployment.retry(Selection::everything(now), now),
            (Self::Deployment(_), Command::Pause | Command::Abort | Command::Continue { .. } | Command::RollBack) => {
                Err(Refused::OfDeployment)
            }
        }
    }

    /// The job after a retry of the selected failures. All other failures stay.
    pub fn retry(self, selection: Selection, now: OffsetDateTime) -> Result<Self, Refused> {
        match self {
            Self::Rollover(job) => Ok(Self::Rollover(Box::new(job.retry(selection, now)?))),
            Self::Deployment(job) => Ok(Self::Deployment(job.retry(selection, now)?)),
        }
    }

    /// The job after selected tasks that wait for their next try were to be tried now. `None`: it takes no work now.
    pub fn hasten(self, selection: &Selection, now: OffsetDateTime) -> Option<Self> {
        match self {
            Self::Rollover(job) if job.state == JobState::Running => {
                Some(Self::Rollover(Box::new(job.hasten(selection, now))))
            }
            Self::Deployment(job) if job.is_running() => Some(Self::Deployment(job.hasten(selection, now))),
            Self::Rollover(_) | Self::Deployment(_) => None,
        }
    }

    /// Whether one query reads all of a pass's counters.
    pub const fn is_counted_together(&self) -> bool {
        match self {
            Self::Rollover(job) => job.counted_together,
            Self::Deployment(job) => job.counted_together,
        }
    }

    /// Which waiting tasks are not to wait for their next try.
    pub const fn haste(&self) -> Option<&Haste> {
        match self {
            Self::Rollover(job) => job.haste.as_ref(),
            Self::Deployment(job) => job.haste.as_ref(),
        }
    }

    /// Whether a gate waits for the job's devices, so that a device may be waived.
    pub fn waives(&self) -> Result<(), Refused> {
        match self {
            Self::Rollover(job) if job.state == JobState::Ended => Err(Refusal::Ended.into()),
            Self::Rollover(job) if job.purpose == JobPurpose::Preflight => Err(Refusal::NoGate.into()),
            Self::Rollover(_) => Ok(()),
            Self::Deployment(_) => Err(Refused::OfDeployment),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;
    use crate::deployment::DeploymentOutcome;
    use crate::deployment::lifecycle::Work;
    use crate::job::{Activation, JobOutcome, NewJob, Phase};
    use crate::rollover::rollout::Rollout;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn deployment(outcome: Option<DeploymentOutcome>) -> JobRecord {
        let (certificate, devices) = ("scs1600313391074".parse().unwrap(), ["a".parse().unwrap()].into());
        let job = Deployment::new(JobId(7), certificate, Work::Install, devices, "ops".to_owned(), NOW);
        JobRecord::Deployment(Deployment { outcome, ..job })
    }

    fn rollover() -> Job {
        let mut job = Job::new(
            NewJob {
                id: JobId(7),
                generation: 2,
                old_generation: Some(1),
                activation: Activation::Proven,
                rollout: Rollout::default(),
                until: Phase::Activate,
                requested_for: None,
            },
            NOW,
        );
        job.publish(1);
        job.distribute(NOW);
        job
    }

    #[test]
    fn a_resumed_deployment_is_retried_and_takes_no_other_command() {
        let failed = deployment(Some(DeploymentOutcome::DeployedWithFailures));
        let retried = failed.clone().retry(Selection::everything(NOW), NOW);
        assert_eq!(failed.clone().command(Command::Resume, NOW), retried);
        assert!(matches!(retried.unwrap(), JobRecord::Deployment(job) if job.is_running()));
        for command in [Command::Pause, Command::Abort] {
            assert_eq!(failed.clone().command(command, NOW), Err(Refused::OfDeployment));
        }
        let proven = deployment(Some(DeploymentOutcome::Deployed)).command(Command::Resume, NOW);
        assert_eq!(proven, Err(Refused::Deployment(NotResumed::NothingFailed)));
    }

    #[test]
    fn a_rollover_record_passes_commands_to_its_job() {
        let record = |job| JobRecord::Rollover(Box::new(job));
        let paused = rollover().command(Command::Pause, NOW).unwrap();
        assert_eq!(record(rollover()).command(Command::Pause, NOW), Ok(record(paused.clone())));
        assert_eq!(record(paused).command(Command::Pause, NOW), Err(Refused::Rollover(Refusal::AlreadyPaused)));
    }

    #[test]
    fn devices_of_a_rollover_that_has_not_ended_are_waived() {
        let mut job = rollover();
        assert_eq!(JobRecord::Rollover(Box::new(job.clone())).waives(), Ok(()));
        job.end(JobOutcome::Activated, "done");
        assert_eq!(JobRecord::Rollover(Box::new(job)).waives(), Err(Refused::Rollover(Refusal::Ended)));
        assert_eq!(deployment(None).waives(), Err(Refused::OfDeployment));
    }
}
