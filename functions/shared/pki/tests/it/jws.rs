//! The signed bundle: one signature by any anchor is enough, and required.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::bundle::{
    Bundle, JwsError, LARGEST_ANCHOR, ROOTS_THAT_FIT, SignedBundle, Untimely, content_hash, fits, jws_signature,
    verify_bundle, verify_jws,
};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};
use time::Duration;

use crate::keys::{Key, TODAY};

const PAIR: [KeyAlgorithm; 2] = [KeyAlgorithm::Rsa2048, KeyAlgorithm::EcdsaP384];

fn bundle(anchors: Vec<Certificate>) -> Bundle {
    Bundle {
        version: 3,
        anchors,
        others: Vec::new(),
        withdrawn: vec![Fingerprint::of(b"an older root")],
        issued: TODAY,
        exp: Some(TODAY + Duration::days(30)),
    }
}

fn signed(bundle: &Bundle, signers: &[KeyAlgorithm]) -> SignedBundle {
    let mut signed = SignedBundle::new(bundle);
    for algorithm in signers {
        let key = Key::shared(*algorithm);
        let root = key.root(5);
        let signature = key.sign(&signed.digest(&root).unwrap());
        signed.add(&root, &signature).unwrap();
    }
    signed
}

#[test]
fn any_signing_root_verifies_the_bundle() {
    let roots: Vec<_> = KeyAlgorithm::ALL.into_iter().map(|algorithm| Key::shared(algorithm).root(5)).collect();
    let bundle = bundle(roots.clone());
    let json = signed(&bundle, &KeyAlgorithm::ALL).to_json();
    for root in &roots {
        assert_eq!(verify_jws(&json, std::slice::from_ref(root)).unwrap(), bundle);
    }
    let stranger = Key::generate(KeyAlgorithm::EcdsaP384).root(5);
    assert!(matches!(verify_jws(&json, &[stranger]), Err(JwsError::Untrusted)));
    assert!(matches!(verify_jws(&json, &[]), Err(JwsError::Untrusted)));
}

#[test]
fn the_payload_is_the_documented_one() {
    let root = Key::shared(KeyAlgorithm::EcdsaP384).root(5);
    let bundle = bundle(vec![root.clone()]);
    let payload: Value = serde_json::from_slice(&bundle.payload()).unwrap();
    assert_eq!(payload, serde_json::to_value(&bundle).unwrap());
    assert_eq!(payload["version"], 3);
    assert_eq!(payload["issued"], "2026-06-01T12:00:00Z");
    assert_eq!(payload["sha256"], bundle.sha256().to_string());
    assert_eq!(payload["anchors"][0], String::from(root.clone()));

    let json: Value = serde_json::from_str(&signed(&bundle, &[KeyAlgorithm::EcdsaP384]).to_json()).unwrap();
    let protected = json["signatures"][0]["protected"].as_str().unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(protected).unwrap()).unwrap();
    let x5t = URL_SAFE_NO_PAD.encode(root.fingerprint().as_bytes());
    assert_eq!(header, json!({"alg": "ES384", "kid": x5t, "x5t#S256": x5t}));
}

#[test]
fn an_inconsistent_bundle_is_refused() {
    let mut forged = serde_json::to_value(bundle(vec![Key::shared(KeyAlgorithm::EcdsaP384).root(5)])).unwrap();
    forged["sha256"] = json!(Fingerprint::of(b"another").to_string());
    assert!(serde_json::from_value::<Bundle>(forged).is_err());
}

#[test]
fn the_content_hash_does_not_depend_on_order_or_repetition() {
    let [a, b] = [Fingerprint::of(b"a"), Fingerprint::of(b"b")];
    assert_eq!(content_hash([a, b].into_iter()), content_hash([b, a, b].into_iter()));
    assert_ne!(content_hash([a].into_iter()), content_hash([a, b].into_iter()));
    assert_eq!(content_hash(std::iter::empty()), Fingerprint::of(b""));
}

