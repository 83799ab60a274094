//! Errors of the authority's procedures.

use rootcast_core::anchors::NotChanged;
use rootcast_core::job::JobId;
use rootcast_core::rollover::compromise::NotReplaced;
use rootcast_core::rollover::restore::Behind;
use rootcast_ledger::LedgerError;
use rootcast_lists::NotMade;
use rootcast_pki::bundle::JwsError;
use rootcast_pki::name::InvalidName;
use rootcast_pki::root::IssueError;
use rootcast_pki::signer::{IssuingId, SignerId};
use rootcast_vault::VaultError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum AuthorityError {
    /// There is only one rollover at a time. The job is that rollover's; without one, a root is being made for an empty
    /// fleet.
    #[error("another rollover is running")]
    Busy(Option<JobId>),
    /// There is one at a time.
    #[error("preflight job {0} is running")]
    Preflighting(JobId),
    /// A bundle with another root could not be stored, nor accepted by a device.
    #[error("there are {0} roots already, and the bundle has no room for another")]
    ManyRoots(usize),
    /// Nothing is changed.
    #[error(transparent)]
    Anchors(#[from] NotChanged),
    /// Nothing is changed: the next roots would not fit into the bundle.
    #[error("a bundle has no room for {0} trusted certificates of others beside the next roots")]
    ManyAnchors(usize),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("a certificate cannot be made")]
    Issue(#[from] IssueError),
    #[error(transparent)]
    List(#[from] NotMade),
    #[error("a bundle cannot be signed")]
    Jws(#[from] JwsError),
    #[error("the root's name cannot be used")]
    Name(#[from] InvalidName),
    #[error("a record that must exist is missing: {0}")]
    Missing(&'static str),
    /// The spec produced other bytes than the recorded ones: nothing is signed.
    #[error("the bytes to be signed are not those that were recorded")]
    NotAsReserved,
    /// A counter is behind what was already assigned: nothing is made until `rootcast restore` has raised it.
    #[error("the records are older than what they are about: {0}")]
    Behind(#[from] Behind),
    /// KMS propagates a new key and its tags to its hosts gradually: the next call finishes.
    #[error(
        "the key of {} cannot be used yet; one that an earlier version made needs `rootcast root protect-keys`", named(*.signer)
    )]
    TooEarly {
        signer: SignerId,
        #[source]
        source: VaultError,
    },
    /// Who must sign cannot.
    #[error("the key of {} is disabled, pending deletion or gone: {source}", named(*.signer))]
    KeyUnusable {
        signer: SignerId,
        #[source]
        source: VaultError,
    },
    #[error("the operating system gives no random numbers")]
    Random(#[source] getrandom::Error),
    #[error("no root signs yet")]
    NoRoot,
    #[error("there is no issuing authority {0}")]
    NoIssuing(IssuingId),
    #[error("issuing authority {0} is being made, and has signed nothing")]
    SignedNothing(IssuingId),
    #[error("there is no root generation {0}")]
    NoGeneration(u32),
    #[error("root generation {0} is not retired, so no deletion of its key is scheduled")]
    NotRetired(u32),
    #[error("the key of root generation {0} is deleted already")]
    KeyDeleted(u32),
    #[error("root generation {0} has expired: it certifies no issuing authority")]
    RootEnds(u32),
    #[error("{0}")]
    NotReplaced(NotReplaced),
    /// Its replacement was interrupted.
    #[error("root generation {0} is compromised, and is to be replaced first")]
    Compromised(u32),
}

impl AuthorityError {
    /// Whether a key was woken, and KMS does not let it sign yet: a later call may succeed.
    pub fn is_waking(&self) -> bool {
        matches!(self, Self::TooEarly { source, .. } if source.is_disabled())
    }

    /// Whether KMS is busy, or does not know a key, its tags or its waking yet.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::TooEarly { .. } => true,
            Self::Vault(error) => error.is_retryable(),
            _ => false,
        }
    }
}

fn named(signer: SignerId) -> String {
    let kind = if signer.is_root() { "root generation" } else { "issuing authority" };
    format!("{kind} {signer}")
}
