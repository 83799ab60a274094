//! A pass's counters.

use serde::{Deserialize, Serialize};

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
}

impl Tally {
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

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |a, b| Self {
            dispatched: a.dispatched + b.dispatched,
            acked: a.acked + b.acked,
            failed: a.failed + b.failed,
            skipped: a.skipped + b.skipped,
            waived: a.waived + b.waived,
            postponed: a.postponed + b.postponed,
        })
    }
}
