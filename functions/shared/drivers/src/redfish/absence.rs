//! An empty list is no proof of absence: OpenBMC answers 200 with an empty list while the service that keeps the
//! certificates is down. Something else that the device reads from its services has to answer as well.

use std::time::Duration;

use rootcast_core::job::task::{ErrorClass, Failure};
use serde_json::Value;
use tokio::time::sleep;

use super::link::Link;
use super::listing::Listing;
use super::session::Session;
use super::slot::TrustSlot;

/// What has to answer before an empty slot counts as empty.
#[derive(Clone)]
pub(super) enum Witness {
    /// The resource that names the slot was read in this visit.
    Told,
    /// A collection that is never empty.
    Collection(Link),
    /// The closest resource above the slot.
    Above,
}

/// OpenBMC restarts a service that died within a second or two.
pub(super) const RESTART: Duration = Duration::from_secs(3);

/// Whether a slot that was listed as empty is empty: the witness answers, and `pause` later the slot is still empty.
///
/// # Errors
/// [`ErrorClass::ServerError`], which passes, if that is not known.
pub(super) async fn proven(session: &mut Session<'_>, slot: &mut TrustSlot, pause: Duration) -> Result<(), Failure> {
    let unproven = |why: String| {
        let message = format!(
            "{} is listed as empty, which proves nothing: {why}. Its certificate service may be down.",
            slot.collection
        );
        Failure::new(ErrorClass::ServerError, message)
    };
    match &slot.witness {
        Witness::Told => return Ok(()),
        Witness::Collection(link) => {
            let body = session.get(link).await?.json()?;
            if body.get("Members").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                return Err(unproven(format!("{link} is empty, too")));
            }
        }
        Witness::Above if is_above_served(session, &slot.collection).await? => {}
        Witness::Above => return Err(unproven("no resource above it answers".to_owned())),
    }
    sleep(pause.min(session.connection.left())).await;
    if !Listing::read(session, slot).await?.members.is_empty() {
        let message = format!("{} was listed as empty, and is not empty any more.", slot.collection);
        return Err(Failure::new(ErrorClass::ServerError, message));
    }
    Ok(())
}

/// A part of a path may be no resource. A collection above says nothing about its members.
async fn is_above_served(session: &mut Session<'_>, slot: &Link) -> Result<bool, Failure> {
    let mut above = slot.parent();
    while let Some(link) = above {
        let answer = session.get(&link).await?;
        if !matches!(answer.status.as_u16(), 404 | 405) && answer.json()?.get("Members").is_none() {
            return Ok(true);
        }
        above = link.parent();
    }
    Ok(false)
}
