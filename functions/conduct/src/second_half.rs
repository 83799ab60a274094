//! What follows the activation of a new root, until the old ones are gone.

use rootcast_core::audit::Actor;
use rootcast_core::job::{Job, JobOutcome};
use rootcast_ledger::{Authority, Change, Conducting};
use time::OffsetDateTime;

use crate::{App, ConductError, StepResult};

impl App {
    /// A job that had ended runs again, if nothing has come in between.
    pub(crate) async fn go_on_alone(
        &self,
        held: &Conducting,
        mut job: Job,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        let authority = self.ledger.authority().await?;
        if authority.signing != Some(job.generation) {
            let why = format!("Root generation {} no longer signs, so there is nothing to continue.", job.generation);
            job.end(JobOutcome::Activated, &why);
            self.save(job, now).await?;
            return Ok(StepResult::Rest);
        }
        match authority.running {
            Some(other) if other != job.id => {
                let why = format!("Paused: job {other} is running. Resume this one when it has ended.");
                return self.pause(job, &why, now).await;
            }
            _ if authority.is_claimed(now) => {
                let why = "Paused: another root is being made. Resume this job when that one signs.";
                return self.pause(job, why, now).await;
            }
            _ => {}
        }
        let authority = Authority { running: Some(job.id), ..authority };
        job.go_on_alone();
        job.updated = now;
        let change =
            Change { authority: Some(&authority), job: Some(&job), conducting: Some(held), ..Change::default() };
        self.ledger.commit(change).await?;
        Ok(StepResult::Continue)
    }

    /// Publishes a bundle without the old roots.
    pub(crate) async fn distrust(
        &self,
        held: &Conducting,
        mut job: Job,
        why: String,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        job.reason = why;
        self.authority.distrust_roots(&mut job, held, &Actor::function("conduct"), now).await?;
        Ok(StepResult::Continue)
    }

    /// Puts the old roots' keys out of use.
    pub(crate) async fn retire(
        &self,
        held: &Conducting,
        mut job: Job,
        why: String,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        job.reason = why;
        self.authority.retire_roots(&mut job, held, &Actor::function("conduct"), now).await?;
        Ok(StepResult::Continue)
    }
}
