//! The certificate authority's procedures, over the ledger and the vault: a new root, its bundle, its activation, its
//! withdrawal, its revocation lists.
//!
//! In scope: the order *reserve → sign → verify → store → publish*, and resuming it after an interruption at any step.
//! Decisions belong to `rootcast-core`, signatures to `rootcast-vault`, records to `rootcast-ledger`.
//!
//! Out of scope: devices, waves, HTTP.

mod activate;
mod error;
mod keys;
mod leaf_lists;
mod make;
mod publish;

use std::sync::atomic::{AtomicI64, Ordering};

use rootcast_ledger::{Change, Ledger, RootRecord};
use rootcast_vault::Vault;
use time::{Duration, OffsetDateTime};

pub use error::AuthorityError;
pub use make::{Made, RootRequest, Settings};

pub struct CertificateAuthority {
    ledger: Ledger,
    vault: Vault,
    /// How long a bundle is valid.
    bundle_life: Duration,
    /// The Unix time before which this process does not sign the published bundle again.
    put_off: AtomicI64,
}

impl CertificateAuthority {
    pub fn new(ledger: Ledger, vault: Vault, bundle_life: Duration) -> Self {
        Self { ledger, vault, bundle_life, put_off: AtomicI64::new(i64::MIN) }
    }

    fn put_off(&self, until: OffsetDateTime) {
        self.put_off.store(until.unix_timestamp(), Ordering::Relaxed);
    }

    fn is_put_off(&self, now: OffsetDateTime) -> bool {
        now.unix_timestamp() < self.put_off.load(Ordering::Relaxed)
    }

    async fn save_root(&self, root: &mut RootRecord) -> Result<(), AuthorityError> {
        self.ledger.commit(Change { roots: vec![root], ..Change::default() }).await?;
        root.revision += 1;
        Ok(())
    }
}
