//! Installs a certificate on a device's own web server: with its private key, or for a key that the device created
//! itself.
//!
//! An attempt: a handshake with an approved pin; then, after the new key's pin was recorded, log in, list the web
//! server's certificates, replace one, wait until a new connection shows the new certificate, list again over such a
//! connection, log out. Requests on a device that has one certificate, not counting the handshakes:
//!
//! | profile | before | certificates | after |
//! |---|---|---|---|
//! | `openbmc` | log in | list + 1, POST, list + 1 | log out |
//! | `dmtf`, `lenovo-xcc`, `supermicro` | root, log in, managers, network protocol | the same | log out |
//! | `dell-idrac` | root, log in, network protocol | the same; a restart | log out |
//! | `hpe-ilo` | root, log in | one resource, POST, the same | log out |
//!
//! A device that shows the certificate already, or lists it and only shows it late, is not written again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::address::DeviceAddress;
use rootcast_core::device::{Pin, Profile, Slot};
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::fingerprint::Fingerprint;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::Redfish;
use super::clock;
use super::collection::has_second_chance;
use super::connection::{Body, Connection};
use super::link::Link;
use super::listing::Listing;
use super::monitor::{self, Ended, Stop};
use super::session::Session;
use super::web::{self, Kind, WebServer};
use crate::credential::Credential;
use crate::identity::Identity;
use crate::trust::{Endpoint, Installed, Progress};
use crate::wire::{Peer, Wire};

/// Usual web servers take less time to restart (OpenBMC: some seconds). If one takes longer, a later attempt
/// continues from here.
const RESTART: Duration = Duration::from_secs(45);
/// A device that shows its earlier certificate for this time, and does not list the new one, has not accepted it.
const LISTED: Duration = Duration::from_secs(10);
/// Initial poll interval.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// One attempt on one device.
#[derive(Debug, Clone, Copy)]
pub struct Installation<'a> {
    /// With the pins that identify the device before the change.
    pub endpoint: &'a Endpoint,
    pub profile: Profile,
    /// The trust slot that the device's record names: its manager's web server is the one.
    pub slot: Option<&'a Slot>,
    pub credential: &'a Credential,
    pub identity: &'a Identity,
    /// The stage that earlier attempts reached: if the device cannot be reached now, the failure has this stage.
    pub stage: Stage,
    /// The result of an asynchronous operation that an earlier attempt at this task started.
    pub earlier: Option<&'a Ended>,
    /// As in [`super::Assignment`].
    pub deadline: Instant,
}

/// A device that proved to be the approved one, in a handshake only.
#[derive(Debug)]
pub struct Reached<'a> {
    installation: Installation<'a>,
    wire: Arc<dyn Wire>,
    peer: Peer,
    /// The leaf that the device shows.
    shown: Fingerprint,
}

impl Redfish {
    /// The first half of an attempt: a handshake with the device.
    ///
    /// # Errors
    /// A [`Failure`] with its stage, as in every step here. Fails without connecting if the profile has no web
    /// server, or takes no private key although there is one.
    pub async fn reach<'a>(&self, installation: Installation<'a>) -> Result<Reached<'a>, Failure> {
        self.look(installation).await.map_err(|failure| failure.at(installation.stage))
    }

    async fn look<'a>(&self, installation: Installation<'a>) -> Result<Reached<'a>, Failure> {
        let Installation { endpoint, profile, identity, deadline, .. } = installation;
        web::fits(profile, identity.has_key())?;
        let peer = self.peer(endpoint, deadline).await?;
        let seen = self.wire.look(&peer, deadline).await?;
        Ok(Reached { installation, wire: Arc::clone(&self.wire), peer, shown: seen.certificate })
    }
}

