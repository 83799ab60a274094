//! How the peer is authenticated.

use rootcast_core::device::{Pin, Profile};
use rootcast_core::job::task::ErrorClass;
use rootcast_drivers::{Endpoint, Progress, observe};
use rootcast_pki::fingerprint::Fingerprint;
use rustls::version::{TLS12, TLS13};

use super::fake::{Fake, Identity, Model, Odd, root};
use super::{Attempt, install};

#[tokio::test]
async fn either_pin_suffices_over_either_tls_version() {
    for versions in [&[&TLS12], &[&TLS13]] {
        let identity = Identity::new();
        let fake = Fake::start_as(Model::OpenBmc, &identity, identity.key(), versions).await;
        let stranger = Pin::Certificate(Fingerprint::of(b"another"));
        for pin in [fake.pin, fake.key_pin] {
            let endpoint = Endpoint { address: fake.address.clone(), pins: vec![stranger, pin] };
            let outcome = Attempt::new(&fake, Profile::Openbmc, install(&[])).run_at(&endpoint).await;
            assert!(matches!(outcome, Ok(Progress::Done(_))), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_stranger() {
    let fake = Fake::start(Model::OpenBmc).await;
    let stranger = Fingerprint::of(b"another");
    for pins in [vec![], vec![Pin::Certificate(stranger)], vec![Pin::Key(stranger)]] {
        for profile in [Profile::Openbmc, Profile::LenovoXcc, Profile::Dmtf, Profile::Vmedia] {
            let endpoint = Endpoint { address: fake.address.clone(), pins: pins.clone() };
            let failure = Attempt::new(&fake, profile, install(&[&root("one")])).run_at(&endpoint).await.unwrap_err();
            assert_eq!(failure.class, ErrorClass::PinMismatch, "{failure:?}");
        }
    }
    assert!(fake.requests().is_empty());
}

#[tokio::test]
async fn the_approved_certificate_without_its_key_is_a_stranger() {
    for versions in [&[&TLS12], &[&TLS13]] {
        let (identity, thief) = (Identity::new(), Identity::new());
        let fake = Fake::start_as(Model::OpenBmc, &identity, thief.key(), versions).await;
        for pin in [fake.pin, fake.key_pin] {
            let endpoint = Endpoint { address: fake.address.clone(), pins: vec![pin] };
            let attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")]));
            let failure = attempt.run_at(&endpoint).await.unwrap_err();
            assert_eq!(failure.class, ErrorClass::PinMismatch, "{failure:?}");
            assert!(failure.message.contains("does not hold its key"), "{failure:?}");
        }
        let policy = "127.0.0.1".parse().unwrap();
        assert!(observe(&policy, &fake.address).await.is_err());
        assert!(fake.requests().is_empty());
    }
}

#[tokio::test]
async fn a_device_with_an_odd_certificate_is_managed() {
    for how in [Odd::NegativeSerial, Odd::Version1, Odd::CriticalExtension] {
        for versions in [&[&TLS12], &[&TLS13]] {
            let (identity, thief) = (Identity::odd(how), Identity::new());
            let fake = Fake::start_as(Model::OpenBmc, &identity, identity.key(), versions).await;
            let seen = observe(&"127.0.0.1".parse().unwrap(), &fake.address).await.unwrap();
            assert_eq!((Pin::Certificate(seen.certificate), Pin::Key(seen.key)), (fake.pin, fake.key_pin));
            for pin in [fake.pin, fake.key_pin] {
                let endpoint = Endpoint { address: fake.address.clone(), pins: vec![pin] };
                let outcome = Attempt::new(&fake, Profile::Openbmc, install(&[])).run_at(&endpoint).await;
                assert!(matches!(outcome, Ok(Progress::Done(_))), "{how:?}: {outcome:?}");
            }
            let fake = Fake::start_as(Model::OpenBmc, &identity, thief.key(), versions).await;
            let endpoint = Endpoint { address: fake.address.clone(), pins: vec![fake.pin] };
            let attempt = Attempt::new(&fake, Profile::Openbmc, install(&[&root("one")]));
            let failure = attempt.run_at(&endpoint).await.unwrap_err();
            assert_eq!(failure.class, ErrorClass::PinMismatch, "{how:?}: {failure:?}");
        }
    }
}

/// Every kind that an import takes for a device.
#[tokio::test]
async fn a_key_of_every_deployable_kind_is_recognised() {
    use rcgen::{
        PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    };
    for kind in
        [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ECDSA_P521_SHA512, &PKCS_ED25519, &PKCS_RSA_SHA256]
    {
        for versions in [&[&TLS12], &[&TLS13]] {
            let identity = Identity::with(rcgen::KeyPair::generate_for(kind).unwrap());
            let fake = Fake::start_as(Model::OpenBmc, &identity, identity.key(), versions).await;
            let endpoint = Endpoint { address: fake.address.clone(), pins: vec![fake.key_pin] };
            let outcome = Attempt::new(&fake, Profile::Openbmc, install(&[])).run_at(&endpoint).await;
            assert!(matches!(outcome, Ok(Progress::Done(_))), "{kind:?}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn observing_the_certificate_sends_no_request() {
    let fake = Fake::start(Model::OpenBmc).await;
    let seen = observe(&"127.0.0.1".parse().unwrap(), &fake.address).await.unwrap();
    assert_eq!(Pin::Certificate(seen.certificate), fake.pin);
    assert_eq!(Pin::Key(seen.key), fake.key_pin);
    assert_eq!(Fingerprint::of(&seen.der), seen.certificate);
    assert!(fake.requests().is_empty());
    let refused = observe(&"".parse().unwrap(), &fake.address).await.unwrap_err();
    assert_eq!(refused.class, ErrorClass::AddressRefused);
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_a_failed_handshake() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 smtp.example ESMTP\r\n").await;
        }
    });
    let failure = observe(&"127.0.0.1".parse().unwrap(), &address).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::TlsHandshake, "{failure:?}");
}
