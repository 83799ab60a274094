//! The vault with a KMS that throttles, fails, refuses and lies: the SDK's mock layer, since no emulator does this.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking

#[path = "../../pki/tests/it/keys.rs"]
mod keys;

use std::time::Duration;

use aws_sdk_kms::operation::cancel_key_deletion::CancelKeyDeletionOutput;
use aws_sdk_kms::operation::create_alias::{CreateAliasError, CreateAliasOutput};
use aws_sdk_kms::operation::create_key::CreateKeyOutput;
use aws_sdk_kms::operation::describe_key::DescribeKeyOutput;
use aws_sdk_kms::operation::disable_key::DisableKeyOutput;
use aws_sdk_kms::operation::enable_key::EnableKeyOutput;
use aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput;
use aws_sdk_kms::operation::schedule_key_deletion::ScheduleKeyDeletionOutput;
use aws_sdk_kms::operation::sign::SignOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::error::AlreadyExistsException;
use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyUsageType, MessageType};
use aws_sdk_resourcegroupstagging::operation::get_resources::GetResourcesOutput;
use aws_sdk_resourcegroupstagging::types::{ResourceTagMapping, Tag};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use rootcast_core::installation::InstallationId;
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::bundle::{Bundle, JwsError, SignedBundle, verify_jws};
use rootcast_pki::root::{IssueError, Serial, prepare_root};
use rootcast_vault::{KeyRole, KeyRoles, MadeKey, Purpose, Standing, TaggedKey, Vault, VaultError};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::keys::{Key, TODAY};

const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

const PURPOSE: Purpose = Purpose {
    installation: InstallationId::from_random([0x0a; 16]),
    role: KeyRole::Root,
    generation: 7,
    serial: Serial::from_random([0x43; 16]),
};

const ALIAS: &str = "alias/rootcast/fleet/43434343434343434343434343434343";

fn roles() -> KeyRoles {
    "arn:aws:iam::111122223333:role/rootcast/eu-central-1/fleet".parse().unwrap()
}

/// Every operation always answers by its own rule.
fn vault(kms: &[&Rule], tagging: &[&Rule]) -> Vault {
    let kms = mock_client!(aws_sdk_kms, RuleMode::MatchAny, kms);
    let tagging = mock_client!(aws_sdk_resourcegroupstagging, RuleMode::MatchAny, tagging);
    Vault::new(&kms, &tagging, "fleet")
}

/// KMS's error on the wire (JSON 1.1).
fn error(code: &str) -> Option<String> {
    told(code, "as KMS says")
}

