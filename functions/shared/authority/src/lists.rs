//! The revocation lists that roots sign: which issuing authorities are revoked, and which certificates of devices that a
//! root signed itself, before there were issuing authorities, or by parameter. Each signature wakes the root's key.

use std::error::Error;
use std::slice;

use rootcast_core::audit::Actor;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Authority, RootRecord};
use rootcast_lists::{Entry, due, is_kept, of_authorities, of_compromised_link, publish};
use rootcast_pki::crl::{CrlId, CrlSpec, prepare_crl};
use rootcast_pki::signer::SignerId;
use time::{Duration, OffsetDateTime};
use tokio::time::Instant;
use tracing::warn;

use crate::keys::key_and_certificate;
use crate::{AuthorityError, CertificateAuthority};

/// Between two looks of a process at the age of the lists of authorities. They are due months before they expire.
const PAUSE: Duration = Duration::HOUR;

impl CertificateAuthority {
    /// Publishes the root's list of authorities where that is needed: half of its life is over, it lacks a revocation, or
    /// a certificate names an address that it does not serve yet. `url`: such an address, apart from the root's and the
    /// issuing authorities' own.
    pub(crate) async fn publish_authorities(
        &self,
        root: &RootRecord,
        url: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        self.publish_authorities_until(root, url, None, now).await
    }

    /// The lists of a root that signs none any more: they are valid until then.
    pub(crate) async fn publish_last_lists(
        &self,
        root: &RootRecord,
        until: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        self.publish_authorities_until(root, None, Some(until), now).await?;
        if root.retirement.as_ref().is_none_or(|retirement| retirement.needs(0, now).is_none()) {
            return Ok(());
        }
        let lists = self.ledger.crls([SignerId::root(root.generation)], now).await?;
        for of_leaves in lists.iter().filter(|published| published.list.shard().is_some()) {
            self.publish_list(root, of_leaves.list, &[], &[], Some(until), now).await?;
        }
        Ok(())
    }

    async fn publish_authorities_until(
        &self,
        root: &RootRecord,
        url: Option<&str>,
        until: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let below = self.ledger.issuings(slice::from_ref(root)).await?;
        let own = root.spec.crl.as_deref();
        let urls: Vec<&str> = url.into_iter().chain(own).chain(below.iter().map(|each| &*each.spec.crl)).collect();
        let mut entries = of_authorities(&below);
        if root.old_with_new.is_some() {
            let roots = self.ledger.roots(&self.ledger.authority().await?).await?;
            entries.extend(of_compromised_link(root, &roots));
        }
        self.publish_list(root, CrlId::authorities(root.generation), &urls, &entries, until, now).await
    }

    /// Renews the lists of authorities that are due.
    pub async fn renew_authorities(&self, authority: &Authority, now: OffsetDateTime) -> Result<(), AuthorityError> {
        if authority.signing.is_none() || authority.is_claimed(now) || self.lists_put_off.is_on(now) {
            return Ok(());
        }
        self.lists_put_off.set(now + PAUSE);
        let mut outcome = Ok(());
        for root in self.ledger.roots(authority).await?.iter().filter(|root| is_kept(root, now)) {
            let published = Box::pin(self.publish_authorities(root, None, now));
            let why = "its list of authorities is published";
            let published = self.awake(why, &Actor::function("conduct"), now, published).await;
            outcome = outcome.and(without_old_key(root, published));
        }
        outcome
    }

    /// Publishes those of the root's lists that are due. What is not done by `deadline` stays due.
    pub async fn publish_lists(
        &self,
        generation: u32,
        deadline: Instant,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let root = self.ledger.root(generation).await?.ok_or(AuthorityError::Missing("root"))?;
        if !is_kept(&root, now) {
            return Ok(());
        }
        let published = Box::pin(self.publish_due(&root, deadline, now));
        let published = self.awake("its lists are published", &Actor::function("conduct"), now, published).await;
        without_old_key(&root, published)
    }

    async fn publish_due(
        &self,
        root: &RootRecord,
        deadline: Instant,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut outcome = self.publish_authorities(root, None, now).await;
        let lists = self.ledger.crls([SignerId::root(root.generation)], now).await?;
        for due in due(&lists, now) {
            // A list that cannot be made says nothing about the next one. A key that cannot sign does.
            if !matches!(outcome, Ok(()) | Err(AuthorityError::List(_))) {
                break;
            }
            if Instant::now() >= deadline {
                warn!(root.generation = root.generation, "not every revocation list of the root was made in time");
                break;
            }
            let published = self.publish_list(root, due.list, &[], &[], None, now).await;
            outcome = if published.is_err() { published } else { outcome };
        }
        outcome
    }

    async fn publish_list(
        &self,
        root: &RootRecord,
        list: CrlId,
        urls: &[&str],
        entries: &[Entry],
        until: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let (key, issuer) = key_and_certificate(root)?;
        let sign = |spec: CrlSpec| async move {
            self.patiently(root, now, || self.vault.confirm(key, issuer)).await?;
            let spec = &spec;
            let sign = || async move { self.vault.sign_prepared(key, prepare_crl(spec, issuer)?).await };
            self.patiently(root, now, sign).await
        };
        publish(&self.ledger, list, urls, entries, until, now, sign).await
    }
}

/// An old root whose key was disabled or deleted cannot sign any more: that is logged, and is no failure.
pub(crate) fn without_old_key(root: &RootRecord, published: Result<(), AuthorityError>) -> Result<(), AuthorityError> {
    match published {
        Err(AuthorityError::KeyUnusable { source, .. }) if root.state != GenerationState::Signing => {
            warn!(
                root.generation = root.generation,
                error = &source as &dyn Error,
                "the revocation lists of an old root expire: its key has to stay usable until what it signed expires"
            );
            Ok(())
        }
        published => published,
    }
}
