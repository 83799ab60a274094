//! Roots' keys are awake only while they sign: order, crashes, two at once, and keys that somebody else disabled.

use rootcast_authority::{AuthorityError, CertificateAuthority};
use rootcast_core::audit::Actor;
use rootcast_ledger::SleepRecord;
use time::{Duration, OffsetDateTime};

use crate::aws::Aws;
use crate::keys::TODAY;
use crate::signing_root;

/// When the bundle is signed again, and minutes after that.
const DUE: Duration = Duration::days(15);

impl Aws {
    /// A process of the conductor in a stack whose keys sleep.
    fn sleeper(&self) -> CertificateAuthority {
        self.state().start_anew();
        self.conductor().with_sleep(true)
    }

    async fn asleep(&self) -> SleepRecord {
        self.ledger().sleep().await.unwrap()
    }

    /// The schedule.
    async fn look(&self, authority: &CertificateAuthority, now: OffsetDateTime) -> u64 {
        let record = self.ledger().authority().await.unwrap();
        authority.keep_asleep(&record, &Actor::function("tests"), now).await.unwrap()
    }

    async fn sign_again(&self, authority: &CertificateAuthority, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let record = self.ledger().authority().await.unwrap();
        authority.renew_bundle(&record, now).await
    }

    fn is_disabled(&self, key: &str) -> bool {
        self.state().keys[key].disabled
    }

    /// Whether every root's key sleeps, and the record says so.
    async fn assert_asleep(&self, when: &str) {
        let record = self.asleep().await;
        assert!(record.awake.is_empty(), "{when}: {record:?}");
        let roots = self.state().roots();
        for root in roots.iter().filter(|root| root.certificate.is_some()) {
            assert!(record.asleep.contains(&root.generation), "{when}: {record:?}");
            assert!(self.is_disabled(root.key.as_ref().unwrap()), "{when}: root {}", root.generation);
        }
    }
}

/// A root whose key sleeps.
async fn sleeping_root() -> Aws {
    let aws = signing_root().await;
    aws.look(&aws.sleeper(), TODAY).await;
    aws.assert_asleep("made").await;
    aws.calls();
    aws
}

#[tokio::test]
async fn a_root_that_was_made_is_put_to_sleep() {
    let aws = signing_root().await;
    let process = aws.sleeper();
    assert_eq!(aws.look(&process, TODAY).await, 0);
    assert_eq!(aws.calls(), ["write sleep", "put key 1 to sleep", "write sleep"]);
    aws.assert_asleep("then").await;
    aws.look(&process, TODAY).await;
    assert!(aws.calls().is_empty(), "once");
}

#[tokio::test]
async fn a_sleeping_key_that_somebody_enabled_sleeps_within_the_hour() {
    let aws = sleeping_root().await;
    let process = aws.sleeper();
    aws.look(&process, TODAY).await;
    aws.enable_key("key 1");
    aws.look(&process, TODAY + Duration::minutes(59)).await;
    assert!(!aws.is_disabled("key 1"), "once an hour");
    aws.look(&process, TODAY + Duration::HOUR).await;
    aws.assert_asleep("then").await;
}

#[tokio::test]
async fn a_key_that_kms_does_not_see_counts_as_awake() {
    let aws = signing_root().await;
    aws.state().unseen = true;
    let process = aws.sleeper();
    aws.look(&process, TODAY).await;
    let record = aws.asleep().await;
    assert!(record.awake.contains_key(&1) && record.asleep.is_empty(), "{record:?}");
    aws.state().unseen = false;
    aws.look(&process, TODAY + Duration::MINUTE).await;
    aws.assert_asleep("then").await;

    let aws = signing_root().await;
    aws.state().unseen = true;
    let process = aws.sleeper();
    for minutes in [0, 10] {
        assert_eq!(aws.look(&process, TODAY + Duration::minutes(minutes)).await, 0, "a key that is gone alarms nobody");
    }
    assert!(aws.asleep().await.asleep.contains(&1));
}

/// The operator denies EnableKey in the key's policy.
#[tokio::test]
async fn a_root_that_may_not_wake_holds_up_nothing() {
    let aws = sleeping_root().await;
    aws.make_root().await.unwrap();
    let process = aws.sleeper();
    aws.look(&process, TODAY).await;
    aws.assert_asleep("both").await;
    aws.state().kept_asleep.insert("key 1".to_owned());

    aws.sign_again(&process, TODAY + Duration::days(25)).await.unwrap();
    assert_eq!(aws.published().await, (TODAY + Duration::days(25), vec![1]));
    let (mut job, by) = (aws.job().await, Actor::function("tests"));
    process.activate_root(&mut job, None, &by, TODAY + Duration::days(25)).await.unwrap();
    assert_eq!(aws.signing().await, Some(2));
    let root = aws.ledger().root(2).await.unwrap().unwrap();
    assert!(root.new_with_old.is_none() && root.old_with_new.unwrap().certificate.is_some());
    aws.assert_asleep("afterwards").await;
}

