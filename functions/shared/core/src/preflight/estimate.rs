//! How long a rollover would take, and what it would cost at AWS.

use serde::{Deserialize, Serialize};

use super::Preflight;
use crate::job::{Job, Phase};
use crate::rollover::rollout::Rollout;
use crate::usage::{Nanodollars, Prices, Usage};

/// What the figures assume, for their reader.
pub const ASSUMES: &str = "Time: from the visits of this preflight, in the waves of this request; without devices that fail, and with 30 s per restart of a web server. Cost: without free tier, logs and network; the new root's key is $1 a month.";

/// Between the last result of a wave and the first message of the next, in milliseconds: the conductor is woken through its
/// queue.
const BETWEEN_WAVES: u64 = 2_000;
/// Visits of a renewal: for the request, for the installation, and while the web server restarts.
const VISITS_OF_RENEWAL: u64 = 3;
/// A web server's restart, in milliseconds. OpenBMC's takes a few seconds, other controllers' half a minute.
const RESTART: u64 = 30_000;

/// Per device and pass, rounded up from what `tests/tests/it/cost.rs` counts at the functions' proxy: write units and SQS
/// requests. Read units: its record, task and fleet entry, each read twice.
const WRITES: u64 = 7;
const READS: u64 = 6;
const MESSAGES: u64 = 1;
/// Of a renewal, besides its visits: what `cargo bench --bench fleet` counts, rounded up. Revocation lists are signed, too.
const RENEWAL_WRITES: u64 = 40;
const RENEWAL_READS: u64 = 30;
const RENEWAL_MESSAGES: u64 = 3;
const SIGNATURES_OF_TEN_RENEWALS: u64 = 13;

/// A worker's memory in MB.
const WORKER: u64 = 256;
/// Devices of a worker: a batch, which is paid until its slowest device is done, assumed to take twice the mean.
const BATCH: u64 = 10;
const SLOWEST: u64 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub phase: Phase,
    pub devices: u64,
    pub waves: u32,
    pub seconds: u64,
    /// In dollars per thousand million.
    #[serde(rename = "nanodollars")]
    pub cost: Nanodollars,
}

/// The rollover's phases that take time. `None`: no device could be read, so nothing is known.
pub fn estimate(job: &Job, preflight: &Preflight, prices: &Prices) -> Option<Vec<Part>> {
    let report = &preflight.report;
    let mean = report.writing_millis.div_ceil(report.read.max(1));
    if report.read == 0 {
        return None;
    }
    let visits = |phase, devices: u64, mean: u64, longest: u64| {
        let places = u64::from(preflight.workers) * BATCH;
        let (waves, millis) = waves(devices, &job.rollout, places, mean, longest);
        let cost = prices.of(&of_visits(devices, mean));
        Part { phase, devices, waves, seconds: millis.div_ceil(1000), cost }
    };
    let trust = |phase| visits(phase, report.devices, mean, report.longest_millis);
    let mut parts = vec![trust(Phase::Distribute)];
    let goes_beyond = |phase| job.until > phase && job.old_generation.is_some();
    if job.until > Phase::Distribute && job.rollout.hold_down > 0 {
        let seconds = job.rollout.hold_down.into();
        parts.push(Part { phase: Phase::HoldDown, devices: 0, waves: 0, seconds, cost: 0 });
    }
    if goes_beyond(Phase::Activate) {
        let renewal = |visit: u64| VISITS_OF_RENEWAL * visit + RESTART;
        let renewals = visits(Phase::Reissue, report.reissued, renewal(mean), renewal(report.longest_millis));
        // The restart is waited for in the queue.
        let devices = report.reissued;
        let signatures = (SIGNATURES_OF_TEN_RENEWALS * devices).div_ceil(10);
        let signed = Usage {
            write_units: RENEWAL_WRITES * devices,
            half_read_units: 2 * RENEWAL_READS * devices,
            queue_requests: RENEWAL_MESSAGES * devices,
            key_requests: signatures,
            signatures,
            ..Usage::default()
        };
        let cost = prices.of(&(of_visits(VISITS_OF_RENEWAL * devices, mean) + signed));
        parts.push(Part { cost, ..renewals });
    }
    if goes_beyond(Phase::Reissue) {
        parts.push(trust(Phase::Distrust));
    }
    Some(parts)
}

