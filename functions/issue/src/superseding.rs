//! Certificates that a renewal replaced are revoked once it is proven, and so are those that ended with their record or
//! device. Where a message or a function was lost, the schedule finds what is left.

use std::error::Error;

use rootcast_core::audit::Actor;
use rootcast_core::device::SHARDS;
use rootcast_core::inventory::id::CertificateId;
use rootcast_ledger::{FormerRecord, Ledger};
use rootcast_operations::{NotDone, NotRevoked, end, supersede};
use tokio::time::Instant;
use tracing::warn;

use crate::{App, IssuerError};

impl From<NotDone<NotRevoked>> for IssuerError {
    fn from(why: NotDone<NotRevoked>) -> Self {
        match why {
            NotDone::Ledger(error) => error.into(),
            NotDone::Refused(_) | NotDone::Busy | NotDone::Late => Self::Busy,
        }
    }
}

impl App {
    fn actor() -> Actor {
        Actor::function("issue")
    }

    /// One call if there is nothing to revoke. Nobody is in a hurry for the list, so the schedule makes it: once for
    /// all renewals of a quarter of an hour.
    pub(crate) async fn supersede(&self, certificate: CertificateId) -> Result<(), IssuerError> {
        if !self.revoke_superseded {
            return Ok(());
        }
        let formers = self.ledger.formers(certificate).await?;
        Ok(supersede(&self.ledger, &formers, &Self::actor(), (self.clock)()).await?)
    }

    /// One that fails does not hold up the others, and neither does much work: the next run begins elsewhere. The lists
    /// are published afterwards.
    pub(crate) async fn catch_up(&self, deadline: Instant) -> Result<(), IssuerError> {
        let mut outcome = Ok(());
        let mut waiting = self.ledger.ended().await?;
        if !waiting.is_empty() {
            let first = (self.random)() as usize % waiting.len();
            waiting.rotate_left(first);
        }
        for ended in waiting {
            if Instant::now() >= deadline {
                warn!("not everything that has ended was revoked in time; the next run continues");
                return outcome;
            }
            let by = Actor { principal: ended.by.clone(), request_id: None };
            let done = end(&self.ledger, &ended, &by, (self.clock)()).await;
            if let Err(why) = &done {
                warn!(certificate.id = %ended.certificate, error = why as &dyn Error, "what has ended could not be revoked");
            }
            outcome = outcome.and(done.map(|_| ()).map_err(IssuerError::from));
        }
        // Begins somewhere else each time, so that the shards share the time.
        let first = (self.random)() % u32::from(SHARDS);
        let shards = (0..SHARDS).cycle().skip(first as usize).take(SHARDS.into());
        for shard in shards {
            outcome = outcome.and(self.catch_up_shard(shard, deadline).await);
        }
        outcome
    }

    async fn catch_up_shard(&self, shard: u8, deadline: Instant) -> Result<(), IssuerError> {
        // Begins somewhere else each time, so that those that wait do not hold up the ones behind them: from there to
        // the end, then from the beginning to there.
        let start = CertificateId::from_random(std::array::from_fn(|_| (self.random)().to_le_bytes()[0]));
        let (mut after, mut is_second, mut outcome) = (Some(Ledger::formers_from(shard, start)), false, Ok(()));
        loop {
            let (page, next) = self.ledger.formers_of_shard(shard, after).await?;
            for formers in page.chunk_by(|one, other| one.certificate == other.certificate) {
                if is_second && formers.iter().any(|former| former.certificate >= start) {
                    return outcome;
                }
                if Instant::now() >= deadline {
                    warn!(
                        certificates.shard = shard,
                        "not every renewal was looked at in time; the next run continues"
                    );
                    return outcome;
                }
                let now = (self.clock)();
                // Those that have expired are forgotten in any case.
                let due = |former: &&FormerRecord| self.revoke_superseded || former.not_after <= now;
                let due: Vec<_> = formers.iter().filter(due).cloned().collect();
                let done = supersede(&self.ledger, &due, &Self::actor(), now).await;
                outcome = outcome.and(done.map_err(IssuerError::from));
            }
            match next {
                Some(_) => after = next,
                None if is_second => return outcome,
                None => (after, is_second) = (None, true),
            }
        }
    }
}
