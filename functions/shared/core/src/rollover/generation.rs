//! The life of a root generation, from the reserved record to the scheduled deletion of its key.

use serde::{Deserialize, Serialize};

/// State of a root generation. RFC 9810 §4.4 names the certificates; the `phase` of a job names the steps between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GenerationState {
    /// Serial, dates and algorithm are recorded. There may be a key, but no certificate yet.
    Reserved,
    /// The certificate is in the bundle and on its way to the devices. It signs no certificates yet.
    Published,
    /// The root that signs.
    Signing,
    /// Signed before; is still trusted, and signs only its last CRL.
    Superseded,
    /// Removed from the bundle and from the devices.
    Distrusted,
    /// Its key is disabled and scheduled for deletion.
    Retired,
    /// Its rollover was aborted before it signed anything. Its key is scheduled for deletion.
    Abandoned,
}

impl GenerationState {
    /// Whether devices should trust it. The live generations are the bundle's anchors, and sign the published bundle.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Published | Self::Signing | Self::Superseded)
    }
}
