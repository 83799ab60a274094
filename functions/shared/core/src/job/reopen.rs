//! What failed and is to be tried again. It is recorded with the job before anything is done about it, so that a
//! conductor that dies in the middle leaves nothing undone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Cursor, Job, JobId};
use crate::device::{DeviceId, SHARDS};
use crate::job::task::{ErrorClass, TaskRecord, TaskState};
use crate::rollover::transition::WaveRecord;

/// Devices that one selection names. With ids of 64 characters, and [`MOST_WAVES`], it takes 83 KB of its job's item.
pub const MOST_RETRIED: usize = 1000;
/// Waves that one selection names, at 180 bytes each.
pub const MOST_WAVES: usize = 100;
/// Selections that wait for the conductor: all together stay below DynamoDB's 400 KB an item.
pub const MOST_SELECTIONS: usize = 4;

/// Which failed tasks are to be opened again: what the first selection chooses, then what the next one does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reopen(Vec<Selection>);

/// A choice among the tasks of a leg that had failed when it was asked for: what passes every filter. An empty set of
/// classes or of devices, and no stretches, let everything pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// When an operator asked for it. Tasks that are opened again bear it, which tells them from those that waited before.
    #[serde(with = "time::serde::timestamp")]
    pub asked: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ErrorClass>,
    /// Of waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stretches: Option<Vec<Stretch>>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub devices: BTreeSet<DeviceId>,
    /// In so many shards all of it is done.
    #[serde(default)]
    pub shards_done: u8,
}

/// A part of the fleet, in the order in which a job pages it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    pub from: Cursor,
    pub to: Cursor,
}

impl Reopen {
    pub const NOTHING: Self = Self(Vec::new());

    /// Every failed task, whatever waited to be opened before.
    pub fn everything(asked: OffsetDateTime) -> Self {
        Self(vec![Selection::everything(asked)])
    }

    pub const fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// What is to be done first.
    pub fn selection(&self) -> Option<&Selection> {
        self.0.first()
    }

    /// The task failed, and is to be opened again now.
    pub fn opens(&self, job: JobId, task: &TaskRecord) -> bool {
        task.state == TaskState::Failed && self.selection().is_some_and(|selection| selection.chooses(job, task))
    }

    /// The task was opened by a conductor that may have died before it sent its message.
    pub fn has_opened(&self, job: JobId, task: &TaskRecord) -> bool {
        task.state == TaskState::Waiting
            && self.selection().is_some_and(|selection| {
                selection.asked.unix_timestamp() == task.at.unix_timestamp() && selection.chooses(job, task)
            })
    }

    pub fn note_shard(&mut self, shard: u8) {
        if let Some(selection) = self.0.first_mut() {
            selection.shards_done = shard + 1;
        }
    }

    /// What was to be done first is done.
    pub fn finish(&mut self) {
        if !self.0.is_empty() {
            self.0.remove(0);
        }
    }

    /// One more. Asked for again before its turn came, it is there once, and chooses what had failed when it was asked
    /// for last. The first one may have begun: it stays as it is. `false` where too many wait already.
    pub(crate) fn add(&mut self, selection: Selection) -> bool {
        if self.0.first().is_some_and(|first| first.is_same(&selection) && first.asked >= selection.asked) {
            return true;
        }
        if let Some(waiting) = self.0.iter_mut().skip(1).find(|waiting| waiting.is_same(&selection)) {
            waiting.asked = waiting.asked.max(selection.asked);
            return true;
        }
        let has_place = self.0.len() < MOST_SELECTIONS;
        if has_place {
            self.0.push(selection);
        }
        has_place
    }
}

impl From<Vec<Selection>> for Reopen {
    fn from(selections: Vec<Selection>) -> Self {
        Self(selections)
    }
}

impl Selection {
    pub fn everything(asked: OffsetDateTime) -> Self {
        Self { asked, classes: Vec::new(), stretches: None, devices: BTreeSet::new(), shards_done: 0 }
    }

    pub fn is_everything(&self) -> bool {
        self.classes.is_empty() && self.stretches.is_none() && self.devices.is_empty()
    }

    /// Whether a failed task, or one that had failed and waits again, passes. What failed later, nobody asked for: the
    /// conductor may come to it a minute after, and a device that refused its password is not to be asked twice.
    pub fn chooses(&self, job: JobId, task: &TaskRecord) -> bool {
        let Ok(device) = task.device.parse::<DeviceId>() else { return false };
        let class = task.failure.as_ref().map(|failure| failure.class);
        let holds = |stretches: &Vec<Stretch>| stretches.iter().any(|stretch| stretch.holds(job, &device));
        task.at.unix_timestamp() <= self.asked.unix_timestamp()
            && (self.classes.is_empty() || class.is_some_and(|class| self.classes.contains(&class)))
            && self.stretches.as_ref().is_none_or(holds)
            && (self.devices.is_empty() || self.devices.contains(&device))
    }

    /// The same, and not begun yet.
    fn is_same(&self, other: &Self) -> bool {
        *self == Self { asked: self.asked, ..other.clone() }
    }
}

impl Stretch {
    fn holds(&self, job: JobId, device: &DeviceId) -> bool {
        !self.from.is_past(job, device) && self.to.is_past(job, device)
    }
}

