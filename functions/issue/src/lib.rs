#![doc = include_str!("../README.md")]

mod approve;
mod batch;
mod config;
mod event;
mod issue;
mod lists;
mod task;

use rootcast_events::Events;
use rootcast_ledger::{Ledger, LedgerError, Misconfigured};
use rootcast_pki::crl::CrlShard;
use rootcast_pki::root::IssueError;
use rootcast_queue::Queue;
use rootcast_vault::{Vault, VaultError};
use thiserror::Error;
use time::{Duration, OffsetDateTime};

pub use event::{Lists, Wake, handle};

/// All that the function works with.
pub struct App {
    pub ledger: Ledger,
    pub vault: Vault,
    pub queue: Queue,
    pub events: Events,
    pub issue_queue: String,
    pub task_queue: String,
    pub control_queue: String,
    /// How long a device's certificate lasts, where its root does.
    pub validity: Duration,
    /// Where the revocation lists are served, as certificates name it.
    pub crl_base: String,
    /// The first wait before a task is tried again, in seconds.
    pub retry_base: u32,
    pub clock: fn() -> OffsetDateTime,
    /// Spreads what is tried again.
    pub random: fn() -> u32,
}

/// Why a list, or the function itself, does not come about. Of a device's task see `issue::Fault`.
#[derive(Debug, Error)]
pub enum IssuerError {
    #[error(transparent)]
    Misconfigured(#[from] Misconfigured),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("{0} cannot be made: {1}")]
    List(CrlShard, #[source] IssueError),
    #[error("{0} has no root that could sign it")]
    NoRoot(CrlShard),
}
