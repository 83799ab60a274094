//! What goes wrong with the authority's procedures.

use rootcast_core::job::JobId;
use rootcast_core::rollover::restore::Behind;
use rootcast_ledger::LedgerError;
use rootcast_pki::bundle::JwsError;
use rootcast_pki::name::InvalidName;
use rootcast_pki::root::IssueError;
use rootcast_vault::VaultError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum AuthorityError {
    /// There is never a second rollover; it is this job's, or a root is being made for a fleet without devices.
    #[error("another rollover is running")]
    Busy(Option<JobId>),
    /// The bundle with another one could not be kept, nor taken by a device.
    #[error("there are {0} roots already, and the bundle has no room for another")]
    ManyRoots(usize),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("a certificate cannot be made")]
    Issue(#[from] IssueError),
    #[error("a bundle cannot be signed")]
    Jws(#[from] JwsError),
    #[error("the root's name cannot be used")]
    Name(#[from] InvalidName),
    #[error("a record that must exist is missing: {0}")]
    Missing(&'static str),
    /// The same spec gave other bytes than those that were recorded: nothing is signed.
    #[error("the bytes to be signed are not those that were recorded")]
    NotAsReserved,
    /// A counter is behind what was given: nothing is made before `rootcast restore` has raised it.
    #[error("the records are older than what they are about: {0}")]
    Behind(#[from] Behind),
    /// KMS makes a key and its tags known to its hosts one after the other: the next call finishes.
    #[error("the key of root generation {generation} cannot be used yet")]
    TooEarly {
        generation: u32,
        #[source]
        source: VaultError,
    },
    /// The root that is to sign could not.
    #[error("the key of root generation {generation} is disabled, pending deletion or gone: {source}")]
    KeyUnusable {
        generation: u32,
        #[source]
        source: VaultError,
    },
    #[error("the operating system gives no random numbers")]
    Random(#[source] getrandom::Error),
}
