//! The claim: the exclusive right to make the next root. Taken before anything of the root is made, and taken over
//! after its holder crashed.

use rootcast_core::audit::{self, Act, Action, Actor};
use rootcast_core::deployment::lifecycle::{Lifecycle, Work};
use rootcast_core::installation::InstallationId;
use rootcast_core::job::{Activation, Job};
use rootcast_core::preflight::since::LastPreflight;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_core::rollover::restore::{Counters, Evidence, admitted, is_plausible};
use rootcast_ledger::{Authority, Change, Claim, LedgerError, RootRecord};
use rootcast_pki::bundle::ROOTS_THAT_FIT;
use rootcast_pki::crl::CrlId;
use rootcast_pki::root::{ROOT_CRL, RootSpec};
use time::{Duration, OffsetDateTime};
use tracing::{info, warn};

use super::{Claimed, RootRequest, Settings, random_serial};
use crate::anchors::has_room;
use crate::{AuthorityError, CertificateAuthority};

/// Longer than any function that makes a root may run (29 s): the holder of an older claim is dead.
const CLAIM: Duration = Duration::seconds(60);
/// Tries to claim despite changes of the authority's record that make no root.
const ATTEMPTS: u32 = 3;

impl CertificateAuthority {
    pub(super) async fn claim(
        &self,
        settings: &Settings,
        request: &RootRequest,
        replaces: bool,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Claimed, AuthorityError> {
        for _ in 0..ATTEMPTS {
            let before = self.ledger.authority().await?;
            match before.replacing.last() {
                Some(compromised) if !replaces => return Err(AuthorityError::Compromised(*compromised)),
                // Another request has replaced it meanwhile.
                None if replaces => return Err(AuthorityError::Busy(before.running)),
                _ => {}
            }
            let claimed = match &before.claim {
                Some(claim) if claim.until > now => return Err(AuthorityError::Busy(claim.job)),
                Some(claim) => self.take_over(&before, claim, now).await,
                None if before.running.is_some() => return Err(AuthorityError::Busy(before.running)),
                None => self.claim_next(&before, settings, request, by, now).await,
            };
            match claimed {
                Err(AuthorityError::Ledger(error @ LedgerError::Conflict)) => {
                    let winner = self.ledger.authority().await?;
                    if winner.revision == before.revision {
                        return Err(error.into());
                    }
                    let roots = |authority: &Authority| (authority.last_generation, authority.claim.clone());
                    if roots(&winner) != roots(&before) || winner.running != before.running {
                        // Two concurrent calls: the other one won.
                        return Err(AuthorityError::Busy(winner.claim.and_then(|claim| claim.job).or(winner.running)));
                    }
                    // The conductor changed something else: the issuing authority, or the bundle's end.
                }
                other => return other,
            }
        }
        Err(LedgerError::Conflict.into())
    }

    async fn take_over(
        &self,
        before: &Authority,
        claim: &Claim,
        now: OffsetDateTime,
    ) -> Result<Claimed, AuthorityError> {
        let claim = Claim { until: now + CLAIM, ..claim.clone() };
        // A restored table may contain a claim that was fulfilled long ago.
        let listed = self.ledger.fleet_shards().await?.iter().any(|shard| shard.approved > 0);
        self.admitted(before, listed).await?;
        let mut authority = Authority { claim: Some(claim.clone()), ..installed(before)? };
        let mut root = self.ledger.root(claim.generation).await?.ok_or(AuthorityError::Missing("root"))?;
        // After a crash no failure is on record, and there is nothing to retry.
        let retried = root.lifecycle.retry(now).map(|lifecycle| root.lifecycle = lifecycle).is_ok();
        let roots = if retried { vec![&root] } else { Vec::new() };
        self.ledger.commit(Change { authority: Some(&authority), roots, ..Change::default() }).await?;
        authority.revision += 1;
        root.revision += u64::from(retried);
        info!(root.generation = claim.generation, "an interrupted root creation is resumed");
        Ok(Claimed { authority, claim, root, taken_over: true })
    }

    /// Records the intent before anything exists: the generation, its spec, its job, and who asked for it.
    async fn claim_next(
        &self,
        before: &Authority,
        settings: &Settings,
        request: &RootRequest,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<Claimed, AuthorityError> {
        let (policy, shards) = tokio::try_join!(self.ledger.policy(), self.ledger.fleet_shards())?;
        let has_devices = shards.iter().any(|shard| shard.approved > 0);
        let before = &self.admitted(before, has_devices).await?;
        let generation = before.last_generation + 1;
        // One that replaces all others needs no room beside them.
        if before.replacing.is_empty() && (generation > ROOTS_THAT_FIT || before.has_anchors) {
            self.find_room(before, now).await?;
        }
        let (not_before, not_after) = self.validity(before, settings, now).await?;
        let list = settings.crl_base.as_deref().map(|base| CrlId::authorities(generation).url(base));
        let mut root = RootRecord {
            revision: 0,
            generation,
            state: GenerationState::Reserved,
            spec: RootSpec {
                generation,
                root_name: settings.root_name.clone(),
                subject: settings.subject.clone(),
                algorithm: policy.algorithm,
                serial: random_serial()?,
                not_before,
                not_after,
                permitted: settings.permitted.clone(),
                crl: list.filter(|url| url.len() <= ROOT_CRL),
            },
            key: None,
            key_made: None,
            tbs: None,
            certificate: None,
            new_with_old: None,
            old_with_new: None,
            last_issuing: 0,
            retirement: None,
            compromise: None,
            lifecycle: Lifecycle::idle(Work::Root, "").begin(Work::Root, "Its key is to be made.", now),
            created: now,
        };
        // Drawn before the claim: if another caller wins the claim, this leaves a gap in the ids.
        let id = if has_devices { Some(self.ledger.next_job_id().await?) } else { None };
        // A compromise does not wait for a comparison.
        let since = match before.replacing.is_empty() {
            true => self.since_preflight(before, now).await?,
            false => None,
        };
        let job = id.map(|id| Job {
            compromised: before.replacing.clone(),
            since,
            ..Job::new(request.job(settings, id, generation, before.signing), now)
        });
        let claim = Claim { generation, job: id, until: now + CLAIM };
        let mut authority = Authority {
            last_generation: generation,
            running: claim.job,
            preflight: before.preflight.map(LastPreflight::overtake),
            claim: Some(claim.clone()),
            ..installed(before)?
        };
        self.ledger
            .commit(Change {
                authority: Some(&authority),
                roots: vec![&root],
                job: job.as_ref(),
                new_job: has_devices,
                acts: created(&root, job.as_ref(), request, by),
                ..Change::default()
            })
            .await?;
        authority.revision += 1;
        root.revision = 1;
        Ok(Claimed { authority, claim, root, taken_over: false })
    }

    /// Checked before anything of a new root is recorded: a root that cannot be published would block every later one.
    async fn find_room(&self, before: &Authority, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let (roots, anchors) = tokio::try_join!(self.ledger.roots(before), self.ledger.anchors(before))?;
        if has_room(&roots, &anchors, 1, now) {
            return Ok(());
        }
        Err(AuthorityError::ManyRoots(roots.iter().filter(|root| root.state.is_live()).count()))
    }

    /// The counters from which the next root is numbered. An installation's first write takes into account the keys
    /// that an earlier stack of this name left: they are alive, and their generations are not reused.
    ///
    /// # Errors
    /// [`AuthorityError::Behind`] if a key or a device shows something that no record has: the tables were restored.
    /// `has_devices`: the fleet's lists are not empty.
    pub(crate) async fn admitted(&self, before: &Authority, has_devices: bool) -> Result<Authority, AuthorityError> {
        let mut keys = self.vault.keys_of_stack().await?;
        keys.retain(|key| {
            let plausible = is_plausible(key.generation, before.last_generation);
            if !plausible {
                warn!(key = key.arn, root.generation = key.generation, "a key's tag is not believed: who wrote it?");
            }
            plausible
        });
        // Samples some devices, at the same cost for every fleet: a restored table is behind nearly all of them. If
        // only a root's first wave was lost, its key shows it. Anything that only a few devices show is found by
        // `rootcast restore`, which reads all.
        let goals = self.ledger.goals(false).await?;
        let seen = Evidence {
            key_generation: keys.iter().map(|key| key.generation).max(),
            device_bundle: goals.highest,
            unlisted: goals.approved && !has_devices,
            ..Evidence::default()
        };
        let admitted = match admitted(before.counters(), &seen) {
            // Another caller may have made a root, or brought one to the devices, since the record was read.
            Err(_) if self.ledger.authority().await?.revision != before.revision => {
                return Err(LedgerError::Conflict.into());
            }
            admitted => admitted?,
        };
        if before.revision > 0 {
            return Ok(before.clone());
        }
        if admitted.generation > 0 {
            info!(
                root.generation = admitted.generation + 1,
                "an earlier stack of this name left keys: generations are counted on after them"
            );
        }
        let Counters { generation, bundle, .. } = admitted;
        Ok(Authority {
            first_generation: generation + 1,
            last_generation: generation,
            last_bundle: bundle,
            ..before.clone()
        })
    }

    /// Never starts before the active root's validity: otherwise the link between the two could not be made.
    async fn validity(
        &self,
        before: &Authority,
        settings: &Settings,
        now: OffsetDateTime,
    ) -> Result<(OffsetDateTime, OffsetDateTime), AuthorityError> {
        let signing = match before.signing {
            Some(generation) => self.ledger.root(generation).await?,
            None => None,
        };
        let signing = signing.and_then(|root| root.certificate).map(|certificate| certificate.not_before());
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let not_before = now - settings.backdate;
        Ok((signing.map_or(not_before, |earliest| not_before.max(earliest)), now + settings.validity))
    }
}

/// The audit entries of the request: for the root, and for the job that brings it to the devices.
fn created(root: &RootRecord, job: Option<&Job>, request: &RootRequest, by: &Actor) -> Vec<Act> {
    let mut created = Act::new(audit::Subject::Root(root.generation), Action::Create, by, root.created);
    if request.activation == Activation::Immediate {
        created = created.with("activation", "immediate");
    }
    if let Some(reason) = &request.requested_for {
        created = created.with("reason", reason);
    }
    let Some(job) = job else { return vec![created] };
    let of_job = created.clone().about(audit::Subject::Job(job.id)).with("generation", root.generation);
    vec![of_job, created.with("job", job.id)]
}

/// Adds an installation id if there is none yet.
pub(crate) fn installed(authority: &Authority) -> Result<Authority, AuthorityError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(AuthorityError::Random)?;
    let installation = authority.installation.unwrap_or(InstallationId::from_random(random));
    Ok(Authority { installation: Some(installation), ..authority.clone() })
}
