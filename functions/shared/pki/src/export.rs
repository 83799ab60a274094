//! A PKCS #12 file (RFC 7292) of a certificate, its chain and its private key, under a password: AES-256-CBC with a key from
//! PBKDF2 and HMAC-SHA-256 (PBES2, RFC 8018), and a MAC with SHA-256, which OpenSSL, Java, Windows and macOS read.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac, pbkdf2};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::import::der::tlv;
use crate::import::mac_key;

/// What OWASP recommends for PBKDF2 with SHA-256, and our own import reads.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(599_999);
/// A guess costs as much by the MAC as by the encryption, so neither is the weaker one.
const MAC_ITERATIONS: NonZeroU32 = ITERATIONS;

const DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
const ENCRYPTED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06";
const PBES2: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
const PBKDF2: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
const HMAC_SHA256: &[u8] = b"\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x09";
const AES_256_CBC: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2a";
const SHA256: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01";
const SHROUDED_KEY: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02";
const CERTIFICATE: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03";
const X509: &[u8] = b"\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01";
const FRIENDLY_NAME: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x14";
const LOCAL_KEY_ID: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x15";

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: &[u8] = b"\x05\x00";
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// \[0\], explicit, and implicit of octets.
const EXPLICIT: u8 = 0xa0;
const IMPLICIT: u8 = 0x80;

/// Why there is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotExported {
    #[error("there is no certificate in PEM to export")]
    Certificates,
    #[error("the private key is not PKCS #8 in PEM")]
    Key,
    #[error("the file could not be encrypted")]
    Encryption,
}

struct Bundle<'a> {
    /// Shown by programs that list the file.
    name: &'a str,
    /// DER: the key's own certificate first, then its chain.
    certificates: Vec<Vec<u8>>,
    /// PKCS #8, DER.
    key: Zeroizing<Vec<u8>>,
}

/// `certificates`: PEM, the key's own first. `random`: a salt and an initialisation vector for the certificates, the same for the
/// key, and a salt for the MAC.
///
/// # Errors
/// The PEM is not what is expected, or the encryption failed.
pub fn pkcs12(
    name: &str,
    certificates: &str,
    key: &str,
    password: &str,
    random: &[[u8; 16]; 5],
) -> Result<Vec<u8>, NotExported> {
    let certificates = pem::parse_many(certificates).map_err(|_| NotExported::Certificates)?;
    let certificates = certificates.into_iter().filter(|block| block.tag() == "CERTIFICATE");
    let certificates: Vec<_> = certificates.map(pem::Pem::into_contents).collect();
    if certificates.is_empty() {
        return Err(NotExported::Certificates);
    }
    let key = pem::parse(key).ok().filter(|block| block.tag() == "PRIVATE KEY").ok_or(NotExported::Key)?;
    made(&Bundle { name, certificates, key: Zeroizing::new(key.into_contents()) }, password, random)
}

fn made(bundle: &Bundle<'_>, password: &str, random: &[[u8; 16]; 5]) -> Result<Vec<u8>, NotExported> {
    let [certificates_salt, certificates_iv, key_salt, key_iv, mac_salt] = random;
    let attributes = attributes(bundle);
    let bags = bundle.certificates.iter().enumerate().map(|(place, certificate)| {
        let content = tlv(SEQUENCE, &[X509, &tlv(EXPLICIT, &[&tlv(OCTETS, &[certificate])])]);
        let own: &[u8] = if place == 0 { &attributes } else { &[] };
        tlv(SEQUENCE, &[CERTIFICATE, &tlv(EXPLICIT, &[&content]), own])
    });
    let bags: Vec<_> = bags.collect();
    let bags = tlv(SEQUENCE, &bags.iter().map(|bag| bag.as_slice()).collect::<Vec<_>>());
    let (algorithm, sealed) = encrypted(&bags, password, certificates_salt, certificates_iv)?;
    let content = tlv(SEQUENCE, &[DATA, &algorithm, &tlv(IMPLICIT, &[&sealed])]);
    let content = tlv(SEQUENCE, &[&tlv(INTEGER, &[&[0]]), &content]);
    let certificates = tlv(SEQUENCE, &[ENCRYPTED_DATA, &tlv(EXPLICIT, &[&content])]);

    let (algorithm, sealed) = encrypted(&bundle.key, password, key_salt, key_iv)?;
    let shrouded = tlv(SEQUENCE, &[&algorithm, &tlv(OCTETS, &[&sealed])]);
    let bag = tlv(SEQUENCE, &[SHROUDED_KEY, &tlv(EXPLICIT, &[&shrouded]), &attributes]);
    let key = data(&tlv(SEQUENCE, &[&bag]));

    let safe = tlv(SEQUENCE, &[&certificates, &key]);
    let mac = mac(&safe, password, mac_salt);
    Ok(tlv(SEQUENCE, &[&tlv(INTEGER, &[&[3]]), &data(&safe), &mac]).to_vec())
}

/// A ContentInfo of plain data.
fn data(content: &[u8]) -> Zeroizing<Vec<u8>> {
    tlv(SEQUENCE, &[DATA, &tlv(EXPLICIT, &[&tlv(OCTETS, &[content])])])
}

