//! What becomes of old roots: they sign again after a rollback, or leave the bundle and lose their keys.

use crate::aws::Aws;
use crate::keys::TODAY;
use crate::{JOB, signing_root};
use rootcast_authority::AuthorityError;
use rootcast_core::audit::Actor;
use rootcast_core::job::{Command, Job, JobOutcome, Phase};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Authority, Conducting, IssuingState, LedgerError, RootRecord};
use rootcast_pki::crl::CrlId;
use rootcast_pki::signer::IssuingId;
use serde_json::json;
use time::{Duration, OffsetDateTime};

const OLD: IssuingId = IssuingId { generation: 1, number: 1 };

fn by() -> Actor {
    Actor::function("tests")
}

fn held() -> Conducting {
    Conducting { job: JOB, owner: "conductor".to_owned() }
}

impl Aws {
    async fn now(&self) -> Authority {
        self.ledger().authority().await.unwrap()
    }

    async fn states(&self) -> Vec<GenerationState> {
        self.ledger().roots(&self.now().await).await.unwrap().into_iter().map(|root| root.state).collect()
    }

    /// As the operator asks for it, with the reason that the conductor gives.
    async fn roll_back(&self) -> Result<Job, AuthorityError> {
        let mut job = self.job().await;
        if job.outcome.is_none() {
            job = job.command(Command::RollBack, TODAY).unwrap();
        }
        self.conductor().roll_back(&mut job, &held(), &by(), TODAY).await.map(|()| job)
    }

    /// The job goes on to its last phase.
    async fn retire(&self) {
        self.distrust().await.unwrap();
        let mut job = self.job().await;
        self.conductor().retire_roots(&mut job, &held(), TODAY).await.unwrap();
        assert_eq!((job.phase, self.now().await.retiring), (Phase::Retire, [1].into()));
        self.calls();
    }

    /// The schedule, in a process of its own whose roots' keys sleep.
    async fn look_at(&self, now: OffsetDateTime) -> Result<Option<u64>, AuthorityError> {
        self.state().start_anew();
        let process = self.conductor().with_sleep(true).with_deletion_days(14);
        self.tend(&process, now).await
    }

    async fn tend(
        &self,
        process: &rootcast_authority::CertificateAuthority,
        now: OffsetDateTime,
    ) -> Result<Option<u64>, AuthorityError> {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        process.retire_keys(&self.now().await, true, deadline, &by(), now).await
    }

    async fn old(&self) -> RootRecord {
        self.ledger().root(1).await.unwrap().unwrap()
    }

    fn key(&self, arn: &str) -> (bool, bool) {
        let state = self.state();
        (state.keys[arn].disabled, state.keys[arn].pending)
    }

    /// A certificate that an authority below the old root signed for a device.
    fn signed_below(&self, until: OffsetDateTime) {
        let record = json!({
            "id": "serial#40000000000000000000000000000000", "certificate": "scs1600313391074", "device": "bmc",
            "generation": 1, "issuing": 1, "leaf": "aa".repeat(32), "notAfter": until.unix_timestamp(), "at": 0,
        });
        let row: std::collections::HashMap<String, _> = serde_dynamo::to_item(record).unwrap();
        self.state().put_row(row);
    }

    async fn distrust(&self) -> Result<Job, AuthorityError> {
        let mut job = self.job().await;
        self.conductor().distrust_roots(&mut job, &held(), &by(), TODAY).await.map(|()| job)
    }
}

/// The second root signs, each with an issuing authority below it.
async fn second_root() -> Aws {
    let aws = signing_root().await;
    let authority = aws.now().await;
    assert!(aws.conductor().keep_issuing(&authority, &by(), TODAY).await.unwrap());
    aws.make_root().await.unwrap();
    aws.conductor().activate_root(&mut aws.job().await, None, &by(), TODAY).await.unwrap();
    aws.lease(JOB.0, "conductor");
    aws.calls();
    aws
}

