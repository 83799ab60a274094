//! Certificates made elsewhere: what was sent is read, checked and put in order, or refused with everything that is
//! wrong with it.
//!
//! In scope: the text or file, the leaf and its key, the chain and each of its links, RFC 5280 §6 as far as it needs no
//! revocation and no policies. Out of scope: whether the certificate is trusted by anybody, its revocation, and where
//! it is kept.
//!
//! What RFC 5280 leaves open, or where this differs:
//! - Roots are checked as every other issuer is: validity, cA, keyCertSign, path length and name constraints. Only
//!   SHA-1 in the signature of a root by itself is no problem but a [`Warning`]: trust in it rests elsewhere.
//! - An issuer's extKeyUsage limits what is below it, as OpenSSL and webpki have it.
//! - Policies are not asked for, so certificatePolicies, policyMappings and inhibitAnyPolicy cannot refuse a chain; a
//!   critical policyConstraints, and every other critical extension, is refused as unknown.
//! - CN stands for a host only where the SAN names none, and name constraints then apply to it.
//! - An issuer that has the right key under another name is the vendor's SCM.0079; where none has, the chain is
//!   incomplete.
//!
//! Hostile input ends in bounded time and memory. The bounds: [`LIMIT`], [`KEY_LIMIT`], [`PKCS12_LIMIT`] on what is
//! read; [`CERTIFICATES`], [`DEPTH`] and [`NAMES`] on what it holds; [`SIGNATURES`], [`STEPS`] and [`COMPARISONS`] on
//! what is tried; [`ITERATIONS`] on what a password costs; RSA keys of 2048 to 8192 bits, with exponents of at most 33.
//! Each has a problem with a message of its own.

mod assess;
mod constraints;
pub(crate) mod der;
mod judge;
mod key;
mod leaf;
mod node;
mod path;
mod pem;
mod pkcs12;
mod problem;
pub(crate) mod public_key;
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
pub use problem::{CODES, ConstraintFault, Fault, Field, Location, Problem, Problems};
pub use public_key::LeafKey;

/// Bytes of certificate and chain text together.
pub const LIMIT: usize = 64 * 1024;

/// Bytes of private key text: an RSA key of 8192 bits takes 6.5 KiB, ML-DSA-87 with its seed 6.8 KiB.
pub const KEY_LIMIT: usize = 16 * 1024;

/// Bytes of a PKCS#12 file.
pub const PKCS12_LIMIT: usize = 64 * 1024;

/// Different certificates that may be sent at once, those that are then dropped included.
pub const CERTIFICATES: usize = 16;

/// What was sent.
pub enum Material<'a> {
    /// PEM (RFC 7468). With `certificate_chain`, `certificate` holds the leaf only; a blank one counts as none.
    Pem { certificate: &'a str, certificate_chain: Option<&'a str>, private_key: &'a str },
    /// A file (RFC 7292) with the leaf, its key and what else it holds of the chain.
    Pkcs12 { der: &'a [u8], password: &'a str },
}

/// Shows no key and no password.
impl fmt::Debug for Material<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pem { .. } => "Material::Pem",
            Self::Pkcs12 { .. } => "Material::Pkcs12",
        })
    }
}

/// What may be kept: a leaf, its key, and a chain of which every link holds.
#[derive(Debug)]
pub struct Checked {
    pub leaf: Certificate,
    /// The leaf's issuer first; the root last where it was given. Empty where one of our own roots issued the leaf.
    pub chain: Vec<Certificate>,
    pub key: PrivateKey,
    pub key_algorithm: LeafKey,
    /// The subject's most specific CN.
    pub common_name: Option<String>,
    /// Every DNS name and IP address of the SAN, as the certificate orders them. Empty without a SAN.
    pub names: Vec<String>,
    pub warnings: Vec<Warning>,
}

/// Reads and checks everything that can be, and reports all that is wrong. `roots` are our own generations: a chain may
/// lead to one of them without holding it.
///
/// Costs one signature verification a link, and one signature by the key with its verification.
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
pub fn check(material: &Material<'_>, roots: &[Certificate], now: OffsetDateTime) -> Result<Checked, Problems> {
    let mut problems = Vec::new();
    let sent = match material {
        Material::Pem { certificate, certificate_chain, private_key } => {
            let key = key::from_pem(private_key, &mut problems);
            Sent { key, ..pem::certificates(certificate, *certificate_chain, &mut problems) }
        }
        Material::Pkcs12 { der, password } => pkcs12::read(der, password, &mut problems),
    };
    assess::assess(sent, roots, now, problems)
}

/// What could be read of it.
#[derive(Default)]
struct Sent {
    /// DER, none twice, with where it was.
    certificates: Vec<(Vec<u8>, Location)>,
    /// The first is the leaf, whatever else is there.
    leaf_first: bool,
    /// Some could not be read or were too many: what seems to be missing may be among them.
    partial: bool,
    key: Option<key::Key>,
}

impl Sent {
    /// Once, whatever it is sent.
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
}

type Secret = Zeroizing<Vec<u8>>;