impl Reached<'_> {
    /// The second half. `pins`: the pins that the device's record has *now*. Nothing is sent unless one of them
    /// matches the new certificate: otherwise a crash would lock us out. Until the certificate was sent, only the
    /// earlier pins identify the device, so that no credential is sent to a peer that merely has the new key.
    ///
    /// Idempotent.
    pub async fn install(self, pins: &[Pin]) -> Result<Progress<Installed>, Failure> {
        let Installation { endpoint, identity, credential, deadline, .. } = self.installation;
        let address = &endpoint.address;
        if !pins.iter().any(|pin| identity.is_let_in_by(pin)) {
            let message = format!("{address}: the new certificate's key is not recorded as a pin; nothing was sent.");
            return Err(Failure::new(ErrorClass::PinMismatch, message).at(Stage::InstallCertificate));
        }
        let first = |failure: Failure| failure.at(Stage::InstallCertificate);
        let connection = Connection::new(&self.wire, self.peer.clone(), deadline).map_err(first)?;
        let mut session = Session::new(connection, credential);
        let outcome = self.attempt(&mut session, pins).await;
        let clock = session.connection.clock();
        session.close().await;
        let judged = |failure| clock::judged(self.discreet(failure), clock, identity.validity());
        monitor::progress(outcome).map_err(judged)
    }

    async fn attempt(&self, session: &mut Session<'_>, pins: &[Pin]) -> Result<Installed, Stop> {
        let (mut server, changed) =
            self.give(session, pins).await.map_err(|stop| at(stop, Stage::InstallCertificate))?;
        self.check(session, &mut server, pins).await.map_err(|failure| {
            let stage = stage_of(&failure);
            failure.at(stage)
        })?;
        Ok(Installed { shown: self.installation.identity.leaf(), changed })
    }

    /// Stage 800. Ends when the device has reported success, or already had the certificate.
    async fn give(&self, session: &mut Session<'_>, pins: &[Pin]) -> Result<(WebServer, bool), Stop> {
        let leaf = self.installation.identity.leaf();
        if self.shown == leaf {
            session.connection.repin(vec![Pin::Certificate(leaf)])?;
        }
        let mut server = web::find(session, self.installation.profile, self.installation.slot).await?;
        let earlier = Ended::outcome(self.installation.earlier);
        if self.shown == leaf {
            return Ok((server, false));
        }
        let certificate = self.installation.identity.certificate();
        let listing = server.list(session, certificate).await?;
        if shows(&listing, leaf) {
            return Ok((server, false));
        }
        earlier?;
        let member = server.member(&listing, self.shown)?;
        match self.replace(session, &server, &member).await {
            Err(Stop::Failed(failure)) if has_second_chance(&failure) => {
                // The device may have made the change and reported an error, or its restart broke the connection.
                // Accept both certificates.
                session.connection.repin(self.either(pins))?;
                match server.list(session, certificate).await {
                    Ok(listing) if shows(&listing, leaf) => Ok((server, true)),
                    _ => Err(failure.into()),
                }
            }
            outcome => outcome.map(|()| (server, true)),
        }
    }

    async fn replace(&self, session: &mut Session<'_>, server: &WebServer, member: &Link) -> Result<(), Stop> {
        let (text, kind) = server.form(self.installation.identity);
        let replacement = match server.kind {
            Kind::Standard => Replacement::Standard { text: &text, kind, uri: Reference { id: member.as_str() } },
            Kind::Dell => Replacement::Dell { text: &text, kind: "Server" },
            Kind::Hpe => Replacement::Hpe { text: &text },
        };
        // JSON doubles each line break. With this capacity the body never reallocates, so it leaves no copy in
        // memory.
        let mut body: Body = Zeroizing::new(Vec::with_capacity(text.len() + text.lines().count() + 1024));
        if serde_json::to_writer(&mut *body, &replacement).is_err() {
            return Err(Failure::new(ErrorClass::Rejected, "The request cannot be written.").into());
        }
        let answer = session.send(Method::POST, &server.replace(), Some(&body)).await?;
        monitor::finish(session, answer).await.map(|_| ())
    }

    /// Stages 900 and 1100: a new connection shows the certificate, and it is read back over such a connection. Some
    /// controllers list it at once, and show it after a restart.
    async fn check(&self, session: &mut Session<'_>, server: &mut WebServer, pins: &[Pin]) -> Result<(), Failure> {
        let Installation { identity, profile, .. } = self.installation;
        let leaf = identity.leaf();
        let (begun, limit) = (Instant::now(), session.connection.limit());
        match self.await_leaf(limit.min(begun + LISTED), pins).await {
            Err(failure) if failure.class.is_retryable() => {
                session.connection.repin(self.either(pins))?;
                let listed = server.list(session, identity.certificate()).await.map(|listing| shows(&listing, leaf));
                if matches!(listed, Ok(false)) {
                    return Err(failure);
                }
                let shows_old = listed.is_ok() && failure.class == ErrorClass::NotStored;
                if shows_old && profile.restarts_for_certificate() {
                    server.restart(session).await?;
                }
                let shown = self.await_leaf(limit.min(begun + RESTART), pins).await;
                shown.map_err(|failure| if listed.is_ok() { only_listed(failure) } else { failure })?;
            }
            outcome => outcome?,
        }
        session.connection.repin(vec![Pin::Certificate(leaf)])?;
        let listing = server.list(session, identity.certificate()).await?;
        if shows(&listing, leaf) {
            return Ok(());
        }
        let collection = &server.certificates.collection;
        let message = format!("The device shows the certificate {leaf}, but {collection} does not list it.");
        Err(Failure::new(ErrorClass::NotStored, message))
    }

    /// Polls until the device shows the certificate. Until then the device may not answer, or still show the earlier
    /// one.
    async fn await_leaf(&self, until: Instant, pins: &[Pin]) -> Result<(), Failure> {
        let (address, leaf) = (&self.installation.endpoint.address, self.installation.identity.leaf());
        let peer = Peer { pins: self.either(pins), ..self.peer.clone() };
        let mut pause = FIRST_PAUSE;
        loop {
            let seen = self.wire.look(&peer, until).await;
            let failure = match seen {
                Ok(seen) if seen.certificate == leaf => return Ok(()),
                Ok(seen) => still(address, seen.certificate),
                Err(failure) if failure.class.is_retryable() => failure,
                Err(failure) => return Err(failure),
            };
            if Instant::now() + pause >= until {
                return Err(failure);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The pins that identify the device while it changes its certificate.
    fn either(&self, pins: &[Pin]) -> Vec<Pin> {
        let new = Pin::Certificate(self.installation.identity.leaf());
        let all: BTreeSet<Pin> = self.installation.endpoint.pins.iter().chain(pins).copied().chain([new]).collect();
        all.into_iter().collect()
    }

    /// Hides the private key, which the device's message may quote.
    fn discreet(&self, failure: Failure) -> Failure {
        if !self.installation.identity.is_told_in(&failure.message) {
            return failure;
        }
        let message = "The device refused the certificate, in words that repeat the private key: they are not shown.";
        Failure { message: message.to_owned(), ..failure }
    }
}

/// The parameters of the actions that replace a web server's certificate.
#[derive(Serialize)]
#[serde(untagged)]
enum Replacement<'a> {
    /// DSP8010, `CertificateService.ReplaceCertificate`.
    Standard {
        #[serde(rename = "CertificateString")]
        text: &'a str,
        #[serde(rename = "CertificateType")]
        kind: &'a str,
        #[serde(rename = "CertificateUri")]
        uri: Reference<'a>,
    },
    Dell {
        #[serde(rename = "SSLCertificateFile")]
        text: &'a str,
        #[serde(rename = "CertificateType")]
        kind: &'a str,
    },
    Hpe {
        #[serde(rename = "Certificate")]
        text: &'a str,
    },
}

/// A link in the standard's format.
#[derive(Serialize)]
pub(super) struct Reference<'a> {
    #[serde(rename = "@odata.id")]
    pub(super) id: &'a str,
}

