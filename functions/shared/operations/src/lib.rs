//! The commands to jobs, shared by the functions that serve callers: a request becomes records.
//!
//! In scope: load → decide → write with its audit entry → wake the conductor, repeated from the start after a conflict
//! with another writer. One file for each command. `rootcast-core` decides on a job
//! ([`JobRecord`](rootcast_core::job::JobRecord)), `rootcast-ledger` records it.
//!
//! Out of scope: authorization, the format of requests, and the format of answers: a function parses its dialect,
//! checks the caller's rights, calls an operation and renders its outcome. The conductor carries out a job. No code
//! here talks to a device.

mod associate;
mod attempts;
mod deploy;
mod issue;
mod judge;
mod push;
mod renew;
mod reset;
mod retry;
mod revoke;
mod steer;
mod waive;

use rootcast_core::audit::Actor;
use rootcast_core::job::{JobId, JobRecord, Refused};
use rootcast_ledger::{Ledger, LedgerError};
use rootcast_queue::Queue;
use thiserror::Error;
use time::OffsetDateTime;
use tokio::time::Instant;

pub use self::deploy::{Begun, NotBegun, Planned};
pub use self::issue::issue;
pub use self::judge::DeviceRefusal;
pub use self::push::{Pushed, Unready, unready};
pub use self::renew::Renewing;
pub use self::reset::NotReset;
pub use self::retry::{Filters, Requeued, Retried};
pub use self::revoke::{NotRevoked, Revocation, Revoked, end, revoke, revoke_formers, supersede};
pub use self::waive::{NotWaived, Waived, Waiver};

/// The clients and settings that every operation uses.
#[derive(Clone, Copy)]
pub struct Operations<'a> {
    pub ledger: &'a Ledger,
    pub queue: &'a Queue,
    /// URL of the conductor's queue.
    pub control_queue: &'a str,
    pub clock: fn() -> OffsetDateTime,
    /// When the request has to be answered.
    pub deadline: Option<Instant>,
}

/// Who asks, and when.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub by: &'a Actor,
    pub now: OffsetDateTime,
}

/// Why a command was not carried out. `R`: the reason of a refusal. Nothing was written, except by a reset or a waiver,
/// which may have changed other devices.
#[derive(Debug, Error)]
pub enum NotDone<R> {
    #[error(transparent)]
    Refused(R),
    /// Another writer was first at every attempt.
    #[error("The devices are changing all the time: send the request again in a moment.")]
    Busy,
    /// The deadline passed before an attempt.
    #[error("The time of the request was over before its turn: send the request again.")]
    Late,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why a job is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JobRefusal {
    #[error("there is no such job")]
    NoJob,
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Only for a retry of some waves.
    #[error("a deployment has no waves")]
    NoWaves,
    /// Only for a retry.
    #[error("no device that failed is chosen")]
    NothingChosen,
}

impl From<JobRefusal> for NotDone<JobRefusal> {
    fn from(why: JobRefusal) -> Self {
        Self::Refused(why)
    }
}

impl From<Refused> for NotDone<JobRefusal> {
    fn from(why: Refused) -> Self {
        Self::Refused(why.into())
    }
}

impl Operations<'_> {
    /// The same operations with a deadline.
    #[must_use]
    pub fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    async fn job(&self, id: JobId) -> Result<JobRecord, NotDone<JobRefusal>> {
        Ok(self.ledger.job_of_any_kind(id).await?.ok_or(JobRefusal::NoJob)?)
    }

    fn request<'b>(&self, by: &'b Actor) -> Request<'b> {
        Request { by, now: (self.clock)() }
    }

    /// Wakes the conductor. Nothing is lost if this fails: a schedule wakes it within a minute.
    async fn wake(&self, job: JobId, why: &str) {
        self.queue.wake_conductor(self.control_queue, job, why).await;
    }
}
