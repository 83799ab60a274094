//! The roots' KMS keys: which can sign, which are not known yet, and which nobody needs.

use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Authority, RootRecord};
use rootcast_pki::certificate::Certificate;
use rootcast_vault::{Purpose, Standing, VaultError};
use time::{Duration, OffsetDateTime};
use tracing::{info, warn};

use crate::{AuthorityError, CertificateAuthority};

/// KMS's own shortest waiting period, in days: the key never signed anything that a device relies on.
const ABANDONED_KEY_DAYS: u8 = 7;

/// A key that is younger is not taken for gone where KMS does not know it: twice the five minutes that AWS names for
/// tags.
const YOUNG: Duration = Duration::minutes(10);

/// Between attempts at a key that KMS does not let us use yet. With them, a root is made within an API call's time.
const PAUSES: [std::time::Duration; 3] =
    [std::time::Duration::from_secs(1), std::time::Duration::from_secs(2), std::time::Duration::from_secs(4)];

impl CertificateAuthority {
    /// Every key that was made for the generation and is not (or no longer) its own is scheduled for deletion: what a
    /// crash left behind, and the key of an abandoned root. What cannot be scheduled is told in the log, and holds
    /// nothing up.
    ///
    /// # Errors
    /// Only those that pass.
    pub async fn sweep_keys(&self, generation: u32, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let authority = self.ledger.authority().await?;
        let root = self.ledger.root(generation).await?.ok_or(AuthorityError::Missing("root"))?;
        match self.give_up_keys(&authority, &root).await {
            Err(AuthorityError::Vault(source)) if source.may_be_too_early() && is_young(&root, now) => {
                Err(AuthorityError::TooEarly { generation, source })
            }
            Err(AuthorityError::Vault(error)) if !error.is_retryable() => {
                warn!(
                    root.generation = generation,
                    error = &error as &dyn std::error::Error,
                    "the unused keys of this generation could not be scheduled for deletion; schedule them by hand"
                );
                Ok(())
            }
            swept => swept,
        }
    }

    /// Only keys that `root`, a record of this installation, names by its serial number: a table that was lost or
    /// restored says nothing of any other key.
    pub(crate) async fn give_up_keys(&self, authority: &Authority, root: &RootRecord) -> Result<(), AuthorityError> {
        let Some(purpose) = purpose(authority, root) else { return Ok(()) };
        // A root that is being made, or signs its last lists, needs its key as well as one that is live.
        let kept = root.key.as_deref().filter(|_| root.state != GenerationState::Abandoned);
        for key in self.vault.keys_of(&purpose).await? {
            if kept == Some(&*key.arn) || key.standing == Standing::Dead {
                continue;
            }
            if key.signs {
                warn!(
                    key = key.arn,
                    root.generation = root.generation,
                    "a key that has signed is not given up, although its root is recorded as abandoned: were the tables restored?"
                );
                continue;
            }
            self.vault.schedule_deletion(&key.arn, ABANDONED_KEY_DAYS).await?;
            info!(key = key.arn, root.generation = root.generation, "an unused key is scheduled for deletion");
        }
        Ok(())
    }

    /// What `call` answers of a root's key. What a young key refuses is asked again for some seconds.
    ///
    /// # Errors
    /// [`AuthorityError::TooEarly`] where a later call may finish; [`AuthorityError::KeyUnusable`] where nobody can sign
    /// with the key.
    pub(crate) async fn patiently<T, F>(
        &self,
        root: &RootRecord,
        now: OffsetDateTime,
        call: impl Fn() -> F,
    ) -> Result<T, AuthorityError>
    where
        F: Future<Output = Result<T, VaultError>>,
    {
        let mut pauses = PAUSES.iter();
        loop {
            let error = match call().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let generation = root.generation;
            if !is_too_early(&error, root, now) {
                return Err(match error {
                    source @ VaultError::Unusable { .. } => AuthorityError::KeyUnusable { generation, source },
                    other => other.into(),
                });
            }
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Err(AuthorityError::TooEarly { generation, source: error }),
            }
        }
    }
}

/// What the root's key is, or was, made for. `None`: its installation made keys without an id.
pub(crate) fn purpose(authority: &Authority, root: &RootRecord) -> Option<Purpose> {
    let installation = authority.installation?;
    Some(Purpose { installation, generation: root.generation, serial: root.spec.serial })
}

pub(crate) fn key_and_certificate(root: &RootRecord) -> Result<(&str, &Certificate), AuthorityError> {
    root.key_and_certificate().ok_or(AuthorityError::Missing("certificate"))
}

/// A refusal by policy may pass whenever tags were changed; an unknown key is a young one, or gone.
fn is_too_early(error: &VaultError, root: &RootRecord, now: OffsetDateTime) -> bool {
    error.may_be_too_early() && (is_young(root, now) || matches!(error, VaultError::Denied { .. }))
}

fn is_young(root: &RootRecord, now: OffsetDateTime) -> bool {
    now < root.key_made.unwrap_or(root.created) + YOUNG
}