fn told(code: &str, message: &str) -> Option<String> {
    Some(format!(r#"{{"__type":"{code}","message":"{message}"}}"#))
}

fn public_key(key: &'static Key) -> impl Fn() -> GetPublicKeyOutput + Send + Sync + 'static {
    || {
        GetPublicKeyOutput::builder()
            .key_spec(KeySpec::from(key.algorithm.kms_key_spec()))
            .key_usage(KeyUsageType::SignVerify)
            .public_key(Blob::new(key.spki_der.as_slice()))
            .build()
    }
}

fn signing(key: &'static Key) -> Rule {
    mock!(aws_sdk_kms::Client::sign)
        .match_requests(|request| {
            request.key_id() == Some(ARN)
                && request.message_type() == Some(&MessageType::Digest)
                && request.signing_algorithm().map(|each| each.as_str()) == Some(key.algorithm.kms_signing_algorithm())
        })
        .then_compute_output(|request| {
            let signature = key.sign(request.message().unwrap().as_ref());
            SignOutput::builder().signature(Blob::new(signature)).build()
        })
}

#[tokio::test]
async fn a_key_is_created_with_the_policy_and_tags_of_its_role() {
    for (role, tag, description) in [
        (KeyRole::Root, "root", "Root generation 7 of Rootcast stack fleet"),
        (KeyRole::Issuing, "issuing", "Issuing authority below root generation 7 of Rootcast stack fleet"),
    ] {
        let create = mock!(aws_sdk_kms::Client::create_key)
            .match_requests(move |request| {
                let tags: Vec<_> = request.tags().iter().map(|tag| (tag.tag_key(), tag.tag_value())).collect();
                request.key_spec() == Some(&KeySpec::EccNistP384)
                    && request.key_usage() == Some(&KeyUsageType::SignVerify)
                    && request.description() == Some(description)
                    && request.policy() == Some(&*roles().policy(role))
                    && request.multi_region().is_none()
                    && tags
                        == [
                            ("rootcast:stack", "fleet"),
                            ("rootcast:role", tag),
                            ("rootcast:generation", "7"),
                            ("rootcast:installation", "0a".repeat(16).as_str()),
                            ("rootcast:serial", "43".repeat(16).as_str()),
                        ]
            })
            .then_output(|| {
                let metadata = KeyMetadata::builder().key_id("1234abcd").arn(ARN).build().unwrap();
                CreateKeyOutput::builder().key_metadata(metadata).build()
            });
        let purpose = Purpose { role, ..PURPOSE };
        let made = vault(&[&create], &[]).create_key(&purpose, KeyAlgorithm::EcdsaP384, &roles()).await;
        assert_eq!(made.unwrap(), ARN);
    }
}

#[tokio::test]
async fn keys_of_roots_alone_are_multi_region_where_wanted() {
    for (role, expected) in [(KeyRole::Root, Some(true)), (KeyRole::Issuing, None)] {
        let create = mock!(aws_sdk_kms::Client::create_key)
            .match_requests(move |request| request.multi_region() == expected)
            .then_output(|| {
                let metadata = KeyMetadata::builder().key_id("mrk-1234abcd").arn(ARN).build().unwrap();
                CreateKeyOutput::builder().key_metadata(metadata).build()
            });
        let (purpose, roles) = (Purpose { role, ..PURPOSE }, roles().with_multi_region(true));
        let made = vault(&[&create], &[]).create_key(&purpose, KeyAlgorithm::EcdsaP384, &roles).await;
        assert_eq!(made.unwrap(), ARN);
    }
}

/// KMS receives the request, and the connection breaks before the answer: the key may exist.
#[tokio::test]
async fn creating_a_key_is_not_retried_after_a_lost_answer() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let mut requests = 0;
        let quiet = Duration::from_secs(2); // longer than the SDK's first pause before a retry, which is at most 1 s
        while let Ok(Ok((mut stream, _))) = timeout(quiet, listener.accept()).await {
            stream.read_buf(&mut Vec::with_capacity(1024)).await.unwrap();
            requests += 1;
        }
        requests
    });
    let config = aws_sdk_kms::Config::builder().with_test_defaults_v2().endpoint_url(endpoint);
    let tagging = mock_client!(aws_sdk_resourcegroupstagging, RuleMode::MatchAny, []);
    let vault = Vault::new(&aws_sdk_kms::Client::from_conf(config.build()), &tagging, "fleet");
    let failure = vault.create_key(&PURPOSE, KeyAlgorithm::EcdsaP384, &roles()).await.unwrap_err();
    assert!(failure.is_retryable(), "{failure}");
    assert_eq!(served.await.unwrap(), 1);
}

/// KMS, or an intermediary, fails after the key may have been created.
#[tokio::test]
async fn creating_a_key_is_never_retried() {
    for (status, body) in [(503, None), (500, error("KMSInternalException")), (400, error("ThrottlingException"))] {
        let create = mock!(aws_sdk_kms::Client::create_key).sequence().http_status(status, body).repeatedly().build();
        let failure = vault(&[&create], &[]).create_key(&PURPOSE, KeyAlgorithm::EcdsaP384, &roles()).await.unwrap_err();
        assert!(failure.is_retryable(), "{failure}");
        assert_eq!(create.num_calls(), 1);
    }
    let quota = mock!(aws_sdk_kms::Client::create_key)
        .sequence()
        .http_status(400, error("LimitExceededException"))
        .repeatedly()
        .build();
    let failure = vault(&[&quota], &[]).create_key(&PURPOSE, KeyAlgorithm::EcdsaP384, &roles()).await.unwrap_err();
    assert!(!failure.is_retryable(), "{failure}");
}

