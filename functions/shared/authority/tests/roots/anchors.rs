//! The trust anchors of others go into the bundle and leave it, in one write.

use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use rootcast_authority::{AnchorRequest, AnchorsChanged, AuthorityError};
use rootcast_core::anchors::{AnchorChange, AnchorId, AnchorState, Anchors, NotChanged};
use rootcast_core::audit::Actor;
use rootcast_core::job::{Cursor, Job, JobId, JobOutcome, JobPurpose, Phase, Tally};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_ledger::{Authority, BundleRecord, Change, Conducting, LedgerError};
use rootcast_pki::bundle::verify_bundle;
use rootcast_pki::certificate::Certificate;

use crate::aws::Aws;
use crate::keys::TODAY;
use crate::{JOB, signing_root};

fn of_others(name: &str) -> Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap()
}

fn other() -> Certificate {
    static OTHER: LazyLock<Certificate> = LazyLock::new(|| of_others("Other Root"));
    OTHER.clone()
}

fn add() -> AnchorChange {
    AnchorChange::Add(vec![other()])
}

const REMOVE: AnchorChange = AnchorChange::Remove(AnchorId(1));

fn held() -> Conducting {
    Conducting { job: JOB, owner: "conductor".to_owned() }
}

impl Aws {
    /// In a process of its own, which puts keys to sleep.
    async fn change(&self, change: &AnchorChange) -> Result<AnchorsChanged, AuthorityError> {
        let (rollout, by) = (&Rollout::default(), Actor::function("tests"));
        let request = AnchorRequest { change, rollout, requested_for: None, by: &by, now: TODAY };
        self.state().start_anew();
        self.authority().with_sleep(true).change_anchors(request).await
    }

    async fn others(&self) -> Anchors {
        self.ledger().anchors(&self.ledger().authority().await.unwrap()).await.unwrap()
    }

    async fn current(&self) -> BundleRecord {
        let version = self.ledger().authority().await.unwrap().bundle;
        self.ledger().bundle(version).await.unwrap().unwrap()
    }

    /// The devices have it, or are as before.
    async fn settle(&self, outcome: JobOutcome) -> Result<Job, AuthorityError> {
        let mut job = self.job().await;
        let by = Actor::function("tests");
        self.lease(JOB.0, "conductor");
        self.authority().settle_anchors(&mut job, outcome, Some(&held()), &by, TODAY).await.map(|()| job)
    }

    async fn abort(&self) {
        let mut job = self.job().await;
        self.lease(JOB.0, "conductor");
        let by = Actor::function("tests");
        self.authority().turn_back_anchors(&mut job, Some(&held()), &by, TODAY).await.unwrap();
        assert_eq!(self.job().await, job);
    }
}

#[tokio::test]
async fn a_change_is_one_write_after_the_signature() {
    let aws = signing_root().await;
    let changed = aws.change(&add()).await.unwrap();
    assert_eq!(changed, AnchorsChanged { ids: vec![AnchorId(1)], job: Some(JOB), in_bundle: 2 });
    assert_eq!(aws.calls(), ["sign a bundle with key 1", "write authority, anchors, bundle 2, job"]);
    let job = aws.job().await;
    assert_eq!((job.purpose, job.phase, job.bundle_version), (JobPurpose::Anchors, Phase::Publish, 2));
    let BundleRecord { bundle, jws, .. } = aws.current().await;
    assert_eq!((&bundle.anchors[1], bundle.others.as_slice()), (&other(), &[other().fingerprint()][..]));
    let ours: Vec<Certificate> = bundle.signers().cloned().collect();
    assert_eq!(ours, [bundle.anchors[0].clone()]);
    assert_eq!(verify_bundle(&jws, &ours, TODAY, None).unwrap(), bundle);
    assert!(verify_bundle(&jws, &[other()], TODAY, None).is_err(), "it signs nothing");
    let lines = aws.state().lines().join("\n");
    assert!(lines.contains("policy:anchors") && lines.contains(&format!("1={}", other().fingerprint())), "{lines}");
}

#[tokio::test]
async fn the_list_follows_the_job() {
    let aws = signing_root().await;
    let states = async || aws.others().await.iter().map(|anchor| anchor.state).collect::<Vec<_>>();
    aws.change(&add()).await.unwrap();
    assert_eq!(states().await, [AnchorState::Adding]);
    let busy = aws.change(&REMOVE).await;
    assert!(matches!(busy, Err(AuthorityError::Busy(Some(JOB)))), "{busy:?}");
    assert!(matches!(aws.make_root().await, Err(AuthorityError::Busy(Some(JOB)))), "nor a root");
    aws.settle(JobOutcome::Distributed).await.unwrap();
    assert_eq!(states().await, [AnchorState::Trusted]);
    assert_eq!(aws.ledger().authority().await.unwrap().running, None);
    let twice = aws.change(&add()).await;
    assert!(matches!(twice, Err(AuthorityError::Anchors(NotChanged::Twice { id: AnchorId(1), .. }))), "{twice:?}");

    aws.state().forget_job(JOB.0);
    aws.change(&REMOVE).await.unwrap();
    assert_eq!(states().await, [AnchorState::Removing]);
    let bundle = aws.current().await.bundle;
    assert_eq!(
        (bundle.anchors.len(), bundle.others.len(), &bundle.withdrawn[..]),
        (1, 0, &[other().fingerprint()][..])
    );
    aws.settle(JobOutcome::Distributed).await.unwrap();
    assert!(states().await.is_empty());
}

