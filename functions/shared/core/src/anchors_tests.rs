#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair};

use super::*;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn certificate(name: &str, key: &KeyPair) -> Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    Certificate::from_der(params.self_signed(key).unwrap().der().to_vec()).unwrap()
}

/// Some certificates, each with its own key.
fn some(count: usize) -> Vec<Certificate> {
    static MADE: LazyLock<Vec<Certificate>> = LazyLock::new(|| {
        (0..MOST_WITHDRAWN + 9).map(|at| certificate(&format!("Root {at}"), &KeyPair::generate().unwrap())).collect()
    });
    MADE[..count].to_vec()
}

fn added(count: usize) -> Anchors {
    let mut anchors = Anchors::default();
    anchors.change(&AnchorChange::Add(some(count)), [].iter(), NOW).unwrap();
    anchors.settle(None);
    anchors
}

fn add(anchors: &mut Anchors, certificates: &[Certificate], ours: &[Certificate]) -> Result<Vec<AnchorId>, NotChanged> {
    anchors.change(&AnchorChange::Add(certificates.to_vec()), ours.iter(), NOW)
}

#[test]
fn an_anchor_of_ours_or_of_its_name_or_key_is_refused() {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let ours = [certificate("Ours", &key)];
    let mut anchors = Anchors::default();
    for refused in [certificate("Ours", &key), certificate("Other", &key), certificate("Ours", &other)] {
        let why = add(&mut anchors, &[refused], &ours).unwrap_err();
        assert!(matches!(why, NotChanged::Ours(_)), "{why}");
    }
    assert!(add(&mut anchors, &[certificate("Other", &other)], &ours).is_ok());
}

#[test]
fn an_anchor_is_not_added_twice() {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut anchors = Anchors::default();
    let [one, again] = [certificate("One", &key), certificate("One", &key)];
    let why = add(&mut anchors, &[one.clone(), again.clone()], &[]).unwrap_err();
    assert_eq!((why, &anchors), (NotChanged::Repeated("CN=One".to_owned()), &Anchors::default()));
    add(&mut anchors, std::slice::from_ref(&one), &[]).unwrap();
    let twice = NotChanged::Twice { id: AnchorId(1), subject: "CN=One".to_owned() };
    // Also while a job removes it.
    for _ in 0..2 {
        assert_eq!(add(&mut anchors, std::slice::from_ref(&again), &[]), Err(twice.clone()));
        anchors.settle(None);
        _ = anchors.change(&AnchorChange::Remove(AnchorId(1)), [].iter(), NOW);
    }
    assert!(add(&mut anchors, &[certificate("One", &other), certificate("Two", &key)], &[]).is_ok());
}

#[test]
fn a_request_that_is_refused_in_part_adds_nothing() {
    let mut anchors = added(MOST - 1);
    let before = anchors.clone();
    let two = some(MOST + 1)[MOST - 1..].to_vec();
    assert_eq!(add(&mut anchors, &two, &[]), Err(NotChanged::Many(MOST)));
    assert_eq!(anchors, before);
    assert_eq!(add(&mut anchors, &two[..1], &[]), Ok(vec![AnchorId(50)]));
}

#[test]
fn only_a_trusted_anchor_is_removed() {
    let mut anchors = added(1);
    let remove = |anchors: &mut Anchors, id| anchors.change(&AnchorChange::Remove(AnchorId(id)), [].iter(), NOW);
    assert_eq!(remove(&mut anchors, 2), Err(NotChanged::Unknown(AnchorId(2))));
    remove(&mut anchors, 1).unwrap();
    anchors.begin(JobId(5));
    assert_eq!(remove(&mut anchors, 1), Err(NotChanged::Busy(AnchorId(1))));
    anchors.settle(Some(JobId(4)));
    assert_eq!(anchors.get(AnchorId(1)).unwrap().state, AnchorState::Removing, "another job's end");
    anchors.settle(Some(JobId(5)));
    assert_eq!(remove(&mut anchors, 1), Err(NotChanged::Unknown(AnchorId(1))));
}

