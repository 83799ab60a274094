//! Roots are made, activated and withdrawn: the order of the steps, refusals, and resumption.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod anchors;
mod aws;
mod compromise;
mod issuing;
#[path = "../../../pki/tests/it/keys.rs"]
#[allow(dead_code, reason = "it serves other tests too")]
mod keys;
mod lists;
mod old_roots;
mod sleep;

use rootcast_authority::{AuthorityError, Made, RootRequest, Settings};
use rootcast_core::audit::Actor;
use rootcast_core::job::{Activation, Job, JobId, Phase};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_core::rollover::rollout::Rollout;
use rootcast_ledger::{Authority, Claim, Conducting, LedgerError};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::bundle::verify_bundle;
use rootcast_pki::signer::SignerId;
use rootcast_vault::VaultError;
use time::{Duration, OffsetDateTime};

use crate::aws::{Aws, KmsKey};
use crate::keys::{Key, TODAY};

const JOB: JobId = JobId(7);

impl Aws {
    /// In a process of its own.
    async fn make_root_at(&self, now: OffsetDateTime) -> Result<Made, AuthorityError> {
        let settings = of_roots();
        let request = RootRequest {
            activation: Activation::Proven,
            rollout: Rollout::default(),
            hold_down: None,
            until: None,
            requested_for: None,
        };
        self.authority().make_root(&settings, &request, &Actor::function("tests"), now).await
    }

    async fn make_root(&self) -> Result<Made, AuthorityError> {
        self.make_root_at(TODAY).await
    }

    async fn job(&self) -> Job {
        self.ledger().job(JOB).await.unwrap().unwrap()
    }

    async fn signing(&self) -> Option<u32> {
        self.ledger().authority().await.unwrap().signing
    }

    /// Replaces the key that KMS holds under this name.
    fn replace_key(&self, arn: &str) {
        self.state().keys.get_mut(arn).unwrap().pair = Key::generate(KeyAlgorithm::EcdsaP256);
    }

    fn disable_key(&self, arn: &str) {
        self.state().keys.get_mut(arn).unwrap().disabled = true;
    }

    fn enable_key(&self, arn: &str) {
        self.state().keys.get_mut(arn).unwrap().disabled = false;
    }

    /// In a process of its own.
    async fn renew_bundle(&self, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let authority = self.ledger().authority().await.unwrap();
        self.authority().renew_bundle(&authority, now).await
    }

    /// When the published bundle was signed, and by which roots it is not.
    async fn published(&self) -> (OffsetDateTime, Vec<u32>) {
        let bundle = self.ledger().authority().await.unwrap().bundle;
        let published = self.ledger().bundle(bundle).await.unwrap().unwrap();
        (published.bundle.issued, published.unsigned_by)
    }
}

fn of_roots() -> Settings {
    Settings {
        root_name: "Rootcast Root".to_owned(),
        subject: "O=Example Corp,C=DE".parse().unwrap(),
        permitted: Default::default(),
        validity: Duration::days(3650),
        backdate: Duration::hours(1),
        hold_down: 0,
        until: Phase::Activate,
        crl_base: None,
        roles: "arn:aws:iam::111122223333:role/rootcast/eu-central-1/fleet".parse().unwrap(),
    }
}

/// The first root is active; a device was approved after that.
async fn signing_root() -> Aws {
    let aws = Aws::new();
    assert_eq!(aws.make_root().await.unwrap(), Made { generation: 1, job: None });
    aws.approve();
    aws.calls();
    aws
}

#[tokio::test]
async fn a_root_is_reserved_signed_and_stored_in_this_order() {
    let aws = Aws::new();
    aws.make_root().await.unwrap();
    let order = [
        "write authority, root 1",
        "make a key",
        "write root 1",
        "write root 1",
        "sign a root with key 1",
        "mark key 1",
        "sign a bundle with key 1",
        "write authority, root 1, bundle 1",
    ];
    assert_eq!(aws.calls(), order);
}

