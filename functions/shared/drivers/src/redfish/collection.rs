//! Slots with one certificate per member: missing ones are added, unwanted ones deleted, and all others left
//! unchanged.

use http::Method;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::json;

use super::Goal;
use super::absence;
use super::clock;
use super::link::Link;
use super::listing::Listing;
use super::monitor::{Stop, write};
use super::session::Session;
use super::slot::TrustSlot;
use crate::pem::Anchor;
use crate::trust::Converged;

/// `earlier`: how a write of an earlier attempt ended; only relevant if its effect is missing.
pub(super) async fn converge(
    session: &mut Session<'_>,
    slot: &mut TrustSlot,
    goal: &Goal,
    earlier: Result<(), Failure>,
) -> Result<Converged, Stop> {
    let mut listing = Listing::read(session, slot).await?;
    let (mut changed, mut written) = (make_room(session, slot, goal, &mut listing).await?, false);
    for anchor in &goal.install {
        if !listing.holds(&anchor.fingerprint) {
            earlier.clone()?;
            changed |= install(session, slot, anchor, goal).await? == Written::Now;
            written = true;
        }
    }
    if written {
        listing = Listing::read(session, slot).await?;
        proven(&goal.install, &listing).map_err(|failure| by_clock(session, &goal.install, failure))?;
    }
    // What an empty list says: members that were seen, and whose deletion was confirmed, are gone.
    let mut is_served = !listing.members.is_empty();
    // Delete only after the new anchors are proven: a device that stores nothing keeps its old anchors.
    for fingerprint in &goal.remove {
        while let Some(member) = removable(&listing, fingerprint)? {
            earlier.clone()?;
            let before = listing.members.len();
            is_served &= remove(session, &member).await?;
            changed = true;
            listing = Listing::read(session, slot).await?;
            if listing.members.len() >= before && listing.holds(fingerprint) {
                return Err(kept(fingerprint).into());
            }
        }
    }
    if listing.members.is_empty() && !goal.remove.is_empty() && !is_served {
        absence::proven(session, slot, absence::RESTART).await?;
    }
    // Not a change: whoever lost such an anchor has lost nothing that it had proven.
    if install_optional(session, slot, goal, &listing).await? {
        listing = Listing::read(session, slot).await?;
    }
    // A device may have dropped one certificate when it stored another.
    proven(&goal.install, &listing)?;
    Ok(Converged { held: listing.held(), changed })
}

/// In a slot without enough places, what is to be removed anyway goes first, but never the last certificate. Returns
/// whether something was removed.
async fn make_room(
    session: &mut Session<'_>,
    slot: &mut TrustSlot,
    goal: &Goal,
    listing: &mut Listing,
) -> Result<bool, Stop> {
    let missing = goal.install.iter().filter(|anchor| !listing.holds(&anchor.fingerprint)).count();
    let lacking = |held: usize| slot.limit.is_some_and(|limit| missing > 0 && held > 1 && held + missing > limit);
    let mut withdrawn = Vec::new();
    for fingerprint in &goal.remove {
        if lacking(listing.members.len() - withdrawn.len()) {
            withdrawn.extend(removable(listing, fingerprint)?);
        }
    }
    for member in &withdrawn {
        remove(session, member).await?;
    }
    if !withdrawn.is_empty() {
        *listing = Listing::read(session, slot).await?;
    }
    Ok(!withdrawn.is_empty())
}

/// For anchors that the device need not hold. Returns whether something was written.
async fn install_optional(
    session: &mut Session<'_>,
    slot: &mut TrustSlot,
    goal: &Goal,
    listing: &Listing,
) -> Result<bool, Stop> {
    let missing: Vec<_> = goal.optional.iter().filter(|anchor| !listing.holds(&anchor.fingerprint)).collect();
    let free = slot.limit.map_or(usize::MAX, |limit| limit.saturating_sub(listing.members.len()));
    let mut changed = false;
    for anchor in missing.into_iter().take(free) {
        match install(session, slot, anchor, goal).await {
            Ok(written) => changed |= written == Written::Now,
            Err(Stop::Failed(failure)) if is_refusal(&failure) => {
                tracing::warn!(anchor = %anchor.fingerprint, why = failure.message, "the device does not take an anchor that it need not hold");
                break;
            }
            Err(stop) => return Err(stop),
        }
    }
    Ok(changed)
}

