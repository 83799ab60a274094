//! Issuing authorities are made below the signing root, at its activation and later: order, interruptions, refusals.

use rootcast_authority::{AuthorityError, IssuingSettings};
use rootcast_core::audit::Actor;
use rootcast_ledger::{Authority, Change, IssuingRecord, IssuingState, LedgerError};
use rootcast_pki::crl::{CrlId, Reason};
use rootcast_pki::signer::IssuingId;
use time::{Duration, OffsetDateTime};

use crate::aws::{Aws, settings};
use crate::keys::TODAY;
use crate::{JOB, signing_root};

const FIRST: IssuingId = IssuingId { generation: 1, number: 1 };

fn by() -> Actor {
    Actor::function("tests")
}

impl Aws {
    async fn record(&self) -> Authority {
        self.ledger().authority().await.unwrap()
    }

    /// What the schedule does, in a process of its own.
    async fn keep_at(&self, now: OffsetDateTime) -> Result<bool, AuthorityError> {
        self.conductor().keep_issuing(&self.record().await, &by(), now).await
    }

    async fn keep(&self) -> Result<bool, AuthorityError> {
        self.keep_at(TODAY).await
    }

    /// The conductor activates the root of the job.
    async fn activate(&self) -> Result<(), AuthorityError> {
        self.conductor().activate_root(&mut self.job().await, None, &by(), TODAY).await
    }

    async fn issuing(&self, generation: u32, number: u32) -> IssuingRecord {
        self.ledger().issuing(IssuingId { generation, number }).await.unwrap().unwrap()
    }

    /// Checks that exactly one issuing authority signs: the one on record, whose root certified it once.
    async fn assert_one_signs(&self, generation: u32, number: u32, when: &str) {
        let id = IssuingId { generation, number };
        assert_eq!(self.record().await.issuing, Some(id), "{when}");
        let signing: Vec<IssuingId> = {
            let state = self.state();
            let all = state.issuings();
            all.iter().filter(|each| each.state == IssuingState::Signing).map(IssuingRecord::id).collect()
        };
        assert_eq!(signing, [id], "{when}");
        let (root, issuing) =
            (self.ledger().root(generation).await.unwrap().unwrap(), self.issuing(generation, number).await);
        issuing.certificate.as_ref().unwrap().verify_signed_by(root.certificate.as_ref().unwrap()).unwrap();
        let list = self.ledger().crl(CrlId::authorities(generation)).await.unwrap().unwrap();
        assert_eq!(list.urls, std::slice::from_ref(&issuing.spec.crl), "{when}");
    }
}

/// A root of an earlier release that has an issuing authority by now.
async fn issuing_root() -> Aws {
    let aws = signing_root().await;
    assert!(aws.keep().await.unwrap());
    aws.calls();
    aws
}

#[tokio::test]
async fn an_issuing_authority_is_made_in_this_order() {
    let aws = signing_root().await;
    assert!(aws.keep().await.unwrap());
    let order = [
        "write authority, root 1, issuing 1.1",
        "make a key",
        "write issuing 1.1",
        "write issuing 1.1",
        "sign a certificate of an issuing authority with key 1",
        "write issuing 1.1",
        "sign a list with key 1",
        "write list 1",
        "mark key 2",
        "write authority, issuing 1.1",
    ];
    assert_eq!(aws.calls(), order);
    aws.assert_one_signs(1, 1, "").await;
    let issuing = aws.issuing(1, 1).await;
    assert_eq!(issuing.certificate.unwrap().not_after(), TODAY + Duration::days(730));
    assert_eq!(aws.record().await.issuing_due, Some(TODAY + Duration::days(365)));
    assert!(!aws.keep().await.unwrap());
    assert!(aws.calls().is_empty(), "one is enough");
}

#[tokio::test]
async fn activation_makes_the_issuing_authority_before_the_switch() {
    let aws = issuing_root().await;
    aws.make_root().await.unwrap();
    aws.calls();
    aws.activate().await.unwrap();
    let order = [
        "write root 2",
        "sign a link with key 1",
        "sign a list with key 3",
        "write list 2",
        "sign a link with key 3",
        "mark key 3",
        "write root 2, issuing 2.1",
        "make a key",
        "write issuing 2.1",
        "write issuing 2.1",
        "sign a certificate of an issuing authority with key 3",
        "write issuing 2.1",
        "mark key 4",
        "write authority, root 2, root 1, issuing 1.1, issuing 2.1, job",
    ];
    assert_eq!(aws.calls(), order);
    aws.assert_one_signs(2, 1, "").await;
    assert_eq!(aws.issuing(1, 1).await.state, IssuingState::Superseded);
}

