//! Slots with one certificate per member: missing ones are added, unwanted ones deleted, and all others left
//! unchanged.

use http::Method;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::json;

use super::Goal;
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
    let mut changed = false;
    for anchor in &goal.install {
        if !listing.holds(&anchor.fingerprint) {
            earlier.clone()?;
            install(session, slot, anchor).await?;
            changed = true;
        }
    }
    if changed {
        listing = Listing::read(session, slot).await?;
        proven(&goal.install, &listing).map_err(|failure| by_clock(session, &goal.install, failure))?;
    }
    // Delete only after the new anchors are proven: a device that stores nothing keeps its old anchors.
    for fingerprint in &goal.remove {
        while let Some(member) = removable(&listing, fingerprint)? {
            earlier.clone()?;
            let before = listing.members.len();
            remove(session, &member).await?;
            changed = true;
            listing = Listing::read(session, slot).await?;
            if listing.members.len() >= before && listing.holds(fingerprint) {
                return Err(kept(fingerprint).into());
            }
        }
    }
    // A device may have dropped one certificate when it stored another.
    proven(&goal.install, &listing)?;
    Ok(Converged { held: listing.held(), changed })
}

/// After a failure, the slot's listing decides: devices answer 500 for an existing certificate, and time out after
/// storing.
async fn install(session: &mut Session<'_>, slot: &mut TrustSlot, anchor: &Anchor) -> Result<(), Stop> {
    let body = json!({"CertificateString": anchor.to_pem(), "CertificateType": "PEM"});
    let failure = match write(session, Method::POST, &slot.collection, Some(&body)).await {
        Err(Stop::Failed(failure)) if has_second_chance(&failure) => failure,
        outcome => return outcome,
    };
    let failure = match Listing::read(session, slot).await {
        Ok(listing) if listing.holds(&anchor.fingerprint) => return Ok(()),
        Ok(listing) => full(slot, &listing, failure),
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
fn full(slot: &TrustSlot, listing: &Listing, failure: Failure) -> Failure {
    let answered = matches!(failure.class, ErrorClass::ServerError | ErrorClass::Rejected);
    match slot.limit {
        Some(limit) if answered && listing.members.len() >= limit => {
            let message = format!("All {limit} places are taken. {}", failure.message);
            Failure::new(ErrorClass::StoreFull, message)
        }
        _ => failure,
    }
}

async fn remove(session: &mut Session<'_>, member: &Link) -> Result<(), Stop> {
    match write(session, Method::DELETE, member, None).await {
        // The member may already be gone: the next listing decides.
        Err(Stop::Failed(failure)) if failure.class == ErrorClass::Unsupported => Ok(()),
        outcome => outcome,
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
