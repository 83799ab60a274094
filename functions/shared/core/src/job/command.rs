//! The commands of an operator to a rollover job.

use thiserror::Error;
use time::OffsetDateTime;

use super::{Job, JobState, Phase, Reopen, Selection};
use crate::rollover::survey::{Purpose, Sweep};

/// What an operator requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Pause,
    Resume,
    Abort,
}

/// Why a job refuses a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("the job has ended")]
    Ended,
    #[error("its root is still being created: repeat PUT /signingCertificate to finish it")]
    BeingMade,
    #[error("the job is paused already")]
    AlreadyPaused,
    #[error("the job is not paused")]
    NotPaused,
    #[error("the new root is active already; replace it with another rollover")]
    Activated,
    #[error("the job is being aborted already")]
    AlreadyAborting,
    #[error("too many retries are waiting already: send this one again in a moment")]
    ManyRetries,
}

impl Job {
    /// The job after the command. The conductor does the rest.
    pub fn command(mut self, command: Command, now: OffsetDateTime) -> Result<Self, Refusal> {
        self.listens()?;
        match command {
            Command::Pause if self.state == JobState::Paused => return Err(Refusal::AlreadyPaused),
            Command::Pause => {
                self.state = JobState::Paused;
                self.reason = "Paused by the operator. No new device is started; resume or abort the job.".to_owned();
            }
            Command::Resume if self.state != JobState::Paused => return Err(Refusal::NotPaused),
            Command::Resume => self.resume(now),
            Command::Abort if self.activated.is_some() || self.phase == Phase::Activate => {
                return Err(Refusal::Activated);
            }
            Command::Abort if self.abort_requested => return Err(Refusal::AlreadyAborting),
            Command::Abort => {
                self.abort_requested = true;
                self.state = JobState::Running;
                self.reason = format!("Aborted by the operator: {}", self.purpose.turns_back());
            }
        }
        self.updated = now;
        Ok(self)
    }

    /// The job after a retry of some failed devices was requested. Other failed devices stay failed. A paused job
    /// resumes.
    pub fn retry(mut self, selection: Selection, now: OffsetDateTime) -> Result<Self, Refusal> {
        self.listens()?;
        if self.abort_requested && self.phase != Phase::Withdraw {
            return Err(Refusal::AlreadyAborting);
        }
        if self.state == JobState::Paused {
            self.go_on(now);
            // Tolerates all failures that are not retried.
            self.tolerated = u64::MAX;
            self.reason = "Resumed by the operator: the selected failed devices are retried.".to_owned();
        }
        if !self.reopen.add(selection) {
            return Err(Refusal::ManyRetries);
        }
        self.updated = now;
        Ok(self)
    }

    fn listens(&self) -> Result<(), Refusal> {
        match (self.state, self.phase) {
            (JobState::Ended, _) => Err(Refusal::Ended),
            (_, Phase::Create) => Err(Refusal::BeingMade),
            _ => Ok(()),
        }
    }

    /// While the job was paused, its workers dropped their messages, and the causes of failures may have been fixed:
    /// all open and failed tasks are sent again.
    fn resume(&mut self, now: OffsetDateTime) {
        self.go_on(now);
        self.reopen = Reopen::everything(now);
        self.tolerated = 0;
        self.reason = "Resumed by the operator: failed devices are retried.".to_owned();
    }

    fn go_on(&mut self, now: OffsetDateTime) {
        self.state = JobState::Running;
        self.sweep = Some(Sweep::new(Purpose::Resend, Vec::new()));
        self.resends = 0;
        self.progress_at = now;
    }
}
