//! A pass's counters.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::job::task::TaskState;

/// The pass's counters, summed over all shards. They always match the task records: both change in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Devices whose message was sent, or is about to be.
    #[serde(default)]
    pub dispatched: u64,
    #[serde(default)]
    pub acked: u64,
    #[serde(default)]
    pub failed: u64,
    #[serde(default)]
    pub skipped: u64,
    #[serde(default)]
    pub waived: u64,
    /// Put back until their windows open. Nothing is under way for them, so that they count as settled.
    #[serde(default)]
    pub postponed: u64,
    #[serde(skip)]
    pub by_wave: ByWave,
}

impl Tally {
    /// Whether each result is also counted by its wave. An earlier release's are not, nor those of a task that names none.
    pub fn is_counted_by_wave(&self) -> bool {
        let all = Results { with_result: self.with_result(), failed: self.failed, postponed: self.postponed };
        self.by_wave.total() == all
    }

    pub const fn settled(&self) -> u64 {
        self.with_result() + self.postponed
    }

    pub const fn with_result(&self) -> u64 {
        self.acked + self.failed + self.skipped + self.waived
    }

    pub const fn is_settled(&self) -> bool {
        self.settled() >= self.dispatched
    }

    pub const fn waiting(&self) -> u64 {
        self.dispatched.saturating_sub(self.settled())
    }
}

/// Waves whose numbers are so far apart share a count.
const WAVES_APART: usize = 32;

/// Where a wave's results are counted. A wave does not overlap an earlier one with the same place, as far as results are told
/// apart.
pub const fn place(wave: u32) -> usize {
    wave as usize % WAVES_APART
}

/// The results of a wave's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Results {
    pub with_result: u64,
    pub failed: u64,
    pub postponed: u64,
}

impl Results {
    /// By how much a device in this state adds to them.
    pub const fn of(state: TaskState) -> Self {
        let with_result =
            matches!(state, TaskState::Acked | TaskState::Failed | TaskState::Skipped | TaskState::Waived);
        Self {
            with_result: with_result as u64,
            failed: matches!(state, TaskState::Failed) as u64,
            postponed: matches!(state, TaskState::Postponed) as u64,
        }
    }

    pub const fn settled(&self) -> u64 {
        self.with_result + self.postponed
    }

    const fn since(&self, before: &Self) -> Self {
        Self {
            with_result: self.with_result.saturating_sub(before.with_result),
            failed: self.failed.saturating_sub(before.failed),
            postponed: self.postponed.saturating_sub(before.postponed),
        }
    }
}

impl AddAssign for Results {
    fn add_assign(&mut self, other: Self) {
        self.with_result += other.with_result;
        self.failed += other.failed;
        self.postponed += other.postponed;
    }
}

/// A pass's results by wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByWave([Results; WAVES_APART]);

impl ByWave {
    pub const fn of(&self, wave: u32) -> &Results {
        &self.0[place(wave)]
    }

    pub const fn of_mut(&mut self, wave: u32) -> &mut Results {
        &mut self.0[place(wave)]
    }

    fn total(&self) -> Results {
        let mut total = Results::default();
        self.0.iter().for_each(|results| total += *results);
        total
    }
}

/// A wave whose own results are counted: how many devices it has, and the count of its number when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub number: u32,
    pub dispatched: u64,
    pub before: Results,
}

impl Counted {
    pub const fn results(&self, tally: &Tally) -> Results {
        tally.by_wave.of(self.number).since(&self.before)
    }

    pub const fn waiting(&self, tally: &Tally) -> u64 {
        self.dispatched.saturating_sub(self.results(tally).settled())
    }
}
