//! Somebody else may have a root's key.

use rootcast_authority::{AuthorityError, CompromiseRequest, InItsPlace, Made};
use rootcast_core::audit::Actor;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_core::rollover::rollout::Rollout;
use rootcast_ledger::{Authority, Change, Compromise, LeafPass};
use rootcast_pki::crl::{CrlId, Reason, Revoked};

use crate::aws::Aws;
use crate::keys::TODAY;
use crate::{JOB, of_roots, signing_root};

impl Aws {
    async fn compromise(&self) -> Result<InItsPlace, AuthorityError> {
        let request = CompromiseRequest { generation: None, rollout: Rollout::default(), requested_for: None };
        self.authority().replace_compromised(&of_roots(), &request, &Actor::function("tests"), TODAY).await
    }
}

#[tokio::test(start_paused = true)]
async fn the_key_is_disabled_before_another_is_made() {
    let aws = signing_root().await;
    let made = Made { generation: 2, job: Some(JOB) };
    assert_eq!(aws.compromise().await.unwrap(), InItsPlace { made, is_disabled: true });
    let calls = aws.calls();
    let disabled = calls.iter().position(|call| call == "put key 1 to sleep").unwrap();
    let first = calls.iter().position(|call| call == "make a key").unwrap();
    assert!(disabled < first, "{calls:?}");
    assert!(!calls.iter().any(|call| call.starts_with("sign") && call.contains("key 1")), "{calls:?}");
    let roots = aws.state().roots();
    assert_eq!((roots[0].state, roots[1].state), (GenerationState::Distrusted, GenerationState::Signing));
    assert!(roots[1].new_with_old.is_none() && roots[1].old_with_new.is_none());
    let job = aws.job().await;
    assert!(job.compromised.contains(&1) && job.activated.is_some(), "{job:?}");
    // The same request again.
    assert_eq!(aws.compromise().await.unwrap(), InItsPlace { made, is_disabled: true });
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_disabled_keeps_no_root() {
    let aws = signing_root().await;
    aws.state().keys.get_mut("key 1").unwrap().denied = true;
    let replaced = aws.compromise().await.unwrap();
    assert_eq!(replaced, InItsPlace { made: Made { generation: 2, job: Some(JOB) }, is_disabled: false });
    assert_eq!(aws.signing().await, Some(2));
}

/// Through the link, whoever trusts the second root alone would trust the first one's key.
#[tokio::test(start_paused = true)]
async fn the_link_to_a_compromised_root_is_revoked() {
    let aws = signing_root().await;
    aws.make_root().await.unwrap();
    aws.conductor().activate_root(&mut aws.job().await, None, &Actor::function("tests"), TODAY).await.unwrap();
    let link = aws.ledger().root(2).await.unwrap().unwrap().old_with_new.unwrap();
    let list = CrlId::authorities(2);
    let revoked = async || aws.ledger().crl(list).await.unwrap().unwrap().crl.revoked().unwrap();
    assert_eq!(revoked().await, []);
    let mut old = aws.ledger().root(1).await.unwrap().unwrap();
    old.compromise = Some(Compromise { at: TODAY, by: "tests".to_owned(), pass: LeafPass::default() });
    aws.ledger().commit(Change { roots: vec![&old], ..Change::default() }).await.unwrap();
    let authority = aws.ledger().authority().await.unwrap();
    aws.conductor().renew_authorities(&authority, TODAY).await.unwrap();
    let entry = Revoked { serial: link.spec.serial, at: TODAY, reason: Reason::CaCompromise };
    assert_eq!(revoked().await, [entry]);
}

/// The job that withdraws it is taken over, and would have given its keys up at its end.
#[tokio::test(start_paused = true)]
async fn the_keys_of_a_root_that_was_being_withdrawn_are_swept() {
    let aws = signing_root().await;
    aws.make_root().await.unwrap();
    let mut job = aws.job().await;
    aws.authority().withdraw_root(&mut job, None, &Actor::function("tests"), TODAY).await.unwrap();
    assert_eq!(aws.ledger().authority().await.unwrap().unswept, [].into());
    aws.compromise().await.unwrap();
    assert!(aws.ledger().authority().await.unwrap().unswept.contains(&2));
}

/// Somebody said so, and died before another root was made.
#[tokio::test(start_paused = true)]
async fn nothing_else_is_made_before_a_compromised_root_is_replaced() {
    let aws = signing_root().await;
    let authority = aws.ledger().authority().await.unwrap();
    let authority = Authority { replacing: [1].into(), ..authority };
    aws.ledger().commit(Change { authority: Some(&authority), ..Change::default() }).await.unwrap();
    assert!(matches!(aws.make_root().await, Err(AuthorityError::Compromised(1))));
    assert_eq!(aws.compromise().await.unwrap().made.generation, 2);
    assert_eq!(aws.signing().await, Some(2));
}
