//! KMS keys of recorded roots that were disabled or deleted.

use aws_sdk_kms::operation::create_alias::CreateAliasOutput;
use aws_sdk_kms::operation::create_key::CreateKeyOutput;
use aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput;
use aws_sdk_kms::operation::sign::SignOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyUsageType};
use aws_sdk_resourcegroupstagging::operation::get_resources::GetResourcesOutput;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use http::StatusCode;
use rootcast_core::audit::Subject;
use rootcast_core::job::{Command, Job, JobId, JobOutcome, JobState};
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Change, RootRecord};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::bundle::verify_jws;
use rootcast_vault::Vault;

use super::keys::Key;
use super::regenerator::{OPS, Regenerator, put, seconds_ago};
use super::wire::Wire;
use crate::stack::Stack;

const JOB: JobId = JobId(1);

async fn root(regenerator: &Regenerator, generation: u32) -> RootRecord {
    regenerator.ledger.root(generation).await.unwrap().unwrap()
}

async fn disable(regenerator: &Regenerator, generation: u32) {
    let key = root(regenerator, generation).await.key.unwrap();
    regenerator.kms().disable_key().key_id(key).send().await.unwrap();
}

/// An active root whose key is disabled.
async fn with_lost_root(stack: &Stack, name: &str) -> Regenerator {
    let regenerator = Regenerator::open(&stack.local, name).await;
    assert_eq!(regenerator.put(&Wire::default(), seconds_ago::<300>).await.status, StatusCode::OK);
    disable(&regenerator, 1).await;
    regenerator
}

async fn change(regenerator: &Regenerator, job: &mut Job, command: Command) {
    *job = job.clone().command(command, seconds_ago::<0>()).unwrap();
    regenerator.ledger.commit(Change { job: Some(job), ..Change::default() }).await.unwrap();
    job.revision += 1;
}