#[tokio::test]
async fn a_rollback_lets_the_old_root_and_its_authority_sign() {
    let aws = second_root().await;
    let job = aws.roll_back().await.unwrap();
    assert_eq!(aws.calls(), ["write authority, root 2, root 1, issuing 2.1, issuing 1.1, job, lease"], "one write");
    assert_eq!((job.phase, job.outcome), (Phase::Ended, Some(JobOutcome::RolledBack)));
    assert_eq!(aws.states().await, [GenerationState::Signing, GenerationState::Superseded]);
    let now = aws.now().await;
    assert_eq!((now.signing, now.issuing, now.running), (Some(1), Some(OLD), None));
    assert_eq!(now.rolled_back.map(|back| (back.to, back.at)), Some((1, TODAY)), "the rotation rule waits");
    let old = aws.ledger().issuing(OLD).await.unwrap().unwrap();
    assert_eq!(old.state, IssuingState::Signing);
    // Who trusts only the new root finds it too, as does who trusts only the old one.
    assert_eq!(old.path.len(), 1);
    let new = aws.ledger().root(2).await.unwrap().unwrap().certificate.unwrap();
    old.path[0].verify_signed_by(&new).unwrap();
    assert_eq!(aws.now().await.bundle, 2, "both stay trusted");
}

#[tokio::test]
async fn a_rollback_makes_an_issuing_authority_if_the_old_one_cannot_sign() {
    let aws = second_root().await;
    let key = aws.ledger().issuing(OLD).await.unwrap().unwrap().key.unwrap();
    aws.state().keys.get_mut(&key).unwrap().disabled = true;
    aws.roll_back().await.unwrap();
    assert_eq!(aws.now().await.issuing, Some(IssuingId { number: 2, ..OLD }));
}

#[tokio::test]
async fn no_rollback_to_a_key_that_cannot_sign() {
    let aws = second_root().await;
    aws.disable_key("key 1");
    let refused = aws.roll_back().await;
    assert!(matches!(refused, Err(AuthorityError::KeyUnusable { .. })), "{refused:?}");
    assert_eq!(aws.now().await.signing, Some(2));
}

#[tokio::test]
async fn death_between_any_two_calls_of_a_rollback_leaves_one_root_that_signs() {
    for number in 1.. {
        let aws = second_root().await;
        // Its next issuing authority has to be made.
        let key = aws.ledger().issuing(OLD).await.unwrap().unwrap().key.unwrap();
        aws.state().keys.get_mut(&key).unwrap().disabled = true;
        aws.state().kill_in(number);
        let died = aws.roll_back().await;
        if !aws.state().has_died() {
            died.unwrap();
            assert!(number > 5, "{number}");
            break;
        }
        aws.state().start_anew();
        if aws.job().await.outcome.is_none() {
            aws.roll_back().await.unwrap();
        }
        let now = aws.now().await;
        assert_eq!((now.signing, now.issuing), (Some(1), Some(IssuingId { number: 2, ..OLD })), "after call {number}");
        assert_eq!(aws.states().await, [GenerationState::Signing, GenerationState::Superseded], "after call {number}");
    }
}

#[tokio::test]
async fn an_old_root_leaves_bundle_and_chains_in_one_write() {
    let aws = second_root().await;
    assert!(!aws.ledger().issuing(IssuingId { generation: 2, number: 1 }).await.unwrap().unwrap().path.is_empty());
    let job = aws.distrust().await.unwrap();
    let order = ["sign a bundle with key 3", "write authority, root 1, issuing 2.1, bundle 3, job, lease"];
    assert_eq!(aws.calls(), order);
    assert_eq!((job.phase, job.bundle_version), (Phase::Distrust, 3));
    assert_eq!(aws.states().await, [GenerationState::Distrusted, GenerationState::Signing]);
    let issuing = aws.ledger().issuing(IssuingId { generation: 2, number: 1 }).await.unwrap().unwrap();
    assert!(issuing.path.is_empty(), "no link leads to a root that is gone");
    let bundle = aws.ledger().bundle(3).await.unwrap().unwrap().bundle;
    let [old, new] = [1, 2].map(|generation| aws.state().roots()[generation - 1].certificate.clone().unwrap());
    assert_eq!((&bundle.anchors[..], &bundle.withdrawn[..]), (&[new][..], &[old.fingerprint()][..]));
    let line = aws.state().lines().into_iter().filter(|line| line.contains("\"distrust\"")).count();
    assert_eq!(line, 1);
}

