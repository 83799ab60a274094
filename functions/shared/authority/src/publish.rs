//! Bundles: signed by every live generation, stored with what made them necessary.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::bundle::{Bundle, SignedBundle};
use rootcast_core::certificate::Certificate;
use rootcast_core::generation::GenerationState;
use rootcast_core::job::Job;
use rootcast_core::lifecycle::Stage;
use rootcast_ledger::{Authority, BundleRecord, Change, Conducting, LedgerError, RootRecord};
use time::OffsetDateTime;
use tracing::info;

use crate::{AuthorityError, CertificateAuthority};

impl CertificateAuthority {
    /// The new root joins the bundle. Without a job there is nobody to wait for, and it signs at once.
    pub(crate) async fn publish_root(
        &self,
        mut authority: Authority,
        mut root: RootRecord,
        mut job: Option<Job>,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut roots = self.ledger.roots(&authority).await?;
        roots.retain(|other| other.generation != root.generation);
        let (mut old, mut acts, mut fleet) = (None, Vec::new(), Vec::new());
        if job.is_none() {
            // Whoever is approved meanwhile has not proved anything: the switch demands that there is still nobody.
            let shards = self.ledger.fleet_shards().await?;
            if shards.iter().any(|shard| shard.approved > 0) {
                return Err(LedgerError::Conflict.into());
            }
            fleet = (0..).zip(&shards).map(|(shard, record)| (shard, record.revision)).collect();
            old = roots.iter().find(|other| Some(other.generation) == authority.signing).cloned();
            self.sign_links(&mut root, old.as_ref()).await?;
            authority.signing = Some(root.generation);
            acts.push(Act::new(Subject::Root(root.generation), Action::Activate, by, now));
        }
        root.state = if job.is_none() { GenerationState::Signing } else { GenerationState::Published };
        if job.is_none() {
            root.finish(now);
        } else {
            root.reach(Stage::UpdateTrustStore, "It is published, and on its way to the devices.", now);
        }
        roots.push(root.clone());
        let bundle = self.sign_bundle(&authority, &roots, now).await?;
        authority.bundle = bundle.bundle.version;
        authority.claim = None;
        if let Some(old) = &mut old {
            old.state = GenerationState::Superseded;
        }
        if let Some(job) = &mut job {
            job.publish(authority.bundle);
            job.updated = now;
        }
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: std::iter::once(&root).chain(&old).collect(),
                bundle: Some(&bundle),
                job: job.as_ref(),
                acts,
                fleet,
                ..Change::default()
            })
            .await?;
        Ok(())
    }

    /// The job is aborted: a bundle without its root goes out, and the root is never used.
    /// `held`: the conductor's.
    pub async fn withdraw_root(
        &self,
        job: &mut Job,
        held: Option<&Conducting>,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let mut authority = self.ledger.authority().await?;
        let mut roots = self.ledger.roots(&authority).await?;
        let root = roots.iter_mut().find(|root| root.generation == job.generation);
        let root = root.ok_or(AuthorityError::Missing("root"))?;
        root.state = GenerationState::Abandoned;
        if let Ok(given_up) = root.lifecycle.reset("Its rollover was aborted before it signed anything.", now) {
            root.lifecycle = given_up;
        }
        let root = root.clone();
        let bundle = self.sign_bundle(&authority, &roots, now).await?;
        authority.bundle = bundle.bundle.version;
        job.withdraw(authority.bundle, now);
        job.updated = now;
        let act = Act::new(Subject::Root(root.generation), Action::Withdraw, by, now).with("job", job.id);
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: vec![&root],
                bundle: Some(&bundle),
                job: Some(job),
                acts: vec![act],
                conducting: held,
                ..Change::default()
            })
            .await?;
        job.revision += 1;
        info!(root.generation = root.generation, "an aborted root is withdrawn");
        Ok(())
    }

    /// The next version. A device that holds any of its anchors can verify it; what was withdrawn once stays named, for
    /// devices that missed it.
    async fn sign_bundle(
        &self,
        authority: &Authority,
        roots: &[RootRecord],
        now: OffsetDateTime,
    ) -> Result<BundleRecord, AuthorityError> {
        let live = || roots.iter().filter(|root| root.state.is_live());
        let bundle = Bundle {
            version: authority.bundle + 1,
            anchors: live().filter_map(|root| root.certificate.clone()).collect(),
            withdrawn: roots
                .iter()
                .filter(|root| !root.state.is_live())
                .filter_map(|root| root.certificate.as_ref().map(Certificate::fingerprint))
                .collect(),
            issued: now.replace_nanosecond(0).unwrap_or(now),
        };
        let mut signed = SignedBundle::new(&bundle);
        for root in live() {
            let (key, certificate) = root.key_and_certificate().ok_or(AuthorityError::Missing("certificate"))?;
            self.vault.confirm(key, certificate).await?;
            self.vault.sign_bundle(key, certificate, &mut signed).await?;
        }
        Ok(BundleRecord { bundle, jws: signed.to_json() })
    }
}
