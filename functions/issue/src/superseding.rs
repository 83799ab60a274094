//! Certificates that a renewal replaced are revoked once it is proven, and so are those that ended with their record or
//! device. Where a message or a function was lost, the schedule finds what is left.

use rootcast_core::audit::Actor;
use rootcast_core::device::SHARDS;
use rootcast_core::inventory::id::CertificateId;
use rootcast_operations::{NotDone, NotRevoked, end, supersede};
use rootcast_pki::crl::CrlShard;
use tokio::time::Instant;
use tracing::{error, warn};

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

    /// One call if there is nothing to revoke.
    pub(crate) async fn supersede(&self, certificate: CertificateId) -> Result<(), IssuerError> {
        if !self.revoke_superseded {
            return Ok(());
        }
        let formers = self.ledger.formers(certificate).await?;
        let lists = supersede(&self.ledger, &formers, &Self::actor(), (self.clock)()).await?;
        self.publish_each(lists).await;
        Ok(())
    }

    /// One that fails does not hold up the others. The lists are published afterwards.
    pub(crate) async fn catch_up(&self, deadline: Instant) -> Result<(), IssuerError> {
        let mut outcome = Ok(());
        for ended in self.ledger.ended().await? {
            let by = Actor { principal: ended.by.clone(), request_id: None };
            let done = end(&self.ledger, &ended, &by, (self.clock)()).await;
            outcome = outcome.and(done.map(|_| ()).map_err(IssuerError::from));
        }
        if !self.revoke_superseded {
            return outcome;
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
        let (mut after, mut outcome) = (None, Ok(()));
        loop {
            let (page, next) = self.ledger.formers_of_shard(shard, after).await?;
            for formers in page.chunk_by(|one, other| one.certificate == other.certificate) {
                if Instant::now() >= deadline {
                    warn!(
                        certificates.shard = shard,
                        "not every renewal was looked at in time; the next run continues"
                    );
                    return outcome;
                }
                let done = supersede(&self.ledger, formers, &Self::actor(), (self.clock)()).await;
                outcome = outcome.and(done.map(|_| ()).map_err(IssuerError::from));
            }
            match next {
                Some(_) => after = next,
                None => return outcome,
            }
        }
    }

    /// A list that fails stays marked as behind, so the schedule makes it.
    async fn publish_each(&self, lists: impl IntoIterator<Item = CrlShard>) {
        for list in lists {
            if let Err(error) = self.publish(list).await {
                error!(crl = %list, error = &error as &dyn std::error::Error, "the revocation list could not be made; the schedule does");
            }
        }
    }
}
