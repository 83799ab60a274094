//! A job as a progress bar at a terminal.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use rootcast_core::job::JobState;
use rootcast_dialects::native::Job;
use time::OffsetDateTime;

use super::{
    lines::{Pause, counts, estimable, has_devices, wave},
    pace::{self, Pace},
};
use crate::{
    job::phase,
    output::{cut, plain, width},
};

/// Below it, the bar itself is left out: a line that the terminal breaks is drawn again and again.
const WIDE: usize = 80;

/// `⠹ job 7: distribute, wave 2 [#####>    ] acked 14/25  failed 1  3.2/s, 4 s left`, with the reason under it.
pub(super) struct Bar {
    bar: ProgressBar,
    has_devices: bool,
    below: Below,
}

/// The lines under the bar.
#[derive(Clone, Default)]
struct Below {
    lines: Vec<String>,
    pause: Option<Pause>,
}

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Self { bar, has_devices: false, below: Below::default() }
    }

    pub(super) fn show(&mut self, job: &Job, pace: &Pace, waits: Option<&str>) {
        let devices = &job.devices;
        let paused = if job.summary.state == JobState::Paused { ", paused" } else { "" };
        let wave = wave(job).map_or_else(String::new, |wave| format!(", wave {wave}"));
        self.bar.set_prefix(format!("job {}: {}{wave}{paused}", job.summary.id, phase(job)));
        // Until every page of the fleet was read, the known part is the length.
        self.bar.set_length(devices.total.unwrap_or(devices.dispatched).max(1));
        self.bar.set_position(devices.settled());
        self.bar.set_message(format!("{}  {}", counts(devices), pace::words(pace, estimable(job, waits))));
        self.has_devices = has_devices(job);
        let lines = [Some(plain(&job.summary.reason)), waits.map(str::to_owned)];
        self.below =
            Below { lines: lines.into_iter().flatten().collect(), pause: Pause::of(job, OffsetDateTime::now_utc()) };
        self.draw();
    }

    /// Until the next answer.
    pub(super) fn silent(&mut self, text: &str) {
        self.below.lines = vec![text.to_owned()];
        self.draw();
    }

    fn draw(&self) {
        let below = self.below.clone();
        let of_bar = self.has_devices && width().is_none_or(|width| width >= WIDE);
        let first = if of_bar { "{spinner} {prefix} [{bar:24}] {wide_msg}" } else { "{spinner} {prefix} {wide_msg}" };
        let template = format!("{first}\n{{below}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Written at each tick: the terminal may have another width by then, and time has passed.
        let below = move |_: &ProgressState, to: &mut dyn Write| {
            let _ = to.write_str(&below.text(OffsetDateTime::now_utc(), width().unwrap_or(usize::MAX)));
        };
        self.bar.set_style(style.progress_chars("#> ").with_key("below", below));
    }
}

impl Below {
    fn text(&self, now: OffsetDateTime, width: usize) -> String {
        let pause = self.pause.map(|pause| pause.words(now));
        let lines = self.lines.iter().cloned().chain(pause);
        lines.map(|line| format!("  {}", cut(&line, width.saturating_sub(2)))).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Bar {
    /// Leaves the last state on the terminal. What is below the bar is cleared: the final report repeats it.
    fn drop(&mut self) {
        self.below = Below::default();
        self.draw();
        self.bar.abandon();
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::Below;

    #[test]
    fn lines_under_the_bar_fit_the_terminal() {
        let below = Below { lines: vec!["Wave 1: 3 of 5 devices".to_owned(), "short".to_owned()], pause: None };
        assert_eq!(below.text(OffsetDateTime::UNIX_EPOCH, 10), "  Wave 1:…\n  short");
    }
}
