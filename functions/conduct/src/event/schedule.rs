//! What the schedule looks at, minute by minute: the rollover first, then devices that join, then some of the running
//! deployments.
//!
//! Each wake-up costs the same with ten running deployments and with ten thousand: it reads one page of their list, from
//! a place that is kept on record, and takes up those alone that are quiet for so long that a message may be lost. A
//! deployment that moves wakes the conductor by itself.

use std::error::Error;

use rootcast_authority::AuthorityError;
use rootcast_core::job::JobId;
use rootcast_core::job::message::Control;
use rootcast_ledger::LedgerError;
use rootcast_queue::jitter;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::{App, ConductError, MARGIN};

/// Entries of the list that one wake-up reads: 40 KB, in one call. Ten thousand deployments are gone through in ten
/// minutes, less than they may be quiet by default.
const PAGE: u32 = 1000;
/// Seconds, and as many again at random, after which a job goes on that a passing fault stopped.
const SOON: u32 = 5;

impl App {
    pub(super) async fn look_after(&self, owner: &str, deadline: Instant) -> Result<(), ConductError> {
        let mut outcome = Ok(());
        // Each may have work for hours, so half of the time is left for those that follow; a rollover hands itself on.
        let half = || Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        if let Some(rollover) = self.ledger.authority().await?.running {
            outcome = self.take_up(rollover, owner, half()).await;
        }
        let joined = self.bring_in_joining(half()).await;
        outcome.and(joined).and(self.look_after_deployments(owner, deadline).await)
    }

    async fn look_after_deployments(&self, owner: &str, deadline: Instant) -> Result<(), ConductError> {
        let mut place = self.ledger.schedule_place().await?;
        let page = self.ledger.quiet_deployments((self.clock)() - self.stall, place, PAGE).await?;
        let mut outcome = Ok(());
        for job in page.quiet {
            // Recorded first: one that cannot be conducted, or that the process dies of, holds up no other.
            if Instant::now() + MARGIN >= deadline || !self.move_on(&mut place, Some(job)).await? {
                return outcome;
            }
            outcome = outcome.and(self.take_up(job, owner, deadline).await);
        }
        self.move_on(&mut place, page.next).await?;
        outcome
    }

    /// Whether we did: else another wake-up goes on from there.
    async fn move_on(&self, place: &mut Option<JobId>, to: Option<JobId>) -> Result<bool, LedgerError> {
        if *place == to {
            return Ok(true);
        }
        match self.ledger.move_schedule(*place, to).await {
            Err(LedgerError::Conflict) => Ok(false),
            moved => {
                *place = to;
                moved.map(|()| true)
            }
        }
    }

    /// Conducts a job. What a passing fault stopped goes on after some seconds, by a message of its own: the one that
    /// woke us would be hidden for its visibility time.
    pub(super) async fn take_up(&self, job: JobId, owner: &str, deadline: Instant) -> Result<(), ConductError> {
        let Err(why) = self.conduct(job, owner, deadline).await else { return Ok(()) };
        if !why.is_passing() {
            error!(job.id = job.0, error = &why as &dyn Error, "the job could not be conducted");
            return Err(why);
        }
        let seconds = SOON + jitter() % (SOON + 1);
        warn!(job.id = job.0, error = &why as &dyn Error, "conducting the job was interrupted; retried in {seconds} s");
        let control = Control { job, why: "a passing fault interrupted it".to_owned() };
        Ok(self.queue.send_later(&self.control_queue, &control, seconds).await?)
    }
}

impl ConductError {
    /// Whether the same may succeed in a moment, without anybody's doing.
    fn is_passing(&self) -> bool {
        let ledger = |error: &LedgerError| error.is_passing() || matches!(error, LedgerError::Conflict);
        match self {
            Self::Ledger(error) | Self::Authority(AuthorityError::Ledger(error)) => ledger(error),
            Self::Authority(AuthorityError::Vault(error)) => error.is_retryable(),
            Self::Queue(error) => error.is_passing(),
            Self::Authority(_) | Self::Misconfigured(_) => false,
        }
    }
}