#[tokio::test]
async fn the_root_that_signs_is_never_removed() {
    let aws = second_root().await;
    let mut job = aws.job().await;
    // As after a rollback by somebody else.
    job.generation = 3;
    let refused = aws.conductor().distrust_roots(&mut job, &held(), &by(), TODAY).await;
    assert!(matches!(refused, Err(AuthorityError::Ledger(LedgerError::Conflict))), "{refused:?}");
    assert_eq!(aws.states().await, [GenerationState::Superseded, GenerationState::Signing]);
}

#[tokio::test]
async fn a_lost_distrust_is_neither_lost_nor_done_twice() {
    for done in [true, false] {
        let aws = second_root().await;
        aws.state().lose_write_in(1, done);
        aws.distrust().await.unwrap_err();
        if !done {
            aws.distrust().await.unwrap();
        }
        let job = aws.job().await;
        assert_eq!((job.phase, job.bundle_version, aws.now().await.bundle), (Phase::Distrust, 3, 3));
        assert_eq!(aws.states().await, [GenerationState::Distrusted, GenerationState::Signing]);
    }
}

#[tokio::test]
async fn an_old_key_that_cannot_sign_holds_up_no_distrust() {
    let aws = second_root().await;
    aws.disable_key("key 1");
    aws.distrust().await.unwrap();
    assert_eq!(aws.ledger().bundle(3).await.unwrap().unwrap().unsigned_by, [0; 0]);
}

/// When whoever still signed below the old root is dead.
const SETTLED: OffsetDateTime = TODAY.saturating_add(Duration::minutes(20));

#[tokio::test]
async fn a_retired_root_loses_its_key_in_this_order() {
    let aws = second_root().await;
    aws.retire().await;
    aws.look_at(SETTLED - Duration::SECOND).await.unwrap();
    assert!(aws.calls().is_empty(), "somebody may still sign below it");
    assert_eq!(aws.look_at(SETTLED).await.unwrap(), Some(1));
    let order = [
        "write root 1",
        "write issuing 1.1",
        "sign a list with key 1",
        "write list 1",
        "write root 1",
        "put key 1 to sleep",
        "mark key 1",
        "give up key 1",
        "mark key 2",
        "give up key 2",
        "write root 1",
    ];
    assert_eq!(aws.calls(), order);
    let old = aws.old().await;
    let retirement = old.retirement.unwrap();
    assert_eq!((old.state, retirement.done), (GenerationState::Retired, true));
    assert_eq!(retirement.deletion, Some(SETTLED + Duration::days(14)));
    let last = aws.ledger().crl(CrlId::authorities(1)).await.unwrap().unwrap();
    assert_eq!((last.next_update, last.crl.revoked().unwrap().len()), (SETTLED + Duration::days(365), 1));
    assert_eq!(aws.look_at(SETTLED).await.unwrap(), Some(1), "it is still pending");
    assert!(aws.calls().is_empty(), "once");
    aws.look_at(SETTLED + Duration::days(14)).await.unwrap();
    assert!(aws.now().await.retiring.is_empty(), "it is gone");
}

