//! The schedule, once a minute: keys that a crash left awake, issuing authorities, the rollover and a preflight first, then joining
//! devices, then some of the running deployments.
//!
//! A wake-up costs the same with ten running deployments as with ten thousand. It reads one page of their list, from a
//! recorded position, and conducts only deployments that have been waiting so long that a message may be lost. A
//! deployment with progress wakes the conductor by itself.

use std::collections::BTreeSet;
use std::error::Error;

use rootcast_authority::AuthorityError;
use rootcast_core::audit::Actor;
use rootcast_core::job::JobId;
use rootcast_core::job::message::Control;
use rootcast_core::metric::Metric;
use rootcast_core::preflight::since::LastPreflight;
use rootcast_ledger::{Authority, Change, LedgerError};
use rootcast_queue::jitter;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::{App, ConductError, MARGIN};

/// List entries per wake-up: 40 KB in one call. Ten thousand deployments take ten minutes, which is less than the
/// default stall time.
const PAGE: u32 = 1000;
/// Seconds until a job resumes after a transient fault, plus a random delay of up to the same length.
const SOON: u32 = 5;

impl App {
    pub(super) async fn look_after(&self, owner: &str, deadline: Instant) -> Result<(), ConductError> {
        let mut outcome = Ok(());
        // The rollover may have work for hours, so it gets half of the time and then hands itself on. Joining devices
        // get half of the rest.
        let half = || Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        let authority = self.ledger.authority().await?;
        let jobs = authority.running.into_iter().chain(authority.preflight.and_then(LastPreflight::running));
        let jobs: Vec<JobId> = jobs.collect();
        // First of all: somebody else may be signing with it.
        let disabled = self.authority.disable_compromised(&authority, (self.clock)()).await;
        let asleep = self.keep_asleep(&authority).await;
        let (kept, authority) = match self.look_after_issuing(authority.clone()).await {
            Ok(authority) => (Ok(()), authority),
            Err(error) => (Err(error), authority),
        };
        if let Some(left) = self.authority.bundle_life_left(&authority, (self.clock)()) {
            self.gauge(Metric::BundleLifeLeft, left);
        }
        let renewed = self.renew_bundle(&authority).await;
        let revoked = self.revoke_leaves(&authority, half()).await;
        let retired = self.retire_keys(&authority, false, half()).await;
        let swept = self.sweep_unswept(authority).await;
        for job in jobs {
            outcome = outcome.and(self.take_up(job, owner, half()).await);
        }
        let joined = self.bring_in_joining(half()).await;
        outcome
            .and(disabled.map_err(Into::into))
            .and(asleep)
            .and(kept)
            .and(renewed)
            .and(revoked)
            .and(retired)
            .and(swept)
            .and(joined)
            .and(self.look_after_deployments(owner, deadline).await)
    }

    async fn keep_asleep(&self, authority: &Authority) -> Result<(), ConductError> {
        match self.authority.keep_asleep(authority, &Actor::function("conduct"), (self.clock)()).await {
            // Repeated in a minute.
            Err(AuthorityError::Ledger(LedgerError::Conflict)) => {}
            Ok(0) => {}
            Ok(awake) => {
                warn!(
                    root.keys = awake,
                    "roots' keys are awake that should sleep: see the log, and `rootcast root protect-keys`"
                );
                self.gauge(Metric::RootKeysAwake, awake);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn renew_bundle(&self, authority: &Authority) -> Result<(), ConductError> {
        match self.authority.renew_bundle(authority, (self.clock)()).await {
            // Repeated in a minute.
            Err(AuthorityError::Ledger(LedgerError::Conflict)) => Ok(()),
            Err(error) if error.is_waking() => Ok(()),
            renewed => Ok(renewed?),
        }
    }

    /// Gives up the keys that a crash left of a root without a job, or that its job could not find yet.
    async fn sweep_unswept(&self, authority: Authority) -> Result<(), ConductError> {
        if authority.unswept.is_empty() || authority.is_claimed((self.clock)()) {
            return Ok(());
        }
        let mut unswept = BTreeSet::new();
        for generation in &authority.unswept {
            if !self.authority.sweep_keys(*generation, (self.clock)()).await? {
                unswept.insert(*generation);
            }
        }
        if unswept == authority.unswept {
            return Ok(());
        }
        let swept = Authority { unswept, ..authority };
        match self.ledger.commit(Change { authority: Some(&swept), ..Change::default() }).await {
            // Repeated in a minute.
            Err(LedgerError::Conflict) => Ok(()),
            done => Ok(done?),
        }
    }

    async fn look_after_deployments(&self, owner: &str, deadline: Instant) -> Result<(), ConductError> {
        let mut place = self.ledger.schedule_place().await?;
        let page = self.ledger.quiet_deployments((self.clock)() - self.stall, place, PAGE).await?;
        let mut outcome = Ok(());
        for job in page.quiet {
            // Recorded first, so that a job that cannot be conducted, or kills the process, does not hold up the
            // others.
            if Instant::now() + MARGIN >= deadline || !self.move_on(&mut place, Some(job)).await? {
                return outcome;
            }
            outcome = outcome.and(self.take_up(job, owner, deadline).await);
        }
        self.move_on(&mut place, page.next).await?;
        outcome
    }

    /// `false`: another wake-up moved the position, and continues from there.
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

    /// Conducts a job. After a transient fault, the job resumes some seconds later with a message of its own, because
    /// the received message would stay hidden for its visibility timeout.
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
    /// Whether the same may succeed soon, without any intervention.
    fn is_passing(&self) -> bool {
        let ledger = |error: &LedgerError| error.is_passing() || matches!(error, LedgerError::Conflict);
        match self {
            Self::Ledger(error) | Self::Authority(AuthorityError::Ledger(error)) => ledger(error),
            Self::Authority(AuthorityError::Vault(error)) => error.is_retryable(),
            Self::Queue(error) => error.is_passing(),
            Self::Authority(error) if error.is_waking() => true,
            Self::Authority(_) | Self::Misconfigured(_) => false,
        }
    }
}
