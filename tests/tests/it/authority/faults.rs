//! The certificate authority with a KMS that throttles, refuses and lies: the SDK's mock layer in front of keys in
//! this process, with the local cloud's tables.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex};

use aws_sdk_kms::operation::create_alias::CreateAliasOutput;
use aws_sdk_kms::operation::create_key::CreateKeyOutput;
use aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput;
use aws_sdk_kms::operation::sign::SignOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyUsageType};
use aws_sdk_resourcegroupstagging::operation::get_resources::GetResourcesOutput;
use aws_sdk_resourcegroupstagging::types::ResourceTagMapping;
use aws_smithy_mocks::{Rule, RuleBuilder, RuleMode, mock, mock_client};
use http::StatusCode;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Change, RootRecord};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_vault::Vault;

use super::keys::Key;
use super::regenerator::{Regenerator, Reply, put, seconds_ago};
use super::whole::assert_whole;
use super::wire::{Cut, Wire};
use crate::stack::{LIMIT, Stack, until};

const ARN: &str = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// KMS with one key, and the HTTP errors with which each operation fails, in order, before it succeeds.
struct Kms {
    create: Rule,
    show: Rule,
    sign: Rule,
}

impl Kms {
    fn new(shown: &'static Key, signing: &'static Key, faults: Faults) -> Self {
        // The mock does not see the request of a retried attempt, so the first attempt's digest is kept.
        let digest = Arc::new(Mutex::new(Vec::new()));
        let asked = digest.clone();
        let sign = mock!(aws_sdk_kms::Client::sign).match_requests(move |request| {
            *asked.lock().unwrap() = request.message().unwrap().as_ref().to_vec();
            true
        });
        Self {
            create: answering(mock!(aws_sdk_kms::Client::create_key), faults.create, || {
                let metadata = KeyMetadata::builder().key_id("1234abcd").arn(ARN).build().unwrap();
                CreateKeyOutput::builder().key_metadata(metadata).build()
            }),
            show: answering(mock!(aws_sdk_kms::Client::get_public_key), faults.show, || {
                let spec = KeySpec::from(shown.algorithm.kms_key_spec());
                let answer = GetPublicKeyOutput::builder().key_spec(spec).key_usage(KeyUsageType::SignVerify);
                answer.public_key(Blob::new(shown.spki_der.as_slice())).build()
            }),
            sign: answering(sign, faults.sign, move || {
                let signature = signing.sign(&digest.lock().unwrap());
                SignOutput::builder().signature(Blob::new(signature)).build()
            }),
        }
    }

    fn vault(&self) -> Vault {
        let found = mock!(aws_sdk_resourcegroupstagging::Client::get_resources).then_output(|| {
            GetResourcesOutput::builder()
                .resource_tag_mapping_list(ResourceTagMapping::builder().resource_arn(ARN).build())
                .build()
        });
        let mark = mock!(aws_sdk_kms::Client::create_alias).then_output(|| CreateAliasOutput::builder().build());
        let kms = mock_client!(aws_sdk_kms, RuleMode::MatchAny, [&self.create, &self.show, &self.sign, &mark]);
        let tagging = mock_client!(aws_sdk_resourcegroupstagging, RuleMode::MatchAny, [&found]);
        Vault::new(&kms, &tagging, "mocked")
    }

    /// The number of calls to CreateKey, GetPublicKey and Sign.
    fn calls(&self) -> [usize; 3] {
        [&self.create, &self.show, &self.sign].map(Rule::num_calls)
    }
}