#[tokio::test]
async fn a_roots_keys_are_those_with_its_serial_and_installation() {
    let resources = mock!(aws_sdk_resourcegroupstagging::Client::get_resources)
        .match_requests(|request| {
            let installation = "0a".repeat(16);
            let serial = "43".repeat(16);
            let wanted = [
                ("rootcast:stack", "fleet"),
                ("rootcast:installation", installation.as_str()),
                ("rootcast:serial", serial.as_str()),
            ];
            let filters = request.tag_filters().iter();
            filters.map(|each| (each.key().unwrap(), each.values()[0].as_str())).eq(wanted)
                && request.resource_type_filters() == ["kms:key"]
        })
        .then_compute_output(|request| match request.pagination_token() {
            None | Some("") => page(&[("usable-2", &[]), ("pending", &[]), ("deleted", &[])], "more"),
            Some(_) => page(&[("usable-1", &[]), ("disabled", &[]), ("unknown", &[]), ("denied", &[])], ""),
        });
    let refuse = |key: &'static str, code| {
        // KMS documents two codes for a key that is pending deletion.
        let state = if ["pending", "deleted"].contains(&key) { "pending deletion" } else { "disabled" };
        mock!(aws_sdk_kms::Client::get_public_key)
            .match_requests(move |request| request.key_id() == Some(key))
            .sequence()
            .http_status(400, told(code, &format!("{key} is {state}.")))
            .repeatedly()
            .build()
    };
    let show = mock!(aws_sdk_kms::Client::get_public_key)
        .match_requests(|request| request.key_id().unwrap().starts_with("usable"))
        .then_output(public_key(Key::shared(KeyAlgorithm::EcdsaP256)));
    let (pending, disabled) = (refuse("pending", "KMSInvalidStateException"), refuse("disabled", "DisabledException"));
    let (unknown, denied) = (refuse("unknown", "NotFoundException"), refuse("denied", "AccessDeniedException"));
    let deleted = refuse("deleted", "DisabledException");
    let vault = vault(&[&pending, &deleted, &disabled, &unknown, &denied, &show], &[&resources]);
    let made = |arn: &str, standing| MadeKey { arn: arn.to_owned(), standing };
    assert_eq!(
        vault.keys_of(&PURPOSE).await.unwrap(),
        [
            made("usable-1", Standing::Usable),
            made("usable-2", Standing::Usable),
            made("denied", Standing::Unseen),
            made("unknown", Standing::Unseen),
            made("disabled", Standing::Disabled),
            made("deleted", Standing::Dead),
            made("pending", Standing::Dead),
        ]
    );
}

#[tokio::test]
async fn a_stacks_keys_are_listed_with_their_installation() {
    let resources = mock!(aws_sdk_resourcegroupstagging::Client::get_resources)
        .match_requests(|request| request.tag_filters().len() == 1)
        .then_output(|| {
            let installation = "0a".repeat(16);
            let ours = [("rootcast:generation", "10"), ("rootcast:installation", installation.as_str())];
            page(
                &[
                    ("ours", &ours),
                    ("older", &[("rootcast:generation", "9")]),
                    ("the template's", &[]),
                    ("a person's", &[("rootcast:generation", "x")]),
                ],
                "",
            )
        });
    let tagged = |arn: &str, generation, installation| TaggedKey { arn: arn.to_owned(), generation, installation };
    let found = vault(&[], &[&resources]).keys_of_stack().await.unwrap();
    assert_eq!(found, [tagged("older", 9, None), tagged("ours", 10, Some(PURPOSE.installation))]);
}

