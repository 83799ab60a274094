//! The lists of what a root signed for devices itself: they stay, and the root's key signs them when they are due.

use rootcast_authority::AuthorityError;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Change, CrlRecord};
use rootcast_pki::crl::{CrlId, CrlSpec, prepare_crl};
use rootcast_pki::signer::SignerId;
use time::{Duration, OffsetDateTime};
use tokio::time::Instant;

use crate::aws::Aws;
use crate::keys::TODAY;
use crate::signing_root;

fn list(shard: u16) -> CrlId {
    CrlId::new(SignerId::root(1), shard).unwrap()
}

impl Aws {
    /// An earlier release has published this list.
    async fn list(&self, list: CrlId, this_update: OffsetDateTime, behind: bool) {
        let root = self.ledger().root(1).await.unwrap().unwrap().certificate.unwrap();
        let next_update = this_update + Duration::days(7);
        let urls = vec![list.url("http://pki.example.com")];
        let spec = CrlSpec { list, number: 4, this_update, next_update, urls: urls.clone(), revoked: Vec::new() };
        let crl = self.state().keys["key 1"].pair.complete(prepare_crl(&spec, &root).unwrap());
        let record =
            CrlRecord { list, revision: 0, crl, number: 4, this_update, next_update, urls, behind, urgent: behind };
        self.ledger().publish_crl(&record).await.unwrap();
        self.calls();
    }

    async fn number(&self, list: CrlId) -> u64 {
        self.ledger().crl(list).await.unwrap().unwrap().number
    }

    async fn publish_lists(&self, root: u32) -> Result<(), AuthorityError> {
        self.conductor().publish_lists(root, Instant::now() + std::time::Duration::from_secs(60), TODAY).await
    }
}

#[tokio::test]
async fn a_roots_lists_are_renewed_at_half_of_their_life() {
    let aws = signing_root().await;
    aws.list(list(7), TODAY - Duration::days(3), false).await;
    aws.list(list(8), TODAY - Duration::days(4), false).await;
    aws.list(list(9), TODAY, true).await;
    aws.publish_lists(1).await.unwrap();
    assert_eq!((aws.number(list(7)).await, aws.number(list(8)).await, aws.number(list(9)).await), (4, 5, 5));
    let renewed = aws.ledger().crl(list(8)).await.unwrap().unwrap();
    assert_eq!((renewed.next_update, renewed.behind), (TODAY + Duration::days(30), false), "the key sleeps longer");
    assert_eq!(aws.calls().len(), 4, "two signatures, two writes");
    aws.publish_lists(1).await.unwrap();
    assert!(aws.calls().is_empty(), "nothing is due any more");
}

#[tokio::test]
async fn the_list_that_a_root_names_is_published() {
    let aws = signing_root().await;
    let list = CrlId::authorities(1);
    let mut root = aws.ledger().root(1).await.unwrap().unwrap();
    root.spec.crl = Some(list.url("http://pki.example.com"));
    aws.ledger().commit(Change { roots: vec![&root], ..Change::default() }).await.unwrap();
    aws.publish_lists(1).await.unwrap();
    assert_eq!(aws.ledger().crl(list).await.unwrap().unwrap().urls, root.spec.crl.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn an_old_roots_unusable_key_fails_no_list() {
    let aws = signing_root().await;
    aws.list(list(8), TODAY - Duration::days(4), false).await;
    aws.disable_key("key 1");
    assert!(matches!(aws.publish_lists(1).await, Err(AuthorityError::KeyUnusable { .. })), "it signs");
    let mut root = aws.ledger().root(1).await.unwrap().unwrap();
    for state in [GenerationState::Superseded, GenerationState::Retired] {
        root.state = state;
        aws.ledger().commit(Change { roots: vec![&root], ..Change::default() }).await.unwrap();
        root.revision += 1;
        aws.publish_lists(1).await.unwrap();
        assert_eq!(aws.number(list(8)).await, 4);
    }
    assert!(matches!(aws.publish_lists(2).await, Err(AuthorityError::Missing(_))), "no such root");
}

#[tokio::test]
async fn what_is_not_done_in_time_stays_due() {
    let aws = signing_root().await;
    aws.list(list(8), TODAY - Duration::days(4), false).await;
    aws.conductor().publish_lists(1, Instant::now(), TODAY).await.unwrap();
    assert_eq!(aws.number(list(8)).await, 4);
    aws.publish_lists(1).await.unwrap();
    assert_eq!(aws.number(list(8)).await, 5);
}
