//! The KMS keys of roots and issuing authorities: which can sign, which are still unknown to KMS, and which are unused.

use rootcast_core::audit::Actor;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Authority, IssuingRecord, IssuingState, RootRecord};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::signer::SignerId;
use rootcast_vault::{KeyRole, Purpose, Standing, VaultError};
use time::{Duration, OffsetDateTime};
use tracing::{info, warn};

use crate::{AuthorityError, CertificateAuthority};

/// KMS's shortest waiting period, in days: the key never signed anything that a device relies on.
const ABANDONED_KEY_DAYS: u8 = 7;

/// If KMS does not know a key younger than this, the key is not considered gone: twice the five minutes that AWS states
/// for tags.
const YOUNG: Duration = Duration::minutes(10);

/// Pauses between attempts with a key that KMS does not let us use yet. With them, a root is made within the time of an
/// API call.
const PAUSES: [std::time::Duration; 3] =
    [std::time::Duration::from_secs(1), std::time::Duration::from_secs(2), std::time::Duration::from_secs(4)];

impl CertificateAuthority {
    /// Schedules the deletion of every key that was made for the generation and is not, or no longer, its own:
    /// leftovers of a crash, and the key of an abandoned root. A key that cannot be scheduled is logged, and blocks
    /// nothing. Returns `false` if the root, or an issuing authority below it, is so young that the tags may not show each of
    /// its keys yet: they are to be swept again.
    ///
    /// # Errors
    /// Transient errors of KMS, and errors of the ledger.
    pub async fn sweep_keys(&self, generation: u32, now: OffsetDateTime) -> Result<bool, AuthorityError> {
        let authority = self.ledger.authority().await?;
        let root = self.ledger.root(generation).await?.ok_or(AuthorityError::Missing("root"))?;
        let (is_young, given_up) = self.give_up_keys(&authority, &root, now).await;
        match given_up {
            Err(AuthorityError::Vault(source)) if source.may_be_too_early() && is_young => {
                Err(AuthorityError::TooEarly { signer: SignerId::root(generation), source })
            }
            Err(AuthorityError::Vault(error)) if !error.is_retryable() => {
                warn!(
                    root.generation = generation,
                    error = &error as &dyn std::error::Error,
                    "the unused keys of this generation could not be scheduled for deletion; schedule them by hand"
                );
                Ok(true)
            }
            swept => swept.map(|()| !is_young),
        }
    }

    /// Considers only keys that `root`, or an issuing authority below it, a record of this installation, identifies by its
    /// serial number: a lost or restored table says nothing about other keys. Returns whether one of them is young, too.
    async fn give_up_keys(
        &self,
        authority: &Authority,
        root: &RootRecord,
        now: OffsetDateTime,
    ) -> (bool, Result<(), AuthorityError>) {
        let mut is_young = KeyOf::from(root).is_young(now);
        let Some(purpose) = purpose(authority, root) else { return (is_young, Ok(())) };
        // A root that is being made, or signs its last lists, needs its key just like a live one.
        // A compromised one is evidence.
        let is_kept = root.state != GenerationState::Abandoned || root.compromise.is_some();
        let mut outcome = self.give_up(&purpose, root.key.as_deref().filter(|_| is_kept), root).await;
        if !is_kept || authority.unswept.contains(&root.generation) {
            let below = match self.ledger.issuings(std::slice::from_ref(root)).await {
                Ok(below) => below,
                Err(error) => return (is_young, Err(error.into())),
            };
            is_young |= below.iter().any(|issuing| KeyOf::from(issuing).is_young(now));
            // One that is being made may have a key that is not recorded yet.
            let is_made = |issuing: &&IssuingRecord| !is_kept || issuing.state != IssuingState::Reserved;
            for issuing in below.iter().filter(is_made) {
                let purpose = Purpose { role: KeyRole::Issuing, serial: issuing.spec.serial, ..purpose };
                let given_up = self.give_up(&purpose, issuing.key.as_deref().filter(|_| is_kept), root).await;
                outcome = outcome.and(given_up);
            }
        }
        (is_young, outcome)
    }

