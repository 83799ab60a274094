//! Issuing authorities: the one that signs is replaced in time, and roots' lists of authorities are renewed.

use rootcast_authority::AuthorityError;
use rootcast_core::audit::Actor;
use rootcast_ledger::{Authority, LedgerError};
use tracing::warn;

use crate::{App, ConductError};

impl App {
    /// Somebody asked for the next one, or revoked one, or activated a root.
    pub(crate) async fn issuing_woken(&self) -> Result<(), ConductError> {
        let done = async { self.look_after_issuing(self.ledger.authority().await?).await.map(|_| ()) }.await;
        if let Err(error) = &done {
            warn!(
                error = error as &dyn std::error::Error,
                "looking after the issuing authorities was interrupted; it is repeated"
            );
        }
        done
    }

    /// What there is to do about issuing authorities. Nothing is read where there is nothing to do, apart from a look at
    /// the lists once an hour. Returns the authority's record as it is then.
    pub(crate) async fn look_after_issuing(&self, authority: Authority) -> Result<Authority, ConductError> {
        let now = (self.clock)();
        let kept = self.authority.keep_issuing(&authority, &Actor::function("conduct"), now).await;
        let authority = if passed(kept)? { self.ledger.authority().await? } else { authority };
        passed(self.authority.renew_authorities(&authority, now).await.map(|()| false))?;
        Ok(authority)
    }
}

/// Another conductor or an operator wrote first: repeated in a minute.
fn passed(done: Result<bool, AuthorityError>) -> Result<bool, AuthorityError> {
    match done {
        Err(AuthorityError::Ledger(LedgerError::Conflict)) => Ok(true),
        // A root's key was woken, and KMS does not know it yet.
        Err(error) if error.is_waking() => Ok(true),
        done => done,
    }
}
