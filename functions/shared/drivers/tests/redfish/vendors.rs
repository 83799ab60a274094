//! Profiles from vendors' documents: each speaks exactly the exchange that `recorded/` has for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rootcast_core::device::Profile;
use rootcast_core::job::task::ErrorClass;
use rootcast_drivers::{Identity, Progress, TrustGoal};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::fake::{Fake, Model, Reply, root};
use super::install::Device;
use super::{Attempt, install, prints, remove, request};

const VENDORS: [(Profile, &str); 3] = [
    (Profile::DellIdrac, include_str!("recorded/dell-idrac.json")),
    (Profile::HpeIlo, include_str!("recorded/hpe-ilo.json")),
    (Profile::Supermicro, include_str!("recorded/supermicro.json")),
];

/// A device that answers as recorded.
struct Recording {
    fake: Fake,
    steps: Vec<Value>,
    /// How many requests came, and what was wrong with them.
    seen: Arc<Mutex<(usize, Vec<String>)>>,
}

/// What stands for a certificate or a request in a recording, and its text.
type Texts = Vec<(&'static str, String)>;

impl Recording {
    /// `shows`: chain and key that its web server has after the step `installed`, DER.
    async fn of(recorded: &str, part: &str, texts: Texts, shows: Option<(Vec<Vec<u8>>, Vec<u8>)>) -> Self {
        let recorded: Value = serde_json::from_str(recorded).unwrap();
        assert!(recorded["source"].as_str().unwrap().contains("not seen"));
        let steps: Vec<Value> = recorded[part].as_array().unwrap().iter().map(|step| filled(step, &texts)).collect();
        let fake = Fake::start(Model::Dmtf { expand: false }).await;
        let seen = Arc::new(Mutex::new((0, Vec::new())));
        let (answers, noted) = (steps.clone(), Arc::clone(&seen));
        fake.fault(move |asked, state| {
            let mut noted = noted.lock().unwrap();
            let line = format!("{} {}", asked.method, asked.uri);
            let Some(step) = answers.get(noted.0).filter(|step| step["ask"] == line) else {
                noted.1.push(line);
                return Some(Reply::status(500));
            };
            noted.0 += 1;
            let differs =
                step["send"].as_object().into_iter().flatten().find(|(name, sent)| asked.body[*name] != **sent);
            let extra = step["without"].as_array().into_iter().flatten().filter_map(Value::as_str);
            noted.1.extend(differs.map(|(name, _)| format!("{line}: {name} is {}", asked.body[name])));
            noted.1.extend(extra.filter(|name| !asked.body[*name].is_null()).map(|name| format!("{line}: has {name}")));
            match step["then"].as_str() {
                Some("installed") => {
                    let (chain, key) = shows.clone().unwrap();
                    state.install(chain, key);
                }
                Some("restarts") => state.restart(),
                _ => {}
            }
            let headers = step["headers"].as_object().into_iter().flatten();
            let headers = headers.map(|(name, value)| {
                let name = if name == "Location" { "Location" } else { "X-Auth-Token" };
                (name, value.as_str().unwrap().to_owned())
            });
            let status = step["status"].as_u64().unwrap_or(200);
            Some(Reply::Json(u16::try_from(status).unwrap(), headers.collect(), step["answer"].clone()))
        });
        Self { fake, steps, seen }
    }

    /// Everything was said, and nothing else.
    fn is_over(&self, profile: Profile) {
        let seen = self.seen.lock().unwrap();
        assert!(seen.1.is_empty(), "{profile}: {:?}", seen.1);
        assert_eq!(seen.0, self.steps.len(), "{profile}: {}", self.steps.get(seen.0).unwrap_or(&Value::Null));
    }
}

fn filled(step: &Value, texts: &Texts) -> Value {
    match step {
        Value::String(text) => texts.iter().fold(text.clone(), |text, (name, with)| text.replace(name, with)).into(),
        Value::Array(items) => items.iter().map(|item| filled(item, texts)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), filled(value, texts))).collect(),
        other => other.clone(),
    }
}

fn of(der: &[u8]) -> Certificate {
    Certificate::from_der(der).unwrap()
}

/// As iLO shows a certificate.
fn shown(certificate: &Certificate) -> Texts {
    let serial =
        certificate.serial().as_bytes().chunks(2).map(|byte| std::str::from_utf8(byte).unwrap().to_uppercase());
    vec![
        ("$SERIAL", serial.collect::<Vec<_>>().join(":")),
        ("$FROM", certificate.not_before().format(&Rfc3339).unwrap()),
        ("$UNTIL", certificate.not_after().format(&Rfc3339).unwrap()),
    ]
}

