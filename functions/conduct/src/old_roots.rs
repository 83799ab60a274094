//! What becomes of old roots besides their way off the devices: one signs again, or their keys are put out of use.

use rootcast_authority::AuthorityError;
use rootcast_core::audit::Actor;
use rootcast_core::job::Job;
use rootcast_core::metric::Metric;
use rootcast_ledger::{Authority, Conducting, LedgerError};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::{App, ConductError, StepResult};

impl App {
    /// Switches back to the old root, and ends the job.
    pub(crate) async fn roll_back(
        &self,
        held: &Conducting,
        mut job: Job,
        why: String,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        job.reason = why;
        let done = self.authority.roll_back(&mut job, held, &Actor::function("conduct"), now).await;
        job.rollback_requested = false;
        if let Err(error @ AuthorityError::RootEnds(_)) = done {
            let why = format!("Paused: not rolled back: {error}. Resume the job, which goes on with the new root.");
            return self.pause(job, &why, now).await;
        }
        let why = |_: &Job, generation| {
            format!(
                "Paused: not rolled back, since root generation {generation} cannot sign again: its KMS key is disabled, pending deletion or gone. Enable the key, or cancel its deletion, and roll back again; or resume the job, which goes on with the new root."
            )
        };
        self.unless_without_key(job, done, why, now).await
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
