//! The certificate authority's procedures, over the ledger and the vault: a new root, its bundle, its activation, its
//! withdrawal.
//!
//! In scope: the order *reserve → sign → verify → store → publish*, and taking it up again wherever it was left. What
//! is decided is `rootcast-core`'s, who signs is `rootcast-vault`'s, what is recorded is `rootcast-ledger`'s.
//!
//! Out of scope: devices, waves, HTTP.

mod activate;
mod error;
mod make;
mod publish;

use rootcast_ledger::{Change, Ledger, RootRecord};
use rootcast_vault::Vault;
use tracing::info;

pub use error::AuthorityError;
pub use make::{Made, RootRequest, Settings};

/// KMS's own shortest waiting period, in days: the key never signed anything that a device relies on.
const ABANDONED_KEY_DAYS: u8 = 7;

pub struct CertificateAuthority {
    ledger: Ledger,
    vault: Vault,
}

impl CertificateAuthority {
    pub fn new(ledger: Ledger, vault: Vault) -> Self {
        Self { ledger, vault }
    }

    /// Every key that was made for the generation and is not (or no longer) its own is scheduled for deletion: what a
    /// crash left behind, and the key of an abandoned root.
    pub async fn sweep_keys(&self, generation: u32) -> Result<(), AuthorityError> {
        let root = self.ledger.root(generation).await?.ok_or(AuthorityError::Missing("root"))?;
        let kept = root.key.as_deref().filter(|_| root.state.is_live());
        self.give_up_keys(generation, kept).await
    }

    async fn give_up_keys(&self, generation: u32, kept: Option<&str>) -> Result<(), AuthorityError> {
        for key in self.vault.keys_of(generation).await? {
            if kept != Some(&*key) {
                self.vault.schedule_deletion(&key, ABANDONED_KEY_DAYS).await?;
                info!(key, root.generation = generation, "an unused key is scheduled for deletion");
            }
        }
        Ok(())
    }

    async fn save_root(&self, root: &mut RootRecord) -> Result<(), AuthorityError> {
        self.ledger.commit(Change { roots: vec![root], ..Change::default() }).await?;
        root.revision += 1;
        Ok(())
    }
}