/// Checks that there is only what the new root can sign: its bundle, and one link.
async fn assert_signed_by_the_new_one_alone(regenerator: &Regenerator) {
    let authority = regenerator.ledger.authority().await.unwrap();
    assert_eq!((authority.signing, authority.running, authority.claim.clone()), (Some(2), None, None));
    let (old, new) = (root(regenerator, 1).await, root(regenerator, 2).await);
    assert_eq!((old.state, new.state), (GenerationState::Superseded, GenerationState::Signing));
    assert!(new.new_with_old.is_none_or(|link| link.certificate.is_none()), "nobody could sign it");
    let (old, new_certificate) = (old.certificate.unwrap(), new.certificate.unwrap());
    let link = new.old_with_new.unwrap().certificate.unwrap();
    link.verify_signed_by(&new_certificate).unwrap();
    assert_eq!(link.spki_der(), old.spki_der());

    let published = regenerator.ledger.bundle(authority.bundle).await.unwrap().unwrap();
    assert_eq!((published.unsigned_by.as_slice(), published.is_unsigned()), (&[1][..], false));
    assert_eq!(published.bundle.anchors.len(), 2, "devices are still to hold both");
    assert_eq!(verify_jws(&published.jws, &[new_certificate]).unwrap(), published.bundle);
    assert!(verify_jws(&published.jws, &[old]).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_old_key_does_not_prevent_a_new_root() {
    Stack::run(0, async |stack| {
        let regenerator = with_lost_root(stack, "lost-alone").await;
        let reply = regenerator.put(&Wire::default(), seconds_ago::<0>).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        assert_signed_by_the_new_one_alone(&regenerator).await;
        let acts = regenerator.ledger.audit_page(&Subject::Root(2), 0, 10).await.unwrap().lines.concat();
        assert!(acts.contains(r#""noLinkFrom":"1""#) && acts.contains(r#""unsignedBy":"1""#), "{acts}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_old_key_is_reported_without_preventing_activation() {
    Stack::run(0, async |stack| {
        let regenerator = with_lost_root(stack, "lost-job").await;
        regenerator.enrol().await;
        assert_eq!(regenerator.put(&Wire::default(), seconds_ago::<0>).await.status, StatusCode::OK);
        let job = regenerator.end_job(JOB).await;
        assert_eq!((job.outcome, job.unusable_keys), (Some(JobOutcome::Activated), [1].into()));
        assert_signed_by_the_new_one_alone(&regenerator).await;
        let acts = regenerator.ledger.audit_page(&Subject::Job(JOB), 0, 10).await.unwrap().lines.concat();
        assert!(acts.contains(r#""action":"publish""#) && acts.contains(r#""noLinkFrom":"1""#), "{acts}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_old_key_does_not_prevent_an_abort() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "lost-abort").await;
        assert_eq!(regenerator.put(&Wire::default(), seconds_ago::<300>).await.status, StatusCode::OK);
        regenerator.enrol().await;
        assert_eq!(regenerator.put(&Wire::default(), seconds_ago::<0>).await.status, StatusCode::OK);
        disable(&regenerator, 1).await;
        let mut job = regenerator.ledger.job(JOB).await.unwrap().unwrap();
        change(&regenerator, &mut job, Command::Abort).await;
        let job = regenerator.end_job(JOB).await;
        assert_eq!((job.outcome, job.unusable_keys), (Some(JobOutcome::Aborted), [1].into()));

        let authority = regenerator.ledger.authority().await.unwrap();
        let published = regenerator.ledger.bundle(authority.bundle).await.unwrap().unwrap();
        let left = root(&regenerator, 1).await.certificate.unwrap();
        assert_eq!(published.bundle.anchors, [left]);
        assert!(published.is_unsigned(), "published for the workers all the same");
        let acts = regenerator.ledger.audit_page(&Subject::Root(2), 0, 10).await.unwrap().lines.concat();
        assert!(acts.contains(r#""unsignedBy":"1""#), "{acts}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_root_whose_key_is_disabled_pauses_its_job() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "lost-new").await;
        assert_eq!(regenerator.put(&Wire::default(), seconds_ago::<300>).await.status, StatusCode::OK);
        regenerator.enrol().await;
        assert_eq!(regenerator.put(&Wire::default(), seconds_ago::<0>).await.status, StatusCode::OK);
        disable(&regenerator, 2).await;
        regenerator
            .ledger
            .delete_device(&super::regenerator::DEVICE.parse().unwrap(), OPS, seconds_ago::<0>())
            .await
            .unwrap();
        let mut job = regenerator.conduct(JOB).await;
        assert_eq!(job.state, JobState::Paused, "{job:?}");
        assert!(job.reason.contains("Enable the key") && job.reason.contains("then resume"), "{}", job.reason);
        assert_eq!(regenerator.ledger.authority().await.unwrap().signing, Some(1));

        regenerator.kms().enable_key().key_id(root(&regenerator, 2).await.key.unwrap()).send().await.unwrap();
        change(&regenerator, &mut job, Command::Resume).await;
        assert_eq!(regenerator.conduct(JOB).await.outcome, Some(JobOutcome::Activated));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_lost_before_signing_is_replaced() {
    Stack::run(0, async |stack| {
        let regenerator = Regenerator::open(&stack.local, "lost-first").await;
        // The process dies after the key is created and recorded, before its public key is read.
        let cut = super::wire::Cut::Answer(10);
        assert!(regenerator.put(&Wire::cut_at(cut), seconds_ago::<65>).await.status.is_server_error());
        disable(&regenerator, 1).await;
        let lost = root(&regenerator, 1).await;
        let reply = regenerator.put(&Wire::default(), seconds_ago::<0>).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        let made = root(&regenerator, 1).await;
        assert_eq!(made.state, GenerationState::Signing);
        assert!(made.key != lost.key && made.spec.serial != lost.spec.serial, "no number is signed with two keys");
    })
    .await;
}

/// The ARN of the first root's key, for which KMS later fails.
const OLD: &str = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000001";
const NEW: &str = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000002";

/// A KMS that creates `made`, and refuses the old key with `refusal`.
fn vault(key: &'static Key, made: &'static str, refusal: Option<(u16, &'static str)>) -> Vault {
    let create = mock!(aws_sdk_kms::Client::create_key).then_output(move || {
        let metadata = KeyMetadata::builder().key_id("k").arn(made).build().unwrap();
        CreateKeyOutput::builder().key_metadata(metadata).build()
    });
    let show = mock!(aws_sdk_kms::Client::get_public_key).then_output(move || {
        let spec = KeySpec::from(key.algorithm.kms_key_spec());
        let answer = GetPublicKeyOutput::builder().key_spec(spec).key_usage(KeyUsageType::SignVerify);
        answer.public_key(Blob::new(key.spki_der.as_slice())).build()
    });
    let sign = mock!(aws_sdk_kms::Client::sign).then_compute_output(move |request| {
        let signature = key.sign(request.message().unwrap().as_ref());
        SignOutput::builder().signature(Blob::new(signature)).build()
    });
    let mark = mock!(aws_sdk_kms::Client::create_alias).then_output(|| CreateAliasOutput::builder().build());
    let mut rules = vec![&create, &mark];
    let refused;
    if let Some((status, code)) = refusal {
        let body = Some(format!(r#"{{"__type":"{code}","message":"as KMS says"}}"#));
        let of_old = mock!(aws_sdk_kms::Client::get_public_key)
            .match_requests(|request| request.key_id() == Some(OLD))
            .sequence()
            .http_status(status, body.clone())
            .repeatedly()
            .build();
        let signing = mock!(aws_sdk_kms::Client::sign)
            .match_requests(|request| request.key_id() == Some(OLD))
            .sequence()
            .http_status(status, body)
            .repeatedly()
            .build();
        refused = [of_old, signing];
        rules.extend(&refused);
    }
    rules.extend([&show, &sign]);
    let kms = mock_client!(aws_sdk_kms, RuleMode::MatchAny, rules);
    let found = mock!(aws_sdk_resourcegroupstagging::Client::get_resources)
        .then_output(|| GetResourcesOutput::builder().build());
    Vault::new(&kms, &mock_client!(aws_sdk_resourcegroupstagging, RuleMode::MatchAny, [&found]), "mocked")
}

/// A temporary failure is retried; with a permanent one, the authority continues without the key.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_permanently_lost_key_is_skipped() {
    Stack::run(0, async |stack| {
        for (status, code, expected) in [
            (400, "DisabledException", StatusCode::OK),
            (400, "KMSInvalidStateException", StatusCode::OK),
            (400, "NotFoundException", StatusCode::OK),
            (400, "AccessDeniedException", StatusCode::SERVICE_UNAVAILABLE),
            (400, "ThrottlingException", StatusCode::SERVICE_UNAVAILABLE),
            (500, "KMSInternalException", StatusCode::SERVICE_UNAVAILABLE),
        ] {
            let regenerator = Regenerator::open(&stack.local, &format!("old-{code}")).await;
            // Both ARNs refer to the same key here; only the ARN distinguishes them.
            let key = Key::shared(KeyAlgorithm::EcdsaP384);
            let first =
                regenerate::App { clock: seconds_ago::<3600>, ..regenerator.app_with_vault(vault(key, OLD, None)) };
            assert_eq!(put(first).await.status, StatusCode::OK);
            let reply = put(regenerator.app_with_vault(vault(key, NEW, Some((status, code))))).await;
            assert_eq!(reply.status, expected, "{code}: {reply:?}");
            let authority = regenerator.ledger.authority().await.unwrap();
            let signing = if expected == StatusCode::OK { 2 } else { 1 };
            assert_eq!(authority.signing, Some(signing), "{code}");
            let published = regenerator.ledger.bundle(authority.bundle).await.unwrap().unwrap();
            assert_eq!(published.unsigned_by.is_empty(), signing == 1, "{code}");
        }
    })
    .await;
}
