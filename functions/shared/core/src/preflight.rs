//! A preflight: before a rollover, every device is read and none is written. Pure.
//!
//! [`judge`] says what one visit found, a [`Report`](report::Report) sums up the fleet,
//! [`estimate`](estimate::estimate) says what a rollover would take, and [`Since`](since::Since) what has changed until
//! one began.

pub mod estimate;
pub mod report;
pub mod since;

use std::fmt;

use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::job::task::Failure;
use crate::job::{Cursor, InUse};
use report::{Named, Report};

/// Trust anchors that a rollover adds to the bundle.
const NEW_ROOTS: usize = 1;

/// A preflight's part of its job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preflight {
    pub expected: Expected,
    /// Of the installation, at the same time.
    pub workers: u32,
    pub report: Report,
    /// The results are counted up to here; `None` before the counting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Cursor>,
    /// The search for certificates that would be stranded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<InUse>,
    /// The report is complete.
    #[serde(default)]
    pub is_counted: bool,
    /// The fleet's revision in each shard, from before its results were counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<u64>,
}

impl Preflight {
    pub fn new(expected: Expected, workers: u32) -> Self {
        Self {
            expected,
            workers,
            report: Report::default(),
            at: None,
            look: None,
            is_counted: false,
            revisions: Vec::new(),
        }
    }

    /// Records how far the search for stranded certificates has come. It is the last part of the report.
    pub fn note_stranded(&mut self, looked: InUse) {
        self.is_counted = looked.place.is_none();
        if self.is_counted {
            let names = looked.names.into_iter().take(Named::MOST_NAMES).collect();
            self.report.stranded = Named { count: looked.found, names };
        } else {
            self.look = Some(looked);
        }
    }
}

/// The root that a rollover would bring today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// Its validity starts this many seconds before it is made,
    pub backdate: u32,
    /// and ends this many seconds after.
    pub validity: u64,
    pub algorithm: KeyAlgorithm,
}

/// What was read from a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The trust anchors of its slot.
    pub held: Vec<Fingerprint>,
    /// The slot's members. One may hold several trust anchors, or something else.
    pub members: usize,
    /// How many members the slot takes, if there is a known limit.
    pub places: Option<usize>,
    /// By its own clock, at the end of the visit.
    pub clock: Option<OffsetDateTime>,
    /// The TLS signature algorithms that it accepts from servers (DSP8010, `SecurityPolicy`); empty: it does not say.
    pub signatures: Vec<String>,
    pub requests: u32,
}

/// What is on record of a device's trust store.
#[derive(Debug, Clone, Copy)]
pub struct OnRecord<'a> {
    /// The anchors of the current bundle that every device has to hold.
    pub bundle: &'a [Fingerprint],
    /// What the bundle withdraws.
    pub withdrawn: &'a [Fingerprint],
    /// Whether the device, as it is now, has proven that it holds this bundle.
    pub proven: bool,
}

/// Why a device that can be read is not ready for a rollover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Finding {
    /// It does not hold what it had proven to hold.
    Changed,
    /// It has too few free places for the next root.
    NoRoom,
    /// By its clock, the next root is not valid yet, or no more.
    Clock,
    /// It says that it accepts no signature of the next root.
    Algorithm,
}

impl Finding {
    /// What the operator should do.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Changed => {
                "Find out what resets the device's trust store. The rollover gives it back what is missing, but a device that resets it again loses the new root, too."
            }
            Self::NoRoom => {
                "Remove trust anchors from the device's slot that nobody needs, or trusted certificates of others from the bundle (rootcast anchor remove)."
            }
            Self::Clock => "Correct the device's clock or its NTP server.",
            Self::Algorithm => {
                "Permit the algorithm in the device's security policy, or choose another one for the next root (PUT /certificatePolicy)."
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::NoRoom => "noRoom",
            Self::Clock => "clock",
            Self::Algorithm => "algorithm",
        })
    }
}

/// A finding about a device, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub finding: Finding,
    pub message: String,
}

/// The result of a visit that only read, in the task's record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Empty: the device is ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Found>,
    /// How long the visit took.
    pub millis: u32,
    pub requests: u32,
    /// Members of its trust slot.
    pub members: u32,
}

impl Checked {
    /// How long a visit takes that also writes one anchor: it is posted, and the slot is listed again, with one member
    /// more.
    pub fn writing_millis(&self) -> u64 {
        let requests = u64::from(self.requests.max(1));
        let further = 1 + 1 + u64::from(self.members) + 1;
        u64::from(self.millis) * (requests + further) / requests
    }
}

/// What a reading says against a rollover.
pub fn judge(read: &Reading, on_record: OnRecord<'_>, expected: Expected, now: OffsetDateTime) -> Vec<Found> {
    let missing = on_record.bundle.iter().filter(|anchor| !read.held.contains(anchor)).count();
    let changed = on_record.proven.then(|| changed(read, on_record, missing)).flatten();
    let found = [
        (Finding::Changed, changed),
        (Finding::NoRoom, no_room(read, missing + NEW_ROOTS)),
        (Finding::Clock, read.clock.and_then(|clock| wrong_clock(clock, expected, now))),
        (Finding::Algorithm, refused(&read.signatures, expected.algorithm)),
    ];
    let said = |(finding, message): (Finding, Option<String>)| Some(Found { finding, message: message? });
    found.into_iter().filter_map(said).collect()
}

fn changed(read: &Reading, on_record: OnRecord<'_>, missing: usize) -> Option<String> {
    let back = on_record.withdrawn.iter().filter(|anchor| read.held.contains(anchor)).count();
    (missing + back > 0).then(|| {
        format!(
            "Its trust store is not what it had proven to be: {missing} trust anchors are missing, and {back} that were removed are back."
        )
    })
}

