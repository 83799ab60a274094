//! Import of certificates that were issued elsewhere: the material is parsed, checked and put in order, or refused with
//! all of its problems.
//!
//! In scope: the text or file, the leaf and its key, the chain and each of its links, RFC 5280 §6 without revocation
//! and policies. Out of scope: whether anyone trusts the certificate, its revocation, and where it is stored.
//!
//! Choices that RFC 5280 leaves open, and deviations from it:
//! - Roots are checked like every other issuer: validity, cA, keyCertSign, path length and name constraints. A
//!   self-signature that is weak or of an unknown algorithm is just a [`Warning`], since trust in a root does not rest on
//!   it; and so is a root of version 1, which cannot say cA.
//! - An issuer's extKeyUsage limits the certificates below it, as in OpenSSL and webpki.
//! - No policies are required, so certificatePolicies, policyMappings, inhibitAnyPolicy and a policyConstraints that is
//!   not critical cannot refuse a chain. A critical policyConstraints, like every other critical extension, is refused
//!   as unknown, and so are critical certificatePolicies with unknown qualifiers.
//! - A critical cRLDistributionPoints is accepted, as in OpenSSL, Go and webpki, though revocation is out of scope. A
//!   critical AKI or SKI is refused, as there.
//! - Names are compared by RFC 5280 §7.1, TeletexString as Latin-1 unless for constraints. Where only that makes them
//!   equal, a [`Warning`] says so: Go and rustls compare bytes.
//! - CN stands for a host only if the SAN names none. Name constraints apply to it wherever the SAN has no DNS name,
//!   since clients look for a host in it then.
//! - An issuer that has the right key under another name is the vendor's SCM.0079. If no certificate has the key, the
//!   chain is incomplete.
//!
//! Hostile input takes bounded time and memory. The limits are [`LIMIT`], [`KEY_LIMIT`] and [`PKCS12_LIMIT`] for the
//! size; [`CERTIFICATES`], [`DEPTH`] and [`NAMES`] for the contents; [`SIGNATURES`], [`STEPS`] and [`COMPARISONS`] for
//! the search; [`ITERATIONS`] for deriving keys from a password; RSA keys of 2048 to 8192 bits, with exponents of at
//! most 33 bits. Each limit has a problem with its own message.

mod assess;
mod ber;
pub(crate) mod constraints;
pub(crate) mod der;
mod judge;
mod key;
mod leaf;
pub(crate) mod names;
mod node;
mod path;
mod pem;
mod pkcs12;
mod problem;
pub(crate) mod public_key;
mod purposes;
pub(crate) mod signature;
pub(crate) mod text;

use std::fmt;

use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::certificate::Certificate;

pub use assess::Warning;
pub use constraints::COMPARISONS;
pub use key::PrivateKey;
pub use leaf::NAMES;
pub use path::{DEPTH, SIGNATURES, STEPS};
pub use pkcs12::ITERATIONS;
pub(crate) use pkcs12::mac_key;
pub use problem::{CODES, ConstraintFault, Fault, Field, Location, Problem, Problems, Unreadable};
pub use public_key::LeafKey;
pub(crate) use public_key::PublicKey;
pub use purposes::Purposes;
pub(crate) use signature::{Scheme, SignatureCheck};

/// Largest size of certificate and chain text together, in bytes.
pub const LIMIT: usize = 64 * 1024;

/// Largest private key text, in bytes: an RSA key of 8192 bits takes 6.5 KiB, ML-DSA-87 with its seed 6.8 KiB.
pub const KEY_LIMIT: usize = 16 * 1024;

/// Largest PKCS#12 file, in bytes.
pub const PKCS12_LIMIT: usize = 64 * 1024;

/// Most different certificates in one import, including those that are then dropped.
pub const CERTIFICATES: usize = 16;

/// The material to import.
pub enum Material<'a> {
    /// PEM (RFC 7468). With `certificate_chain`, `certificate` holds the leaf only; a blank one counts as none.
    Pem { certificate: &'a str, certificate_chain: Option<&'a str>, private_key: &'a str },
    /// A file (RFC 7292) with the leaf, its key and any of the chain.
    Pkcs12 { der: &'a [u8], password: &'a str },
}

/// Hides keys and passwords.
impl fmt::Debug for Material<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pem { .. } => "Material::Pem",
            Self::Pkcs12 { .. } => "Material::Pkcs12",
        })
    }
}