#[tokio::test]
async fn an_abort_publishes_what_was_there_before() {
    for is_there in [false, true] {
        let aws = signing_root().await;
        let change = if is_there {
            aws.change(&add()).await.unwrap();
            aws.settle(JobOutcome::Distributed).await.unwrap();
            aws.state().forget_job(JOB.0);
            REMOVE
        } else {
            add()
        };
        aws.change(&change).await.unwrap();
        aws.abort().await;
        let bundle = aws.current().await.bundle;
        let (live, gone) =
            if is_there { (vec![other().fingerprint()], vec![]) } else { (vec![], vec![other().fingerprint()]) };
        assert_eq!((bundle.others, bundle.withdrawn), (live, gone));
        assert_eq!(aws.job().await.phase, Phase::Withdraw);
        aws.settle(JobOutcome::Aborted).await.unwrap();
        let states: Vec<_> = aws.others().await.iter().map(|anchor| anchor.state).collect();
        assert_eq!(states, if is_there { vec![AnchorState::Trusted] } else { vec![] });
        let told: Vec<String> = aws.state().lines();
        let told: Vec<&String> = told.iter().filter(|line| line.contains("policy:anchors")).collect();
        let count = |action: &str| told.iter().filter(|line| line.contains(&format!("\"{action}\""))).count();
        assert_eq!((count("withdraw"), count("activate")), (2, usize::from(is_there)), "{told:?}");
    }
}

#[tokio::test]
async fn without_devices_a_change_is_complete_at_once() {
    let aws = Aws::new();
    let refused = aws.change(&add()).await;
    assert!(matches!(refused, Err(AuthorityError::NoRoot)), "{refused:?}");
    aws.make_root().await.unwrap();
    assert_eq!(aws.change(&add()).await.unwrap().job, None);
    assert_eq!(aws.others().await.get(AnchorId(1)).unwrap().state, AnchorState::Trusted);
    assert_eq!(aws.change(&REMOVE).await.unwrap().job, None);
    assert_eq!(aws.current().await.bundle.withdrawn, [other().fingerprint()]);
    let unknown = aws.change(&REMOVE).await;
    assert!(matches!(unknown, Err(AuthorityError::Anchors(NotChanged::Unknown(AnchorId(1))))), "{unknown:?}");
}

#[tokio::test]
async fn the_next_bundles_keep_the_anchors_of_others() {
    let aws = signing_root().await;
    aws.change(&add()).await.unwrap();
    aws.settle(JobOutcome::Distributed).await.unwrap();
    aws.state().forget_job(JOB.0);
    aws.make_root().await.unwrap();
    let next = aws.current().await;
    assert_eq!((next.bundle.anchors.len(), next.bundle.others), (3, vec![other().fingerprint()]));
    let mut job = aws.job().await;
    aws.lease(JOB.0, "conductor");
    aws.authority().withdraw_root(&mut job, Some(&held()), &Actor::function("tests"), TODAY).await.unwrap();
    assert_eq!(aws.current().await.bundle.others, [other().fingerprint()]);
}

/// One that has no key of ours to sign with is still a bundle for the workers.
#[tokio::test]
async fn a_bundle_without_our_signatures_counts_as_unsigned() {
    let aws = signing_root().await;
    aws.state().keys.get_mut("key 1").unwrap().disabled = true;
    aws.change(&add()).await.unwrap();
    assert!(aws.current().await.is_unsigned());
    assert_eq!(aws.job().await.unusable_keys, [1].into());
}

/// Roots of others that are as large as ours may be.
fn large_ones(count: usize) -> Vec<Certificate> {
    let mut large = CertificateParams::default();
    large.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3], vec![0; 5000]);
    large.custom_extensions.push(extension);
    let mut make = |at| {
        large.distinguished_name.push(DnType::CommonName, format!("Large {at}"));
        let key = KeyPair::generate().unwrap();
        Certificate::from_der(large.self_signed(&key).unwrap().der().to_vec()).unwrap()
    };
    (0..count).map(&mut make).collect()
}

