//! Trust anchors, the web server's certificate, and the request for it, on devices with Redfish (DMTF DSP0266).
//!
//! An attempt at trust anchors: connect to a checked address with the pin, log in, list the trust slot, write what is
//! missing, list again, log out. Requests of an attempt on a device that gets its first anchor (`e`: anchors that
//! exist already):
//!
//! | profile | before the slot | slot | after |
//! |---|---|---|---|
//! | `openbmc`, `lenovo-xcc` | log in | list + `e`, POST, list + `e` + 1 | log out |
//! | `dmtf`, `supermicro` | root, log in, managers, policy | the same, or list, POST, list with `$expand` | log out |
//! | `dell-idrac` | root, log in | export, import, export | log out |
//! | `hpe-ilo` | root, log in | list + `e`, import, list + `e` + 1 | log out |
//! | `vmedia` with Basic | root, systems, media (none of both with a `slot`) | list + 1, POST, list + 1 | – |
//!
//! If nothing is missing, nothing is written, and the first listing is the proof. A check never writes. That an empty slot
//! lacks what is to be removed takes two to four requests more: see `absence`.

mod absence;
mod bundle;
mod check;
mod clock;
mod collection;
mod connection;
mod dell;
mod fault;
mod ilo;
mod install;
mod link;
mod listing;
mod manager;
mod monitor;
mod probe;
mod request;
mod session;
mod slot;
mod web;

use std::collections::BTreeSet;
use std::sync::Arc;

use rootcast_core::device::address::AddressPolicy;
use rootcast_core::device::{Profile, Slot};
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_pki::fingerprint::Fingerprint;
use tokio::time::Instant;

pub use self::check::Inspection;
pub use self::install::{Installation, Reached};
pub use self::monitor::{Ended, Enquiry, Monitor};
pub use self::request::GenerateCsr;

use self::connection::Connection;
use self::monitor::Stop;
use self::session::Session;
use self::slot::Shape;
use crate::credential::Credential;
use crate::dial::resolve;
use crate::pem::Anchor;
use crate::trust::{Converged, Endpoint, Progress, TrustGoal};
use crate::wire::{Peer, Wire, tls};

/// The driver for Redfish devices.
#[derive(Debug, Clone)]
pub struct Redfish {
    policy: Arc<AddressPolicy>,
    wire: Arc<dyn Wire>,
}

/// One attempt on one device.
#[derive(Debug, Clone, Copy)]
pub struct Assignment<'a> {
    pub endpoint: &'a Endpoint,
    pub profile: Profile,
    /// The collection of certificates, instead of the profile's.
    pub slot: Option<&'a Slot>,
    pub credential: &'a Credential,
    pub goal: &'a TrustGoal,
    /// The result of an asynchronous operation that an earlier attempt at this task started.
    pub earlier: Option<&'a Ended>,
    /// When the attempt must be finished, including the log-out. No work remains afterwards, so await the future: if
    /// it is dropped, it cannot log out. An attempt on a device that does not answer ends a little earlier.
    pub deadline: Instant,
}

impl Redfish {
    /// A driver that connects over TLS.
    pub fn new(policy: Arc<AddressPolicy>) -> Self {
        Self::over(tls(), policy)
    }

    pub fn over(wire: Arc<dyn Wire>, policy: Arc<AddressPolicy>) -> Self {
        Self { policy, wire }
    }

    /// Installs, removes, and reads back. Idempotent: anchors that exist already are not written.
    ///
    /// The failure's class says whether to retry. The credential is used for one log-in; a second log-in only follows
    /// if the first one succeeded and its session expired.
    pub async fn converge(&self, assignment: &Assignment<'_>) -> Result<Progress, Failure> {
        let goal = Goal::new(assignment.goal)?;
        let mut session = self.session(assignment.endpoint, assignment.credential, assignment.deadline).await?;
        let outcome = attempt(&mut session, assignment, &goal).await;
        let wrote = session.wrote;
        session.close().await;
        monitor::progress(outcome).map_err(|failure| Failure { wrote, ..failure })
    }

    /// Does not connect yet.
    async fn session<'a>(
        &self,
        endpoint: &Endpoint,
        credential: &'a Credential,
        deadline: Instant,
    ) -> Result<Session<'a>, Failure> {
        let peer = self.peer(endpoint, deadline).await?;
        Ok(Session::new(Connection::new(&self.wire, peer, deadline)?, credential))
    }

    /// An approved device with its checked addresses.
    async fn peer(&self, endpoint: &Endpoint, deadline: Instant) -> Result<Peer, Failure> {
        let Endpoint { address, pins } = endpoint;
        if pins.is_empty() {
            let message = format!("{address}: no certificate of this device is approved.");
            return Err(Failure::new(ErrorClass::PinMismatch, message));
        }
        let sockets = resolve(&self.policy, address, deadline).await?;
        Ok(Peer { address: address.clone(), sockets, pins: pins.clone() })
    }
}

async fn attempt(session: &mut Session<'_>, assignment: &Assignment<'_>, goal: &Goal) -> Result<Converged, Stop> {
    let mut slot = slot::find(session, assignment.profile, assignment.slot).await?;
    let earlier = Ended::outcome(assignment.earlier);
    match slot.shape {
        Shape::Members => collection::converge(session, &mut slot, goal, earlier).await,
        Shape::Bundle => bundle::converge(session, &mut slot, goal, earlier).await,
        Shape::Dell => dell::converge(session, &slot, goal, earlier).await,
        Shape::Ilo => ilo::converge(session, &slot, goal, earlier).await,
    }
}

/// A goal without duplicates and without contradictions between its lists.
struct Goal {
    install: Vec<Anchor>,
    optional: Vec<Anchor>,
    remove: BTreeSet<Fingerprint>,
}

impl Goal {
    fn new(goal: &TrustGoal) -> Result<Self, Failure> {
        let remove: BTreeSet<_> = goal.remove.iter().copied().collect();
        let (mut install, mut optional): (Vec<Anchor>, Vec<Anchor>) = Default::default();
        let required = goal.install.iter().map(|der| (der, true));
        for (der, is_required) in required.chain(goal.optional.iter().map(|der| (der, false))) {
            let anchor = Anchor::new(der.clone());
            if remove.contains(&anchor.fingerprint) {
                let message = format!("The certificate {} is to be both installed and removed.", anchor.fingerprint);
                return Err(Failure::new(ErrorClass::Rejected, message));
            }
            if !install.contains(&anchor) && !optional.contains(&anchor) {
                if is_required { install.push(anchor) } else { optional.push(anchor) }
            }
        }
        Ok(Self { install, optional, remove })
    }
}
