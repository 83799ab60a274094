//! Our own live roots, the issuing authorities below them, and roots of others: the trusted certificates that devices
//! hold, and the public ones. A chain may end at one without containing it.

use std::sync::{Arc, OnceLock};

use rootcast_core::anchors::AnchorState;
use rootcast_ledger::{Ledger, LedgerError};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::hierarchy::Hierarchy;
use rootcast_pki::import::{Anchors, Checked, Material, Problem, Problems, Warning, check, check_with};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tracing::warn;

/// Read when the first chain is checked, and again when a chain is incomplete, because its issuer may be new, or ends at
/// one of ours, because that may be new, revoked or no longer trusted.
#[derive(Debug)]
pub struct Roots {
    ledger: Ledger,
    read: Mutex<Option<Arc<Ours>>>,
    /// Read when a chain is incomplete for the first time.
    public: OnceLock<Vec<Certificate>>,
    read_public: fn() -> Vec<Certificate>,
}

/// The operating system's roots, which are Mozilla's in AWS Lambda: Amazon keeps them up to date with the runtime.
pub fn public_roots() -> Vec<Certificate> {
    let read = rustls_native_certs::load_native_certs();
    if read.certs.is_empty() {
        warn!(errors = ?read.errors, "there are no public roots: a chain that ends at one is incomplete unless it is sent");
    }
    read.certs.iter().filter_map(|der| Certificate::from_der(der.as_ref()).ok()).collect()
}

#[derive(Debug, PartialEq)]
struct Ours {
    hierarchy: Hierarchy,
    /// Roots, and issuing authorities.
    authorities: Vec<Certificate>,
    /// Of others, which devices hold or get.
    trusted: Vec<Certificate>,
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
    /// `public`: the roots of public authorities, such as [`public_roots`].
    pub fn new(ledger: Ledger, public: fn() -> Vec<Certificate>) -> Self {
        Self { ledger, read: Mutex::default(), public: OnceLock::new(), read_public: public }
    }

    /// Checks, and completes a chain that ends at one of ours or others'. Costs three calls for such a chain and for an
    /// incomplete one (four where there are trusted certificates of others), none for any other; the first time, as many
    /// more. `allow_incomplete`: accepts a chain whose end is not found.
    pub(crate) async fn check(
        &self,
        material: &Material<'_>,
        allow_incomplete: bool,
        now: OffsetDateTime,
    ) -> Result<Result<Checked, Refused>, LedgerError> {
        let known = self.known().await?;
        let checked = check(material, &known.authorities, now);
        let is_elsewhere = match &checked {
            Ok(checked) => {
                let (leaf, chain) = (&checked.leaf, &checked.chain);
                known.hierarchy.complete(leaf, chain).is_none() && known.hierarchy.gone_above(leaf, chain).is_none()
            }
            Err(problems) => !is_incomplete(problems),
        };
        if is_elsewhere {
            return Ok(checked.map_err(Refused::Checks));
        }
        let newer = Arc::new(self.load().await?);
        *self.read.lock().await = Some(Arc::clone(&newer));
        let mut checked = if newer == known { checked } else { check(material, &newer.authorities, now) };
        if checked.as_ref().is_err_and(is_incomplete) {
            let public = self.public.get_or_init(self.read_public);
            let others = [newer.trusted.as_slice(), public.as_slice()].concat();
            let anchors = Anchors { ours: &newer.authorities, others: &others, allow_incomplete };
            checked = check_with(material, anchors, now);
        }
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
        // One that has just been withdrawn from the devices is no end of a chain any more.
        let anchors = self.ledger.anchors(&authority).await?;
        let trusted = anchors.iter().filter(|anchor| anchor.state != AnchorState::Removing);
        let trusted = trusted.map(|anchor| anchor.certificate.clone()).collect();
        Ok(Ours { hierarchy, authorities, trusted })
    }
}

fn is_incomplete(problems: &Problems) -> bool {
    problems.iter().any(|problem| matches!(problem, Problem::ChainIncomplete { .. }))
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
