//! Installs a certificate on a device's own web server: with its key, or for the device's own key.

use std::time::{Duration, Instant as Clock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::{Pin, Profile, Slot};
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_drivers::{Credential, Ended, Endpoint, Identity, Installation, Installed, Progress, Redfish, observe};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::fake::{Fake, Model, PASSWORD, REPLACE, Reply, USER, error, running};

const MODELS: [(Model, Profile); 2] =
    [(Model::OpenBmc, Profile::Openbmc), (Model::Dmtf { expand: false }, Profile::Dmtf)];

/// A leaf under a new CA, with its key.
pub(crate) fn identity() -> Identity {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Example CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    with_key(&ca, &KeyPair::generate().unwrap(), None)
}

fn with_key(ca: &CertifiedIssuer<'_, KeyPair>, key: &KeyPair, other: Option<&KeyPair>) -> Identity {
    let leaf = CertificateParams::new(vec!["bmc.example".to_owned()]).unwrap().signed_by(key, ca).unwrap();
    let parsed = |der: &[u8]| Certificate::from_der(der).unwrap();
    let der = Zeroizing::new(other.unwrap_or(key).serialize_der());
    Identity::new(parsed(leaf.der()), vec![parsed(ca.der())], Some(der))
}

/// A device, and the pins of its record.
pub(crate) struct Device<'a> {
    fake: &'a Fake,
    profile: Profile,
    pub(crate) slot: Option<Slot>,
    pub(crate) pins: Vec<Pin>,
    earlier: Option<Ended>,
    stage: Stage,
    pub(crate) limit: Duration,
}

impl<'a> Device<'a> {
    pub(crate) fn new(fake: &'a Fake, profile: Profile) -> Self {
        Self {
            fake,
            profile,
            slot: None,
            pins: vec![fake.pin],
            earlier: None,
            stage: Stage::InstallCertificate,
            limit: Duration::from_secs(20),
        }
    }

    /// Like a worker: reach, pin, install, and drop the old pin after the proof. `dies_before`: the step before which
    /// the worker dies.
    pub(crate) async fn install(
        &mut self,
        identity: &Identity,
        dies_before: &str,
    ) -> Result<Progress<Installed>, Failure> {
        let endpoint = Endpoint { address: self.fake.address.clone(), pins: self.pins.clone() };
        let parameter = serde_json::json!({"username": USER, "password": PASSWORD}).to_string();
        let credential: Credential = parameter.parse().unwrap();
        let installation = Installation {
            endpoint: &endpoint,
            profile: self.profile,
            slot: self.slot.as_ref(),
            credential: &credential,
            identity,
            stage: self.stage,
            earlier: self.earlier.as_ref(),
            deadline: Instant::now() + self.limit,
        };
        let reached = Redfish::new(std::sync::Arc::new("127.0.0.1".parse().unwrap())).reach(installation).await?;
        if !self.pins.contains(&identity.pin()) {
            self.pins.push(identity.pin());
        }
        if dies_before == "replace" {
            return Err(Failure::new(ErrorClass::Lost, "died"));
        }
        let progress = reached.install(&self.pins).await?;
        if let (Progress::Done(_), false) = (&progress, dies_before == "drop") {
            self.pins.retain(|pin| identity.is_let_in_by(pin));
        }
        Ok(progress)
    }

    pub(crate) async fn done(&mut self, identity: &Identity) -> Installed {
        match self.install(identity, "").await {
            Ok(Progress::Done(installed)) => installed,
            other => panic!("not done: {other:?}"),
        }
    }

    pub(crate) async fn fails(&mut self, identity: &Identity) -> Failure {
        let failure = self.install(identity, "").await.expect_err("a failure");
        assert_eq!(self.fake.open_sessions(), 0, "a session stayed after {failure:?}");
        failure
    }

    pub(crate) async fn shown(&self) -> Fingerprint {
        observe(&"127.0.0.1".parse().unwrap(), &self.fake.address).await.unwrap().certificate
    }

    pub(crate) fn writes(&self) -> usize {
        self.fake.requests().iter().filter(|request| request.is("POST", REPLACE)).count()
    }
}