#[tokio::test]
async fn a_signing_key_is_named_after_its_root() {
    let name = mock!(aws_sdk_kms::Client::create_alias)
        .match_requests(|request| request.target_key_id() == Some(ARN) && request.alias_name() == Some(ALIAS))
        .then_output(|| CreateAliasOutput::builder().build());
    vault(&[&name], &[]).mark_as_signing(ARN, PURPOSE.serial).await.unwrap();
    assert_eq!(name.num_calls(), 1);
}

/// An activation that is repeated finds its own alias, also of a key that sleeps; nobody else's key passes for it.
#[tokio::test]
async fn a_root_has_one_name_for_one_key() {
    let taken = mock!(aws_sdk_kms::Client::create_alias)
        .then_error(|| CreateAliasError::AlreadyExistsException(AlreadyExistsException::builder().build()));
    let show = mock!(aws_sdk_kms::Client::describe_key)
        .match_requests(|request| request.key_id() == Some(ALIAS))
        .then_output(|| {
            let metadata = KeyMetadata::builder().key_id("1234abcd").arn(ARN).enabled(false).build().unwrap();
            DescribeKeyOutput::builder().key_metadata(metadata).build()
        });
    let vault = vault(&[&taken, &show], &[]);
    vault.mark_as_signing(ARN, PURPOSE.serial).await.unwrap();
    assert_eq!(vault.signing_key(PURPOSE.serial).await.unwrap().as_deref(), Some(ARN));
    let refused = vault.mark_as_signing("another", PURPOSE.serial).await.unwrap_err();
    assert!(matches!(refused, VaultError::Named { .. }), "{refused}");
}

/// A key of an earlier release permits no description.
#[tokio::test]
async fn a_name_is_found_although_its_description_is_denied() {
    let denied = || {
        mock!(aws_sdk_kms::Client::describe_key)
            .sequence()
            .http_status(400, error("AccessDeniedException"))
            .repeatedly()
            .build()
    };
    let show = mock!(aws_sdk_kms::Client::get_public_key)
        .match_requests(|request| request.key_id() == Some(ALIAS))
        .then_output(|| GetPublicKeyOutput::builder().key_id(ARN).build());
    let found = vault(&[&denied(), &show], &[]).signing_key(PURPOSE.serial).await.unwrap();
    assert_eq!(found.as_deref(), Some(ARN));
    let asleep = mock!(aws_sdk_kms::Client::get_public_key)
        .sequence()
        .http_status(400, told("DisabledException", "it is disabled."))
        .repeatedly()
        .build();
    let refused = vault(&[&denied(), &asleep], &[]).signing_key(PURPOSE.serial).await.unwrap_err();
    assert!(refused.is_denied(), "{refused}: one that sleeps has a name all the same");
}

fn page(keys: &[(&str, &[(&str, &str)])], next: &str) -> GetResourcesOutput {
    let mapping = |(arn, tags): &(&str, &[(&str, &str)])| {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build().unwrap()).collect();
        ResourceTagMapping::builder().resource_arn(*arn).set_tags(Some(tags)).build()
    };
    let keys = keys.iter().map(mapping).collect();
    GetResourcesOutput::builder().set_resource_tag_mapping_list(Some(keys)).pagination_token(next).build()
}

#[tokio::test]
async fn a_root_is_signed_through_throttles_and_faults() {
    let key = Key::shared(KeyAlgorithm::Rsa3072);
    let prepared = prepare_root(&key.root_spec(6), &key.spki_der).unwrap();
    let signature = key.sign(&prepared.digest());
    let sign = mock!(aws_sdk_kms::Client::sign)
        .sequence()
        .http_status(400, error("ThrottlingException"))
        .http_status(500, error("KMSInternalException"))
        .output(move || SignOutput::builder().signature(Blob::new(signature.as_slice())).build())
        .build();
    let root = vault(&[&sign], &[]).sign_prepared(ARN, prepared).await.unwrap();
    assert_eq!(root, key.root(6));
    assert_eq!(sign.num_calls(), 3);
}

