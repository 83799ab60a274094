//! A job as log lines, one per change.

use rootcast_core::job::{JobId, JobState, Pass};
use rootcast_dialects::native::{Counts, Job};
use time::{OffsetDateTime, macros::format_description};

use super::pace::{self, Pace};
use crate::{job::phase, output::plain};

/// The content of a line. A new line is written when it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    id: JobId,
    phase: &'static str,
    paused: bool,
    wave: Option<u32>,
    devices: Counts,
    reason: String,
}

impl Line {
    pub(super) fn of(job: &Job) -> Self {
        Self {
            id: job.summary.id,
            phase: phase(job),
            paused: job.summary.state == JobState::Paused,
            wave: wave(job),
            devices: job.devices,
            reason: plain(&job.summary.reason),
        }
    }

    /// `10:11:12Z job 7 distribute wave 2 acked 14/25 failed 1 3.2/s, 4 s left`, followed by the reason if it has
    /// changed.
    pub(super) fn text(&self, last: Option<&Self>, now: OffsetDateTime, job: &Job, pace: &Pace) -> String {
        let time = now.format(format_description!("[hour]:[minute]:[second]Z")).unwrap_or_default();
        let mut parts = vec![time, format!("job {}", self.id), self.phase.to_owned()];
        if self.paused {
            parts.push("paused".to_owned());
        }
        parts.extend(self.wave.map(|wave| format!("wave {wave}")));
        if has_devices(job) {
            parts.push(counts(&self.devices));
            parts.extend(Some(pace::words(pace, job.devices.total)).filter(|words| !words.is_empty()));
        }
        if last.is_none_or(|last| last.reason != self.reason) {
            parts.push(self.reason.clone());
        }
        parts.join("  ")
    }
}

/// The current wave, or the last one.
pub(super) fn wave(job: &Job) -> Option<u32> {
    job.waves.iter().flatten().filter(|wave| wave.pass == job.summary.pass).map(|wave| wave.number).max()
}

/// A rollover has no device counts before its first wave; a deployment has them from the beginning.
pub(super) fn has_devices(job: &Job) -> bool {
    job.summary.pass == Pass::Install || wave(job).is_some()
}

pub(super) fn counts(devices: &Counts) -> String {
    let total = devices.total.map_or_else(|| "?".to_owned(), |total| total.to_string());
    let mut text = format!("acked {}/{total}  failed {}", devices.acked, devices.failed);
    for (what, count) in [("waived", devices.waived), ("skipped", devices.skipped)] {
        if count > 0 {
            text.push_str(&format!("  {what} {count}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::macros::datetime;

    use super::{Line, Pace};
    use crate::watch::recorded;

    #[test]
    fn a_recorded_job_is_shown_as_lines() {
        let mut pace = Pace::default();
        let mut last: Option<Line> = None;
        let mut lines = Vec::new();
        for (second, state) in
            [recorded::PUBLISHED, recorded::RUNNING, recorded::ONE_MORE, recorded::PAUSED].into_iter().enumerate()
        {
            let job = recorded::job(state);
            pace.observe(Duration::from_secs(second as u64), job.devices.settled());
            let line = Line::of(&job);
            lines.push(line.text(last.as_ref(), datetime!(2026-07-22 10:11:12 UTC), &job, &pace));
            last = Some(line);
        }
        assert_eq!(
            lines,
            [
                "10:11:12Z  job 7  publish  The bundle is published; its trust anchors are brought to the devices.",
                "10:11:12Z  job 7  distribute  wave 1  acked 2/?  failed 0  2.0/s  Wave 1: 3 of 5 devices have no result yet.",
                "10:11:12Z  job 7  distribute  wave 1  acked 3/25  failed 0  1.5/s, 15 s left",
                "10:11:12Z  job 7  distribute  paused  wave 1  acked 3/25  failed 2  1.7/s, 12 s left  \
             Paused: 2 of 5 devices failed, more than the error budget of 5 %. See the failed tasks.",
            ]
        );
    }
}