#[tokio::test]
async fn the_device_shows_the_certificate_and_keeps_one_pin() {
    for ((model, profile), requests) in MODELS.into_iter().zip([7, 10]) {
        let fake = Fake::start(model).await;
        let mut device = Device::new(&fake, profile);
        let new = identity();
        let installed = device.done(&new).await;
        assert_eq!((installed.shown, installed.changed), (new.leaf(), true));
        assert_eq!((device.shown().await, device.pins.as_slice()), (new.leaf(), [new.pin()].as_slice()));
        assert_eq!(fake.requests().len(), requests, "{model:?}");
        assert!(!device.done(&new).await.changed);
        assert_eq!(device.writes(), 0);
        let next = identity();
        assert!(device.done(&next).await.changed);
        assert_eq!((device.shown().await, fake.open_sessions()), (next.leaf(), 0));
    }
}

#[tokio::test]
async fn a_key_of_another_certificate_is_refused_and_not_quoted() {
    for (model, profile) in MODELS {
        let fake = Fake::start(model).await;
        let mut device = Device::new(&fake, profile);
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let ca = CertifiedIssuer::self_signed(CertificateParams::default(), KeyPair::generate().unwrap()).unwrap();
        let failure = device.fails(&with_key(&ca, &key, Some(&other))).await;
        assert_eq!((failure.class, failure.stage), (ErrorClass::Rejected, Some(Stage::InstallCertificate)));
        assert!(
            failure.message.contains("requested value of '[PEM]' could not be written. Look it up."),
            "{failure:?}"
        );
        assert!(device.pins.contains(&fake.pin), "the old pin stays");
    }
}

#[tokio::test]
async fn a_device_that_echoes_a_bare_key_is_not_quoted() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, _| {
        let text = request.body["CertificateString"].as_str()?;
        let (_, key) = text.split_once("PRIVATE KEY-----\n")?;
        Some(error(400, &format!("Bad: {}", &key[40..90])))
    });
    let failure = Device::new(&fake, Profile::Openbmc).fails(&identity()).await;
    assert_eq!(failure.class, ErrorClass::Rejected);
    assert!(failure.message.contains("they are not shown") && !failure.message.contains("Bad"), "{failure:?}");
}

#[tokio::test]
async fn an_accepted_certificate_must_also_be_shown() {
    for (model, profile) in MODELS {
        let fake = Fake::start(model).await;
        fake.lies();
        let mut device = Device::new(&fake, profile);
        device.limit = Duration::from_secs(3);
        let failure = device.fails(&identity()).await;
        assert_eq!((failure.class, failure.stage), (ErrorClass::NotStored, Some(Stage::CheckConfiguration)));
        assert!(device.pins.contains(&fake.pin));
    }
}

#[tokio::test]
async fn a_shown_certificate_must_also_be_listed() {
    let fake = Fake::start(Model::OpenBmc).await;
    let mut device = Device::new(&fake, Profile::Openbmc);
    let new = identity();
    device.done(&new).await;
    fake.fault(|request, _| {
        request.is("GET", "/HTTPS/Certificates").then(|| Reply::json(serde_json::json!({"Members": []})))
    });
    let failure = device.fails(&new).await;
    assert_eq!((failure.class, failure.stage), (ErrorClass::NotStored, Some(Stage::CheckConfiguration)));
}

#[tokio::test]
async fn a_restart_of_the_web_server_is_waited_for() {
    for (gone, old) in [(1500, 0), (0, 1500), (700, 900)] {
        let fake = Fake::start(Model::OpenBmc).await;
        fake.restarts(Duration::from_millis(gone), Duration::from_millis(old));
        let mut device = Device::new(&fake, Profile::Openbmc);
        let new = identity();
        assert_eq!(device.done(&new).await.shown, new.leaf());
        assert_eq!(device.writes(), 1);
    }
}

#[tokio::test]
async fn an_answer_cut_off_by_the_restart_is_a_success() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.restarts(Duration::from_millis(600), Duration::ZERO);
    fake.fault(|request, state| {
        request.is("POST", REPLACE).then(|| {
            state.answer(request);
            Reply::Broken
        })
    });
    let mut device = Device::new(&fake, Profile::Openbmc);
    assert!(device.done(&identity()).await.changed);
    assert_eq!(device.writes(), 1);
}

#[tokio::test]
async fn a_long_restart_is_finished_by_an_attempt_without_writes() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.restarts(Duration::ZERO, Duration::from_secs(3));
    let mut device = Device::new(&fake, Profile::Openbmc);
    device.limit = Duration::from_secs(2);
    let new = identity();
    let failure = device.fails(&new).await;
    assert_eq!((failure.class, failure.stage), (ErrorClass::NotShown, Some(Stage::CheckConfiguration)));
    assert!(failure.message.contains("still shows") && failure.message.contains("restart its"), "{failure:?}");
    assert!(failure.class.is_retryable() && device.writes() == 1);
    device.limit = Duration::from_secs(20);
    assert!(!device.done(&new).await.changed, "the device lists it and was only slow");
    assert_eq!((device.writes(), device.shown().await), (0, new.leaf()));
}

