//! PKCS #12 (RFC 7292), as exported by OpenSSL and as nobody should write it.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hmac, pbkdf2};

use super::certificate::Spec;
use super::der::{NULL, ber, explicit, number, octets, oid, read, read_all, sequence};
use super::key::{Key, Kind};
use super::{Case, Expected, Input, code, leaf_key, leaf_with, openssl, other_key, pki, written};

pub(crate) const PASSWORD: &str = "correct horse";
const WHOLE: Expected = Expected::Imported { chain: 2, warnings: 0 };
const AES: [&str; 6] = ["-keypbe", "AES-256-CBC", "-certpbe", "AES-256-CBC", "-macalg", "sha256"];

pub(super) fn cases() -> Vec<Case> {
    let bundle = leaf_with(|_| {});
    let (key, certificates) = (leaf_key().pem(), bundle.text());
    let whole = format!("{key}{certificates}");
    let ordinary = openssl::pkcs12(&whole, PASSWORD, &AES);
    let ders: Vec<&[u8]> = std::iter::once(&bundle.leaf).chain(&bundle.others).map(Vec::as_slice).collect();
    let case =
        |name, expected, der: Vec<u8>| written(name, expected, Input::Pkcs12 { der, password: PASSWORD.to_owned() });
    let refused = |name, code: &'static [&'static str], der: Vec<u8>| case(name, Expected::Refused(code), der);
    let with = |name, expected, der: &[u8], password: &str| {
        written(name, expected, Input::Pkcs12 { der: der.to_vec(), password: password.to_owned() })
    };
    let wrong = Expected::Refused(&[code::PKCS12_PASSWORD]);
    vec![
        case("PKCS #12 as OpenSSL 3 writes it", WHOLE, ordinary.clone()),
        case("PKCS #12 with AES-128 and SHA-1 as its MAC", WHOLE, {
            let options = ["-keypbe", "AES-128-CBC", "-certpbe", "AES-128-CBC", "-macalg", "sha1"];
            openssl::pkcs12(&whole, PASSWORD, &options)
        }),
        case("PKCS #12 whose certificates are not encrypted", WHOLE, {
            openssl::pkcs12(&whole, PASSWORD, &[&AES[..2], &["-certpbe", "NONE"]].concat())
        }),
        case("PKCS #12 with names of its entries", WHOLE, {
            openssl::pkcs12(&whole, PASSWORD, &[&AES[..], &["-name", "bmc", "-caname", "root"]].concat())
        }),
        case("PKCS #12 whose key is not encrypted", WHOLE, archive(&[leaf_key()], &ders, Mac::Good(2048))),
        case("PKCS #12 with PBMAC1", WHOLE, archive(&[leaf_key()], &ders, Mac::Pbmac1(2048))),
        refused("PKCS #12 under triple DES", &[code::PKCS12_ENCRYPTION], {
            openssl::pkcs12(&whole, PASSWORD, &["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES"])
        }),
        with("PKCS #12 with an empty password", WHOLE, &openssl::pkcs12(&whole, "", &AES), ""),
        with("PKCS #12 with a password beyond ASCII", WHOLE, &openssl::pkcs12(&whole, "größe", &AES), "größe"),
        with("PKCS #12, another password", wrong, &ordinary, "wrong horse"),
        with("PKCS #12, no password", wrong, &ordinary, ""),
        with("PKCS #12, a long password", wrong, &ordinary, &"x".repeat(100_000)),
        case("PKCS #12 without a MAC", WHOLE, archive(&[leaf_key()], &ders, Mac::None)),
        refused("PKCS #12 with a wrong MAC", &[code::PKCS12_PASSWORD], archive(&[leaf_key()], &ders, Mac::Wrong(2048))),
        refused("PKCS #12 without a key", &[code::KEY_MISSING], archive(&[], &ders, Mac::Good(1))),
        // A keystore has more than one entry.
        case("PKCS #12 with two aliases of one key", WHOLE, archive(&[leaf_key(), leaf_key()], &ders, Mac::Good(1))),
        case("PKCS #12 with another key that has no leaf", Expected::Imported { chain: 2, warnings: 1 }, {
            archive(&[leaf_key(), other_key()], &ders, Mac::Good(1))
        }),
        case("PKCS #12 with a key of a kind that is not known beside the leaf's", WHOLE, {
            archive(&[Key::shared(Kind::Secp256k1, 2), leaf_key()], &ders, Mac::Good(1))
        }),
        refused("PKCS #12 with two leaves and their keys", &[code::SEVERAL_KEYS], {
            let second = Spec::leaf("bmc-0002.fleet.example", other_key()).signed_by(&pki().intermediate);
            archive(&[leaf_key(), other_key()], &[&ders[..], &[&second]].concat(), Mac::Good(1))
        }),
        case("PKCS #12 with a secret and bags within a bag", WHOLE, {
            let secret = bag("1.2.840.113549.1.12.10.1.5", &sequence([oid("1.2.3"), explicit(0, &octets(b"secret"))]));
            let inner = bag("1.2.840.113549.1.12.10.1.6", &bags(&[leaf_key()], &ders));
            protected(&sequence([secret, inner]), Mac::Good(1), <[u8]>::to_vec)
        }),
        // BER, as others write it.
        case("PKCS #12 with indefinite lengths and strings in pieces", WHOLE, {
            protected(&ber(&bags(&[leaf_key()], &ders)), Mac::Good(2048), ber)
        }),
        case("PKCS #12 as OpenSSL 3 writes it, with its outer part as BER", WHOLE, ber(&ordinary)),
        case("PKCS #12 with ciphertext in pieces", WHOLE, {
            let der = openssl::pkcs12(&whole, PASSWORD, &[&AES[..4], &["-nomac"]].concat());
            let safe = read(read_all(read_all(read(&der).0)[1])[1]).0;
            sequence([number(3), content(&ber(safe))])
        }),
        refused(
            "PKCS #12 without a certificate",
            &[code::CERTIFICATE_MISSING],
            archive(&[leaf_key()], &[], Mac::Good(1)),
        ),
        refused("PKCS #12 with another key", &[code::KEY_MISMATCH], archive(&[other_key()], &ders, Mac::Good(1))),
        refused(
            "PKCS #12 with an incomplete chain",
            &[code::INCOMPLETE],
            archive(&[leaf_key()], &ders[..1], Mac::Good(1)),
        ),
        refused("PKCS #12 with an unreadable certificate", &[code::CERTIFICATE_UNREADABLE], {
            archive(&[leaf_key()], &[b"?"], Mac::Good(1))
        }),
        refused("PKCS #12 with two thousand million iterations of the MAC", &[code::PKCS12_ITERATIONS], {
            archive(&[leaf_key()], &ders, Mac::Wrong(i32::MAX as u64))
        }),
        refused("PKCS #12 with eight million iterations of the key's encryption", &[code::PKCS12_ITERATIONS], {
            let mut der = openssl::pkcs12(&whole, PASSWORD, &[&AES[..], &["-iter", "100000", "-nomac"]].concat());
            let count = der.windows(5).position(|window| window == [0x02, 0x03, 0x01, 0x86, 0xa0]).unwrap();
            der[count + 2..count + 5].copy_from_slice(&[0x7f, 0xff, 0xff]);
            der
        }),
        refused("PKCS #12 with a chain of forty", &[code::TOO_MANY_CERTIFICATES], {
            let long = super::chains::chain(38);
            let ders: Vec<&[u8]> = std::iter::once(&long.leaf).chain(&long.others).map(Vec::as_slice).collect();
            archive(&[leaf_key()], &ders, Mac::Good(1))
        }),
        refused("PKCS #12 of more than 64 KiB", &[code::TOO_LARGE], vec![0x30; 64 * 1024 + 1]),
        refused("half a PKCS #12", &[code::PKCS12_UNREADABLE], ordinary[..ordinary.len() / 2].to_vec()),
        refused("nothing in place of PKCS #12", &[code::PKCS12_UNREADABLE], Vec::new()),
        refused("bytes in place of PKCS #12", &[code::PKCS12_UNREADABLE], b"no PKCS #12".to_vec()),
        refused("PEM in place of PKCS #12", &[code::PKCS12_UNREADABLE], whole.into_bytes()),
        refused("a certificate in place of PKCS #12", &[code::PKCS12_UNREADABLE], bundle.leaf.clone()),
    ]
}

