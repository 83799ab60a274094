//! A root's key sleeps: it is disabled in KMS except while it signs. Each waking is on record, with an audit entry that
//! says why, before the key is enabled, and until it is disabled again: after a crash, the schedule finds it there.
//!
//! A key that the record does not name is not ours to wake: if it is disabled, somebody else disabled it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Authority, Change, LedgerError, RootRecord, SleepRecord, Waking};
use time::{Duration, OffsetDateTime};
use tracing::{info, warn};

use crate::keys::KeyOf;
use crate::{AuthorityError, CertificateAuthority};

/// Longer than any function that uses a root's key may run (60 s): whoever woke it is dead then.
const AWAKE: Duration = Duration::minutes(2);
/// A key that is awake for longer is counted: something keeps it from being put to sleep.
const TOO_LONG: Duration = Duration::minutes(10);
/// Between two looks of a process at a key that somebody else disabled, and at those that sleep.
const PAUSE: Duration = Duration::HOUR;
/// Tries to change the record despite concurrent changes to it.
const ATTEMPTS: u32 = 5;

tokio::task_local! {
    /// What is carried out now.
    static OPERATION: Arc<Operation>;
}

/// Something for which roots sign, once or several times. The keys stay awake from the first signature to its end.
struct Operation {
    why: &'static str,
    by: Actor,
    /// Random.
    owner: String,
    now: OffsetDateTime,
    /// The keys that it woke, by their root's generation; `None` of a key that does not sleep.
    woken: Mutex<BTreeMap<u32, Option<String>>>,
}

/// A key that this owner woke.
struct Woken {
    key: String,
    owner: String,
}

/// Keys of which the record says nothing, and that somebody else disabled, with the time of the next look.
#[derive(Default)]
pub(crate) struct LeftAlone(Mutex<BTreeMap<u32, OffsetDateTime>>);

impl LeftAlone {
    fn contains(&self, generation: u32, now: OffsetDateTime) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&generation).is_some_and(|until| now < *until)
    }

    fn insert(&self, generation: u32, until: OffsetDateTime) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(generation, until);
    }
}

impl Operation {
    fn knows(&self, generation: u32) -> bool {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&generation)
    }

    fn note(&self, generation: u32, key: Option<&str>) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        woken.insert(generation, key.map(str::to_owned));
    }

    fn woken(&self) -> BTreeMap<u32, Woken> {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(generation, key): (&u32, &Option<String>)| {
            Some((*generation, Woken { key: key.clone()?, owner: self.owner.clone() }))
        };
        woken.iter().filter_map(of).collect()
    }
}

impl CertificateAuthority {
    /// Whether roots' keys sleep from now on. Whoever does not put them to sleep wakes them nevertheless.
    #[must_use]
    pub fn with_sleep(self, sleeps: bool) -> Self {
        Self { sleeps, ..self }
    }

    /// Carries out what roots sign for: their keys are awake from its first signature to its end. Within another
    /// operation, it is a part of that. A key of which KMS does not know yet that it is awake is not put to sleep: the next
    /// attempt finds it awake.
    pub(crate) async fn awake<T>(
        &self,
        why: &'static str,
        by: &Actor,
        now: OffsetDateTime,
        // On the heap: one within the other, they would need a large stack.
        work: Pin<Box<impl Future<Output = Result<T, AuthorityError>>>>,
    ) -> Result<T, AuthorityError> {
        if OPERATION.try_with(|_| ()).is_ok() {
            return work.await;
        }
        let operation =
            Arc::new(Operation { why, by: by.clone(), owner: random_owner()?, now, woken: Mutex::default() });
        let done = OPERATION.scope(Arc::clone(&operation), work).await;
        let woken = operation.woken();
        if !woken.is_empty() && !done.as_ref().is_err_and(AuthorityError::is_waking) {
            self.rest(&woken, now).await;
        }
        done
    }

