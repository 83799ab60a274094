//! Queues failed uses again, deployment by deployment. A use that the queue itself is still retrying has not failed,
//! and is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use futures::stream::{self, StreamExt};
use rootcast_core::audit::Actor;
use rootcast_core::deployment::NotResumed;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::{JobId, Refused as NotNow};
use rootcast_dialects::venafi::{Failure, Refused, ResultCode};
use rootcast_ledger::{LedgerError, UseRecord};
use rootcast_operations::{JobRefusal, NotDone, Requeued};
use tokio::time::Instant;
use tracing::{error, info};

use crate::App;

/// Concurrent deployments. Each takes some 30 ms, so 10 000 are resumed within the function's time.
const CONCURRENCY: usize = 16;

/// The result for a certificate's failed uses.
#[derive(Debug)]
pub(crate) struct Added {
    /// As read before the retry, in error.
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
            // A failed use always has a job.
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

    /// Returns the devices that will not be retried.
    async fn resume(
        &self,
        certificate: CertificateId,
        job: JobId,
        failed: &[UseRecord],
        by: &Actor,
        deadline: Instant,
    ) -> Vec<Refused> {
        let devices: BTreeSet<DeviceId> = failed.iter().map(|each| each.device.clone()).collect();
        let why = match self.operations().retry_failed(job, certificate, &devices, by, deadline).await {
            Ok(Requeued::Before) => return Vec::new(),
            Ok(Requeued::Now) => {
                info!(job.id = %job, "failed devices are tried again");
                return Vec::new();
            }
            Err(why) => why,
        };
        let nothing_failed = NotNow::Deployment(NotResumed::NothingFailed);
        if matches!(why, NotDone::Refused(JobRefusal::Refused(why)) if why == nothing_failed) {
            // Devices that a concurrent retry reopened need nothing more.
            return match self.ledger.uses_by(certificate, &devices).await {
                Ok(uses) => {
                    let still = |before: &&UseRecord| same(before, &uses).is_some_and(|now| is_as_it_was(before, now));
                    refuse(failed.iter().filter(still), &failure(job, why))
                }
                Err(error) => refuse(failed, &failure(job, error.into())),
            };
        }
        refuse(failed, &failure(job, why))
    }
}

fn failure(job: JobId, why: NotDone<JobRefusal>) -> Failure {
    match why {
        NotDone::Late => {
            let over = "The time of the request was over before its turn: send the request again.";
            Failure::new(ResultCode::TransactionCollision, over)
        }
        NotDone::Refused(JobRefusal::NoJob) => {
            let gone = format!("The deployment {job} no longer exists: deploy the certificate to the device again.");
            Failure::new(ResultCode::IdentifierDoesNotExist, gone)
        }
        NotDone::Refused(why) => {
            Failure::new(ResultCode::TransactionCollision, format!("The deployment {job} cannot be resumed: {why}."))
        }
        NotDone::Busy => Failure::from(&LedgerError::Conflict),
        NotDone::Ledger(error) => {
            error!(job.id = %job, error = &error as &dyn Error, "deployment not resumed");
            Failure::from(&error)
        }
    }
}

fn refuse<'a>(uses: impl IntoIterator<Item = &'a UseRecord>, why: &Failure) -> Vec<Refused> {
    uses.into_iter().map(|each| Refused { device: each.device.clone(), failure: why.clone() }).collect()
}

/// The current record of a use; `None` if the device is gone or has another certificate in its place.
pub(crate) fn same<'a>(before: &UseRecord, uses: &'a [UseRecord]) -> Option<&'a UseRecord> {
    uses.iter().find(|each| each.device == before.device)
}

pub(crate) fn is_as_it_was(before: &UseRecord, now: &UseRecord) -> bool {
    (now.job, now.lifecycle.attempt, now.lifecycle.in_error) == (before.job, before.lifecycle.attempt, true)
}
