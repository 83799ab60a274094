//! What becomes of a device that was approved after the last rollover.

use time::Duration;

use crate::device::DeviceVersion;
use crate::task::{Ack, Failure};

/// The first wait for an answer; it doubles.
const FIRST: Duration = Duration::minutes(10);
/// A device that is down for weeks is still asked once a day. So is one that refused our password: not more often, or it
/// locks the account.
const LONGEST: Duration = Duration::DAY;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// It holds the bundle, or is not what was approved: there is nothing to do any more.
    Done,
    /// Send its message, and look again after this time.
    Send { again: Duration },
}

/// `version`: of the device, if it is still as it was approved. `ack`, `failure`: what its record says of the last visit.
/// `tries`: messages that were sent.
pub fn join(
    version: Option<DeviceVersion>,
    ack: Option<&Ack>,
    failure: Option<&Failure>,
    bundle: u64,
    tries: u32,
) -> Join {
    let Some(version) = version else { return Join::Done };
    if ack.is_some_and(|ack| ack.of == version && ack.bundle_version == bundle) && failure.is_none() {
        return Join::Done;
    }
    let waits_long = tries > 0 && failure.is_some_and(|failure| !failure.class.is_retryable());
    let again = if waits_long { LONGEST } else { (FIRST * 2i32.saturating_pow(tries.min(8))).min(LONGEST) };
    Join::Send { again }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::device::Incarnation;
    use crate::fingerprint::Fingerprint;
    use crate::task::{ErrorClass, Probe};

    const VERSION: DeviceVersion =
        DeviceVersion { incarnation: Incarnation::from_random([1; 16]), endpoint_revision: 1 };

    fn ack(of: DeviceVersion, bundle_version: u64) -> Ack {
        let sha256 = Fingerprint::from_bytes([1; 32]);
        Ack { of, at: OffsetDateTime::UNIX_EPOCH, bundle_version, sha256, probe: Probe::ReadBack }
    }

    #[test]
    fn a_device_that_holds_todays_bundle_is_left_alone() {
        assert_eq!(join(Some(VERSION), Some(&ack(VERSION, 3)), None, 3, 1), Join::Done);
        assert_eq!(join(None, None, None, 3, 0), Join::Done, "it was edited or deleted");
    }

    #[test]
    fn a_proof_of_another_bundle_or_device_does_not_do() {
        let edited = DeviceVersion { endpoint_revision: 0, ..VERSION };
        for ack in [ack(VERSION, 2), ack(edited, 3)] {
            assert_eq!(join(Some(VERSION), Some(&ack), None, 3, 0), Join::Send { again: FIRST });
        }
    }

    #[test]
    fn a_refused_password_is_tried_once_a_day() {
        let refused = Failure::new(ErrorClass::Unauthorized, "no");
        assert_eq!(join(Some(VERSION), None, Some(&refused), 3, 1), Join::Send { again: LONGEST });
        let down = Failure::new(ErrorClass::Connect, "no");
        assert_eq!(join(Some(VERSION), None, Some(&down), 3, 1), Join::Send { again: FIRST * 2 });
        assert_eq!(join(Some(VERSION), None, Some(&down), 3, 99), Join::Send { again: LONGEST });
    }
}
