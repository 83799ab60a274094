//! The protection of a PKCS#12 file: keys derived from the password at a bounded cost, the MAC, and AES.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{self, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{hmac, pbkdf2};
use x509_parser::asn1_rs::{Any, FromDer, Tag};

use super::super::der::{element, identifier};
use super::super::problem::Problem;
use super::super::text;
use super::Secret;

/// Most hash blocks derived for one file, over all its keys: enough for MAC, certificates and key at the 600 000
/// iterations that OWASP recommends and NSS uses. About a second.
pub const ITERATIONS: u64 = 2_000_000;

#[derive(Default)]
pub(super) struct Budget {
    spent: u64,
}

impl Budget {
    fn spend(&mut self, iterations: NonZeroU32, blocks: usize) -> Result<(), Problem> {
        self.spent = self.spent.saturating_add(u64::from(iterations.get()).saturating_mul(blocks as u64));
        if self.spent > ITERATIONS { Err(Problem::Pkcs12Iterations) } else { Ok(()) }
    }
}

/// Both forms of a password.
pub(super) struct Password<'p> {
    utf8: &'p str,
    /// BMPString with a terminator (RFC 7292 Appendix B.1).
    bmp: Secret,
}

impl<'p> Password<'p> {
    pub(super) fn new(utf8: &'p str) -> Self {
        let mut bmp = Secret::new(Vec::with_capacity(2 * utf8.len() + 2));
        bmp.extend(utf8.encode_utf16().chain([0]).flat_map(u16::to_be_bytes));
        Self { utf8, bmp }
    }
}

#[derive(Clone, Copy)]
enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    /// From the OID of a hash, or of an HMAC with it.
    fn of(oid: &str) -> Result<Self, Problem> {
        Ok(match oid {
            "1.3.14.3.2.26" | "1.2.840.113549.2.7" => Self::Sha1,
            "2.16.840.1.101.3.4.2.1" | "1.2.840.113549.2.9" => Self::Sha256,
            "2.16.840.1.101.3.4.2.2" | "1.2.840.113549.2.10" => Self::Sha384,
            "2.16.840.1.101.3.4.2.3" | "1.2.840.113549.2.11" => Self::Sha512,
            other => return Err(Problem::Pkcs12Encryption(format!("the hash {}", hash_name(other)))),
        })
    }
}

/// Verifies MacData (RFC 7292 §4), whose content is `mac`, over `safe`. An empty password has two forms; the matching
/// one is kept.
pub(super) fn verify_mac(
    mac: &[u8],
    safe: &[u8],
    password: &mut Password<'_>,
    budget: &mut Budget,
) -> Result<(), Problem> {
    let malformed = || Problem::Pkcs12Unreadable("its MAC is malformed");
    let (rest, info) = element(mac, Tag::Sequence).ok_or_else(malformed)?;
    let (digest, algorithm) = element(info, Tag::Sequence).ok_or_else(malformed)?;
    let (_, expected) = element(digest, Tag::OctetString).ok_or_else(malformed)?;
    let (rest, salt) = element(rest, Tag::OctetString).ok_or_else(malformed)?;
    let (oid, parameters) = identifier(algorithm).ok_or_else(malformed)?;
    let holds = |hash: Hash, key: &[u8]| hmac::verify(&hmac::Key::new(hash.hmac(), key), safe, expected).is_ok();

    if oid == "1.2.840.113549.1.5.14" {
        let parameters = parameters.ok_or_else(malformed)?;
        let (rest, derivation) = element(parameters.data, Tag::Sequence).ok_or_else(malformed)?;
        let (_, scheme) = element(rest, Tag::Sequence).ok_or_else(malformed)?;
        let hash = Hash::of(&identifier(scheme).ok_or_else(malformed)?.0)?;
        let key = pbkdf2_key(derivation, None, password, budget)?;
        return if holds(hash, &key) { Ok(()) } else { Err(Problem::Pkcs12Password) };
    }
    let hash = Hash::of(&oid)?;
    let iterations = if rest.is_empty() { NonZeroU32::MIN } else { count(rest).ok_or_else(malformed)? };
    budget.spend(iterations, 1)?;
    if holds(hash, &mac_key(hash, &password.bmp, salt, iterations)) {
        return Ok(());
    }
    if password.utf8.is_empty() {
        password.bmp.clear();
        budget.spend(iterations, 1)?;
        if holds(hash, &mac_key(hash, &[], salt, iterations)) {
            return Ok(());
        }
    }
    Err(Problem::Pkcs12Password)
}

/// Of a file that is written here.
pub(crate) fn sha256_mac_key(password: &str, salt: &[u8], iterations: NonZeroU32) -> Secret {
    mac_key(Hash::Sha256, &Password::new(password).bmp, salt, iterations)
}

