//! Where a profile keeps the certificate of its own web server, and what replaces it.
//!
//! | profile | certificates | action |
//! |---|---|---|
//! | `openbmc` | `Managers/bmc/NetworkProtocol/HTTPS/Certificates` | `CertificateService.ReplaceCertificate`; both are fixed paths of bmcweb's |
//! | `dmtf` | what `HTTPS.Certificates` of the manager's `NetworkProtocol` links to | where the service root's `CertificateService` says |
//!
//! `lenovo-xcc` and `vmedia` take no private key: [`Profile::takes_private_key`].

use rootcast_core::device::Profile;
use rootcast_core::fingerprint::Fingerprint;
use rootcast_core::task::{ErrorClass, Failure};

use super::link::Link;
use super::listing::{Listing, Member};
use super::session::Session;
use super::slot::{Shape, TrustSlot, link, only_member};
use crate::identity::Identity;

pub(super) struct WebServer {
    /// Its certificates: one member as a rule.
    pub(super) certificates: TrustSlot,
    /// `CertificateService.ReplaceCertificate`.
    pub(super) replace: Link,
    /// The standard has a word of its own for a chain (DSP8010, `CertificateType`); bmcweb knows `PEM` alone, and takes
    /// a chain under that name.
    knows_chains: bool,
}

/// Logs in on the way.
pub(super) async fn find(session: &mut Session<'_>, profile: Profile) -> Result<WebServer, Failure> {
    match profile {
        Profile::Openbmc => {
            session.open_by_standard().await?;
            Ok(WebServer {
                certificates: members_of(Link::known("/redfish/v1/Managers/bmc/NetworkProtocol/HTTPS/Certificates")),
                replace: action(&Link::known("/redfish/v1/CertificateService")),
                knows_chains: false,
            })
        }
        Profile::Dmtf => {
            let root = session.open_by_root().await?;
            let unsupported = |message| Failure::new(ErrorClass::Unsupported, message);
            let service = link(session, &root, "/CertificateService/@odata.id")?;
            let service = service.ok_or_else(|| unsupported("The device has no CertificateService."))?;
            let manager = match link(session, &root, "/Links/ManagerProvidingService/@odata.id")? {
                Some(manager) => Some(manager),
                None => only_member(session, &root, "Managers").await?,
            };
            let manager = manager.ok_or_else(|| unsupported("The device has no manager."))?;
            let protocol = session.get(&manager.child("NetworkProtocol")).await?.json()?;
            let certificates = link(session, &protocol, "/HTTPS/Certificates/@odata.id")?;
            let certificates = certificates.ok_or_else(|| {
                unsupported("The manager's NetworkProtocol does not say where HTTPS.Certificates are.")
            })?;
            Ok(WebServer { certificates: members_of(certificates), replace: action(&service), knows_chains: true })
        }
        Profile::LenovoXcc | Profile::Vmedia => Err(takes_no_key(profile)),
    }
}

pub(super) fn takes_no_key(profile: Profile) -> Failure {
    let message = format!(
        "A device of profile {profile} takes no private key: it has certificates for keys of its own alone. Profiles dmtf and openbmc take one."
    );
    Failure::new(ErrorClass::Unsupported, message)
}

impl WebServer {
    /// The member to replace: the one that the device shows, or the only one there is.
    pub(super) fn member(&self, listing: &Listing, shown: Fingerprint) -> Result<Link, Failure> {
        let members = &listing.members;
        let is_shown = |member: &&Member| member.leaf() == Some(shown);
        match (members.iter().find(is_shown), members.as_slice()) {
            (Some(member), _) | (None, [member]) => Ok(member.link.clone()),
            (None, members) => {
                let collection = &self.certificates.collection;
                let message = format!("{collection} has {} members, and none is what the device shows.", members.len());
                Err(Failure::new(ErrorClass::Unsupported, message))
            }
        }
    }

    pub(super) fn certificate_type(&self, identity: &Identity) -> &'static str {
        if self.knows_chains && identity.has_chain() { "PEMchain" } else { "PEM" }
    }
}

/// Redfish fixes the paths of its actions' targets only by example, and every implementation follows it.
fn action(service: &Link) -> Link {
    service.child("Actions/CertificateService.ReplaceCertificate")
}

const fn members_of(collection: Link) -> TrustSlot {
    TrustSlot { collection, limit: None, expand: false, shape: Shape::Members, replace: None }
}