    async fn give_up(&self, purpose: &Purpose, kept: Option<&str>, root: &RootRecord) -> Result<(), AuthorityError> {
        let mut unused = self.vault.keys_of(purpose).await?;
        unused.retain(|key| kept != Some(&*key.arn) && key.standing != Standing::Dead);
        if unused.is_empty() {
            return Ok(());
        }
        let signing = self.vault.signing_key(purpose.serial).await?;
        let mut refused = None;
        for key in unused {
            if signing.as_deref() == Some(&*key.arn) {
                warn!(
                    key = key.arn,
                    root.generation = root.generation,
                    "a key that has signed is not given up, although its root is recorded as abandoned: were the tables restored?"
                );
                continue;
            }
            // A key that somebody else tagged like ours is not given up, and keeps none of ours.
            match self.vault.schedule_deletion(&key.arn, ABANDONED_KEY_DAYS).await {
                Err(error) if error.is_denied() => refused = Some(error),
                scheduled => {
                    scheduled?;
                    info!(key = key.arn, root.generation = root.generation, "an unused key is scheduled for deletion");
                }
            }
        }
        refused.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Retries a call that uses a key for some seconds, as long as a refusal may be due to the key's age, or to its waking:
    /// a root's key that sleeps is woken first.
    ///
    /// # Errors
    /// [`AuthorityError::TooEarly`] if a later call may succeed; [`AuthorityError::KeyUnusable`] if the key cannot sign
    /// any more.
    pub(crate) async fn patiently<'a, T, F>(
        &self,
        key: impl Into<KeyOf<'a>>,
        now: OffsetDateTime,
        call: impl Fn() -> F,
    ) -> Result<T, AuthorityError>
    where
        F: Future<Output = Result<T, VaultError>>,
    {
        let key: KeyOf<'_> = key.into();
        // Mostly part of a larger operation, for which the key is woken once.
        self.awake("it signs", &Actor::function("authority"), now, Box::pin(self.repeatedly(key, now, call))).await
    }

    async fn repeatedly<T, F>(
        &self,
        key: KeyOf<'_>,
        now: OffsetDateTime,
        call: impl Fn() -> F,
    ) -> Result<T, AuthorityError>
    where
        F: Future<Output = Result<T, VaultError>>,
    {
        let signer = key.signer;
        let mut pauses = PAUSES.iter();
        self.wake(&[key], false).await?;
        loop {
            let error = match call().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            // A refusal by policy may be temporary whenever tags were changed; an unknown key is either young or gone.
            let is_young = error.may_be_too_early() && (key.is_young(now) || error.is_denied());
            // Whoever woke it before may have put it to sleep meanwhile.
            let is_waking = error.is_disabled() && self.wake(&[key], true).await?;
            if !is_young && !is_waking {
                return Err(match error {
                    source if source.is_unusable() => AuthorityError::KeyUnusable { signer, source },
                    other => other.into(),
                });
            }
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Err(AuthorityError::TooEarly { signer, source: error }),
            }
        }
    }
}

/// What the root's key is, or was, made for. `None` if its installation made keys without an id.
pub(crate) fn purpose(authority: &Authority, root: &RootRecord) -> Option<Purpose> {
    let installation = authority.installation?;
    Some(Purpose { installation, role: KeyRole::Root, generation: root.generation, serial: root.spec.serial })
}

pub(crate) fn key_and_certificate(root: &RootRecord) -> Result<(&str, &Certificate), AuthorityError> {
    root.key_and_certificate().ok_or(AuthorityError::Missing("certificate"))
}

/// Whose key a call uses, and since when there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyOf<'a> {
    signer: SignerId,
    key: Option<&'a str>,
    made: OffsetDateTime,
}

impl<'a> KeyOf<'a> {
    /// A root's generation and its key.
    pub(crate) fn of_root(&self) -> Option<(u32, &'a str)> {
        self.key.filter(|_| self.signer.is_root()).map(|key| (self.signer.generation(), key))
    }

    pub(crate) fn is_young(self, now: OffsetDateTime) -> bool {
        now < self.made + YOUNG
    }
}

impl<'a> From<&'a RootRecord> for KeyOf<'a> {
    fn from(root: &'a RootRecord) -> Self {
        Self {
            signer: SignerId::root(root.generation),
            key: root.key.as_deref(),
            made: root.key_made.unwrap_or(root.created),
        }
    }
}

impl<'a> From<&'a IssuingRecord> for KeyOf<'a> {
    fn from(issuing: &'a IssuingRecord) -> Self {
        Self {
            signer: issuing.id().into(),
            key: issuing.key.as_deref(),
            made: issuing.key_made.unwrap_or(issuing.created),
        }
    }
}
