//! `Device Certificate Renewal Requested`: renewals of devices' own certificates, by an event.

use rootcast_core::asked::{Asked, EventId, NotAsked, Wanted};
use rootcast_core::audit::Subject;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::CertificateDn;
use rootcast_core::job::JobId;
use rootcast_gate::{Unmet, once};
use rootcast_ledger::LedgerError;
use rootcast_operations::NotDone;
use tracing::warn;

use crate::App;

/// # Errors
/// See [`Unmet`]. The renewals that were begun go on.
pub async fn carry_out(app: &App, event: &str) -> Result<(), Unmet> {
    let asked = Asked::read(event)?;
    let Wanted::Renewals(devices) = &asked.wanted else { return Err(NotAsked::DetailType.into()) };
    let done = once(&app.ledger, &asked, app.clock, async |again| {
        let (mut begun, mut refused) = (Vec::new(), Vec::new());
        for device in devices {
            match app.renewed_for(&asked, device, again).await? {
                Ok(job) => begun.push(format!("{device} by job {job}")),
                Err(why) => {
                    warn!(event.id = %asked.id, device.id = %device, "its certificate is not renewed: {why}");
                    refused.push(format!("{device}: {why}"));
                }
            }
        }
        let begun = if begun.is_empty() { "no renewal".to_owned() } else { format!("renewed: {}", begun.join(", ")) };
        if refused.is_empty() { Ok(begun) } else { Err(Unmet::Refused(format!("{begun}; {}", refused.join("; ")))) }
    })
    .await;
    app.ledger.tell().await;
    done
}

impl App {
    /// The job that renews the device's certificate, or why there is none.
    async fn renewed_for(&self, asked: &Asked, device: &DeviceId, again: bool) -> Result<Result<JobId, String>, Unmet> {
        // This function makes no first certificate: whoever may have one made asks catalog.
        let Some(certificate) = self.ledger.certificate_by_dn(&CertificateDn::of_device(device)).await? else {
            let why = format!("it has no certificate of ours; POST /devices/{device}/certificate has one made.");
            return Ok(Err(why));
        };
        if again {
            let held = self.ledger.uses_by(certificate, [device]).await?.pop();
            if let Some(job) = held.and_then(|held| held.job)
                && self.is_for(job, &asked.id).await?
            {
                return Ok(Ok(job));
            }
        }
        match self.operations().issue(device, &asked.actor()).await {
            Ok(job) => Ok(Ok(job.id)),
            Err(NotDone::Refused(why)) => Ok(Err(why.to_string())),
            Err(NotDone::Ledger(error)) => Err(error.into()),
            Err(why @ (NotDone::Busy | NotDone::Late)) => Err(Unmet::Passing(why.to_string())),
        }
    }

    async fn is_for(&self, job: JobId, event: &EventId) -> Result<bool, LedgerError> {
        let entry = self.ledger.audit_entry(&Subject::Job(job), 1).await?;
        Ok(entry.and_then(|entry| entry.request_id).is_some_and(|id| id == event.to_string()))
    }
}