/// RFC 7292 Appendix B.2 for a MAC key: it is one hash long, so the first block is enough.
fn mac_key(hash: Hash, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Secret {
    const MAC: u8 = 3;
    let block = hash.digest().block_len();
    let filled =
        |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().cycle().take(bytes.len().div_ceil(block) * block).collect() };
    let mut input = Secret::new(vec![MAC; block]);
    input.reserve_exact(salt.len() + password.len() + 2 * block);
    input.extend(filled(salt));
    input.extend(&*Secret::new(filled(password)));
    let mut key = Secret::new(digest(hash.digest(), &input).as_ref().to_vec());
    for _ in 1..iterations.get() {
        let next = digest(hash.digest(), &key);
        key.copy_from_slice(next.as_ref());
    }
    key
}

/// PBES2 (RFC 8018 §6.2) with AES-CBC; `None` if the password is wrong. `algorithm`: content of an AlgorithmIdentifier.
pub(super) fn decrypt(
    algorithm: &[u8],
    sealed: &[u8],
    password: &Password<'_>,
    budget: &mut Budget,
) -> Result<Option<Secret>, Problem> {
    let malformed = || Problem::Pkcs12Unreadable("its encryption's parameters are malformed");
    let (oid, parameters) = identifier(algorithm).ok_or_else(malformed)?;
    if oid != "1.2.840.113549.1.5.13" {
        return Err(Problem::Pkcs12Encryption(legacy(&oid)));
    }
    let parameters = parameters.ok_or_else(malformed)?;
    let (rest, derivation) = element(parameters.data, Tag::Sequence).ok_or_else(malformed)?;
    let (_, scheme) = element(rest, Tag::Sequence).ok_or_else(malformed)?;
    let (oid, iv) = identifier(scheme).ok_or_else(malformed)?;
    let (cipher, length) = match oid.as_str() {
        "2.16.840.1.101.3.4.1.2" => (&cipher::AES_128, 16),
        "2.16.840.1.101.3.4.1.22" => (&cipher::AES_192, 24),
        "2.16.840.1.101.3.4.1.42" => (&cipher::AES_256, 32),
        other => return Err(Problem::Pkcs12Encryption(legacy(other))),
    };
    let iv = iv.and_then(|iv| FixedLength::try_from(iv.data).ok()).ok_or_else(malformed)?;
    let key = pbkdf2_key(derivation, Some(length), password, budget)?;
    let mut plain = Secret::new(sealed.to_vec());
    let length = UnboundCipherKey::new(cipher, &key)
        .and_then(PaddedBlockDecryptingKey::cbc_pkcs7)
        .and_then(|key| key.decrypt(&mut plain, DecryptionContext::Iv128(iv)).map(|plain| plain.len()));
    Ok(length.ok().map(|length| {
        plain.truncate(length);
        plain
    }))
}

/// PBKDF2-params (RFC 8018 Appendix A.2); `derivation` is the content of the key derivation's AlgorithmIdentifier.
/// `length` is the cipher's key length, if known.
fn pbkdf2_key(
    derivation: &[u8],
    length: Option<usize>,
    password: &Password<'_>,
    budget: &mut Budget,
) -> Result<Secret, Problem> {
    let malformed = || Problem::Pkcs12Unreadable("its key derivation's parameters are malformed");
    let (oid, parameters) = identifier(derivation).ok_or_else(malformed)?;
    if oid != "1.2.840.113549.1.5.12" {
        let name = if oid == "1.3.6.1.4.1.11591.4.11" { "scrypt".to_owned() } else { text::shown(&oid) };
        return Err(Problem::Pkcs12Encryption(format!("the key derivation {name}")));
    }
    let parameters = parameters.ok_or_else(malformed)?;
    let (rest, salt) = element(parameters.data, Tag::OctetString).ok_or_else(malformed)?;
    let iterations = count(rest).ok_or_else(malformed)?;
    let (mut rest, _) = element(rest, Tag::Integer).ok_or_else(malformed)?;
    let mut said = None;
    if let Some((after, _)) = element(rest, Tag::Integer) {
        (said, rest) = (count(rest), after);
    }
    let hash = match element(rest, Tag::Sequence) {
        Some((_, prf)) => Hash::of(&identifier(prf).ok_or_else(malformed)?.0)?,
        None => Hash::Sha1,
    };
    let said = said.map(|said| said.get() as usize);
    let length = length.or(said).filter(|length| (1..=64).contains(length) && said.is_none_or(|said| said == *length));
    let mut key = Secret::new(vec![0; length.ok_or_else(malformed)?]);
    budget.spend(iterations, key.len().div_ceil(hash.digest().output_len()))?;
    pbkdf2::derive(hash.pbkdf2(), iterations, salt, password.utf8.as_bytes(), &mut key);
    Ok(key)
}

