//! Names, specs and the two phases: properties that hold for any input.

use proptest::prelude::*;
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::certificate::{Certificate, split_pem_bundle};
use rootcast_pki::name::{InvalidName, Subject};
use rootcast_pki::root::{IssueError, LinkKind, LinkSpec, RootSpec, Serial, prepare_link, prepare_root};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::keys::Key;

/// RFC 4514 text with every byte escaped, independent of the escaping under test.
fn escaped(attribute: &str, value: &str) -> String {
    let bytes: String = value.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    format!("{attribute}={bytes}")
}

fn text(limit: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>().prop_filter("printable", |c| !c.is_control()), 1..=limit)
        .prop_map(|chars| chars.into_iter().collect())
}

fn subject() -> impl Strategy<Value = (Subject, Vec<(String, String)>)> {
    let optional = |name: &'static str, limit| {
        proptest::option::of(text(limit)).prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    };
    let country = proptest::option::of("[A-Z]{2}").prop_map(|value| value.map(|value| ("C".to_owned(), value)));
    (country, optional("ST", 128), optional("L", 128), optional("O", 64), optional("OU", 64)).prop_map(
        |(c, st, l, o, ou)| {
            let values: Vec<_> = [c, st, l, o, ou].into_iter().flatten().collect();
            let text: Vec<_> = values.iter().map(|(attribute, value)| escaped(attribute, value)).collect();
            (text.join(",").parse().unwrap(), values)
        },
    )
}

prop_compose! {
    fn spec()(
        generation: u32,
        root_name in "[A-Za-z][A-Za-z0-9 äß中,+]{0,48}[A-Za-z]",
        (subject, values) in subject(),
        serial: [u8; 16],
        from in 0..4_000_000_000_i64,
        length in 1..4_000_000_000_i64,
        permitted in proptest::sample::select(vec!["", "lab.example", "10.0.0.0/8", "lab.example,10.0.0.0/8,fd12::/64"]),
        crl in proptest::sample::select(vec![None, Some("https://pki.example.com/crl/1/authorities.crl".to_owned())]),
    ) -> (RootSpec, Vec<(String, String)>) {
        let not_before = OffsetDateTime::from_unix_timestamp(from).unwrap();
        let spec = RootSpec {
            generation,
            root_name,
            subject,
            algorithm: KeyAlgorithm::EcdsaP256,
            serial: Serial::from_random(serial),
            not_before,
            not_after: not_before + Duration::seconds(length),
            permitted: permitted.parse().unwrap(),
            crl,
        };
        (spec, values)
    }
}