#[tokio::test]
async fn death_between_any_two_calls_makes_no_second_one() {
    for number in 1.. {
        let aws = signing_root().await;
        aws.state().die_in(number);
        let died = aws.keep().await;
        if !aws.state().has_died() {
            assert_eq!((number, died.unwrap()), (12, true), "eleven calls");
            break;
        }
        died.unwrap_err();
        let when = format!("after call {number}");
        // A call that had not been answered may have been the last one.
        assert_eq!(aws.keep().await.unwrap(), number < 11, "{when}");
        aws.assert_one_signs(1, 1, &when).await;
        assert_eq!(aws.state().signed_as("certificate of an issuing authority", 0), 1, "{when}");
        let (record, key) = (aws.record().await, aws.issuing(1, 1).await.key);
        let left = number == 2;
        assert_eq!(aws.state().keys.len(), 2 + usize::from(left), "{when}");
        assert!(record.unswept.contains(&1) || !left, "{when}");
        aws.calls();
        aws.conductor().sweep_keys(1, TODAY + Duration::minutes(1)).await.unwrap();
        let given_up = if left { vec!["give up key 2"] } else { Vec::new() };
        assert_eq!(aws.calls(), given_up, "{when}: not {key:?}");
    }
}

#[tokio::test]
async fn death_during_activation_makes_no_second_one() {
    for number in 1.. {
        let aws = issuing_root().await;
        aws.make_root().await.unwrap();
        aws.state().die_in(number);
        let died = aws.activate().await;
        if !aws.state().has_died() {
            assert_eq!(number, 16, "fifteen calls");
            break;
        }
        died.unwrap_err();
        let again = aws.activate().await;
        assert_eq!(again.is_ok(), number < 15, "after call {number}: {again:?}");
        aws.assert_one_signs(2, 1, &format!("after call {number}")).await;
        assert_eq!(aws.issuing(1, 1).await.state, IssuingState::Superseded);
    }
}

#[tokio::test]
async fn of_two_makers_one_makes_it() {
    let aws = signing_root().await;
    let read = aws.record().await;
    aws.keep().await.unwrap();
    aws.calls();
    let late = aws.conductor().keep_issuing(&read, &by(), TODAY).await;
    assert!(matches!(late, Err(AuthorityError::Ledger(LedgerError::Conflict))), "{late:?}");
    assert!(aws.calls().is_empty(), "nothing is made in vain");

    // One is slow: the other takes over, and its key is the one.
    let aws = signing_root().await;
    aws.state().die_in(2);
    aws.keep().await.unwrap_err();
    let slow = aws.issuing(1, 1).await;
    aws.keep().await.unwrap();
    let recorded = rootcast_ledger::Change { issuing: vec![&slow], ..Default::default() };
    assert!(aws.ledger().commit(recorded).await.is_err(), "the slow one cannot record its key");
    aws.assert_one_signs(1, 1, "").await;
}

#[tokio::test]
async fn the_next_one_signs_at_half_of_its_life() {
    let aws = issuing_root().await;
    let due = TODAY + Duration::days(365);
    assert!(!aws.keep_at(due - Duration::SECOND).await.unwrap());
    assert!(aws.keep_at(due).await.unwrap());
    aws.assert_one_signs(1, 2, "").await;
    assert_eq!(aws.issuing(1, 1).await.state, IssuingState::Superseded);
    assert!(!aws.keep_at(due + Duration::DAY).await.unwrap());
    let signatures = aws.calls().iter().filter(|call| call.contains("with key 1")).count();
    assert_eq!(signatures, 2, "its certificate and, by now, the list");
}

/// Halves of the rest would come ever faster.
#[tokio::test]
async fn the_last_one_ends_with_its_root() {
    let aws = issuing_root().await;
    let end = aws.ledger().root(1).await.unwrap().unwrap().certificate.unwrap().not_after();
    assert!(aws.keep_at(end - Duration::days(500)).await.unwrap());
    assert_eq!(aws.issuing(1, 2).await.certificate.unwrap().not_after(), end);
    assert_eq!(aws.record().await.issuing_due, None);
    assert!(!aws.keep_at(end - Duration::HOUR).await.unwrap());
    let late = signing_root().await;
    assert!(!late.keep_at(end).await.unwrap(), "nothing that it signs would be valid");
}