impl Job {
    /// Where the devices of a wave of the present leg lie; a device that joined later is of the wave that it would have
    /// been in. `None`: there is no such wave. `waves`: those that are over.
    pub fn stretch_of_wave(&self, number: u32, waves: &[WaveRecord]) -> Option<Stretch> {
        // A survey's wave may lie anywhere.
        let everywhere = || Stretch { from: Cursor::default(), to: Cursor { step: SHARDS, after: None } };
        if let Some(wave) = self.wave.as_ref().filter(|wave| wave.number == number) {
            let from = wave.from.clone();
            return Some(from.map_or_else(everywhere, |from| Stretch { from, to: self.cursor.clone() }));
        }
        let wave = waves.iter().find(|wave| wave.leg == self.leg() && wave.number == number)?;
        Some(wave.from.clone().zip(wave.to.clone()).map_or_else(everywhere, |(from, to)| Stretch { from, to }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;
    use crate::job::task::Failure;

    const JOB: JobId = JobId(7);
    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn task(device: &str, state: TaskState, class: ErrorClass) -> TaskRecord {
        TaskRecord { failure: Some(Failure::new(class, "no")), ..TaskRecord::new(device, state, 1, NOW) }
    }

    #[test]
    fn filters_narrow_each_other_and_values_of_one_widen_it() {
        let connect = task("a", TaskState::Failed, ErrorClass::Connect);
        let mut selection = Selection::everything(NOW);
        assert!(selection.is_everything() && selection.chooses(JOB, &connect));
        selection.classes = vec![ErrorClass::Timeout, ErrorClass::Connect];
        assert!(selection.chooses(JOB, &connect));
        assert!(!selection.chooses(JOB, &task("a", TaskState::Failed, ErrorClass::Lost)));
        selection.devices = ["b", "c"].map(|id| id.parse().unwrap()).into();
        assert!(!selection.chooses(JOB, &connect));
        assert!(selection.chooses(JOB, &task("c", TaskState::Failed, ErrorClass::Connect)));
        selection.stretches = Some(vec![Stretch { from: Cursor::default(), to: Cursor::default() }]);
        assert!(!selection.chooses(JOB, &task("c", TaskState::Failed, ErrorClass::Connect)));
    }

    #[test]
    fn a_selection_opens_what_failed_and_sends_no_other() {
        let mut selection = Selection::everything(NOW);
        let of = |selection: &Selection| Reopen::from(vec![selection.clone()]);
        let (failed, waiting) = (TaskState::Failed, TaskState::Waiting);
        assert!(of(&selection).opens(JOB, &task("a", failed, ErrorClass::Lost)));
        assert!(of(&selection).has_opened(JOB, &task("a", waiting, ErrorClass::Lost)));
        selection.asked += time::Duration::SECOND;
        assert!(!of(&selection).has_opened(JOB, &task("a", waiting, ErrorClass::Lost)));
        for state in [waiting, TaskState::Acked, TaskState::Skipped, TaskState::Waived] {
            assert!(!of(&selection).opens(JOB, &task("a", state, ErrorClass::Lost)));
        }
        assert!(!Reopen::NOTHING.opens(JOB, &task("a", failed, ErrorClass::Lost)));
    }

    #[test]
    fn what_failed_after_it_was_asked_stays_failed() {
        let later = |seconds| TaskRecord {
            at: NOW + time::Duration::seconds(seconds),
            ..task("a", TaskState::Failed, ErrorClass::Unauthorized)
        };
        let everything = Reopen::everything(NOW);
        assert!(everything.opens(JOB, &later(0)) && !everything.opens(JOB, &later(1)));
    }

    #[test]
    fn selections_queue_up_to_a_bound_each_once() {
        let of = |class| Selection { classes: vec![class], ..Selection::everything(NOW) };
        let later = |minutes| Selection { asked: NOW + time::Duration::minutes(minutes), ..of(ErrorClass::Connect) };
        let mut reopen = Reopen::default();
        assert!(reopen.add(of(ErrorClass::Connect)) && reopen.add(of(ErrorClass::Connect)));
        assert_eq!(reopen, Reopen::from(vec![of(ErrorClass::Connect)]));
        // What failed in between is chosen, too, however often it is asked for.
        for minutes in [1, 3, 2] {
            assert!(reopen.add(later(minutes)));
        }
        assert_eq!(reopen, Reopen::from(vec![of(ErrorClass::Connect), later(3)]));
        for class in [ErrorClass::Timeout, ErrorClass::Lost] {
            assert!(reopen.add(of(class)));
        }
        assert!(!reopen.add(of(ErrorClass::Rejected)));
        for _ in 0..MOST_SELECTIONS {
            assert!(!reopen.is_nothing());
            reopen.finish();
        }
        assert!(reopen.is_nothing());
    }

    #[test]
    fn it_is_recorded_as_a_list() {
        let chosen = Reopen::everything(NOW);
        for (reopen, json) in [(Reopen::NOTHING, json!([])), (chosen, json!([{ "asked": 0, "shardsDone": 0 }]))] {
            assert_eq!(to_value(&reopen).unwrap(), json);
            assert_eq!(from_value::<Reopen>(json).unwrap(), reopen);
        }
    }

    #[test]
    fn the_largest_fits_into_an_item() {
        let device = |number: usize| -> DeviceId { format!("{number:064}").parse().unwrap() };
        let cursor = |number| Cursor { step: 15, after: Some(device(number)) };
        let stretch = |number| Stretch { from: cursor(number), to: cursor(number + 1) };
        let selection = Selection {
            stretches: Some((0..MOST_WAVES).map(stretch).collect()),
            devices: (0..MOST_RETRIED).map(device).collect(),
            ..Selection::everything(NOW)
        };
        let reopen = Reopen::from(vec![selection; MOST_SELECTIONS]);
        // JSON takes more than DynamoDB does: quotes, commas. 20 KB remain for the job's other attributes.
        assert!(serde_json::to_string(&reopen).unwrap().len() < 380 << 10);
    }
}