proptest! {
    #[test]
    fn a_subject_round_trips((subject, _) in subject()) {
        prop_assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
    }

    #[test]
    fn any_text_is_refused_or_round_trips_as_a_subject(text in ".{0,40}") {
        if let Ok(subject) = text.parse::<Subject>() {
            prop_assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
        }
    }

    #[test]
    fn a_root_has_the_contents_of_its_spec((spec, values) in spec()) {
        let key = Key::shared(KeyAlgorithm::EcdsaP256);
        let recorded: RootSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        prop_assert_eq!(&recorded, &spec);
        let prepared = prepare_root(&spec, &key.spki_der).unwrap();
        prop_assert_eq!(prepare_root(&recorded, &key.spki_der).unwrap().tbs_sha256(), prepared.tbs_sha256());

        let root = key.complete(prepared);
        prop_assert_eq!(root.serial(), spec.serial.to_string());
        prop_assert_eq!((root.not_before(), root.not_after()), (spec.not_before, spec.not_after));
        prop_assert_eq!(root.spki_der(), key.spki_der.as_slice());
        let (_, parsed) = X509Certificate::from_der(root.der()).unwrap();
        prop_assert!(parsed.tbs_certificate.serial.bits() <= 127);
        let read: Vec<_> = parsed.subject().iter_attributes().map(|each| each.as_str().unwrap().to_owned()).collect();
        let mut written: Vec<_> = values.into_iter().map(|(_, value)| value).collect();
        written.push(format!("{} G{}", spec.root_name, spec.generation));
        prop_assert_eq!(read, written);

        prop_assert_eq!(Certificate::from_pem(&root.pem()).unwrap(), root.clone());
        let json = serde_json::to_string(&root).unwrap();
        prop_assert_eq!(serde_json::from_str::<Certificate>(&json).unwrap(), root);
    }

    #[test]
    fn a_signature_with_a_flipped_bit_is_refused(bit: prop::sample::Index, rsa: bool) {
        let key = Key::shared(if rsa { KeyAlgorithm::Rsa2048 } else { KeyAlgorithm::EcdsaP384 });
        let prepared = prepare_root(&key.root_spec(5), &key.spki_der).unwrap();
        let mut signature = key.sign(&prepared.digest());
        let bit = bit.index(signature.len() * 8);
        signature[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(matches!(prepared.complete(&signature), Err(IssueError::Signature(_))));
    }

    #[test]
    fn the_certificate_parser_survives_any_changed_byte(at: prop::sample::Index, byte: u8) {
        let mut der = Key::shared(KeyAlgorithm::EcdsaP256).root(5).der().to_vec();
        let at = at.index(der.len());
        der[at] = byte;
        if let Ok(read) = Certificate::from_der(der.clone()) {
            prop_assert_eq!(read.der(), der.as_slice());
        }
    }
}

#[test]
fn a_signature_by_another_key_is_refused() {
    let (key, other) = (Key::shared(KeyAlgorithm::EcdsaP256), Key::generate(KeyAlgorithm::EcdsaP256));
    let prepared = prepare_root(&key.root_spec(5), &key.spki_der).unwrap();
    let signature = other.sign(&prepared.digest());
    assert!(matches!(prepared.complete(&signature), Err(IssueError::Signature(_))));
}

#[test]
fn an_invalid_spec_is_refused() {
    let key = Key::shared(KeyAlgorithm::EcdsaP256);
    let good = key.root_spec(5);
    let other = RootSpec { algorithm: KeyAlgorithm::EcdsaP384, ..good.clone() };
    assert!(matches!(prepare_root(&other, &key.spki_der), Err(IssueError::KeyMismatch { .. })));
    let empty = RootSpec { not_after: good.not_before, ..good.clone() };
    assert!(matches!(prepare_root(&empty, &key.spki_der), Err(IssueError::Validity)));
    let long = RootSpec { root_name: "x".repeat(62), ..good.clone() };
    assert!(matches!(prepare_root(&long, &key.spki_der), Err(IssueError::Name(InvalidName::Value { .. }))));
    let unnamed = RootSpec { root_name: " ".to_owned(), ..good };
    assert!(matches!(prepare_root(&unnamed, &key.spki_der), Err(IssueError::Name(InvalidName::Value { .. }))));
}

#[test]
fn a_link_the_wrong_way_round_is_refused() {
    let key = Key::shared(KeyAlgorithm::EcdsaP256);
    let (old, new) = (key.root(5), key.root(6));
    let spec = |kind| LinkSpec { kind, serial: Serial::from_random([1; 16]), crl: None };
    assert!(matches!(prepare_link(&spec(LinkKind::NewWithOld), &old, &new), Err(IssueError::LinkDirection)));
    assert!(matches!(prepare_link(&spec(LinkKind::OldWithNew), &new, &old), Err(IssueError::LinkDirection)));
}

#[test]
fn invalid_subjects_are_refused() {
    let parse = |text: &str| text.parse::<Subject>();
    assert_eq!(parse("C=DE,O=Example\\, Corp").unwrap().to_string(), "O=Example\\, Corp,C=DE");
    assert_eq!(parse("o = Example Corp , c = DE").unwrap().to_string(), "O=Example Corp,C=DE");
    assert_eq!(parse("").unwrap(), Subject::default());
    assert_eq!(parse("CN=x"), Err(InvalidName::Attribute("CN".to_owned())));
    assert_eq!(parse("O=a,O=b"), Err(InvalidName::Attribute("O".to_owned())));
    assert_eq!(parse("C=de"), Err(InvalidName::Country));
    assert!(matches!(parse("C=DEU"), Err(InvalidName::Value { attribute: "C", limit: 2 })));
    assert!(matches!(parse(&format!("O={}", "x".repeat(65))), Err(InvalidName::Value { attribute: "O", limit: 64 })));
    for text in
        ["O", "O=", "O=a+OU=b", "O=a,", "O=#0c0161", "O=a;OU=b", "O=\"a\"", "O=a\\", "O=a\\zz", "O=a\\0a", "O=\\ff"]
    {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn policies_and_records_name_algorithms_alike() {
    assert_eq!(KeyAlgorithm::default(), KeyAlgorithm::EcdsaP384);
    for algorithm in KeyAlgorithm::ALL {
        assert_eq!(KeyAlgorithm::from_spec_name(algorithm.spec_name()), Some(algorithm));
        let json = serde_json::to_string(&algorithm).unwrap();
        assert_eq!(serde_json::from_str::<KeyAlgorithm>(&json).unwrap(), algorithm);
    }
    assert_eq!(serde_json::to_string(&KeyAlgorithm::EcdsaP256).unwrap(), "\"ECDSA_P256\"");
    assert_eq!(KeyAlgorithm::from_spec_name("CNSA"), Some(KeyAlgorithm::Rsa3072));
    assert_eq!(KeyAlgorithm::from_spec_name("ML_DSA_44"), None);
}

#[test]
fn a_pem_text_is_parsed_completely_or_refused() {
    let key = Key::shared(KeyAlgorithm::EcdsaP256);
    let both = format!("the old one\n{}\nthe new one\n{}", key.root(5).pem(), key.root(6).pem());
    assert_eq!(split_pem_bundle(&both).unwrap(), [key.root(5), key.root(6)]);
    assert!(Certificate::from_pem(&both).is_err());
    assert!(Certificate::from_pem("").is_err());
    assert!(split_pem_bundle(&key.root(5).pem().replace("CERTIFICATE", "PRIVATE KEY")).is_err());
    let mut trailing = key.root(5).der().to_vec();
    trailing.push(0);
    assert!(Certificate::from_der(trailing).is_err());
}