#[tokio::test]
async fn persistent_faults_are_reported() {
    for (code, status, retryable) in [
        ("ThrottlingException", 400, true),
        ("KMSInternalException", 500, true),
        ("DependencyTimeoutException", 500, true),
        ("KeyUnavailableException", 500, true),
        ("AccessDeniedException", 400, false),
        ("ValidationException", 400, false),
    ] {
        let sign = mock!(aws_sdk_kms::Client::sign).sequence().http_status(status, error(code)).repeatedly().build();
        let failure = vault(&[&sign], &[]).sign(ARN, KeyAlgorithm::EcdsaP256, &[0; 32]).await.unwrap_err();
        assert_eq!(failure.is_retryable(), retryable, "{failure}");
        assert!(failure.to_string().contains(code), "{failure}");
        assert!(std::error::Error::source(&failure).is_some());
    }
}

#[tokio::test]
async fn calls_with_an_unusable_key_are_not_retried() {
    for code in ["NotFoundException", "DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException"] {
        let sign = mock!(aws_sdk_kms::Client::sign).sequence().http_status(400, error(code)).repeatedly().build();
        let failure = vault(&[&sign], &[]).sign(ARN, KeyAlgorithm::EcdsaP256, &[0; 32]).await.unwrap_err();
        assert!(matches!(&failure, VaultError::Kms(error) if error.is_unusable() && error.key == ARN), "{failure}");
        assert_eq!(failure.may_be_too_early(), code == "NotFoundException");
        assert!(!failure.is_retryable());
        assert_eq!(sign.num_calls(), 1);
    }
}

#[tokio::test]
async fn a_signature_by_another_key_is_refused() {
    let (key, other) =
        (Key::shared(KeyAlgorithm::EcdsaP384), Box::leak(Box::new(Key::generate(KeyAlgorithm::EcdsaP384))));
    let sign = signing(other);
    let vault = vault(&[&sign], &[]);
    let prepared = prepare_root(&key.root_spec(6), &key.spki_der).unwrap();
    let refused = vault.sign_prepared(ARN, prepared).await;
    assert!(matches!(refused, Err(VaultError::Issue(IssueError::Signature(_)))), "{refused:?}");

    let root = key.root(6);
    let mut signed = SignedBundle::new(&Bundle {
        version: 1,
        anchors: vec![root.clone()],
        others: vec![],
        withdrawn: vec![],
        issued: TODAY,
        exp: None,
    });
    let signature = vault.signature_of(ARN, &root, &signed).await.unwrap();
    let refused = signed.add(&root, &signature);
    assert!(matches!(refused, Err(JwsError::Verify(_))), "{refused:?}");
    assert!(verify_jws(signed.to_json(), &[root]).is_err());
}

#[tokio::test]
async fn a_bundle_is_signed_by_every_root() {
    let key = Key::shared(KeyAlgorithm::EcdsaP256);
    let root = key.root(6);
    let bundle =
        Bundle { version: 1, anchors: vec![root.clone()], others: vec![], withdrawn: vec![], issued: TODAY, exp: None };
    let mut signed = SignedBundle::new(&bundle);
    let sign = signing(key);
    let signature = vault(&[&sign], &[]).signature_of(ARN, &root, &signed).await.unwrap();
    signed.add(&root, &signature).unwrap();
    assert_eq!(verify_jws(signed.to_json(), &[root]).unwrap(), bundle);
}

