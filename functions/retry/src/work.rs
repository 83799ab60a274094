//! What failed is queued again, deployment by deployment.
//!
//! The unit is the deployment: resumed, its conductor opens exactly the tasks that failed in it, each with its next
//! attempt, so that a message of an older attempt changes nothing. A deployment is resumed once, however many ask at the
//! same time: the write names the revision that was read, and whoever loses it finds the work queued. One that still
//! runs is not resumed, because that would send again what the queue is trying by itself.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use rootcast_core::certificate_id::CertificateId;
use rootcast_core::job::{JobId, Reopen};
use rootcast_core::message::Control;
use rootcast_ledger::{JobRecord, LedgerError, UseRecord};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::App;
use crate::refusal::{Failure, Refused, ResultCode};

/// Deployments under way at once. Each takes some 30 ms, so that 10 000 are resumed within the function's time.
const CONCURRENCY: usize = 16;
/// A deployment that changes, or is about to end, is looked at so often ...
const LOOKS: u32 = 9;
/// ... with pauses between that double from this one: 5.1 s in all, in which a conductor ends what it has to end.
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
        deadline: Instant,
    ) -> Added {
        let mut jobs: BTreeMap<JobId, Vec<UseRecord>> = BTreeMap::new();
        for each in failed {
            jobs.entry(each.job).or_default().push(each);
        }
        let resuming = jobs.into_iter().map(|(job, failed)| async move {
            let resumed = self.resume(certificate, job, &failed, deadline).await;
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
        deadline: Instant,
    ) -> Vec<Refused> {
        self.try_to_resume(certificate, job, failed, deadline).await.unwrap_or_else(|error| {
            error!(job.id = %job, error = &error as &dyn Error, "deployment not resumed");
            refuse(failed, &Failure::from(&error))
        })
    }

    async fn try_to_resume(
        &self,
        certificate: CertificateId,
        job: JobId,
        failed: &[UseRecord],
        deadline: Instant,
    ) -> Result<Vec<Refused>, LedgerError> {
        let mut left: Vec<&UseRecord> = failed.iter().collect();
        let mut why = Failure::from(&LedgerError::Conflict);
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(PAUSE * 2u32.pow(look - 1)).await;
            }
            if Instant::now() >= deadline {
                let over = "The time of the request was over before its turn: send the request again.";
                return Ok(refuse(left, &Failure::new(ResultCode::TransactionCollision, over)));
            }
            let Some(JobRecord::Deployment(deployment)) = self.ledger.job_of_any_kind(job).await? else {
                let gone = format!("The deployment {job} is no more: deploy the certificate to the device again.");
                return Ok(refuse(left, &Failure::new(ResultCode::IdentifierDoesNotExist, gone)));
            };
            if deployment.is_running() && deployment.reopen == Reopen::All {
                // Another retry was faster.
                return Ok(Vec::new());
            }
            let devices = deployment.devices.clone();
            match deployment.resume((self.clock)()) {
                Ok(resumed) => match self.ledger.save_deployment(&resumed).await {
                    Err(LedgerError::Conflict | LedgerError::Transient { .. }) => {}
                    saved => {
                        saved?;
                        info!(job.id = %job, "deployment resumed");
                        self.wake(job).await;
                        return Ok(Vec::new());
                    }
                },
                Err(not_resumed) => {
                    let details = format!("The deployment {job} cannot be resumed: {not_resumed}.");
                    why = Failure::new(ResultCode::TransactionCollision, details);
                    let uses = self.ledger.uses_by(certificate, &devices).await?;
                    // Those that another retry had opened are done with.
                    left.retain(|before| same(before, &uses).is_some_and(|now| is_as_it_was(before, now)));
                    if left.is_empty() || uses.iter().any(|each| each.job == job && each.is_under_way()) {
                        break;
                    }
                    // Every device has its result: the conductor is about to record the end.
                    if look == 0 {
                        self.wake(job).await;
                    }
                }
            }
        }
        Ok(refuse(left, &why))
    }

    /// Tells the conductor to look. Nothing is lost where that fails: a schedule wakes it within a minute.
    async fn wake(&self, job: JobId) {
        let control = Control { job, why: "retry".to_owned() };
        if let Err(error) = self.queue.send_control(&self.control_queue, &control).await {
            warn!(job.id = %job, error = &error as &dyn Error, "the conductor could not be woken; its schedule will");
        }
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
    (now.job, now.attempt, now.in_error) == (before.job, before.attempt, true)
}
