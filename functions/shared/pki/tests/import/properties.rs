//! Properties of any input, and of every encoding of good input.

use std::sync::OnceLock;

use proptest::prelude::*;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::import::{Checked, Material, check};

use crate::corpus::certificate::{Spec, TODAY};
use crate::corpus::key::{Key, Kind, pem};
use crate::corpus::{Bundle, HOST, Input, cases, intermediate, intermediate_key, leaf_of, other_key, pki};
use crate::table::{material, told};

/// Leaf, two intermediates and a root.
fn bundle() -> &'static Bundle {
    static BUNDLE: OnceLock<Bundle> = OnceLock::new();
    BUNDLE.get_or_init(|| {
        let first = intermediate().authority_by(intermediate_key(), &pki().root);
        let second = Spec::authority("Second", other_key()).authority_by(other_key(), &first);
        let key = Key::shared(Kind::P256, 2);
        let leaf = Spec::leaf(HOST, key).signed_by(&second);
        Bundle { leaf, others: vec![second.der, first.der, pki().root.der.clone()], own_roots: vec![], key: key.pem() }
    })
}

/// Everything that is stored of an import.
#[derive(Debug, PartialEq)]
struct Record {
    leaf: Certificate,
    chain: Vec<Certificate>,
    key: Vec<u8>,
    key_algorithm: String,
    common_name: Option<String>,
    names: Vec<String>,
    warnings: usize,
}

impl From<Checked> for Record {
    fn from(checked: Checked) -> Self {
        Self {
            key: checked.key.pkcs8_der().to_vec(),
            key_algorithm: checked.key_algorithm.to_string(),
            warnings: checked.warnings.len(),
            leaf: checked.leaf,
            chain: checked.chain,
            common_name: checked.common_name,
            names: checked.names,
        }
    }
}

fn ordinary() -> Checked {
    let text = bundle().text();
    check(&Material::Pem { certificate: &text, certificate_chain: None, private_key: &bundle().key }, &[], TODAY)
        .unwrap()
}

/// Text that must not be taken for PEM (RFC 7468 §5.2: parsers ignore text outside of blocks).
fn between() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-zA-Z0-9 :=,./+-]{0,60}\n", Just("\n \t\n".to_owned())]
        .prop_filter("no header", |text| !text.contains("-----"))
}

prop_compose! {
    fn written()(
        order in Just((0..4_usize).collect::<Vec<_>>()).prop_shuffle(),
        texts in proptest::collection::vec(between(), 6),
        ending in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
        repeated: [bool; 4],
        split: bool,
        key_form in 0..3_usize,
    ) -> (String, Option<String>, String) {
        let ders: Vec<&Vec<u8>> = std::iter::once(&bundle().leaf).chain(&bundle().others).collect();
        let block = |index: &usize| {
            let text = pem("CERTIFICATE", ders[*index]);
            format!("{}{}", texts[*index], if repeated[*index] { text.repeat(2) } else { text })
        };
        let key = Key::shared(Kind::P256, 2);
        let key = match key_form {
            0 => key.pem(),
            1 => pem("EC PRIVATE KEY", &key.sec1()),
            _ => format!("{}{}", texts[4], key.pem()),
        };
        let (certificate, chain) = if split {
            let chain: String = order.iter().filter(|index| **index != 0).map(block).collect();
            (format!("{}{}{}", texts[0], pem("CERTIFICATE", ders[0]), texts[5]), Some(chain))
        } else {
            (order.iter().map(block).collect::<String>() + &texts[5], None)
        };
        let ended = |text: String| text.replace('\n', ending);
        (ended(certificate), chain.map(ended), ended(key))
    }
}

/// An ordinary bundle for each kind of key: the key, and the text of its certificates.
fn of_kind(kind: Kind) -> (&'static Key, String) {
    let key = Key::shared(kind, 2);
    static TEXTS: OnceLock<std::sync::Mutex<std::collections::HashMap<Kind, String>>> = OnceLock::new();
    let mut texts = TEXTS.get_or_init(Default::default).lock().unwrap();
    (key, texts.entry(kind).or_insert_with(|| leaf_of(key).text()).clone())
}

