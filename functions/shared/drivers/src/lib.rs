//! Drivers for devices. A driver installs, removes and reads back trust anchors, has a device create the key and the
//! certificate request for its own certificate, and replaces that certificate and verifies it on a new connection.
//!
//! In scope: the Redfish protocol over pinned TLS, and a device's own certificate as seen by a client.
//!
//! Out of scope: which anchors or certificate a device should have and when (`rootcast-core`), exclusive access to a
//! device and retries (the worker and its queue), where credentials and pins are stored.
//!
//! Rules for every driver:
//! - A device is identified by its pin only. Without a pin no connection is made; if the device shows another
//!   certificate, or does not prove possession of the certificate's key, nothing is sent.
//! - An address is resolved once, every result is checked, and only a checked address is connected to.
//! - A device's answer is never assumed to be short, fast, well formed or genuine.
//! - Success is what was *read back* after the last write.

mod credential;
mod dial;
mod identity;
mod observe;
mod pem;
mod redfish;
mod tls;
mod trust;
mod wire;

pub use credential::Credential;
pub use identity::Identity;
pub use observe::{ObservedCertificate, observe};
pub use redfish::{Assignment, Ended, Enquiry, GenerateCsr, Inspection, Installation, Monitor, Reached, Redfish};
pub use trust::{Converged, Endpoint, Installed, Progress, TrustGoal, TrustStoreContent};
pub use wire::{BODY_LIMIT, Exchanged, Line, Peer, Tls, Wire};
