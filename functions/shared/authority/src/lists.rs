//! A root's list of authorities: which issuing authorities below it are revoked. It wakes the root's key, so it is signed
//! twice in its lifetime, and when an authority is revoked.

use std::slice;

use rootcast_core::audit::Actor;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Authority, CrlRecord, IssuingRecord, LedgerError, RootRecord};
use rootcast_pki::crl::{CrlId, CrlSpec, Revoked, is_due, names, prepare_crl};
use time::{Duration, OffsetDateTime};
use tracing::{info, warn};

use crate::keys::key_and_certificate;
use crate::{AuthorityError, CertificateAuthority};

/// Tries to publish a list despite concurrent changes to it.
const ATTEMPTS: u32 = 3;
/// Between two looks of a process at the lists' age. They are due months before they expire.
const PAUSE: Duration = Duration::HOUR;

impl CertificateAuthority {
    /// Publishes the root's list of authorities where that is needed: half of its life is over, it lacks a revocation, or
    /// a certificate names an address that it does not serve yet. `url`: such an address, apart from the issuing
    /// authorities' own.
    pub(crate) async fn publish_authorities(
        &self,
        root: &RootRecord,
        url: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let (key, issuer) = key_and_certificate(root)?;
        let list = CrlId::authorities(root.generation);
        for _ in 0..ATTEMPTS {
            let published = self.ledger.crl(list).await?;
            // Read after the list: a revocation that comes later finds the list changed.
            let below = self.ledger.issuings(slice::from_ref(root)).await?;
            let earlier = published.as_ref().map_or(Ok(Vec::new()), |published| published.crl.revoked())?;
            let Some(spec) = next(list, published.as_ref(), earlier, &below, url, now) else { return Ok(()) };
            self.patiently(root, now, || self.vault.confirm(key, issuer)).await?;
            let to_sign = &spec;
            let sign = || async move { self.vault.sign_prepared(key, prepare_crl(to_sign, issuer)?).await };
            let crl = self.patiently(root, now, sign).await?;
            let CrlSpec { list, number, this_update, next_update, urls, revoked } = spec;
            let revision = published.map_or(0, |published| published.revision);
            let record = CrlRecord { list, revision, crl, number, this_update, next_update, urls, behind: false };
            match self.ledger.publish_crl(&record).await {
                Err(LedgerError::Conflict) => {}
                done => {
                    done?;
                    info!(crl = %list, crl.number = number, crl.revoked = revoked.len(), "a revocation list is published");
                    return Ok(());
                }
            }
        }
        Err(LedgerError::Conflict.into())
    }

    /// Renews the lists of authorities that are due. An old root whose key was disabled or deleted cannot sign any more:
    /// that is logged, and is no failure.
    pub async fn renew_authorities(&self, authority: &Authority, now: OffsetDateTime) -> Result<(), AuthorityError> {
        if authority.signing.is_none() || authority.is_claimed(now) || self.lists_put_off.is_on(now) {
            return Ok(());
        }
        self.lists_put_off.set(now + PAUSE);
        let mut outcome = Ok(());
        for root in self.ledger.roots(authority).await?.iter().filter(|root| can_sign(root, now)) {
            let published = Box::pin(self.publish_authorities(root, None, now));
            let why = "its list of authorities is renewed";
            match self.awake(why, &Actor::function("conduct"), now, published).await {
                Err(AuthorityError::KeyUnusable { source, .. }) if root.state != GenerationState::Signing => warn!(
                    root.generation = root.generation,
                    error = &source as &dyn std::error::Error,
                    "the list of authorities of an old root expires: its key has to stay usable until what it certified expires"
                ),
                published => outcome = outcome.and(published),
            }
        }
        outcome
    }
}

fn can_sign(root: &RootRecord, now: OffsetDateTime) -> bool {
    let given_up = matches!(root.state, GenerationState::Retired | GenerationState::Abandoned);
    !given_up && root.certificate.as_ref().is_some_and(|certificate| certificate.not_after() > now)
}

/// The spec of the list to publish, if there is one. What the published list names (`earlier`) and no record does stays on
/// it: it is not known when it expires. Pure.
fn next(
    list: CrlId,
    published: Option<&CrlRecord>,
    earlier: Vec<Revoked>,
    below: &[IssuingRecord],
    url: Option<&str>,
    now: OffsetDateTime,
) -> Option<CrlSpec> {
    // Never earlier than the previous list's.
    let this_update = published.map_or(now, |published| now.max(published.this_update));
    let this_update = this_update.replace_nanosecond(0).unwrap_or(this_update);
    let revoked = below.iter().filter(|each| names(list, each.spec.not_after, this_update)).filter_map(|each| {
        let revoked = each.revoked.as_ref()?;
        Some(Revoked { serial: each.spec.serial, at: revoked.at, reason: revoked.reason })
    });
    let mut revoked: Vec<Revoked> = revoked.collect();
    let is_listed = |each: &Revoked| earlier.iter().any(|one| (one.serial, one.reason) == (each.serial, each.reason));
    let is_complete = revoked.iter().all(is_listed);
    let mut urls = published.map(|published| published.urls.clone()).unwrap_or_default();
    let known = urls.len();
    for url in url.into_iter().chain(below.iter().map(|each| &*each.spec.crl)) {
        if !urls.iter().any(|known| known == url) {
            urls.push(url.to_owned());
        }
    }
    let is_new = urls.len() > known;
    let due = |published: &CrlRecord| published.behind || is_due(published.this_update, published.next_update, now);
    if urls.is_empty() || (is_complete && !is_new && !published.is_some_and(due)) {
        return None;
    }
    revoked.extend(earlier.into_iter().filter(|each| !below.iter().any(|known| known.spec.serial == each.serial)));
    let number = published.map_or(0, |published| published.number) + 1;
    Some(CrlSpec { list, number, this_update, next_update: this_update + list.lifetime(), urls, revoked })
}
