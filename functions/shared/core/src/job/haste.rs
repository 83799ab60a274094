//! An operator's wish that tasks that wait for their next try are tried now: their devices were mended. Kept in the
//! job's record, which workers read anyway, so that no device's record is written for it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::Selection;
use crate::device::DeviceId;
use crate::job::task::ErrorClass;
use crate::job::visit::Tries;

/// Most devices that it names: with ids of 64 characters, 4 KB of its job's item. A wish about more concerns all.
const MOST_NAMED: usize = 60;

/// The last such wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Haste {
    #[serde(with = "time::serde::timestamp")]
    asked: OffsetDateTime,
    /// Empty: of every class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    classes: Vec<ErrorClass>,
    /// Empty: every device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    devices: Vec<DeviceId>,
}

impl Haste {
    pub fn new(selection: &Selection) -> Self {
        let devices = Some(&selection.devices).filter(|devices| devices.len() <= MOST_NAMED);
        Self {
            asked: selection.asked,
            classes: selection.classes.clone(),
            devices: devices.into_iter().flatten().cloned().collect(),
        }
    }

    /// Whether a visit that failed before the wish is not to be waited for any more. Visits after it have their pauses.
    pub fn concerns(&self, device: &DeviceId, tries: &Tries) -> bool {
        tries.at.unix_timestamp() <= self.asked.unix_timestamp()
            && (self.classes.is_empty() || self.classes.contains(&tries.failure.class))
            && (self.devices.is_empty() || self.devices.contains(device))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use time::Duration;

    use super::*;
    use crate::job::task::Failure;
    use crate::job::visit::TaskAttempt;
    use crate::job::{JobId, Pass};

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn tries(seconds: i64) -> Tries {
        let task = TaskAttempt { job: JobId(7), pass: Pass::Distribute, attempt: 1 };
        let (failure, at) = (Failure::new(ErrorClass::Connect, "No."), NOW + Duration::seconds(seconds));
        Tries { wrote: false, task, count: 1, failure, at, next: Some(at + Duration::HOUR) }
    }

    #[test]
    fn only_earlier_tries_of_chosen_devices_and_classes_are_hastened() {
        let (device, other) = ("a".parse().unwrap(), "b".parse().unwrap());
        let all = Haste::new(&Selection::everything(NOW));
        assert!(all.concerns(&device, &tries(0)) && !all.concerns(&device, &tries(1)));
        let named = Selection { devices: [device.clone()].into(), ..Selection::everything(NOW) };
        assert!(Haste::new(&named).concerns(&device, &tries(0)) && !Haste::new(&named).concerns(&other, &tries(0)));
        for (class, concerns) in [(ErrorClass::Connect, true), (ErrorClass::Timeout, false)] {
            let of_class = Selection { classes: vec![class], ..Selection::everything(NOW) };
            assert_eq!(Haste::new(&of_class).concerns(&device, &tries(0)), concerns);
        }
        let many = (0..=MOST_NAMED).map(|number| format!("c{number}").parse().unwrap()).collect();
        assert!(Haste::new(&Selection { devices: many, ..Selection::everything(NOW) }).concerns(&device, &tries(0)));
    }
}
