//! A job as a progress bar at a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rootcast_core::job::JobState;
use rootcast_dialects::native::Job;

use super::{
    lines::{counts, has_devices, wave},
    pace::{self, Pace},
};
use crate::{job::phase, output::plain};

/// `⠹ distribute, wave 2 [#####>    ] acked 14/25  failed 1  3.2/s, 4 s left`, with the reason under it.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Self(bar)
    }

    pub(super) fn show(&self, job: &Job, pace: &Pace) {
        let devices = &job.devices;
        let wave = wave(job);
        self.0.set_style(style(has_devices(job)));
        let phase = phase(job);
        let paused = if job.summary.state == JobState::Paused { ", paused" } else { "" };
        self.0.set_prefix(match wave {
            Some(wave) => format!("job {}: {phase}, wave {wave}{paused}", job.summary.id),
            None => format!("job {}: {phase}{paused}", job.summary.id),
        });
        // Until every page of the fleet was read, the known part is the length.
        self.0.set_length(devices.total.unwrap_or(devices.dispatched).max(1));
        self.0.set_position(devices.settled());
        self.0.set_message(format!(
            "{}  {}\n  {}",
            counts(devices),
            pace::words(pace, devices.total),
            plain(&job.summary.reason)
        ));
    }
}

impl Drop for Bar {
    /// Leaves the last state on the terminal. The reason below the bar is cleared: the final report repeats it.
    fn drop(&mut self) {
        let message = self.0.message();
        self.0.set_message(message.lines().next().unwrap_or_default().to_owned());
        self.0.abandon();
    }
}

fn style(has_devices: bool) -> ProgressStyle {
    let template = if has_devices { "{spinner} {prefix} [{bar:24}] {msg}" } else { "{spinner} {prefix} {msg}" };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("#> ")
}
