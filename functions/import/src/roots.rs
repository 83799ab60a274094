//! Our own live roots, and the issuing authorities below them. A chain may end at one without containing it.

use std::sync::Arc;

use rootcast_ledger::{Ledger, LedgerError};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::hierarchy::Hierarchy;
use rootcast_pki::import::{Checked, Material, Problem, Problems, Warning, check};
use time::OffsetDateTime;
use tokio::sync::Mutex;

/// Read when the first chain is checked, and again when a chain is incomplete, because its issuer may be new, or ends at
/// one of ours, because that may be new, revoked or no longer trusted.
#[derive(Debug)]
pub struct Roots {
    ledger: Ledger,
    read: Mutex<Option<Arc<Ours>>>,
}

#[derive(Debug, PartialEq)]
struct Ours {
    hierarchy: Hierarchy,
    /// Roots, and issuing authorities.
    authorities: Vec<Certificate>,
}

/// Why a certificate is not stored.
#[derive(Debug)]
pub(crate) enum Refused {
    Checks(Problems),
    /// It is below an issuing authority of ours that is revoked: the subject.
    IssuerRevoked(String),
    /// It is below a root of ours that devices no longer trust: the subject.
    RootDistrusted(String),
}

impl Roots {
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, read: Mutex::default() }
    }

    /// Checks, and completes a chain that ends at one of ours. Costs three calls for such a chain and for an incomplete one,
    /// none for any other; the first time, three more.
    pub(crate) async fn check(
        &self,
        material: &Material<'_>,
        now: OffsetDateTime,
    ) -> Result<Result<Checked, Refused>, LedgerError> {
        let known = self.known().await?;
        let checked = check(material, &known.authorities, now);
        let is_elsewhere = match &checked {
            Ok(checked) => {
                let (leaf, chain) = (&checked.leaf, &checked.chain);
                known.hierarchy.complete(leaf, chain).is_none() && known.hierarchy.gone_above(leaf, chain).is_none()
            }
            Err(problems) => !problems.iter().any(|problem| matches!(problem, Problem::ChainIncomplete { .. })),
        };
        if is_elsewhere {
            return Ok(checked.map_err(Refused::Checks));
        }
        let newer = Arc::new(self.load().await?);
        *self.read.lock().await = Some(Arc::clone(&newer));
        let checked = if newer == known { checked } else { check(material, &newer.authorities, now) };
        Ok(checked.map_err(Refused::Checks).and_then(|checked| newer.complete(checked)))
    }

    async fn known(&self) -> Result<Arc<Ours>, LedgerError> {
        let mut read = self.read.lock().await;
        if let Some(ours) = &*read {
            return Ok(Arc::clone(ours));
        }
        let ours = Arc::new(self.load().await?);
        *read = Some(Arc::clone(&ours));
        Ok(ours)
    }

    async fn load(&self) -> Result<Ours, LedgerError> {
        let authority = self.ledger.authority().await?;
        let hierarchy = self.ledger.hierarchy(&authority).await?;
        let authorities = hierarchy.roots().chain(hierarchy.issuing()).cloned().collect();
        Ok(Ours { hierarchy, authorities })
    }
}

impl Ours {
    /// With what the sender left out of our part of the chain, and without our root, which no client needs from a server.
    /// What was sent of that part was not dropped, even where the path does not need it.
    fn complete(&self, mut checked: Checked) -> Result<Checked, Refused> {
        if let Some(revoked) = self.hierarchy.revoked_above(&checked.leaf, &checked.chain) {
            return Err(Refused::IssuerRevoked(revoked.subject_dn().to_owned()));
        }
        if let Some(gone) = self.hierarchy.gone_above(&checked.leaf, &checked.chain) {
            return Err(Refused::RootDistrusted(gone.subject_dn().to_owned()));
        }
        let Some(whole) = self.hierarchy.complete(&checked.leaf, &checked.chain) else { return Ok(checked) };
        let ours: Vec<_> = whole.chain.iter().chain(self.hierarchy.roots()).map(Certificate::fingerprint).collect();
        checked
            .warnings
            .retain(|warning| !matches!(warning, Warning::Dropped { fingerprint, .. } if ours.contains(fingerprint)));
        checked.chain = whole.chain;
        Ok(checked)
    }
}
