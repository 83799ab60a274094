//! How devices are spoken to: their trust anchors are installed, removed, and read back; they make
//! the key and the request for their own certificate; that is replaced, and seen on a new connection.
//!
//! In scope: the Redfish protocol over pinned TLS, and what a device's own certificate looks like from outside.
//!
//! Out of scope: which anchors or which certificate a device should have and when (`rootcast-core`), who works on a
//! device at a time and how often it is tried again (the worker and its queue), where credentials and pins are kept.
//!
//! Rules that every driver keeps:
//! - A device is recognised by its pin alone. Without a pin nothing is connected; with another certificate, or without
//!   proof of the certificate's key, nothing is sent.
//! - An address is resolved once, every result is checked, and only a checked address is connected to.
//! - Nothing that a device answers is trusted to be short, fast, well formed or its own.
//! - Done is what was *read back* after the last write.

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
pub use redfish::{Assignment, Ended, Enquiry, GenerateCsr, Installation, Monitor, Reached, Redfish, RequestedKey};
pub use trust::{Converged, Endpoint, Installed, Progress, TrustGoal, TrustStoreContent};
pub use wire::{BODY_LIMIT, Exchanged, Line, Peer, Tls, Wire};
