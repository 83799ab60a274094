//! A device creates a key and a request, and gets the certificate for it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData, SignatureAlgorithm};
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::{Pin, Profile, Slot};
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_drivers::{Credential, Ended, Endpoint, GenerateCsr, Identity, Progress, Redfish};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::request::SigningRequest;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::fake::{Csr, Fake, Flaw, GENERATE, MONITOR, Model, PASSWORD, REPLACE, Reply, Request, USER, error, running};
use super::install::Device;

const MODELS: [(Model, Profile); 3] = [
    (Model::OpenBmc, Profile::Openbmc),
    (Model::Dmtf { expand: false }, Profile::Dmtf),
    (Model::Xcc, Profile::LenovoXcc),
];

/// The parameters of an attempt that a test sets; the others have defaults.
pub(crate) struct Attempt<'a> {
    fake: &'a Fake,
    profile: Profile,
    pub(crate) slot: Option<Slot>,
    pins: Vec<Pin>,
    key: KeyAlgorithm,
    pub(crate) earlier: Option<&'a Ended>,
    limit: Duration,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(fake: &'a Fake, profile: Profile) -> Self {
        let limit = Duration::from_secs(20);
        Self { fake, profile, slot: None, pins: vec![fake.pin], key: KeyAlgorithm::default(), earlier: None, limit }
    }

    pub(crate) async fn run(&self) -> Result<Progress<String>, Failure> {
        let parameter = json!({"username": USER, "password": PASSWORD}).to_string();
        let credential: Credential = parameter.parse().unwrap();
        let wanted = GenerateCsr {
            endpoint: &Endpoint { address: self.fake.address.clone(), pins: self.pins.clone() },
            profile: self.profile,
            slot: self.slot.as_ref(),
            credential: &credential,
            key: self.key,
            earlier: self.earlier,
            deadline: Instant::now() + self.limit,
        };
        let outcome = Redfish::new(std::sync::Arc::new("127.0.0.1".parse().unwrap())).request(&wanted).await;
        assert_eq!(self.fake.open_sessions(), 0, "a session stayed after {outcome:?}");
        outcome
    }

    pub(crate) async fn done(&self) -> String {
        match self.run().await {
            Ok(Progress::Done(text)) => text,
            other => panic!("not done: {other:?}"),
        }
    }

    async fn fails(&self) -> Failure {
        let failure = self.run().await.expect_err("a failure");
        assert_eq!(failure.stage, Some(Stage::CreateCsr), "{failure:?}");
        failure
    }
}