#[tokio::test]
async fn links_are_reserved_and_signed_before_the_switch() {
    let aws = signing_root().await;
    aws.make_root().await.unwrap();
    aws.calls();
    aws.lease(JOB.0, "conductor");
    let held = Conducting { job: JOB, owner: "conductor".to_owned() };
    aws.authority().activate_root(&mut aws.job().await, Some(&held), &Actor::function("tests"), TODAY).await.unwrap();
    let order = [
        "write root 2",
        "sign a link with key 1",
        "sign a link with key 2",
        "mark key 2",
        "write authority, root 2, root 1, job, lease",
    ];
    assert_eq!(aws.calls(), order);
}

/// As when the conductor makes an issuing authority at the same time.
#[tokio::test]
async fn a_root_is_claimed_although_the_authority_changes_meanwhile() {
    let aws = signing_root().await;
    aws.state().overtaken = true;
    aws.make_root().await.unwrap();
    assert_eq!(aws.ledger().authority().await.unwrap().last_generation, 2);
}

#[tokio::test]
async fn activation_requires_the_lease() {
    let aws = signing_root().await;
    aws.make_root().await.unwrap();
    aws.lease(JOB.0, "another conductor");
    let held = Conducting { job: JOB, owner: "conductor".to_owned() };
    let refused =
        aws.authority().activate_root(&mut aws.job().await, Some(&held), &Actor::function("tests"), TODAY).await;
    assert!(matches!(refused, Err(AuthorityError::Ledger(LedgerError::Conflict))), "{refused:?}");
    assert_eq!(aws.signing().await, Some(1));
}

#[tokio::test]
async fn a_signature_that_does_not_verify_is_not_stored() {
    let aws = Aws::new();
    aws.state().forges = true;
    let refused = aws.make_root().await;
    assert!(matches!(refused, Err(AuthorityError::Vault(VaultError::Issue(_)))), "{refused:?}");
    assert_eq!(aws.state().roots()[0].certificate, None);
    assert_eq!(aws.state().bundles(), 0);
    aws.state().forges = false;
    assert_eq!(aws.make_root().await.unwrap().generation, 1, "it is finished by the next call");
}

#[tokio::test]
async fn a_key_other_than_the_reserved_one_signs_no_root() {
    let aws = Aws::new();
    aws.state().lose_write_in(3, true);
    aws.make_root().await.unwrap_err();
    assert!(aws.state().roots()[0].tbs.is_some(), "what is to be signed is on record");
    aws.replace_key("key 1");
    let refused = aws.make_root().await;
    assert!(matches!(refused, Err(AuthorityError::NotAsReserved)), "{refused:?}");
    assert!(aws.state().signed.is_empty());
}

#[tokio::test]
async fn a_key_that_mismatches_its_certificate_signs_no_bundle() {
    let aws = signing_root().await;
    aws.replace_key("key 1");
    let refused = aws.make_root().await;
    assert!(matches!(refused, Err(AuthorityError::Vault(VaultError::Differs { .. }))), "{refused:?}");
    assert!(!aws.calls().iter().any(|call| call.starts_with("sign") && call.ends_with("key 1")));
    assert_eq!((aws.signing().await, aws.state().bundles()), (Some(1), 1));
}

#[tokio::test]
async fn a_lost_write_makes_no_second_root() {
    let writes = (1..=4).flat_map(|number| [(number, true), (number, false)]);
    for lost @ (number, done) in writes {
        let aws = Aws::new();
        aws.approve();
        aws.state().lose_write_in(number, done);
        aws.make_root().await.unwrap_err();
        let again = aws.make_root_at(TODAY + Duration::minutes(2)).await;
        match &again {
            // The root was published, but the response was lost.
            Err(AuthorityError::Busy(Some(JOB))) => assert_eq!(lost, (4, true)),
            made => assert_eq!(made.as_ref().unwrap(), &Made { generation: 1, job: Some(JOB) }, "{lost:?}"),
        }
        let state = aws.state();
        let roots = state.roots();
        // A key that is not on record is given up later.
        let keys = if lost == (2, false) { 2 } else { 1 };
        assert_eq!((roots.len(), state.bundles(), state.keys.len()), (1, 1, keys), "{lost:?}");
        assert_eq!(roots[0].state, GenerationState::Published);
        assert_eq!(state.signed_as("root", 0), 1, "{lost:?}: under one serial number");
    }
}

