//! How devices are spoken to: their trust anchors are installed, removed, and read back.
//!
//! In scope: the Redfish protocol over pinned TLS, and what a device's own certificate looks like from outside.
//!
//! Out of scope: which anchors a device should hold and when (`rootcast-core`), who works on a device at a time and how
//! often it is tried again (the worker and its queue), where credentials are kept.
//!
//! Rules that every driver keeps:
//! - A device is recognised by its pin alone. Without a pin nothing is connected; with another certificate, or without
//!   proof of the certificate's key, nothing is sent.
//! - An address is resolved once, every result is checked, and only a checked address is connected to.
//! - Nothing that a device answers is trusted to be short, fast, well formed or its own.
//! - Done is what was *read back* after the last write.

mod credential;
mod dial;
mod observe;
mod pem;
mod redfish;
mod tls;
mod trust;

pub use credential::Credential;
pub use observe::{ObservedCertificate, observe};
pub use redfish::{Assignment, Monitor, Redfish};
pub use trust::{Converged, Endpoint, Held, Progress, TrustGoal};
