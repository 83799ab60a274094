//! Revocation lists: what the next version of a list contains, and its publication despite concurrent changes.
//!
//! A list is created before the first certificate that names it, and renewed after a revocation and at half of its
//! lifetime. Issuing authorities' lists are signed by another function than roots' lists: the signature is the caller's.

use std::collections::HashSet;

use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{CrlHead, CrlRecord, IssuingRecord, Ledger, LedgerError, Retirement, RevokedRecord, RootRecord};
use rootcast_pki::crl::{self, Crl, CrlId, CrlSpec, Reason, Revoked, names};
use rootcast_pki::root::{IssueError, Serial};
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use tracing::{debug, info};

/// Tries to publish a list despite concurrent changes to it.
const ATTEMPTS: u32 = 5;

/// Between two wakings of a root's key for lists that lack only superseded certificates.
const REST: Duration = Duration::DAY;

/// What is recorded makes no list.
#[derive(Debug, Error)]
#[error("{list} cannot be made: {source}")]
pub struct NotMade {
    pub list: CrlId,
    #[source]
    pub source: IssueError,
}

/// A revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub revoked: Revoked,
    /// Some time after it, the lists no longer contain the certificate.
    pub not_after: OffsetDateTime,
}

impl From<&RevokedRecord> for Entry {
    fn from(record: &RevokedRecord) -> Self {
        let revoked = Revoked { serial: record.serial, at: record.at, reason: record.reason };
        Self { revoked, not_after: record.not_after }
    }
}

/// The entries of a root's list of authorities, from the records of those below it.
pub fn of_authorities<'a>(below: impl IntoIterator<Item = &'a IssuingRecord>) -> Vec<Entry> {
    let entry = |issuing: &IssuingRecord| {
        let revoked = issuing.revoked.as_ref()?;
        let revoked = Revoked { serial: issuing.spec.serial, at: revoked.at, reason: revoked.reason };
        Some(Entry { revoked, not_after: issuing.spec.not_after })
    };
    below.into_iter().filter_map(entry).collect()
}

/// The entry of a root's list for its link to an older root that is compromised: whoever trusts the newer one would trust the
/// older one's key through it.
pub fn of_compromised_link(root: &RootRecord, roots: &[RootRecord]) -> Option<Entry> {
    let link = root.old_with_new.as_ref()?;
    let signed = link.certificate.as_ref()?;
    let is_linked =
        |older: &RootRecord| older.certificate.as_ref().is_some_and(|it| it.spki_der() == signed.spki_der());
    let compromise = roots.iter().find(|older| is_linked(older))?.compromise.as_ref()?;
    let revoked = Revoked { serial: link.spec.serial, at: compromise.at, reason: Reason::CaCompromise };
    Some(Entry { revoked, not_after: signed.not_after() })
}

/// Whether anybody may still verify a certificate below the root: then its lists are renewed.
pub fn is_kept(root: &RootRecord, now: OffsetDateTime) -> bool {
    let given_up = matches!(root.state, GenerationState::Retired | GenerationState::Abandoned);
    // The key of a compromised one is disabled.
    !given_up
        && root.compromise.is_none()
        && root.certificate.as_ref().is_some_and(|certificate| certificate.not_after() > now)
}

/// Whether anybody may still verify a certificate of this issuing authority, which is below the root.
pub fn is_kept_below(root: &RootRecord, issuing: &IssuingRecord, now: OffsetDateTime) -> bool {
    let certifies = issuing.certificate.as_ref().is_some_and(|certificate| certificate.not_after() > now);
    let needed = |retirement: &Retirement| retirement.needs_lists(issuing, now);
    certifies && root.state != GenerationState::Abandoned && root.retirement.as_ref().is_none_or(needed)
}

/// Whether the list must be made again, as far as its record says.
fn is_due(published: &CrlHead, now: OffsetDateTime) -> bool {
    published.behind || crl::is_due(published.this_update, published.next_update, now)
}

/// Those of one signer's sharded lists that are to be made now. A root's key is not woken more often than once a day for
/// certificates that others took the place of; once it is awake, all lists that are behind are made.
pub fn due(lists: &[CrlHead], now: OffsetDateTime) -> Vec<&CrlHead> {
    let newest = lists.iter().map(|each| each.this_update).max();
    let is_rested = newest.is_none_or(|newest| now - newest >= REST);
    let is_pressing = |each: &CrlHead| {
        let waits = each.list.signer().is_root() && !each.urgent && !is_rested;
        (each.behind && !waits) || crl::is_due(each.this_update, each.next_update, now)
    };
    let sharded = || lists.iter().filter(|each| each.list.shard().is_some());
    if sharded().any(is_pressing) { sharded().filter(|each| is_due(each, now)).collect() } else { Vec::new() }
}