    /// Wakes those of these keys that sleep, once an operation, or `again` if KMS says that one of them is disabled.
    /// Returns whether one of them is ours to wake, and KMS does not refuse it: one that may not be woken is as good as
    /// one that somebody else disabled, and its use says so.
    pub(crate) async fn wake(&self, keys: &[KeyOf<'_>], again: bool) -> Result<bool, AuthorityError> {
        let Ok(operation) = OPERATION.try_with(Arc::clone) else { return Ok(false) };
        let is_open = |generation: &u32| again || !operation.knows(*generation);
        let open = keys.iter().filter_map(|key| Some((key.of_root()?, key.is_young(operation.now))));
        let keys: BTreeMap<u32, (&str, bool)> =
            open.filter(|((of, _), _)| is_open(of)).map(|((of, key), is_young)| (of, (key, is_young))).collect();
        if keys.is_empty() {
            return Ok(false);
        }
        let ours = self.record_waking(&operation, keys.keys()).await?;
        let mut is_woken = false;
        for (generation, (key, is_young)) in keys {
            if !ours.contains(&generation) {
                operation.note(generation, None);
                continue;
            }
            // Noted first: an answer may be lost.
            operation.note(generation, Some(key));
            match self.vault.enable(key).await {
                Err(error) if error.is_retryable() => return Err(error.into()),
                Err(error) => {
                    is_woken |= is_young && error.may_be_too_early();
                    let error = &error as &dyn std::error::Error;
                    warn!(root.generation = generation, error, "the root's key cannot be woken");
                }
                Ok(()) => is_woken = true,
            }
        }
        Ok(is_woken)
    }

    /// Returns the roots whose keys are ours to wake: those that sleep, and those that another one woke, who leaves it to
    /// this operation to put them to sleep.
    async fn record_waking(
        &self,
        operation: &Operation,
        generations: impl Iterator<Item = &u32> + Clone,
    ) -> Result<BTreeSet<u32>, AuthorityError> {
        let Operation { why, by, owner, now, .. } = operation;
        for _ in 0..ATTEMPTS {
            let mut record = self.ledger.sleep().await?;
            let (mut ours, mut acts) = (BTreeSet::new(), Vec::new());
            for generation in generations.clone() {
                let former = record.awake.get(generation);
                if former.is_none() && !record.asleep.contains(generation) {
                    continue;
                }
                ours.insert(*generation);
                if former.is_some_and(|former| former.owner == *owner) {
                    continue;
                }
                let since = former.map_or(*now, |former| former.since);
                record.asleep.remove(generation);
                record.awake.insert(*generation, waking(owner, since, *now + AWAKE, why));
                acts.push(Act::new(Subject::Root(*generation), Action::Wake, by, *now).with("reason", why));
            }
            if acts.is_empty() {
                return Ok(ours);
            }
            match self.ledger.commit(Change { sleep: Some(&record), acts, ..Change::default() }).await {
                Err(LedgerError::Conflict) => {}
                done => return Ok(done.map(|()| ours)?),
            }
        }
        Err(LedgerError::Conflict.into())
    }

    /// What cannot be put to sleep now, the schedule puts to sleep.
    async fn rest(&self, woken: &BTreeMap<u32, Woken>, now: OffsetDateTime) {
        if let Err(error) = self.put_to_sleep(woken, now).await {
            let error = &error as &dyn std::error::Error;
            warn!(error, "a root's key could not be put to sleep; it is tried again within minutes");
        }
    }

    /// Puts keys to sleep, unless another owner woke them meanwhile; wakes them for good if none sleeps here. One that
    /// refuses keeps no other awake.
    async fn put_to_sleep(&self, woken: &BTreeMap<u32, Woken>, now: OffsetDateTime) -> Result<(), AuthorityError> {
        for _ in 0..ATTEMPTS {
            let mut record = self.ledger.sleep().await?;
            let before = record.clone();
            let mut outcome = Ok(());
            for (generation, Woken { key, owner }) in woken {
                let Some(waking) = record.awake.get(generation).filter(|waking| waking.owner == *owner) else {
                    // Another one took it over, or its root was retired: that key is never ours to wake again.
                    continue;
                };
                // A host of KMS may not know the key yet. After some time, the key is gone.
                let is_gone = waking.since + TOO_LONG <= now;
                let done = if self.sleeps { self.vault.disable(key).await } else { self.vault.enable(key).await };
                match done {
                    Err(error) if !error.is_unusable() || (error.may_be_too_early() && !is_gone) => {
                        outcome = Err(error.into());
                    }
                    _ => {
                        record.awake.remove(generation);
                        if self.sleeps {
                            record.asleep.insert(*generation);
                        }
                    }
                }
            }
            if record == before {
                return outcome;
            }
            match self.ledger.commit(Change { sleep: Some(&record), ..Change::default() }).await {
                Err(LedgerError::Conflict) => {}
                done => return outcome.and(Ok(done?)),
            }
        }
        Err(LedgerError::Conflict.into())
    }

    /// Puts to sleep what a crash left awake, and the keys of which the record says nothing yet: of a root that was just
    /// made, or of an earlier release. Without sleep, wakes all of them for good. Returns how many keys have been awake for
    /// so long that something must be wrong. Reads one record if there is nothing to do; once an hour, sees to it that what
    /// sleeps according to the record is disabled.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if somebody else changed the record meanwhile: repeated in a minute.
    pub async fn keep_asleep(
        &self,
        authority: &Authority,
        by: &Actor,
        now: OffsetDateTime,
    ) -> Result<u64, AuthorityError> {
        let mut record = self.ledger.sleep().await?;
        if self.sleeps && !self.sleep_put_off.is_on(now) {
            self.sleep_put_off.set(now + PAUSE);
            self.disable_again(authority, &record).await?;
        }
        let mut acts = Vec::new();
        let new: BTreeMap<u32, &str> = if self.sleeps {
            self.unnoted(authority, &record, now)
                .await?
                .into_iter()
                .map(|generation| (generation, "it was made"))
                .collect()
        } else {
            record.asleep.iter().map(|generation| (*generation, "RootKeySleeps is off")).collect()
        };
        if !new.is_empty() {
            let owner = random_owner()?;
            for (generation, why) in new {
                if record.asleep.remove(&generation) {
                    acts.push(Act::new(Subject::Root(generation), Action::Wake, by, now).with("reason", why));
                }
                record.awake.insert(generation, waking(&owner, now, now, why));
            }
            self.ledger.commit(Change { sleep: Some(&record), acts, ..Change::default() }).await?;
        }
        if record.awake.values().any(|waking| waking.until <= now) {
            let roots = self.ledger.roots(authority).await?;
            let overdue = record.awake.iter().filter(|(_, waking)| waking.until <= now);
            let of = |(generation, waking): (&u32, &Waking)| {
                let root = roots.iter().find(|root| root.generation == *generation)?;
                Some((*generation, Woken { key: root.key.clone()?, owner: waking.owner.clone() }))
            };
            self.rest(&overdue.filter_map(of).collect(), now).await;
            record = self.ledger.sleep().await?;
        }
        let awake = record.awake.values().filter(|waking| waking.since + TOO_LONG <= now).count();
        Ok(u64::try_from(awake).unwrap_or(u64::MAX))
    }

    /// Somebody may have enabled a key, or a call that enables it was late. Whoever wakes one meanwhile wakes it again.
    async fn disable_again(&self, authority: &Authority, record: &SleepRecord) -> Result<(), AuthorityError> {
        if record.asleep.is_empty() && authority.compromised_roots.is_empty() {
            return Ok(());
        }
        let roots = self.ledger.roots(authority).await?;
        let is_to_sleep = |root: &&RootRecord| record.asleep.contains(&root.generation) || root.compromise.is_some();
        for root in roots.iter().filter(is_to_sleep) {
            let Some(key) = &root.key else { continue };
            match self.vault.disable(key).await {
                Err(error) if !error.is_unusable() => {
                    let error = &error as &dyn std::error::Error;
                    warn!(root.generation = root.generation, error, "it is not known whether the root's key sleeps");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The roots of which the record says nothing, and whose keys are enabled. While a root is being made, none.
    async fn unnoted(
        &self,
        authority: &Authority,
        record: &SleepRecord,
        now: OffsetDateTime,
    ) -> Result<Vec<u32>, AuthorityError> {
        let is_noted = |generation: &u32| record.asleep.contains(generation) || record.awake.contains_key(generation);
        let is_open = |generation: &u32| !is_noted(generation) && !self.left_alone.contains(*generation, now);
        let open: Vec<u32> = (authority.first_generation.max(1)..=authority.last_generation).filter(is_open).collect();
        let mut found = Vec::new();
        if open.is_empty() || authority.is_claimed(now) {
            return Ok(found);
        }
        let roots = self.ledger.roots(authority).await?;
        // A retired root's key, and a compromised one's, is disabled for good.
        let may_sign = |root: &&RootRecord| root.state != GenerationState::Retired && root.compromise.is_none();
        for root in roots.iter().filter(may_sign).filter(|root| open.contains(&root.generation)) {
            let Some((key, certificate)) = root.key_and_certificate() else { continue };
            match self.vault.check(key, certificate).await {
                Ok(()) => found.push(root.generation),
                Err(error) if error.is_retryable() => return Err(error.into()),
                Err(error) if error.may_be_too_early() && KeyOf::from(root).is_young(now) => {}
                Err(error) => {
                    info!(
                        root.generation = root.generation,
                        error = &error as &dyn std::error::Error,
                        "the root's key cannot sign, and is left as it is"
                    );
                    self.left_alone.insert(root.generation, now + PAUSE);
                }
            }
        }
        Ok(found)
    }
}

fn waking(owner: &str, since: OffsetDateTime, until: OffsetDateTime, why: &str) -> Waking {
    Waking { owner: owner.to_owned(), since, until, why: why.to_owned() }
}

fn random_owner() -> Result<String, AuthorityError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(AuthorityError::Random)?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}
