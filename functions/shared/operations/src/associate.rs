//! Associates a certificate with devices, or dissociates it, without a job.

use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::deployment::lifecycle::Work;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_ledger::{CertificateOrPending, DeviceRecord, UseRecord};

use crate::attempts::attempts_until;
use crate::deploy::may_go_to_devices;
use crate::judge::{at_rest, judge};
use crate::{DeviceRefusal, NotBegun, NotDone, Operations, Request};

impl Operations<'_> {
    /// Binds the certificate to those of the devices (1 to [`MOST_BINDINGS`](rootcast_ledger::MOST_BINDINGS)) that it
    /// is not bound to yet. If one of them is refused, none is bound. Returns the refused devices.
    ///
    /// Five calls without a conflict: certificate, devices, uses, audit chain, one transaction.
    pub async fn associate(
        &self,
        certificate: CertificateId,
        devices: &[DeviceId],
        by: &Actor,
    ) -> Result<Vec<(DeviceId, DeviceRefusal)>, NotDone<NotBegun>> {
        let (ledger, request) = (self.ledger, self.request(by));
        attempts_until(
            self.deadline,
            |_| false,
            || async {
                may_go_to_devices(ledger, certificate, request.now).await?;
                let mut found = ledger.devices_by_id(devices).await?;
                let uses = ledger.uses_to_take_over(found.values()).await?;
                let (mut fresh, mut refused) = (Vec::new(), Vec::new());
                for id in devices.iter().filter(|id| binding_of(&uses, certificate, id).is_none()) {
                    match judge(found.remove(id), certificate, Work::Install, &uses) {
                        Ok(new) => fresh.push(new.device),
                        Err(why) => refused.push((id.clone(), why)),
                    }
                }
                if !fresh.is_empty() && refused.is_empty() {
                    let acts = acts(certificate, Action::Associate, fresh.iter().map(|device| &device.id), request);
                    ledger.bind(certificate, &fresh, &acts).await?;
                }
                Ok(refused)
            },
        )
        .await
    }

    /// Unbinds the certificate from those of the devices (1 to [`MOST_BINDINGS`](rootcast_ledger::MOST_BINDINGS)) that
    /// it is bound to. If one of them is refused, none is unbound. Returns the refused devices. The certificate that a
    /// device presents does not change.
    ///
    /// # Errors
    /// [`NotBegun::Own`]: a device's own certificate cannot be dissociated from its device.
    pub async fn dissociate(
        &self,
        certificate: CertificateId,
        devices: &[DeviceId],
        by: &Actor,
    ) -> Result<Vec<(DeviceId, DeviceRefusal)>, NotDone<NotBegun>> {
        let (ledger, request) = (self.ledger, self.request(by));
        attempts_until(
            self.deadline,
            |_| false,
            || async {
                let held = ledger.certificate_or_pending(certificate).await?.ok_or(NotBegun::NoCertificate)?;
                if let Some(device) = CertificateOrPending::device(&held) {
                    return Err(NotBegun::Own(device.clone()).into());
                }
                let mut found = ledger.devices_by_id(devices).await?;
                let uses = ledger.uses_to_take_over(found.values()).await?;
                let (mut bindings, mut refused): (Vec<(DeviceRecord, UseRecord)>, _) = (Vec::new(), Vec::new());
                for id in devices {
                    let device = found.remove(id).ok_or(DeviceRefusal::NoDevice);
                    match device.and_then(|device| at_rest(&device, &uses).map(|()| device)) {
                        Ok(device) => {
                            bindings.extend(binding_of(&uses, certificate, id).map(|binding| (device, binding.clone())))
                        }
                        Err(why) => refused.push((id.clone(), why)),
                    }
                }
                if !bindings.is_empty() && refused.is_empty() {
                    let acts =
                        acts(certificate, Action::Dissociate, bindings.iter().map(|(device, _)| &device.id), request);
                    ledger.unbind(certificate, &bindings, &acts).await?;
                }
                Ok(refused)
            },
        )
        .await
    }
}

/// The audit entries, with the names of all devices.
fn acts<'a>(
    certificate: CertificateId,
    action: Action,
    devices: impl Iterator<Item = &'a DeviceId>,
    Request { by, now }: Request<'_>,
) -> Vec<Act> {
    let names: Vec<String> = devices.map(DeviceId::to_string).collect();
    Act::new(Subject::Certificate(certificate), action, by, now).with("devices", names.len()).naming("names", names)
}

fn binding_of<'a>(uses: &'a [UseRecord], certificate: CertificateId, device: &DeviceId) -> Option<&'a UseRecord> {
    uses.iter().find(|binding| binding.certificate == certificate && binding.device == *device)
}
