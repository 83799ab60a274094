//! Verifies a name and password, with a lockout against guessing.

use std::error::Error;

use rootcast_core::access::lockout::Counted;
use rootcast_core::access::password::{NoPassword, PasswordHash};
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::audit::Action;
use rootcast_core::metric::Metric;
use rootcast_ledger::{Attempted, Effect, Ledger, LedgerError, Locked, NotCounted, PrincipalRecord, Reservation};
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::denials::{count, record_lock};

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

/// Verifies the password and returns its principal. The attempt reserves its places before the check, so that no more
/// passwords are checked than there are free ones.
pub async fn prove(ledger: &Ledger, claim: Claim, now: OffsetDateTime) -> Result<Proven, NotProven> {
    let begun = Instant::now();
    let Claim { source, name, password } = claim;
    let reservations = reserve(ledger, &source, &name, now, begun).await?;
    let proven = verify(ledger, &source, &name, password).await;
    let attempted = match &proven {
        Ok(_) => Attempted::Right,
        Err(NotProven::Wrong) => Attempted::Wrong,
        Err(_) => Attempted::Not,
    };
    if attempted == Attempted::Wrong {
        count(Metric::LoginFailures, now);
    }
    settle(ledger, &source, &name, reservations, attempted, now + begun.elapsed()).await;
    proven
}

/// A place in each count that applies: the name's at this source; and those of the source and of the name, unless the
/// name is known at the source.
async fn reserve<'a>(
    ledger: &Ledger,
    source: &'a str,
    name: &'a str,
    now: OffsetDateTime,
    begun: Instant,
) -> Result<Vec<(Counted<'a>, Reservation<'a>)>, NotProven> {
    let id = Uuid::new_v4().to_string();
    let mut reservations: Vec<(Counted<'_>, Reservation<'_>)> = Vec::new();
    for of in [Counted::Pair { name, source }, Counted::Source(source), Counted::Name(name)] {
        if reservations.iter().any(|(_, reservation)| reservation.is_known(now)) {
            break;
        }
        match ledger.reserve_attempt(of, &id, now, begun).await {
            Ok(reservation) => reservations.push((of, reservation)),
            Err(refusal) => {
                if let NotCounted::Locked(Locked(pause)) = &refusal {
                    // The name is not logged: it may be a password in the wrong field.
                    warn!(source, locked.by = of.as_str(), locked.seconds = pause.whole_seconds(), "login locked");
                }
                // A refused attempt counts nowhere.
                settle(ledger, source, name, reservations, Attempted::Not, now).await;
                return Err(refusal.into());
            }
        }
    }
    Ok(reservations)
}

async fn verify(
    ledger: &Ledger,
    source: &str,
    claimed: &str,
    password: Zeroizing<String>,
) -> Result<Proven, NotProven> {
    let found = match claimed.parse::<PrincipalName>() {
        Ok(name) => ledger.principal(&name).await?.map(|record| (name, record)),
        Err(_) => None,
    };
    let stored = found.as_ref().and_then(|(_, record)| record.password.clone());
    let matches = tokio::task::spawn_blocking(move || PasswordHash::matches(stored.as_ref(), &password)).await;
    let matches = matches.map_err(|error| NotProven::Hashing(Box::new(error)))??;
    let login_epoch = found.as_ref().and_then(|(_, record)| record.login_epoch());
    match (found, login_epoch) {
        (Some((name, record)), Some(login_epoch)) if matches => Ok(Proven { name, login_epoch, record }),
        // An unknown name is not logged: it may be a password in the wrong field.
        (found, _) => {
            let name = found.map(|(name, _)| name.to_string());
            warn!(caller = name.as_deref().unwrap_or("nobody"), source, "login refused");
            Err(NotProven::Wrong)
        }
    }
}

/// The answer is the same if a result cannot be recorded: then the attempt counts as failed in half a minute.
async fn settle(
    ledger: &Ledger,
    source: &str,
    name: &str,
    reservations: Vec<(Counted<'_>, Reservation<'_>)>,
    attempted: Attempted,
    now: OffsetDateTime,
) {
    let (mut locked, mut unlocked) = (false, false);
    for (of, reservation) in reservations {
        let by = of.as_str();
        match ledger.settle_attempt(reservation, attempted, now).await {
            Ok(Effect::None) => {}
            Ok(Effect::Locked(pause)) => {
                locked = true;
                warn!(source, locked.by = by, locked.seconds = pause.whole_seconds(), "login lock begins");
            }
            Ok(Effect::Unlocked) => {
                unlocked = true;
                info!(source, locked.by = by, "login lock ended by the right password");
            }
            Err(error) => {
                warn!(source, locked.by = by, error = &error as &dyn Error, "a login attempt will count as failed");
            }
        }
    }
    let told = [(locked, Metric::LoginLocks, Action::Lock), (unlocked, Metric::LoginUnlocks, Action::Unlock)];
    for (_, metric, action) in told.into_iter().filter(|(is, ..)| *is) {
        count(metric, now);
        // Only a principal has a chain: any other text may be a password in the wrong field.
        if let Ok(known) = name.parse()
            && let Ok(Some(_)) = ledger.principal(&known).await
        {
            record_lock(ledger, name, action, source, now).await;
        }
    }
}
