//! Chains of three generations: everywhere one is given, and by two readers in Python. OpenSSL and webpki judge more of them in
//! `rootcast-pki`'s own tests.

#[path = "../../../functions/shared/pki/tests/it/fleet.rs"]
#[allow(dead_code, clippy::cast_possible_truncation, reason = "the crate's own tests use more of it")]
mod fleet;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData};
use reqwest::Method;
use rootcast_ledger::{Change, IssuingRecord, IssuingState};
use rootcast_pki::algorithm::KeyAlgorithm::{EcdsaP256, EcdsaP384, Rsa2048};
use rootcast_pki::certificate::{Certificate, split_pem_bundle};
use rootcast_pki::root::{IssuingSpec, LeafSpec, prepare_issuing, prepare_server_leaf};
use rootcast_pki::signer::IssuingId;
use rootcast_vault::Vault;
use serde_json::json;
use time::{Duration, OffsetDateTime};

use self::fleet::{Fleet, issuing_spec, leaf_spec};
use crate::api::Answer;
use crate::authority::keys::Key;
use crate::authority::{keys, openssl};
use crate::import::pki::new_key;
use crate::import::{CERTIFICATES, imported, refused};
use crate::import_readers::{TODAY, bundle, pyhanko, python};
use crate::stack::Stack;

#[tokio::test]
async fn readers_in_python_verify_a_chain_from_each_root_alone() {
    let fleet = Fleet::new([Rsa2048, EcdsaP384, EcdsaP256], EcdsaP256);
    let (mut bundles, mut expected) = (Vec::new(), Vec::new());
    for (count, at) in (1..=3).flat_map(|count| (0..count).map(move |at| (count, at))) {
        let (hierarchy, leaf) = (fleet.hierarchy(count), fleet.leaf(at));
        let whole = hierarchy.complete(&leaf, &[]).unwrap();
        let sent: Vec<&[u8]> = whole.chain.iter().map(Certificate::der).collect();
        for trusted in 0..count {
            bundles.push(bundle(leaf.der(), &sent, &[fleet.root(trusted).der()], None));
            expected.push((count, at, trusted, true));
            // Without the links, only who trusts the leaf's own root.
            bundles.push(bundle(leaf.der(), &sent[..1], &[fleet.root(trusted).der()], None));
            expected.push((count, at, trusted, trusted == at));
        }
    }
    let (python, pyhanko) = tokio::join!(python(bundles.clone(), TODAY), pyhanko(bundles, TODAY));
    for ((python, pyhanko), expected) in python.into_iter().zip(pyhanko).zip(expected) {
        assert_eq!([python.is_none(), pyhanko.is_none()], [expected.3; 2], "{expected:?}: {python:?}, {pyhanko:?}");
    }
}

/// Below the root that signs now, with a key of its own. Recorded as if it had been made by a rotation.
pub(crate) async fn issuing_authority(stack: &Stack, key: &Key) -> Certificate {
    let authority = stack.ledger.authority().await.unwrap();
    let mut root = stack.ledger.root(authority.signing.unwrap()).await.unwrap().unwrap();
    root.last_issuing += 1;
    let id = IssuingId { generation: root.generation, number: root.last_issuing };
    let (root_key, above) = root.key_and_certificate().unwrap();
    let not_after = above.not_before() + Duration::days(700);
    let spec = IssuingSpec { id, not_before: above.not_before(), not_after, ..issuing_spec(1, key.algorithm) };
    let config = &stack.local.sdk_config;
    let vault =
        Vault::new(&aws_sdk_kms::Client::new(config), &aws_sdk_resourcegroupstagging::Client::new(config), "rootcast");
    let prepared = prepare_issuing(&spec, &key.spki_der, above).unwrap();
    vault.enable(root_key).await.unwrap(); // it sleeps
    let certificate = vault.sign_prepared(root_key, prepared).await.unwrap();
    let record = IssuingRecord {
        revision: 0,
        state: IssuingState::Signing,
        spec,
        key: None,
        key_made: None,
        tbs: None,
        certificate: Some(certificate.clone()),
        path: Vec::new(),
        revoked: None,
        pass: None,
        created: OffsetDateTime::now_utc(),
    };
    let next = rootcast_ledger::Authority { issuing: Some(id), ..authority };
    let change = Change { authority: Some(&next), roots: vec![&root], issuing: vec![&record], ..Change::default() };
    stack.ledger.commit(change).await.unwrap();
    certificate
}

pub(crate) fn leaf_below(issuing: &Certificate, key: &Key, device: &KeyPair) -> Certificate {
    let not_before = issuing.not_before();
    let spec = LeafSpec { not_before, not_after: not_before + Duration::days(300), ..leaf_spec(1) };
    key.complete(prepare_server_leaf(&spec, &device.subject_public_key_info(), issuing).unwrap())
}

pub(crate) async fn import(stack: &Stack, name: &str, sent: &[&Certificate], key: &KeyPair) -> Answer {
    let pem: String = sent.iter().map(|each| each.pem()).collect();
    let body = json!({ "name": name, "certificate": pem, "private_key": key.serialize_pem() });
    stack.api.post(&format!("{CERTIFICATES}/import"), body).await
}

