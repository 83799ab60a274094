//! Revocation lists. Those of issuing authorities are made here; those of roots by the conductor, which may sign with
//! their keys. Only before a certificate of a root itself, the list that it names is made here.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use futures::future::join_all;
use rootcast_core::job::message::RootLists;
use rootcast_core::metric::Metric;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{CrlHead, IssuingRecord, IssuingState, RootRecord};
use rootcast_lists::{NotMade, is_kept, is_kept_below};
use rootcast_pki::crl::{CrlId, prepare_crl};
use rootcast_pki::signer::{IssuingId, SignerId};
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::warn;

use crate::signer::Signer;
use crate::{App, IssuerError};

/// Lists made concurrently. Each takes a signature and two calls to DynamoDB, some 60 ms: a thousand lists take ten seconds of
/// the function's two minutes, and some MB of memory at a time.
const AT_ONCE: usize = 8;

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
        match self.ledger.crl_head(list).await? {
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
        let authority = self.ledger.authority().await?;
        let mut roots = self.ledger.roots(&authority).await?;
        if let Some(days) = authority.signing.and_then(|signing| days_left(&roots, signing, now)) {
            self.gauge(Metric::RootDaysLeft, days);
        }
        // Something below a retired root may be valid, and nothing below an abandoned one.
        roots.retain(|root| is_kept(root, now) || root.state == GenerationState::Retired);
        let issuing = self.ledger.issuings(&roots).await?;
        let above = |each: &IssuingRecord| roots.iter().find(|root| root.generation == each.id().generation);
        let below = issuing.iter().filter(|each| above(each).is_some_and(|root| is_kept_below(root, each, now)));
        let kept = roots.iter().filter(|root| is_kept(root, now)).map(|root| SignerId::root(root.generation));
        let signers = kept.chain(below.map(|each| each.id().into()));
        let lists = self.ledger.crls(signers, now).await?;
        if let Some(hours) = hours_left(&lists, now) {
            self.gauge(Metric::CrlHoursLeft, hours);
        }
        let Due { own, handed_over } = due(lists, now);
        let (mut outcome, mut unusable) = (Ok(()), BTreeSet::new());
        for generation in handed_over {
            outcome = outcome.and(self.hand_over(generation).await);
        }
        let mut left = own.chunks(AT_ONCE);
        for some in left.by_ref() {
            if Instant::now() >= deadline {
                let lists = some.len() + left.map(<[_]>::len).sum::<usize>();
                warn!(crl.left = lists, "not every revocation list was made in time; the next run continues");
                break;
            }
            let known = some.iter().filter(|(_, id)| !unusable.contains(id)).filter_map(|(list, id)| {
                let record = issuing.iter().find(|each| each.id() == *id)?;
                Some((*list, record, Signer::issuing(record.clone())?))
            });
            let make =
                async |(list, record, signer): (CrlId, _, Signer)| (record, self.make(&signer, list, None).await);
            for (record, made) in join_all(known.map(make)).await {
                match made {
                    Err(IssuerError::Vault(error)) if error.is_unusable() && record.state != IssuingState::Signing => {
                        if unusable.insert(record.id()) {
                            warn!(
                                issuing.id = %record.id(),
                                error = &error as &dyn Error,
                                "the revocation lists of an old issuing authority expire: its key has to stay usable until its last certificate expires"
                            );
                        }
                    }
                    made => outcome = outcome.and(made),
                }
            }
        }
        outcome
    }

    #[expect(clippy::print_stdout, reason = "CloudWatch reads metrics from the log's own lines")]
    fn gauge(&self, metric: Metric, value: u64) {
        println!("{}", metric.line(value, &self.stack, (self.clock)()));
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
            let _place = self.signatures.acquire().await;
            Ok(self.vault.sign_prepared(key, prepared).await?)
        };
        rootcast_lists::publish(&self.ledger, list, url.as_slice(), &[], None, (self.clock)(), sign).await
    }
}

/// Of the root that signs.
fn days_left(roots: &[RootRecord], signing: u32, now: OffsetDateTime) -> Option<u64> {
    let root = roots.iter().find(|root| root.generation == signing)?;
    Some(whole((root.certificate.as_ref()?.not_after() - now).whole_days()))
}

/// Of the list that ends first.
fn hours_left(lists: &[CrlHead], now: OffsetDateTime) -> Option<u64> {
    lists.iter().map(|list| whole((list.next_update - now).whole_hours())).min()
}

/// What is over has nothing left.
fn whole(left: i64) -> u64 {
    u64::try_from(left).unwrap_or(0)
}

/// The conductor looks after the lists of authorities by itself.
fn due(published: Vec<CrlHead>, now: OffsetDateTime) -> Due {
    let mut by_signer: BTreeMap<SignerId, Vec<CrlHead>> = BTreeMap::new();
    for each in published {
        by_signer.entry(each.list.signer()).or_default().push(each);
    }
    let (mut due, mut pressing) = (Due { own: Vec::new(), handed_over: BTreeSet::new() }, Vec::new());
    for (signer, lists) in by_signer {
        let lists = rootcast_lists::due(&lists, now);
        match signer.issuing() {
            Some(id) => {
                pressing.extend(lists.into_iter().map(|each| ((!each.urgent, each.next_update), (each.list, id))));
            }
            None if lists.is_empty() => {}
            None => drop(due.handed_over.insert(signer.generation())),
        }
    }
    // What a run does not reach, the next one does: first what somebody waits for, then what ends first.
    pressing.sort_by_key(|(when, _)| *when);
    due.own = pressing.into_iter().map(|(_, list)| list).collect();
    due
}

#[cfg(test)]
#[path = "lists_tests.rs"]
mod tests;
