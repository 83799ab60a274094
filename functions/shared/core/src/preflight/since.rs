//! What has changed between a preflight and the rollover that began within a day of it.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::report::Named;
use crate::device::{DeviceId, DeviceVersion};
use crate::job::task::{TaskRecord, TaskState};
use crate::job::{Cursor, Job, JobId};

/// A preflight that is older says little about the fleet of today.
const YOUNG: Duration = Duration::DAY;

/// The last preflight, in the authority's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPreflight {
    pub job: JobId,
    /// `None`: it is running.
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<OffsetDateTime>,
    /// A rollover began while it was running.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overtaken: bool,
}

impl LastPreflight {
    pub const fn begun(job: JobId) -> Self {
        Self { job, ended: None, overtaken: false }
    }

    /// As a rollover that begins leaves it.
    #[must_use]
    pub const fn overtake(self) -> Self {
        Self { overtaken: self.ended.is_none(), ..self }
    }

    pub fn running(self) -> Option<JobId> {
        self.ended.is_none().then_some(self.job)
    }

    /// Its job, if a rollover that begins now refers to it.
    pub fn young(self, now: OffsetDateTime) -> Option<JobId> {
        self.ended.is_some_and(|ended| now - ended <= YOUNG).then_some(self.job)
    }
}

/// A rollover's preflight, and what has changed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Since {
    pub preflight: JobId,
    /// When it ended.
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
    pub devices: u64,
    pub ready: u64,
    /// Enrolled or approved since.
    pub enrolled: Named,
    /// Deleted since, or they wait for an approval.
    pub left: Named,
    /// Enrolled again, or changed in what identifies them.
    pub edited: Named,
    /// Not ready then, and not changed since.
    pub open: Named,
    /// The comparison goes on here; `None`: it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Cursor>,
}

impl Since {
    /// `None` if the job is no preflight that counted its results.
    pub fn new(preflight: &Job) -> Option<Self> {
        let report = &preflight.preflight.as_ref().filter(|preflight| preflight.is_counted)?.report;
        let mut open = Named { count: report.not_ready(), names: Vec::new() };
        let named = report.obstacles.iter().map(|obstructed| &obstructed.devices).chain([&report.unread]);
        named.flat_map(|devices| &devices.names).for_each(|name| open.name(name));
        Some(Self {
            preflight: preflight.id,
            at: preflight.updated,
            devices: report.devices,
            ready: report.ready,
            enrolled: Named::default(),
            left: Named::default(),
            edited: Named::default(),
            open,
            place: Some(Cursor::default()),
        })
    }

    /// Compares a device as it is now (`None`: it left) with its task in the preflight.
    pub fn compare(&mut self, device: &DeviceId, version: Option<DeviceVersion>, task: Option<&TaskRecord>) {
        let Some(task) = task.filter(|task| task.state != TaskState::Skipped) else {
            if version.is_some() {
                self.enrolled.add(device);
            }
            return;
        };
        match version {
            None => self.left.add(device),
            // The version that failed is unknown: a person must decide.
            Some(version) if task.of.is_some_and(|of| of != version) => self.edited.add(device),
            Some(_) => return,
        }
        let was_ready = task.checked.as_ref().is_some_and(|checked| checked.findings.is_empty());
        if !was_ready {
            self.open.count = self.open.count.saturating_sub(1);
        }
        self.open.names.retain(|name| name != device.as_str());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;
    use crate::device::Incarnation;
    use crate::job::task::{ErrorClass, Failure};
    use crate::preflight::Checked;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn version(endpoint_revision: u64) -> DeviceVersion {
        DeviceVersion { incarnation: Incarnation::from_random([1; 16]), endpoint_revision }
    }

    fn since(open: &[&str]) -> Since {
        let names = open.iter().map(|name| (*name).to_owned()).collect();
        Since {
            preflight: JobId(6),
            at: NOW,
            devices: 4,
            ready: 4 - open.len() as u64,
            enrolled: Named::default(),
            left: Named::default(),
            edited: Named::default(),
            open: Named { count: open.len() as u64, names },
            place: None,
        }
    }

    fn read(device: &str) -> TaskRecord {
        let task = TaskRecord::new(device.parse().unwrap(), TaskState::Acked, 1, NOW);
        TaskRecord { of: Some(version(1)), checked: Some(Checked::default()), ..task }
    }

    #[test]
    fn devices_are_told_by_what_became_of_them() {
        let mut since = since(&["c", "e"]);
        let failed = TaskRecord {
            checked: None,
            state: TaskState::Failed,
            failure: Some(Failure::new(ErrorClass::Connect, "")),
            ..read("c")
        };
        for (device, now, task) in [
            ("a", Some(version(1)), Some(read("a"))),
            ("b", None, Some(read("b"))),
            ("c", Some(version(2)), Some(failed.clone())),
            ("d", Some(version(1)), None),
            ("e", Some(version(1)), Some(failed)),
        ] {
            since.compare(&device.parse().unwrap(), now, task.as_ref());
        }
        let names = |named: &Named| named.names.join(" ");
        assert_eq!(
            (names(&since.left), names(&since.edited), names(&since.enrolled)),
            ("b".into(), "c".into(), "d".into())
        );
        assert_eq!((since.open.count, names(&since.open)), (1, "e".to_owned()));
    }

    #[test]
    fn a_preflight_counts_for_a_day() {
        let last = LastPreflight { ended: Some(NOW), ..LastPreflight::begun(JobId(6)) };
        assert_eq!((last.young(NOW + Duration::DAY), last.running()), (Some(JobId(6)), None));
        assert_eq!(last.young(NOW + Duration::DAY + Duration::SECOND), None);
        assert_eq!(last.overtake(), last);
        let running = LastPreflight::begun(JobId(6));
        assert!(running.overtake().overtaken);
        assert_eq!((running.young(NOW), running.running()), (None, Some(JobId(6))));
    }
}