/// The number of waves, and how long they take in milliseconds: each as long as its devices in turn, or its slowest one.
fn waves(devices: u64, rollout: &Rollout, places: u64, mean: u64, longest: u64) -> (u32, u64) {
    let (mut left, mut number, mut millis) = (devices, 0, 0);
    while left > 0 {
        number += 1;
        let size = rollout.wave_size(number).clamp(1, left);
        left -= size;
        millis += (size.div_ceil(places.max(1)) * mean).max(longest) + BETWEEN_WAVES;
        if left > 0 {
            millis += u64::from(rollout.wave_pause) * 1000;
        }
    }
    (number, millis)
}

/// What so many visits of this length use.
fn of_visits(visits: u64, millis: u64) -> Usage {
    Usage {
        write_units: WRITES * visits,
        half_read_units: 2 * READS * visits,
        queue_requests: MESSAGES * visits,
        invocations: visits.div_ceil(BATCH),
        megabyte_millis: visits * millis * SLOWEST * WORKER / BATCH,
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use rootcast_pki::algorithm::KeyAlgorithm;
    use time::OffsetDateTime;

    use super::*;
    use crate::job::{JobId, NewPreflight};
    use crate::preflight::Expected;
    use crate::preflight::report::Report;

    /// Each device takes a second, and one of them ten.
    fn estimated(devices: u64, reissued: u64, until: Phase, rollout: Rollout) -> Vec<Part> {
        let expected = Expected { backdate: 3600, validity: 1, algorithm: KeyAlgorithm::EcdsaP384 };
        let read = devices;
        let (writing_millis, longest_millis) = (devices * 1000, 10_000);
        let report = Report { devices, reissued, read, writing_millis, longest_millis, ..Report::default() };
        let preflight = Preflight { report, ..Preflight::new(expected, 50) };
        let new = NewPreflight {
            id: JobId(7),
            signing: Some(1),
            bundle_version: 1,
            rollout,
            until,
            preflight,
            requested_for: None,
        };
        let job = Job::of_preflight(new, OffsetDateTime::UNIX_EPOCH);
        job.preflight.as_deref().and_then(|preflight| estimate(&job, preflight, &Prices::default())).unwrap_or_default()
    }

    #[test]
    fn a_wave_takes_as_long_as_its_slowest_device() {
        let one = Rollout { canary: 1_000_000, largest_wave: 1_000_000, ..Rollout::default() };
        let [few] = estimated(50, 0, Phase::Activate, one.clone())[..] else { unreachable!("one part") };
        assert_eq!((few.waves, few.seconds), (1, 12));
        let [many] = estimated(1_000_000, 0, Phase::Activate, one)[..] else { unreachable!("one part") };
        assert_eq!((many.waves, many.seconds), (1, 2002));
    }

    #[test]
    fn waves_and_their_pauses_add_up() {
        let rollout = Rollout { wave_pause: 60, ..Rollout::default() };
        let [part] = estimated(555, 0, Phase::Activate, rollout)[..] else { unreachable!("one part") };
        assert_eq!((part.waves, part.seconds), (3, 3 * 12 + 2 * 60));
    }

    #[test]
    fn each_phase_up_to_the_last_has_its_part() {
        let rollout = Rollout { hold_down: 86_400, ..Rollout::default() };
        let phases =
            |until| estimated(100, 40, until, rollout.clone()).iter().map(|part| part.phase).collect::<Vec<_>>();
        assert_eq!(phases(Phase::Distribute), [Phase::Distribute]);
        assert_eq!(phases(Phase::Activate), [Phase::Distribute, Phase::HoldDown]);
        assert_eq!(phases(Phase::Retire), [Phase::Distribute, Phase::HoldDown, Phase::Reissue, Phase::Distrust]);
        let parts = estimated(100, 40, Phase::Retire, rollout);
        assert_eq!((parts[2].devices, parts[3].devices), (40, 100));
    }

    /// Distribution to a million devices cost about five dollars before there were estimates, without the surveys' reads.
    #[test]
    fn a_million_devices_cost_some_dollars() {
        let [part] = estimated(1_000_000, 0, Phase::Activate, Rollout::default())[..] else { unreachable!("one part") };
        let dollars = part.cost / 1_000_000_000;
        assert!((5..8).contains(&dollars), "{dollars}");
    }

    #[test]
    fn without_a_device_that_was_read_there_is_no_estimate() {
        assert_eq!(estimated(0, 0, Phase::Retire, Rollout::default()), []);
    }
}