#[tokio::test]
async fn death_between_any_two_calls_loses_no_step_of_a_retirement() {
    for number in 1.. {
        let aws = second_root().await;
        // Its key sleeps, and is woken for the last list.
        let process = aws.conductor().with_sleep(true);
        process.keep_asleep(&aws.now().await, &by(), TODAY).await.unwrap();
        aws.retire().await;
        let process = aws.conductor().with_sleep(true);
        aws.state().kill_in(number);
        let died = aws.tend(&process, SETTLED).await;
        if !aws.state().has_died() {
            died.unwrap();
            assert!(number > 13, "{number}");
            break;
        }
        let when = format!("after call {number}");
        let later = SETTLED + Duration::minutes(3);
        assert_eq!(aws.look_at(later).await.unwrap(), Some(1), "{when}");
        assert_eq!([aws.key("key 1"), aws.key("key 2")], [(true, true); 2], "{when}");
        let sleep = aws.ledger().sleep().await.unwrap();
        assert!(!sleep.asleep.contains(&1) && !sleep.awake.contains_key(&1), "{when}: {sleep:?}");
        let wakings = |state: &crate::aws::State| state.calls.iter().filter(|call| *call == "wake key 1").count();
        let before = wakings(&aws.state());
        let process = aws.conductor().with_sleep(true);
        process.keep_asleep(&aws.now().await, &by(), later).await.unwrap();
        process.renew_bundle(&aws.now().await, later + Duration::days(29)).await.unwrap();
        process.renew_authorities(&aws.now().await, later + Duration::days(180)).await.unwrap();
        assert_eq!(wakings(&aws.state()), before, "{when}: nothing wakes it");
    }
}

#[tokio::test]
async fn a_valid_certificate_holds_up_the_key_of_its_authority() {
    let aws = second_root().await;
    let until = TODAY + Duration::days(100);
    aws.signed_below(until);
    aws.retire().await;
    // The authority's own certificate lasts two years: the root's last list has to outlive it.
    aws.look_at(SETTLED).await.unwrap();
    let old = aws.old().await;
    assert_eq!((old.state, aws.key("key 1").1), (GenerationState::Distrusted, false));
    assert_eq!(old.retirement.unwrap().again, Some(SETTLED + Duration::days(7)), "it may be revoked");
    let later = TODAY + Duration::days(99);
    aws.look_at(later).await.unwrap();
    assert_eq!(aws.old().await.state, GenerationState::Distrusted);
    aws.look_at(TODAY + Duration::days(107)).await.unwrap();
    assert_eq!(aws.old().await.state, GenerationState::Retired, "nothing is valid");
    assert_eq!([aws.key("key 1"), aws.key("key 2")], [(true, true); 2]);
}

#[tokio::test]
async fn the_last_list_outlives_an_authority_that_is_needed() {
    let aws = second_root().await;
    let authority_ends = TODAY + Duration::days(730);
    let now = authority_ends - Duration::days(300);
    aws.signed_below(now + Duration::days(50));
    aws.retire().await;
    aws.look_at(now).await.unwrap();
    assert_eq!([aws.key("key 1"), aws.key("key 2")], [(true, true), (false, false)], "its lists go on");
    let list = aws.ledger().crl(CrlId::authorities(1)).await.unwrap().unwrap();
    assert!(list.next_update >= authority_ends && list.crl.revoked().unwrap().is_empty());
    let needed = async |now| {
        let old = aws.old().await;
        [None, Some(1)].map(|number| old.needs_key(number, now))
    };
    assert_eq!(needed(now).await, [false, true], "who has the authority's deleted now does harm");
    aws.look_at(now + Duration::days(50)).await.unwrap();
    assert_eq!(aws.key("key 2"), (true, true));
    assert_eq!(needed(now + Duration::days(50)).await, [false; 2], "and KMS itself does none");
    assert_eq!(aws.old().await.retirement.unwrap().deletion, Some(now + Duration::days(14)), "as before");
}