#[tokio::test]
async fn an_unused_key_that_is_disabled_is_replaced() {
    for last in [3, 6, 8] {
        let aws = signing_root().await;
        aws.state().die_in(last);
        aws.keep().await.unwrap_err();
        let before = aws.issuing(1, 1).await.spec.serial;
        aws.disable_key("key 2");
        aws.keep().await.unwrap();
        aws.assert_one_signs(1, 1, "").await;
        let made = aws.issuing(1, 1).await;
        assert_eq!(made.key.as_deref(), Some("key 3"));
        assert_ne!(made.spec.serial, before, "two certificates never have one serial number");
    }
}

#[tokio::test]
async fn a_root_that_cannot_sign_is_asked_hourly() {
    let aws = issuing_root().await;
    let due = TODAY + Duration::days(365);
    aws.disable_key("key 1");
    let (one, record) = (aws.conductor(), aws.record().await);
    let tried = async |minutes| one.keep_issuing(&aws.record().await, &by(), due + Duration::minutes(minutes)).await;
    let refused = tried(0).await;
    assert!(matches!(refused, Err(AuthorityError::KeyUnusable { signer, .. }) if signer.is_root()), "{refused:?}");
    assert_eq!(aws.record().await.issuing, record.issuing, "the present one signs on");
    aws.calls();
    assert!(!tried(59).await.unwrap());
    assert!(aws.calls().is_empty());
    aws.enable_key("key 1");
    assert!(tried(60).await.unwrap());
    aws.assert_one_signs(1, 2, "").await;
}

#[tokio::test]
async fn a_key_that_may_not_be_used_yet_is_asked_again_soon() {
    let aws = issuing_root().await;
    let due = TODAY + Duration::days(365);
    let one = aws.conductor();
    let denied = |denied| aws.state().keys.get_mut("key 1").unwrap().denied = denied;
    denied(true);
    let refused = one.keep_issuing(&aws.record().await, &by(), due).await;
    assert!(matches!(refused, Err(AuthorityError::TooEarly { .. })), "{refused:?}");
    denied(false);
    assert!(one.keep_issuing(&aws.record().await, &by(), due + Duration::MINUTE).await.unwrap());
    aws.assert_one_signs(1, 2, "").await;
}

#[tokio::test]
async fn two_crashes_leave_no_key_behind() {
    let (aws, now) = (signing_root().await, TODAY + Duration::DAY);
    for call in [2, 3] {
        aws.state().die_in(call);
        aws.keep_at(now).await.unwrap_err();
    }
    assert!(aws.keep_at(now).await.unwrap());
    assert_eq!(aws.issuing(1, 1).await.key.as_deref(), Some("key 3"));
    assert!(aws.record().await.unswept.contains(&1));
    aws.calls();
    let sweep = async |minutes| aws.conductor().sweep_keys(1, now + Duration::minutes(minutes)).await.unwrap();
    assert!(!sweep(1).await, "the tags of a young key may not show it yet");
    assert_eq!(aws.calls(), ["give up key 2"]);
    assert!(sweep(10).await);
}

#[tokio::test]
async fn the_next_root_gives_up_what_a_crash_left() {
    let aws = issuing_root().await;
    aws.authority().ask_for_issuing(&by(), TODAY).await.unwrap();
    aws.state().die_in(6);
    aws.keep().await.unwrap_err();
    aws.make_root().await.unwrap();
    aws.activate().await.unwrap();
    aws.assert_one_signs(2, 1, "").await;
    let left = aws.issuing(1, 2).await;
    assert_eq!((left.state, left.key), (IssuingState::Revoked, None));
    assert!(aws.record().await.unswept.contains(&1));
    aws.calls();
    aws.conductor().sweep_keys(1, TODAY).await.unwrap();
    assert_eq!(aws.calls(), ["give up key 3"]);
    aws.conductor().renew_authorities(&aws.record().await, TODAY).await.unwrap();
    let list = aws.ledger().crl(CrlId::authorities(1)).await.unwrap().unwrap();
    let named: Vec<_> = list.crl.revoked().unwrap().into_iter().map(|each| each.serial).collect();
    assert_eq!(named, [left.spec.serial], "the root has certified it");
}