type Fault = (u16, &'static str);

#[derive(Default)]
struct Faults {
    create: &'static [Fault],
    show: &'static [Fault],
    sign: &'static [Fault],
}

/// Answers with these faults in order, then always with the success.
fn answering<I, O, E>(
    rule: RuleBuilder<I, O, E>,
    faults: &[Fault],
    answer: impl Fn() -> O + Send + Sync + 'static,
) -> Rule
where
    I: fmt::Debug + Send + Sync + 'static,
    O: fmt::Debug + Send + Sync + 'static,
    E: Error + Send + Sync + 'static,
{
    let mut sequence = rule.sequence();
    for (status, code) in faults {
        sequence = sequence.http_status(*status, error(code));
    }
    sequence.output(answer).repeatedly().build()
}

/// An error on the wire (JSON 1.1).
fn error(code: &str) -> Option<String> {
    Some(format!(r#"{{"__type":"{code}","message":"as AWS says"}}"#))
}

fn p384() -> &'static Key {
    Key::shared(KeyAlgorithm::EcdsaP384)
}

async fn put_with(regenerator: &Regenerator, kms: &Kms) -> Reply {
    put(regenerator.app_with_vault(kms.vault())).await
}

async fn root(regenerator: &Regenerator, generation: u32) -> RootRecord {
    regenerator.ledger.root(generation).await.unwrap().unwrap()
}

/// No certificate, bundle or active generation, and the claim is free for the next caller.
async fn assert_nothing_published(regenerator: &Regenerator) {
    let authority = regenerator.ledger.authority().await.unwrap();
    assert_eq!((authority.signing, authority.bundle), (None, 0));
    assert!(regenerator.ledger.bundle(1).await.unwrap().is_none());
    assert!(authority.claim.unwrap().until <= seconds_ago::<0>());
    let root = root(regenerator, 1).await;
    assert_eq!((root.state, root.certificate), (GenerationState::Reserved, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_and_faults_of_kms_are_retried() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "throttled").await;
        let kms = Kms::new(
            p384(),
            p384(),
            Faults {
                sign: &[(400, "ThrottlingException"), (500, "KMSInternalException")],
                show: &[(400, "ThrottlingException")],
                ..Faults::default()
            },
        );
        let reply = put_with(&regenerator, &kms).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        assert_eq!(root(&regenerator, 1).await.state, GenerationState::Signing);
        assert_eq!(kms.calls()[2], 2 + 2, "root and bundle are signed, and two attempts failed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_throttled_kms_the_next_caller_finishes() {
    Stack::run(0, async |stack| {
        const THROTTLED: &[Fault] = &[(400, "ThrottlingException"); 3];
        let regenerator = Regenerator::open(&stack.local, "overloaded").await;
        let kms = Kms::new(p384(), p384(), Faults { sign: THROTTLED, ..Faults::default() });
        let reply = put_with(&regenerator, &kms).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
        assert_eq!(reply.headers["retry-after"], "1");
        assert!(reply.message()[2].contains("again"), "{reply:?}");
        assert!(!reply.body.to_string().contains("Throttling"), "inside detail stays inside: {reply:?}");
        assert_nothing_published(&regenerator).await;
        assert_eq!(put_with(&regenerator, &kms).await.status, StatusCode::OK, "at once: the claim was given back");
        assert_eq!(kms.calls()[0], 1, "the recorded key is used");
        assert_eq!(regenerator.ledger.authority().await.unwrap().last_generation, 1);
    })
    .await;
}

/// KMS's grants and policies reach its hosts with a delay.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_that_is_refused_at_first_is_retried() {
    Stack::run(0, async |stack| {
        for (name, faults) in [
            ("show", Faults { show: &[(400, "AccessDeniedException")], ..Faults::default() }),
            ("unknown", Faults { show: &[(400, "NotFoundException")], ..Faults::default() }),
            ("sign", Faults { sign: &[(400, "AccessDeniedException")], ..Faults::default() }),
        ] {
            let regenerator = Regenerator::open(&stack.local, &format!("denied-{name}")).await;
            let kms = Kms::new(p384(), p384(), faults);
            assert_eq!(put_with(&regenerator, &kms).await.status, StatusCode::OK, "{name}: it was waited for");
            let root = root(&regenerator, 1).await;
            assert_eq!((root.state, root.key.as_deref()), (GenerationState::Signing, Some(ARN)), "{name}");
            assert_eq!(kms.calls()[0], 1, "{name}: one key");
        }
    })
    .await;
}

/// AWS names five minutes for tags, which is longer than a caller waits.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_caller_retries_a_new_key_refused_longer() {
    Stack::run(0, async |stack| {
        const DENIED: &[Fault] = &[(400, "AccessDeniedException"); 4];
        const UNKNOWN: &[Fault] = &[(400, "NotFoundException"); 4];
        for (name, faults) in [
            ("create", Faults { create: &DENIED[..1], ..Faults::default() }),
            ("show", Faults { show: DENIED, ..Faults::default() }),
            ("unknown", Faults { show: UNKNOWN, ..Faults::default() }),
            ("sign", Faults { sign: DENIED, ..Faults::default() }),
        ] {
            let regenerator = Regenerator::open(&stack.local, &format!("long-denied-{name}")).await;
            let kms = Kms::new(p384(), p384(), faults);
            let reply = put_with(&regenerator, &kms).await;
            let expected =
                if name == "create" { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::SERVICE_UNAVAILABLE };
            assert_eq!(reply.status, expected, "{name}: {reply:?}");
            assert!(!reply.body.to_string().contains(ARN), "{name}: inside detail stays inside: {reply:?}");
            assert_nothing_published(&regenerator).await;
            assert_eq!(put_with(&regenerator, &kms).await.status, StatusCode::OK, "{name}");
            let root = root(&regenerator, 1).await;
            assert_eq!((root.state, root.key.as_deref()), (GenerationState::Signing, Some(ARN)), "{name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_another_key_publishes_nothing() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "forged").await;
        let other: &'static Key = Box::leak(Box::new(Key::generate(KeyAlgorithm::EcdsaP384)));
        let kms = Kms::new(p384(), other, Faults::default());
        let reply = put_with(&regenerator, &kms).await;
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "{reply:?}");
        assert_nothing_published(&regenerator).await;
        assert!(root(&regenerator, 1).await.tbs.is_some(), "the intent was recorded before the signature");
        let honest = Kms::new(p384(), p384(), Faults::default());
        assert_eq!(put_with(&regenerator, &honest).await.status, StatusCode::OK);
        let root = root(&regenerator, 1).await;
        root.certificate.as_ref().unwrap().verify_signed_by(root.certificate.as_ref().unwrap()).unwrap();
        assert_eq!(regenerator.ledger.authority().await.unwrap().last_generation, 1);
    })
    .await;
}

/// The check at a cold start, in the deployed function: the active root's record names another KMS key.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_does_not_match_its_certificate_signs_nothing() {
    Stack::run(0, async |stack| {
        stack.found().await;
        let mut root = stack.ledger.root(1).await.unwrap().unwrap();
        let kms = aws_sdk_kms::Client::new(&stack.local.sdk_config);
        let other =
            kms.create_key().key_spec(KeySpec::EccNistP384).key_usage(KeyUsageType::SignVerify).send().await.unwrap();
        let right = root.key.replace(other.key_metadata.unwrap().arn.unwrap());
        stack.ledger.commit(Change { roots: vec![&root], ..Change::default() }).await.unwrap();
        root.revision += 1;
        assert!(stack.crash("RegenerateFunction").await > 0, "the next call is a cold start");

        // The local cloud may still call the process that was just killed.
        let answered = async || Some(stack.api.put("/signingCertificate").await).filter(|answer| answer.status != 502);
        until("a new process answers", LIMIT, answered).await.refused(500);
        let authority = stack.ledger.authority().await.unwrap();
        assert_eq!((authority.signing, authority.bundle), (Some(1), 1), "nothing new is published");
        let half = stack.ledger.root(2).await.unwrap().unwrap();
        assert_eq!(half.state, GenerationState::Reserved);
        assert!(half.new_with_old.is_none(), "nothing was asked of the wrong key");
        let log = stack.log("RegenerateFunction").await;
        let fingerprint = root.certificate.as_ref().unwrap().fingerprint();
        let told = format!("key {} is not the key of certificate {fingerprint}", root.key.as_ref().unwrap());
        assert!(log.contains(&told), "{told:?} is not in\n{log}");

        let mended = RootRecord { key: right, ..stack.ledger.root(1).await.unwrap().unwrap() };
        stack.ledger.commit(Change { roots: vec![&mended], ..Change::default() }).await.unwrap();
        assert_eq!(stack.api.put("/signingCertificate").await.response()["jobPath"], "", "put right, it goes on");
        let authority = stack.ledger.authority().await.unwrap();
        assert_eq!((authority.signing, authority.bundle, authority.claim), (Some(2), 2, None));
    })
    .await;
}

/// The process that takes over makes a key of its own. The tag index follows KMS with a delay: it may not show yet the
/// key of the crashed process.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_index_shows_late_is_deleted() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "late-index").await;
        let tagging = index_that_lags(&regenerator, 0).await;
        let reply = put(regenerator.app_with_vault(regenerator.vault_with(&tagging))).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        assert_eq!(regenerator.keys().await.len(), 2);
        regenerator.wake(regenerator.vault_with(&tagging)).await.unwrap();
        assert_whole(&regenerator, 1, 0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_clean_up_is_done_a_minute_later() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "clean-up").await;
        let tagging = index_that_lags(&regenerator, 3).await;
        let reply = put(regenerator.app_with_vault(regenerator.vault_with(&tagging))).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        assert_eq!(regenerator.keys().await.len(), 2);
        assert!(regenerator.wake(regenerator.vault_with(&tagging)).await.is_err());
        assert_eq!(regenerator.ledger.authority().await.unwrap().unswept, [1].into());
        regenerator.wake(regenerator.vault_with(&tagging)).await.unwrap();
        assert_eq!(regenerator.ledger.authority().await.unwrap().unswept, [].into());
        assert_whole(&regenerator, 1, 0).await;
    })
    .await;
}

/// A process died right after CreateKey. The index first shows nothing, then fails this number of times, and then
/// shows the key.
async fn index_that_lags(regenerator: &Regenerator, failures: usize) -> aws_sdk_resourcegroupstagging::Client {
    let wire = Wire::cut_at(Cut::Answer(9));
    let died = regenerator.put(&wire, seconds_ago::<65>).await;
    assert!(died.status.is_server_error(), "{died:?}");
    assert_eq!(wire.sent().last().map(String::as_str), Some("CreateKey"));
    let (_, left_behind, _) = regenerator.keys().await.remove(0);
    let mut index = mock!(aws_sdk_resourcegroupstagging::Client::get_resources)
        .sequence()
        // The query for all keys of the stack.
        .output(|| GetResourcesOutput::builder().build());
    for _ in 0..failures {
        index = index.http_status(500, error("InternalServiceException"));
    }
    let key = ResourceTagMapping::builder().resource_arn(left_behind).build();
    let shown = move || GetResourcesOutput::builder().resource_tag_mapping_list(key.clone()).build();
    mock_client!(aws_sdk_resourcegroupstagging, RuleMode::MatchAny, [&index.output(shown).repeatedly().build()])
}
