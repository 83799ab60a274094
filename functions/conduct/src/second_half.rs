//! What follows the activation of a new root, until the old ones are gone.

use rootcast_authority::AuthorityError;
use rootcast_core::audit::Actor;
use rootcast_core::job::{Job, JobOutcome};
use rootcast_core::metric::Metric;
use rootcast_ledger::{Authority, Change, Conducting, LedgerError};
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::warn;

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
        let other = match authority.running {
            Some(other) if other != job.id => Some(format!("job {other} is running")),
            _ if authority.is_claimed(now) => Some("another root is being made".to_owned()),
            _ => None,
        };
        if let Some(other) = other {
            if job.rollback_requested {
                // What it would switch back to is settled by the other one.
                job.rollback_requested = false;
                job.end(JobOutcome::Activated, &format!("Not rolled back: {other}."));
                self.save(job, now).await?;
                return Ok(StepResult::Rest);
            }
            let why = format!("Paused: {other}. Resume this one when that has ended.");
            return self.pause(job, &why, now).await;
        }
        let authority = Authority { running: Some(job.id), ..authority };
        job.go_on_alone();
        job.updated = now;
        let change =
            Change { authority: Some(&authority), job: Some(&job), conducting: Some(held), ..Change::default() };
        self.ledger.commit(change).await?;
        Ok(StepResult::Continue)
    }

    /// Switches back to the old root, and ends the job.
    pub(crate) async fn roll_back(
        &self,
        held: &Conducting,
        mut job: Job,
        why: String,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        job.reason = why;
        match self.authority.roll_back(&mut job, held, &Actor::function("conduct"), now).await {
            Err(AuthorityError::KeyUnusable { signer, source }) if signer.is_root() => {
                let error = &source as &dyn std::error::Error;
                warn!(job.id = job.id.0, %signer, error, "the old root's key cannot sign; its job is paused");
                let why = format!(
                    "Paused: root generation {} cannot sign again: its KMS key is disabled, pending deletion or gone. Enable the key, or cancel its deletion, then resume the job.",
                    signer.generation()
                );
                self.pause(job, &why, now).await
            }
            Err(error @ AuthorityError::RootEnds(_)) => self.pause(job, &format!("Paused: {error}."), now).await,
            done => done.map(|()| StepResult::Rest).map_err(Into::into),
        }
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
        self.authority.retire_roots(&mut job, held, now).await?;
        self.queue.wake_for_issuing(&self.control_queue, "old roots are retired").await;
        Ok(StepResult::Continue)
    }

    /// Goes on with the keys of roots that left the devices. Whether there is a rollover makes no difference to them.
    pub(crate) async fn retire_keys(
        &self,
        authority: &Authority,
        woken: bool,
        deadline: Instant,
    ) -> Result<(), ConductError> {
        let (by, now) = (Actor::function("conduct"), (self.clock)());
        match self.authority.retire_keys(authority, woken, deadline, &by, now).await {
            Ok(Some(pending)) => self.gauge(Metric::RootKeysPendingDeletion, pending),
            // Another one has changed a record, or KMS does not know yet that a key is awake: repeated in a minute.
            Ok(None) | Err(AuthorityError::Ledger(LedgerError::Conflict)) => {}
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
