//! Why a job command is refused, as the native API says it.

use std::fmt::Display;

use rootcast_core::job::{Command, JobId, Refusal, Refused};
use rootcast_dialects::lenovo::LenovoError;
use rootcast_operations::{JobRefusal, NotDone};

use crate::jobs::no_such_job;

/// The command that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Steer(Command),
    Retry,
    Waive,
}

pub(crate) fn refused(id: JobId, asked: Asked, why: NotDone<JobRefusal>) -> LenovoError {
    match why {
        NotDone::Refused(JobRefusal::NoJob) => no_such_job(id),
        NotDone::Refused(JobRefusal::NothingChosen) => nothing_chosen(id),
        NotDone::Refused(JobRefusal::NoWaves) => LenovoError::invalid(
            format!("Job {id} brings a certificate to all its devices at once: it has no waves."),
            "Leave waves out, and send the request again.",
        ),
        NotDone::Refused(JobRefusal::Refused(why)) => not_now(id, asked, why),
        NotDone::Busy | NotDone::Late => {
            LenovoError::conflict(format!("Job {id} is changing all the time."), "Send the request again in a moment.")
        }
        NotDone::Ledger(error) => error.into(),
    }
}

pub(crate) fn nothing_chosen(job: JobId) -> LenovoError {
    LenovoError::conflict(
        format!("No failed device of job {job} matches the request, and none that is named waits for its next try."),
        format!(
            "GET /jobs/{job}/tasks?state=failed shows what failed and its class, GET /jobs/{job} its waves; correct the body."
        ),
    )
}

fn not_now(id: JobId, asked: Asked, why: Refused) -> LenovoError {
    let cannot = |what: &str, why: &dyn Display| {
        LenovoError::conflict(
            format!("Job {id} cannot {what}: {why}."),
            format!("GET /jobs/{id} shows where it is and why."),
        )
    };
    match (asked, why) {
        (_, Refused::OfDeployment) => LenovoError::conflict(
            format!(
                "Job {id} brings a certificate to devices: it is neither paused nor aborted, and no device of it is waived."
            ),
            format!("It ends by itself. Where devices failed, POST /jobs/{id}/resume tries them again afterwards."),
        ),
        (Asked::Waive, why @ Refused::Rollover(Refusal::NoGate)) => cannot("waive devices", &why),
        (Asked::Waive, _) => LenovoError::conflict(
            format!("Job {id} has ended: there is nothing to waive."),
            format!("GET /jobs/{id} shows how it ended."),
        ),
        (Asked::Retry, why) => cannot("retry devices", &why),
        (Asked::Steer(Command::Pause), why) => cannot("be paused", &why),
        (Asked::Steer(Command::Resume), why) => cannot("be resumed", &why),
        (Asked::Steer(Command::Continue { .. }), why) => cannot("be continued", &why),
        (Asked::Steer(Command::RollBack), why) => cannot("be rolled back", &why),
        (Asked::Steer(Command::Abort), why) => cannot("be aborted", &why),
    }
}
