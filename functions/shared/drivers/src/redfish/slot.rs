//! Where each profile stores its trust anchors.
//!
//! | profile | slot | why this one |
//! |---|---|---|
//! | `openbmc` | `Managers/bmc/Truststore/Certificates` | the only one; a fixed path of bmcweb's |
//! | `lenovo-xcc` | `UpdateService/RemoteServerCertificates` | the one for servers that the device itself connects to by HTTPS; `AccountService/LDAP/Certificates` serves directory servers alone and is reached by naming it as the device's slot |
//! | `dmtf` | the manager's `SecurityPolicy`: `TLS.Client.TrustedCertificates`; else `UpdateService`'s `RemoteServerCertificates` | what the manager trusts as a TLS client in general, before what it trusts for firmware |
//! | `vmedia` | `Certificates` of the system's CD or DVD drive, else of its first virtual medium | images are booted from there |
//!
//! | `dell-idrac` | `DelliDRACCardService`'s certificate type `CA` ([`super::dell`]) | its other types are for the web server, smart cards and key management |
//! | `hpe-ilo` | `SecurityService/CertificateAuthentication/CACertificates` ([`super::ilo`]) | the one that takes CA certificates in each version since iLO 5 |
//! | `supermicro` | as `dmtf`, under manager 1 | the standard's |
//!
//! A slot that the device's record names is a collection of the standard, whatever the profile. If a device has several
//! managers: [`super::manager`]. If it has several systems, its record must name its slot.

use rootcast_core::device::{Profile, Slot};
use rootcast_core::job::task::{ErrorClass, Failure};
use serde_json::Value;

use super::absence::Witness;
use super::link::Link;
use super::manager;
use super::session::Session;
use super::web;

pub(super) struct TrustSlot {
    /// The collection of certificates.
    pub(super) collection: Link,
    /// The maximum number of certificates, if known.
    pub(super) limit: Option<usize>,
    /// Whether the device announces that it can expand members in the collection's answer.
    pub(super) expand: bool,
    pub(super) shape: Shape,
    /// `CertificateService.ReplaceCertificate`, if the device has it.
    pub(super) replace: Option<Replace>,
    /// What has to answer before an empty list counts.
    pub(super) witness: Witness,
    /// Signature algorithms that the device accepts as a TLS client; empty: it does not say.
    pub(super) signatures: Vec<String>,
}

/// How a slot stores anchors.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// One certificate per member.
    Members,
    /// One member, with all certificates in one text.
    Bundle,
    /// One text, which actions of Dell's export and import; the collection is their service.
    Dell,
    /// HPE's service, which shows no certificate itself; the collection is the service.
    Ilo,
}

pub(super) struct Replace {
    pub(super) target: Link,
    /// sushy-tools 2.2.0 requires the certificate's URI as a plain string, and under the manager with the same id.
    pub(super) sushy: bool,
}

/// The service root's `Id` that identifies sushy-tools.
const SUSHY_ROOT: &str = "RedvirtService";

/// Also logs in.
pub(super) async fn find(
    session: &mut Session<'_>,
    profile: Profile,
    named: Option<&Slot>,
) -> Result<TrustSlot, Failure> {
    let root = match profile {
        Profile::Openbmc | Profile::LenovoXcc => {
            session.open_by_standard().await?;
            Value::Null
        }
        _ => session.open_by_root().await?,
    };
    at(session, profile, named, &root).await
}

/// The same after the log-in. `root`: the service root, which some profiles do without.
pub(super) async fn at(
    session: &mut Session<'_>,
    profile: Profile,
    named: Option<&Slot>,
    root: &Value,
) -> Result<TrustSlot, Failure> {
    let fixed = |path: &str| TrustSlot {
        limit: profile.places().filter(|_| named.is_none()),
        witness: match (profile, manager::fixed(profile, named)) {
            (Profile::Openbmc, Some(manager)) => Witness::Collection(manager.child(web::OPENBMC)),
            (Profile::DellIdrac | Profile::HpeIlo, _) => Witness::Told,
            _ => Witness::Above,
        },
        ..TrustSlot::members_of(named.map_or_else(|| Link::known(path), Link::from))
    };
    match profile {
        Profile::Openbmc | Profile::LenovoXcc => Ok(fixed(profile.slot().unwrap_or_default())),
        Profile::DellIdrac if named.is_none() => {
            let service = "/redfish/v1/Managers/iDRAC.Embedded.1/Oem/Dell/DelliDRACCardService";
            Ok(TrustSlot { shape: Shape::Dell, ..fixed(service) })
        }
        Profile::HpeIlo if named.is_none() => {
            let service = "/redfish/v1/Managers/1/SecurityService/CertificateAuthentication";
            Ok(TrustSlot { shape: Shape::Ilo, ..fixed(service) })
        }
        Profile::Dmtf | Profile::Supermicro | Profile::DellIdrac | Profile::HpeIlo => {
            let (collection, signatures) = match named {
                Some(slot) => (Link::from(slot), Vec::new()),
                None => standard(session, profile, root).await?,
            };
            let witness = if named.is_some() { Witness::Above } else { Witness::Told };
            let expand = root.pointer("/ProtocolFeaturesSupported/ExpandQuery/NoLinks") == Some(&Value::Bool(true));
            Ok(TrustSlot { expand, witness, signatures, ..TrustSlot::members_of(collection) })
        }
        Profile::Vmedia => {
            let collection = match named {
                Some(slot) => Link::from(slot),
                None => medium(session, root).await?,
            };
            let replace = replace(session, root)?;
            let witness = Witness::Above;
            Ok(TrustSlot { shape: Shape::Bundle, replace, witness, ..TrustSlot::members_of(collection) })
        }
    }
}

