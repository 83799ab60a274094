//! Certification requests made by OpenSSL, like those of devices.

use std::path::Path;

use proptest::prelude::*;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::request::{InvalidRequest, LIMIT, SigningRequest};

use crate::openssl;

const P256: [&str; 3] = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: [&str; 3] = ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"];

fn der(pem: &str) -> Vec<u8> {
    pem::parse(pem).unwrap().into_contents()
}

fn parse_der(der: &[u8]) -> Result<SigningRequest, InvalidRequest> {
    SigningRequest::parse(&pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der)))
}

/// A subject as bmcweb writes it from the requested names and usages.
const OPENBMC: &str = "/L=Berlin/CN=bmc-1/C=DE/ST=Berlin/O=Example/OU=BMC\
    /subjectAltName=DNS:bmc-1.example/extendedKeyUsage=serverAuth/keyUsage=digitalSignature";

#[test]
fn only_the_key_of_a_request_is_used() {
    for (key, options) in [
        (&P256[..], &[][..]),
        (&P384, &["-addext", "subjectAltName=DNS:other.example"]),
        (&["rsa:2048"], &[]),
        (&["rsa:3072"], &["-sha512"]),
        (&["rsa:2048"], &["-sigopt", "rsa_padding_mode:pss"]),
    ] {
        let pem = openssl::request(key, OPENBMC, options);
        let request = SigningRequest::parse(&pem).unwrap_or_else(|error| panic!("{key:?}: {error}"));
        assert!(der(&pem).windows(request.spki_der().len()).any(|part| part == request.spki_der()));
        assert_eq!(request.key(), Fingerprint::of(request.spki_der()));

        let kept = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<SigningRequest>(&kept).unwrap(), request);
        let crlf = pem.replace('\n', "\r\n").replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST");
        assert_eq!(SigningRequest::parse(&crlf).unwrap(), request);
    }
}

#[test]
fn weak_or_unknown_algorithms_are_refused_by_name() {
    for (key, options, reason) in [
        (&["rsa:1024"][..], &[][..], "too weak: RSA of 1024 bits"),
        (&["rsa:2560"], &[], "RSA 2560; ECDSA on P-256"),
        (&["ec", "-pkeyopt", "ec_paramgen_curve:P-521"], &[], "EC P-521"),
        (&["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], &[], "the curve secp256k1"),
        (&["ed25519"], &[], "Ed25519"),
        (&["rsa:2048"], &["-sha1"], "signed with SHA-1"),
        (&["rsa:2048"], &["-md5"], "signed with MD5"),
    ] {
        let error = SigningRequest::parse(&openssl::request(key, "/CN=bmc", options)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn other_text_than_a_request_is_refused() {
    let pem = openssl::request(&P256, "/CN=bmc", &[]);
    let mut trailing = der(&pem);
    trailing.push(0);
    for (text, expected) in [
        ("", InvalidRequest::Der),
        ("a word", InvalidRequest::Text),
        (&pem.replace("-----END", "-----"), InvalidRequest::Text),
        (&pem.replace("CERTIFICATE REQUEST", "CERTIFICATE"), InvalidRequest::Label("CERTIFICATE".to_owned())),
        (&" ".repeat(LIMIT + 1), InvalidRequest::TooLong),
    ] {
        assert_eq!(SigningRequest::parse(text), Err(expected), "{text}");
    }
    assert_eq!(parse_der(&trailing), Err(InvalidRequest::Der));
}

#[test]
fn a_request_with_any_bit_flipped_is_refused() {
    let good = der(&openssl::request(&P256, OPENBMC, &[]));
    assert!(parse_der(&good).is_ok());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(parse_der(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn every_seed_is_accepted_or_refused() {
    let seeds = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/request")).unwrap();
    let taken = seeds
        .map(|seed| SigningRequest::parse(&String::from_utf8_lossy(&std::fs::read(seed.unwrap().path()).unwrap())));
    let taken: Vec<_> = taken.map(|outcome| outcome.is_ok()).collect();
    assert!(taken.contains(&true) && taken.contains(&false), "{taken:?}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic_the_request_parser(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
        static GOOD: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut near = GOOD.get_or_init(|| der(&openssl::request(&P256, OPENBMC, &[]))).clone();
        let at = at.index(near.len());
        near[at] = byte;
        near.splice(at..at, bytes.iter().copied().take(3));
        prop_assert!(parse_der(&bytes).is_err());
        _ = parse_der(&near);
        _ = SigningRequest::parse(&String::from_utf8_lossy(&bytes));
    }
}