fn shows(listing: &Listing, leaf: Fingerprint) -> bool {
    listing.members.iter().any(|member| member.leaf() == Some(leaf))
}

/// The failure of a device that lists the certificate, and does not show it.
fn only_listed(failure: Failure) -> Failure {
    if failure.class != ErrorClass::NotStored {
        return failure;
    }
    let message = format!("{} It lists the new one: restart its management controller.", failure.message);
    Failure { stage: failure.stage, ..Failure::new(ErrorClass::NotShown, message) }
}

fn still(address: &DeviceAddress, shown: Fingerprint) -> Failure {
    let message = format!("{address}: the device took the certificate but still shows sha256:{shown}.");
    Failure::new(ErrorClass::NotStored, message)
}

/// If the web server cannot be reached after the write, it has not restarted yet; every other failure is about its
/// configuration.
const fn stage_of(failure: &Failure) -> Stage {
    match failure.class {
        ErrorClass::Connect | ErrorClass::TlsHandshake | ErrorClass::Timeout => Stage::RestartApplication,
        _ => Stage::CheckConfiguration,
    }
}

fn at(stop: Stop, stage: Stage) -> Stop {
    match stop {
        Stop::Failed(failure) => Stop::Failed(failure.at(stage)),
        running @ Stop::Running { .. } => running,
    }
}
