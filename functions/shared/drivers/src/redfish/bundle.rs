//! Slots with one member that holds all certificates as one text. Its new content is (existing ∪ install) − remove.
//!
//! A slot that is not empty is changed in one step by `CertificateService.ReplaceCertificate`. If the device does not
//! have this action or refuses it, the member is deleted and written again; if that fails, the old content is written
//! back. In between the slot is empty: if the worker dies then, the next attempt installs the goal, but other
//! parties' anchors are lost.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use rootcast_core::job::task::{ErrorClass, Failure};
use serde_json::{Value, json};

use super::Goal;
use super::absence;
use super::collection::{by_clock, has_second_chance, kept, proven};
use super::link::Link;
use super::listing::Listing;
use super::monitor::{Stop, write};
use super::session::Session;
use super::slot::{Replace, TrustSlot};
use crate::pem::Anchor;
use crate::trust::Converged;

/// The remaining time must suffice for deleting, writing, and writing back.
const SWAP_TIME: Duration = Duration::from_secs(15);

pub(super) async fn converge(
    session: &mut Session<'_>,
    slot: &mut TrustSlot,
    goal: &Goal,
    earlier: Result<(), Failure>,
) -> Result<Converged, Stop> {
    let listing = list(session, slot).await?;
    let wanted = wanted(&listing, goal);
    let wanted_set: BTreeSet<_> = wanted.iter().map(|anchor| anchor.fingerprint).collect();
    if wanted_set == listing.fingerprints() {
        if listing.members.is_empty() && !goal.remove.is_empty() {
            absence::proven(session, slot, absence::RESTART).await?;
        }
        return Ok(Converged { held: listing.held(), changed: false });
    }
    earlier?;
    let old = listing.members.into_iter().next().map(|member| (member.link, member.anchors));
    let outcome = match old {
        None => post(session, slot, &wanted).await,
        Some((member, _)) if wanted.is_empty() => write(session, Method::DELETE, &member, None).await,
        Some((member, anchors)) => change(session, slot, &member, &anchors, &wanted).await,
    };
    let failure = match outcome {
        Ok(()) => None,
        Err(Stop::Failed(failure)) if has_second_chance(&failure) => Some(failure),
        Err(stop) => return Err(stop),
    };
    let is_refused = failure.is_some();
    let listing = match (Listing::read(session, slot).await, failure) {
        (Ok(listing), Some(failure)) if listing.fingerprints() != wanted_set => Err(failure),
        (Err(_), Some(failure)) => Err(failure),
        (outcome, _) => outcome,
    }
    .map_err(|failure| by_clock(session, &goal.install, failure))?;
    proven(&wanted, &listing).map_err(|failure| by_clock(session, &goal.install, failure))?;
    if is_refused && listing.members.is_empty() {
        absence::proven(session, slot, absence::RESTART).await?;
    }
    match goal.remove.iter().find(|fingerprint| listing.holds(fingerprint)) {
        Some(fingerprint) => Err(kept(fingerprint).into()),
        None => Ok(Converged { held: listing.held(), changed: true }),
    }
}

/// # Errors
/// [`ErrorClass::Unsupported`] if it has several members.
pub(super) async fn list(session: &mut Session<'_>, slot: &mut TrustSlot) -> Result<Listing, Failure> {
    let listing = Listing::read(session, slot).await?;
    if listing.members.len() > 1 {
        let message = format!("{} has several members: its profile is dmtf.", slot.collection);
        return Err(Failure::new(ErrorClass::Unsupported, message));
    }
    Ok(listing)
}

/// The existing anchors in their order, then the new ones, without duplicates.
pub(super) fn wanted(listing: &Listing, goal: &Goal) -> Vec<Anchor> {
    let mut wanted: Vec<Anchor> = Vec::new();
    for anchor in listing.anchors().chain(&goal.install).chain(&goal.optional) {
        if !goal.remove.contains(&anchor.fingerprint) && !wanted.contains(anchor) {
            wanted.push(anchor.clone());
        }
    }
    wanted
}

async fn change(
    session: &mut Session<'_>,
    slot: &mut TrustSlot,
    member: &Link,
    old: &[Anchor],
    new: &[Anchor],
) -> Result<(), Stop> {
    if let Some(replace) = &slot.replace {
        let outcome = write(session, Method::POST, &replace.target, Some(&replacement(replace, member, new))).await;
        let refused = |failure: &Failure| {
            matches!(failure.class, ErrorClass::Unsupported | ErrorClass::Rejected | ErrorClass::ServerError)
        };
        match outcome {
            Err(Stop::Failed(failure)) if refused(&failure) => {}
            outcome => return outcome,
        }
        // The device may have refused, or made the change and reported an error.
        let now = Listing::read(session, slot).await?.fingerprints();
        if now != old.iter().map(|anchor| anchor.fingerprint).collect() {
            return Ok(());
        }
    }
    swap(session, slot, member, old, new).await
}

fn replacement(replace: &Replace, member: &Link, new: &[Anchor]) -> Value {
    let uri = match replace.sushy {
        true => Value::from(member.as_str().replacen("/Systems/", "/Managers/", 1)),
        false => json!({"@odata.id": member.as_str()}),
    };
    json!({"CertificateUri": uri, "CertificateString": text(new), "CertificateType": "PEM"})
}

async fn swap(
    session: &mut Session<'_>,
    slot: &mut TrustSlot,
    member: &Link,
    old: &[Anchor],
    new: &[Anchor],
) -> Result<(), Stop> {
    if session.connection.left() < SWAP_TIME {
        let message = format!("Too little time is left to replace {member} safely.");
        return Err(Failure::new(ErrorClass::Timeout, message).into());
    }
    write(session, Method::DELETE, member, None).await?;
    let failure = match post(session, slot, new).await {
        Err(Stop::Failed(failure)) => failure,
        outcome => return outcome,
    };
    session.connection.use_reserve();
    let now = Listing::read(session, slot).await;
    let emptied = !old.is_empty() && now.is_ok_and(|now| now.members.is_empty());
    if emptied && let Err(Stop::Failed(why)) = post(session, slot, old).await {
        let message = format!(
            "{} is empty now: {} Putting its content back failed too: {}",
            slot.collection, failure.message, why.message
        );
        return Err(Failure::new(failure.class, message).into());
    }
    Err(failure.into())
}

async fn post(session: &mut Session<'_>, slot: &TrustSlot, anchors: &[Anchor]) -> Result<(), Stop> {
    let body = json!({"CertificateString": text(anchors), "CertificateType": "PEM"});
    write(session, Method::POST, &slot.collection, Some(&body)).await
}

pub(super) fn text(anchors: &[Anchor]) -> String {
    anchors.iter().map(Anchor::to_pem).collect()
}
