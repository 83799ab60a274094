//! Our own live root certificates. A chain may end at one without containing it.

use std::sync::Arc;

use rootcast_ledger::{Ledger, LedgerError};
use rootcast_pki::certificate::Certificate;
use tokio::sync::Mutex;

/// Read when the first chain is checked, and again when a chain is incomplete, because its root may be new.
#[derive(Debug)]
pub struct Roots {
    ledger: Ledger,
    read: Mutex<Option<Arc<[Certificate]>>>,
}

impl Roots {
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, read: Mutex::default() }
    }

    /// Two calls the first time, none from then on.
    pub(crate) async fn known(&self) -> Result<Arc<[Certificate]>, LedgerError> {
        let mut read = self.read.lock().await;
        if let Some(roots) = &*read {
            return Ok(Arc::clone(roots));
        }
        let roots = self.load().await?;
        *read = Some(Arc::clone(&roots));
        Ok(roots)
    }

    /// The current roots, if they differ from `known`. Two calls.
    pub(crate) async fn newer(&self, known: &Arc<[Certificate]>) -> Result<Option<Arc<[Certificate]>>, LedgerError> {
        let now = self.load().await?;
        *self.read.lock().await = Some(Arc::clone(&now));
        Ok(Some(now).filter(|roots| roots != known))
    }

    async fn load(&self) -> Result<Arc<[Certificate]>, LedgerError> {
        let authority = self.ledger.authority().await?;
        let generations = self.ledger.roots(&authority).await?;
        Ok(generations.into_iter().filter(|root| root.state.is_live()).filter_map(|root| root.certificate).collect())
    }
}