#[tokio::test]
async fn a_root_is_awake_only_while_it_signs() {
    let aws = sleeping_root().await;
    aws.sign_again(&aws.sleeper(), TODAY + DUE).await.unwrap();
    let order = [
        "write sleep",
        "wake key 1",
        "sign a bundle with key 1",
        "put key 1 to sleep",
        "write sleep",
        "write authority, bundle 1",
    ];
    assert_eq!(aws.calls(), order);
    aws.assert_asleep("afterwards").await;
}

#[tokio::test]
async fn one_waking_is_enough_for_an_operation() {
    let aws = sleeping_root().await;
    let record = aws.ledger().authority().await.unwrap();
    assert!(aws.sleeper().keep_issuing(&record, &Actor::function("tests"), TODAY).await.unwrap());
    let calls = aws.calls();
    assert_eq!(calls.iter().filter(|call| *call == "wake key 1").count(), 1, "{calls:?}");
    assert_eq!(calls.iter().filter(|call| call.contains("with key 1")).count(), 2, "{calls:?}");
    aws.assert_asleep("afterwards").await;
}

/// The audit's entries are in the same write as the waking.
#[tokio::test]
async fn each_waking_is_audited_with_its_reason() {
    let aws = sleeping_root().await;
    let woken = || aws.state().lines().into_iter().filter(|line| line.contains("\"wake\"")).collect::<Vec<_>>();
    assert!(woken().is_empty());
    aws.sign_again(&aws.sleeper(), TODAY + DUE).await.unwrap();
    let entries = woken();
    assert_eq!(entries.len(), 1);
    assert!(entries[0].contains("the bundle is signed again"), "{entries:?}");
}

#[tokio::test]
async fn death_between_any_two_calls_leaves_no_key_awake() {
    for number in 1.. {
        let aws = sleeping_root().await;
        let (process, now) = (aws.sleeper(), TODAY + DUE);
        aws.state().kill_in(number);
        let died = aws.sign_again(&process, now).await;
        if !aws.state().has_died() {
            assert_eq!(number, 7, "six calls");
            died.unwrap();
            break;
        }
        let when = format!("after call {number}");
        let later = now + Duration::minutes(3);
        assert_eq!(aws.look(&aws.sleeper(), later).await, 0, "{when}");
        aws.assert_asleep(&when).await;
        aws.sign_again(&aws.sleeper(), later).await.unwrap();
        let (signed, missing) = aws.published().await;
        assert!(signed >= now && missing.is_empty(), "{when}: {signed} {missing:?}");
        aws.assert_asleep(&when).await;
    }
}

#[tokio::test]
async fn death_while_keys_are_put_to_sleep_loses_none() {
    for number in 1..=3 {
        let aws = signing_root().await;
        let process = aws.sleeper();
        aws.state().kill_in(number);
        let record = aws.ledger().authority().await.unwrap();
        let _died = process.keep_asleep(&record, &Actor::function("tests"), TODAY).await;
        assert!(aws.state().has_died());
        let when = format!("after call {number}");
        assert_eq!(aws.look(&aws.sleeper(), TODAY + Duration::MINUTE).await, 0, "{when}");
        aws.assert_asleep(&when).await;
        aws.sign_again(&aws.sleeper(), TODAY + DUE).await.unwrap();
        assert!(aws.published().await.1.is_empty(), "{when}: it is ours to wake");
    }
}

#[tokio::test]
async fn a_key_that_another_one_woke_is_left_to_him() {
    let aws = sleeping_root().await;
    let process = aws.sleeper();
    aws.state().taken_over = true;
    aws.sign_again(&process, TODAY + DUE).await.unwrap();
    assert!(!aws.is_disabled("key 1"), "he may be signing");
    assert_eq!(aws.asleep().await.awake[&1].owner, "another");
    // He died.
    aws.look(&aws.sleeper(), TODAY + DUE + Duration::minutes(3)).await;
    aws.assert_asleep("afterwards").await;
}