#[tokio::test]
async fn a_full_bundle_takes_no_more() {
    let aws = signing_root().await;
    let many = large_ones(40);
    let refused = aws.change(&AnchorChange::Add(many.clone())).await;
    assert!(matches!(refused, Err(AuthorityError::ManyAnchors(40))), "{refused:?}");
    assert!(aws.calls().is_empty());
    // What does fit leaves room for roots.
    let fitting = (1..40).rev().find(|count| count * 18_000 < 300_000).unwrap();
    aws.change(&AnchorChange::Add(many[..fitting].to_vec())).await.unwrap();
    aws.settle(JobOutcome::Distributed).await.unwrap();
    aws.state().forget_job(JOB.0);
    aws.make_root().await.unwrap();
}

/// It became so by roots that were made since, or by a change of the limit.
#[tokio::test]
async fn a_bundle_that_is_too_full_can_be_emptied() {
    let aws = signing_root().await;
    let mut full = Anchors::default();
    full.change(&AnchorChange::Add(large_ones(22)), std::iter::empty(), TODAY).unwrap();
    full.settle(None);
    let authority = Authority { has_anchors: true, ..aws.ledger().authority().await.unwrap() };
    let change = Change { authority: Some(&authority), anchors: Some(&full), ..Change::default() };
    aws.ledger().commit(change).await.unwrap();
    let refused = aws.change(&add()).await;
    assert!(matches!(refused, Err(AuthorityError::ManyAnchors(23))), "{refused:?}");
    aws.change(&REMOVE).await.unwrap();
    assert_eq!(aws.others().await.get(AnchorId(1)).unwrap().state, AnchorState::Removing);
}

/// Repeated by whoever did not get an answer.
#[tokio::test]
async fn death_between_any_two_calls_changes_all_or_nothing() {
    for number in 1.. {
        let aws = sleeping().await;
        let before = aws.others().await;
        aws.state().kill_in(number);
        let died = aws.change_dying(&add()).await;
        if !aws.state().has_died() {
            died.unwrap();
            assert!(number > 3, "{number}");
            break;
        }
        let when = format!("after call {number}");
        let running = aws.ledger().authority().await.unwrap().running;
        match running {
            None => {
                assert_eq!(aws.others().await, before, "{when}");
                aws.change(&add()).await.unwrap();
            }
            Some(JobId(id)) => {
                assert_eq!(id, JOB.0);
                let again = aws.change(&add()).await;
                assert!(matches!(again, Err(AuthorityError::Busy(Some(JOB)))), "{when}: {again:?}");
            }
        }
        assert_eq!(aws.others().await.get(AnchorId(1)).unwrap().job, Some(JOB), "{when}");
        assert_eq!((aws.current().await.bundle.version, aws.state().bundles()), (2, 2), "{when}");
        aws.settle(JobOutcome::Distributed).await.unwrap();
    }
}

async fn sleeping() -> Aws {
    let aws = signing_root().await;
    let record = aws.ledger().authority().await.unwrap();
    let process = aws.conductor().with_sleep(true);
    process.keep_asleep(&record, &Actor::function("tests"), TODAY).await.unwrap();
    aws.calls();
    aws
}

impl Aws {
    /// As [`Aws::change`], by a process that was told when to die.
    async fn change_dying(&self, change: &AnchorChange) -> Result<AnchorsChanged, AuthorityError> {
        let (rollout, by) = (&Rollout::default(), Actor::function("tests"));
        let request = AnchorRequest { change, rollout, requested_for: None, by: &by, now: TODAY };
        self.authority().with_sleep(true).change_anchors(request).await
    }
}

#[tokio::test]
async fn whoever_is_overtaken_looks_again() {
    let aws = signing_root().await;
    aws.state().overtaken = true;
    aws.change(&add()).await.unwrap();
    assert_eq!(aws.others().await.iter().count(), 1);
    // Two at once: one job.
    let aws = signing_root().await;
    let second = AnchorChange::Add(vec![of_others("Another")]);
    let first = add();
    let (one, two) = tokio::join!(aws.change(&first), aws.change(&second));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1, "{one:?} {two:?}");
    let lost = one.err().or(two.err()).unwrap();
    assert!(matches!(lost, AuthorityError::Busy(Some(JOB))), "{lost:?}");
    assert_eq!(aws.others().await.iter().count(), 1);
}

#[tokio::test]
async fn an_end_requires_the_fleet_as_it_was_read() {
    let aws = signing_root().await;
    aws.change(&add()).await.unwrap();
    let mut job = aws.job().await;
    job.begin_survey(vec![9; 64], &Tally::default(), TODAY);
    job.note_page(Cursor { step: 1, ..Cursor::default() }, []);
    assert!(!job.survey.revisions().is_empty());
    aws.lease(JOB.0, "conductor");
    let by = Actor::function("tests");
    let refused = aws.authority().settle_anchors(&mut job, JobOutcome::Distributed, Some(&held()), &by, TODAY).await;
    assert!(matches!(refused, Err(AuthorityError::Ledger(LedgerError::Conflict))), "{refused:?}");
    assert_eq!(aws.others().await.get(AnchorId(1)).unwrap().state, AnchorState::Adding);
}
