//! PKCS#12 (RFC 7292) as written today by OpenSSL 3, Java, Windows and browsers: DER or BER, one password for
//! everything, AES-CBC with PBKDF2, and a MAC with the PKCS#12 derivation or with PBMAC1 (RFC 9579), or no MAC. A
//! keystore may hold several keys, trusted certificates and secrets: the key that has a leaf is taken.
//!
//! Parsed here, not with a crate: the existing ones add a second set of ciphers, derive keys with whatever iteration
//! count the file states before it can be checked, and leave keys in memory. RC2 and 3DES, which older programs write,
//! are refused with an error that names them.

mod encryption;

use std::borrow::Cow;

use encryption::{Budget, Password};
use x509_parser::asn1_rs::Tag;

use super::der::{dotted, element, sequence, tagged};
use super::key;
use super::problem::{Field, Location, Problem};
use super::{PKCS12_LIMIT, Secret, Sent, ber};

pub use encryption::ITERATIONS;
pub(crate) use encryption::sha256_mac_key as mac_key;

const WHOLE: Location = Location { field: Field::Pkcs12, line: 0 };

/// The certificates and the one key of a file.
pub(super) fn read(der: &[u8], password: &str, problems: &mut Vec<Problem>) -> Sent {
    if der.len() > PKCS12_LIMIT {
        problems.push(Problem::TooLarge { part: "the PKCS#12 file", limit: PKCS12_LIMIT });
        return Sent::default();
    }
    let bags = match open(der, password) {
        Ok(bags) => bags,
        Err(problem) => {
            problems.push(problem);
            return Sent::default();
        }
    };
    let mut sent = Sent::default();
    for der in bags.certificates {
        if let Err(problem) = sent.push(der, WHOLE) {
            problems.push(problem);
            break;
        }
    }
    if sent.certificates.is_empty() {
        problems.push(Problem::CertificateMissing(WHOLE));
    }
    if bags.keys.is_empty() {
        problems.push(Problem::KeyMissing);
    }
    for key in bags.keys {
        sent.push_key(key.and_then(|der| key::from_pkcs8(&der)));
    }
    sent
}

/// The decrypted contents of a file.
#[derive(Default)]
struct Bags {
    certificates: Vec<Vec<u8>>,
    /// PKCS#8, or why it could not be decrypted.
    keys: Vec<Result<Secret, Problem>>,
}

const DATA: &str = "1.2.840.113549.1.7.1";
const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";

fn open(der: &[u8], password: &str) -> Result<Bags, Problem> {
    let malformed = || Problem::NotPkcs12(what_is(der));
    // As OpenSSL and Java do, bytes after the PFX are ignored: its MAC does not cover them, and they are no part of it.
    let der = ber::first_to_der(der).ok_or_else(malformed)?;
    let pfx = sequence(&der).ok_or_else(malformed)?;
    let (rest, version) = element(pfx, Tag::Integer).ok_or_else(malformed)?;
    let (mac, safe) = element(rest, Tag::Sequence).ok_or_else(malformed)?;
    let (kind, safe) = content_info(safe).ok_or_else(malformed)?;
    if version != [3] {
        return Err(Problem::Pkcs12Unreadable("it is not version 3 of a PFX"));
    }
    if kind != DATA {
        return Err(Problem::Pkcs12Unreadable("it is not protected by a password"));
    }
    let safe = octets(safe).ok_or_else(malformed)?;

    let mut opener = Opener { budget: Budget::default(), password: Password::new(password), authentic: false };
    if !mac.is_empty() {
        let mac = sequence(mac).ok_or_else(malformed)?;
        encryption::verify_mac(mac, safe, &mut opener.password, &mut opener.budget)?;
        opener.authentic = true;
    }
    let mut bags = Bags::default();
    let safe = ber::to_der(safe).ok_or_else(malformed)?;
    let mut contents = sequence(&safe).ok_or_else(malformed)?;
    while !contents.is_empty() {
        let (rest, info) = element(contents, Tag::Sequence).ok_or_else(malformed)?;
        contents = rest;
        let (kind, content) = content_info(info).ok_or_else(malformed)?;
        match kind.as_str() {
            DATA => opener.bags(octets(content).ok_or_else(malformed)?, &mut bags)?,
            ENCRYPTED_DATA => {
                let (algorithm, sealed) = encrypted_data(content).ok_or_else(malformed)?;
                let plain = opener.decrypt(algorithm, &sealed)?;
                opener.bags(&plain, &mut bags)?;
            }
            _ => return Err(Problem::Pkcs12Unreadable("it is not protected by a password")),
        }
    }
    Ok(bags)
}

/// What is often taken for PKCS#12.
fn what_is(file: &[u8]) -> &'static str {
    let certificate =
        || element(file, Tag::Sequence).is_some_and(|(_, content)| element(content, Tag::Sequence).is_some());
    match file {
        [0xfe, 0xed, 0xfe, 0xed, ..] | [0xce, 0xce, 0xce, 0xce, ..] => {
            "it is a Java keystore of another type; convert it with `keytool -importkeystore -deststoretype pkcs12`"
        }
        [_, ..] if file.is_ascii() => {
            "it is text; send PEM in certificate and private_key, and of PKCS#12 the bytes, in base64 once"
        }
        _ if certificate() => "it looks like a certificate; export that with its key, as with `openssl pkcs12 -export`",
        _ => "it is not the DER of a PFX, or is damaged; export it anew, as with `openssl pkcs12 -export`",
    }
}

