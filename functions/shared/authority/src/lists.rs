//! The revocation lists that roots sign: of authorities, and of the certificates of devices that they signed themselves.

use std::error::Error;
use std::slice;

use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::RootRecord;
use rootcast_lists::{Entry, is_due, is_kept, of_authorities, publish};
use rootcast_pki::crl::{CrlId, CrlSpec, prepare_crl};
use rootcast_pki::signer::SignerId;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::warn;

use crate::keys::key_and_certificate;
use crate::{AuthorityError, CertificateAuthority};

impl CertificateAuthority {
    /// Ensures that the root's list of authorities exists, serves this address, and names every one that is revoked.
    /// Called before a certificate names the address, and after a revocation.
    pub async fn publish_authorities(
        &self,
        root: &RootRecord,
        url: &str,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let entries = of_authorities(&self.ledger.issuings(slice::from_ref(root)).await?);
        self.publish_list(root, CrlId::authorities(root.generation), Some(url), &entries, now).await
    }

    /// Publishes those of the root's lists that are due. An old root whose key was disabled or deleted cannot sign any
    /// more: that is logged, and is no failure. What is not done by `deadline` stays due.
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
        let entries = of_authorities(&self.ledger.issuings(slice::from_ref(&root)).await?);
        for published in self.ledger.crls([SignerId::root(generation)]).await? {
            let entries = if published.list.shard().is_none() { entries.as_slice() } else { &[] };
            if !is_due(&published, entries, now) {
                continue;
            }
            if Instant::now() >= deadline {
                warn!(root.generation = generation, "not every revocation list of the root was made in time");
                break;
            }
            match self.publish_list(&root, published.list, None, entries, now).await {
                Err(AuthorityError::KeyUnusable { source, .. }) if root.state != GenerationState::Signing => {
                    warn!(
                        root.generation = generation,
                        error = &source as &dyn Error,
                        "the revocation lists of an old root expire: its key has to stay usable until its last certificate expires"
                    );
                    break;
                }
                published => published?,
            }
        }
        Ok(())
    }

    async fn publish_list(
        &self,
        root: &RootRecord,
        list: CrlId,
        url: Option<&str>,
        entries: &[Entry],
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let (key, issuer) = key_and_certificate(root)?;
        let sign = |spec: CrlSpec| async move {
            let spec = &spec;
            self.patiently(root, now, || async move {
                self.vault.confirm(key, issuer).await?;
                self.vault.sign_prepared(key, prepare_crl(spec, issuer)?).await
            })
            .await
        };
        publish(&self.ledger, list, url, entries, now, sign).await
    }
}
