//! Pace, error budget, windows and order of a rollover.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;

use super::template::RolloutName;
use super::windows::{InvalidWindow, MOST_WINDOWS, Schedule, Window};
use crate::device::labels::{Labels, Selector};

/// A pass reads the whole fleet once for each.
pub const MOST_IN_ORDER: usize = 8;

/// Waves and error budget of one job, and when and in which order it comes to which devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// The stored rollout that the job started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<RolloutName>,
    /// Devices in the first wave.
    pub canary: u64,
    /// Each wave is this many times the one before.
    pub growth: u64,
    /// Largest wave, in devices.
    pub largest_wave: u64,
    /// Seconds between the end of a wave and the start of the next.
    pub wave_pause: u32,
    /// Percent of the settled devices that may fail, in the wave and in total. If *exceeded*, the job pauses.
    pub error_budget: u8,
    /// Minimum results before the error budget applies within a wave. It always applies at a wave's end.
    pub error_budget_minimum: u64,
    /// Seconds after which a proof is old: the device is read again before a gate opens.
    #[serde(default = "a_day")]
    pub proof_age: u32,
    /// Seconds between the last proof and the activation, in which the devices are watched.
    #[serde(default)]
    pub hold_down: u32,
    /// Percent of the devices that are read anew during the hold-down, but at least [`LEAST_SAMPLED`].
    #[serde(default = "a_twentieth")]
    pub sample: u8,
    /// When work may begin at which devices; a device without a window is free at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// Which devices come first: those that the first selects, then those that the second does, and the others last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<Selector>,
}

/// A smaller fleet is read anew as a whole.
pub const LEAST_SAMPLED: u64 = 20;

const fn a_twentieth() -> u8 {
    5
}

const fn a_day() -> u32 {
    86_400
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            name: None,
            canary: 5,
            growth: 10,
            largest_wave: 10_000,
            wave_pause: 0,
            error_budget: 5,
            error_budget_minimum: 20,
            proof_age: a_day(),
            hold_down: 0,
            sample: a_twentieth(),
            windows: Vec::new(),
            order: Vec::new(),
        }
    }
}

/// A rollout that could never end, or never stop.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidRollout {
    #[error("canary is the number of devices in the first wave: 1 or more")]
    Canary,
    #[error("growth is the factor from wave to wave: 1 to 1000")]
    Growth,
    #[error("largestWave is a number of devices, not smaller than canary")]
    LargestWave,
    #[error("wavePause is in seconds, at most 604800 (a week)")]
    WavePause,
    #[error("errorBudget is a percentage: 0 to 100")]
    ErrorBudget,
    #[error("proofAge is in seconds: 60 to 2592000 (30 days), and longer than it takes to read the whole fleet")]
    ProofAge,
    #[error("holdDown is in seconds, at most 2592000 (30 days)")]
    HoldDown,
    #[error("sample is a percentage: 0 to 100")]
    Sample,
    #[error("until: {}", crate::job::NotAStop)]
    Until,
    #[error("windows: {0}")]
    Windows(#[from] InvalidWindow),
    #[error("order names at most {MOST_IN_ORDER} selections of labels, as in site=fra, each once")]
    Order,
}

impl Rollout {
    pub fn checked(self) -> Result<Self, InvalidRollout> {
        if self.canary == 0 {
            Err(InvalidRollout::Canary)
        } else if !(1..=1000).contains(&self.growth) {
            Err(InvalidRollout::Growth)
        } else if self.largest_wave < self.canary {
            Err(InvalidRollout::LargestWave)
        } else if self.wave_pause > 604_800 {
            Err(InvalidRollout::WavePause)
        } else if self.error_budget > 100 {
            Err(InvalidRollout::ErrorBudget)
        } else if !(60..=2_592_000).contains(&self.proof_age) {
            Err(InvalidRollout::ProofAge)
        } else if self.hold_down > 2_592_000 {
            Err(InvalidRollout::HoldDown)
        } else if self.sample > 100 {
            Err(InvalidRollout::Sample)
        } else if self.windows.len() > MOST_WINDOWS {
            Err(InvalidWindow::Many.into())
        } else if !self.is_an_order() {
            Err(InvalidRollout::Order)
        } else {
            self.windows.iter().try_for_each(Window::checked)?;
            Ok(self)
        }
    }

    fn is_an_order(&self) -> bool {
        let is_new = |(place, selector): (usize, &Selector)| {
            !selector.is_everything() && self.order.iter().take(place).all(|earlier| earlier != selector)
        };
        self.order.len() <= MOST_IN_ORDER && self.order.iter().enumerate().all(is_new)
    }

    /// Whether a page of the fleet may have devices whose turn it is not.
    pub const fn is_selective(&self) -> bool {
        !self.windows.is_empty() || !self.order.is_empty()
    }

    /// The device's place in the order.
    pub fn group(&self, labels: &Labels) -> usize {
        self.order.iter().position(|selector| selector.selects(labels)).unwrap_or(self.order.len())
    }

    pub fn schedule(&self, now: OffsetDateTime) -> Schedule {
        Schedule::new(&self.windows, now)
    }

    /// Number of devices in wave `number` (from 1).
    pub fn wave_size(&self, number: u32) -> u64 {
        let growth = self.growth.saturating_pow(number.saturating_sub(1));
        self.canary.saturating_mul(growth).min(self.largest_wave)
    }

    /// Counts devices, not attempts: a device that failed three times counts once.
    pub fn is_exceeded(&self, failed: u64, settled: u64) -> bool {
        failed.saturating_mul(100) > settled.saturating_mul(self.error_budget.into())
    }
}
