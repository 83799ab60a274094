//! A root generation's life, from the reserved record to the scheduled deletion of its key.

use serde::{Deserialize, Serialize};

/// Where a root generation stands. RFC 9810 §4.4 names the certificates, `phase` of a job names the steps between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GenerationState {
    /// Serial, dates and algorithm are recorded; there may be a key, there is no certificate yet.
    Reserved,
    /// Its certificate is in the bundle and on its way to the devices. It signs no certificate.
    Published,
    /// The one that signs.
    Signing,
    /// Was signing before; still trusted, signs only its last CRL.
    Superseded,
    /// Taken out of the bundle and off the devices.
    Distrusted,
    /// Its key is disabled and scheduled for deletion.
    Retired,
    /// Its rollover was aborted before it signed anything; its key is scheduled for deletion.
    Abandoned,
}

impl GenerationState {
    /// Whether devices are to trust it: these are the bundle's anchors, and the signers of the published bundle.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Published | Self::Signing | Self::Superseded)
    }
}
