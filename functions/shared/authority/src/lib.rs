//! The certificate authority's procedures, over the ledger and the vault: a new root, its bundle, its activation, its
//! withdrawal; the issuing authorities below it; its revocation lists.
//!
//! In scope: the order *reserve → sign → verify → store → publish*, and resuming it after an interruption at any step.
//! Decisions belong to `rootcast-core`, signatures to `rootcast-vault`, records to `rootcast-ledger`.
//!
//! Out of scope: devices, waves, HTTP.

mod activate;
mod anchors;
mod compromise;
mod error;
mod issuing;
mod keys;
mod lists;
mod make;
mod old_roots;
mod preflight;
mod publish;
mod retire;
mod roll_back;
mod sleep;

use std::sync::atomic::{AtomicI64, Ordering};

use rootcast_ledger::{Change, Ledger, RootRecord};
use rootcast_vault::Vault;
use time::{Duration, OffsetDateTime};

pub use anchors::{AnchorRequest, AnchorsChanged};
pub use compromise::{CompromiseRequest, InItsPlace};
pub use error::AuthorityError;
pub use issuing::IssuingSettings;
pub use make::{Made, RootRequest, Settings};
pub use preflight::PreflightRequest;

pub struct CertificateAuthority {
    ledger: Ledger,
    vault: Vault,
    /// How long a bundle is valid.
    bundle_life: Duration,
    /// `None`: none is made here.
    issuing: Option<IssuingSettings>,
    /// Signing the published bundle again.
    bundle_put_off: PutOff,
    /// Looking at the age of the roots' lists of authorities.
    lists_put_off: PutOff,
    /// Making the next issuing authority.
    issuing_put_off: PutOff,
    /// Roots' keys are disabled except while they sign.
    sleeps: bool,
    left_alone: sleep::LeftAlone,
    /// Days until KMS deletes a retired key.
    deletion_days: u8,
    /// Looking at the keys of retired roots.
    retire_put_off: PutOff,
    /// Disabling once more what sleeps.
    sleep_put_off: PutOff,
}

/// The Unix time before which this process does not try something again.
struct PutOff(AtomicI64);

impl PutOff {
    const fn never() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }

    fn set(&self, until: OffsetDateTime) {
        self.0.store(until.unix_timestamp(), Ordering::Relaxed);
    }

    fn is_on(&self, now: OffsetDateTime) -> bool {
        now.unix_timestamp() < self.0.load(Ordering::Relaxed)
    }
}

impl CertificateAuthority {
    pub fn new(ledger: Ledger, vault: Vault, bundle_life: Duration) -> Self {
        let (bundle_put_off, lists_put_off, issuing_put_off) = (PutOff::never(), PutOff::never(), PutOff::never());
        Self {
            ledger,
            vault,
            bundle_life,
            issuing: None,
            bundle_put_off,
            lists_put_off,
            issuing_put_off,
            sleeps: false,
            left_alone: sleep::LeftAlone::default(),
            deletion_days: retire::DELETION_DAYS,
            retire_put_off: PutOff::never(),
            sleep_put_off: PutOff::never(),
        }
    }

    /// How long a retired key is pending deletion: KMS accepts 7 to 30 days.
    #[must_use]
    pub fn with_deletion_days(self, deletion_days: u8) -> Self {
        Self { deletion_days, ..self }
    }

    async fn save_root(&self, root: &mut RootRecord) -> Result<(), AuthorityError> {
        self.ledger.commit(Change { roots: vec![root], ..Change::default() }).await?;
        root.revision += 1;
        Ok(())
    }
}
