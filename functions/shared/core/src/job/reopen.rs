//! Failed tasks to be retried. The request is recorded with the job before any task is reopened, so that it is
//! completed even if the conductor dies half-way.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Front, Job, JobId};
use crate::device::{DeviceId, SHARDS};
use crate::job::task::{ErrorClass, TaskRecord, TaskState};
use crate::rollover::transition::WaveRecord;

/// Most devices in one selection. With ids of 64 characters and [`MOST_WAVES`], it takes 83 KB of its job's item.
pub const MOST_RETRIED: usize = 1000;
/// Most waves in one selection, at 180 bytes each.
pub const MOST_WAVES: usize = 100;
/// Most selections that wait for the conductor: together they stay below DynamoDB's 400 KB per item.
pub const MOST_SELECTIONS: usize = 4;

/// Which failed tasks to reopen: selections, in order of their turn.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reopen(Vec<Selection>);

/// A selection among the tasks of a pass that had failed when the retry was requested. A task must pass every filter. An
/// empty set of classes or devices, or no stretches, lets everything pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// When the retry was requested. Reopened tasks bear this time, which distinguishes them from tasks that were
    /// waiting before.
    #[serde(with = "time::serde::timestamp")]
    pub asked: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ErrorClass>,
    /// The selected waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stretches: Option<Vec<Stretch>>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub devices: BTreeSet<DeviceId>,
    /// Number of shards in which the selection is done.
    #[serde(default)]
    pub shards_done: u8,
    /// Up to which device it is done in the next shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DeviceId>,
}

/// A wave: its number, and the part of the fleet, in a job's paging order, in which its devices lie. Waves of several groups
/// share such a part. A task names its wave; only for one of an earlier release, its place decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    pub from: Front,
    pub to: Front,
    /// 0 in a selection of an earlier release.
    #[serde(default)]
    pub wave: u32,
}

impl Reopen {
    pub const NOTHING: Self = Self(Vec::new());

    /// Selects every failed task, and replaces all waiting selections.
    pub fn everything(asked: OffsetDateTime) -> Self {
        Self(vec![Selection::everything(asked)])
    }

    pub const fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// The selection whose turn it is.
    pub fn selection(&self) -> Option<&Selection> {
        self.0.first()
    }

    /// Whether the task failed, and is to be reopened now.
    pub fn opens(&self, job: JobId, task: &TaskRecord) -> bool {
        task.state == TaskState::Failed && self.selection().is_some_and(|selection| selection.chooses(job, task))
    }

    /// Whether a conductor reopened the task and may have died before it sent the message.
    pub fn has_opened(&self, job: JobId, task: &TaskRecord) -> bool {
        task.state == TaskState::Waiting
            && self.selection().is_some_and(|selection| {
                selection.asked.unix_timestamp() == task.at.unix_timestamp() && selection.chooses(job, task)
            })
    }

    /// Where the selection goes on: a shard, and a device in it. `None`: it is done.
    pub fn place(&self) -> Option<(u8, Option<DeviceId>)> {
        let selection = self.selection().filter(|selection| selection.shards_done < SHARDS)?;
        Some((selection.shards_done, selection.after.clone()))
    }

    /// Records that a shard is done, up to `last` or as a whole.
    pub fn note_page(&mut self, shard: u8, last: Option<DeviceId>) {
        if let Some(selection) = self.0.first_mut() {
            selection.shards_done = if last.is_some() { shard } else { shard + 1 };
            selection.after = last;
        }
    }

    /// Removes the selection whose turn it was.
    pub fn finish(&mut self) {
        if !self.0.is_empty() {
            self.0.remove(0);
        }
    }

    /// Adds a selection. If the same one already waits, only its time is updated, so that it also selects what failed
    /// in between. The first selection may have started and stays unchanged. `false` if too many wait already.
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
        // As recorded, so that a selection that was read equals one that is made in the same second.
        let asked = asked.replace_nanosecond(0).unwrap_or(asked);
        Self { asked, classes: Vec::new(), stretches: None, devices: BTreeSet::new(), shards_done: 0, after: None }
    }

    pub fn is_everything(&self) -> bool {
        self.classes.is_empty() && self.stretches.is_none() && self.devices.is_empty()
    }

    /// Whether the selection includes a task that failed, or had failed and waits again. Tasks that failed after the
    /// request are not included: the conductor may run a minute later, and a device that refused its password must not
    /// be asked twice.
    pub fn chooses(&self, job: JobId, task: &TaskRecord) -> bool {
        let class = task.failure.as_ref().map(|failure| failure.class);
        let holds = |stretches: &Vec<Stretch>| stretches.iter().any(|stretch| stretch.holds(job, task));
        task.at.unix_timestamp() <= self.asked.unix_timestamp()
            && (self.classes.is_empty() || class.is_some_and(|class| self.classes.contains(&class)))
            && self.stretches.as_ref().is_none_or(holds)
            && (self.devices.is_empty() || self.devices.contains(&task.device))
    }

    /// Whether both are the same, and neither has started.
    fn is_same(&self, other: &Self) -> bool {
        *self == Self { asked: self.asked, ..other.clone() }
    }
}

impl Stretch {
    fn holds(&self, job: JobId, task: &TaskRecord) -> bool {
        match (self.wave, task.wave) {
            (0, _) | (_, 0) => !self.from.is_past(job, &task.device) && self.to.is_past(job, &task.device),
            (wave, of) => wave == of,
        }
    }
}

