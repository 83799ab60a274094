//! Sealing with an honest KMS and with faulty ones: the SDK's mock layer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use aws_sdk_kms::Client;
use aws_sdk_kms::error::ErrorMetadata;
use aws_sdk_kms::operation::decrypt::{DecryptError, DecryptOutput};
use aws_sdk_kms::operation::generate_data_key::GenerateDataKeyOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use aws_sdk_kms::types::error::{IncorrectKeyException, InvalidCiphertextException};
use aws_smithy_mocks::{MockResponse, Rule, RuleMode, mock, mock_client};
use proptest::prelude::*;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::inventory::sealed::{SealContext, Sealed};
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_seal::{SealError, Sealer};
use tokio::runtime::Runtime;

const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

type Context = BTreeMap<String, String>;
/// The data keys that KMS can decrypt: ciphertext and context, to plaintext.
type Known = Arc<Mutex<HashMap<(Vec<u8>, Context), Vec<u8>>>>;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

fn sorted(context: Option<&HashMap<String, String>>) -> Context {
    context.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn generate(known: &Known) -> Rule {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let known = Arc::clone(known);
    mock!(Client::generate_data_key)
        .match_requests(|call| call.key_id() == Some(ARN) && call.key_spec() == Some(&DataKeySpec::Aes256))
        .then_compute_output(move |call| {
            let number = MADE.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            let (plaintext, ciphertext) = (Fingerprint::of(&number).as_bytes().to_vec(), number.repeat(20));
            let context = sorted(call.encryption_context());
            known.lock().unwrap().insert((ciphertext.clone(), context), plaintext.clone());
            let made = GenerateDataKeyOutput::builder().key_id(ARN).plaintext(Blob::new(plaintext));
            made.ciphertext_blob(Blob::new(ciphertext)).build()
        })
}

fn decrypt(known: &Known) -> Rule {
    let known = Arc::clone(known);
    mock!(Client::decrypt).match_requests(|call| call.key_id() == Some(ARN)).then_compute_response(move |call| {
        let blob = call.ciphertext_blob().unwrap().as_ref().to_vec();
        match known.lock().unwrap().get(&(blob, sorted(call.encryption_context()))) {
            Some(key) => {
                MockResponse::Output(DecryptOutput::builder().key_id(ARN).plaintext(Blob::new(key.as_slice())).build())
            }
            None => {
                let error = InvalidCiphertextException::builder().meta(code("InvalidCiphertextException")).build();
                MockResponse::Error(DecryptError::InvalidCiphertextException(error))
            }
        }
    })
}

fn code(code: &str) -> ErrorMetadata {
    ErrorMetadata::builder().code(code).build()
}

fn sealer(rules: &[&Rule]) -> Sealer {
    Sealer::new(&mock_client!(aws_sdk_kms, RuleMode::MatchAny, rules), ARN)
}

/// A KMS that works correctly.
fn honest() -> Sealer {
    let known = Known::default();
    sealer(&[&generate(&known), &decrypt(&known)])
}

fn error(code: &str) -> Option<String> {
    Some(format!(r#"{{"__type":"{code}","message":"as KMS says"}}"#))
}

fn private_key(certificate: u8, spki: u8) -> SealContext {
    let certificate = CertificateId::from_random([certificate; 16]);
    SealContext::PrivateKey { certificate, spki: Fingerprint::of(&[spki]) }
}

fn access_key(id: &str) -> SealContext {
    SealContext::AccessKey { id: id.to_owned() }
}

#[tokio::test]
async fn a_secret_opens_with_its_own_context() {
    let sealer = honest();
    for plaintext in [b"".as_slice(), b"x", &[7; 10_000]] {
        let sealed = sealer.seal(&private_key(1, 1), plaintext).await.unwrap();
        assert_eq!(sealed.ciphertext.len(), plaintext.len() + 16);
        assert_eq!(sealed.nonce.len(), 12);
        assert_eq!(*sealer.open(&private_key(1, 1), &sealed).await.unwrap(), plaintext);
    }
}

#[tokio::test]
async fn kms_gets_the_secrets_context() {
    let expected = |context: Option<&HashMap<String, String>>| {
        sorted(context)
            == Context::from([
                ("rootcast:certificate".to_owned(), CertificateId::from_random([1; 16]).to_string()),
                ("rootcast:spki-sha256".to_owned(), Fingerprint::of(&[2]).to_string()),
            ])
    };
    let made = mock!(Client::generate_data_key)
        .match_requests(move |call| expected(call.encryption_context()))
        .then_output(|| {
            let made = GenerateDataKeyOutput::builder().plaintext(Blob::new([3; 32]));
            made.ciphertext_blob(Blob::new("wrapped")).build()
        });
    let opened = mock!(Client::decrypt)
        .match_requests(move |call| {
            expected(call.encryption_context()) && call.ciphertext_blob() == Some(&Blob::new("wrapped"))
        })
        .then_output(|| DecryptOutput::builder().plaintext(Blob::new([3; 32])).build());
    let sealer = sealer(&[&made, &opened]);
    let sealed = sealer.seal(&private_key(1, 2), b"key").await.unwrap();
    assert_eq!(*sealer.open(&private_key(1, 2), &sealed).await.unwrap(), b"key");
    assert_eq!((made.num_calls(), opened.num_calls()), (1, 1));
}

#[tokio::test]
async fn every_secret_has_its_own_data_key_and_nonce() {
    let sealer = honest();
    let one = sealer.seal(&access_key("AK"), b"secret").await.unwrap();
    let other = sealer.seal(&access_key("AK"), b"secret").await.unwrap();
    assert!(one.data_key != other.data_key && one.nonce != other.nonce && one.ciphertext != other.ciphertext);
}

/// As after a mistake in a key policy: only the additional data protects the secret.
#[tokio::test]
async fn a_moved_secret_stays_sealed_even_if_kms_ignores_context() {
    let made = mock!(Client::generate_data_key).then_output(|| {
        let made = GenerateDataKeyOutput::builder().plaintext(Blob::new([3; 32]));
        made.ciphertext_blob(Blob::new("wrapped")).build()
    });
    let opened = mock!(Client::decrypt).then_output(|| DecryptOutput::builder().plaintext(Blob::new([3; 32])).build());
    let sealer = sealer(&[&made, &opened]);
    let sealed = sealer.seal(&private_key(1, 1), b"key").await.unwrap();
    for other in [private_key(1, 2), private_key(2, 1), access_key("AK")] {
        assert!(matches!(sealer.open(&other, &sealed).await, Err(SealError::Foreign)));
    }
    assert!(sealer.open(&private_key(1, 1), &sealed).await.is_ok());
}

#[tokio::test]
async fn faults_and_refusals_are_distinguished() {
    for (code, status, retryable) in [
        ("ThrottlingException", 400, true),
        ("KMSInternalException", 500, true),
        ("DependencyTimeoutException", 500, true),
        ("KeyUnavailableException", 500, true),
        ("AccessDeniedException", 400, false),
        ("DisabledException", 400, false),
        ("NotFoundException", 400, false),
        ("KMSInvalidStateException", 400, false),
    ] {
        let made = mock!(Client::generate_data_key).sequence().http_status(status, error(code)).repeatedly().build();
        let failure = sealer(&[&made]).seal(&access_key("AK"), b"secret").await.unwrap_err();
        assert_eq!(failure.is_retryable(), retryable, "{failure}");
        assert!(failure.to_string().contains(code) && std::error::Error::source(&failure).is_some(), "{failure}");
        let unusable = matches!(&failure, SealError::Kms(error) if error.is_unusable() && error.key == ARN);
        assert_eq!(unusable, !retryable && code != "AccessDeniedException", "{failure}");
    }
}

#[tokio::test]
async fn a_data_key_of_another_kms_key_is_foreign() {
    let sealed = honest().seal(&access_key("AK"), b"secret").await.unwrap();
    let opened = mock!(Client::decrypt).then_error(|| {
        let error = IncorrectKeyException::builder().meta(code("IncorrectKeyException")).build();
        DecryptError::IncorrectKeyException(error)
    });
    let refused = sealer(&[&opened]).open(&access_key("AK"), &sealed).await.unwrap_err();
    assert!(matches!(refused, SealError::Foreign) && !refused.is_retryable());
}

#[tokio::test]
async fn an_answer_without_a_whole_key_seals_nothing() {
    for plaintext in [None, Some(Blob::new([3; 16])), Some(Blob::new(""))] {
        let made = mock!(Client::generate_data_key).then_output(move || {
            let made = GenerateDataKeyOutput::builder().set_plaintext(plaintext.clone());
            made.ciphertext_blob(Blob::new("wrapped")).build()
        });
        let refused = sealer(&[&made]).seal(&access_key("AK"), b"secret").await;
        assert!(matches!(refused, Err(SealError::Incomplete { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn no_secret_is_printed() {
    let sealer = honest();
    let sealed = sealer.seal(&access_key("AK"), b"the secret").await.unwrap();
    let refused = sealer.open(&access_key("BK"), &sealed).await.unwrap_err();
    let shown = format!("{sealer:?} {sealed:?} {refused:?} {refused}");
    assert_eq!(
        shown,
        format!(
            "Sealer({ARN}) Sealed(26 bytes) Foreign the secret does not belong here: it was sealed for another record \
             or under another key, or was changed"
        )
    );
}

fn contexts() -> impl Strategy<Value = SealContext> {
    prop_oneof![
        (0..4_u8, 0..4_u8).prop_map(|(certificate, spki)| private_key(certificate, spki)),
        "[A-Z0-9]{0,2}".prop_map(|id| access_key(&id)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_secret_only_opens_with_its_own_context(own in contexts(), other in contexts(), secret: Vec<u8>) {
        let sealer = honest();
        let sealed = RUNTIME.block_on(sealer.seal(&own, &secret)).unwrap();
        match RUNTIME.block_on(sealer.open(&other, &sealed)) {
            Ok(opened) => prop_assert!(own == other && *opened == secret),
            Err(error) => prop_assert!(own != other && matches!(error, SealError::Foreign), "{error}"),
        }
    }

    #[test]
    fn a_secret_with_a_flipped_bit_does_not_open(secret: Vec<u8>, part in 0..3_usize, at: prop::sample::Index, bit in 0..8_u32) {
        let sealer = honest();
        let context = private_key(1, 1);
        let mut sealed = RUNTIME.block_on(sealer.seal(&context, &secret)).unwrap();
        let Sealed { data_key, nonce, ciphertext } = &mut sealed;
        let bytes = &mut *[data_key, nonce, ciphertext][part];
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(matches!(RUNTIME.block_on(sealer.open(&context, &sealed)), Err(SealError::Foreign)));
    }

    #[test]
    fn a_truncated_secret_does_not_open(secret: Vec<u8>, part in 0..3_usize, left: prop::sample::Index) {
        let sealer = honest();
        let context = private_key(1, 1);
        let mut sealed = RUNTIME.block_on(sealer.seal(&context, &secret)).unwrap();
        let Sealed { data_key, nonce, ciphertext } = &mut sealed;
        let bytes = &mut *[data_key, nonce, ciphertext][part];
        bytes.truncate(left.index(bytes.len()));
        prop_assert!(matches!(RUNTIME.block_on(sealer.open(&context, &sealed)), Err(SealError::Foreign)));
    }
}
