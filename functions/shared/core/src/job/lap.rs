//! Laps: how often a pass has gone through the fleet. Without windows and order, once.
//!
//! A lap sends the devices of one group whose windows are open, and passes over the others. When all that it sent is settled,
//! another lap follows: for those that it passed over, when a window opens; else for the next group. So a pass reads the
//! fleet's list once for each group, and once more for each time that a window opens for somebody.

use serde::{Deserialize, Serialize};

use super::{Front, Job, JobId, Pass};
use crate::device::DeviceId;
use crate::device::labels::Labels;
use crate::job::Tally;
use crate::rollover::windows::Held;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lap {
    /// The place in the order.
    pub group: usize,
    /// Laps of this group before this one.
    pub round: u32,
    /// The devices that were passed over.
    pub held: Held,
    /// Postponed tasks that it has not met, because they were postponed earlier and their devices are gone.
    pub postponed: u64,
}

impl Lap {
    pub fn is_first(&self) -> bool {
        (self.group, self.round) == (0, 0)
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which devices may hold an aborted job's root, besides those with a task or changed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    pub group: usize,
    pub to: Front,
}

/// A device of the fleet, as it is listed.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    pub device: &'a DeviceId,
    pub labels: &'a Labels,
    /// The rollover during which it got its version or its labels.
    pub during: Option<JobId>,
    /// Whether the pass that is being withdrawn has a task for it. Only needed if the job has a [`Reach`].
    pub had_task: bool,
}

impl Job {
    /// What is withdrawn is withdrawn in no order: few devices have it.
    fn groups(&self) -> usize {
        if self.pass() == Pass::Withdraw { 1 } else { self.rollout.order.len() + 1 }
    }

    fn group(&self, labels: &Labels) -> usize {
        if self.pass() == Pass::Withdraw { 0 } else { self.rollout.group(labels) }
    }

    /// Whether this lap is for the device.
    pub fn is_in_lap(&self, member: Member<'_>) -> bool {
        self.group(member.labels) == self.lap.group && self.covers(member)
    }

    /// Whether the device lies in the part of the fleet that the pass has been sent to. Also one that was passed over.
    pub fn is_taken(&self, member: Member<'_>) -> bool {
        let group = self.group(member.labels);
        let is_paged = group < self.lap.group
            || (group == self.lap.group && (self.lap.round > 0 || self.cursor.is_past(self.id, member.device)));
        is_paged && self.bound.as_ref().is_none_or(|bound| bound.is_past(self.id, member.device)) && self.covers(member)
    }

    /// Whether the pass covers a device. It covers the part of the fleet that it was sent to. A withdrawal also covers devices
    /// that joined or were edited while the job ran: such a device may have received the new root under another id.
    pub fn concerns(&self, member: Member<'_>) -> bool {
        self.is_taken(member) || (self.pass() == Pass::Withdraw && member.during == Some(self.id))
    }

    fn covers(&self, member: Member<'_>) -> bool {
        let Some(reach) = &self.reach else { return true };
        let in_flight = || self.rollout.group(member.labels) <= reach.group && reach.to.is_past(self.id, member.device);
        member.had_task || member.during == Some(self.id) || in_flight()
    }

    /// Where an aborted pass has been, if that cannot be said by a position alone. A wave that was closed with nobody open
    /// left nothing in flight.
    pub(crate) fn reached(&self) -> Option<Reach> {
        let rests = self.wave.as_ref().is_none_or(|wave| wave.closed.is_some() && wave.open == 0);
        let to = match self.lap.round {
            _ if rests => Front::default(),
            0 => self.cursor.clone(),
            _ => Front::END,
        };
        self.rollout.is_selective().then_some(Reach { group: self.lap.group, to })
    }

    /// Whether the fleet is paged to the end of the lap.
    pub fn is_paged(&self) -> bool {
        self.open_steps().is_empty()
    }

    /// The shards that are not paged to the end of the lap, each by its step.
    pub fn open_steps(&self) -> Vec<u8> {
        self.cursor.open(self.bound.as_ref())
    }

    /// Whether the pass has been sent to every device.
    pub fn is_through(&self) -> bool {
        self.is_paged() && self.lap.group + 1 >= self.groups() && self.lap.held.is_nothing()
    }

    /// Whether the group needs another lap: a device was passed over, or a worker came too late for its window.
    pub(crate) fn leaves_some(&self, tally: &Tally) -> bool {
        !self.lap.held.is_nothing() || tally.postponed > self.lap.postponed
    }

    /// Whether another group follows.
    pub(crate) fn has_next_group(&self) -> bool {
        self.lap.group + 1 < self.groups()
    }

    /// Begins the next lap.
    pub fn next_lap(&mut self, tally: &Tally) {
        let Lap { group, round, .. } = self.lap;
        let (group, round) = if self.leaves_some(tally) { (group, round + 1) } else { (group + 1, 0) };
        self.lap = Lap { group, round, held: Held::default(), postponed: tally.postponed };
        self.cursor = Front::default();
    }
}
