//! Revocation lists: created before the first certificate that names them, and renewed after a revocation and at half
//! of their lifetime.

use std::collections::HashSet;
use std::error::Error;

use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{CrlRecord, LedgerError, RevokedRecord, RootRecord};
use rootcast_pki::crl::{CrlId, CrlSpec, Revoked, is_due, names, prepare_crl};
use rootcast_pki::root::Serial;
use rootcast_pki::signer::SignerId;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::{App, IssuerError};

/// Tries to publish a list despite concurrent changes to it.
const ATTEMPTS: u32 = 5;

impl App {
    /// Ensures that the list exists and serves this address.
    pub(crate) async fn ensure_list(&self, root: &RootRecord, list: CrlId, url: &str) -> Result<(), IssuerError> {
        match self.ledger.crl(list).await? {
            Some(published) if published.urls.iter().any(|known| known == url) => Ok(()),
            _ => self.make(root, list, Some(url)).await,
        }
    }

    /// Publishes a list on request.
    pub(crate) async fn publish(&self, list: CrlId) -> Result<(), IssuerError> {
        let root = self.ledger.root(list.signer().generation()).await?.ok_or(IssuerError::NoRoot(list))?;
        self.make(&root, list, None).await
    }

    /// Renews all lists that are due. A list that fails does not hold up the others. An old root whose key was disabled
    /// or deleted cannot sign any more: that is logged once, and is no failure.
    pub(crate) async fn renew_lists(&self, deadline: Instant) -> Result<(), IssuerError> {
        let now = (self.clock)();
        let roots = self.ledger.roots(&self.ledger.authority().await?).await?;
        let roots: Vec<RootRecord> = roots.into_iter().filter(|root| can_sign(root, now)).collect();
        let lists = self.ledger.crls(roots.iter().map(|root| SignerId::root(root.generation))).await?;
        let (mut outcome, mut unusable) = (Ok(()), HashSet::new());
        for published in lists.iter().filter(|published| wants_renewal(published, now)) {
            if Instant::now() >= deadline {
                warn!("not every revocation list was made in time; the next run continues");
                break;
            }
            let Some(root) = roots.iter().find(|root| root.generation == published.list.signer().generation()) else {
                continue;
            };
            if unusable.contains(&root.generation) {
                continue;
            }
            match self.make(root, published.list, None).await {
                Err(IssuerError::Vault(error)) if error.is_unusable() && root.state != GenerationState::Signing => {
                    unusable.insert(root.generation);
                    warn!(
                        root.generation,
                        error = &error as &dyn Error,
                        "the revocation lists of an old root expire: its key has to stay usable until its last certificate expires"
                    );
                }
                made => outcome = outcome.and(made),
            }
        }
        outcome
    }

    async fn make(&self, root: &RootRecord, list: CrlId, url: Option<&str>) -> Result<(), IssuerError> {
        let (key, issuer) = root.key_and_certificate().ok_or(IssuerError::NoRoot(list))?;
        for _ in 0..ATTEMPTS {
            let (published, revoked) = self.ledger.crl_and_revoked(list).await?;
            let now = (self.clock)();
            let earlier = published.as_ref().map_or(Ok(Vec::new()), |published| published.crl.revoked());
            let earlier = earlier.map_err(|error| IssuerError::List(list, error))?;
            let Some(spec) = next(list, published.as_ref(), &earlier, &revoked, url, now) else { return Ok(()) };
            let prepared = prepare_crl(&spec, issuer).map_err(|error| IssuerError::List(list, error))?;
            self.vault.confirm(key, issuer).await?;
            let crl = self.vault.sign_prepared(key, prepared).await?;
            let CrlSpec { list, number, this_update, next_update, urls, revoked } = spec;
            let revision = published.map_or(0, |published| published.revision);
            let record = CrlRecord { list, revision, crl, number, this_update, next_update, urls, behind: false };
            match self.ledger.publish_crl(&record).await {
                Ok(()) => {
                    info!(crl = %list, crl.number = number, crl.revoked = revoked.len(), "a revocation list is published");
                    return Ok(());
                }
                Err(LedgerError::Conflict) => {
                    debug!(crl = %list, "the list was changed meanwhile")
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Conflict.into())
    }
}

fn can_sign(root: &RootRecord, now: OffsetDateTime) -> bool {
    let given_up = matches!(root.state, GenerationState::Retired | GenerationState::Abandoned);
    !given_up && root.certificate.as_ref().is_some_and(|certificate| certificate.not_after() > now)
}

fn wants_renewal(published: &CrlRecord, now: OffsetDateTime) -> bool {
    published.behind || is_due(published.this_update, published.next_update, now)
}

/// The spec of the list to publish, if there is one. Without `url`, only a published list is renewed: a list that no
/// certificate names is not needed. What the published list names (`earlier`) and no record does stays on it: it is not
/// known when it expires. Pure.
fn next(
    list: CrlId,
    published: Option<&CrlRecord>,
    earlier: &[Revoked],
    revoked: &[RevokedRecord],
    url: Option<&str>,
    now: OffsetDateTime,
) -> Option<CrlSpec> {
    let mut urls = published.map(|published| published.urls.clone()).unwrap_or_default();
    let new = url.filter(|url| !urls.iter().any(|known| known == url)).map(str::to_owned);
    if new.is_none() && !published.is_some_and(|published| wants_renewal(published, now)) {
        return None;
    }
    urls.extend(new);
    // Never earlier than the previous list's.
    let this_update = published.map_or(now, |published| now.max(published.this_update));
    let this_update = this_update.replace_nanosecond(0).unwrap_or(this_update);
    let named = revoked.iter().filter(|each| names(list, each.not_after, this_update));
    let named = named.map(|each| Revoked { serial: each.serial, at: each.at, reason: each.reason });
    let recorded: HashSet<Serial> = revoked.iter().map(|each| each.serial).collect();
    let unrecorded = earlier.iter().filter(|each| !recorded.contains(&each.serial));
    Some(CrlSpec {
        list,
        number: published.map_or(0, |published| published.number) + 1,
        this_update,
        next_update: this_update + list.lifetime(),
        urls,
        revoked: named.chain(unrecorded.cloned()).collect(),
    })
}

#[cfg(test)]
#[path = "lists_tests.rs"]
mod tests;
