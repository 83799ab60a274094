//! Good and bad import material: each case has a name, the material, and the expected result.
//!
//! A bad case is a good one with exactly one fault. Everything is generated in each run. Only keys of kinds that AWS-LC
//! does not make, encrypted keys and PKCS #12 come from the `openssl` command.

pub(crate) mod certificate;
pub(crate) mod chains;
pub(crate) mod code;
pub(crate) mod der;
mod found;
mod framing;
mod hostile;
pub(crate) mod key;
mod keys;
mod leaves;
mod names;
mod oddities;
pub(crate) mod openssl;
pub(crate) mod pkcs12;
mod relatives;

use std::sync::OnceLock;

use self::certificate::{Authority, Spec};
use self::key::{Key, Kind, pem};

#[derive(Clone)]
pub(crate) struct Case {
    /// What is special about the case, as a phrase.
    pub(crate) name: &'static str,
    pub(crate) input: Input,
    /// Our own generations, as DER.
    pub(crate) own_roots: Vec<Vec<u8>>,
    pub(crate) expected: Expected,
    /// The certificates and the key, if the case is about them and not about their encoding as text.
    pub(crate) bundle: Option<Bundle>,
}

#[derive(Clone)]
pub(crate) enum Input {
    Pem { certificate: String, certificate_chain: Option<String>, private_key: String },
    Pkcs12 { der: Vec<u8>, password: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Imported, with this many certificates above the leaf, and this many warnings.
    Imported { chain: usize, warnings: usize },
    /// Refused with exactly these codes, in this order.
    Refused(&'static [&'static str]),
}

#[derive(Clone)]
pub(crate) struct Bundle {
    pub(crate) leaf: Vec<u8>,
    pub(crate) others: Vec<Vec<u8>>,
    pub(crate) own_roots: Vec<Vec<u8>>,
    /// PEM.
    pub(crate) key: String,
}

/// All cases, generated once per process.
pub(crate) fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        [
            leaves::cases(),
            chains::cases(),
            keys::cases(),
            oddities::cases(),
            framing::cases(),
            hostile::cases(),
            pkcs12::cases(),
            found::cases(),
            names::cases(),
            relatives::cases(),
        ]
        .concat()
    })
}

impl Bundle {
    pub(crate) fn text(&self) -> String {
        std::iter::once(&self.leaf).chain(&self.others).map(|der| pem("CERTIFICATE", der)).collect()
    }

    pub(crate) fn input(&self) -> Input {
        let chain: String = self.others.iter().map(|der| pem("CERTIFICATE", der)).collect();
        Input::Pem {
            certificate: pem("CERTIFICATE", &self.leaf),
            certificate_chain: (!chain.is_empty()).then_some(chain),
            private_key: self.key.clone(),
        }
    }

    pub(crate) fn with_key(mut self, key: String) -> Self {
        self.key = key;
        self
    }

    pub(crate) fn with_others(mut self, others: &[&[u8]]) -> Self {
        self.others = others.iter().map(|der| der.to_vec()).collect();
        self
    }

    pub(crate) fn with_own_roots(mut self, own_roots: &[&[u8]]) -> Self {
        self.own_roots = own_roots.iter().map(|der| der.to_vec()).collect();
        self
    }
}

pub(crate) const HOST: &str = "bmc-0001.fleet.example";

/// The certificate authorities of ordinary cases, with their keys and the keys of leaves.
pub(crate) struct Pki {
    pub(crate) root: Authority,
    pub(crate) intermediate: Authority,
}

pub(crate) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let root = Spec::authority("Test Root", root_key()).self_signed(root_key());
        let intermediate = intermediate().authority_by(intermediate_key(), &root);
        Pki { root, intermediate }
    })
}

pub(crate) fn root_key() -> &'static Key {
    Key::shared(Kind::P256, 0)
}

pub(crate) fn intermediate_key() -> &'static Key {
    Key::shared(Kind::P256, 1)
}

pub(crate) fn leaf_key() -> &'static Key {
    Key::shared(Kind::P256, 2)
}

pub(crate) fn other_key() -> &'static Key {
    Key::shared(Kind::P256, 3)
}

pub(crate) fn intermediate() -> Spec {
    Spec::authority("Test Issuing", intermediate_key())
}

/// Leaf, intermediate and root, with a change in the leaf.
pub(crate) fn leaf_with(change: impl FnOnce(&mut Spec)) -> Bundle {
    let mut leaf = Spec::leaf(HOST, leaf_key());
    change(&mut leaf);
    issued(leaf.signed_by(&pki().intermediate), leaf_key())
}

/// Leaf, intermediate and root; the leaf has this key.
pub(crate) fn leaf_of(key: &Key) -> Bundle {
    issued(Spec::leaf(HOST, key).signed_by(&pki().intermediate), key)
}

fn issued(leaf: Vec<u8>, key: &Key) -> Bundle {
    Bundle { leaf, others: Vec::new(), own_roots: Vec::new(), key: key.pem() }
        .with_others(&[&pki().intermediate.der, &pki().root.der])
}

/// Leaf, intermediate and root, with a change in the intermediate.
pub(crate) fn intermediate_with(change: impl FnOnce(&mut Spec)) -> Bundle {
    let mut intermediate = intermediate();
    change(&mut intermediate);
    below(&[&intermediate.authority_by(intermediate_key(), &pki().root), &pki().root])
}

/// Leaf, intermediate and root, with a change in the root.
pub(crate) fn root_with(change: impl FnOnce(&mut Spec)) -> Bundle {
    let mut root = Spec::authority("Test Root", root_key());
    change(&mut root);
    let root = root.self_signed(root_key());
    below(&[&intermediate().authority_by(intermediate_key(), &root), &root])
}

/// An ordinary leaf, issued by the first of these authorities and sent with all of them.
pub(crate) fn below(authorities: &[&Authority]) -> Bundle {
    let leaf = Spec::leaf(HOST, leaf_key()).signed_by(authorities[0]);
    let others: Vec<&[u8]> = authorities.iter().map(|authority| authority.der.as_slice()).collect();
    issued(leaf, leaf_key()).with_others(&others)
}

/// Imported completely.
fn imported(name: &'static str, bundle: Bundle) -> Case {
    imported_without(name, 0, bundle)
}

/// Imported without this many certificates that are not part of the chain.
fn imported_without(name: &'static str, dropped: usize, bundle: Bundle) -> Case {
    judged(name, Expected::Imported { chain: bundle.others.len() - dropped, warnings: dropped }, bundle)
}

fn refused(name: &'static str, codes: &'static [&'static str], bundle: Bundle) -> Case {
    judged(name, Expected::Refused(codes), bundle)
}

fn judged(name: &'static str, expected: Expected, bundle: Bundle) -> Case {
    Case { name, input: bundle.input(), own_roots: bundle.own_roots.clone(), expected, bundle: Some(bundle) }
}

/// A case about the encoding as text, which other certificate parsers cannot judge.
fn written(name: &'static str, expected: Expected, input: Input) -> Case {
    Case { name, input, own_roots: Vec::new(), expected, bundle: None }
}
