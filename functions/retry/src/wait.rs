//! Waits for an outcome by polling a table: at growing intervals, and within a limit.

use std::error::Error;
use std::iter::successors;
use std::time::Duration;

use rootcast_core::inventory::id::CertificateId;
use rootcast_dialects::venafi::VenafiError;
use rootcast_ledger::UseRecord;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use crate::App;
use crate::begin::Begun;
use crate::work::{is_as_it_was, same};

/// In seconds; Venafi's limit.
const LONGEST_WAIT: i64 = 120;

/// A `WorkToDoTimeout`, in seconds.
pub(crate) fn patience(seconds: Option<i64>) -> Result<Duration, VenafiError> {
    let seconds = seconds.unwrap_or(0);
    let in_bounds = u64::try_from(seconds).ok().filter(|_| seconds <= LONGEST_WAIT);
    in_bounds.map(Duration::from_secs).ok_or_else(|| {
        VenafiError::invalid(format!("WorkToDoTimeout is a number of seconds from 0 to {LONGEST_WAIT}."))
    })
}

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(4);

impl App {
    /// Waits until the jobs begun at these devices have ended, or until the deadline.
    pub(crate) async fn outcome_of_jobs(&self, certificate: CertificateId, begun: &Begun, until: Instant) {
        if Instant::now() >= until {
            return;
        }
        match self.ledger.uses_by(certificate, &begun.devices).await {
            Ok(mut uses) => {
                uses.retain(|each| each.is_under_way() && each.job.is_some_and(|job| begun.jobs.contains(&job)));
                self.outcome_of(certificate, uses, until).await;
            }
            Err(error) => warn!(error = &error as &dyn Error, "uses could not be read"),
        }
    }

    /// Waits until each use has the result of another attempt, or until the deadline, which also interrupts a read.
    pub(crate) async fn outcome_of(&self, certificate: CertificateId, retried: Vec<UseRecord>, until: Instant) {
        let mut open = retried;
        let looking = async {
            for pause in pauses() {
                sleep(pause).await;
                match self.ledger.uses_by(certificate, open.iter().map(|each| &each.device)).await {
                    Ok(uses) => open.retain(|before| is_open(before, &uses)),
                    Err(error) => warn!(error = &error as &dyn Error, "uses could not be read"),
                }
                if open.is_empty() {
                    return;
                }
            }
        };
        // A timeout is no error: the work is queued and will be done.
        let _ = timeout_at(until, looking).await;
    }
}

/// Endless; each pause doubles the one before, up to `LONGEST`.
pub(crate) fn pauses() -> impl Iterator<Item = Duration> {
    successors(Some(FIRST), |pause| Some((*pause * 2).min(LONGEST)))
}

/// A use is not waited for if it is gone, or if another deployment took it over.
fn is_open(before: &UseRecord, uses: &[UseRecord]) -> bool {
    same(before, uses).is_some_and(|now| now.job == before.job && (now.is_under_way() || is_as_it_was(before, now)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rootcast_core::deployment::lifecycle::{Lifecycle, Stage, Work};
    use rootcast_core::job::JobId;
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn a_timeout_is_0_to_120_seconds() {
        let seconds = |sent| patience(sent).map(|time| time.as_secs());
        for (sent, taken) in [(None, 0), (Some(0), 0), (Some(120), 120)] {
            assert_eq!(seconds(sent).unwrap(), taken);
        }
        for sent in [-1, 121, 9_000_000_000_000] {
            let error = seconds(Some(sent)).unwrap_err();
            assert_eq!(
                (error.status().as_u16(), error.text()),
                (400, "WorkToDoTimeout is a number of seconds from 0 to 120.")
            );
        }
    }

    #[test]
    fn pauses_grow_from_a_quarter_of_a_second_to_four() {
        let first: Vec<f64> = pauses().take(7).map(|pause| pause.as_secs_f64()).collect();
        assert_eq!(first, [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]);
    }

    #[test]
    fn only_the_result_of_another_attempt_ends_the_waiting() {
        let binding = |job, attempt, stage: Option<Stage>, in_error| UseRecord {
            job: Some(JobId(job)),
            ..UseRecord::new(
                "scs0000000000001".parse().unwrap(),
                "bmc-1".parse().unwrap(),
                Lifecycle { attempt, stage, in_error, ..Lifecycle::idle(Work::Install, "") },
                OffsetDateTime::UNIX_EPOCH,
            )
        };
        let stage = Some(Stage::InstallCertificate);
        let before = binding(7, 2, stage, true);
        for open in [before.clone(), binding(7, 3, stage, false)] {
            assert!(is_open(&before, &[open]));
        }
        for over in [binding(7, 3, stage, true), binding(7, 3, None, false), binding(8, 1, stage, false)] {
            assert!(!is_open(&before, &[over]));
        }
        assert!(!is_open(&before, &[]));
    }
}
