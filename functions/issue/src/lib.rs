#![doc = include_str!("../README.md")]

mod approve;
mod batch;
mod config;
mod event;
mod issue;
mod lists;
mod signer;
mod superseding;
mod task;

use rootcast_core::deployment::renewal::PercentLeft;
use rootcast_events::Events;
use rootcast_ledger::{Ledger, LedgerError, Misconfigured};
use rootcast_lists::NotMade;
use rootcast_pki::crl::CrlId;
use rootcast_queue::{Queue, QueueError};
use rootcast_vault::{Vault, VaultError};
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use tokio::sync::Semaphore;

pub use event::{Lists, Wake, handle};

/// Signatures that an invocation asks KMS for at the same time. Four invocations, and 100 ms a signature: well below KMS's 1 000 a
/// second for the whole account. An invocation has more certificates than that in hand, so that KMS works while other
/// certificates wait for DynamoDB.
const SIGNATURES: usize = 10;

/// The places of an [`App`]'s signatures.
pub fn signatures() -> Semaphore {
    Semaphore::new(SIGNATURES)
}

/// The function's clients and configuration.
pub struct App {
    pub ledger: Ledger,
    pub vault: Vault,
    pub signatures: Semaphore,
    pub queue: Queue,
    pub events: Events,
    pub issue_queue: String,
    pub task_queue: String,
    pub control_queue: String,
    /// Whether roots sign devices' certificates themselves.
    pub leaves_from_root: bool,
    /// Validity of a device's certificate, limited by its signer's.
    pub validity: Duration,
    /// When the next certificate is due.
    pub renewal: PercentLeft,
    /// Whether a certificate that a renewal replaced is revoked once the renewal is proven.
    pub revoke_superseded: bool,
    /// Base URL of the revocation lists, as named in certificates.
    pub crl_base: String,
    /// The first wait before a retry, in seconds.
    pub retry_base: u32,
    /// The dimension of metrics.
    pub stack: String,
    pub clock: fn() -> OffsetDateTime,
    /// Randomises retries.
    pub random: fn() -> u32,
}

/// Why a list cannot be made, or the function fails. For a device's task, see `issue::Fault`.
#[derive(Debug, Error)]
pub enum IssuerError {
    #[error(transparent)]
    Misconfigured(#[from] Misconfigured),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    List(#[from] NotMade),
    #[error("{0} has no authority that could sign it")]
    NoSigner(CrlId),
    /// Nothing was written.
    #[error("the certificate is changing all the time")]
    Busy,
}