#[tokio::test]
async fn a_key_that_only_tags_identify_becomes_no_root() {
    // Also if a job follows, which may end without looking for keys.
    for job in [None, Some(JOB)] {
        let aws = Aws::new();
        if job.is_some() {
            aws.approve();
        }
        aws.state().lost_key = true;
        aws.make_root().await.unwrap_err();
        assert_eq!(aws.make_root().await.unwrap(), Made { generation: 1, job });
        let authority = aws.ledger().authority().await.unwrap();
        let state = aws.state();
        assert_eq!(state.roots()[0].key.as_deref(), Some("key 2"));
        assert_eq!((state.keys.len(), authority.unswept), (2, [1].into()), "the other is given up");
    }
}

#[tokio::test]
async fn a_lost_write_gives_a_link_no_second_serial() {
    for lost @ (number, done) in [(1, true), (2, true), (2, false)] {
        let aws = signing_root().await;
        aws.make_root().await.unwrap();
        let before = aws.state().signed.len();
        aws.state().lose_write_in(number, done);
        let mut job = aws.job().await;
        aws.authority().activate_root(&mut job, None, &Actor::function("tests"), TODAY).await.unwrap_err();
        let mut job = aws.job().await;
        let again = aws.authority().activate_root(&mut job, None, &Actor::function("tests"), TODAY).await;
        assert_eq!(again.is_ok(), lost != (2, true), "{again:?}");
        assert_eq!(aws.signing().await, Some(2));
        assert_eq!(aws.state().signed_as("link", before), 2, "{lost:?}: one each way");
    }
}

#[tokio::test]
async fn a_disabled_old_key_stops_no_new_root() {
    let aws = signing_root().await;
    aws.disable_key("key 1");
    assert_eq!(aws.make_root().await.unwrap(), Made { generation: 2, job: Some(JOB) });
    assert_eq!(aws.ledger().bundle(2).await.unwrap().unwrap().unsigned_by, [1]);
    let mut job = aws.job().await;
    aws.authority().activate_root(&mut job, None, &Actor::function("tests"), TODAY).await.unwrap();
    assert_eq!((aws.signing().await, aws.job().await.unusable_keys.contains(&1)), (Some(2), true));
    let links = aws.state().roots().pop().map(|root| (root.new_with_old.is_some(), root.old_with_new.is_some()));
    assert_eq!(links, Some((false, true)), "none that only the old key can sign");
}

#[tokio::test]
async fn a_disabled_old_key_stops_no_abort() {
    let aws = signing_root().await;
    aws.make_root().await.unwrap();
    aws.disable_key("key 1");
    let mut job = aws.job().await;
    aws.authority().withdraw_root(&mut job, None, &Actor::function("tests"), TODAY).await.unwrap();
    let bundle = aws.ledger().bundle(3).await.unwrap().unwrap();
    assert_eq!((bundle.unsigned_by, bundle.bundle.anchors.len(), bundle.bundle.withdrawn.len()), (vec![1], 1, 1));
    assert_eq!(aws.state().roots()[1].state, GenerationState::Abandoned);
}

/// A verifier with a clock sees that a bundle is held back, and one with a memory that nothing else has changed.
#[tokio::test]
async fn a_bundle_is_signed_again_without_another_version() {
    let aws = signing_root().await;
    let first = aws.ledger().bundle(1).await.unwrap().unwrap();
    let root = first.bundle.anchors.clone();
    let renew = async |days| {
        let authority = aws.ledger().authority().await.unwrap();
        aws.authority().renew_bundle(&authority, TODAY + Duration::days(days)).await
    };
    aws.calls();
    renew(14).await.unwrap();
    assert!(aws.calls().is_empty(), "half of its life is left");
    assert!(verify_bundle(&first.jws, &root, TODAY + Duration::days(30), None).is_err());

    renew(15).await.unwrap();
    assert_eq!(aws.calls().len(), 2, "one signature, one write");
    let again = aws.ledger().bundle(1).await.unwrap().unwrap();
    let now = TODAY + Duration::days(44);
    let verified = verify_bundle(&again.jws, &root, now, Some(first.bundle.seen())).unwrap();
    assert_eq!((verified.version, verified.exp), (1, Some(TODAY + Duration::days(45))));
    assert_eq!(aws.ledger().authority().await.unwrap().bundle_expires, verified.exp);
    renew(15).await.unwrap();
    assert!(aws.calls().is_empty());

    // Whoever makes a root relies on the authority's record, and publishes the next bundle.
    aws.state().lose_write_in(3, false);
    let later = TODAY + Duration::days(40);
    assert!(aws.make_root_at(later).await.is_err());
    let claimed = aws.ledger().authority().await.unwrap();
    let held = Claim { until: later + Duration::SECOND, ..claimed.claim.clone().unwrap() };
    aws.calls();
    aws.authority().renew_bundle(&Authority { claim: Some(held), ..claimed }, later).await.unwrap();
    assert!(aws.calls().is_empty());
}