/// A positive INTEGER. Values beyond 32 bits exceed any budget.
fn count(der: &[u8]) -> Option<NonZeroU32> {
    let (_, any) = Any::from_der(der).ok()?;
    match any.as_u64() {
        Ok(number) => NonZeroU32::new(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => (any.tag() == Tag::Integer && any.data.len() > 8 && any.data[0] < 0x80).then_some(NonZeroU32::MAX),
    }
}

fn legacy(oid: &str) -> String {
    match oid {
        "1.2.840.113549.1.12.1.3" | "1.2.840.113549.1.12.1.4" | "1.2.840.113549.3.7" => "3DES".to_owned(),
        "1.2.840.113549.1.12.1.5" | "1.2.840.113549.1.12.1.6" | "1.2.840.113549.3.2" => "RC2".to_owned(),
        "1.3.14.3.2.7" | "1.2.840.113549.1.5.3" | "1.2.840.113549.1.5.10" => "DES".to_owned(),
        "1.2.392.200011.61.1.1.1.2" | "1.2.392.200011.61.1.1.1.4" => "Camellia".to_owned(),
        "1.2.840.113549.1.12.1.1" | "1.2.840.113549.1.12.1.2" => "RC4".to_owned(),
        other => format!("the algorithm {}", text::shown(other)),
    }
}

/// Of a hash, or of an HMAC with it.
fn hash_name(oid: &str) -> String {
    match oid {
        "1.2.840.113549.2.5" | "1.2.840.113549.2.6" => "MD5".to_owned(),
        "2.16.840.1.101.3.4.2.4" | "1.2.840.113549.2.8" => "SHA-224".to_owned(),
        "2.16.840.1.101.3.4.2.5" | "1.2.840.113549.2.12" => "SHA-512/224".to_owned(),
        "2.16.840.1.101.3.4.2.6" | "1.2.840.113549.2.13" => "SHA-512/256".to_owned(),
        other => text::shown(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn tlv(tag: u8, content: &[&[u8]]) -> Vec<u8> {
        let content = content.concat();
        [&[tag, u8::try_from(content.len()).unwrap()], content.as_slice()].concat()
    }

    /// Content of MacData by RFC 9579 §4 with SHA-256.
    fn pbmac1(iterations: u16, value: &[u8]) -> Vec<u8> {
        let hmac = tlv(0x30, &[b"\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x09\x05\x00"]);
        let count = tlv(2, &[&iterations.to_be_bytes()]);
        let parameters = tlv(0x30, &[&tlv(4, &[b"saltsalt"]), &count, &[2, 1, 32], &hmac]);
        let derivation = tlv(0x30, &[b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c", &parameters]);
        let schemes = tlv(0x30, &[&derivation, &hmac]);
        let algorithm = tlv(0x30, &[b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0e", &schemes]);
        [tlv(0x30, &[&algorithm, &tlv(4, &[value])]), tlv(4, &[b"NOT USED"]), vec![2, 1, 1]].concat()
    }

    #[test]
    fn a_pbmac1_mac_verifies_with_its_password_only() {
        let mut key = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, NonZeroU32::new(2048).unwrap(), b"saltsalt", b"word", &mut key);
        let value = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), b"safe");
        let mac = pbmac1(2048, value.as_ref());
        let verify =
            |password, mac: &[u8]| verify_mac(mac, b"safe", &mut Password::new(password), &mut Budget::default());
        assert_eq!(verify("word", &mac), Ok(()));
        assert_eq!(verify("Word", &mac), Err(Problem::Pkcs12Password));
        assert_eq!(verify("word", &pbmac1(2047, value.as_ref())), Err(Problem::Pkcs12Password));
    }

    #[test]
    fn iterations_are_counted_before_they_are_computed() {
        let mut budget = Budget { spent: ITERATIONS - 2048 };
        let mut password = Password::new("word");
        let mac = pbmac1(2048, &[0; 32]);
        assert_eq!(verify_mac(&mac, b"safe", &mut password, &mut budget), Err(Problem::Pkcs12Password));
        assert_eq!(verify_mac(&mac, b"safe", &mut password, &mut budget), Err(Problem::Pkcs12Iterations));
        assert_eq!(count(&[2, 5, 1, 0, 0, 0, 0]), Some(NonZeroU32::MAX));
        assert_eq!(count(&[2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0]), Some(NonZeroU32::MAX));
        assert_eq!((count(&[2, 1, 0]), count(&[2, 1, 0xff])), (None, None));
    }
}
