//! Where each profile stores the certificate of its own web server, and which action replaces it.
//!
//! | profile | certificates | action |
//! |---|---|---|
//! | `openbmc` | `Managers/bmc/NetworkProtocol/HTTPS/Certificates` | `CertificateService.ReplaceCertificate`; both are fixed paths of bmcweb's |
//! | `dmtf`, `lenovo-xcc` | what `HTTPS.Certificates` of the manager's `NetworkProtocol` links to | where the service root's `CertificateService` says |
//!
//! `lenovo-xcc` takes no private key, and `vmedia` has no web server: [`Profile::takes_private_key`],
//! [`Profile::has_web_server`].

use rootcast_core::device::Profile;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::fingerprint::Fingerprint;
use zeroize::Zeroizing;

use super::absence::Witness;
use super::link::Link;
use super::listing::{Listing, Member};
use super::session::Session;
use super::slot::{Shape, TrustSlot, link, only_member};
use crate::identity::Identity;

/// A fixed path of bmcweb's.
pub(super) const OPENBMC: &str = "/redfish/v1/Managers/bmc/NetworkProtocol/HTTPS/Certificates";

pub(super) struct WebServer {
    /// Its certificates, usually one member.
    pub(super) certificates: TrustSlot,
    /// `CertificateService`.
    pub(super) service: Link,
    chains: Chains,
}

/// How a web server accepts a certificate with its chain (DSP8010, `CertificateType`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chains {
    /// The standard has a separate type for chains.
    Named,
    /// bmcweb only knows `PEM`, and accepts a chain under that type.
    AsPem,
    /// Lenovo's REST API guide only allows `PEM`, for a single certificate.
    No,
}

/// Also logs in.
pub(super) async fn find(session: &mut Session<'_>, profile: Profile) -> Result<WebServer, Failure> {
    match profile {
        Profile::Openbmc => {
            session.open_by_standard().await?;
            Ok(WebServer {
                certificates: members_of(Link::known(OPENBMC)),
                service: Link::known("/redfish/v1/CertificateService"),
                chains: Chains::AsPem,
            })
        }
        Profile::Dmtf | Profile::LenovoXcc => {
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
            let chains = if profile.takes_chain() { Chains::Named } else { Chains::No };
            Ok(WebServer { certificates: members_of(certificates), service, chains })
        }
        Profile::Vmedia => Err(no_web_server(profile)),
    }
}

/// Fails if a device with this profile cannot get a certificate, with or without a private key.
pub(super) fn fits(profile: Profile, with_key: bool) -> Result<(), Failure> {
    if with_key && !profile.takes_private_key() {
        let message = format!(
            "A device of profile {profile} takes no private key: it has certificates for keys of its own alone. Profiles dmtf and openbmc take one."
        );
        return Err(Failure::new(ErrorClass::Unsupported, message));
    }
    if profile.has_web_server() { Ok(()) } else { Err(no_web_server(profile)) }
}

fn no_web_server(profile: Profile) -> Failure {
    let message = format!("A device of profile {profile} has no web server of its own that a certificate is for.");
    Failure::new(ErrorClass::Unsupported, message)
}

impl WebServer {
    /// The member to replace: the one that the device shows, or the only one.
    pub(super) fn member(&self, listing: &Listing, shown: Fingerprint) -> Result<Link, Failure> {
        let members = &listing.members;
        let is_shown = |member: &&Member| member.leaf() == Some(shown);
        match (members.iter().find(is_shown), members.as_slice()) {
            (Some(member), _) | (None, [member]) => Ok(member.link.clone()),
            (None, []) => {
                let collection = &self.certificates.collection;
                let message = format!(
                    "{collection} is listed as empty, although the device shows a certificate: its certificate service may be down."
                );
                Err(Failure::new(ErrorClass::ServerError, message))
            }
            (None, members) => {
                let collection = &self.certificates.collection;
                let message = format!("{collection} has {} members, and none is what the device shows.", members.len());
                Err(Failure::new(ErrorClass::Unsupported, message))
            }
        }
    }

    /// `CertificateService.ReplaceCertificate`. Redfish defines the paths of action targets only by example, and
    /// every implementation follows it.
    pub(super) fn replace(&self) -> Link {
        self.service.child("Actions/CertificateService.ReplaceCertificate")
    }

    /// The certificate's text, and its type's name in the standard.
    pub(super) fn form(&self, identity: &Identity) -> (Zeroizing<String>, &'static str) {
        let kind = if self.chains == Chains::Named && identity.has_chain() { "PEMchain" } else { "PEM" };
        (identity.pem(self.chains != Chains::No), kind)
    }
}

fn members_of(collection: Link) -> TrustSlot {
    let (shape, witness, signatures) = (Shape::Members, Witness::Told, Vec::new());
    TrustSlot { collection, limit: None, expand: false, shape, replace: None, witness, signatures }
}
