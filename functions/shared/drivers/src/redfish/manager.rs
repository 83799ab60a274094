//! Which of a device's managers is meant: an enclosure or a GPU board has one of its own beside the BMC.
//!
//! In this order: the manager whose path the device's trust slot names; the one that the profile names; the one that the
//! service root calls its own; the only one; of several, those that manage a system (`Links.ManagedBy`); of these, the one
//! whose web server has the certificate that the device shows us. If this leaves none or several, nothing is written.

use rootcast_core::device::{Profile, Slot};
use rootcast_core::job::task::{ErrorClass, Failure};
use serde_json::Value;

use super::link::Link;
use super::listing::Listing;
use super::session::Session;
use super::slot::{TrustSlot, link, members};

/// Systems and managers of one device that are looked at.
const MOST: usize = 8;

/// # Errors
/// [`ErrorClass::Unsupported`] if the device has no manager, or several of which none is known to be the one.
pub(super) async fn find(
    session: &mut Session<'_>,
    profile: Profile,
    root: &Value,
    named: Option<&Slot>,
) -> Result<Link, Failure> {
    if let Some(manager) = fixed(profile, named) {
        return Ok(manager);
    }
    if let Some(manager) = link(session, root, "/Links/ManagerProvidingService/@odata.id")? {
        return Ok(manager);
    }
    let mut managers = all(session, root).await?;
    if managers.len() > 1 {
        let managing = managing(session, root).await?;
        let of_systems: Vec<_> = managers.iter().filter(|manager| managing.contains(manager)).cloned().collect();
        let names: Vec<_> = managers.iter().map(|manager| manager.name().to_owned()).collect();
        if !of_systems.is_empty() {
            managers = of_systems;
        }
        if managers.len() > 1 {
            managers = ours(session, managers).await?;
        }
        if managers.len() != 1 {
            return Err(unclear(&names));
        }
    }
    managers.pop().ok_or_else(|| Failure::new(ErrorClass::Unsupported, "The device has no manager."))
}

/// The manager that needs no search.
pub(super) fn fixed(profile: Profile, named: Option<&Slot>) -> Option<Link> {
    let id = named.and_then(|slot| slot.as_str().strip_prefix(MANAGERS)?.split('/').next()).or(profile.manager())?;
    Some(Link::known(&format!("{MANAGERS}{id}")))
}

const MANAGERS: &str = "/redfish/v1/Managers/";

pub(super) async fn all(session: &mut Session<'_>, root: &Value) -> Result<Vec<Link>, Failure> {
    let Some(collection) = link(session, root, "/Managers/@odata.id")? else { return Ok(Vec::new()) };
    let managers = members(session, &collection).await?;
    Ok(managers.into_iter().map(Link::without_slash).collect())
}

/// The managers of the device's systems. A system that cannot be read names none.
pub(super) async fn managing(session: &mut Session<'_>, root: &Value) -> Result<Vec<Link>, Failure> {
    let Some(collection) = link(session, root, "/Systems/@odata.id")? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for system in members(session, &collection).await?.into_iter().take(MOST) {
        let system = session.get(&system).await?.body;
        let by = system.pointer("/Links/ManagedBy").and_then(Value::as_array).into_iter().flatten();
        for manager in by.filter_map(|manager| manager.get("@odata.id")?.as_str()) {
            found.push(session.connection.link(manager)?.without_slash());
        }
    }
    Ok(found)
}

/// Those whose web server has the certificate that the device shows.
async fn ours(session: &mut Session<'_>, managers: Vec<Link>) -> Result<Vec<Link>, Failure> {
    let mut found = Vec::new();
    for manager in managers.into_iter().take(MOST) {
        let protocol = session.get(&manager.child("NetworkProtocol")).await?.body;
        let Some(certificates) = link(session, &protocol, "/HTTPS/Certificates/@odata.id")? else { continue };
        let Ok(listing) = Listing::read(session, &mut TrustSlot::members_of(certificates)).await else { continue };
        let pins = session.connection.pins();
        if listing.members.iter().any(|member| member.anchors.first().is_some_and(|leaf| leaf.matches(pins))) {
            found.push(manager);
        }
    }
    Ok(found)
}

fn unclear(names: &[String]) -> Failure {
    let example = names.first().map_or("NAME", String::as_str);
    let message = format!(
        "The device has {} Managers ({}), and neither its systems nor its certificate say which is meant: name its trust slot, a collection under {MANAGERS}{example} or the other one that it is.",
        names.len(),
        names.join(", ")
    );
    Failure::new(ErrorClass::Unsupported, message)
}
