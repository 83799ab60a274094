//! Our own live root certificates, to which a chain may lead without holding its root.

use std::sync::Arc;

use rootcast_core::certificate::Certificate;
use rootcast_ledger::{Ledger, LedgerError};
use time::{Duration, OffsetDateTime};
use tokio::sync::Mutex;

/// A root that was made meanwhile is found after so long: whoever sends incomplete chains causes no more reads.
const LOOK_AGAIN: Duration = Duration::SECOND;

/// Read when the first chain is checked, and again when one is incomplete without a root that may be new.
#[derive(Debug)]
pub struct Roots {
    ledger: Ledger,
    read: Mutex<Option<(OffsetDateTime, Arc<[Certificate]>)>>,
}

impl Roots {
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, read: Mutex::default() }
    }

    /// Two calls the first time, none from then on.
    pub(crate) async fn known(&self, now: OffsetDateTime) -> Result<Arc<[Certificate]>, LedgerError> {
        let mut read = self.read.lock().await;
        if let Some((_, roots)) = &*read {
            return Ok(Arc::clone(roots));
        }
        let roots = self.load().await?;
        *read = Some((now, Arc::clone(&roots)));
        Ok(roots)
    }

    /// What there is now, where it is other than `known`.
    pub(crate) async fn newer(
        &self,
        known: &Arc<[Certificate]>,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<[Certificate]>>, LedgerError> {
        let mut read = self.read.lock().await;
        if read.as_ref().is_none_or(|(at, _)| now - *at >= LOOK_AGAIN) {
            *read = Some((now, self.load().await?));
        }
        Ok(read.as_ref().map(|(_, roots)| Arc::clone(roots)).filter(|roots| roots != known))
    }

    async fn load(&self) -> Result<Arc<[Certificate]>, LedgerError> {
        let authority = self.ledger.authority().await?;
        let generations = self.ledger.roots(&authority).await?;
        Ok(generations.into_iter().filter(|root| root.state.is_live()).filter_map(|root| root.certificate).collect())
    }
}
