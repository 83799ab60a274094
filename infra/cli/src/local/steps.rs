//! Steps of the demonstration, with their durations.

use std::time::{Duration, Instant};

use anyhow::Result;
use rootcast_local::{Progress, Stage, Step};

use crate::output::note;

#[derive(Clone, Copy, Debug)]
pub(super) struct Steps(Instant);

impl Steps {
    pub(super) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub(super) fn total(&self) -> Duration {
        self.0.elapsed()
    }

    /// Prints a line with the time since the start.
    pub(super) fn say(&self, what: &str) {
        note!("[{:6.1} s] {what}", self.total().as_secs_f64());
    }

    /// Runs the work, then prints `done`.
    pub(super) async fn run<T>(&self, done: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = Instant::now();
        let result = work.await?;
        self.say(&format!("{done} ({:.1} s)", begun.elapsed().as_secs_f64()));
        Ok(result)
    }

    /// As [`Self::run`], for the stages of the stack's start.
    pub(super) fn progress(&self) -> Progress {
        let steps = *self;
        Progress::new(move |stage, step| match (stage, step) {
            (Stage::Build, Step::Begun) => steps.say("functions: cargo builds what is not built yet"),
            (Stage::Tools, Step::Advanced { done, total }) => {
                steps.say(&format!("{stage}: {done} of {total} environments"))
            }
            (_, Step::Ended { took }) => steps.say(&format!("{stage} ready ({:.1} s)", took.as_secs_f64())),
            (_, Step::Begun | Step::Advanced { .. }) => {}
        })
    }
}
