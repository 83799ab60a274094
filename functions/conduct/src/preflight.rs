//! Preflights: what the visits found is counted, and compared with the fleet when a rollover begins.

use std::collections::HashMap;

use rootcast_core::device::DeviceId;
use rootcast_core::job::{Cursor, Job, JobOutcome, Taken};
use rootcast_core::preflight::Preflight;
use rootcast_core::preflight::since::LastPreflight;
use rootcast_ledger::{Authority, CertificateRecord, Change, Conducting, LedgerError};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::sweep::Row;
use crate::{App, ConductError, StepResult};

const OVERTAKEN: &str = "Ended: another job began to change the devices' trust anchors before every device was read.";

impl App {
    /// Why a preflight ends although devices are left: a rollover is not held up by it, and changes what it reads.
    ///
    /// # Errors
    /// [`LedgerError`] if the authority's record could not be read.
    pub(crate) async fn overtaken(&self, job: &Job) -> Result<Option<&'static str>, LedgerError> {
        if job.preflight.is_none() {
            return Ok(None);
        }
        let authority = self.ledger.authority().await?;
        let is_overtaken = authority.preflight.is_none_or(|last| last.job != job.id || last.overtaken);
        Ok((is_overtaken || authority.running.is_some()).then_some(OVERTAKEN))
    }

    /// Counts the results shard by shard, then the certificates that the end of the roots of today concerns. The place is
    /// recorded with the counts, so no device is counted twice.
    pub(crate) async fn report(&self, mut job: Job, deadline: Instant) -> Result<StepResult, ConductError> {
        let Some(mut preflight) = job.preflight.take() else { return Ok(StepResult::Continue) };
        if preflight.at.is_none() {
            preflight.revisions = self.fleet_revisions().await?;
        }
        let mut at = preflight.at.take().unwrap_or_default();
        while !at.is_at_end() && Instant::now() < deadline {
            let (rows, to) = self.rows(&job, &at, &Taken::All).await?;
            self.count_rows(&mut preflight, rows).await?;
            at = to;
        }
        if at.is_at_end() {
            let looked = preflight.look.take().unwrap_or_default();
            let looked = self.look_for_stranded(&job, looked, deadline).await?;
            preflight.note_stranded(looked);
        }
        preflight.at = Some(at);
        let is_counted = preflight.is_counted;
        job.preflight = Some(preflight);
        self.save(job, (self.clock)()).await?;
        Ok(if is_counted { StepResult::Continue } else { StepResult::HandOn })
    }

    async fn count_rows(&self, preflight: &mut Preflight, rows: Vec<Row>) -> Result<(), LedgerError> {
        let now = (self.clock)();
        let devices = rows.iter().filter(|row| row.version.is_some()).map(|row| &row.device);
        let own: HashMap<DeviceId, CertificateRecord> = self.ledger.own_certificates(devices).await?;
        for row in &rows {
            if let Some(version) = row.version {
                preflight.report.count(&row.device, version, row.task.as_ref());
            }
        }
        preflight.report.reissued +=
            own.values().filter(|own| own.revoked.is_none() && now < own.not_after).count() as u64;
        Ok(())
    }

    /// Ends a preflight.
    pub(crate) async fn end_preflight(
        &self,
        held: &Conducting,
        mut job: Job,
        outcome: JobOutcome,
        why: &str,
        now: OffsetDateTime,
    ) -> Result<StepResult, ConductError> {
        let before = self.ledger.authority().await?;
        if before.is_claimed(now) {
            // Whoever makes a root relies on this record. The schedule comes back.
            return Ok(StepResult::Rest);
        }
        let checked = outcome == JobOutcome::Checked;
        let last = checked.then_some(LastPreflight { ended: Some(now), ..LastPreflight::begun(job.id) });
        let is_current = before.preflight.is_some_and(|last| last.job == job.id);
        let authority = is_current.then_some(Authority { preflight: last, ..before });
        job.end(outcome, why);
        job.updated = now;
        let (authority, conducting) = (authority.as_ref(), Some(held));
        self.ledger.commit(Change { authority, job: Some(&job), conducting, ..Change::default() }).await?;
        Ok(StepResult::Rest)
    }

    /// Compares the fleet with a rollover's preflight. Only shards that have changed since are read.
    pub(crate) async fn compare(
        &self,
        mut job: Job,
        why: String,
        deadline: Instant,
    ) -> Result<StepResult, ConductError> {
        let Some(mut since) = job.since.take() else { return Ok(StepResult::Continue) };
        let preflight = self.ledger.job(since.preflight).await?;
        let revisions = self.fleet_revisions().await?;
        if let (Some(preflight), Some(mut at)) = (preflight, since.place.take()) {
            let read = preflight.preflight.as_ref().map_or(&[][..], |preflight| &preflight.revisions);
            let is_unchanged = |at: &Cursor| {
                let shard = usize::from(at.shard(preflight.id));
                read.get(shard).is_some_and(|revision| revisions.get(shard) == Some(revision))
            };
            while !at.is_at_end() && Instant::now() < deadline {
                if at.after.is_none() && is_unchanged(&at) {
                    at = at.next_shard();
                    continue;
                }
                let (rows, to) = self.rows(&preflight, &at, &Taken::All).await?;
                rows.iter().for_each(|row| since.compare(&row.device, row.version, row.task.as_ref()));
                at = to;
            }
            since.place = Some(at).filter(|at| !at.is_at_end());
        }
        let is_over = since.place.is_none();
        job.since = Some(since);
        job.reason = why;
        self.save(job, (self.clock)()).await?;
        Ok(if is_over { StepResult::Continue } else { StepResult::HandOn })
    }
}
