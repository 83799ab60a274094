//! Gives up work on a certificate that is under way or failed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, stream};
use rootcast_core::audit::{Act, Action, Actor, Outcome, Subject};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::JobId;
use rootcast_ledger::UseRecord;
use thiserror::Error;
use tokio::time::Instant;

use crate::attempts::attempts_until;
use crate::{NotDone, Operations};

/// Uses that are reset concurrently.
const CONCURRENCY: usize = 16;

/// Why not all work was given up.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotReset {
    #[error("nothing is being done, and nothing failed")]
    Nothing,
    /// Until the deadline, or at every attempt.
    #[error("the device {0} is being worked on")]
    WorkedOn(DeviceId),
}

impl From<NotReset> for NotDone<NotReset> {
    fn from(why: NotReset) -> Self {
        Self::Refused(why)
    }
}

impl Operations<'_> {
    /// Returns the devices at which work was given up, ordered by id.
    pub async fn reset(
        &self,
        certificate: CertificateId,
        by: &Actor,
        deadline: Instant,
    ) -> Result<Vec<DeviceId>, NotDone<NotReset>> {
        let open = self.ledger.uses_of_certificate(certificate).await?;
        let open: Vec<UseRecord> = open.into_iter().filter(|each| each.lifecycle.stage.is_some()).collect();
        if open.is_empty() {
            return Err(NotReset::Nothing.into());
        }
        // A reset takes many transactions: it is recorded before the first one, and its outcome after the last.
        let act = Act::new(Subject::Certificate(certificate), Action::Reset, by, (self.clock)());
        let act = act.with("devices", open.len());
        let named = open.iter().map(|each| each.device.to_string());
        self.ledger.audit_all(&act.clone().came_to(Outcome::Begun).naming("names", named)).await?;
        let why = format!("{} gave it up.", by.principal);
        // After an error, what has begun is awaited, and nothing else begins.
        let (stopped, why) = (&AtomicBool::new(false), &why);
        let giving_up = open.into_iter().map(|each| async move {
            if stopped.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let given_up = self.give_up(each, why, deadline).await;
            stopped.fetch_or(given_up.is_err(), Ordering::Relaxed);
            given_up
        });
        let results: Vec<Result<_, NotDone<NotReset>>> =
            stream::iter(giving_up).buffer_unordered(CONCURRENCY).collect().await;
        let (mut given_up, mut error): (Vec<UseRecord>, _) = (Vec::new(), None);
        for result in results {
            match result {
                Ok(each) => given_up.extend(each),
                Err(why) => error = error.or(Some(why)),
            }
        }
        given_up.sort_by(|one, other| one.device.cmp(&other.device));
        // Jobs whose tasks were settled by the reset may be complete now.
        let settled: BTreeSet<JobId> =
            given_up.iter().filter(|each| each.is_under_way()).filter_map(|each| each.job).collect();
        stream::iter(&settled).for_each_concurrent(CONCURRENCY, |job| self.wake(*job, "reset")).await;
        let act = if error.is_some() { act.with("unfinished", true) } else { act };
        let named = given_up.iter().map(|each| each.device.to_string());
        self.ledger.audit_all(&act.with("reset", given_up.len()).naming("names", named)).await?;
        if let Some(why) = error {
            return Err(why);
        }
        if given_up.is_empty() {
            return Err(NotReset::Nothing.into());
        }
        Ok(given_up.into_iter().map(|each| each.device).collect())
    }

    /// Returns the use as it was. `None`: its job ended meanwhile, or the use was removed.
    async fn give_up(
        &self,
        read: UseRecord,
        why: &str,
        deadline: Instant,
    ) -> Result<Option<UseRecord>, NotDone<NotReset>> {
        let (read, mut first) = (&read, Some(read.clone()));
        let given_up = attempts_until(
            Some(deadline),
            |_| false,
            || {
                let first = first.take();
                async move {
                    let now = match first {
                        Some(read) => Some(read),
                        None => self.ledger.uses_by(read.certificate, [&read.device]).await?.pop(),
                    };
                    let now = now.filter(|now| now.job == read.job && now.lifecycle.stage.is_some());
                    if let Some(now) = &now {
                        self.ledger.reset_use(now, why, (self.clock)()).await?;
                    }
                    Ok(now)
                }
            },
        );
        given_up.await.map_err(|why| match why {
            NotDone::Busy | NotDone::Late => NotReset::WorkedOn(read.device.clone()).into(),
            why => why,
        })
    }
}
