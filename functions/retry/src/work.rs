//! What failed is queued again, deployment by deployment.
//!
//! Recorded with the deployment is which devices are to be tried again; its conductor opens exactly those that failed,
//! at the stage at which each failed and with its next attempt, so that a message of an older attempt changes nothing.
//! However many ask at the same time, it is done once: the write names the revision that was read, and whoever loses it
//! finds the work queued. What the queue is still trying by itself has not failed, and is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::deployment::NotResumed;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::{JobId, Selection};
use rootcast_dialects::venafi::{Failure, Refused, ResultCode};
use rootcast_ledger::{JobRecord, LedgerError, UseRecord};
use tokio::time::Instant;
use tracing::{error, info};

use crate::App;

/// Deployments under way at once. Each takes some 30 ms, so that 10 000 are resumed within the function's time.
const CONCURRENCY: usize = 16;
/// A deployment that changes is looked at so often ...
const LOOKS: u32 = 9;
/// ... with pauses between that double from this one: 5.1 s in all.
const PAUSE: Duration = Duration::from_millis(20);

/// What came of a certificate's failed uses.
#[derive(Debug)]
pub(crate) struct Added {
    /// As they were read, in error.
    pub(crate) retried: Vec<UseRecord>,
    pub(crate) refused: Vec<Refused>,
}

impl App {
    pub(crate) async fn add_work(
        &self,
        certificate: CertificateId,
        failed: Vec<UseRecord>,
        by: &Actor,
        deadline: Instant,
    ) -> Added {
        let mut jobs: BTreeMap<JobId, Vec<UseRecord>> = BTreeMap::new();
        for each in failed {
            // What failed has a job.
            if let Some(job) = each.job {
                jobs.entry(job).or_default().push(each);
            }
        }
        let resuming = jobs.into_iter().map(|(job, failed)| async move {
            let resumed = self.resume(certificate, job, &failed, by, deadline).await;
            (resumed, failed)
        });
        let resumed: Vec<_> = stream::iter(resuming).buffered(CONCURRENCY).collect().await;
        let mut added = Added { retried: Vec::new(), refused: Vec::new() };
        for (refused, failed) in resumed {
            if refused.is_empty() {
                added.retried.extend(failed);
            }
            added.refused.extend(refused);
        }
        added
    }

    /// Answers which devices will not be tried again.
    async fn resume(
        &self,
        certificate: CertificateId,
        job: JobId,
        failed: &[UseRecord],
        by: &Actor,
        deadline: Instant,
    ) -> Vec<Refused> {
        self.try_to_resume(certificate, job, failed, by, deadline).await.unwrap_or_else(|error| {
            error!(job.id = %job, error = &error as &dyn Error, "deployment not resumed");
            refuse(failed, &Failure::from(&error))
        })
    }

    async fn try_to_resume(
        &self,
        certificate: CertificateId,
        job: JobId,
        failed: &[UseRecord],
        by: &Actor,
        deadline: Instant,
    ) -> Result<Vec<Refused>, LedgerError> {
        let devices: BTreeSet<DeviceId> = failed.iter().map(|each| each.device.clone()).collect();
        let mut why = Failure::from(&LedgerError::Conflict);
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(PAUSE * 2u32.pow(look - 1)).await;
            }
            if Instant::now() >= deadline {
                let over = "The time of the request was over before its turn: send the request again.";
                return Ok(refuse(failed, &Failure::new(ResultCode::TransactionCollision, over)));
            }
            let Some(JobRecord::Deployment(deployment)) = self.ledger.job_of_any_kind(job).await? else {
                let gone = format!("The deployment {job} is no more: deploy the certificate to the device again.");
                return Ok(refuse(failed, &Failure::new(ResultCode::IdentifierDoesNotExist, gone)));
            };
            let now = (self.clock)();
            let act = Act::new(Subject::Job(job), Action::Retry, by, now);
            let act = act.with("certificate", certificate).with("devices", devices.len());
            let before = deployment.is_running().then(|| deployment.reopen.clone());
            match deployment.retry(Selection { devices: devices.clone(), ..Selection::everything(now) }, now) {
                // Another retry was faster.
                Ok(next) if before.is_some_and(|before| before == next.reopen) => return Ok(Vec::new()),
                Ok(next) => match self.ledger.save_deployment(&next, Some(&act)).await {
                    Err(LedgerError::Conflict) => {}
                    saved => {
                        saved?;
                        info!(job.id = %job, "failed devices are tried again");
                        self.wake(job, "retry").await;
                        return Ok(Vec::new());
                    }
                },
                Err(not_resumed) => {
                    let details = format!("The deployment {job} cannot be resumed: {not_resumed}.");
                    why = Failure::new(ResultCode::TransactionCollision, details);
                    if not_resumed == NotResumed::NothingFailed {
                        // Those that another retry had opened are done with.
                        let uses = self.ledger.uses_by(certificate, &devices).await?;
                        let still =
                            |before: &&UseRecord| same(before, &uses).is_some_and(|now| is_as_it_was(before, now));
                        return Ok(refuse(failed.iter().filter(still), &why));
                    }
                }
            }
        }
        Ok(refuse(failed, &why))
    }
}

fn refuse<'a>(uses: impl IntoIterator<Item = &'a UseRecord>, why: &Failure) -> Vec<Refused> {
    uses.into_iter().map(|each| Refused { device: each.device.clone(), failure: why.clone() }).collect()
}

/// The same use; `None` where the device has gone, or another certificate has taken its place there.
pub(crate) fn same<'a>(before: &UseRecord, uses: &'a [UseRecord]) -> Option<&'a UseRecord> {
    uses.iter().find(|each| each.device == before.device)
}

pub(crate) fn is_as_it_was(before: &UseRecord, now: &UseRecord) -> bool {
    (now.job, now.lifecycle.attempt, now.lifecycle.in_error) == (before.job, before.lifecycle.attempt, true)
}
