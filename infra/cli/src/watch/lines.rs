//! A job as log lines, one per change.

use rootcast_core::job::{JobId, JobState, Pass, Phase};
use rootcast_dialects::native::{Counts, Job, Task, Work};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

use super::pace::{self, Pace};
use crate::{
    job::{in_vain, phase},
    output::plain,
};

/// Devices that are named.
const SHOWN: usize = 3;

/// The content of a line. A new line is written when it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    id: JobId,
    phase: &'static str,
    paused: bool,
    wave: Option<u32>,
    devices: Counts,
    reason: String,
    /// What no result comes from.
    waits: Option<String>,
    /// The name of what is waited for.
    pause: Option<&'static str>,
}

impl Line {
    pub(super) fn of(job: &Job, waits: Option<&str>, now: OffsetDateTime) -> Self {
        Self {
            id: job.summary.id,
            phase: phase(job),
            paused: job.summary.state == JobState::Paused,
            wave: wave(job),
            devices: job.devices,
            reason: plain(&job.summary.reason),
            waits: waits.map(str::to_owned),
            pause: Pause::of(job, now).map(|pause| pause.what),
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
            parts.extend(
                Some(pace::words(pace, estimable(job, self.waits.as_deref()))).filter(|words| !words.is_empty()),
            );
        }
        if last.is_none_or(|last| last.reason != self.reason) {
            parts.push(self.reason.clone());
        }
        if last.is_none_or(|last| last.pause != self.pause) {
            parts.extend(Pause::of(job, now).map(|pause| pause.words(now)));
        }
        if last.is_none_or(|last| last.waits != self.waits) {
            parts.extend(self.waits.clone());
        }
        parts.join("  ")
    }
}

/// The total of which the rate predicts the end: none while what is left waits for its next visit, whose time `waits` says.
pub(super) fn estimable(job: &Job, waits: Option<&str>) -> Option<u64> {
    job.devices.total.filter(|_| waits.is_none())
}

/// Devices without a result that were tried in vain.
pub(super) fn waits_for(tasks: &[Task]) -> Option<String> {
    let tried = tasks.iter().filter_map(|task| Some((&task.device, task.tries.as_ref()?)));
    let mut words: Vec<_> = tried.map(|(device, tries)| format!("{device} ({})", in_vain(tries))).collect();
    let more = words.len().saturating_sub(SHOWN);
    words.truncate(SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    (!words.is_empty()).then(|| format!("waits for {}{more}", words.join(", ")))
}

/// A time until which the job does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    what: &'static str,
    until: OffsetDateTime,
}

impl Pause {
    /// `None` if it has passed.
    pub(super) fn of(job: &Job, now: OffsetDateTime) -> Option<Self> {
        let Work::Rollover(rollover) = &job.summary.work else { return None };
        if job.summary.state != JobState::Running {
            return None;
        }
        let at = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        let hold =
            rollover.hold.as_ref().filter(|_| rollover.phase == Phase::HoldDown).and_then(|hold| at(&hold.until));
        let hold = hold.map(|until| Self { what: "the hold-down ends in", until });
        let next = || {
            let waves: Vec<_> = job.waves.iter().flatten().filter(|wave| wave.pass == job.summary.pass).collect();
            let closed = waves.iter().map(|wave| at(wave.closed.as_deref()?)).collect::<Option<Vec<_>>>()?;
            let pause = Duration::seconds(i64::from(rollover.rollout.wave_pause));
            Some(Self { what: "the next wave begins in", until: closed.into_iter().max()?.checked_add(pause)? })
        };
        hold.or_else(next).filter(|pause| pause.until > now)
    }

    pub(super) fn words(&self, now: OffsetDateTime) -> String {
        let left = std::time::Duration::try_from(self.until - now).unwrap_or_default();
        format!("{} {}", self.what, pace::duration(left))
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

    use serde_json::{from_value, json};
    use time::macros::datetime;

    use super::{Line, Pace, Pause, waits_for};
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
            let now = datetime!(2026-07-22 10:11:12 UTC);
            let line = Line::of(&job, None, now);
            lines.push(line.text(last.as_ref(), now, &job, &pace));
            let stuck = Line::of(&job, Some("waits for a"), now).text(Some(&line), now, &job, &pace);
            assert!(
                stuck.ends_with("  waits for a") && !stuck.contains(" left"),
                "the rate says nothing of back-off: {stuck}"
            );
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

    #[test]
    fn devices_without_a_result_are_named() {
        let task = |device: &str| {
            let tries = json!({"count": 1, "class": "connect", "message": "No.", "at": "2026-01-02T03:04:05Z", "next": "2026-01-02T03:05:05Z"});
            from_value(json!({"device": device, "leg": "distribute", "state": "waiting", "attempt": 1, "tries": tries}))
                .unwrap_or_else(|_| unreachable!())
        };
        assert_eq!(
            waits_for(&[task("a")]).as_deref(),
            Some("waits for a (1 visit failed, next at 2026-01-02T03:05:05Z; connect: No.)")
        );
        let many = waits_for(&["a", "b", "c", "d", "e"].map(task));
        assert!(many.is_some_and(|many| many.ends_with("connect: No.), and 2 more")));
        assert_eq!(waits_for(&[]), None);
    }

    #[test]
    fn a_pause_between_waves_is_counted_down() {
        let paused = recorded::PAUSED.replace(r#""state":"paused""#, r#""state":"running""#);
        let job = recorded::job(&paused.replace(r#""wavePause":0"#, r#""wavePause":90"#));
        let now = datetime!(2026-07-22 10:11:12 UTC);
        let pause = Pause::of(&job, now).map(|pause| pause.words(now));
        assert_eq!(pause.as_deref(), Some("the next wave begins in 1 min 23 s"));
        assert_eq!(Pause::of(&job, datetime!(2026-07-22 10:12:35 UTC)), None);
        assert_eq!(Pause::of(&recorded::job(recorded::RUNNING), now), None, "a wave is open");
    }
}