#[test]
fn the_newest_removed_anchors_stay_listed() {
    let certificates = some(MOST_WITHDRAWN + 2);
    let mut anchors = Anchors::default();
    for certificate in &certificates {
        let ids = add(&mut anchors, std::slice::from_ref(certificate), &[]).unwrap();
        anchors.settle(None);
        anchors.change(&AnchorChange::Remove(ids[0]), [].iter(), NOW).unwrap();
        anchors.settle(None);
    }
    let listed: Vec<_> = anchors.withdrawn().collect();
    let newest: Vec<_> = certificates[2..].iter().map(Certificate::fingerprint).collect();
    assert_eq!(listed, newest);
    // It comes back: no device removes it any more.
    add(&mut anchors, &certificates[5..6], &[]).unwrap();
    assert!(!anchors.withdrawn().any(|gone| gone == certificates[5].fingerprint()));
}

#[test]
fn a_record_survives_the_store() {
    let mut anchors = added(3);
    anchors.change(&AnchorChange::Remove(AnchorId(2)), [].iter(), NOW).unwrap();
    anchors.begin(JobId(5));
    let stored = serde_json::to_string(&anchors).unwrap();
    assert_eq!(serde_json::from_str::<Anchors>(&stored).unwrap(), anchors);
    for text in ["", "01", "+1", "-1", "1 ", "x", "18446744073709551616"] {
        assert!(text.parse::<AnchorId>().is_err(), "{text}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add(BTreeSet<usize>),
    Remove(u64),
    Abort,
    End,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        proptest::collection::btree_set(0_usize..8, 1..4).prop_map(Step::Add),
        (0_u64..30).prop_map(Step::Remove),
        Just(Step::Abort),
        Just(Step::End),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// As the authority calls it: one job at a time. An abort leads back to what was there before, and no certificate is
    /// ever both to be held and to be removed.
    #[test]
    fn an_abort_leads_back(steps in steps()) {
        let (all, mut anchors, mut job) = (some(8), Anchors::default(), 0);
        let mut running: Option<(JobId, BTreeSet<Fingerprint>, bool)> = None;
        let live = |anchors: &Anchors| anchors.live().map(Certificate::fingerprint).collect::<BTreeSet<_>>();
        for step in steps {
            match (step, &mut running) {
                (Step::Abort, Some((id, _, aborted))) if !*aborted => {
                    anchors.turn_back(*id);
                    *aborted = true;
                }
                (Step::End, Some((id, before, aborted))) => {
                    let during = live(&anchors);
                    anchors.settle(Some(*id));
                    prop_assert_eq!(&live(&anchors), &during, "an end changes nothing at the devices");
                    if *aborted {
                        prop_assert_eq!(&live(&anchors), before);
                    }
                    prop_assert!(anchors.iter().all(|anchor| anchor.state == AnchorState::Trusted));
                    running = None;
                }
                (step @ (Step::Add(_) | Step::Remove(_)), None) => {
                    let change = match step {
                        Step::Add(which) => AnchorChange::Add(which.into_iter().map(|at| all[at].clone()).collect()),
                        Step::Remove(id) => AnchorChange::Remove(AnchorId(id)),
                        _ => unreachable!(),
                    };
                    let before = anchors.clone();
                    match anchors.change(&change, [].iter(), NOW) {
                        Ok(ids) => {
                            prop_assert!(!ids.is_empty());
                            job += 1;
                            anchors.begin(JobId(job));
                            running = Some((JobId(job), live(&before), false));
                        }
                        Err(_) => prop_assert_eq!(&anchors, &before),
                    }
                }
                _ => {}
            }
            let held = live(&anchors);
            prop_assert!(anchors.withdrawn().all(|gone| !held.contains(&gone)));
            let ids: BTreeSet<_> = anchors.iter().map(|anchor| anchor.id).collect();
            prop_assert_eq!(ids.len(), anchors.iter().count());
        }
    }
}