async fn stored(answer: &Answer, stack: &Stack) -> Vec<Certificate> {
    assert!(!answer.text.contains("warnings"), "{answer:?}");
    stack.ledger.certificate(imported(answer)).await.unwrap().unwrap().chain
}

/// Leaf, chain and root, in the order of the file.
async fn retrieved(stack: &Stack, name: &str) -> Vec<Certificate> {
    let path = format!(
        r"/vedsdk/Certificates/Retrieve?CertificateDN=%5CVED%5CPolicy%5CCertificates%5C{name}&Format=Base64&IncludeChain=true"
    );
    split_pem_bundle(stack.api.get(&path).await.raw()).unwrap()
}

#[tokio::test]
async fn every_chain_that_is_given_verifies_from_each_root_alone() {
    // So that there is no issuing authority but the one that is made here.
    let parameters = [("LeavesFromRoot", "true"), ("RootKeySleeps", "false")];
    Stack::run_with(0, &parameters, async |stack| {
        stack.found_root().await;
        stack.found_root().await;
        let (key, device) = (Key::generate(EcdsaP256), new_key());
        let issuing = issuing_authority(stack, &key).await;
        let leaf = leaf_below(&issuing, &key, &device);
        let before = stored(&import(stack, "early", &[&leaf], &device).await, stack).await;
        let est = async |tag: &str| {
            let headers = [("if-none-match", tag)];
            stack.api.send_with(&headers, Method::GET, "/.well-known/est/cacerts", None).await
        };
        let tag = est("").await.headers["etag"].to_str().unwrap().to_owned();
        assert_eq!(est(&tag).await.status, 304);
        stack.found_root().await;

        let rows = stack.api.get("/signingCertificate/details").await.response();
        let pem = |row: usize, name: &str| Certificate::from_pem(rows[row][name].as_str().unwrap()).unwrap();
        let roots = [pem(2, "certificate"), pem(1, "certificate"), pem(0, "certificate")];
        let (second, third) = ((1, roots[1].subject_dn()), (0, roots[2].subject_dn()));
        let link = |(row, subject): (usize, &str)| {
            let link = pem(row, "newWithOld");
            assert_eq!(link.subject_dn(), subject);
            link
        };
        let (down, up) = ([link(second), link(third)], [pem(1, "oldWithNew"), pem(0, "oldWithNew")]);
        assert_eq!(rows[1]["issuingAuthorities"][0]["id"], "2.1");
        assert_eq!(rows[1]["issuingAuthorities"][0]["certificate"], issuing.pem());
        assert!(rows[0].get("issuingAuthorities").is_none());
        assert_eq!(before, [issuing.clone(), down[0].clone()]);

        // The root that was activated since is in the chain.
        let given = retrieved(stack, "early").await;
        let expected = [&leaf, &issuing, &up[1], &down[1], &down[0], &roots[1]];
        assert_eq!(given.iter().collect::<Vec<_>>(), expected);
        let sent: Vec<&Certificate> = given.iter().skip(1).collect();
        for root in &roots {
            openssl::verify(&[root], &leaf, &sent, OffsetDateTime::now_utc()).unwrap();
        }
        for (name, sent) in [
            ("alone", vec![&leaf]),
            ("issuing", vec![&leaf, &issuing]),
            ("root", vec![&leaf, &issuing, &roots[1]]),
            ("links", vec![&roots[0], &down[0], &issuing, &leaf]),
            ("file", given.iter().collect()),
        ] {
            let chain = stored(&import(stack, name, &sent, &device).await, stack).await;
            assert_eq!(chain, given[1..5], "{name}");
            assert_eq!(retrieved(stack, name).await, given, "{name}");
        }

        let answer = est(&tag).await;
        assert_eq!((answer.status.as_u16(), answer.raw().lines().count()), (200, 1));
        let der = STANDARD.decode(answer.raw()).unwrap();
        let all = roots.iter().chain(&down).chain(&up).chain([&issuing]);
        let all: BTreeSet<&[u8]> = all.map(Certificate::der).collect();
        // In the order of DER's sets.
        let places: Vec<_> =
            all.iter().map(|one| der.windows(one.len()).position(|part| part == *one).unwrap()).collect();
        assert!(places.is_sorted(), "{places:?}");
        let length: usize = all.iter().map(|one| one.len()).sum();
        assert!((length..length + 100).contains(&der.len()), "nothing else is in it");

        let mut record = stack.ledger.issuing(IssuingId { generation: 2, number: 1 }).await.unwrap().unwrap();
        record.state = IssuingState::Revoked;
        stack.ledger.commit(Change { issuing: vec![&record], ..Change::default() }).await.unwrap();
        refused(&import(stack, "late", &[&leaf], &device).await, 400, "SCM.2036");
        let (short, whole) = (vec![&leaf, &issuing], vec![&leaf, &issuing, &roots[1]]);
        for sent in [short, whole, given.iter().collect()] {
            refused(&import(stack, "late", &sent, &device).await, 400, "SCM.2104");
        }
        let der = STANDARD.decode(est("").await.raw()).unwrap();
        assert!(!der.windows(issuing.der().len()).any(|part| part == issuing.der()));
    })
    .await;
}
