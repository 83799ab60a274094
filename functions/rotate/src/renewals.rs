//! Finds the devices' own certificates that are due, and asks the conductor to renew them, some in one job.
//!
//! The conductor decides by the records, and counts the hour: what is asked for twice begins once.

use futures::{StreamExt, TryStreamExt, stream};
use rootcast_core::deployment::renewal::MOST_RENEWED;
use rootcast_core::device::SHARDS;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::message::Renew;
use rootcast_ledger::LedgerError;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{App, CONCURRENCY, RotateError};

/// Certificates of each shard that are asked for beyond twice its share. What cannot be read stays the first of its shard, and
/// what was renewed lately is only looked at, whether its device shows it: neither takes the turn of what is due.
const MARGIN: usize = 10;

/// Most seconds over which the messages are spread: SQS's limit.
const SPREAD: usize = 900;

impl App {
    /// Sixteen calls if nothing is due, and one for each 18 certificates that are.
    ///
    /// # Errors
    /// A shard could not be read, or a message not be sent. What was found is asked for.
    pub(crate) async fn ask_for_renewals(&self, deadline: Instant) -> Result<(), RotateError> {
        if !self.renewal.is_on() {
            return Ok(());
        }
        let now = (self.clock)();
        // No shard takes another one's turn: the first hour after a long pause has all of them in it.
        let share = (self.renewals_an_hour as usize).div_ceil(usize::from(SHARDS));
        let most = share * 2 + MARGIN;
        let shards = stream::iter(0..SHARDS).map(|shard| self.ledger.due_for_renewal(shard, now, most));
        let found: Vec<Result<_, LedgerError>> = shards.buffered(CONCURRENCY).collect().await;
        let (mut due, mut beyond, mut outcome) = (Vec::new(), Vec::new(), Ok(()));
        for shard in found {
            match shard {
                Ok(mut certificates) => {
                    beyond.extend(certificates.split_off(share.min(certificates.len())));
                    due.extend(certificates);
                }
                // It does not hold up the others.
                Err(error) => outcome = Err(error.into()),
            }
        }
        due.extend(beyond);
        let batches: Vec<Renew> =
            due.chunks(MOST_RENEWED).map(|some: &[CertificateId]| Renew { renew: some.to_vec() }).collect();
        if !batches.is_empty() {
            info!(certificates = due.len(), jobs = batches.len(), "certificates are due for renewal");
        }
        let parts = batches.len();
        let sent = stream::iter(batches.iter().enumerate().map(Ok)).try_for_each_concurrent(
            CONCURRENCY,
            |(number, batch)| async move {
                if Instant::now() >= deadline {
                    warn!("not all renewals were asked for in time; the next run continues");
                    return Ok(());
                }
                let seconds = u32::try_from(number * SPREAD / parts).unwrap_or_default();
                self.queue.send_later(&self.control_queue, batch, seconds).await
            },
        );
        outcome.and(sent.await.map_err(RotateError::from))
    }
}