/// By which a program knows that key and certificate belong together.
fn attributes(bundle: &Bundle<'_>) -> Zeroizing<Vec<u8>> {
    let own = bundle.certificates.first().map_or(&[][..], Vec::as_slice);
    let id = digest::digest(&digest::SHA256, own);
    let id = tlv(SEQUENCE, &[LOCAL_KEY_ID, &tlv(SET, &[&tlv(OCTETS, &[id.as_ref()])])]);
    let name: Vec<u8> = bundle.name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let name = tlv(SEQUENCE, &[FRIENDLY_NAME, &tlv(SET, &[&tlv(BMP_STRING, &[&name])])]);
    // DER orders a set by its members' encodings, and the shorter of the two begins with the smaller length.
    if *id < *name { tlv(SET, &[&id, &name]) } else { tlv(SET, &[&name, &id]) }
}

/// AlgorithmIdentifier and ciphertext.
fn encrypted(
    plain: &[u8],
    password: &str,
    salt: &[u8; 16],
    iv: &[u8; 16],
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), NotExported> {
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, password.as_bytes(), &mut *key);
    // With room for the padding: growing would leave a copy behind.
    let mut sealed = Zeroizing::new(Vec::with_capacity(plain.len() + 16));
    sealed.extend_from_slice(plain);
    let cipher = UnboundCipherKey::new(&AES_256, &*key).and_then(PaddedBlockEncryptingKey::cbc_pkcs7);
    let context = EncryptionContext::Iv128(FixedLength::from(*iv));
    cipher.and_then(|cipher| cipher.less_safe_encrypt(&mut *sealed, context)).map_err(|_| NotExported::Encryption)?;

    let hash = tlv(SEQUENCE, &[HMAC_SHA256, NULL]);
    let derivation = tlv(SEQUENCE, &[&tlv(OCTETS, &[salt]), &count(ITERATIONS), &hash]);
    let derivation = tlv(SEQUENCE, &[PBKDF2, &derivation]);
    let scheme = tlv(SEQUENCE, &[AES_256_CBC, &tlv(OCTETS, &[iv])]);
    Ok((tlv(SEQUENCE, &[PBES2, &tlv(SEQUENCE, &[&derivation, &scheme])]), sealed.to_vec()))
}

/// MacData over the content of the file.
fn mac(safe: &[u8], password: &str, salt: &[u8; 16]) -> Zeroizing<Vec<u8>> {
    let key = mac_key(password, salt, MAC_ITERATIONS);
    let value = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), safe);
    let info = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[SHA256, NULL]), &tlv(OCTETS, &[value.as_ref()])]);
    tlv(SEQUENCE, &[&info, &tlv(OCTETS, &[salt]), &count(MAC_ITERATIONS)])
}

fn count(number: NonZeroU32) -> Zeroizing<Vec<u8>> {
    // Minimal, and positive: X.690 §8.3.
    let bytes = u64::from(number.get()).to_be_bytes();
    let from = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    let from = if bytes[from] < 0x80 { from } else { from - 1 };
    tlv(INTEGER, &[&bytes[from..]])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use std::process::Command;

    use super::*;

    fn exported(password: &str) -> (Vec<u8>, Vec<Vec<u8>>, Vec<u8>) {
        let (root_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = params.self_signed(&root_key).unwrap();
        let issuer = rcgen::Issuer::new(params, root_key);
        let leaf =
            rcgen::CertificateParams::new(vec!["web.test".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let certificates = vec![leaf.der().to_vec(), root.der().to_vec()];
        let random = [[1; 16], [2; 16], [3; 16], [4; 16], [5; 16]];
        let pem = leaf.pem() + &root.pem();
        let file = pkcs12("wéb", &pem, &key.serialize_pem(), password, &random).unwrap();
        assert_eq!(pkcs12("x", "", &key.serialize_pem(), password, &random), Err(NotExported::Certificates));
        assert_eq!(pkcs12("x", &pem, &pem, password, &random), Err(NotExported::Key));
        (file, certificates, key.serialize_der())
    }

    /// What `openssl pkcs12` says of the file.
    fn openssl(file: &[u8], password: &str, arguments: &[&str]) -> (bool, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.p12");
        std::fs::write(&path, file).unwrap();
        std::fs::write(folder.path().join("password"), password).unwrap();
        let mut command = Command::new("openssl");
        command.args(["pkcs12", "-nodes", "-in"]).arg(&path).args(arguments);
        command.arg("-passin").arg(format!("file:{}", folder.path().join("password").display()));
        let output = command.output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&told).into_owned())
    }

    #[test]
    fn openssl_reads_key_certificate_and_chain() {
        let (file, certificates, key) = exported("pässword 1");
        let (is_read, told) = openssl(&file, "pässword 1", &["-info"]);
        assert!(is_read, "{told}");
        for expected in ["MAC: sha256", "PBES2, PBKDF2, AES-256-CBC", "PRF hmacWithSHA256"] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        let blocks = pem::parse_many(&told).unwrap();
        let of = |tag: &str| -> Vec<Vec<u8>> {
            blocks.iter().filter(|block| block.tag() == tag).map(|block| block.contents().to_vec()).collect()
        };
        assert_eq!((of("CERTIFICATE"), of("PRIVATE KEY")), (certificates, vec![key]));
        assert!(!openssl(&file, "password 1", &[]).0, "another password");
    }

    #[test]
    fn the_files_lengths_are_minimal() {
        assert_eq!(tlv(4, &[&[7; 127]])[..2], [4, 127]);
        assert_eq!(tlv(4, &[&[7; 128]])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(4, &[&[7; 300]])[..4], [4, 0x82, 1, 44]);
        let number = |number| count(NonZeroU32::new(number).unwrap()).to_vec();
        assert_eq!(
            (number(1), number(200), number(600_000)),
            (vec![2, 1, 1], vec![2, 2, 0, 200], vec![2, 3, 9, 0x27, 0xc0])
        );
    }
}
