//! Makes a new root: claim, make, publish.

mod claim;

use rootcast_core::audit::Actor;
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_core::job::{Activation, JobId, NewJob, Phase};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_ledger::{Authority, Change, Claim, RootRecord};
use rootcast_pki::name::Subject;
use rootcast_pki::permitted::PermittedNames;
use rootcast_pki::root::{Serial, prepare_root};
use rootcast_vault::KeyRoles;
use time::{Duration, OffsetDateTime};
use tracing::{info, warn};

pub(crate) use self::claim::installed;
use crate::keys::purpose;
use crate::{AuthorityError, CertificateAuthority};

const NOT_MADE: &str = "Root creation failed; see the function's log. Repeat PUT /signingCertificate to resume.";

/// The deployment's settings for its roots.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The CN without the generation.
    pub root_name: String,
    pub subject: Subject,
    pub permitted: PermittedNames,
    pub validity: Duration,
    /// The root's validity starts this long before its creation, because devices' clocks may be slow.
    pub backdate: Duration,
    /// Of a rollover that names no other, in seconds. A first root has none.
    pub hold_down: u32,
    /// The last phase of a rollover that names no other.
    pub until: Phase,
    /// The policy of its key names them.
    pub roles: KeyRoles,
    /// Base URL of the revocation lists, for the address of its own list of authorities. `None`: only the API's own address,
    /// which does not live as long as a root.
    pub crl_base: Option<String>,
}

/// The operator's request.
#[derive(Debug, Clone)]
pub struct RootRequest {
    pub activation: Activation,
    pub rollout: Rollout,
    /// In seconds; `None`: as the settings say.
    pub hold_down: Option<u32>,
    /// The last phase of its job; `None`: as the settings say.
    pub until: Option<Phase>,
    pub requested_for: Option<String>,
}

impl RootRequest {
    /// The job that moves the devices to this root.
    pub(crate) fn job(&self, settings: &Settings, id: JobId, generation: u32, old: Option<u32>) -> NewJob {
        let hold_down = self.hold_down.unwrap_or(if old.is_some() { settings.hold_down } else { 0 });
        NewJob {
            id,
            generation,
            old_generation: old,
            activation: self.activation,
            rollout: Rollout { hold_down, ..self.rollout.clone() },
            until: self.until.unwrap_or(settings.until),
            requested_for: self.requested_for.clone(),
        }
    }
}

/// A published root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    pub generation: u32,
    /// `None` if there are no devices: the root is active already.
    pub job: Option<JobId>,
}

/// A claim that this caller holds.
struct Claimed {
    authority: Authority,
    claim: Claim,
    root: RootRecord,
    /// Another caller began the root.
    taken_over: bool,
}