fn no_room(read: &Reading, needed: usize) -> Option<String> {
    let places = read.places?;
    let free = places.saturating_sub(read.members);
    (free < needed).then(|| format!("{free} of {places} places are free, and a rollover needs {needed}."))
}

fn wrong_clock(clock: OffsetDateTime, expected: Expected, now: OffsetDateTime) -> Option<String> {
    let behind = now - clock;
    let backdate = Duration::seconds(expected.backdate.into());
    let validity = Duration::seconds(expected.validity.try_into().unwrap_or(i64::MAX));
    if behind > backdate {
        let behind = Duration::seconds(behind.whole_seconds());
        return Some(format!(
            "Its clock is {behind} behind, and the next root is valid from {backdate} before it is made."
        ));
    }
    (-behind > validity)
        .then(|| format!("Its clock is {} days ahead, when the next root has expired.", (-behind).whole_days()))
}

/// The scheme's name (RFC 8446 §4.2.3), or `SignatureAlgorithm_HashAlgorithm`, as DSP8010 allows both.
fn refused(accepted: &[String], algorithm: KeyAlgorithm) -> Option<String> {
    let names = match algorithm {
        KeyAlgorithm::EcdsaP256 => ["ecdsa_secp256r1_sha256", "ecdsa_sha256"],
        KeyAlgorithm::EcdsaP384 => ["ecdsa_secp384r1_sha384", "ecdsa_sha384"],
        KeyAlgorithm::Rsa2048 => ["rsa_pkcs1_sha256", "rsa_sha256"],
        KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => ["rsa_pkcs1_sha384", "rsa_sha384"],
    };
    let is_fitting =
        |name: &String| name.eq_ignore_ascii_case("all") || names.iter().any(|known| name.eq_ignore_ascii_case(known));
    if accepted.is_empty() || accepted.iter().any(is_fitting) {
        return None;
    }
    let listed = Failure::clean(&accepted.join(", "), LONGEST_LIST);
    Some(format!("The next root signs with {}, and the device accepts: {listed}.", names[0]))
}

/// In characters.
const LONGEST_LIST: usize = 200;

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);
    const EXPECTED: Expected = Expected { backdate: 3600, validity: 3650 * 86_400, algorithm: KeyAlgorithm::EcdsaP384 };
    const ROOT: Fingerprint = Fingerprint::from_bytes([1; 32]);
    const FORMER: Fingerprint = Fingerprint::from_bytes([2; 32]);

    fn reading() -> Reading {
        Reading { held: vec![ROOT], members: 1, places: Some(4), clock: Some(NOW), requests: 4, ..Reading::default() }
    }

    fn found(read: &Reading, proven: bool) -> Vec<Finding> {
        let on_record = OnRecord { bundle: &[ROOT], withdrawn: &[FORMER], proven };
        judge(read, on_record, EXPECTED, NOW).into_iter().map(|found| found.finding).collect()
    }

    #[test]
    fn a_device_as_on_record_is_ready() {
        assert_eq!(found(&reading(), true), []);
        assert_eq!(found(&Reading { clock: None, places: None, ..reading() }, true), [], "it does not say");
    }

    #[test]
    fn lost_and_returned_anchors_are_found_where_they_were_proven() {
        let lost = Reading { held: Vec::new(), members: 0, ..reading() };
        assert_eq!(found(&lost, true), [Finding::Changed]);
        assert_eq!(found(&lost, false), [], "the rollover brings it");
        let back = Reading { held: vec![ROOT, FORMER], members: 2, ..reading() };
        assert_eq!(found(&back, true), [Finding::Changed]);
    }

    #[test]
    fn the_next_root_and_what_is_missing_need_places() {
        assert_eq!(found(&Reading { members: 3, ..reading() }, true), []);
        assert_eq!(found(&Reading { members: 4, ..reading() }, true), [Finding::NoRoom]);
        let others = Reading { held: Vec::new(), members: 3, ..reading() };
        assert_eq!(found(&others, false), [Finding::NoRoom], "for the old root and the new one");
    }

    #[test]
    fn a_clock_outside_the_next_roots_validity_is_found() {
        let at = |clock| found(&Reading { clock: Some(clock), ..reading() }, true);
        assert_eq!(at(NOW - Duration::hours(1)), []);
        assert_eq!(at(NOW - Duration::hours(1) - Duration::SECOND), [Finding::Clock]);
        assert_eq!(at(NOW + Duration::days(3650)), []);
        assert_eq!(at(NOW + Duration::days(3651)), [Finding::Clock]);
    }

    #[test]
    fn signature_algorithms_count_where_the_device_names_them() {
        let names = |names: &[&str]| {
            let signatures = names.iter().map(|name| (*name).to_owned()).collect();
            found(&Reading { signatures, ..reading() }, true)
        };
        for accepted in [&["ALL"][..], &["rsa_pkcs1_sha256", "ecdsa_secp384r1_sha384"], &["ECDSA_SHA384"]] {
            assert_eq!(names(accepted), [], "{accepted:?}");
        }
        for refused in [&["NONE"][..], &["rsa_pkcs1_sha256"], &["ecdsa_secp256r1_sha256"]] {
            assert_eq!(names(refused), [Finding::Algorithm], "{refused:?}");
        }
    }

    #[test]
    fn a_writing_visit_takes_the_requests_that_it_makes() {
        let checked = Checked { millis: 400, requests: 4, members: 1, ..Checked::default() };
        assert_eq!(checked.writing_millis(), 800);
        assert_eq!(Checked::default().writing_millis(), 0);
    }
}
