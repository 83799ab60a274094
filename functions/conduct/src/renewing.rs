//! Devices' own certificates are renewed by themselves: `rotate` finds which are due, and this begins their jobs.

use std::convert::Infallible;
use std::error::Error;

use rootcast_core::inventory::id::CertificateId;
use rootcast_core::metric::Metric;
use rootcast_core::rollover::windows::Window;
use rootcast_ledger::LedgerError;
use rootcast_operations::{NotDone, Operations};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::{App, ConductError, MARGIN};

impl App {
    /// Begins a job that renews those of the certificates that are due. What cannot begin now is asked for again in an hour.
    ///
    /// # Errors
    /// The records could not be read or written: the message comes back.
    pub(crate) async fn renew(&self, certificates: &[CertificateId], deadline: Instant) -> Result<(), ConductError> {
        if !self.renewal.is_on() {
            return Ok(());
        }
        match self.begin_renewal(certificates, deadline).await {
            // One that cannot be read holds up no other.
            Err(why) if is_unreadable(&why) => {
                for certificate in certificates {
                    if let Err(why) = self.begin_renewal(std::slice::from_ref(certificate), deadline).await {
                        let error = &why as &dyn Error;
                        error!(certificate.id = %certificate, error, "it could not be renewed by itself");
                    }
                }
                Ok(())
            }
            Err(NotDone::Ledger(error)) => Err(error.into()),
            Err(NotDone::Refused(never)) => match never {},
            Err(why @ (NotDone::Busy | NotDone::Late)) => {
                warn!(certificates = certificates.len(), "renewals are left to the next hour: {why}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// The windows of what begins by itself. Without the rollout that the policy names, nothing is held back: a certificate
    /// that ends is worse.
    async fn windows_by_itself(&self) -> Result<Vec<Window>, LedgerError> {
        let Some(name) = self.ledger.policy().await?.rollout else { return Ok(Vec::new()) };
        let rollouts = self.ledger.rollouts().await?;
        if rollouts.get(&name).is_none() {
            warn!("there is no rollout {name}, which the certificate policy names: renewals keep to no window");
        }
        Ok(rollouts.get(&name).map(|template| template.windows.clone()).unwrap_or_default())
    }

    async fn begin_renewal(
        &self,
        certificates: &[CertificateId],
        deadline: Instant,
    ) -> Result<(), NotDone<Infallible>> {
        let operations = Operations {
            ledger: &self.ledger,
            queue: &self.queue,
            control_queue: &self.control_queue,
            clock: self.clock,
            deadline: deadline.checked_sub(MARGIN),
        };
        let windows = self.windows_by_itself().await?;
        let done = operations.renew(certificates, self.renewal, self.renewals_an_hour, &windows).await?;
        if let Some(job) = done.job {
            info!(job.id = job.id.0, certificates = job.devices.len(), "certificates are renewed by themselves");
        }
        if done.left > 0 {
            warn!(
                certificates = done.left,
                "renewals are left to the next hour: as many as there may be have begun in this one"
            );
        }
        if done.late > 0 {
            self.gauge(Metric::RenewalsLate, done.late as u64);
        }
        Ok(())
    }
}

fn is_unreadable(why: &NotDone<Infallible>) -> bool {
    matches!(why, NotDone::Ledger(LedgerError::Corrupt { .. } | LedgerError::Unwritable { .. }))
}
