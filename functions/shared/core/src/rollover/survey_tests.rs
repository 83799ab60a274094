#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use super::*;
use crate::device::Incarnation;
use crate::job::task::Ack;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const DEMAND: Demand = Demand::of(3, NOW);

fn version(incarnation: u8, endpoint_revision: u64) -> DeviceVersion {
    DeviceVersion { incarnation: Incarnation::from_random([incarnation; 16]), endpoint_revision }
}

fn task(state: TaskState, of: DeviceVersion) -> TaskRecord {
    let sha256 = Fingerprint::from_bytes([1; 32]);
    let ack = Ack { of, at: NOW, bundle_version: 3, sha256, probe: Probe::ReadBack };
    let ack = (state == TaskState::Acked).then_some(ack);
    TaskRecord { of: Some(of), ack, ..TaskRecord::new("bmc-1".parse().unwrap(), state, 2, NOW) }
}

#[test]
fn a_proof_is_of_the_devices_current_version() {
    let proof = task(TaskState::Acked, version(1, 1));
    let found = |now_is| find(Some(now_is), Some(&proof), DEMAND, Turn::Open);
    assert_eq!(found(version(1, 1)), Finding::Proven { at: NOW, spared: None });
    assert_eq!(found(version(2, 1)), Finding::Void, "enrolled again");
    assert_eq!(found(version(1, 2)), Finding::Void, "edited");
}

#[test]
fn old_proofs_and_those_of_another_bundle_are_void() {
    let proof = task(TaskState::Acked, version(1, 1));
    let found = |demand| find(Some(version(1, 1)), Some(&proof), demand, Turn::Open);
    assert_eq!(found(Demand::of(3, NOW + Duration::SECOND)), Finding::Old);
    assert_eq!(found(Demand::of(4, NOW)), Finding::Void);
}

#[test]
fn what_was_lost_during_the_hold_down_was_forgotten() {
    let mut proof = task(TaskState::Acked, version(1, 1));
    let found = |proof: &TaskRecord, held_since: Option<OffsetDateTime>| {
        let hold = held_since.map(|since| Hold { since, until: since + Duration::DAY, sampled: None, devices: 1 });
        find(Some(version(1, 1)), Some(proof), Demand { hold, ..DEMAND }, Turn::Open)
    };
    let proven = Finding::Proven { at: NOW, spared: None };
    assert_eq!(found(&proof, Some(NOW)), proven);
    proof.ack.as_mut().unwrap().probe = Probe::Restored;
    assert_eq!(found(&proof, Some(NOW)), Finding::Forgot);
    for before in [None, Some(NOW + Duration::SECOND)] {
        assert_eq!(found(&proof, before), proven, "it had the root again before the hold-down");
    }
}

#[test]
fn a_closed_windows_proof_is_judged_as_when_it_closed() {
    let (last, later) = (NOW - Duration::HOUR / 2, NOW + 7 * Duration::HOUR);
    let closed = Turn::Closed { windows: 1, last, next: NOW + Duration::DAY };
    let hold = Hold { since: NOW, until: NOW + Duration::DAY, sampled: None, devices: 1 };
    let demand = Demand { age: Duration::HOUR, ..Demand::of(3, later) };
    assert_eq!(demand.since_in(Turn::Open), later - Duration::HOUR);
    assert_eq!(demand.since_in(closed), last - Duration::HOUR);
    let demand = Demand { hold: Some(hold), ..demand };
    assert_eq!(demand.since_in(Turn::Open), NOW - Duration::HOUR, "a hold-down does not age it");
    assert_eq!(demand.since_in(closed), last - Duration::HOUR, "nor twice");
    for (waits, since) in [(NOW, last), (NOW - Duration::DAY, NOW - Duration::DAY)] {
        let demand = Demand { waits_since: Some(waits), ..demand };
        assert_eq!(demand.since_in(closed), since - Duration::HOUR, "the gate waits for windows");
        assert_eq!(demand.since_in(Turn::Open), NOW - Duration::HOUR);
    }
    let demand = Demand { waits_since: Some(NOW - Duration::days(100)), ..demand };
    assert_eq!(demand.since_in(closed), later - LONGEST_WAIT - Duration::HOUR, "nobody waits for so long");
}

#[test]
fn waivers_and_failures_are_of_one_device_version() {
    for (state, found) in [(TaskState::Waived, Finding::Waived), (TaskState::Failed, Finding::Failed)] {
        let task = task(state, version(1, 1));
        assert_eq!(find(Some(version(1, 1)), Some(&task), DEMAND, Turn::Open), found);
        assert_eq!(find(Some(version(1, 2)), Some(&task), DEMAND, Turn::Open), Finding::Void);
    }
}

#[test]
fn devices_that_left_are_no_longer_awaited() {
    let waiting = task(TaskState::Waiting, version(1, 1));
    let gone = find(None, Some(&waiting), DEMAND, Turn::Open);
    for purpose in [Purpose::Survey, Purpose::Resend, Purpose::GiveUp] {
        assert_eq!(purpose.deed(gone), Some(Deed::Skip { attempt: 2 }));
    }
    assert_eq!(
        Purpose::Survey.deed(find(None, Some(&task(TaskState::Acked, version(1, 1))), DEMAND, Turn::Open)),
        None
    );
}

/// There are sixteen of them in a job's record, which is written often.
#[test]
fn findings_are_stored_without_what_was_not_found() {
    let shard = SurveyedShard { shard: 3, revision: 7, findings: Findings { failed: 2, ..Findings::NONE } };
    let stored = serde_json::to_value(shard).unwrap();
    assert_eq!(stored, serde_json::json!({ "shard": 3, "revision": 7, "failed": 2 }));
    assert_eq!(serde_json::from_value::<SurveyedShard>(stored).unwrap(), shard);
}

#[test]
fn only_a_complete_recent_and_clean_survey_opens() {
    let clean = Findings { proven: 1, oldest: Some(NOW), ..Findings::NONE };
    let mut survey = Survey::default();
    for shard in 0..SHARDS {
        assert!(!survey.opens(NOW, NOW));
        survey.note(SurveyedShard { shard, revision: 7, findings: clean });
    }
    assert!(survey.opens(NOW, NOW) && !survey.opens(NOW + Duration::SECOND, NOW));
    let then = NOW + Duration::SECOND;
    let spared = Some(Spared { read: NOW - Duration::SECOND, until: then });
    survey.note(SurveyedShard { shard: 4, revision: 7, findings: Findings { spared, ..clean } });
    assert!(survey.opens(NOW, NOW) && !survey.opens(NOW, then), "its window has opened");
    assert!(survey.opens(NOW - Duration::SECOND, then), "its proof is young enough");
    survey.note(SurveyedShard { shard: 3, revision: 7, findings: Findings { open: 1, ..clean } });
    assert!(survey.is_complete() && !survey.opens(NOW, NOW));
}

#[test]
fn only_a_changed_shard_is_read_again() {
    let mut survey = Survey::default();
    (0..SHARDS).for_each(|shard| survey.note(SurveyedShard { shard, revision: 7, findings: Findings::NONE }));
    let mut revisions = vec![7; usize::from(SHARDS)];
    assert!(!survey.forget_changed(&revisions));
    revisions[5] = 8;
    assert!(survey.forget_changed(&revisions) && !survey.opens(NOW, NOW));
    assert!((0..SHARDS).all(|shard| survey.knows(shard) == (shard != 5)));
    let job = JobId(0);
    let skipped = Cursor::default().skip_known(job, &survey);
    assert_eq!(skipped.shard(job), 5);
    assert!(skipped.next_shard().skip_known(job, &survey).is_at_end());
}