struct Opener<'p> {
    budget: Budget,
    password: Password<'p>,
    /// Whether the MAC was verified, and so the password is right.
    authentic: bool,
}

impl Opener<'_> {
    fn decrypt(&mut self, algorithm: &[u8], sealed: &[u8]) -> Result<Secret, Problem> {
        let plain = encryption::decrypt(algorithm, sealed, &self.password, &mut self.budget)?;
        plain.ok_or_else(|| self.garbled())
    }

    /// A key that cannot be decrypted is no reason to refuse a file in which another is the leaf's.
    fn key(&mut self, algorithm: &[u8], sealed: &[u8]) -> Result<Result<Secret, Problem>, Problem> {
        Ok(match encryption::decrypt(algorithm, sealed, &self.password, &mut self.budget) {
            Ok(Some(key)) => Ok(key),
            Ok(None) if self.authentic => Err(Problem::Pkcs12Unreadable("a key in it has a password of its own")),
            Err(problem @ Problem::Pkcs12Encryption(_)) => Err(problem),
            Ok(None) => return Err(Problem::Pkcs12Password),
            Err(problem) => return Err(problem),
        })
    }

    /// The problem with content that decrypts to garbage: a wrong password, unless the MAC was verified.
    fn garbled(&self) -> Problem {
        if self.authentic { Problem::Pkcs12Unreadable("its content is malformed") } else { Problem::Pkcs12Password }
    }

    /// SafeContents (RFC 7292 §4.2). Keys are decrypted immediately; the iteration budget bounds the cost of many keys.
    fn bags(&mut self, contents: &[u8], bags: &mut Bags) -> Result<(), Problem> {
        let contents = ber::to_der(contents).ok_or_else(|| self.garbled())?;
        self.contents(&contents, NESTED, bags)
    }

    fn contents(&mut self, contents: &[u8], nested: usize, bags: &mut Bags) -> Result<(), Problem> {
        let mut rest = sequence(contents).ok_or_else(|| self.garbled())?;
        while !rest.is_empty() {
            let (after, bag) = element(rest, Tag::Sequence).ok_or_else(|| self.garbled())?;
            rest = after;
            let (attributes, oid) = element(bag, Tag::Oid).ok_or_else(|| self.garbled())?;
            let (_, value) = tagged(attributes, 0, true).ok_or_else(|| self.garbled())?;
            match oid {
                KEY => bags.keys.push(Ok(Secret::new(value.to_vec()))),
                SHROUDED_KEY => {
                    let (algorithm, sealed) = shrouded(value).ok_or_else(|| self.garbled())?;
                    bags.keys.push(self.key(algorithm, sealed)?);
                }
                CERTIFICATE => bags.certificates.extend(certificate(value).map(<[u8]>::to_vec)),
                SAFE_CONTENTS if nested > 0 => self.contents(value, nested - 1, bags)?,
                SAFE_CONTENTS => return Err(Problem::Pkcs12Unreadable("it holds too many bags within bags")),
                // Lists of revoked certificates, secrets, and kinds of others (RFC 7292 §4.2: the list can be extended).
                _ => {}
            }
        }
        Ok(())
    }
}

/// Most levels of bags within bags.
const NESTED: usize = 4;

/// Contents of the bag OIDs: 1.2.840.113549.1.12.10.1 and a number below it (RFC 7292 Appendix D).
const KEY: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01";
const SHROUDED_KEY: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02";
const CERTIFICATE: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03";
const SAFE_CONTENTS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x06";

/// Type and content of a ContentInfo.
fn content_info(info: &[u8]) -> Option<(String, &[u8])> {
    let (rest, kind) = element(info, Tag::Oid)?;
    Some((dotted(kind)?, tagged(rest, 0, true)?.1))
}

fn octets(der: &[u8]) -> Option<&[u8]> {
    element(der, Tag::OctetString).filter(|(rest, _)| rest.is_empty()).map(|(_, content)| content)
}

/// EncryptedData (RFC 5652 §8): the algorithm's content, and the ciphertext.
fn encrypted_data(der: &[u8]) -> Option<(&[u8], Cow<'_, [u8]>)> {
    let (rest, _version) = element(sequence(der)?, Tag::Integer)?;
    let (_, info) = element(rest, Tag::Sequence)?;
    let (rest, _kind) = element(info, Tag::Oid)?;
    let (rest, algorithm) = element(rest, Tag::Sequence)?;
    let whole = || tagged(rest, 0, false).map(|(_, sealed)| Cow::Borrowed(sealed));
    let pieces = || tagged(rest, 0, true).and_then(|(_, pieces)| ber::joined(pieces)).map(Cow::Owned);
    Some((algorithm, whole().or_else(pieces)?))
}

/// EncryptedPrivateKeyInfo (RFC 5958 §3).
fn shrouded(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, algorithm) = element(sequence(der)?, Tag::Sequence)?;
    Some((algorithm, octets(rest)?))
}

/// CertBag (RFC 7292 §4.2.3) with an X.509 certificate; other types are ignored.
fn certificate(der: &[u8]) -> Option<&[u8]> {
    const X509: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01";
    let (rest, kind) = element(sequence(der)?, Tag::Oid)?;
    octets(tagged(rest, 0, true)?.1).filter(|_| kind == X509)
}