/// Subject, SubjectPublicKeyInfo, and whether the signature verifies, as OpenSSL reads the request.
fn read(text: &str) -> (String, Vec<u8>, bool) {
    let mut command = Command::new("openssl");
    command.args(["req", "-noout", "-verify", "-subject", "-pubkey"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (said, verdict) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let (_, key) = said.split_once("-----BEGIN PUBLIC KEY-----").unwrap_or_else(|| panic!("{verdict}"));
    let (key, rest) = key.split_once("-----END PUBLIC KEY-----").unwrap();
    let key = BASE64_STANDARD.decode(key.split_whitespace().collect::<String>()).unwrap();
    (rest.to_owned(), key, verdict.contains("verify OK"))
}

/// The public key of a request.
struct RequestKey {
    point: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl PublicKeyData for RequestKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// A certificate for the P-384 key in the request, under a new CA.
pub(crate) fn signed(request: &str) -> Identity {
    let (_, spki, _) = read(request);
    let point = spki[spki.len() - 97..].to_vec();
    let key = RequestKey { point, algorithm: &rcgen::PKCS_ECDSA_P384_SHA384 };
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let leaf = CertificateParams::new(vec!["bmc.example".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let parsed = |der: &[u8]| Certificate::from_der(der).unwrap();
    Identity::new(parsed(leaf.der()), vec![parsed(ca.der())], None)
}

fn generated(requests: &[Request]) -> Vec<&Value> {
    requests.iter().filter(|request| request.is("POST", GENERATE)).map(|request| &request.body).collect()
}

#[tokio::test]
async fn each_profile_gets_its_algorithm_names_and_creates_fresh_keys() {
    for ((model, profile), (count, algorithm, curve)) in MODELS.into_iter().zip([
        (4, "EC", "secp384r1"),
        (7, "TPM_ALG_ECDSA", "TPM_ECC_NIST_P384"),
        (7, "TPM_ALG_ECDH", "TPM_ECC_NIST_P384"),
    ]) {
        let fake = Fake::start(model).await;
        let attempt = Attempt::new(&fake, profile);
        let text = attempt.done().await;
        let (subject, first, verifies) = read(&text);
        assert!(verifies);
        assert_eq!(SigningRequest::parse(&text).unwrap().spki_der(), first, "ours reads what OpenSSL reads");
        assert!(
            subject.contains("extendedKeyUsage = ServerAuthentication"),
            "the fake is as bad as the device: {subject}"
        );
        let requests = fake.requests();
        assert_eq!(requests.len(), count, "{model:?}");
        let body = generated(&requests)[0];
        assert_eq!((&body["KeyPairAlgorithm"], &body["KeyCurveId"]), (&json!(algorithm), &json!(curve)));
        // Whatever the device's record says: of the request only the key is used.
        let said = ["CommonName", "Organization", "Country", "AlternativeNames", "KeyBitLength"];
        let said = said.map(|name| body[name].clone());
        assert_eq!(said, [json!("Unspecified"), json!("Unspecified"), json!("ZZ"), Value::Null, Value::Null]);
        assert_ne!(read(&attempt.done().await).1, first);
    }
}

#[tokio::test]
async fn other_key_types_are_created_if_the_device_supports_them() {
    for (model, profile) in MODELS {
        let fake = Fake::start(model).await;
        let mut attempt = Attempt::new(&fake, profile);
        attempt.key = KeyAlgorithm::Rsa2048;
        assert_eq!(read(&attempt.done().await).1.len(), 294, "an RSA key of 2048 bits");
        attempt.key = KeyAlgorithm::EcdsaP256;
        if model == Model::Xcc {
            assert_eq!(attempt.fails().await.class, ErrorClass::Rejected);
        } else {
            assert_eq!(read(&attempt.done().await).1.len(), 91, "an EC key on P-256");
        }
        attempt.key = KeyAlgorithm::Rsa3072;
        if model == Model::OpenBmc {
            assert_eq!(attempt.fails().await.class, ErrorClass::Rejected);
        }
    }
}

#[tokio::test]
async fn a_certificate_for_the_devices_key_is_sent_without_key() {
    for (model, profile) in MODELS {
        let fake = Fake::start(model).await;
        let identity = signed(&Attempt::new(&fake, profile).done().await);
        fake.requests();
        let mut device = Device::new(&fake, profile);
        let installed = device.done(&identity).await;
        assert_eq!((installed.shown, installed.changed), (identity.leaf(), true));
        assert_eq!((device.shown().await, device.pins.as_slice()), (identity.leaf(), [identity.pin()].as_slice()));
        let requests = fake.requests();
        assert!(generated(&requests).is_empty());
        let sent = requests.iter().find(|request| request.is("POST", REPLACE)).unwrap();
        let text = sent.body["CertificateString"].as_str().unwrap();
        let blocks = if model == Model::Xcc { 1 } else { 2 };
        assert_eq!((text.matches("BEGIN CERTIFICATE").count(), text.matches("PRIVATE KEY").count()), (blocks, 0));
        assert!(!device.done(&identity).await.changed);
    }
}

#[tokio::test]
async fn openbmc_has_one_rsa_key_for_all_requests() {
    let fake = Fake::start(Model::OpenBmc).await;
    let mut attempt = Attempt::new(&fake, Profile::Openbmc);
    attempt.key = KeyAlgorithm::Rsa2048;
    assert_eq!(read(&attempt.done().await).1, read(&attempt.done().await).1);
}

#[tokio::test]
async fn a_certificate_for_another_key_is_refused() {
    for (model, profile) in MODELS {
        let fake = Fake::start(model).await;
        let attempt = Attempt::new(&fake, profile);
        let stale = signed(&attempt.done().await);
        attempt.done().await;
        let failure = Device::new(&fake, profile).fails(&stale).await;
        assert_eq!((failure.class, failure.stage), (ErrorClass::Rejected, Some(Stage::InstallCertificate)));
    }
}

#[tokio::test]
async fn only_one_request_is_made_at_a_time() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.makes_requests(Csr { takes: Duration::from_millis(300), ..Csr::default() });
    let attempt = Attempt::new(&fake, Profile::Openbmc);
    attempt.done().await;
    let failure = attempt.fails().await;
    assert_eq!(failure.class, ErrorClass::Throttled);
    assert!(failure.class.is_retryable());
    tokio::time::sleep(Duration::from_millis(300)).await;
    attempt.done().await;
}

#[tokio::test]
async fn invalid_requests_are_returned_unchanged() {
    for (flaw, length) in [(Flaw::BrokenSignature, 120), (Flaw::WeakKey, 162)] {
        let fake = Fake::start(Model::OpenBmc).await;
        fake.makes_requests(Csr { flaw: Some(flaw), ..Csr::default() });
        let text = Attempt::new(&fake, Profile::Openbmc).done().await;
        assert!(SigningRequest::parse(&text).is_err());
        let (_, spki, verifies) = read(&text);
        assert_eq!((spki.len(), verifies), (length, flaw == Flaw::WeakKey));
    }
}

#[tokio::test]
async fn a_refusal_has_the_devices_message() {
    for (status, class) in [
        (400, ErrorClass::Rejected),
        (403, ErrorClass::Unauthorized),
        (404, ErrorClass::Unsupported),
        (500, ErrorClass::ServerError),
    ] {
        let fake = Fake::start(Model::OpenBmc).await;
        fake.fault(move |request, _| request.is("POST", GENERATE).then(|| error(status, "The entropy is used up.")));
        let failure = Attempt::new(&fake, Profile::Openbmc).fails().await;
        assert_eq!(failure.class, class);
        assert!(failure.message.contains("The entropy is used up."), "{failure:?}");
    }
}

#[tokio::test]
async fn hostile_answers_are_not_returned_as_requests() {
    for (answer, words) in [
        (json!({}), "no CSRString"),
        (json!({"CSRString": ""}), "no CSRString"),
        (json!({"CSRString": 7}), "no CSRString"),
        (json!({"CSRString": ["-----BEGIN CERTIFICATE REQUEST-----"]}), "no CSRString"),
        (json!({"CSRString": "A".repeat(16 * 1024 + 1)}), "over 16384 bytes"),
        (json!({"CSRString": "A".repeat(2 << 20)}), "longer than 1048576 bytes"),
    ] {
        let fake = Fake::start(Model::OpenBmc).await;
        fake.fault(move |request, _| request.is("POST", GENERATE).then(|| Reply::json(answer.clone())));
        let failure = Attempt::new(&fake, Profile::Openbmc).fails().await;
        assert_eq!(failure.class, ErrorClass::Unsupported);
        assert!(failure.message.contains(words), "{failure:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_request_is_quoted() {
    for (model, profile, advises) in
        [(Model::Dmtf { expand: false }, Profile::Dmtf, true), (Model::Xcc, Profile::LenovoXcc, false)]
    {
        let fake = Fake::start(model).await;
        fake.fault(|request, _| {
            let words = "A key is being made. Ask again in ten minutes.";
            let said = json!([{"MessageId": "iLO.2.14.GeneratingCertificate", "Message": words}]);
            let body = json!({"error": {"@Message.ExtendedInfo": said}});
            request.is("POST", GENERATE).then(|| Reply::json(body))
        });
        let failure = Attempt::new(&fake, profile).fails().await;
        assert_eq!(failure.class, ErrorClass::Unsupported);
        for words in ["no CSRString", "Ask again in ten minutes."] {
            assert!(failure.message.contains(words), "{failure:?}");
        }
        assert_eq!(failure.message.contains("import a certificate with its private key"), advises, "{failure:?}");
    }
}

#[tokio::test]
async fn a_device_that_still_makes_its_key_gets_time() {
    for (headers, wait) in [(Vec::new(), Some(120)), (vec![("Retry-After", "10".to_owned())], Some(10))] {
        let fake = Fake::start(Model::Dmtf { expand: false }).await;
        fake.fault(move |request, _| {
            let body = json!({"error": {"message": "Not finished yet, come back in some minutes."}});
            request.is("POST", GENERATE).then(|| Reply::Json(503, headers.clone(), body))
        });
        let failure = Attempt::new(&fake, Profile::Dmtf).fails().await;
        assert_eq!((failure.class, failure.wait), (ErrorClass::Throttled, wait));
        assert!(failure.message.contains("come back in some minutes"), "{failure:?}");
    }
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    fake.fault(|request, _| request.is("POST", GENERATE).then_some(Reply::Hang));
    let mut attempt = Attempt::new(&fake, Profile::Dmtf);
    attempt.limit = Duration::from_secs(2);
    let failure = attempt.fails().await;
    assert_eq!((failure.class, failure.wait), (ErrorClass::Timeout, Some(120)));
}

#[tokio::test]
async fn the_action_must_be_on_the_device_itself() {
    let own = "/redfish/v1/CertificateService/Actions/Oem/Generate";
    for (target, class) in [
        (json!(own), None),
        (Value::Null, None),
        (json!("https://evil.example/redfish/v1/x"), Some(ErrorClass::Unsupported)),
        (json!("/redfish/../admin"), Some(ErrorClass::Unsupported)),
    ] {
        let fake = Fake::start(Model::Dmtf { expand: false }).await;
        let (named, moved) = (target.clone(), target == own);
        fake.fault(move |request, state| {
            if request.is("POST", own) {
                return Some(state.answer(&Request { uri: GENERATE.to_owned(), ..request.clone() }));
            }
            let service = json!({"Actions": {"#CertificateService.GenerateCSR": {"target": named}}});
            request.uri.ends_with("/CertificateService").then(|| Reply::json(service))
        });
        assert_eq!(Attempt::new(&fake, Profile::Dmtf).run().await.err().map(|failure| failure.class), class);
        assert_eq!(fake.requests().iter().filter(|request| request.is("POST", own)).count(), usize::from(moved));
    }
}

#[tokio::test]
async fn a_service_without_the_action_is_unsupported() {
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    fake.fault(|request, _| request.uri.contains("/CertificateService").then(|| error(404, "No such resource.")));
    assert_eq!(Attempt::new(&fake, Profile::Dmtf).fails().await.class, ErrorClass::Unsupported);
    let medium = Fake::start(Model::Vmedia { replace: true }).await;
    assert_eq!(Attempt::new(&medium, Profile::Vmedia).fails().await.class, ErrorClass::Unsupported);
    let bmc = Fake::start(Model::OpenBmc).await;
    let identity = signed(&Attempt::new(&bmc, Profile::Openbmc).done().await);
    assert_eq!(Device::new(&medium, Profile::Vmedia).fails(&identity).await.class, ErrorClass::Unsupported);
    assert!(medium.requests().is_empty());
}

#[tokio::test]
async fn nothing_is_sent_to_a_stranger() {
    let fake = Fake::start(Model::OpenBmc).await;
    let stranger = Fingerprint::of(b"another");
    for pins in [vec![], vec![Pin::Certificate(stranger)], vec![Pin::Key(stranger)]] {
        let mut attempt = Attempt::new(&fake, Profile::Openbmc);
        attempt.pins = pins;
        assert_eq!(attempt.fails().await.class, ErrorClass::PinMismatch);
    }
    assert!(fake.requests().is_empty());
}

#[tokio::test]
async fn a_long_task_is_resumed_and_returns_the_request() {
    let fake = Fake::start(Model::OpenBmc).await;
    let mut asked: Option<Request> = None;
    fake.fault(move |request, state| {
        if request.is("POST", GENERATE) {
            asked = Some(request.clone());
            return Some(running("40"));
        }
        if !request.is("GET", MONITOR) {
            return None;
        }
        let Some(begun) = asked.take() else { return Some(error(404, "No such task.")) };
        Some(state.answer(&Request { token: request.token.clone(), ..begun }))
    });
    let mut attempt = Attempt::new(&fake, Profile::Openbmc);
    let Ok(Progress::Running { monitor, after }) = attempt.run().await else { panic!("not running") };
    assert_eq!(after, Duration::from_secs(40));
    let first = super::ended(&fake, &monitor).await;
    attempt.earlier = Some(&first);
    fake.requests();
    assert!(read(&attempt.done().await).2);
    assert!(generated(&fake.requests()).is_empty(), "asked twice");
    let forgotten = super::ended(&fake, &monitor).await;
    attempt.earlier = Some(&forgotten);
    assert_eq!(attempt.fails().await.class, ErrorClass::Unsupported);
}

#[tokio::test]
async fn an_attempt_on_a_hanging_device_ends_before_the_deadline() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, _| request.is("POST", GENERATE).then_some(Reply::Hang));
    let mut attempt = Attempt::new(&fake, Profile::Openbmc);
    attempt.limit = Duration::from_secs(2);
    assert_eq!(attempt.fails().await.class, ErrorClass::Timeout);
}