#[tokio::test]
async fn two_at_once_both_sign() {
    let aws = sleeping_root().await;
    let (one, other) = (aws.sleeper(), aws.sleeper());
    let record = aws.ledger().authority().await.unwrap();
    let by = Actor::function("tests");
    let (made, renewed) =
        tokio::join!(one.keep_issuing(&record, &by, TODAY + DUE), aws.sign_again(&other, TODAY + DUE));
    // One of them may find the authority's record changed, and is repeated.
    assert!(made.is_ok() || renewed.is_ok(), "{made:?} {renewed:?}");
    for done in [made.map(|_| ()), renewed] {
        assert!(matches!(done, Ok(()) | Err(AuthorityError::Ledger(_))), "{done:?}");
    }
    aws.look(&aws.sleeper(), TODAY + DUE + Duration::minutes(3)).await;
    aws.assert_asleep("afterwards").await;
}

#[tokio::test]
async fn a_waking_that_kms_sees_late_is_waited_for() {
    let aws = sleeping_root().await;
    let process = aws.sleeper();
    aws.state().late = 2;
    aws.sign_again(&process, TODAY + DUE).await.unwrap();
    assert!(aws.published().await.1.is_empty());
    aws.assert_asleep("afterwards").await;
}

#[tokio::test]
async fn the_next_attempt_finds_a_late_key_awake() {
    let aws = sleeping_root().await;
    let (process, now) = (aws.sleeper(), TODAY + DUE);
    aws.state().late = 4;
    let refused = aws.sign_again(&process, now).await.unwrap_err();
    assert!(refused.is_waking(), "{refused}");
    assert!(!aws.is_disabled("key 1"));
    aws.sign_again(&process, now + Duration::MINUTE).await.unwrap();
    aws.assert_asleep("afterwards").await;
}

#[tokio::test]
async fn a_key_that_somebody_disabled_is_never_woken() {
    let aws = signing_root().await;
    aws.disable_key("key 1");
    let process = aws.sleeper();
    for hour in 0..3 {
        assert_eq!(aws.look(&process, TODAY + Duration::hours(hour)).await, 0);
    }
    assert_eq!(aws.asleep().await, SleepRecord::default());
    aws.sign_again(&process, TODAY + DUE).await.unwrap();
    assert!(aws.is_disabled("key 1"));
    let calls = aws.calls();
    assert!(!calls.iter().any(|call| call.contains("wake") || call.contains("sleep")), "{calls:?}");
    // It is back: from then on it sleeps.
    aws.enable_key("key 1");
    aws.look(&process, TODAY + Duration::hours(4)).await;
    aws.assert_asleep("afterwards").await;
}

#[tokio::test]
async fn without_sleep_all_keys_are_woken_for_good() {
    let aws = sleeping_root().await;
    let process = aws.conductor();
    aws.look(&process, TODAY).await;
    assert!(!aws.is_disabled("key 1"));
    let record = aws.asleep().await;
    assert!(record.asleep.is_empty() && record.awake.is_empty(), "{record:?}");
    aws.calls();
    aws.look(&process, TODAY).await;
    assert!(aws.calls().is_empty(), "once");
}

#[tokio::test]
async fn a_key_that_cannot_be_put_to_sleep_is_counted() {
    let aws = sleeping_root().await;
    let process = aws.sleeper();
    aws.state().kill_in(3);
    aws.sign_again(&process, TODAY + DUE).await.unwrap_err();
    aws.state().keys.get_mut("key 1").unwrap().denied = true;
    let process = aws.sleeper();
    let after = async |minutes| aws.look(&process, TODAY + DUE + Duration::minutes(minutes)).await;
    assert_eq!((after(3).await, after(9).await, after(10).await), (0, 0, 1));
    aws.state().keys.get_mut("key 1").unwrap().denied = false;
    assert_eq!(after(11).await, 0);
    aws.assert_asleep("afterwards").await;
}

/// Nobody is asked for it while a root is being made.
#[tokio::test]
async fn a_root_that_is_being_made_is_not_put_to_sleep() {
    let aws = signing_root().await;
    let record = aws.ledger().authority().await.unwrap();
    let until = TODAY + Duration::MINUTE;
    let claim = rootcast_ledger::Claim { generation: 2, job: None, until };
    let claimed = rootcast_ledger::Authority { claim: Some(claim), last_generation: 2, ..record };
    let process = aws.sleeper();
    assert_eq!(process.keep_asleep(&claimed, &Actor::function("tests"), TODAY).await.unwrap(), 0);
    assert!(aws.calls().is_empty() && !aws.is_disabled("key 1"));
}
