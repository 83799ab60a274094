//! Where each profile stores the certificate of its own web server, and which action replaces it.
//!
//! | profile | certificates | action |
//! |---|---|---|
//! | `openbmc` | `Managers/bmc/NetworkProtocol/HTTPS/Certificates` | `CertificateService.ReplaceCertificate`; both are fixed paths of bmcweb's |
//! | `dmtf`, `lenovo-xcc`, `supermicro` | what `HTTPS.Certificates` of the manager's `NetworkProtocol` links to | where the service root's `CertificateService` says |
//! | `dell-idrac` | the same | `DelliDRACCardService.ImportSSLCertificate` |
//! | `hpe-ilo` | `SecurityService/HttpsCert`, which does not show the certificate itself | its `HpeHttpsCert.ImportCertificate` |
//!
//! Which manager: [`super::manager`]. Who takes no private key, or has no web server: [`Profile::takes_private_key`],
//! [`Profile::has_web_server`].

use http::Method;
use rootcast_core::device::{Profile, Slot};
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::json;
use zeroize::Zeroizing;

use super::link::Link;
use super::listing::{Listing, Member};
use super::session::Session;
use super::slot::{TrustSlot, link};
use super::{dell, ilo, manager};
use crate::identity::Identity;

/// A fixed path of bmcweb's, below the manager.
pub(super) const OPENBMC: &str = "NetworkProtocol/HTTPS/Certificates";

pub(super) struct WebServer {
    /// Its certificates, usually one member.
    pub(super) certificates: TrustSlot,
    /// `CertificateService`; of HPE, `HttpsCert`.
    pub(super) service: Link,
    pub(super) kind: Kind,
    /// What is restarted if it must be.
    manager: Link,
    chains: Chains,
}

/// Whose actions request and replace the certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Standard,
    /// The standard's request; a replacement of Dell's.
    Dell,
    Hpe,
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
pub(super) async fn find(
    session: &mut Session<'_>,
    profile: Profile,
    named: Option<&Slot>,
) -> Result<WebServer, Failure> {
    let standard = Link::known("/redfish/v1/CertificateService");
    match (profile, manager::fixed(profile, named)) {
        (Profile::Openbmc, Some(manager)) => {
            session.open_by_standard().await?;
            Ok(WebServer {
                certificates: TrustSlot::members_of(manager.child(OPENBMC)),
                service: standard,
                kind: Kind::Standard,
                manager,
                chains: Chains::AsPem,
            })
        }
        (Profile::HpeIlo, Some(manager)) => {
            session.open_by_root().await?;
            let https = manager.child("SecurityService/HttpsCert");
            let certificates = TrustSlot::members_of(https.clone());
            Ok(WebServer { certificates, service: https, kind: Kind::Hpe, manager, chains: Chains::No })
        }
        (Profile::Vmedia, _) => Err(no_web_server(profile)),
        _ => {
            let root = session.open_by_root().await?;
            let unsupported = |message| Failure::new(ErrorClass::Unsupported, message);
            let service = link(session, &root, "/CertificateService/@odata.id")?;
            let service = service.ok_or_else(|| unsupported("The device has no CertificateService."))?;
            let manager = manager::find(session, profile, &root, named).await?;
            let protocol = session.get(&manager.child("NetworkProtocol")).await?.json()?;
            let certificates = link(session, &protocol, "/HTTPS/Certificates/@odata.id")?;
            let certificates = certificates.ok_or_else(|| {
                unsupported("The manager's NetworkProtocol does not say where HTTPS.Certificates are.")
            })?;
            let chains = if profile.takes_chain() { Chains::Named } else { Chains::No };
            let kind = if profile == Profile::DellIdrac { Kind::Dell } else { Kind::Standard };
            Ok(WebServer { certificates: TrustSlot::members_of(certificates), service, kind, manager, chains })
        }
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
    /// `leaf`: the certificate to be recognised on a device that does not show it.
    pub(super) async fn list(&mut self, session: &mut Session<'_>, leaf: &Certificate) -> Result<Listing, Failure> {
        match self.kind {
            Kind::Hpe => ilo::web(session, &self.service, leaf).await,
            Kind::Standard | Kind::Dell => Listing::read(session, &mut self.certificates).await,
        }
    }

    /// Restarts the controller, which ends our session, too (DSP8010, `Manager.Reset`).
    pub(super) async fn restart(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        let reset = self.manager.child("Actions/Manager.Reset");
        let answer = session.ask(Method::POST, &reset, Some(&json!({"ResetType": "GracefulRestart"}))).await?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.failure()) }
    }

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

    /// `CertificateService.ReplaceCertificate`, or the vendor's own. Redfish defines the paths of action targets only by
    /// example, and every implementation follows it.
    pub(super) fn replace(&self) -> Link {
        match self.kind {
            Kind::Standard => self.service.child("Actions/CertificateService.ReplaceCertificate"),
            Kind::Dell => dell::import(&self.manager.child("Oem/Dell/DelliDRACCardService")),
            Kind::Hpe => self.service.child("Actions/HpeHttpsCert.ImportCertificate"),
        }
    }

    /// The certificate's text, and its type's name in the standard.
    pub(super) fn form(&self, identity: &Identity) -> (Zeroizing<String>, &'static str) {
        let kind = if self.chains == Chains::Named && identity.has_chain() { "PEMchain" } else { "PEM" };
        (identity.pem(self.chains != Chains::No), kind)
    }
}
