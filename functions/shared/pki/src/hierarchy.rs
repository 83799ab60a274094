//! What follows a certificate of ours in a chain, so that it verifies wherever one of our live roots is trusted.
//!
//! With three generations, a certificate of the second one is given as
//!
//! ```text
//! leaf, issuing authority, G2 by G3, G3 by G2, G2 by G1
//! ```
//!
//! Each certificate is signed by the next one, so that a verifier which never goes back finds every root: who trusts G3
//! or G2 stops on the way, and who trusts G1 follows to the end. The two that have G2's name and key stand apart on
//! purpose: side by side, OpenSSL takes the first and never looks at the other. Verifiers that refuse to visit a name
//! twice (webpki, Go) do go back, and find the shorter way.

use crate::certificate::Certificate;

/// A root that is trusted somewhere, with its links to the generation before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    pub root: Certificate,
    /// This key, signed by the generation before.
    pub new_with_old: Option<Certificate>,
    /// The key of the generation before, signed by this one.
    pub old_with_new: Option<Certificate>,
}

/// Our live roots with their links, and the issuing authorities below them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchy {
    /// Oldest first.
    generations: Vec<Generation>,
    issuing: Vec<Certificate>,
    revoked: Vec<Certificate>,
}

/// A chain that ends below one of our roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed<'a> {
    /// What follows the leaf, without any root.
    pub chain: Vec<Certificate>,
    /// The root that the leaf is below.
    pub root: &'a Certificate,
}

impl Hierarchy {
    /// `generations`: live ones, oldest first.
    pub const fn new(generations: Vec<Generation>, issuing: Vec<Certificate>) -> Self {
        Self { generations, issuing, revoked: Vec::new() }
    }

    /// With issuing authorities whose certificate is revoked.
    #[must_use]
    pub fn with_revoked(self, revoked: Vec<Certificate>) -> Self {
        Self { revoked, ..self }
    }

    /// The revoked issuing authority that signed one of these certificates, be its own among them or not.
    pub fn revoked_above(&self, leaf: &Certificate, given: &[Certificate]) -> Option<&Certificate> {
        self.revoked.iter().find(|revoked| std::iter::once(leaf).chain(given).any(|below| signed(below, revoked)))
    }

    /// Oldest first.
    pub fn roots(&self) -> impl Iterator<Item = &Certificate> {
        self.generations.iter().map(|each| &each.root)
    }

    pub fn issuing(&self) -> impl Iterator<Item = &Certificate> {
        self.issuing.iter()
    }

    /// Between live roots.
    pub fn links(&self) -> impl Iterator<Item = &Certificate> {
        (1..self.generations.len()).flat_map(|at| self.down(at).into_iter().chain(self.up(at)))
    }

    /// What follows `leaf`, instead of `given`: what of it is not ours, the issuing authority, and the links. `None` if it
    /// does not lead to a live root.
    pub fn complete(&self, leaf: &Certificate, given: &[Certificate]) -> Option<Completed<'_>> {
        let is_above = |each: &Certificate| self.roots().any(|root| is_same_authority(each, root));
        let mut chain: Vec<_> = given.iter().take_while(|each| !is_above(each)).cloned().collect();
        let last = chain.last().unwrap_or(leaf);
        if let Some(issuing) = self.issuing.iter().find(|issuing| signed(last, issuing)) {
            chain.push(issuing.clone());
        }
        let last = chain.last().unwrap_or(leaf);
        let at = self.generations.iter().position(|each| signed(last, &each.root))?;
        chain.extend(self.path(at).cloned());
        Some(Completed { chain, root: &self.generations[at].root })
    }

    /// What follows a certificate that `root` signed: the links to the other live roots. Nothing if it is not live itself.
    pub fn above(&self, root: &Certificate) -> Vec<Certificate> {
        let at = self.generations.iter().position(|each| each.root == *root);
        at.map(|at| self.path(at).cloned().collect()).unwrap_or_default()
    }

    /// The links that lead to all other live roots from the one at this index: up to the newest one and back, and on down
    /// to the oldest one. Where there is no way back, only those below.
    fn path(&self, at: usize) -> impl Iterator<Item = &Certificate> {
        let ends_here = self.down(at).is_none();
        let up: Vec<_> = (at + 1..self.generations.len())
            .map_while(|above| Some((self.up(above)?, self.down(above))))
            .take_while(|(_, back)| ends_here || back.is_some())
            .collect();
        let back: Vec<_> = up.iter().rev().filter_map(|(_, back)| *back).filter(|_| !ends_here).collect();
        up.into_iter().map(|(up, _)| up).chain(back).chain((1..=at).rev().map_while(|below| self.down(below)))
    }

    /// The link from the generation below to the one at this index.
    fn down(&self, at: usize) -> Option<&Certificate> {
        let below = self.generations.get(at.checked_sub(1)?)?;
        let link = self.generations.get(at)?.new_with_old.as_ref()?;
        // Between them there may have been one that is no longer live.
        (link.issuer_dn() == below.root.subject_dn()).then_some(link)
    }

    /// The link from the generation at this index to the one below.
    fn up(&self, at: usize) -> Option<&Certificate> {
        let below = self.generations.get(at.checked_sub(1)?)?;
        let link = self.generations.get(at)?.old_with_new.as_ref()?;
        is_same_authority(link, &below.root).then_some(link)
    }
}

/// A root and the links to it have its name and key.
fn is_same_authority(one: &Certificate, other: &Certificate) -> bool {
    one.subject_dn() == other.subject_dn() && one.spki_der() == other.spki_der()
}

fn signed(certificate: &Certificate, issuer: &Certificate) -> bool {
    certificate.issuer_dn() == issuer.subject_dn() && certificate.verify_signed_by(issuer).is_ok()
}