pub(crate) enum Mac {
    None,
    /// Iterations of RFC 7292's own derivation.
    Good(u64),
    /// Iterations of PBKDF2 (RFC 9579).
    Pbmac1(u32),
    /// Stated iterations of an invalid MAC.
    Wrong(u64),
}

/// A PFX with unencrypted bags, and any number of keys.
pub(crate) fn archive(keys: &[&Key], certificates: &[&[u8]], mac: Mac) -> Vec<u8> {
    protected(&bags(keys, certificates), mac, <[u8]>::to_vec)
}

/// SafeContents.
pub(super) fn bags(keys: &[&Key], certificates: &[&[u8]]) -> Vec<u8> {
    let keys = keys.iter().map(|key| bag("1.2.840.113549.1.12.10.1.1", &key.pkcs8));
    let certificates = certificates.iter().map(|der| {
        let certificate = sequence([oid("1.2.840.113549.1.9.22.1"), explicit(0, &octets(der))]);
        bag("1.2.840.113549.1.12.10.1.3", &certificate)
    });
    sequence(keys.chain(certificates).collect::<Vec<_>>())
}

/// `form`: how the parts outside of the bags are encoded.
pub(super) fn protected(bags: &[u8], mac: Mac, form: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let contents = form(&sequence([content(bags)]));
    let mac = match mac {
        Mac::None => Vec::new(),
        Mac::Good(iterations) => mac_of(iterations, &authenticated(&contents, iterations)),
        Mac::Pbmac1(iterations) => pbmac1(iterations, &contents),
        Mac::Wrong(iterations) => mac_of(iterations, &[7; 32]),
    };
    form(&sequence([number(3), content(&contents), mac]))
}

