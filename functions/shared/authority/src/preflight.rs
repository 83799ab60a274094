//! Preflights: a job that reads every device before a rollover. Nothing is signed, and no device is written.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::job::{Job, JobId, NewJob, NewPreflight};
use rootcast_core::preflight::since::{LastPreflight, Since};
use rootcast_core::preflight::{Expected, Preflight};
use rootcast_ledger::{Authority, Change, LedgerError};
use time::OffsetDateTime;
use tracing::info;

use crate::make::installed;
use crate::{AuthorityError, CertificateAuthority, RootRequest, Settings};

/// Tries despite changes of the authority's record or the audit chain by others.
const ATTEMPTS: u32 = 3;

/// Who asks, when, and for which rollover.
#[derive(Debug, Clone, Copy)]
pub struct PreflightRequest<'a> {
    pub settings: &'a Settings,
    /// The rollover that is to follow.
    pub request: &'a RootRequest,
    /// That visit devices at the same time.
    pub workers: u32,
    pub by: &'a Actor,
    pub now: OffsetDateTime,
}

impl CertificateAuthority {
    /// Begins a preflight. `None`: there is no approved device.
    ///
    /// # Errors
    /// [`AuthorityError::Busy`] during a rollover, which changes what a preflight would find, and
    /// [`AuthorityError::Preflighting`] during another preflight.
    pub async fn begin_preflight(&self, request: PreflightRequest<'_>) -> Result<Option<JobId>, AuthorityError> {
        for _ in 0..ATTEMPTS {
            match self.try_to_begin_preflight(request).await {
                Err(AuthorityError::Ledger(LedgerError::Conflict)) => {}
                other => return other,
            }
        }
        Err(LedgerError::Conflict.into())
    }

    async fn try_to_begin_preflight(
        &self,
        PreflightRequest { settings, request, workers, by, now }: PreflightRequest<'_>,
    ) -> Result<Option<JobId>, AuthorityError> {
        let authority = self.ledger.authority().await?;
        let claim = authority.claim.as_ref().filter(|claim| claim.until > now);
        if authority.running.is_some() || claim.is_some() {
            return Err(AuthorityError::Busy(authority.running.or(claim.and_then(|claim| claim.job))));
        }
        if let Some(compromised) = authority.replacing.last() {
            return Err(AuthorityError::Compromised(*compromised));
        }
        if let Some(job) = authority.preflight.and_then(LastPreflight::running) {
            return Err(AuthorityError::Preflighting(job));
        }
        let (policy, shards) = tokio::try_join!(self.ledger.policy(), self.ledger.fleet_shards())?;
        if shards.iter().all(|shard| shard.approved == 0) {
            return Ok(None);
        }
        let authority = installed(&self.admitted(&authority, true).await?)?;
        let id = self.ledger.next_job_id().await?;
        let NewJob { rollout, until, requested_for, .. } = request.job(settings, id, 0, authority.signing);
        let expected = Expected {
            backdate: u32::try_from(settings.backdate.whole_seconds()).unwrap_or_default(),
            validity: u64::try_from(settings.validity.whole_seconds()).unwrap_or_default(),
            algorithm: policy.algorithm,
        };
        let new = NewPreflight {
            id,
            signing: authority.signing,
            bundle_version: authority.bundle,
            rollout,
            until,
            preflight: Preflight::new(expected, workers),
            requested_for,
        };
        let job = Job::of_preflight(new, now);
        let authority = Authority { preflight: Some(LastPreflight::begun(id)), ..authority };
        let mut act = Act::new(Subject::Job(id), Action::Create, by, now).with("purpose", "preflight");
        if let Some(reason) = &request.requested_for {
            act = act.with("reason", reason);
        }
        let change = Change {
            authority: Some(&authority),
            job: Some(&job),
            new_job: true,
            acts: vec![act],
            ..Change::default()
        };
        self.ledger.commit(change).await?;
        info!(job.id = id.0, "a preflight begins");
        Ok(Some(id))
    }

    /// The preflight that a rollover which begins now refers to.
    pub(crate) async fn since_preflight(
        &self,
        before: &Authority,
        now: OffsetDateTime,
    ) -> Result<Option<Box<Since>>, LedgerError> {
        let Some(id) = before.preflight.and_then(|last| last.young(now)) else { return Ok(None) };
        Ok(self.ledger.job(id).await?.as_ref().and_then(Since::new).map(Box::new))
    }
}