/// Whether a list with these contents lacks any of the entries, or a reason.
fn lacks(list: CrlId, earlier: &[Revoked], entries: &[Entry], now: OffsetDateTime) -> bool {
    let is_there = |Entry { revoked, .. }: &Entry| {
        earlier.iter().any(|each| (each.serial, each.reason) == (revoked.serial, revoked.reason))
    };
    entries.iter().any(|entry| names(list, entry.not_after, now) && !is_there(entry))
}

/// Publishes the list if that is due, or if it lacks one of `urls` or of `entries`. Without `urls`, only a published list
/// is renewed: a list that no certificate names is not needed. `entries`: those that are recorded elsewhere, of a root's
/// list of authorities. `until`: the list has to be valid until then, since it may be the last one. `sign` is called again after each conflict with another writer.
///
/// # Errors
/// [`LedgerError::Conflict`] if other writers were first each time, and the errors of `sign`.
pub async fn publish<E, F>(
    ledger: &Ledger,
    list: CrlId,
    urls: &[&str],
    entries: &[Entry],
    until: Option<OffsetDateTime>,
    now: OffsetDateTime,
    sign: impl Fn(CrlSpec) -> F,
) -> Result<(), E>
where
    E: From<LedgerError> + From<NotMade>,
    F: Future<Output = Result<Crl, E>>,
{
    for _ in 0..ATTEMPTS {
        let (published, revoked) = ledger.crl_and_revoked(list).await?;
        let entries: Vec<Entry> = revoked.iter().map(Entry::from).chain(entries.iter().cloned()).collect();
        let earlier = published.as_ref().map_or(Ok(Vec::new()), |published| published.crl.revoked());
        let earlier = earlier.map_err(|source| NotMade { list, source })?;
        let Some(spec) = next(list, published.as_ref(), &earlier, &entries, urls, until, now) else { return Ok(()) };
        let crl = sign(spec.clone()).await?;
        let CrlSpec { list, number, this_update, next_update, urls, revoked } = spec;
        let revision = published.map_or(0, |published| published.revision);
        let record =
            CrlRecord { list, revision, crl, number, this_update, next_update, urls, behind: false, urgent: false };
        match ledger.publish_crl(&record).await {
            Ok(()) => {
                info!(crl = %list, crl.number = number, crl.revoked = revoked.len(), "a revocation list is published");
                return Ok(());
            }
            Err(LedgerError::Conflict) => {
                debug!(crl = %list, "the list was changed meanwhile")
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(LedgerError::Conflict.into())
}

/// The spec of the list to publish, if there is one. What the published list names (`earlier`) and no entry does stays
/// on it: it is not known when it expires. Pure.
fn next(
    list: CrlId,
    published: Option<&CrlRecord>,
    earlier: &[Revoked],
    entries: &[Entry],
    urls: &[&str],
    until: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Option<CrlSpec> {
    let mut named = published.map(|published| published.urls.clone()).unwrap_or_default();
    let before = named.len();
    for url in urls {
        if !named.iter().any(|known| known == url) {
            named.push((*url).to_owned());
        }
    }
    let ends_early = |published: &CrlRecord| until.is_some_and(|until| published.next_update < until);
    let is_due = |published: &CrlRecord| {
        is_due(&published.into(), now) || ends_early(published) || lacks(list, earlier, entries, now)
    };
    if named.len() == before && !published.is_some_and(is_due) {
        return None;
    }
    // Never earlier than the previous list's.
    let this_update = published.map_or(now, |published| now.max(published.this_update));
    let this_update = this_update.replace_nanosecond(0).unwrap_or(this_update);
    let revoked = entries.iter().filter(|each| names(list, each.not_after, this_update));
    let recorded: HashSet<Serial> = entries.iter().map(|each| each.revoked.serial).collect();
    let unrecorded = earlier.iter().filter(|each| !recorded.contains(&each.serial));
    Some(CrlSpec {
        list,
        number: published.map_or(0, |published| published.number) + 1,
        this_update,
        next_update: until.unwrap_or(this_update).max(this_update + list.lifetime()),
        urls: named,
        revoked: revoked.map(|each| &each.revoked).chain(unrecorded).cloned().collect(),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