#[tokio::test]
async fn a_worn_reservation_gets_a_new_life() {
    let aws = issuing_root().await;
    let due = TODAY + Duration::days(365);
    aws.state().die_in(6);
    aws.keep_at(due).await.unwrap_err();
    let later = due + Duration::days(366);
    assert!(aws.keep_at(later).await.unwrap());
    aws.assert_one_signs(1, 2, "").await;
    let made = aws.issuing(1, 2).await;
    assert_eq!(made.certificate.unwrap().not_after(), later + Duration::days(730));
    assert_eq!(aws.state().keys.len(), 3, "it keeps its key");
}

/// The parameter is for roots that may certify everything: one that is constrained constrains those below it.
#[tokio::test]
async fn an_issuing_authority_keeps_to_its_roots_names_or_the_parameters() {
    for (of_root, parameter, expected) in
        [("", "", ""), ("", "lab.example", "lab.example"), ("10.0.0.0/8", "lab.example", "10.0.0.0/8")]
    {
        let aws = signing_root().await;
        let mut root = aws.ledger().root(1).await.unwrap().unwrap();
        root.spec.permitted = of_root.parse().unwrap();
        aws.ledger().commit(Change { roots: vec![&root], ..Change::default() }).await.unwrap();
        let conductor =
            aws.authority().with_issuing(IssuingSettings { permitted: parameter.parse().unwrap(), ..settings() });
        assert!(conductor.keep_issuing(&aws.record().await, &by(), TODAY).await.unwrap());
        let made = aws.issuing(1, 1).await;
        assert_eq!(made.spec.permitted, expected.parse().unwrap(), "{of_root:?} {parameter:?}");
        // In the certificate, and critical.
        let certificate = made.certificate.unwrap();
        let constraints = [0x06, 0x03, 0x55, 0x1d, 0x1e, 0x01, 0x01, 0xff];
        let is_constrained = certificate.der().windows(constraints.len()).any(|part| part == constraints);
        assert_eq!(is_constrained, !expected.is_empty());
        let names_it = certificate.der().windows(11).any(|part| part == b"lab.example");
        assert_eq!(names_it, expected == "lab.example");
    }
}

#[tokio::test]
async fn roots_that_sign_leaves_have_no_issuing_authority() {
    let aws = signing_root().await;
    let settings = IssuingSettings { leaves_from_root: true, ..settings() };
    let conductor = aws.authority().with_issuing(settings);
    assert!(!conductor.keep_issuing(&aws.record().await, &by(), TODAY).await.unwrap());
    aws.make_root().await.unwrap();
    conductor.activate_root(&mut aws.job().await, None, &by(), TODAY).await.unwrap();
    assert_eq!((aws.signing().await, aws.record().await.issuing), (Some(2), None));
    assert!(aws.state().issuings().is_empty());
}

/// Whoever makes a root relies on the authority's record to stay as it is.
#[tokio::test]
async fn nothing_is_made_while_a_root_is() {
    let aws = signing_root().await;
    aws.state().lose_write_in(3, false);
    aws.make_root().await.unwrap_err();
    let record = aws.record().await;
    let mut claim = record.claim.clone().unwrap();
    claim.until = TODAY + Duration::SECOND;
    aws.calls();
    let claimed = Authority { claim: Some(claim), ..record };
    assert!(!aws.conductor().keep_issuing(&claimed, &by(), TODAY).await.unwrap());
    assert!(aws.calls().is_empty());
    assert!(aws.keep().await.unwrap(), "a claim that was given back holds nothing up");
    assert_eq!(aws.make_root().await.unwrap().generation, 2);
    aws.assert_one_signs(1, 1, "").await;
    assert_eq!(aws.record().await.issuing, Some(FIRST));
}

#[tokio::test]
async fn the_path_leads_to_the_oldest_live_root() {
    let aws = issuing_root().await;
    for generation in [2, 3] {
        aws.make_root().await.unwrap();
        aws.activate().await.unwrap();
        let mut record = aws.record().await;
        record.running = None;
        let ended = rootcast_ledger::Change { authority: Some(&record), ..Default::default() };
        aws.ledger().commit(ended).await.unwrap();
        aws.state().forget_job(JOB.0);
        let issuing = aws.issuing(generation, 1).await;
        let chain: Vec<_> = issuing.chain().cloned().collect();
        assert_eq!(chain.len(), usize::try_from(generation).unwrap());
        let roots = aws.state().roots();
        for (index, certificate) in chain.iter().enumerate() {
            let below = usize::try_from(generation).unwrap() - 1 - index;
            certificate.verify_signed_by(roots[below].certificate.as_ref().unwrap()).unwrap();
        }
    }
}

