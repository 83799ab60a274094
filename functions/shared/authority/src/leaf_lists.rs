//! The revocation lists of certificates of devices that a root signed itself: before there were issuing authorities, or by
//! parameter.

use std::error::Error;

use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::RootRecord;
use rootcast_lists::{is_due, is_kept, publish};
use rootcast_pki::crl::{CrlId, CrlSpec, prepare_crl};
use rootcast_pki::signer::SignerId;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::warn;

use crate::keys::key_and_certificate;
use crate::{AuthorityError, CertificateAuthority};

impl CertificateAuthority {
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
        let lists = self.ledger.crls([SignerId::root(generation)]).await?;
        for due in lists.iter().filter(|published| published.list.shard().is_some() && is_due(published, now)) {
            if Instant::now() >= deadline {
                warn!(root.generation = generation, "not every revocation list of the root was made in time");
                break;
            }
            match self.publish_list(&root, due.list, now).await {
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

    async fn publish_list(&self, root: &RootRecord, list: CrlId, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let (key, issuer) = key_and_certificate(root)?;
        let sign = |spec: CrlSpec| async move {
            let spec = &spec;
            let sign = || async move {
                self.vault.confirm(key, issuer).await?;
                self.vault.sign_prepared(key, prepare_crl(spec, issuer)?).await
            };
            self.patiently(root, now, sign).await
        };
        publish(&self.ledger, list, &[], &[], now, sign).await
    }
}
