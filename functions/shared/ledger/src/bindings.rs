//! Bindings without a job: a certificate is associated with a device without being installed, or is dissociated from
//! it.
//!
//! Certificate, device and use change in one transaction, as in a deployment.

use rootcast_core::audit::Act;
use rootcast_core::deployment::lifecycle::{Lifecycle, Work};
use rootcast_core::inventory::id::CertificateId;
use time::OffsetDateTime;

use crate::commit::TRANSACTION;
use crate::{DeviceRecord, Ledger, LedgerError, UseRecord};

/// Most devices to bind at once. `TransactWriteItems` takes 100 writes: two per device, one for the certificate, two
/// for its audit chain.
pub const MOST_BINDINGS: usize = 48;

/// Most certificates bound to one device. Deleting a device is one transaction: one write for the device, two per
/// binding (the use, and the certificate's count), two for the fleet's list, two for a running rollover, one for what is
/// revoked with it, two for its audit chain, and one to spare.
pub const MOST_BINDINGS_OF_DEVICE: usize = 45;

const _: () = assert!(1 + 2 * MOST_BINDINGS_OF_DEVICE + 2 + 2 + 1 + 2 < TRANSACTION);
const _: () = assert!(2 * MOST_BINDINGS + 1 + 2 < TRANSACTION);

const BOUND: &str = "The certificate is associated with the device, and was not brought there yet.";

impl Ledger {
    /// Gives each device, as it was read, an idle use of the certificate. No device may have one yet. 1 to
    /// [`MOST_BINDINGS`] devices. `acts`: for the certificate's audit chain.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if a device was changed or the certificate was deleted; then nothing is written.
    pub async fn bind(
        &self,
        certificate: CertificateId,
        devices: &[DeviceRecord],
        acts: &[Act],
    ) -> Result<(), LedgerError> {
        let mut writes = vec![self.count_uses(certificate, i64::try_from(devices.len()).unwrap_or(i64::MAX))?];
        let now = acts.first().map_or(OffsetDateTime::UNIX_EPOCH, |act| act.at);
        for device in devices {
            let idle = Lifecycle::idle(Work::Install, BOUND);
            writes.push(self.put_use(&UseRecord::new(certificate, device.id.clone(), idle, now))?);
            let mut bound = device.clone();
            bound.bindings.push(certificate);
            writes.push(self.replace_bindings(&bound)?);
        }
        self.transact_audited(writes, acts).await
    }

    /// Removes each device's use of the certificate; both as they were read. 1 to [`MOST_BINDINGS`] devices.
    ///
    /// # Errors
    /// As for [`Ledger::bind`].
    pub async fn unbind(
        &self,
        certificate: CertificateId,
        bindings: &[(DeviceRecord, UseRecord)],
        acts: &[Act],
    ) -> Result<(), LedgerError> {
        let mut writes =
            vec![self.count_uses(certificate, i64::try_from(bindings.len()).map_or(i64::MIN, |less| -less))?];
        for (device, binding) in bindings {
            writes.push(self.drop_use(binding)?);
            let mut freed = device.clone();
            freed.bindings.retain(|other| *other != certificate);
            writes.push(self.replace_bindings(&freed)?);
        }
        self.transact_audited(writes, acts).await
    }
}