/// The header, not the payload, is changed and signed with the right key. The key's algorithm still decides.
#[test]
fn the_algorithm_in_a_header_is_never_trusted() {
    let key = Key::shared(KeyAlgorithm::EcdsaP256);
    let root = key.root(5);
    let payload = URL_SAFE_NO_PAD.encode(bundle(vec![root.clone()]).payload());
    let x5t = URL_SAFE_NO_PAD.encode(root.fingerprint().as_bytes());
    let verify = |header: Value| {
        let protected = URL_SAFE_NO_PAD.encode(header.to_string());
        let digest = key.algorithm.digest(format!("{protected}.{payload}").as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(jws_signature(key.algorithm, &key.sign(&digest)).unwrap());
        let jws = json!({"payload": payload, "signatures": [{"protected": protected, "signature": signature}]});
        verify_jws(jws.to_string(), std::slice::from_ref(&root))
    };
    verify(json!({"alg": "ES256", "x5t#S256": x5t})).unwrap();
    for alg in ["none", "HS256", "ES384", "RS256"] {
        assert!(matches!(verify(json!({"alg": alg, "x5t#S256": x5t})), Err(JwsError::Algorithm { .. })), "{alg}");
    }
    let critical = json!({"alg": "ES256", "x5t#S256": x5t, "crit": ["b64"], "b64": false});
    assert!(matches!(verify(critical), Err(JwsError::Critical)));
    assert!(matches!(verify(json!({"alg": "ES256"})), Err(JwsError::Header(_))));
}

#[test]
fn a_signature_by_another_key_is_not_added() {
    let (key, other) = (Key::shared(KeyAlgorithm::EcdsaP384), Key::generate(KeyAlgorithm::EcdsaP384));
    let root = key.root(5);
    let mut signed = SignedBundle::new(&bundle(vec![root.clone()]));
    let signature = other.sign(&signed.digest(&root).unwrap());
    assert!(matches!(signed.add(&root, &signature), Err(JwsError::Verify(_))));
}

proptest! {
    #[test]
    fn a_flipped_bit_is_refused(bit: prop::sample::Index, field in 0..3_usize) {
        let [old, new] = PAIR.map(|algorithm| Key::shared(algorithm).root(5));
        let jws = signed(&bundle(vec![old, new.clone()]), &[KeyAlgorithm::EcdsaP384]);
        let mut json: Value = serde_json::from_str(&jws.to_json()).unwrap();
        let part = match field {
            0 => &mut json["payload"],
            1 => &mut json["signatures"][0]["protected"],
            _ => &mut json["signatures"][0]["signature"],
        };
        let mut bytes = URL_SAFE_NO_PAD.decode(part.as_str().unwrap()).unwrap();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        *part = json!(URL_SAFE_NO_PAD.encode(bytes));
        prop_assert!(verify_jws(json.to_string(), &[new]).is_err());
    }

    #[test]
    fn one_good_signature_among_bad_ones_is_enough(garbage: Vec<u8>, first: bool) {
        let [old, new] = PAIR.map(|algorithm| Key::shared(algorithm).root(5));
        let bundle = bundle(vec![old.clone(), new.clone()]);
        let mut json: Value = serde_json::from_str(&signed(&bundle, &PAIR).to_json()).unwrap();
        json["signatures"][usize::from(first)]["signature"] = json!(URL_SAFE_NO_PAD.encode(garbage));
        prop_assert_eq!(verify_jws(json.to_string(), &[old, new]).unwrap(), bundle);
    }

    #[test]
    fn ecdsa_signatures_are_converted_exactly(r in scalar(), s in scalar()) {
        let der = sequence(&[integer(&r), integer(&s)].concat());
        let padded = |n: &[u8]| [vec![0; 48 - n.len()], n.to_vec()].concat();
        prop_assert_eq!(jws_signature(KeyAlgorithm::EcdsaP384, &der).unwrap(), [padded(&r), padded(&s)].concat());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic_the_conversion(bytes: Vec<u8>) {
        let _ = jws_signature(KeyAlgorithm::EcdsaP256, &bytes);
    }
}

#[test]
fn ecdsa_signatures_in_loose_der_are_refused() {
    let good = [2, 1, 1, 2, 1, 1];
    assert!(jws_signature(KeyAlgorithm::EcdsaP256, &sequence(&good)).is_ok());
    let long = integer(&[1; 33]);
    for (why, body) in [
        ("a zero", vec![2, 1, 0, 2, 1, 1]),
        ("a negative integer", vec![2, 1, 0x80, 2, 1, 1]),
        ("a needless zero byte", vec![2, 2, 0, 1, 2, 1, 1]),
        ("an empty integer", vec![2, 0, 2, 1, 1]),
        ("a third integer", [good.as_slice(), &[2, 1, 1]].concat()),
        ("one integer", vec![2, 1, 1]),
        ("too large", [long.as_slice(), &[2, 1, 1]].concat()),
    ] {
        assert!(jws_signature(KeyAlgorithm::EcdsaP256, &sequence(&body)).is_err(), "{why}");
    }
    assert!(jws_signature(KeyAlgorithm::EcdsaP256, &[sequence(&good), vec![0]].concat()).is_err(), "bytes follow");
    assert!(
        jws_signature(KeyAlgorithm::EcdsaP256, &[[0x30, 0x81, 6].as_slice(), &good].concat()).is_err(),
        "a long length"
    );
}

/// A positive integer of up to 48 bytes, without leading zeros.
fn scalar() -> impl Strategy<Value = Vec<u8>> {
    (1..=255_u8, proptest::collection::vec(any::<u8>(), 0..48)).prop_map(|(first, rest)| [vec![first], rest].concat())
}

fn integer(magnitude: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if magnitude[0] >= 0x80 { &[0] } else { &[] };
    [&[2, u8::try_from(magnitude.len() + sign.len()).unwrap()], sign, magnitude].concat()
}

fn sequence(body: &[u8]) -> Vec<u8> {
    [&[0x30, u8::try_from(body.len()).unwrap()], body].concat()
}

/// The record contains the bundle and its signed form; DynamoDB takes 400 KB.
#[test]
fn a_bundle_that_fits_by_count_fits_by_bytes() {
    let key = Key::shared(KeyAlgorithm::Rsa4096);
    let roots: Vec<_> = (0..3).map(|generation| key.root(generation + 5)).collect();
    let of = |withdrawn: usize| {
        let withdrawn = (0..withdrawn).map(|number| Fingerprint::of(&number.to_be_bytes())).collect();
        let bundle = Bundle { withdrawn, ..bundle(roots.clone()) };
        let mut signed = SignedBundle::new(&bundle);
        for root in &roots {
            signed.add(root, &key.sign(&signed.digest(root).unwrap())).unwrap();
        }
        serde_json::to_string(&bundle).unwrap().len() + signed.to_json().len()
    };
    let sizes = || roots.iter().map(|root| root.der().len());
    // The most withdrawn roots that still fit.
    let most = (0..).find(|withdrawn| !fits(sizes(), withdrawn + 1)).unwrap();
    assert!((350 << 10..398 << 10).contains(&of(most)), "{most}: {}", of(most));
    assert!(roots.iter().all(|root| root.der().len() < LARGEST_ANCHOR));
    assert!(fits((0..ROOTS_THAT_FIT).map(|_| LARGEST_ANCHOR), 0));
    assert!(!fits((0..2 * ROOTS_THAT_FIT).map(|_| LARGEST_ANCHOR), 0));
}

/// The signature is good each time.
#[test]
fn a_frozen_or_replayed_bundle_is_refused() {
    let root = Key::shared(KeyAlgorithm::EcdsaP384).root(5);
    let current = bundle(vec![root.clone()]);
    let end = current.exp.unwrap();
    let check = |bundle: &Bundle, now, seen: Option<&Bundle>| {
        let json = signed(bundle, &[KeyAlgorithm::EcdsaP384]).to_json();
        match verify_bundle(json, std::slice::from_ref(&root), now, seen.map(Bundle::seen)) {
            Ok(accepted) => {
                assert_eq!(accepted, *bundle);
                Ok(())
            }
            Err(JwsError::Untimely(why)) => Err(why),
            Err(other) => panic!("{other}"),
        }
    };
    let version = current.version;
    let older = Bundle { version: 2, ..current.clone() };
    let other = Bundle { withdrawn: Vec::new(), ..current.clone() };
    let again = Bundle { issued: end, exp: Some(end + Duration::days(30)), ..current.clone() };
    let next = Bundle { version: 4, withdrawn: Vec::new(), ..current.clone() };
    let undated = Bundle { exp: None, ..current.clone() };
    for (bundle, now, seen, expected) in [
        (&current, TODAY, None, Ok(())),
        (&current, end - Duration::SECOND, Some(&current), Ok(())),
        (&again, TODAY, Some(&current), Ok(())),
        (&current, TODAY, Some(&again), Ok(())),
        (&next, TODAY, Some(&current), Ok(())),
        (&current, end, None, Err(Untimely::Expired { version, at: end })),
        (&older, TODAY, Some(&current), Err(Untimely::Older { version: 2, seen: 3 })),
        (&older, end, Some(&current), Err(Untimely::Older { version: 2, seen: 3 })),
        (&other, TODAY, Some(&current), Err(Untimely::Differs { version })),
        (&undated, TODAY, None, Err(Untimely::Undated { version })),
    ] {
        assert_eq!(check(bundle, now, seen), expected, "{bundle:?} at {now}");
    }
}

#[test]
fn the_end_is_a_numeric_date_that_the_signature_covers() {
    let bundle = bundle(Vec::new());
    let payload: Value = serde_json::from_slice(&bundle.payload()).unwrap();
    assert_eq!(payload["exp"], (TODAY + Duration::days(30)).unix_timestamp());
    let back: Bundle = serde_json::from_value(payload.clone()).unwrap();
    assert_eq!((back.exp, back.seen()), (bundle.exp, bundle.seen()));
    for wrong in [json!("2026-06-01T12:00:00Z"), json!(i64::MAX), json!(1.5)] {
        let mut payload = payload.clone();
        payload["exp"] = wrong;
        assert!(serde_json::from_value::<Bundle>(payload.clone()).is_err(), "{payload}");
    }
}