impl TrustSlot {
    pub(super) fn members_of(collection: Link) -> Self {
        let (shape, witness, signatures) = (Shape::Members, Witness::Told, Vec::new());
        Self { collection, limit: None, expand: false, shape, replace: None, witness, signatures }
    }
}

/// The collection, and the signature algorithms that the same policy names.
async fn standard(session: &mut Session<'_>, profile: Profile, root: &Value) -> Result<(Link, Vec<String>), Failure> {
    if root.get("Managers").is_some() || profile.manager().is_some() {
        let manager = manager::find(session, profile, root, None).await?;
        let answer = session.get(&manager.child("SecurityPolicy")).await?;
        if answer.status.as_u16() != 404 {
            let policy = answer.json()?;
            if let Some(slot) = link(session, &policy, "/TLS/Client/TrustedCertificates/@odata.id")? {
                return Ok((slot, texts(&policy, "/TLS/Client/Allowed/SignatureAlgorithms")));
            }
        }
    }
    if let Some(service) = link(session, root, "/UpdateService/@odata.id")? {
        let service = session.get(&service).await?.json()?;
        if let Some(slot) = link(session, &service, "/RemoteServerCertificates/@odata.id")? {
            return Ok((slot, Vec::new()));
        }
    }
    let message = "The device has neither TLS.Client.TrustedCertificates nor RemoteServerCertificates.";
    Err(Failure::new(ErrorClass::Unsupported, message))
}

fn texts(body: &Value, pointer: &str) -> Vec<String> {
    let texts = body.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

async fn medium(session: &mut Session<'_>, root: &Value) -> Result<Link, Failure> {
    let unsupported = |message| Failure::new(ErrorClass::Unsupported, message);
    let system = only_member(session, root, "Systems").await?;
    let system = system.ok_or_else(|| unsupported("The device has no system with virtual media."))?;
    let media = members(session, &system.child("VirtualMedia")).await?;
    let optical = media.iter().find(|medium| {
        let name = medium.name().to_ascii_lowercase();
        name.contains("cd") || name.contains("dvd")
    });
    let medium = optical.or_else(|| media.first());
    Ok(medium.ok_or_else(|| unsupported("The device's system has no virtual medium."))?.child("Certificates"))
}

fn replace(session: &Session<'_>, root: &Value) -> Result<Option<Replace>, Failure> {
    let Some(service) = link(session, root, "/CertificateService/@odata.id")? else {
        return Ok(None);
    };
    Ok(Some(Replace {
        target: service.child("Actions/CertificateService.ReplaceCertificate"),
        sushy: root.get("Id").and_then(Value::as_str) == Some(SUSHY_ROOT),
    }))
}

async fn only_member(session: &mut Session<'_>, root: &Value, name: &str) -> Result<Option<Link>, Failure> {
    let Some(collection) = link(session, root, &format!("/{name}/@odata.id"))? else {
        return Ok(None);
    };
    let mut members = members(session, &collection).await?;
    if members.len() > 1 {
        let message = format!("The device has {} {name}: name its trust slot.", members.len());
        return Err(Failure::new(ErrorClass::Unsupported, message));
    }
    Ok(members.pop())
}

/// The first page suffices to see whether there is one member, or to find a drive.
pub(super) async fn members(session: &mut Session<'_>, collection: &Link) -> Result<Vec<Link>, Failure> {
    let body = session.get(collection).await?.json()?;
    let members = body.get("Members").and_then(Value::as_array).into_iter().flatten();
    let links = members.filter_map(|member| member.get("@odata.id")?.as_str());
    links.map(|text| session.connection.link(text)).collect()
}

pub(super) fn link(session: &Session<'_>, body: &Value, pointer: &str) -> Result<Option<Link>, Failure> {
    body.pointer(pointer).and_then(Value::as_str).map(|text| session.connection.link(text)).transpose()
}