const KINDS: [Kind; 9] = [
    Kind::P256,
    Kind::P384,
    Kind::P521,
    Kind::Ed25519,
    Kind::Rsa2048,
    Kind::Rsa3072,
    Kind::MlDsa44,
    Kind::MlDsa65,
    Kind::MlDsa87,
];

prop_compose! {
    /// A key's DER with one byte changed, in any form of the key.
    fn changed_key()(
        kind in prop::sample::select(&KINDS[..]),
        old_form: bool,
        at: prop::sample::Index,
        change in 1..=255_u8,
    ) -> (Kind, &'static str, Vec<u8>) {
        let key = Key::shared(kind, 2);
        let (label, mut der) = match kind {
            Kind::Rsa2048 | Kind::Rsa3072 if old_form => ("RSA PRIVATE KEY", key.pkcs1()),
            Kind::P256 | Kind::P384 | Kind::P521 if old_form => ("EC PRIVATE KEY", key.sec1()),
            _ => ("PRIVATE KEY", key.pkcs8.clone()),
        };
        let at = at.index(der.len());
        der[at] ^= if label == "PRIVATE KEY" && at == version_of(&der) { 2 } else { change };
        (kind, label, der)
    }
}

/// Where PrivateKeyInfo has its version: 1 without a public key is as good as 0.
fn version_of(pkcs8: &[u8]) -> usize {
    pkcs8.windows(3).position(|part| part == [2, 1, 0]).unwrap() + 2
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_encoding_of_a_bundle_gives_the_same_record((certificate, chain, key) in written()) {
        let sent = Material::Pem { certificate: &certificate, certificate_chain: chain.as_deref(), private_key: &key };
        match check(&sent, &[], TODAY) {
            Ok(checked) => prop_assert_eq!(Record::from(checked), Record::from(ordinary())),
            Err(problems) => prop_assert!(false, "{:?}", problems),
        }
    }

    #[test]
    fn an_identifier_may_be_any_octets(
        ski in prop_oneof![proptest::collection::vec(any::<u8>(), 1..40), proptest::collection::vec(0..5_u8, 1..40)],
    ) {
        let issuer = Spec { ski: Some(ski.clone()), ..intermediate() }.authority_by(intermediate_key(), &pki().root);
        let key = Key::shared(Kind::P256, 2);
        let leaf = Spec { ski: Some(ski), ..Spec::leaf(HOST, key) }.signed_by(&issuer);
        let others = vec![issuer.der, pki().root.der.clone()];
        let bundle = Bundle { leaf, others, own_roots: vec![], key: key.pem() };
        let sent = Material::Pem { certificate: &bundle.text(), certificate_chain: None, private_key: &bundle.key };
        let checked = check(&sent, &[], TODAY);
        prop_assert!(checked.is_ok(), "{:?}", checked.err());
    }

    #[test]
    fn a_key_with_a_changed_byte_is_refused((kind, label, der) in changed_key()) {
        let (_, text) = of_kind(kind);
        let key_text = pem(label, &der);
        let sent = Material::Pem { certificate: &text, certificate_chain: None, private_key: &key_text };
        prop_assert!(check(&sent, &[], TODAY).is_err(), "{:?} as {}: {}", kind, label, hex::encode(der));
    }

    #[test]
    fn arbitrary_bytes_are_refused_with_safe_messages(
        certificate in proptest::collection::vec(any::<u8>(), 0..400),
        label in prop_oneof![Just("CERTIFICATE"), Just("PRIVATE KEY"), Just("EC PRIVATE KEY"), Just("RSA PRIVATE KEY")],
        key in proptest::collection::vec(any::<u8>(), 0..400),
        password in ".{0,10}",
    ) {
        let (text, key_text) = (pem("CERTIFICATE", &certificate), pem(label, &key));
        for sent in [
            Material::Pem { certificate: &text, certificate_chain: None, private_key: &key_text },
            Material::Pem { certificate: &key_text, certificate_chain: Some(&text), private_key: &text },
            Material::Pkcs12 { der: &certificate, password: &password },
        ] {
            refused_politely(&sent)?;
        }
    }

    #[test]
    fn arbitrary_text_is_refused_with_safe_messages(certificate in "(-----BEGIN|-----END|CERTIFICATE-----|[A-Za-z0-9+/=]{1,8}|\\PC|[\r\n \t-])*", key in ".*") {
        refused_politely(&Material::Pem { certificate: &certificate, certificate_chain: None, private_key: &key })?;
        refused_politely(&Material::Pem { certificate: &key, certificate_chain: Some(&certificate), private_key: &certificate })?;
    }

    /// One byte of a case's material is changed, which gets further into the code than arbitrary bytes.
    #[test]
    fn a_changed_byte_of_any_case_gives_safe_messages(case in 0..cases().len(), at: prop::sample::Index, byte: u8, der: bool) {
        let roots: Vec<_> =
            cases()[case].own_roots.iter().map(|der| Certificate::from_der(der.clone()).unwrap()).collect();
        let input = match (&cases()[case].input, &cases()[case].bundle) {
            (Input::Pkcs12 { der, password }, _) => {
                let mut der = der.clone();
                if !der.is_empty() {
                    let at = at.index(der.len());
                    der[at] = byte;
                }
                Input::Pkcs12 { der, password: password.clone() }
            }
            (_, Some(bundle)) if der => {
                let mut bundle = bundle.clone();
                let others = bundle.others.len();
                let which = at.index(others + 1);
                let changed = if which == others { &mut bundle.leaf } else { &mut bundle.others[which] };
                let at = at.index(changed.len());
                changed[at] = byte;
                bundle.input()
            }
            (Input::Pem { certificate, certificate_chain, private_key }, _) => {
                let mut text: Vec<char> = certificate.chars().collect();
                if !text.is_empty() {
                    let at = at.index(text.len());
                    text[at] = char::from(byte);
                }
                Input::Pem {
                    certificate: text.into_iter().collect(),
                    certificate_chain: certificate_chain.clone(),
                    private_key: private_key.clone(),
                }
            }
        };
        if let Err(problems) = check(&material(&input), &roots, TODAY) {
            for problem in &problems {
                told(&problem.to_string()).map_err(TestCaseError::fail)?;
            }
        }
    }
}