#[tokio::test]
async fn a_key_is_compared_with_its_certificate_once_a_process() {
    let key = Key::shared(KeyAlgorithm::EcdsaP384);
    let show = mock!(aws_sdk_kms::Client::get_public_key).then_output(public_key(key));
    let vault = vault(&[&show], &[]);
    vault.confirm(ARN, &key.root(6)).await.unwrap();
    vault.confirm(ARN, &key.root(6)).await.unwrap();
    assert_eq!(show.num_calls(), 1);

    let other = Key::generate(KeyAlgorithm::EcdsaP384).root(6);
    assert!(matches!(vault.confirm(ARN, &other).await, Err(VaultError::Differs { .. })));
    vault.check(ARN, &key.root(6)).await.unwrap();
    assert_eq!(show.num_calls(), 3, "a check asks each time");
    let kind = Key::shared(KeyAlgorithm::Rsa2048).root(6);
    assert!(matches!(vault.confirm(ARN, &kind).await, Err(VaultError::WrongKind { .. })));
}

#[tokio::test]
async fn a_public_key_must_match_its_algorithm() {
    let key = Key::shared(KeyAlgorithm::EcdsaP384);
    type Answer = fn() -> GetPublicKeyOutput;
    let answers: [(&str, Answer); 3] = [
        ("usage", || {
            let key = Key::shared(KeyAlgorithm::EcdsaP384);
            let spki = Blob::new(key.spki_der.as_slice());
            let answer = GetPublicKeyOutput::builder().key_spec(KeySpec::EccNistP384).public_key(spki);
            answer.key_usage(KeyUsageType::KeyAgreement).build()
        }),
        ("spec", || public_key(Key::shared(KeyAlgorithm::EcdsaP256))()),
        ("key", || {
            let key = Key::shared(KeyAlgorithm::EcdsaP256);
            let spki = Blob::new(key.spki_der.as_slice());
            let answer = GetPublicKeyOutput::builder().key_spec(KeySpec::EccNistP384).public_key(spki);
            answer.key_usage(KeyUsageType::SignVerify).build()
        }),
    ];
    for (what, answer) in answers {
        let show = mock!(aws_sdk_kms::Client::get_public_key).then_output(answer);
        let refused = vault(&[&show], &[]).public_key(ARN, key.algorithm).await;
        assert!(matches!(refused, Err(VaultError::WrongKind { .. })), "{what}: {refused:?}");
    }
    let show = mock!(aws_sdk_kms::Client::get_public_key).then_output(public_key(key));
    assert_eq!(vault(&[&show], &[]).public_key(ARN, key.algorithm).await.unwrap(), key.spki_der);
}

#[tokio::test]
async fn deleting_a_key_twice_succeeds() {
    let schedule = mock!(aws_sdk_kms::Client::schedule_key_deletion)
        .match_requests(|request| request.pending_window_in_days() == Some(7))
        .sequence()
        .output(|| ScheduleKeyDeletionOutput::builder().build())
        .http_status(400, error("KMSInvalidStateException"))
        .http_status(400, error("NotFoundException"))
        .http_status(400, error("AccessDeniedException"))
        .build();
    let vault = vault(&[&schedule], &[]);
    for _ in 0..3 {
        vault.schedule_deletion(ARN, 7).await.unwrap();
    }
    assert!(vault.schedule_deletion(ARN, 7).await.is_err());
}

#[tokio::test]
async fn a_deletion_that_is_not_pending_is_cancelled_too() {
    let cancel = mock!(aws_sdk_kms::Client::cancel_key_deletion)
        .match_requests(|request| request.key_id() == Some(ARN))
        .sequence()
        .output(|| CancelKeyDeletionOutput::builder().build())
        .http_status(400, error("KMSInvalidStateException"))
        .http_status(400, error("NotFoundException"))
        .http_status(400, error("AccessDeniedException"))
        .build();
    let vault = vault(&[&cancel], &[]);
    for _ in 0..3 {
        vault.cancel_deletion(ARN).await.unwrap();
    }
    assert!(vault.cancel_deletion(ARN).await.is_err());
}

