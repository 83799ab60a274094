//! The commands of an operator to a rollover job.

use thiserror::Error;
use time::OffsetDateTime;

use super::{Continued, Haste, Job, JobOutcome, JobState, Phase, Reopen, Selection};
use crate::rollover::survey::{Purpose, Survey};
use crate::rollover::windows::Held;

/// What an operator requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Pause,
    Resume,
    Abort,
    /// Go on after the phase at which the job was to stop, up to the end of this one.
    Continue {
        until: Phase,
    },
    /// Let the old root sign again.
    RollBack,
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
    #[error("the job is to go as far as that already")]
    GoesFarEnough,
    #[error("the job was aborted, rolled back or taken over: start another rollover")]
    GivenUp,
    #[error("its root does not sign yet: abort the job instead")]
    NotActivated,
    #[error("no root signed before this one")]
    NoOldRoot,
    #[error("the old roots have left the devices' bundle: only another rollover replaces the new root")]
    OldRootsLeft,
    #[error("the job is being rolled back already")]
    AlreadyRollingBack,
    #[error("a compromised root never signs again, and leaves every device: the job only goes on")]
    Compromised,
    #[error("it only reads the devices, and no gate waits for them")]
    NoGate,
    #[error("too many retries are waiting already: send this one again in a moment")]
    ManyRetries,
}

impl Job {
    /// The job after the command. The conductor does the rest.
    pub fn command(mut self, command: Command, now: OffsetDateTime) -> Result<Self, Refusal> {
        if let Command::Continue { until } = command {
            return self.go_further(until, now);
        }
        if command == Command::RollBack {
            return self.turn_back(now);
        }
        self.listens()?;
        match command {
            Command::Continue { .. } | Command::RollBack => {}
            Command::Pause if self.state == JobState::Paused => return Err(Refusal::AlreadyPaused),
            Command::Pause => {
                self.state = JobState::Paused;
                let or_abort = if self.activated.is_none() { ", or abort it" } else { "" };
                self.reason = format!("Paused by the operator. No new device is started; resume the job{or_abort}.");
            }
            Command::Resume if self.state != JobState::Paused => return Err(Refusal::NotPaused),
            Command::Resume => self.resume(now),
            Command::Abort if self.is_compromise() => return Err(Refusal::Compromised),
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

    /// The job after waiting devices were to be tried now: their messages are sent again. While a survey runs, nobody
    /// waits for a next try for long.
    pub fn hasten(mut self, selection: &Selection, now: OffsetDateTime) -> Self {
        self.haste = Some(Haste::new(selection));
        if self.sweep.as_ref().is_none_or(|sweep| sweep.purpose != Purpose::Survey) {
            self.sweep_lap(Purpose::Resend);
        }
        self.updated = now;
        self
    }

    /// A job that has ended runs again from the phase that it reached.
    fn go_further(mut self, until: Phase, now: OffsetDateTime) -> Result<Self, Refusal> {
        let is_given_up = self.abort_requested || self.rollback_requested;
        if is_given_up || self.outcome.is_some_and(JobOutcome::is_given_up) {
            return Err(Refusal::GivenUp);
        }
        if until <= self.until || self.outcome == Some(JobOutcome::Completed) || !self.purpose.is_rollover() {
            return Err(Refusal::GoesFarEnough);
        }
        let was_stopped = self.state == JobState::Paused && self.until <= self.phase;
        if let Some(outcome) = self.outcome.take() {
            self.formerly = Some(outcome);
            self.phase = self.reached.take().unwrap_or(Phase::Activate);
            self.state = JobState::Running;
            self.continued = Some(Continued::Asked);
            (self.survey, self.outside, self.waits_since) = (Survey::default(), Held::default(), None);
        } else if was_stopped {
            self.go_on(now);
        }
        self.until = until;
        if self.state == JobState::Running {
            self.reason = "Continued by the operator.".to_owned();
        }
        self.updated = now;
        Ok(self)
    }

    /// The old root is to sign again: possible until it has left the bundle. A job that has ended runs again for that.
    fn turn_back(mut self, now: OffsetDateTime) -> Result<Self, Refusal> {
        let last = if self.phase == Phase::Ended { Phase::Activate } else { self.phase };
        let reached = self.reached.unwrap_or(last);
        match self.outcome {
            Some(outcome) if outcome.is_given_up() => return Err(Refusal::GivenUp),
            _ if self.is_compromise() => return Err(Refusal::Compromised),
            _ if self.abort_requested => return Err(Refusal::AlreadyAborting),
            _ if self.rollback_requested => return Err(Refusal::AlreadyRollingBack),
            _ if self.phase == Phase::Create => return Err(Refusal::BeingMade),
            _ if self.activated.is_none() => return Err(Refusal::NotActivated),
            _ if self.old_generation.is_none() => return Err(Refusal::NoOldRoot),
            _ if reached >= Phase::Distrust => return Err(Refusal::OldRootsLeft),
            Some(_) => {
                (self.phase, self.reached) = (reached, None);
                (self.continued, self.formerly) = (Some(Continued::Asked), self.outcome);
                self.survey = Survey::default();
            }
            None => {}
        }
        self.outcome = None;
        self.rollback_requested = true;
        self.state = JobState::Running;
        self.reason = "Rolled back by the operator: the old root is to sign again.".to_owned();
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
        let forgot = self.survey.total().forgot;
        let begins_anew = self.phase == Phase::HoldDown && forgot > 0;
        if begins_anew {
            // What the devices proved before is worth no more.
            (self.phase, self.hold, self.survey) = (Phase::Distribute, None, Survey::default());
        }
        self.go_on(now);
        self.reopen = Reopen::everything(now);
        self.haste = Some(Haste::new(&Selection::everything(now)));
        self.tolerated = 0;
        self.in_use = None;
        self.reason = match begins_anew {
            true => format!(
                "Resumed by the operator: {forgot} devices had lost the new root, so the hold-down begins anew."
            ),
            false => "Resumed by the operator: failed devices are retried.".to_owned(),
        };
    }

    fn go_on(&mut self, now: OffsetDateTime) {
        if self.state == JobState::Paused {
            // The job waited for a person, and not for windows: closed devices' proofs have aged.
            (self.outside, self.waits_since) = (Held::default(), None);
            self.survey.forget_spared();
        }
        self.state = JobState::Running;
        // Before its first wave, a pass has sent nothing.
        if self.wave.is_some() {
            self.sweep_lap(Purpose::Resend);
        }
        self.resends = 0;
        self.progress_at = now;
    }
}

#[cfg(test)]
#[path = "rollback_tests.rs"]
mod tests;
