//! What to do with a device that was approved after the last rollover.

use time::{Duration, OffsetDateTime};

use crate::device::DeviceVersion;
use crate::job::task::{Ack, Failure};

/// The first wait for a result; doubles each time.
const FIRST: Duration = Duration::minutes(10);
/// A device that is down for weeks is still tried once a day. A device that refused our password is not tried more
/// often either, as it might lock the account.
const LONGEST: Duration = Duration::DAY;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// The device holds the bundle, or is no longer the approved version: nothing to do.
    Done,
    /// Send the device's message, and check again after this time.
    Send { again: Duration },
    /// Check again after this time: the failure needs a person, and was retried today.
    Wait { again: Duration },
}

/// `version`: the device's, if it is still the approved one. `ack`, `failure`: from its record of the last visit, with
/// the time of the failure. `tries`: earlier checks that found something to do.
pub fn join(
    version: Option<DeviceVersion>,
    ack: Option<&Ack>,
    failure: Option<(&Failure, OffsetDateTime)>,
    bundle: u64,
    tries: u32,
    now: OffsetDateTime,
) -> Join {
    let Some(version) = version else { return Join::Done };
    if ack.is_some_and(|ack| ack.of == version && ack.bundle_version == bundle) && failure.is_none() {
        return Join::Done;
    }
    // A failure from before the first message may belong to an earlier device.
    let lasting = failure.filter(|(failure, _)| tries > 0 && !failure.class.is_retryable());
    match lasting.map(|(_, at)| at + LONGEST - now) {
        Some(again) if again.is_positive() => Join::Wait { again },
        _ => Join::Send { again: (FIRST * 2i32.saturating_pow(tries.min(8))).min(LONGEST) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Incarnation;
    use crate::job::task::{ErrorClass, Probe};
    use rootcast_pki::fingerprint::Fingerprint;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const VERSION: DeviceVersion =
        DeviceVersion { incarnation: Incarnation::from_random([1; 16]), endpoint_revision: 1 };

    fn ack(of: DeviceVersion, bundle_version: u64) -> Ack {
        let sha256 = Fingerprint::from_bytes([1; 32]);
        Ack { of, at: NOW, bundle_version, sha256, probe: Probe::ReadBack }
    }

    #[test]
    fn a_device_with_the_current_bundle_is_left_alone() {
        assert_eq!(join(Some(VERSION), Some(&ack(VERSION, 3)), None, 3, 1, NOW), Join::Done);
        assert_eq!(join(None, None, None, 3, 0, NOW), Join::Done, "it was edited or deleted");
    }

    #[test]
    fn proofs_of_another_bundle_or_version_are_void() {
        let edited = DeviceVersion { endpoint_revision: 0, ..VERSION };
        for ack in [ack(VERSION, 2), ack(edited, 3)] {
            assert_eq!(join(Some(VERSION), Some(&ack), None, 3, 0, NOW), Join::Send { again: FIRST });
        }
    }

    #[test]
    fn a_refused_password_is_tried_once_a_day() {
        let refused = Failure::new(ErrorClass::Unauthorized, "no");
        let at = |tries, now| join(Some(VERSION), None, Some((&refused, NOW)), 3, tries, now);
        assert_eq!(at(0, NOW), Join::Send { again: FIRST }, "it was approved since");
        assert_eq!(at(1, NOW + FIRST), Join::Wait { again: LONGEST - FIRST });
        assert_eq!(at(2, NOW + LONGEST), Join::Send { again: FIRST * 4 });
        let down = Failure::new(ErrorClass::Connect, "no");
        let at = |tries| join(Some(VERSION), None, Some((&down, NOW)), 3, tries, NOW);
        assert_eq!((at(1), at(99)), (Join::Send { again: FIRST * 2 }, Join::Send { again: LONGEST }));
    }
}
