//! Texts that one key signed, and what is no such text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::bundle::JwsError;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::notary::{NotaryKey, open};

use crate::keys::Key;

fn signed(key: &Key, payload: &[u8]) -> String {
    let public = NotaryKey::from_spki(&key.spki_der).unwrap();
    let unsigned = public.sign(payload);
    let signature = key.sign(&unsigned.digest());
    unsigned.complete(&signature).unwrap()
}

#[test]
fn a_signed_text_names_its_key() {
    let key = Key::generate(KeyAlgorithm::EcdsaP256);
    let found = open(&signed(&key, b"heads")).unwrap();
    assert_eq!((found.key, found.payload), (Fingerprint::of(&key.spki_der), b"heads".to_vec()));
}

#[test]
fn only_p256_keys_sign_texts() {
    for algorithm in [KeyAlgorithm::EcdsaP384, KeyAlgorithm::Rsa2048] {
        assert!(NotaryKey::from_spki(&Key::shared(algorithm).spki_der).is_err());
    }
    let spki = &Key::shared(KeyAlgorithm::EcdsaP256).spki_der;
    for wrong in [&spki[..90], &[spki.as_slice(), &[0]].concat(), &spki[1..]] {
        assert!(NotaryKey::from_spki(wrong).is_err());
    }
}

#[test]
fn a_signature_by_another_key_is_not_added() {
    let [key, other] = [(); 2].map(|()| Key::generate(KeyAlgorithm::EcdsaP256));
    let public = NotaryKey::from_spki(&key.spki_der).unwrap();
    let unsigned = public.sign(b"heads");
    let signature = other.sign(&unsigned.digest());
    assert!(matches!(unsigned.complete(&signature), Err(JwsError::Verify(_))));
}

#[test]
fn any_changed_byte_is_refused() {
    let key = Key::shared(KeyAlgorithm::EcdsaP256);
    let jws = signed(key, b"heads");
    for at in 0..jws.len() {
        for byte in [b'A', b'B', b'.', b'='] {
            let mut changed = jws.clone().into_bytes();
            changed[at] = byte;
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed == jws || open(&changed).is_err(), "{at}: {changed}");
        }
    }
    let [header, payload, signature] = jws.split('.').collect::<Vec<_>>().try_into().unwrap();
    let said = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    for other in
        [said.replace("ES256", "none"), said.replace("{\"alg", "{ \"alg"), said.replacen('{', "{\"crit\":[],", 1)]
    {
        let other = URL_SAFE_NO_PAD.encode(other);
        assert!(matches!(open(&format!("{other}.{payload}.{signature}")), Err(JwsError::Compact)));
    }
    for wrong in [String::new(), format!("{header}.{payload}"), format!("{jws}.{payload}"), format!("{jws}\n")] {
        assert!(open(&wrong).is_err(), "{wrong}");
    }
}
