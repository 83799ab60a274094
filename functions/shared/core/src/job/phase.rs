//! The phases of a rollover, and its passes over the devices.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::deployment::lifecycle::Work;

/// The phases of a rollover, in order. `Withdraw` can follow any phase before `Activate`, and leads to `Ended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    Create,
    Publish,
    Distribute,
    HoldDown,
    Activate,
    Reissue,
    Distrust,
    Retire,
    /// An aborted job removes the new root from the devices.
    Withdraw,
    Ended,
}

impl Phase {
    /// The last phase of a job that nobody asked to stop earlier: the old roots are gone.
    pub const LAST: Self = Self::Retire;

    /// Those at whose end a job can stop.
    pub const STOPS: [Self; 7] =
        [Self::Publish, Self::Distribute, Self::HoldDown, Self::Activate, Self::Reissue, Self::Distrust, Self::Retire];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Publish => "publish",
            Self::Distribute => "distribute",
            Self::HoldDown => "holdDown",
            Self::Activate => "activate",
            Self::Reissue => "reissue",
            Self::Distrust => "distrust",
            Self::Retire => "retire",
            Self::Withdraw => "withdraw",
            Self::Ended => "ended",
        }
    }

    /// The last phase of a job from before there were further ones: the new root signs.
    pub(super) const fn when_first_built() -> Self {
        Self::Activate
    }
}

/// Text that names no phase at whose end a job can stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a job stops after publish, distribute, holdDown, activate, reissue, distrust or retire")]
pub struct NotAStop;

impl FromStr for Phase {
    type Err = NotAStop;

    fn from_str(text: &str) -> Result<Self, NotAStop> {
        Self::STOPS.into_iter().find(|stop| stop.name() == text).ok_or(NotAStop)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A round of device work over the fleet. A job has one pass at a time; each has its own task records and counters. In
/// records, messages and the API, its name is `leg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pass {
    Distribute,
    Withdraw,
    /// Removes the old roots.
    Distrust,
    /// The only pass of a deployment. In a rollover, it replaces what old roots signed for devices.
    Install,
    /// Belongs to no job: a device approved after the last rollover gets the current bundle.
    Join,
    /// Reads, and writes nothing.
    Preflight,
    /// Belongs to no job: a person's look at a device. Its attempt is the number of the probe.
    Probe,
}

impl Pass {
    /// Whether its result is kept in the device's record alone: there is no job with counters.
    pub const fn is_of_no_job(self) -> bool {
        matches!(self, Self::Join | Self::Probe)
    }

    /// Those of a rollover.
    pub const OF_ROLLOVER: [Self; 4] = [Self::Distribute, Self::Install, Self::Distrust, Self::Withdraw];

    pub const fn work(self) -> Work {
        match self {
            Self::Distribute | Self::Withdraw | Self::Distrust | Self::Join => Work::Trust,
            Self::Install => Work::Install,
            Self::Preflight | Self::Probe => Work::Check,
        }
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Distribute => "distribute",
            Self::Withdraw => "withdraw",
            Self::Distrust => "distrust",
            Self::Install => "install",
            Self::Join => "join",
            Self::Preflight => "preflight",
            Self::Probe => "probe",
        })
    }
}
