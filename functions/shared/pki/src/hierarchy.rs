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
    gone: Vec<Certificate>,
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
        Self { generations, issuing, revoked: Vec::new(), gone: Vec::new() }
    }

    /// With issuing authorities whose certificate is revoked.
    #[must_use]
    pub fn with_revoked(self, revoked: Vec<Certificate>) -> Self {
        Self { revoked, ..self }
    }

    /// With roots that devices no longer trust.
    #[must_use]
    pub fn with_gone(self, gone: Vec<Certificate>) -> Self {
        Self { gone, ..self }
    }

    /// The root of ours that is no longer trusted, and that this leaf is below. A link from such a root to a live one, which
    /// may still be given, does not count.
    pub fn gone_above(&self, leaf: &Certificate, given: &[Certificate]) -> Option<&Certificate> {
        let is_live = |each: &&Certificate| self.roots().any(|root| is_same_authority(each, root));
        let mut below = std::iter::once(leaf).chain(given.iter().take_while(|each| !is_live(each)));
        below.find_map(|each| self.gone.iter().find(|root| signed(each, root) || is_same_authority(each, root)))
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
        let (mut up, mut back, mut top) = (Vec::new(), Vec::new(), at);
        while let Some(above) = self.after(top) {
            let (Some(link), down) = (self.up(above), self.down(above)) else { break };
            if !ends_here && down.is_none() {
                break;
            }
            up.push(link);
            back.extend(down.filter(|_| !ends_here));
            top = above;
        }
        let below = std::iter::successors(Some(at), |at| self.before(*at)).map_while(|at| self.down(at));
        up.into_iter().chain(back.into_iter().rev()).chain(below)
    }

    /// The generation that the one at this index followed: its links say so. A root that was rolled back, or is no longer
    /// live, may lie between.
    fn before(&self, at: usize) -> Option<usize> {
        let Generation { new_with_old, old_with_new, .. } = self.generations.get(at)?;
        (0..at).rev().find(|below| {
            let root = &self.generations[*below].root;
            new_with_old.as_ref().is_some_and(|link| link.issuer_dn() == root.subject_dn())
                || old_with_new.as_ref().is_some_and(|link| is_same_authority(link, root))
        })
    }

    /// The newest generation that followed the one at this index.
    fn after(&self, at: usize) -> Option<usize> {
        (at + 1..self.generations.len()).rev().find(|above| self.before(*above) == Some(at))
    }

    /// The link from the generation before to the one at this index.
    fn down(&self, at: usize) -> Option<&Certificate> {
        self.before(at)?;
        self.generations.get(at)?.new_with_old.as_ref()
    }

    /// The link from the generation at this index to the one before.
    fn up(&self, at: usize) -> Option<&Certificate> {
        self.before(at)?;
        self.generations.get(at)?.old_with_new.as_ref()
    }
}

/// A root and the links to it have its name and key.
fn is_same_authority(one: &Certificate, other: &Certificate) -> bool {
    one.subject_dn() == other.subject_dn() && one.spki_der() == other.spki_der()
}

fn signed(certificate: &Certificate, issuer: &Certificate) -> bool {
    certificate.issuer_dn() == issuer.subject_dn() && certificate.verify_signed_by(issuer).is_ok()
}
