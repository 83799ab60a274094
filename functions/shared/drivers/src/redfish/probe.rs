//! Looks at a device for a person: which managers and trust slots it has, and what it can do. Writes nothing.
//!
//! Reads more than a job needs, and goes on where a job would stop, so that what the job lacks can be seen.

use rootcast_core::device::Profile;
use rootcast_core::device::probe::{Ability, Found, FoundSlot, Manager};
use rootcast_core::job::task::{ErrorClass, Failure};
use serde_json::Value;

use super::check::{Inspection, clock};
use super::link::Link;
use super::manager;
use super::session::Session;
use super::slot::{self, Shape, TrustSlot, link};
use super::{Redfish, dell};

/// Managers that are looked at.
const MOST: usize = 8;
/// In characters, of a name that the device gives.
const LONGEST: usize = 64;

impl Redfish {
    /// # Errors
    /// The device cannot be reached, is not the approved one, refuses the credential, or speaks no Redfish.
    pub async fn probe(&self, wanted: &Inspection<'_>) -> Result<Found, Failure> {
        let mut session = self.session(wanted.endpoint, wanted.credential, wanted.deadline).await?;
        let found = look(&mut session, wanted).await;
        session.close().await;
        found
    }
}

async fn look(session: &mut Session<'_>, wanted: &Inspection<'_>) -> Result<Found, Failure> {
    let mut problems = Vec::new();
    // As a job does, which for these profiles needs no service root.
    let root = match wanted.profile {
        Profile::Openbmc | Profile::LenovoXcc => {
            session.open_by_standard().await?;
            let root = session.get(&Link::known("/redfish/v1/")).await?.json();
            tolerated(root, &mut problems)?.unwrap_or_default()
        }
        _ => session.open_by_root().await?,
    };
    let used = tolerated(slot::at(session, wanted.profile, wanted.slot, &root).await, &mut problems)?;
    let manager = match wanted.profile.has_web_server() {
        true => tolerated(manager::find(session, wanted.profile, &root, wanted.slot).await, &mut problems)?,
        false => None,
    };
    let managers = managers(session, &root, manager.as_ref()).await?;
    let slots = slots(session, &root, &managers, used.as_ref(), &mut problems).await?;
    let text = |name: &str| root.get(name).and_then(Value::as_str).map(|text| Failure::clean(text, LONGEST));
    Ok(Found {
        vendor: text("Vendor"),
        product: text("Product"),
        can: abilities(session, wanted, &root).await?,
        managers,
        slots,
        clock: clock(session).await,
        problems,
    })
}

/// A job would fail; the probe goes on.
fn tolerated<T>(read: Result<T, Failure>, problems: &mut Vec<String>) -> Result<Option<T>, Failure> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(failure)
            if matches!(failure.class, ErrorClass::Unsupported | ErrorClass::Rejected | ErrorClass::ServerError) =>
        {
            if !problems.contains(&failure.message) {
                problems.push(failure.message);
            }
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

async fn managers(session: &mut Session<'_>, root: &Value, used: Option<&Link>) -> Result<Vec<Manager>, Failure> {
    let managing = manager::managing(session, root).await?;
    let mut found = Vec::new();
    for link in manager::all(session, root).await?.into_iter().take(MOST) {
        let shown = session.get(&link).await?.body;
        let text = |name: &str| shown.get(name).and_then(Value::as_str).map(|text| Failure::clean(text, LONGEST));
        found.push(Manager {
            path: link.as_str().to_owned(),
            model: text("Model"),
            firmware: text("FirmwareVersion"),
            manages_system: managing.contains(&link),
            is_used: used == Some(&link),
        });
    }
    Ok(found)
}

/// The slot that is used, and those of the standard and of OpenBMC that the device has.
async fn slots(
    session: &mut Session<'_>,
    root: &Value,
    managers: &[Manager],
    used: Option<&TrustSlot>,
    problems: &mut Vec<String>,
) -> Result<Vec<FoundSlot>, Failure> {
    let mut known: Vec<Link> = used.map(|slot| slot.collection.clone()).into_iter().collect();
    for manager in managers {
        let manager = Link::known(&manager.path);
        let policy = session.get(&manager.child("SecurityPolicy")).await?.body;
        for place in ["/TLS/Client/TrustedCertificates/@odata.id", "/TLS/Server/TrustedCertificates/@odata.id"] {
            known.extend(link(session, &policy, place)?);
        }
        known.push(manager.child("Truststore/Certificates"));
    }
    for (service, place) in [
        ("/UpdateService/@odata.id", "/RemoteServerCertificates/@odata.id"),
        ("/AccountService/@odata.id", "/LDAP/Certificates/@odata.id"),
    ] {
        if let Some(service) = link(session, root, service)? {
            let service = session.get(&service).await?.body;
            known.extend(link(session, &service, place)?);
        }
    }
    let mut found: Vec<FoundSlot> = Vec::new();
    for collection in known {
        let slot = used.filter(|used| used.collection == collection);
        if found.iter().any(|slot| slot.path == collection.as_str()) {
            continue;
        }
        let members = match slot.map(|slot| slot.shape) {
            Some(Shape::Dell) => {
                let listing =
                    tolerated(dell::list(session, &TrustSlot::members_of(collection.clone())).await, problems)?;
                listing.map(|listing| listing.anchors().count())
            }
            Some(Shape::Ilo) => count(session, &collection.child("CACertificates")).await?,
            _ => count(session, &collection).await?,
        };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        match members {
            Some(members) => found.push(FoundSlot {
                path: collection.as_str().to_owned(),
                members: number(members),
                places: slot.and_then(|slot| slot.limit).map(number),
                is_used: slot.is_some(),
            }),
            None if slot.is_some() => problems.push(format!("{collection}, which is to be used, cannot be listed.")),
            None => {}
        }
    }
    Ok(found)
}

async fn count(session: &mut Session<'_>, collection: &Link) -> Result<Option<usize>, Failure> {
    Ok(session.get(collection).await?.body.get("Members").and_then(Value::as_array).map(Vec::len))
}

async fn abilities(session: &mut Session<'_>, wanted: &Inspection<'_>, root: &Value) -> Result<Vec<Ability>, Failure> {
    let has = |place: &str| root.pointer(place).is_some();
    let actions = match link(session, root, "/CertificateService/@odata.id")? {
        Some(service) => session.get(&service).await?.body,
        None => Value::Null,
    };
    let acts = |name: &str| actions.pointer("/Actions").is_some_and(|all| all.get(name).is_some());
    let own = wanted.profile.has_web_server();
    let all = [
        (Ability::Sessions, session.has_token()),
        (Ability::Expand, root.pointer("/ProtocolFeaturesSupported/ExpandQuery/NoLinks") == Some(&Value::Bool(true))),
        (Ability::Tasks, has("/Tasks/@odata.id") || has("/JobService/@odata.id")),
        (Ability::Requests, own && acts("#CertificateService.GenerateCSR")),
        (Ability::ReplacesCertificate, own && acts("#CertificateService.ReplaceCertificate")),
        (Ability::TakesPrivateKey, wanted.profile.takes_private_key()),
        (Ability::TakesChain, wanted.profile.takes_chain()),
    ];
    Ok(all.into_iter().filter_map(|(ability, has)| has.then_some(ability)).collect())
}
