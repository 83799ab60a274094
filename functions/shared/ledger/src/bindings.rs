//! Bindings without a job: a device is to have a certificate some day, or is no longer to have it.
//!
//! Certificate, device and use change in one transaction, as they do for a deployment.

use rootcast_core::audit::Act;
use rootcast_core::deployment::lifecycle::{Lifecycle, Work};
use rootcast_core::inventory::id::CertificateId;

use crate::commit::TRANSACTION;
use crate::{DeviceRecord, Ledger, LedgerError, UseRecord};

/// Devices that are bound at once. `TransactWriteItems` takes 100 writes: two a device, one of the certificate, two of its
/// audit chain.
pub const MOST_BINDINGS: usize = 48;

/// Certificates that one device is bound to at once. A device is deleted in one transaction with all of them: one write of
/// the device, two a binding (the use, and the certificate's count), and six are left for the lists and the audit chain that
/// a device may be in.
pub const MOST_BINDINGS_OF_DEVICE: usize = 46;

const _: () = assert!(1 + 2 * MOST_BINDINGS_OF_DEVICE + 6 < TRANSACTION);
const _: () = assert!(2 * MOST_BINDINGS + 1 + 2 < TRANSACTION);

const BOUND: &str = "The certificate is associated with the device, and was not brought there yet.";

impl Ledger {
    /// Each device, as it was read, gets an idle use of the certificate that it has none of. 1 to [`MOST_BINDINGS`]. `act`: who
    /// did that, for the certificate's audit chain.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where a device was changed, or the certificate was deleted; nothing is written then.
    pub async fn bind(
        &self,
        certificate: CertificateId,
        devices: &[DeviceRecord],
        act: &Act,
    ) -> Result<(), LedgerError> {
        let mut writes = vec![self.count_uses(certificate, i64::try_from(devices.len()).unwrap_or(i64::MAX))?];
        for device in devices {
            let idle = Lifecycle::idle(Work::Install, BOUND);
            writes.push(self.put_use(&UseRecord::new(certificate, device.id.clone(), idle, act.at))?);
            let mut bound = device.clone();
            bound.bindings.push(certificate);
            writes.push(self.replace_bindings(&bound)?);
        }
        self.transact_audited(writes, act).await
    }

    /// Each device, as it was read, loses its use of the certificate, as it was read. 1 to [`MOST_BINDINGS`].
    ///
    /// # Errors
    /// As [`Ledger::binding`].
    pub async fn unbind(
        &self,
        certificate: CertificateId,
        bindings: &[(DeviceRecord, UseRecord)],
        act: &Act,
    ) -> Result<(), LedgerError> {
        let mut writes =
            vec![self.count_uses(certificate, i64::try_from(bindings.len()).map_or(i64::MIN, |less| -less))?];
        for (device, binding) in bindings {
            writes.push(self.drop_use(binding)?);
            let mut freed = device.clone();
            freed.bindings.retain(|other| *other != certificate);
            writes.push(self.replace_bindings(&freed)?);
        }
        self.transact_audited(writes, act).await
    }
}
