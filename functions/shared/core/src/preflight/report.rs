//! What a preflight found in the fleet.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Checked, Finding};
use crate::device::{DeviceId, DeviceVersion};
use crate::job::task::{ErrorClass, TaskRecord, TaskState};

/// A count, and the first names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub count: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl Named {
    /// Keeps a job's record small.
    pub const MOST_NAMES: usize = 10;

    pub fn add(&mut self, name: impl fmt::Display) {
        self.count += 1;
        self.name(&name.to_string());
    }

    /// Without counting it.
    pub(super) fn name(&mut self, name: &str) {
        if self.names.len() < Self::MOST_NAMES && !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }
}

/// What keeps a device from being ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Obstacle {
    /// It could not be read.
    Failed(ErrorClass),
    Found(Finding),
}

impl Obstacle {
    /// What the operator should do.
    pub fn remedy(self) -> String {
        match self {
            Self::Failed(class) => class.remedy(),
            Self::Found(finding) => finding.remedy().to_owned(),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(class) => class.fmt(f),
            Self::Found(finding) => finding.fmt(f),
        }
    }
}

/// Devices with the same obstacle. A device may have several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstructed {
    pub obstacle: Obstacle,
    pub devices: Named,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    pub devices: u64,
    /// Those without an obstacle.
    pub ready: u64,
    /// Approved or changed after their turn: nothing is known about them.
    pub unread: Named,
    pub obstacles: Vec<Obstructed>,
    /// Certificates of our own that devices need anew before the old roots leave.
    pub reissued: u64,
    /// Imported certificates that a root of today leads to: nobody but their owners can replace them.
    pub stranded: Named,
    /// Devices that were read,
    pub read: u64,
    /// how long that took, in sum,
    pub millis: u64,
    /// and how long it would have taken with the next root: in sum, and the longest.
    pub writing_millis: u64,
    pub longest_millis: u64,
}

impl Report {
    pub const fn not_ready(&self) -> u64 {
        self.devices - self.ready
    }

    /// Counts a device of the fleet, as it is now, with its task.
    pub fn count(&mut self, device: &DeviceId, version: DeviceVersion, task: Option<&TaskRecord>) {
        self.devices += 1;
        match task.filter(|task| task.state == TaskState::Failed && task.of.is_none() || task.of == Some(version)) {
            Some(TaskRecord { checked: Some(checked), .. }) => self.count_read(device, checked),
            Some(TaskRecord { failure: Some(failure), .. }) => self.add(Obstacle::Failed(failure.class), device),
            _ => self.unread.add(device),
        }
    }

    fn count_read(&mut self, device: &DeviceId, checked: &Checked) {
        self.read += 1;
        self.millis += u64::from(checked.millis);
        self.writing_millis += checked.writing_millis();
        self.longest_millis = self.longest_millis.max(checked.writing_millis());
        self.ready += u64::from(checked.findings.is_empty());
        for found in &checked.findings {
            self.add(Obstacle::Found(found.finding), device);
        }
    }

    fn add(&mut self, obstacle: Obstacle, device: &DeviceId) {
        match self.obstacles.iter_mut().find(|known| known.obstacle == obstacle) {
            Some(known) => known.devices.add(device),
            None => {
                let devices = Named { count: 1, names: vec![device.to_string()] };
                self.obstacles.push(Obstructed { obstacle, devices });
            }
        }
    }

    /// The end of the job, in a sentence.
    pub fn sentence(&self) -> String {
        let stranded = match self.stranded.count {
            0 => String::new(),
            count => format!(" {count} imported certificates depend on a root of today, and hold up its end."),
        };
        match self.not_ready() {
            0 => format!("All {} devices are ready for a rollover. Nothing was written.{stranded}", self.devices),
            not => format!(
                "{not} of {} devices are not ready for a rollover: see the findings. Nothing was written.{stranded}",
                self.devices
            ),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::device::Incarnation;
    use crate::job::task::Failure;
    use crate::preflight::Found;

    pub(crate) fn version(endpoint_revision: u64) -> DeviceVersion {
        DeviceVersion { incarnation: Incarnation::from_random([1; 16]), endpoint_revision }
    }

    fn task(state: TaskState) -> TaskRecord {
        let task = TaskRecord::new("bmc-1".parse().unwrap(), state, 1, OffsetDateTime::UNIX_EPOCH);
        TaskRecord { of: Some(version(1)), ..task }
    }

    fn checked(findings: &[Finding]) -> TaskRecord {
        let found = |finding: &Finding| Found { finding: *finding, message: String::new() };
        let findings = findings.iter().map(found).collect();
        let checked = Checked { findings, millis: 100, requests: 4, members: 1 };
        TaskRecord { checked: Some(checked), ..task(TaskState::Acked) }
    }

    fn failed(class: ErrorClass) -> TaskRecord {
        TaskRecord { failure: Some(Failure::new(class, "")), ..task(TaskState::Failed) }
    }

    #[test]
    fn devices_are_counted_by_obstacle() {
        let mut report = Report::default();
        let tasks = [
            checked(&[]),
            checked(&[Finding::NoRoom, Finding::Clock]),
            failed(ErrorClass::PinMismatch),
            checked(&[Finding::Clock]),
        ];
        for (number, task) in tasks.iter().enumerate() {
            report.count(&format!("bmc-{number}").parse().unwrap(), version(1), Some(task));
        }
        assert_eq!((report.devices, report.ready, report.read), (4, 1, 3));
        let counts: Vec<_> =
            report.obstacles.iter().map(|found| (found.obstacle.to_string(), found.devices.count)).collect();
        assert_eq!(counts, [("noRoom".to_owned(), 1), ("clock".to_owned(), 2), ("pinMismatch".to_owned(), 1)]);
        assert_eq!((report.millis, report.writing_millis, report.longest_millis), (300, 600, 200));
        assert!(report.sentence().starts_with("3 of 4 devices are not ready"), "{}", report.sentence());
    }

    #[test]
    fn what_was_read_of_an_earlier_version_says_nothing() {
        let mut report = Report::default();
        report.count(&"bmc-1".parse().unwrap(), version(2), Some(&checked(&[])));
        report.count(&"bmc-2".parse().unwrap(), version(1), None);
        assert_eq!((report.devices, report.ready, report.unread.count), (2, 0, 2));
    }

    #[test]
    fn an_obstacle_is_written_as_its_word() {
        for obstacle in [Obstacle::Failed(ErrorClass::StoreFull), Obstacle::Found(Finding::NoRoom)] {
            let written = serde_json::to_value(obstacle).unwrap();
            assert_eq!(written, obstacle.to_string());
            assert_eq!(serde_json::from_value::<Obstacle>(written).unwrap(), obstacle);
        }
    }

    #[test]
    fn only_the_first_names_are_kept() {
        let mut named = Named::default();
        (0..25).for_each(|number| named.add(number));
        assert_eq!((named.count, named.names.len()), (25, Named::MOST_NAMES));
    }
}