#[tokio::test]
async fn a_certificate_shown_after_a_restart_is_sent_once() {
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    let day = Duration::from_secs(24 * 3600);
    fake.restarts(Duration::ZERO, day);
    let mut device = Device::new(&fake, Profile::Dmtf);
    device.limit = Duration::from_secs(2);
    let new = identity();
    for writes in [1, 0, 0] {
        let failure = device.fails(&new).await;
        assert_eq!((failure.class, device.writes()), (ErrorClass::NotShown, writes), "{failure:?}");
        assert!(device.pins.contains(&fake.pin), "the old pin stays");
    }
    fake.restart_controller();
    assert!(!device.done(&new).await.changed);
    assert_eq!((device.writes(), device.pins.as_slice()), (0, [new.pin()].as_slice()));
}

#[tokio::test]
async fn a_controller_restarts_where_its_profile_needs_it() {
    let fake = Fake::start(Model::Xcc).await;
    let new = super::request::signed(&super::request::Attempt::new(&fake, Profile::Supermicro).done().await);
    fake.restarts(Duration::ZERO, Duration::from_secs(24 * 3600));
    let mut device = Device::new(&fake, Profile::Supermicro);
    device.limit = Duration::from_secs(40);
    assert_eq!(device.done(&new).await.shown, new.leaf());
    let restarts = |request: &super::fake::Request| request.is("POST", "/Managers/1/Actions/Manager.Reset");
    let requests = fake.requests();
    let asked: Vec<_> = requests.iter().filter(|request| restarts(request)).collect();
    assert_eq!((asked.len(), asked[0].body["ResetType"].as_str()), (1, Some("GracefulRestart")));
    assert_eq!(requests.iter().filter(|request| request.is("POST", REPLACE)).count(), 1);
}

#[tokio::test]
async fn a_refused_common_name_fails_at_once_in_the_devices_words() {
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    fake.fault(|request, _| {
        let said = serde_json::json!({"MessageId": "iLO.2.14.InvalidCertificateCommonName", "Message": "The common name is not this controller's."});
        let body = serde_json::json!({"error": {"@Message.ExtendedInfo": [said]}});
        request.is("POST", REPLACE).then(|| Reply::Json(400, Vec::new(), body))
    });
    let mut device = Device::new(&fake, Profile::Dmtf);
    let failure = device.fails(&identity()).await;
    assert_eq!((failure.class, failure.stage), (ErrorClass::Rejected, Some(Stage::InstallCertificate)));
    assert!(failure.message.contains("not this controller's") && !failure.class.is_retryable(), "{failure:?}");
    assert!(device.pins.contains(&fake.pin));
}