/// The result of a successful import: a leaf, its key, and a valid chain.
#[derive(Debug)]
pub struct Checked {
    pub leaf: Certificate,
    /// The leaf's issuer first; the root last if it was sent or is one of [`Anchors::others`]. Otherwise only what was
    /// sent: empty if one of our own authorities issued the leaf.
    pub chain: Vec<Certificate>,
    pub key: PrivateKey,
    pub key_algorithm: LeafKey,
    /// The subject's most specific CN.
    pub common_name: Option<String>,
    /// All DNS names and IP addresses of the SAN, in the certificate's order. Empty without a SAN.
    pub names: Vec<String>,
    /// At least one.
    pub purposes: Purposes,
    /// Nothing is proven of the chain: its end was not sent, and is not known.
    pub unproven: bool,
    pub warnings: Vec<Warning>,
}

/// What a chain may lead to without containing it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anchors<'a> {
    /// Our own generations, and issuing authorities below them: a chain may end in one of the former, and lead through one
    /// of the latter.
    pub ours: &'a [Certificate],
    /// Roots of others. The one that a chain ends at becomes a part of it.
    pub others: &'a [Certificate],
    /// Accept a chain that leads to none of them, of which nothing is proven then.
    pub allow_incomplete: bool,
}

/// Parses and checks everything, and reports all problems. `ours`: [`Anchors::ours`].
///
/// Costs one signature verification per link, and one signature by the key with its verification.
///
/// ```
/// use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
/// use rootcast_pki::import::{Material, check};
/// use time::macros::datetime;
///
/// let mut params = CertificateParams::default();
/// params.distinguished_name.push(DnType::CommonName, "Example Root");
/// params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
/// params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
/// let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
/// let key = KeyPair::generate()?;
/// let leaf = CertificateParams::new(["web.example".to_owned()])?.signed_by(&key, &root)?;
///
/// let (leaf, root, now) = (leaf.pem(), root.pem(), datetime!(2026-06-01 12:00 UTC));
/// let sent_with = |private_key: &str| {
///     check(&Material::Pem { certificate: &leaf, certificate_chain: Some(&root), private_key }, &[], now)
/// };
/// let checked = sent_with(&key.serialize_pem())?;
/// assert_eq!(checked.names, ["web.example"]);
/// assert_eq!(checked.chain.len(), 1);
///
/// // Another key than the certificate's: everything that is wrong is named, with its code.
/// let problems = sent_with(&KeyPair::generate()?.serialize_pem()).unwrap_err();
/// assert_eq!(problems.first().code(), "SCM.2018");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check(material: &Material<'_>, ours: &[Certificate], now: OffsetDateTime) -> Result<Checked, Problems> {
    check_with(material, Anchors { ours, ..Anchors::default() }, now)
}

/// As [`check`], with other ends of a chain.
pub fn check_with(material: &Material<'_>, anchors: Anchors<'_>, now: OffsetDateTime) -> Result<Checked, Problems> {
    let mut problems = Vec::new();
    let sent = match material {
        Material::Pem { certificate, certificate_chain, private_key } => {
            let mut sent = pem::certificates(certificate, *certificate_chain, &mut problems);
            key::from_pem(private_key, &mut sent, &mut problems);
            sent
        }
        Material::Pkcs12 { der, password } => pkcs12::read(der, password, &mut problems),
    };
    assess::assess(sent, anchors, now, problems)
}

/// The parsed parts of the material.
#[derive(Default)]
struct Sent {
    /// DER without duplicates, each with its location.
    certificates: Vec<(Vec<u8>, Location)>,
    /// The first certificate is the leaf, whatever follows.
    leaf_first: bool,
    /// Some certificates could not be parsed, or were too many: a missing one may be among them.
    partial: bool,
    /// Without duplicates.
    keys: Vec<key::Key>,
    /// Of keys that cannot be used: they only count where no other key is the leaf's.
    key_problems: Vec<Problem>,
    /// Lines that may be damaged headers: they only count where something is missing.
    doubts: Vec<Problem>,
}

impl Sent {
    /// Ignores duplicates.
    fn push(&mut self, der: Vec<u8>, place: Location) -> Result<(), Problem> {
        if self.certificates.iter().any(|(known, _)| *known == der) {
            return Ok(());
        }
        if self.certificates.len() == CERTIFICATES {
            self.partial = true;
            return Err(Problem::TooManyCertificates);
        }
        self.certificates.push((der, place));
        Ok(())
    }

    /// Ignores duplicates: a keystore has a key once per alias.
    fn push_key(&mut self, read: Result<key::Key, Problem>) {
        match read {
            Ok(key) if self.keys.iter().any(|known| known.public_bits() == key.public_bits()) => {}
            Ok(key) => self.keys.push(key),
            Err(problem) => self.key_problems.push(problem),
        }
    }
}

type Secret = Zeroizing<Vec<u8>>;
