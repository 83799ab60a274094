//! Which roots and issuing authorities a chain may lead through.

use rootcast_pki::certificate::Certificate;
use rootcast_pki::hierarchy::{Generation, Hierarchy};

use crate::{Authority, IssuingRecord, IssuingState, Ledger, LedgerError, LinkRecord, RootRecord};

impl RootRecord {
    fn generation(&self) -> Option<Generation> {
        let signed = |link: &Option<LinkRecord>| link.as_ref()?.certificate.clone();
        Some(Generation {
            root: self.certificate.clone().filter(|_| self.state.is_live())?,
            new_with_old: signed(&self.new_with_old),
            old_with_new: signed(&self.old_with_new),
        })
    }
}

impl IssuingRecord {
    /// Of an authority that signs or signed, and is not revoked.
    pub fn in_use(&self) -> Option<&Certificate> {
        let in_use = matches!(self.state, IssuingState::Signing | IssuingState::Superseded);
        self.certificate.as_ref().filter(|_| in_use)
    }

    fn revoked(&self) -> Option<&Certificate> {
        self.certificate.as_ref().filter(|_| self.state == IssuingState::Revoked)
    }
}

/// Those of these roots that are live, with their links. `roots`: oldest first.
pub fn live(roots: &[RootRecord]) -> Hierarchy {
    Hierarchy::new(roots.iter().filter_map(RootRecord::generation).collect(), Vec::new())
}

impl Ledger {
    /// The live roots with their links: one call. A record's own chain has its issuing authority.
    pub async fn live_roots(&self, authority: &Authority) -> Result<Hierarchy, LedgerError> {
        Ok(live(&self.roots(authority).await?))
    }

    /// The live roots with their links, and the issuing authorities below them, also revoked ones, and the roots that have left the bundle: two calls, one before there was any issuing
    /// authority.
    pub async fn hierarchy(&self, authority: &Authority) -> Result<Hierarchy, LedgerError> {
        let roots = self.roots(authority).await?;
        let (roots, others): (Vec<_>, Vec<_>) = roots.into_iter().partition(|root| root.state.is_live());
        let gone = others.iter().filter(|root| root.state.has_left()).filter_map(|root| root.certificate.clone());
        let issuing = self.issuings(&roots).await?;
        let in_use = issuing.iter().filter_map(IssuingRecord::in_use).cloned().collect();
        let hierarchy = Hierarchy::new(roots.iter().filter_map(RootRecord::generation).collect(), in_use);
        let hierarchy = hierarchy.with_gone(gone.collect());
        Ok(hierarchy.with_revoked(issuing.iter().filter_map(IssuingRecord::revoked).cloned().collect()))
    }
}
