//! Revocation lists. Those of issuing authorities are made here; those of roots by the conductor, which may sign with
//! their keys. Only before a certificate of a root itself, the list that it names is made here.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use rootcast_core::job::message::RootLists;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{CrlRecord, IssuingRecord, IssuingState};
use rootcast_lists::{NotMade, is_kept, is_kept_below};
use rootcast_pki::crl::{CrlId, prepare_crl};
use rootcast_pki::signer::{IssuingId, SignerId};
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::warn;

use crate::signer::Signer;
use crate::{App, IssuerError};

/// The lists that have to be made again, by who makes them.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    own: Vec<(CrlId, IssuingId)>,
    /// The generations of roots.
    handed_over: BTreeSet<u32>,
}

impl App {
    /// Ensures that the list exists and serves this address.
    pub(crate) async fn ensure_list(&self, signer: &Signer, list: CrlId, url: &str) -> Result<(), IssuerError> {
        match self.ledger.crl(list).await? {
            Some(published) if published.urls.iter().any(|known| known == url) => Ok(()),
            _ => self.make(signer, list, Some(url)).await,
        }
    }

    /// Publishes a list on request.
    pub(crate) async fn publish(&self, list: CrlId) -> Result<(), IssuerError> {
        let Some(id) = list.signer().issuing() else { return self.hand_over(list.signer().generation()).await };
        let issuing = self.ledger.issuing(id).await?.ok_or(IssuerError::NoSigner(list))?;
        self.make(&Signer::issuing(issuing).ok_or(IssuerError::NoSigner(list))?, list, None).await
    }

    /// Renews all lists that are due. A list that fails does not hold up the others. An issuing authority that signs no
    /// certificates any more, and whose key was disabled or deleted, cannot sign lists either: that is logged once, and
    /// is no failure.
    pub(crate) async fn renew_lists(&self, deadline: Instant) -> Result<(), IssuerError> {
        let now = (self.clock)();
        let mut roots = self.ledger.roots(&self.ledger.authority().await?).await?;
        // Something below a retired root may be valid, and nothing below an abandoned one.
        roots.retain(|root| is_kept(root, now) || root.state == GenerationState::Retired);
        let issuing = self.ledger.issuings(&roots).await?;
        let above = |each: &IssuingRecord| roots.iter().find(|root| root.generation == each.id().generation);
        let below = issuing.iter().filter(|each| above(each).is_some_and(|root| is_kept_below(root, each, now)));
        let kept = roots.iter().filter(|root| is_kept(root, now)).map(|root| SignerId::root(root.generation));
        let signers = kept.chain(below.map(|each| each.id().into()));
        let Due { own, handed_over } = due(self.ledger.crls(signers).await?, now);
        let (mut outcome, mut unusable) = (Ok(()), BTreeSet::new());
        for generation in handed_over {
            outcome = outcome.and(self.hand_over(generation).await);
        }
        for (list, id) in own {
            if Instant::now() >= deadline {
                warn!("not every revocation list was made in time; the next run continues");
                break;
            }
            let Some(record) = issuing.iter().find(|each| each.id() == id) else { continue };
            let Some(signer) = Signer::issuing(record.clone()).filter(|_| !unusable.contains(&id)) else { continue };
            match self.make(&signer, list, None).await {
                Err(IssuerError::Vault(error)) if error.is_unusable() && record.state != IssuingState::Signing => {
                    unusable.insert(id);
                    warn!(
                        issuing.id = %id,
                        error = &error as &dyn Error,
                        "the revocation lists of an old issuing authority expire: its key has to stay usable until its last certificate expires"
                    );
                }
                made => outcome = outcome.and(made),
            }
        }
        outcome
    }

    /// Asks the conductor for the lists of a root.
    async fn hand_over(&self, root: u32) -> Result<(), IssuerError> {
        Ok(self.queue.send_later(&self.control_queue, &RootLists { lists_of_root: root }, 0).await?)
    }

    async fn make(&self, signer: &Signer, list: CrlId, url: Option<&str>) -> Result<(), IssuerError> {
        let Signer { key, certificate, .. } = signer;
        let sign = |spec| async move {
            let prepared = prepare_crl(&spec, certificate).map_err(|source| NotMade { list, source })?;
            self.vault.confirm(key, certificate).await?;
            Ok(self.vault.sign_prepared(key, prepared).await?)
        };
        rootcast_lists::publish(&self.ledger, list, url.as_slice(), &[], None, (self.clock)(), sign).await
    }
}

/// The conductor looks after the lists of authorities by itself.
fn due(published: Vec<CrlRecord>, now: OffsetDateTime) -> Due {
    let mut by_signer: BTreeMap<SignerId, Vec<CrlRecord>> = BTreeMap::new();
    for each in published {
        by_signer.entry(each.list.signer()).or_default().push(each);
    }
    let mut due = Due { own: Vec::new(), handed_over: BTreeSet::new() };
    for (signer, lists) in by_signer {
        let lists = rootcast_lists::due(&lists, now);
        match signer.issuing() {
            Some(id) => due.own.extend(lists.into_iter().map(|each| (each.list, id))),
            None if lists.is_empty() => {}
            None => drop(due.handed_over.insert(signer.generation())),
        }
    }
    due
}

#[cfg(test)]
#[path = "lists_tests.rs"]
mod tests;
