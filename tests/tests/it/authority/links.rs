//! The second generation: both link certificates exist, and each lets a client that has one root verify the other.

use rootcast_ledger::{Policy, RootRecord};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::root::{LeafSpec, Serial, prepare_server_leaf};
use rootcast_pki::subject::DeviceSubject;
use time::Duration;

use super::keys::Key;
use super::readers::accept;
use super::regenerator::{Regenerator, seconds_ago};
use super::whole::assert_whole;
use super::wire::Wire;
use crate::stack::{Stack, by_tests};

#[tokio::test(flavor = "multi_thread")]
async fn each_link_lets_a_client_verify_the_other_root() {
    Stack::run(0, async |stack| {
        for (name, old, new) in [
            ("same", KeyAlgorithm::EcdsaP384, KeyAlgorithm::EcdsaP384),
            ("to-ecdsa", KeyAlgorithm::Rsa2048, KeyAlgorithm::EcdsaP256),
            ("to-rsa", KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa3072),
        ] {
            let regenerator = Regenerator::open(&stack.local, &format!("links-{name}")).await;
            let (old, new) = (next_root(&regenerator, old).await, next_root(&regenerator, new).await);
            assert_whole(&regenerator, 2, 0).await;
            let (by_old, by_new) = (leaf(&regenerator, &old).await, leaf(&regenerator, &new).await);
            let link = |link: Option<rootcast_ledger::LinkRecord>| link.unwrap().certificate.unwrap();
            let (new_with_old, old_with_new) = (link(new.new_with_old), link(new.old_with_new));
            let (old, new) = (old.certificate.unwrap(), new.certificate.unwrap());

            assert_eq!(accept(&[&old], &by_new, &[&new_with_old]), [true, true], "{name}: holds the old root only");
            assert_eq!(accept(&[&new], &by_old, &[&old_with_new]), [true, true], "{name}: holds the new root only");
            assert_eq!(accept(&[&old, &new], &by_new, &[&new_with_old]), [true, true], "{name}: holds both");
            assert_eq!(
                accept(&[&new], &by_new, &[&new_with_old]),
                [true, true],
                "{name}: the same chain for whoever has moved"
            );
            assert_eq!(accept(&[&old], &by_new, &[]), [false, false], "{name}: the link is what makes it so");
            assert_eq!(accept(&[&new], &by_old, &[]), [false, false], "{name}: the link is what makes it so");
            assert_eq!(accept(&[&old], &by_new, &[&old_with_new]), [false, false], "{name}: the other one does not");

            assert_eq!(
                (new_with_old.not_before(), new_with_old.not_after()),
                (new.not_before(), old.not_after().min(new.not_after()))
            );
            assert_eq!((old_with_new.not_before(), old_with_new.not_after()), (old.not_before(), old.not_after()));
        }
    })
    .await;
}

async fn next_root(regenerator: &Regenerator, algorithm: KeyAlgorithm) -> RootRecord {
    let policy = regenerator.ledger.policy().await.unwrap();
    regenerator
        .ledger
        .set_policy(&policy, Policy { algorithm, ..policy.clone() }, &by_tests(), time::OffsetDateTime::now_utc())
        .await
        .unwrap();
    let reply = regenerator.put(&Wire::default(), seconds_ago::<30>).await;
    assert!(reply.status.is_success(), "{reply:?}");
    let signing = regenerator.ledger.authority().await.unwrap().signing.unwrap();
    let root = regenerator.ledger.root(signing).await.unwrap().unwrap();
    assert_eq!(root.spec.algorithm, algorithm);
    root
}

/// A server certificate, signed by the root's KMS key.
async fn leaf(regenerator: &Regenerator, root: &RootRecord) -> Certificate {
    let (key, issuer) = root.key_and_certificate().unwrap();
    let spec = LeafSpec {
        subject: DeviceSubject::new("localhost", ["localhost".to_owned()], vec![]).unwrap(),
        serial: Serial::from_random([3; 16]),
        not_before: issuer.not_before(),
        not_after: issuer.not_before() + Duration::days(1),
        crl: None,
    };
    let server = Key::shared(KeyAlgorithm::EcdsaP256);
    let prepared = prepare_server_leaf(&spec, &server.spki_der, issuer).unwrap();
    regenerator.vault_over(&Wire::default()).sign_prepared(key, prepared).await.unwrap()
}