#[tokio::test]
async fn a_bundle_with_a_lost_successor_is_not_signed_again() {
    let aws = signing_root().await;
    let authority = Authority { last_bundle: 2, ..aws.ledger().authority().await.unwrap() };
    aws.calls();
    aws.authority().renew_bundle(&authority, TODAY + Duration::days(300)).await.unwrap();
    assert!(aws.calls().is_empty());
}

#[tokio::test]
async fn a_bundle_loses_no_signature_while_it_lasts() {
    let aws = signing_root().await;
    aws.make_root().await.unwrap();
    let day = |days| TODAY + Duration::days(days);
    let renewed = async |at| {
        aws.renew_bundle(at).await.unwrap();
        aws.published().await
    };
    aws.disable_key("key 1");
    assert_eq!(renewed(day(15)).await, (day(0), vec![]), "half of its life is left");
    assert_eq!(renewed(day(22)).await, (day(0), vec![]));
    assert_eq!(renewed(day(23)).await, (day(23), vec![1]), "less than a quarter is left");
    aws.enable_key("key 1");
    assert_eq!(renewed(day(23) + Duration::hours(20)).await, (day(23), vec![1]));
    assert_eq!(renewed(day(24)).await, (day(24), vec![]), "a day later");

    // Nobody could verify it without a signature.
    aws.disable_key("key 1");
    aws.disable_key("key 2");
    assert_eq!(renewed(day(53)).await, (day(24), vec![]));
    assert_eq!(renewed(day(54)).await, (day(54), vec![1, 2]), "it is expired");
    aws.enable_key("key 2");
    assert_eq!(renewed(day(55)).await, (day(55), vec![1]));
}

#[tokio::test]
async fn a_bundle_that_would_lose_a_signature_is_tried_hourly() {
    let aws = signing_root().await;
    aws.make_root().await.unwrap();
    aws.disable_key("key 1");
    let (one, record) = (aws.authority(), aws.ledger().authority().await.unwrap());
    let tried = async |minutes| {
        aws.calls();
        one.renew_bundle(&record, TODAY + Duration::days(15) + Duration::minutes(minutes)).await.unwrap();
        aws.calls().len()
    };
    assert_eq!((tried(0).await, tried(1).await, tried(59).await, tried(60).await), (1, 0, 0, 1));
}

/// An administrator's mistake with one key, or the time until an update has reached every key.
#[tokio::test]
async fn a_denied_key_lets_no_bundle_expire() {
    let (two, one) = (signing_root().await, signing_root().await);
    two.make_root().await.unwrap();
    for aws in [&two, &one] {
        aws.state().keys.get_mut("key 1").unwrap().denied = true;
    }
    let now = TODAY + Duration::days(29);
    let (without, refused) = tokio::join!(two.renew_bundle(now), one.renew_bundle(now));
    without.unwrap();
    assert_eq!(two.published().await, (now, vec![1]));
    assert!(
        matches!(refused, Err(AuthorityError::TooEarly { signer, .. }) if signer == SignerId::root(1)),
        "{refused:?}"
    );
    assert_eq!(one.published().await, (TODAY, vec![]));
}

#[tokio::test]
async fn a_tag_that_claims_too_much_stops_no_root() {
    let aws = signing_root().await;
    let (pair, tag) = (Key::generate(KeyAlgorithm::EcdsaP256), |name: &str, value: &str| (name.into(), value.into()));
    let tags = [tag("rootcast:stack", "fleet"), tag("rootcast:generation", "4294967295")].into();
    aws.state()
        .keys
        .insert("a key of others".to_owned(), KmsKey { pair, disabled: false, pending: false, denied: false, tags });
    assert_eq!(aws.make_root().await.unwrap().generation, 2);
}