#[tokio::test]
async fn a_trust_anchor_is_installed_as_each_vendor_documents() {
    for (profile, recorded) in VENDORS {
        let (old, new) = (root("old"), root("new"));
        let texts = [shown(&of(&new)), vec![("$OLD", of(&old).pem()), ("$NEW", of(&new).pem())]].concat();
        let recording = Recording::of(recorded, "trust", texts, None).await;
        let done = Attempt::new(&recording.fake, profile, install(&[&new])).run().await;
        recording.is_over(profile);
        let Ok(Progress::Done(converged)) = done else { panic!("{profile}: {done:?}") };
        assert!(converged.changed && converged.held.anchors.contains(&Fingerprint::of(&new)), "{profile}");
    }
}

#[tokio::test]
async fn a_request_is_made_as_each_vendor_documents() {
    for (profile, recorded) in VENDORS {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let recording = Recording::of(recorded, "request", vec![("$CSR", csr.clone())], None).await;
        let mut attempt = request::Attempt::new(&recording.fake, profile);
        let text = match attempt.run().await {
            Ok(Progress::Done(text)) => text,
            Ok(Progress::Running { monitor, after }) => {
                assert_eq!(after, Duration::from_secs(60));
                let Ok(Progress::Done(ended)) = super::ask(&recording.fake, profile, &monitor).await else {
                    panic!("{profile}: not ended")
                };
                attempt.earlier = Some(&ended);
                attempt.done().await
            }
            Err(failure) => panic!("{profile}: {failure:?} {:?}", recording.seen.lock().unwrap().1),
        };
        recording.is_over(profile);
        assert_eq!(text, csr, "{profile}");
    }
}

#[tokio::test]
async fn a_certificate_is_installed_as_each_vendor_documents() {
    for (profile, recorded) in VENDORS {
        let key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let leaf = CertificateParams::new(vec!["bmc.example".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        let identity = Identity::new(of(leaf.der()), vec![of(ca.der())], None);
        let texts = [
            shown(&of(leaf.der())),
            vec![("$OLD", of(&root("old")).pem()), ("$LEAF", of(leaf.der()).pem()), ("$CSR", "-".to_owned())],
        ];
        let shows = (vec![leaf.der().to_vec()], key.serialize_der());
        let recording = Recording::of(recorded, "install", texts.concat(), Some(shows)).await;
        if profile.restarts_for_certificate() {
            recording.fake.restarts(Duration::ZERO, Duration::from_secs(24 * 3600));
        }
        let mut device = Device::new(&recording.fake, profile);
        device.limit = Duration::from_secs(40);
        let done = device.install(&identity, "").await;
        recording.is_over(profile);
        assert!(matches!(&done, Ok(Progress::Done(installed)) if installed.changed), "{profile}: {done:?}");
        assert_eq!(device.shown().await, identity.leaf());
    }
}

#[tokio::test]
async fn what_ilo_does_not_show_is_not_removed() {
    let (new, old) = (root("new"), root("old"));
    let texts = [shown(&of(&new)), vec![("$NEW", of(&new).pem())]].concat();
    let recording = Recording::of(VENDORS[1].1, "trust", texts, None).await;
    let goal = TrustGoal { install: vec![new], ..remove(&[&old]) };
    let failure = Attempt::new(&recording.fake, Profile::HpeIlo, goal).run().await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::Unsupported);
    assert!(failure.message.contains("Remove by hand"), "{failure:?}");
}

#[tokio::test]
async fn idrac_without_certificates_gets_its_first() {
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    let new = root("new");
    let (mut held, pem) = (Value::Null, of(&new).pem());
    fake.fault(move |asked, _| {
        if asked.is("POST", "ImportSSLCertificate") {
            held = asked.body["SSLCertificateFile"].clone();
            return Some(Reply::json(json!({})));
        }
        let export = asked.is("POST", "ExportSSLCertificate");
        export.then(|| match held.is_null() {
            true => super::fake::error(400, "There is no certificate."),
            false => Reply::json(json!({ "CertificateFile": pem })),
        })
    });
    let done = Attempt::new(&fake, Profile::DellIdrac, install(&[&new])).done().await;
    assert_eq!((done.held.anchors, done.changed), (prints(&[&new]), true));
    // An export that fails proves nothing.
    let fake = Fake::start(Model::Dmtf { expand: false }).await;
    fake.fault(|asked, _| asked.is("POST", "ExportSSLCertificate").then(|| super::fake::error(400, "Not now.")));
    let failure = Attempt::new(&fake, Profile::DellIdrac, remove(&[&new])).fails().await;
    assert_eq!(failure.class, ErrorClass::Rejected);
}