impl Job {
    /// The stretch of a wave of the current pass. A device that joined later counts to the wave in whose stretch it
    /// lies. `None`: there is no such wave. `waves`: the closed ones.
    pub fn stretch_of_wave(&self, number: u32, waves: &[WaveRecord]) -> Option<Stretch> {
        let between = match self.wave.as_ref().filter(|wave| wave.number == number) {
            Some(wave) => wave.from.clone().map(|from| (from, self.cursor.clone())),
            None => {
                let wave = waves.iter().find(|wave| wave.pass == self.pass() && wave.number == number)?;
                wave.from.clone().zip(wave.to.clone())
            }
        };
        // The devices of a survey's wave may lie anywhere.
        let (from, to) = between.unwrap_or((Front::default(), Front::END));
        Some(Stretch { from, to, wave: number })
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
        TaskRecord {
            failure: Some(Failure::new(class, "no")),
            ..TaskRecord::new(device.parse().unwrap(), state, 1, NOW)
        }
    }

    #[test]
    fn filters_narrow_and_values_of_one_filter_widen() {
        let connect = task("a", TaskState::Failed, ErrorClass::Connect);
        let mut selection = Selection::everything(NOW);
        assert!(selection.is_everything() && selection.chooses(JOB, &connect));
        selection.classes = vec![ErrorClass::Timeout, ErrorClass::Connect];
        assert!(selection.chooses(JOB, &connect));
        assert!(!selection.chooses(JOB, &task("a", TaskState::Failed, ErrorClass::Lost)));
        selection.devices = ["b", "c"].map(|id| id.parse().unwrap()).into();
        assert!(!selection.chooses(JOB, &connect));
        assert!(selection.chooses(JOB, &task("c", TaskState::Failed, ErrorClass::Connect)));
        selection.stretches = Some(vec![Stretch { from: Front::default(), to: Front::default(), wave: 2 }]);
        let failed = task("c", TaskState::Failed, ErrorClass::Connect);
        assert!(!selection.chooses(JOB, &failed));
        assert!(selection.chooses(JOB, &TaskRecord { wave: 2, ..failed.clone() }));
        assert!(!selection.chooses(JOB, &TaskRecord { wave: 3, ..failed }));
    }

    #[test]
    fn a_selection_reopens_failed_tasks_only() {
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
    fn tasks_that_fail_after_the_request_stay_failed() {
        let later = |seconds| TaskRecord {
            at: NOW + time::Duration::seconds(seconds),
            ..task("a", TaskState::Failed, ErrorClass::Unauthorized)
        };
        let everything = Reopen::everything(NOW);
        assert!(everything.opens(JOB, &later(0)) && !everything.opens(JOB, &later(1)));
    }

    #[test]
    fn selections_are_bounded_and_not_duplicated() {
        let of = |class| Selection { classes: vec![class], ..Selection::everything(NOW) };
        let later = |minutes| Selection { asked: NOW + time::Duration::minutes(minutes), ..of(ErrorClass::Connect) };
        let mut reopen = Reopen::default();
        assert!(reopen.add(of(ErrorClass::Connect)) && reopen.add(of(ErrorClass::Connect)));
        assert_eq!(reopen, Reopen::from(vec![of(ErrorClass::Connect)]));
        let same_second = Selection::everything(NOW + time::Duration::milliseconds(300));
        assert!(reopen.add(Selection { classes: vec![ErrorClass::Connect], ..same_second }));
        assert_eq!(reopen, Reopen::from(vec![of(ErrorClass::Connect)]));
        // Each request also selects what failed since the previous one.
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
    fn an_interrupted_retry_continues_after_its_last_page() {
        let mut reopen = Reopen::everything(NOW);
        assert!(reopen.add(Selection::everything(NOW + time::Duration::SECOND)));
        reopen.note_page(4, Some("b".parse().unwrap()));
        let mut read: Reopen = from_value(to_value(&reopen).unwrap()).unwrap();
        assert_eq!(read.place(), Some((4, Some("b".parse().unwrap()))));
        read.note_page(4, None);
        assert_eq!(read.place(), Some((5, None)));
        read.note_page(15, None);
        assert_eq!(read.place(), None);
        reopen.finish();
        assert_eq!(reopen.place(), Some((0, None)), "the next request begins at the first shard");
    }

    #[test]
    fn selections_are_recorded_as_a_list() {
        let chosen = Reopen::everything(NOW);
        for (reopen, json) in [(Reopen::NOTHING, json!([])), (chosen, json!([{ "asked": 0, "shardsDone": 0 }]))] {
            assert_eq!(to_value(&reopen).unwrap(), json);
            assert_eq!(from_value::<Reopen>(json).unwrap(), reopen);
        }
    }

    #[test]
    fn the_largest_selections_fit_into_an_item() {
        let device = |number: usize| -> DeviceId { format!("{number:064}").parse().unwrap() };
        let front = |number| from_value(json!({ "step": 15, "after": device(number) })).unwrap();
        let stretch = |number| Stretch { from: front(number), to: front(number + 1), wave: u32::MAX };
        let selection = Selection {
            stretches: Some((0..MOST_WAVES).map(stretch).collect()),
            devices: (0..MOST_RETRIED).map(device).collect(),
            ..Selection::everything(NOW)
        };
        let reopen = Reopen::from(vec![selection; MOST_SELECTIONS]);
        // JSON takes more space than DynamoDB: quotes, commas. 20 KB remain for the job's other attributes.
        assert!(serde_json::to_string(&reopen).unwrap().len() < 380 << 10);
    }
}