#[tokio::test]
async fn a_worker_that_dies_anywhere_does_not_lock_us_out() {
    for (model, profile) in MODELS {
        for (dies, written_again) in [("replace", 1), ("drop", 0)] {
            let fake = Fake::start(model).await;
            let mut device = Device::new(&fake, profile);
            let new = identity();
            let _ = device.install(&new, dies).await;
            assert_eq!(device.pins, [fake.pin, new.pin()]);
            fake.requests();
            device.done(&new).await;
            assert_eq!((device.writes(), device.pins.as_slice()), (written_again, [new.pin()].as_slice()));
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_before_its_record_or_to_strangers() {
    let fake = Fake::start(Model::OpenBmc).await;
    let new = identity();
    let mut device = Device::new(&fake, Profile::Openbmc);
    let stranger = Pin::Certificate(Fingerprint::of(b"another"));
    for pins in [vec![], vec![stranger], vec![stranger, new.pin()]] {
        device.pins = pins.clone();
        let failure = device.fails(&new).await;
        assert_eq!((failure.class, failure.stage), (ErrorClass::PinMismatch, Some(Stage::InstallCertificate)));
        assert_eq!(device.pins, pins, "nobody is approved by that");
    }
    let endpoint = Endpoint { address: fake.address.clone(), pins: vec![fake.pin] };
    let credential: Credential = r#"{"username":"a","password":"b"}"#.parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    let installation = Installation {
        endpoint: &endpoint,
        profile: Profile::Openbmc,
        slot: None,
        credential: &credential,
        identity: &new,
        stage: Stage::InstallCertificate,
        earlier: None,
        deadline,
    };
    let reached = Redfish::new(std::sync::Arc::new("127.0.0.1".parse().unwrap())).reach(installation).await.unwrap();
    let failure = reached.install(&[fake.pin, stranger]).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::PinMismatch);
    assert!(fake.requests().is_empty());
}

#[tokio::test]
async fn a_web_server_that_stays_down_is_written_once() {
    for (model, profile) in MODELS {
        let fake = Fake::start(model).await;
        fake.stays_away();
        let mut device = Device::new(&fake, profile);
        device.limit = Duration::from_secs(3);
        let new = identity();
        let failure = device.install(&new, "").await.unwrap_err();
        assert_eq!(failure.stage, Some(Stage::RestartApplication));
        assert!(failure.class.is_retryable() && device.writes() == 1, "{failure:?}");
        device.stage = Stage::RestartApplication;
        assert_eq!(device.install(&new, "").await.unwrap_err().stage, Some(Stage::RestartApplication));
        fake.comes_back();
        device.limit = Duration::from_secs(20);
        assert!(!device.done(&new).await.changed);
        assert_eq!((device.writes(), device.shown().await), (0, new.leaf()));
    }
}

#[tokio::test]
async fn a_device_that_takes_no_key_gets_no_request() {
    for (model, profile) in [(Model::Xcc, Profile::LenovoXcc), (Model::Vmedia { replace: true }, Profile::Vmedia)] {
        let fake = Fake::start(model).await;
        let failure = Device::new(&fake, profile).fails(&identity()).await;
        assert_eq!((failure.class, failure.stage), (ErrorClass::Unsupported, Some(Stage::InstallCertificate)));
        assert!(failure.message.contains("Profiles dmtf and openbmc take one."), "{failure:?}");
        assert!(fake.requests().is_empty());
    }
}

#[tokio::test]
async fn a_long_task_is_resumed_by_a_later_attempt() {
    let fake = Fake::start(Model::OpenBmc).await;
    let mut body = None;
    fake.fault(move |request, state| {
        if request.is("POST", REPLACE) && body.is_none() {
            body = Some(request.clone());
            return Some(running("40"));
        }
        let mut asked = request.is("GET", super::fake::MONITOR).then(|| body.take()).flatten()?;
        asked.token.clone_from(&request.token);
        state.answer(&asked);
        Some(Reply::status(204))
    });
    let mut device = Device::new(&fake, Profile::Openbmc);
    let new = identity();
    let Ok(Progress::Running { monitor, after }) = device.install(&new, "").await else { panic!("not running") };
    assert_eq!((after, fake.open_sessions(), device.writes()), (Duration::from_secs(40), 0, 1));
    device.earlier = Some(super::ended(&fake, &monitor).await);
    fake.requests();
    assert_eq!(device.done(&new).await.shown, new.leaf());
    assert_eq!(device.writes(), 0);
}

#[tokio::test]
async fn among_several_members_the_shown_one_is_replaced() {
    for (listed, expected) in [(true, None), (false, Some(ErrorClass::Unsupported))] {
        let fake = Fake::start(Model::Dmtf { expand: false }).await;
        fake.fault(move |request, state| {
            let (own, root) = (state.web_certificate(), super::fake::pem(&super::fake::root("other")));
            let foreign = serde_json::json!({"@odata.id": format!("{own}7"), "CertificateString": root});
            let mine = match listed {
                true => serde_json::json!({"@odata.id": own}),
                false => serde_json::json!({"@odata.id": own, "CertificateString": root}),
            };
            let list = request.method == "GET" && request.uri.ends_with("/HTTPS/Certificates");
            list.then(|| Reply::json(serde_json::json!({"Members": [foreign, mine]})))
        });
        let mut device = Device::new(&fake, Profile::Dmtf);
        let outcome = device.install(&identity(), "").await;
        assert_eq!(outcome.err().map(|failure| failure.class), expected);
    }
}

#[tokio::test]
async fn an_attempt_on_a_hanging_device_ends_before_the_deadline() {
    let fake = Fake::start(Model::OpenBmc).await;
    fake.fault(|request, _| request.is("POST", REPLACE).then_some(Reply::Hang));
    let mut device = Device::new(&fake, Profile::Openbmc);
    device.limit = Duration::from_secs(2);
    let start = Clock::now();
    assert_eq!(device.fails(&identity()).await.class, ErrorClass::Timeout);
    assert!(start.elapsed() < Duration::from_millis(2300), "{:?}", start.elapsed());
}