#[tokio::test]
async fn a_key_that_a_person_put_out_of_use_is_no_error() {
    for pending in [false, true] {
        let aws = second_root().await;
        {
            let mut state = aws.state();
            let key = state.keys.get_mut("key 1").unwrap();
            (key.disabled, key.pending) = (true, pending);
        }
        aws.retire().await;
        assert_eq!(aws.look_at(SETTLED).await.unwrap(), Some(1));
        assert_eq!(aws.key("key 1"), (true, true));
        assert_eq!(aws.old().await.state, GenerationState::Retired);
    }
}

#[tokio::test]
async fn a_key_that_is_denied_is_tried_again() {
    let aws = second_root().await;
    aws.retire().await;
    aws.state().keys.get_mut("key 2").unwrap().denied = true;
    aws.look_at(SETTLED).await.unwrap();
    assert_eq!((aws.key("key 1"), aws.old().await.retirement.unwrap().done), ((true, true), false));
    aws.state().keys.get_mut("key 2").unwrap().denied = false;
    assert_eq!(aws.look_at(SETTLED + Duration::MINUTE).await.unwrap(), Some(1));
    assert_eq!(aws.key("key 2"), (true, true));
}

#[tokio::test]
async fn a_kept_key_stays_disabled_and_is_never_scheduled_again() {
    let aws = second_root().await;
    let keep = async |now| aws.conductor().keep_root(1, &by(), now).await;
    assert!(matches!(keep(TODAY).await, Err(AuthorityError::NotRetired(1))));
    aws.retire().await;
    aws.look_at(SETTLED).await.unwrap();
    for _ in 0..2 {
        keep(SETTLED).await.unwrap();
    }
    assert_eq!(aws.look_at(SETTLED).await.unwrap(), Some(0));
    assert_eq!([aws.key("key 1"), aws.key("key 2")], [(true, false); 2]);
    let old = aws.old().await;
    let retirement = old.retirement.unwrap();
    assert_eq!((old.state, retirement.deletion), (GenerationState::Retired, None));
    assert_eq!(retirement.kept.unwrap().by, by().principal);
    let old = aws.old().await;
    assert_eq!([None, Some(1)].map(|number| old.needs_key(number, SETTLED)), [true; 2]);
    aws.calls();
    aws.look_at(SETTLED + Duration::days(400)).await.unwrap();
    assert!(aws.calls().is_empty());
    let lines = aws.state().lines();
    assert_eq!(lines.iter().filter(|line| line.contains("\"keep\"")).count(), 1);
    assert!(matches!(aws.conductor().keep_root(9, &by(), SETTLED).await, Err(AuthorityError::NoGeneration(9))));
}

#[tokio::test]
async fn a_key_that_is_deleted_is_not_kept() {
    let aws = second_root().await;
    aws.retire().await;
    aws.look_at(SETTLED).await.unwrap();
    let refused = aws.conductor().keep_root(1, &by(), SETTLED + Duration::days(14)).await;
    assert!(matches!(refused, Err(AuthorityError::KeyDeleted(1))), "{refused:?}");
}

/// The operator keeps the key while the conductor puts it out of use.
#[tokio::test]
async fn death_between_any_two_calls_forgets_no_wish_to_keep() {
    for number in 1.. {
        let aws = second_root().await;
        aws.retire().await;
        aws.look_at(SETTLED).await.unwrap();
        aws.conductor().keep_root(1, &by(), SETTLED).await.unwrap();
        let process = aws.conductor();
        aws.state().kill_in(number);
        let died = aws.tend(&process, SETTLED).await;
        if !aws.state().has_died() {
            died.unwrap();
            break;
        }
        // Nothing may be left to do.
        let pending = aws.look_at(SETTLED).await.unwrap();
        assert!(matches!(pending, None | Some(0)), "after call {number}: {pending:?}");
        assert_eq!([aws.key("key 1"), aws.key("key 2")], [(true, false); 2], "after call {number}");
    }
}