pub(super) fn bag(kind: &str, value: &[u8]) -> Vec<u8> {
    sequence([oid(kind), explicit(0, value)])
}

fn content(data: &[u8]) -> Vec<u8> {
    sequence([oid("1.2.840.113549.1.7.1"), explicit(0, &octets(data))])
}

const SALT: [u8; 8] = *b"saltsalt";

fn mac_of(iterations: u64, value: &[u8]) -> Vec<u8> {
    let algorithm = sequence([oid("2.16.840.1.101.3.4.2.1"), NULL.to_vec()]);
    sequence([sequence([algorithm, octets(value)]), octets(&SALT), number(iterations)])
}

/// PBMAC1 ignores the iteration count in the PFX itself (RFC 9579 §6).
fn pbmac1(iterations: u32, contents: &[u8]) -> Vec<u8> {
    let mut key = [0; 32];
    let count = std::num::NonZeroU32::new(iterations).unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, count, &SALT, PASSWORD.as_bytes(), &mut key);
    let hmac_sha256 = sequence([oid("1.2.840.113549.2.9"), NULL.to_vec()]);
    let derivation =
        sequence([octets(&SALT), number(iterations.into()), number(key.len() as u64), hmac_sha256.clone()]);
    let parameters = sequence([sequence([oid("1.2.840.113549.1.5.12"), derivation]), hmac_sha256]);
    let algorithm = sequence([oid("1.2.840.113549.1.5.14"), parameters]);
    let value = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), contents);
    sequence([sequence([algorithm, octets(value.as_ref())]), octets(&SALT), number(1)])
}

/// RFC 7292 appendix B.2 with SHA-256 and id 3, which needs one block: 32 octets.
fn authenticated(contents: &[u8], iterations: u64) -> Vec<u8> {
    let password: Vec<u8> = PASSWORD.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
    let filled = |value: &[u8]| value.iter().copied().cycle().take(value.len().div_ceil(64) * 64).collect::<Vec<_>>();
    let mut key = digest(&SHA256, &[vec![3; 64], filled(&SALT), filled(&password)].concat());
    for _ in 1..iterations {
        key = digest(&SHA256, key.as_ref());
    }
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), contents).as_ref().to_vec()
}
