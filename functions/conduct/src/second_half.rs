//! What follows the activation of a new root, until the old ones are gone.

use rootcast_core::audit::Actor;
use rootcast_core::job::{InUse, Job, Tally};
use rootcast_ledger::{Authority, Change, Conducting};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::in_use::LAG;
use crate::{App, ConductError, StepResult, without_key};

/// For what a renewal replaced to be revoked: the issuer's schedule comes by every quarter of an hour.
const PATIENCE: time::Duration = time::Duration::minutes(20);
const NOT_SETTLED: &str = "That begins when nobody can be signing below the old roots any more.";

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
            job.end_as_before(&why);
            self.save(job, now).await?;
            return Ok(StepResult::Rest);
        }
        let other = match authority.running {
            Some(other) if other != job.id => Some(format!("job {other} is running")),
            _ if authority.is_claimed(now) => Some("another root is being made".to_owned()),
            _ if !authority.replacing.is_empty() => Some("a compromised root is to be replaced first".to_owned()),
            _ => None,
        };
        if let Some(other) = other {
            if job.rollback_requested {
                // What it would switch back to is settled by the other one.
                job.end_as_before(&format!("Not rolled back: {other}."));
                self.save(job, now).await?;
                return Ok(StepResult::Rest);
            }
            let why = format!("Paused: {other}. Resume this one when that has ended.");
            return self.pause(job, &why, now).await;
        }
        let authority = Authority { running: Some(job.id), ..authority };
        job.go_on_alone(authority.bundle, now);
        job.updated = now;
        let change =
            Change { authority: Some(&authority), job: Some(&job), conducting: Some(held), ..Change::default() };
        self.ledger.commit(change).await?;
        Ok(StepResult::Continue)
    }

    /// Replaces what old roots signed for devices. Meanwhile devices that join are brought to the bundle by themselves: this
    /// pass visits no trust store.
    pub(crate) async fn begin_reissue(
        &self,
        held: &Conducting,
        mut job: Job,
        tally: &Tally,
        why: String,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        let now = (self.clock)();
        // What is signed below a compromised root until then would have to be found after this pass.
        if let Some(settled) = self.settles(&job).filter(|_| job.is_compromise()) {
            return self.wait(job, tally, Some(settled), format!("{why} {NOT_SETTLED}"), now).await;
        }
        let authority = Authority { joins_during: Some(job.id), ..self.ledger.authority().await? };
        if job.is_compromise() {
            let looked = self.look_for_broken(&job, deadline).await?;
            let goes_on = looked.place.is_some();
            job.breaks = Some(looked);
            if goes_on {
                self.save(job, now).await?;
                return Ok(StepResult::HandOn);
            }
        }
        job.reissue(now);
        (job.reason, job.updated) = (why, now);
        let change =
            Change { authority: Some(&authority), job: Some(&job), conducting: Some(held), ..Change::default() };
        self.ledger.commit(change).await?;
        Ok(StepResult::Continue)
    }

    /// Publishes a bundle without the old roots, unless something below them is still valid. What a renewal replaced is
    /// revoked within minutes after its proof, so the job waits before it pauses.
    pub(crate) async fn distrust(
        &self,
        held: &Conducting,
        mut job: Job,
        tally: &Tally,
        why: String,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        if let Some(settled) = self.settles(&job) {
            return self.wait(job, tally, Some(settled), NOT_SETTLED.to_owned(), (self.clock)()).await;
        }
        let looked = self.look_for_use(&job, deadline).await?;
        let now = (self.clock)();
        if looked.place.is_some() {
            job.in_use = Some(looked);
            self.save(job, now).await?;
            return Ok(StepResult::HandOn);
        }
        if looked.found == 0 {
            job.reason = why;
            let done = self.authority.distrust_roots(&mut job, held, &Actor::function("conduct"), now).await;
            return self.unless_without_key(job, done, without_key, now).await;
        }
        let since = *job.in_use.get_or_insert_default().since.get_or_insert(now);
        let needed = format!("the older roots are still needed, by {looked}");
        job.in_use = Some(InUse { since: Some(since), ..looked });
        if now < since + PATIENCE {
            job.reason = format!("Waiting: {needed}.");
            self.save(job, now).await?;
            return Ok(StepResult::Rest);
        }
        let why = format!(
            "Paused: {needed}. Renew, replace, revoke or delete certificates that are named (or waive imported ones: `rootcast job waive --certificate`), mend or delete devices that are, then resume; or let the older roots stay."
        );
        self.pause(job, &why, now).await
    }

    /// Until when whoever read before the activation who signs may sign below an old root; `None`: that is over.
    fn settles(&self, job: &Job) -> Option<OffsetDateTime> {
        job.activated.map(|at| at + self.issuer_timeout + LAG).filter(|at| (self.clock)() < *at)
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
}
