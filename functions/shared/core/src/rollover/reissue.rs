//! Which devices show a certificate below an older root, after the new one signs.

use rootcast_pki::fingerprint::Fingerprint;
use time::OffsetDateTime;

use crate::device::DeviceVersion;
use crate::job::task::{TaskRecord, TaskState};
use crate::rollover::survey::Finding;
use crate::rollover::windows::Turn;

/// What is on record of a device's own certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    pub leaf: Fingerprint,
    /// Whether the new root leads to it.
    pub is_new: bool,
    /// Until when it says anything to anybody: its end, or the time of its revocation.
    pub valid_until: OffsetDateTime,
    /// What the device was last proven to show.
    pub shown: Option<Fingerprint>,
}

impl Own {
    /// Whether the device is to get another one.
    pub fn is_to_be_replaced(&self, now: OffsetDateTime) -> bool {
        now < self.valid_until && !(self.is_new && self.shown == Some(self.leaf))
    }
}

/// Compares a device with its task and its own certificate. The certificate decides, not the task: a person may have
/// renewed it by another job. `own`: `None` if the device never had one from us.
pub fn find(
    version: Option<DeviceVersion>,
    task: Option<&TaskRecord>,
    own: Option<&Own>,
    turn: Turn,
    now: OffsetDateTime,
) -> Finding {
    judge(version, task, own, now).in_turn(task, turn)
}

fn judge(version: Option<DeviceVersion>, task: Option<&TaskRecord>, own: Option<&Own>, now: OffsetDateTime) -> Finding {
    let open = task.filter(|task| task.state == TaskState::Waiting).map(|task| task.attempt);
    let Some(version) = version else { return Finding::Gone { waits_for: open } };
    if let Some(attempt) = open {
        return Finding::Open { attempt };
    }
    if !own.is_some_and(|own| own.is_to_be_replaced(now)) {
        return Finding::Proven { at: now, spared: None };
    }
    match task {
        None => Finding::Unknown,
        // The failed version is unknown: a person must decide.
        Some(task) if task.state == TaskState::Failed && task.of.is_none_or(|of| of == version) => Finding::Failed,
        Some(task) if task.state == TaskState::Waived && task.of == Some(version) => Finding::Waived,
        Some(_) => Finding::Void,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use time::Duration;

    use super::*;
    use crate::device::Incarnation;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const VERSION: DeviceVersion =
        DeviceVersion { incarnation: Incarnation::from_random([1; 16]), endpoint_revision: 1 };
    const OLD: Own = Own {
        leaf: Fingerprint::from_bytes([1; 32]),
        is_new: false,
        valid_until: OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::DAY),
        shown: Some(Fingerprint::from_bytes([1; 32])),
    };

    fn task(state: TaskState) -> TaskRecord {
        TaskRecord { of: Some(VERSION), ..TaskRecord::new("bmc-1".parse().unwrap(), state, 2, NOW) }
    }

    fn found(task: Option<&TaskRecord>, own: Option<Own>) -> Finding {
        find(Some(VERSION), task, own.as_ref(), Turn::Open, NOW)
    }

    #[test]
    fn the_certificate_that_a_device_shows_is_the_proof() {
        let proven = Finding::Proven { at: NOW, spared: None };
        for own in [None, Some(Own { is_new: true, ..OLD }), Some(Own { valid_until: NOW, ..OLD })] {
            for state in [None, Some(TaskState::Failed), Some(TaskState::Acked), Some(TaskState::Skipped)] {
                assert_eq!(found(state.map(task).as_ref(), own), proven, "{own:?} {state:?}");
            }
        }
        assert_eq!(found(None, Some(OLD)), Finding::Unknown);
        assert_eq!(found(Some(&task(TaskState::Acked)), Some(OLD)), Finding::Void, "an older one came back");
        let unshown = Own { is_new: true, shown: None, ..OLD };
        assert_eq!(found(None, Some(unshown)), Finding::Unknown, "it was issued, and never installed");
        let other = Own { is_new: true, leaf: Fingerprint::from_bytes([2; 32]), ..OLD };
        assert_eq!(found(None, Some(other)), Finding::Unknown, "the device shows the one before");
    }

    #[test]
    fn failures_and_waivers_are_of_one_device_version() {
        for (state, finding) in [(TaskState::Failed, Finding::Failed), (TaskState::Waived, Finding::Waived)] {
            assert_eq!(found(Some(&task(state)), Some(OLD)), finding);
            let edited = DeviceVersion { endpoint_revision: 2, ..VERSION };
            assert_eq!(find(Some(edited), Some(&task(state)), Some(&OLD), Turn::Open, NOW), Finding::Void);
        }
    }

    #[test]
    fn a_device_that_left_or_is_under_way_is_not_judged() {
        let waiting = task(TaskState::Waiting);
        assert_eq!(find(None, Some(&waiting), Some(&OLD), Turn::Open, NOW), Finding::Gone { waits_for: Some(2) });
        assert_eq!(find(None, None, Some(&OLD), Turn::Open, NOW), Finding::Gone { waits_for: None });
        let new = Own { is_new: true, ..OLD };
        assert_eq!(found(Some(&waiting), Some(new)), Finding::Open { attempt: 2 });
    }
}