/// The device answered, and did not take the certificate.
const fn is_refusal(failure: &Failure) -> bool {
    matches!(
        failure.class,
        ErrorClass::StoreFull | ErrorClass::Rejected | ErrorClass::ServerError | ErrorClass::NotYetValid
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Now,
    /// The device held it all the time, and had not listed it.
    Before,
}

/// After a failure, the slot's listing decides: devices answer 500 for an existing certificate, and time out after
/// storing.
async fn install(
    session: &mut Session<'_>,
    slot: &mut TrustSlot,
    anchor: &Anchor,
    goal: &Goal,
) -> Result<Written, Stop> {
    let body = json!({"CertificateString": anchor.to_pem(), "CertificateType": "PEM"});
    let failure = match write(session, Method::POST, &slot.collection, Some(&body)).await {
        Err(Stop::Failed(failure)) if has_second_chance(&failure) => failure,
        outcome => return outcome.map(|()| Written::Now),
    };
    let failure = match Listing::read(session, slot).await {
        Ok(listing) if listing.holds(&anchor.fingerprint) => {
            return Ok(if is_refusal(&failure) { Written::Before } else { Written::Now });
        }
        Ok(listing) => full(slot, &listing, goal, failure),
        Err(_) => failure,
    };
    Err(by_clock(session, std::slice::from_ref(anchor), failure).into())
}

/// Reclassifies the failure if the device's clock explains it.
pub(super) fn by_clock(session: &Session<'_>, written: &[Anchor], failure: Failure) -> Failure {
    let common =
        written.iter().filter_map(Anchor::validity).reduce(|one, other| (one.0.max(other.0), one.1.min(other.1)));
    match common {
        Some(validity) => clock::judged(failure, session.connection.clock(), validity),
        None => failure,
    }
}

/// Devices report a full store in many ways (OpenBMC 500, XCC 409): if the limit is known, it decides.
fn full(slot: &TrustSlot, listing: &Listing, goal: &Goal, failure: Failure) -> Failure {
    let answered = matches!(failure.class, ErrorClass::ServerError | ErrorClass::Rejected);
    let places = match slot.limit {
        Some(limit) if answered && listing.members.len() >= limit => format!("All {limit} places are taken."),
        _ if failure.class == ErrorClass::StoreFull => "The trust store is full.".to_owned(),
        _ => return failure,
    };
    let message = format!("{places}{} {}", dispensable(listing, goal), failure.message);
    Failure::new(ErrorClass::StoreFull, message)
}

/// What may go, most obvious first: what is to be removed anyway, roots that sign no more, then certificates of others.
fn dispensable(listing: &Listing, goal: &Goal) -> String {
    let any = |list: &[Anchor], anchor: &Anchor| list.contains(anchor);
    let held = || listing.anchors().filter(|anchor| !any(&goal.install, anchor));
    let named = |what: &str, chosen: &dyn Fn(&Anchor) -> bool| {
        let names: Vec<String> = held().filter(|anchor| chosen(anchor)).map(Anchor::name).collect();
        let more = names.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        match names.get(..names.len().min(NAMED)) {
            None | Some([]) => String::new(),
            Some(first) => format!(" {what}: {}{more}.", first.join(", ")),
        }
    };
    let is_withdrawn = |anchor: &Anchor| goal.remove.contains(&anchor.fingerprint);
    let is_superseded = |anchor: &Anchor| any(&goal.optional, anchor);
    [
        named("To be removed", &is_withdrawn),
        named("Superseded roots, which may go", &is_superseded),
        named("Not from Rootcast", &|anchor| !is_withdrawn(anchor) && !is_superseded(anchor)),
    ]
    .concat()
}

/// Certificates named of each kind, so that the device's own words still fit.
const NAMED: usize = 2;

/// Whether the device confirmed it. Otherwise the member may have been gone already: the next listing decides.
async fn remove(session: &mut Session<'_>, member: &Link) -> Result<bool, Stop> {
    match write(session, Method::DELETE, member, None).await {
        Err(Stop::Failed(failure)) if failure.class == ErrorClass::Unsupported => Ok(false),
        outcome => outcome.map(|()| true),
    }
}

/// The member to delete. A member that also holds other certificates is not deleted.
fn removable(listing: &Listing, fingerprint: &Fingerprint) -> Result<Option<Link>, Failure> {
    let mut members = listing.members.iter();
    let holding = members.find(|member| member.anchors.iter().any(|anchor| anchor.fingerprint == *fingerprint));
    let Some(member) = holding else { return Ok(None) };
    if member.anchors.iter().any(|anchor| anchor.fingerprint != *fingerprint) {
        let message = format!("{} holds other certificates beside {fingerprint}; it is not deleted.", member.link);
        return Err(Failure::new(ErrorClass::Rejected, message));
    }
    Ok(Some(member.link.clone()))
}

pub(super) fn proven(installed: &[Anchor], listing: &Listing) -> Result<(), Failure> {
    match installed.iter().find(|anchor| !listing.holds(&anchor.fingerprint)) {
        None => Ok(()),
        Some(missing) => {
            let message = format!(
                "The device accepted the certificate {} but lists {} others.",
                missing.fingerprint,
                listing.members.len()
            );
            Err(Failure::new(ErrorClass::NotStored, message))
        }
    }
}

pub(super) fn kept(fingerprint: &Fingerprint) -> Failure {
    let message = format!("The device accepted to delete the certificate {fingerprint} but still lists it.");
    Failure::new(ErrorClass::NotStored, message)
}

/// A refused credential is not used again, and a peer with another certificate is not our device.
pub(super) const fn has_second_chance(failure: &Failure) -> bool {
    !matches!(failure.class, ErrorClass::Unauthorized | ErrorClass::PinMismatch)
}