/// Every octet of each key, and every bit of short keys: none is ignored. Only version 2 is as good as version 1.
#[test]
fn every_octet_of_a_key_is_checked() {
    for kind in KINDS {
        let (key, text) = of_kind(kind);
        let flips: &[u8] = if key.pkcs8.len() < 300 { &[1, 2, 4, 8, 16, 32, 64, 128] } else { &[1] };
        let version = version_of(&key.pkcs8);
        let each = (0..key.pkcs8.len()).flat_map(|at| flips.iter().map(move |flip| (at, flip)));
        for (at, flip) in each.filter(|(at, flip)| (*at, **flip) != (version, 1)) {
            let mut der = key.pkcs8.clone();
            der[at] ^= flip;
            let key_text = pem("PRIVATE KEY", &der);
            let sent = Material::Pem { certificate: &text, certificate_chain: None, private_key: &key_text };
            assert!(check(&sent, &[], TODAY).is_err(), "{kind:?}, octet {at} of {}", hex::encode(&der));
        }
    }
}

fn refused_politely(sent: &Material<'_>) -> Result<(), TestCaseError> {
    let Err(problems) = check(sent, &[], TODAY) else { return Err(TestCaseError::fail("imported")) };
    for problem in &problems {
        told(&problem.to_string()).map_err(TestCaseError::fail)?;
    }
    Ok(())
}
