//! Verifies a name and password, with a lockout against guessing.

use std::error::Error;

use rootcast_core::access::lockout::Counted;
use rootcast_core::access::password::{NoPassword, PasswordHash};
use rootcast_core::access::principal::PrincipalName;
use rootcast_ledger::{Ledger, LedgerError, Locked, NotCounted, PrincipalRecord};
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use tracing::warn;
use zeroize::Zeroizing;

/// A name and password that are not verified yet.
pub struct Claim {
    /// The source address: see [`source`](crate::source).
    pub source: String,
    pub name: String,
    pub password: Zeroizing<String>,
}

/// The principal that the password belongs to.
#[derive(Debug, Clone)]
pub struct Proven {
    pub name: PrincipalName,
    /// Copied into every credential that is issued for this password.
    pub login_epoch: u64,
    pub record: PrincipalRecord,
}

#[derive(Debug, Error)]
pub enum NotProven {
    /// The same error whatever is wrong with the name and password.
    #[error("the name and the password do not belong together")]
    Wrong,
    /// The right password gets the same error: it is not checked during a lockout.
    #[error("too many attempts to log in failed: the next one may be in {} s", .0.whole_seconds())]
    Locked(Duration),
    #[error(transparent)]
    Ledger(LedgerError),
    #[error("the password could not be hashed")]
    Hashing(#[source] Box<dyn Error + Send + Sync>),
}

impl From<LedgerError> for NotProven {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<NotCounted> for NotProven {
    fn from(refusal: NotCounted) -> Self {
        match refusal {
            NotCounted::Ledger(error) => error.into(),
            NotCounted::Locked(Locked(pause)) => Self::Locked(pause.max(Duration::SECOND)),
        }
    }
}

impl From<NoPassword> for NotProven {
    fn from(error: NoPassword) -> Self {
        Self::Hashing(Box::new(error))
    }
}

/// Verifies the password and returns its principal. The attempt is counted before the check, so that no more passwords
/// are checked than there are free attempts, and uncounted if the password is right.
pub async fn prove(ledger: &Ledger, claim: Claim, now: OffsetDateTime) -> Result<Proven, NotProven> {
    let Claim { source, name: claimed, password } = claim;
    for (whose, of) in [(Counted::Source, &source), (Counted::Name, &claimed)] {
        let counted = ledger.count_attempt(whose, of, now).await;
        if let Err(NotCounted::Locked(Locked(pause))) = &counted {
            // The name is not logged: it may be a password in the wrong field.
            warn!(source, locked.by = ?whose, locked.seconds = pause.whole_seconds(), "login locked");
        }
        counted?;
    }
    let found = match claimed.parse::<PrincipalName>() {
        Ok(name) => ledger.principal(&name).await?.map(|record| (name, record)),
        Err(_) => None,
    };
    let stored = found.as_ref().and_then(|(_, record)| record.password.clone());
    let matches = tokio::task::spawn_blocking(move || PasswordHash::matches(stored.as_ref(), &password)).await;
    let matches = matches.map_err(|error| NotProven::Hashing(Box::new(error)))??;
    let login_epoch = found.as_ref().and_then(|(_, record)| record.login_epoch());
    match (found, login_epoch) {
        (Some((name, record)), Some(login_epoch)) if matches => {
            let of_name = ledger.forgive_attempt(Counted::Name, &claimed);
            let (of_name, of_source) = tokio::join!(of_name, ledger.forgive_attempt(Counted::Source, &source));
            [of_name, of_source].into_iter().for_each(log_kept);
            Ok(Proven { name, login_epoch, record })
        }
        // An unknown name is not logged: it may be a password in the wrong field.
        (found, _) => {
            let name = found.map(|(name, _)| name.to_string());
            warn!(caller = name.as_deref().unwrap_or("nobody"), source, "login refused");
            Err(NotProven::Wrong)
        }
    }
}

/// A successful login is not refused because its attempt stays counted: the count expires within a day.
fn log_kept(forgiven: Result<(), LedgerError>) {
    if let Err(error) = forgiven {
        warn!(error = &error as &dyn Error, "an attempt that succeeded stays counted as failed");
    }
}