impl CertificateAuthority {
    /// Makes the next root, or finishes one that a crash left incomplete.
    ///
    /// Takes the same number of calls for ten devices and for a million: it only checks whether the fleet is empty.
    ///
    /// # Errors
    /// [`AuthorityError::Busy`] if a rollover is running; [`AuthorityError::Compromised`].
    pub async fn make_root(
        &self,
        settings: &Settings,
        request: &RootRequest,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Made, AuthorityError> {
        self.make_next_root(settings, request, false, by, now).await
    }

    /// `replaces`: every other root, since one of them is compromised.
    pub(crate) async fn make_next_root(
        &self,
        settings: &Settings,
        request: &RootRequest,
        replaces: bool,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Made, AuthorityError> {
        let claimed = self.claim(settings, request, replaces, by, now).await?;
        let (authority, claim) = (claimed.authority.clone(), claimed.claim.clone());
        let made = Box::pin(self.make_claimed(claimed, settings, request, by, now));
        let job = match self.awake("a root is made and published", by, now, made).await {
            Ok(job) => job,
            Err(error) => {
                self.give_back(authority, claim, now).await;
                return Err(error);
            }
        };
        info!(root.generation = claim.generation, job.id = job.map(|id| id.0), "a new root is published");
        Ok(Made { generation: claim.generation, job })
    }

    async fn make_claimed(
        &self,
        mut claimed: Claimed,
        settings: &Settings,
        request: &RootRequest,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Option<JobId>, AuthorityError> {
        let roles = &settings.roles;
        self.ensure_key(&mut claimed, roles, now).await?;
        match self.sign_root(&mut claimed.root, now).await {
            Err(AuthorityError::KeyUnusable { source, .. }) => {
                warn!(
                    root.generation = claimed.root.generation,
                    error = &source as &dyn std::error::Error,
                    "the root gets another key"
                );
                self.replace_key(&mut claimed, roles, now).await?;
            }
            signed => signed?,
        }
        if claimed.taken_over {
            // Of a crash before. The conductor alone can delete a key; not each end of a job does.
            claimed.authority.unswept.insert(claimed.claim.generation);
        }
        let job = match claimed.claim.job {
            Some(id) => Some(self.ledger.job(id).await?.ok_or(AuthorityError::Missing("job"))?),
            None => None,
        };
        self.publish_root(claimed.authority, claimed.root, job, (settings, request), by, now).await
    }

    /// Releases the claim after a failure, so that the next caller can finish the root at once. If the release fails
    /// too, the claim expires.
    async fn give_back(&self, authority: Authority, claim: Claim, now: OffsetDateTime) {
        let root = self.ledger.root(claim.generation).await.ok().flatten();
        let failed = root.and_then(|root| {
            let failure = Failure::new(ErrorClass::Authority, NOT_MADE);
            let lifecycle = root.lifecycle.fail(root.lifecycle.attempt, &failure, now).ok()?;
            Some(RootRecord { lifecycle, ..root })
        });
        let given_back = Authority { claim: Some(Claim { until: now, ..claim }), ..authority };
        let change = Change { authority: Some(&given_back), roots: failed.iter().collect(), ..Change::default() };
        if let Err(error) = self.ledger.commit(change).await {
            warn!(error = &error as &dyn std::error::Error, "a claim could not be given back and runs out by itself");
        }
    }

    /// A crash after a key is made and before it is recorded leaves a key that only its tags identify. It is not used,
    /// since anybody may have tagged it, but given up with the other unused keys of its root.
    async fn ensure_key(
        &self,
        claimed: &mut Claimed,
        roles: &KeyRoles,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let root = &mut claimed.root;
        if root.key.is_some() {
            return Ok(());
        }
        let purpose = purpose(&claimed.authority, root).ok_or(AuthorityError::Missing("installation"))?;
        root.key = Some(self.vault.create_key(&purpose, root.spec.algorithm, roles).await?);
        root.key_made = Some(now);
        root.life().reach(Stage::ApproveRequest, "Its key is made.", now);
        self.save_root(root).await
    }

    /// The key was disabled or deleted before it signed anything that is recorded. The root is made with another key
    /// and another serial number.
    async fn replace_key(
        &self,
        claimed: &mut Claimed,
        roles: &KeyRoles,
        now: OffsetDateTime,
    ) -> Result<(), AuthorityError> {
        let root = &mut claimed.root;
        (root.key, root.tbs, root.spec.serial) = (None, None, random_serial()?);
        self.save_root(root).await?;
        self.ensure_key(claimed, roles, now).await?;
        self.sign_root(&mut claimed.root, now).await
    }

    async fn sign_root(&self, root: &mut RootRecord, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let key = root.key.clone().ok_or(AuthorityError::Missing("key"))?;
        let algorithm = root.spec.algorithm;
        let public_key = self.patiently(&*root, now, || self.vault.public_key(&key, algorithm)).await?;
        let prepared = prepare_root(&root.spec, &public_key)?;
        match root.tbs {
            Some(tbs) if tbs != prepared.tbs_sha256() => return Err(AuthorityError::NotAsReserved),
            Some(_) => {}
            None => {
                root.tbs = Some(prepared.tbs_sha256());
                root.life().reach(Stage::RetrieveCertificate, "What is to be signed is on record.", now);
                self.save_root(root).await?;
            }
        }
        let (vault, key, spec, public_key) = (&self.vault, &key, &root.spec, &public_key);
        let sign = || async move { vault.sign_prepared(key, prepare_root(spec, public_key)?).await };
        root.certificate = Some(self.patiently(&*root, now, sign).await?);
        Ok(())
    }
}

pub(crate) fn random_serial() -> Result<Serial, AuthorityError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(AuthorityError::Random)?;
    Ok(Serial::from_random(random))
}