#[tokio::test]
async fn a_key_is_marked_as_retired_beside_its_other_name() {
    let name = mock!(aws_sdk_kms::Client::create_alias)
        .match_requests(|request| {
            let alias = request.alias_name().unwrap_or_default();
            alias.starts_with("alias/rootcast/") && alias.contains("/retired/") && request.target_key_id() == Some(ARN)
        })
        .sequence()
        .output(|| CreateAliasOutput::builder().build())
        .http_status(400, error("AlreadyExistsException"))
        .http_status(400, error("KMSInvalidStateException"))
        .http_status(400, error("AccessDeniedException"))
        .build();
    let vault = vault(&[&name], &[]);
    let serial = Serial::from_random([7; 16]);
    for _ in 0..3 {
        vault.mark_as_retired(ARN, serial).await.unwrap();
    }
    assert!(vault.mark_as_retired(ARN, serial).await.is_err());
    assert_ne!(vault.alias(serial), vault.retired_alias(serial));
}

#[tokio::test]
async fn a_key_is_woken_and_put_to_sleep_twice() {
    let enable = mock!(aws_sdk_kms::Client::enable_key)
        .match_requests(|request| request.key_id() == Some(ARN))
        .then_output(|| EnableKeyOutput::builder().build());
    let disable = mock!(aws_sdk_kms::Client::disable_key)
        .match_requests(|request| request.key_id() == Some(ARN))
        .then_output(|| DisableKeyOutput::builder().build());
    let vault = vault(&[&enable, &disable], &[]);
    for _ in 0..2 {
        vault.enable(ARN).await.unwrap();
        vault.disable(ARN).await.unwrap();
    }
    assert_eq!((enable.num_calls(), disable.num_calls()), (2, 2));
}

#[tokio::test]
async fn a_key_that_is_given_up_cannot_be_woken() {
    for code in ["KMSInvalidStateException", "NotFoundException"] {
        let refusal = || told(code, &format!("{ARN} is pending deletion."));
        let enable = mock!(aws_sdk_kms::Client::enable_key).sequence().http_status(400, refusal()).repeatedly().build();
        let disable =
            mock!(aws_sdk_kms::Client::disable_key).sequence().http_status(400, refusal()).repeatedly().build();
        let vault = vault(&[&enable, &disable], &[]);
        for refused in [vault.enable(ARN).await.unwrap_err(), vault.disable(ARN).await.unwrap_err()] {
            assert!(refused.is_unusable() && !refused.is_disabled(), "{refused}");
        }
    }
}

/// A key that sleeps can be woken; one that is pending deletion is lost to whoever may only do that.
#[tokio::test]
async fn a_disabled_key_is_told_from_one_pending_deletion() {
    for (code, state, is_disabled) in [
        ("DisabledException", "disabled", true),
        ("DisabledException", "pending deletion", false),
        ("DisabledException", "pending deletion (or pending replica deletion)", false),
        ("KMSInvalidStateException", "pending deletion", false),
        ("NotFoundException", "gone", false),
        ("AccessDeniedException", "disabled", false),
    ] {
        let refusal = || told(code, &format!("{ARN} is {state}."));
        let sign = mock!(aws_sdk_kms::Client::sign).sequence().http_status(400, refusal()).repeatedly().build();
        let show =
            mock!(aws_sdk_kms::Client::get_public_key).sequence().http_status(400, refusal()).repeatedly().build();
        let vault = vault(&[&sign, &show], &[]);
        let unsigned = vault.sign(ARN, KeyAlgorithm::EcdsaP256, &[0; 32]).await.unwrap_err();
        let unseen = vault.public_key(ARN, KeyAlgorithm::EcdsaP256).await.unwrap_err();
        for refused in [unsigned, unseen] {
            assert_eq!(refused.is_disabled(), is_disabled, "{refused}");
            assert_eq!(refused.is_unusable(), code != "AccessDeniedException", "{refused}");
        }
    }
}
