//! The error budget.

use super::way_out;
use crate::job::{Job, Tally};
use crate::rollover::rollout::Rollout;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Budget {
    /// Not judged before enough devices have a result.
    InWave,
    /// Always judged: a failed canary wave must not be ignored for being small.
    AtItsEnd,
}

/// Why the error budget is exceeded, over all devices or over those of the wave. The wave is judged separately because,
/// after half a million successful devices, a whole wave could fail without exceeding the total budget.
pub(super) fn exceeded(job: &Job, tally: &Tally, budget: Budget) -> Option<String> {
    // A preflight is to find everything that fails.
    if job.preflight.is_some() {
        return None;
    }
    let Rollout { error_budget, error_budget_minimum, .. } = job.rollout;
    let is_over = |failed: u64, settled: u64| {
        let enough = budget == Budget::AtItsEnd || settled >= error_budget_minimum;
        settled > 0 && enough && job.rollout.is_exceeded(failed, settled)
    };
    let (failed, settled) = (tally.failed, tally.with_result());
    let sentence = |failed: u64, settled: u64, of: &str| {
        format!(
            "Paused: {failed} of {settled} devices{of} failed, more than the error budget of {error_budget} %. See the failed tasks; repair the devices or waive them, {}.",
            way_out(job)
        )
    };
    if is_over(failed, settled) {
        return Some(sentence(failed, settled, ""));
    }
    let wave = job.wave.as_ref()?;
    let (failed, settled) = job.results_of_wave(tally)?;
    is_over(failed, settled).then(|| sentence(failed, settled, &format!(" of wave {}", wave.number)))
}