#[tokio::test]
async fn the_list_of_authorities_is_renewed_at_half_of_its_life() {
    let aws = issuing_root().await;
    let list = CrlId::authorities(1);
    let renewed = async |days| {
        aws.conductor().renew_authorities(&aws.record().await, TODAY + Duration::days(days)).await.unwrap();
        aws.ledger().crl(list).await.unwrap().unwrap().number
    };
    assert_eq!((renewed(90).await, renewed(91).await, renewed(181).await, renewed(182).await), (1, 2, 2, 3));
    let published = aws.ledger().crl(list).await.unwrap().unwrap();
    assert_eq!(published.next_update, TODAY + Duration::days(364));

    // An old root whose key is gone holds up no other.
    aws.make_root().await.unwrap();
    aws.activate().await.unwrap();
    aws.disable_key("key 1");
    assert_eq!(renewed(300).await, 3);
    assert!(aws.ledger().crl(CrlId::authorities(2)).await.unwrap().unwrap().number > 1);
}

#[tokio::test]
async fn a_demand_is_recorded_once_and_met_by_the_schedule() {
    let aws = issuing_root().await;
    let next = IssuingId { generation: 1, number: 2 };
    for _ in 0..2 {
        assert_eq!(aws.authority().ask_for_issuing(&by(), TODAY).await.unwrap(), next);
    }
    assert_eq!(aws.calls(), ["write authority"]);
    aws.assert_one_signs(1, 1, "until then").await;
    assert!(aws.keep().await.unwrap());
    aws.assert_one_signs(1, 2, "").await;
    let none = Aws::new();
    assert!(matches!(none.authority().ask_for_issuing(&by(), TODAY).await, Err(AuthorityError::NoRoot)));
}

#[tokio::test]
async fn a_compromised_one_signs_no_more_and_is_listed() {
    let aws = issuing_root().await;
    let list = CrlId::authorities(1);
    let reserved = IssuingId { generation: 1, number: 2 };
    let unknown = aws.authority().revoke_issuing(reserved, &by(), TODAY).await;
    assert!(matches!(unknown, Err(AuthorityError::NoIssuing(id)) if id == reserved), "{unknown:?}");
    for _ in 0..2 {
        let revoked = aws.authority().revoke_issuing(FIRST, &by(), TODAY).await.unwrap();
        assert_eq!(revoked.state, IssuingState::Revoked);
    }
    assert_eq!(aws.calls(), ["write authority, issuing 1.1"]);
    let record = aws.record().await;
    assert_eq!((record.issuing, record.compromised), (None, [FIRST].into()));

    aws.conductor().publish_revocation(FIRST, &by(), TODAY).await.unwrap();
    let published = aws.ledger().crl(list).await.unwrap().unwrap();
    let named: Vec<_> = published.crl.revoked().unwrap().into_iter().map(|each| (each.serial, each.reason)).collect();
    assert_eq!(named, [(aws.issuing(1, 1).await.spec.serial, Reason::CaCompromise)]);
    aws.calls();
    aws.conductor().publish_revocation(FIRST, &by(), TODAY).await.unwrap();
    assert!(aws.calls().is_empty(), "once is enough");

    assert!(aws.keep().await.unwrap());
    aws.assert_one_signs(1, 2, "").await;
    assert_eq!(aws.issuing(1, 1).await.state, IssuingState::Revoked);
    assert_eq!(aws.ledger().crl(list).await.unwrap().unwrap().number, published.number);
}

#[tokio::test]
async fn one_that_is_being_made_is_not_revoked() {
    let aws = signing_root().await;
    aws.state().die_in(6);
    aws.keep().await.unwrap_err();
    let refused = aws.authority().revoke_issuing(FIRST, &by(), TODAY).await;
    assert!(matches!(refused, Err(AuthorityError::SignedNothing(id)) if id == FIRST), "{refused:?}");
    assert_eq!(aws.authority().ask_for_issuing(&by(), TODAY).await.unwrap(), FIRST);
}
