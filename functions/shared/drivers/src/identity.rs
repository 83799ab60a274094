//! The certificate to install on a device: with its chain, and with its private key unless the device created the
//! key.

use std::fmt;

use rootcast_core::device::{Pin, Profile};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::pem::{encode, encoded_length};

/// Number of consecutive base64 characters of the key that count as a leak of it.
const TELLING: usize = 20;

/// Copies of the key held here are wiped from memory when dropped. Never printed.
pub struct Identity {
    leaf: Certificate,
    chain: Vec<Certificate>,
    /// PKCS #8, DER. `None` if the device created the key itself.
    key: Option<Zeroizing<Vec<u8>>>,
}

impl Identity {
    /// `chain`: the leaf's issuer first. `key`: the leaf's key in unencrypted PKCS #8 DER; `None` if the device
    /// created it.
    pub const fn new(leaf: Certificate, chain: Vec<Certificate>, key: Option<Zeroizing<Vec<u8>>>) -> Self {
        Self { leaf, chain, key }
    }

    /// SHA-256 of the leaf's DER.
    pub fn leaf(&self) -> Fingerprint {
        self.leaf.fingerprint()
    }

    pub(crate) const fn certificate(&self) -> &Certificate {
        &self.leaf
    }

    pub(crate) fn validity(&self) -> (OffsetDateTime, OffsetDateTime) {
        (self.leaf.not_before(), self.leaf.not_after())
    }

    /// Pins the key, so that the device is still recognised after its certificate is renewed.
    pub fn pin(&self) -> Pin {
        Pin::Key(Fingerprint::of(self.leaf.spki_der()))
    }

    /// Whether `pin` matches a device that shows this certificate.
    pub fn is_let_in_by(&self, pin: &Pin) -> bool {
        *pin == self.pin() || *pin == Pin::Certificate(self.leaf())
    }

    pub(crate) const fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Whether a device of this profile does not serve the certificate of the leaf's issuing authority. Links, which all
    /// others that a root signs are, are for those clients alone that do not have the new root yet.
    pub fn is_served_alone(&self, profile: Profile) -> bool {
        !profile.takes_chain() && self.chain.first().is_some_and(|issuer| issuer.path_length() == Some(0))
    }

    pub(crate) fn has_chain(&self) -> bool {
        !self.chain.is_empty()
    }

    /// Leaf, optional chain, key: the order required by web servers that read one file.
    pub(crate) fn pem(&self, with_chain: bool) -> Zeroizing<String> {
        let chain = if with_chain { self.chain.as_slice() } else { &[] };
        let certificates = || std::iter::once(&self.leaf).chain(chain).map(Certificate::der);
        let key = self.key.as_deref();
        let length = certificates().chain(key.map(Vec::as_slice)).map(encoded_length).sum();
        let mut text = Zeroizing::new(String::with_capacity(length));
        for certificate in certificates() {
            encode("CERTIFICATE", certificate, &mut text);
        }
        if let Some(key) = key {
            encode("PRIVATE KEY", key, &mut text);
        }
        text
    }

    /// Whether a device's text contains a part of the key, with any line breaks.
    pub(crate) fn is_told_in(&self, words: &str) -> bool {
        let Some(key) = &self.key else { return false };
        let letters = |text: &str| -> Zeroizing<Vec<u8>> {
            let is_base64 = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
            Zeroizing::new(text.bytes().filter(is_base64).collect())
        };
        let mut pem = Zeroizing::new(String::with_capacity(encoded_length(key)));
        encode("", key, &mut pem);
        let body = pem.split("-----").nth(2).unwrap_or_default();
        let (key, words) = (letters(body), letters(&words.replace("\\n", "").replace("\\r", "")));
        words.windows(TELLING).any(|part| key.windows(TELLING).any(|secret| part == secret))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.leaf())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn identity() -> (Identity, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::default().self_signed(&key).unwrap();
        let leaf = Certificate::from_der(leaf.der().to_vec()).unwrap();
        let chain = vec![leaf.clone()];
        (Identity::new(leaf, chain, Some(Zeroizing::new(key.serialize_der()))), key)
    }

    #[test]
    fn the_pem_is_leaf_chain_key_and_never_reallocates() {
        let (identity, key) = identity();
        let text = identity.pem(true);
        assert_eq!(*text, format!("{0}{0}{1}", identity.leaf.pem(), key.serialize_pem().replace('\r', "")));
        let length = 2 * encoded_length(identity.leaf.der()) + encoded_length(identity.key.as_ref().unwrap());
        assert!(text.len() <= length && text.capacity() == length);
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.leaf()));
    }

    #[test]
    fn a_profile_for_the_leaf_alone_leaves_the_issuer_out() {
        let key = KeyPair::generate().unwrap();
        let made = |is_ca| {
            let mut params = CertificateParams::default();
            params.is_ca = is_ca;
            Certificate::from_der(params.self_signed(&key).unwrap().der().to_vec()).unwrap()
        };
        let leaf = made(IsCa::ExplicitNoCa);
        let issuing = made(IsCa::Ca(BasicConstraints::Constrained(0)));
        let link = made(IsCa::Ca(BasicConstraints::Unconstrained));
        let alone = |chain: &[&Certificate], profile| {
            let chain = chain.iter().copied().cloned().collect();
            Identity::new(leaf.clone(), chain, None).is_served_alone(profile)
        };
        assert!(alone(&[&issuing, &link], Profile::LenovoXcc));
        for profile in [Profile::Dmtf, Profile::Openbmc] {
            assert!(!alone(&[&issuing, &link], profile), "{profile}");
        }
        // A root signed it.
        assert!(!alone(&[&link], Profile::LenovoXcc) && !alone(&[], Profile::LenovoXcc));
    }

    #[test]
    fn a_pem_without_a_key_has_only_certificates() {
        let (identity, key) = identity();
        let (leaf, alone) = (identity.leaf.pem(), Identity { key: None, ..identity });
        assert_eq!((&*alone.pem(true), &*alone.pem(false)), (&format!("{leaf}{leaf}"), &leaf));
        assert!(!alone.is_told_in(&key.serialize_pem()));
    }

    #[test]
    fn a_leaked_key_is_found_despite_line_breaks() {
        let (identity, key) = identity();
        let pem = key.serialize_pem();
        let middle = &pem[40..80];
        for words in [
            pem.clone(),
            pem.replace('\n', "\\n"),
            pem.replace('\n', " "),
            format!("no good: {middle}..."),
            middle.chars().flat_map(|c| [c, ' ']).collect(),
        ] {
            assert!(identity.is_told_in(&words), "{words}");
        }
        assert!(!identity.is_told_in(""));
        assert!(!identity.is_told_in("The value of the property is not accepted by this management controller."));
    }
}
