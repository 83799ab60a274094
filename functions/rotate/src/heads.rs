//! Statements of the audit chains' heads: every hour, the next ones are signed and stored.
//!
//! A statement is stored under its number on the condition that there is none: a run that ends between two calls leaves
//! no gap, and of two runs at the same time only one makes the next statement. What did not get into the last complete
//! statement is looked for again by the next run.

use rootcast_core::audit::{Gathered, Latest, StatedHead, Statement, Unreadable};
use rootcast_core::device::SHARDS;
use rootcast_core::metric::Metric;
use rootcast_ledger::LedgerError;
use rootcast_pki::notary::open;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::{App, RotateError};

/// Statements that are read in one call.
const PAGE: u32 = 20;

/// A stack that is made again under its name begins with statement 1, by another key: not where the first one's are.
fn folder(jws: &str) -> Result<String, Unreadable> {
    Ok(open(jws)?.key.to_string().chars().take(16).collect())
}

impl App {
    /// # Errors
    /// If heads could not be read, or a statement could not be signed or stored. The next run continues.
    pub(crate) async fn state_heads(&self, deadline: Instant) -> Result<(), RotateError> {
        let mut last = match self.ledger.last_statement().await? {
            Some(jws) => Latest::read(&jws)?,
            None => Latest::NONE,
        };
        let (since, now) = (last.since(), (self.clock)());
        let (mut gathered, mut unreadable) = (Gathered::default(), 0);
        for shard in 0..SHARDS {
            let mut after = None;
            loop {
                let page = self.ledger.heads_changed(shard, since, after).await?;
                unreadable += page.unreadable;
                for head in page.heads {
                    let Some(full) = gathered.add(head) else { continue };
                    let Some(made) = self.state(&last, full, now, false).await? else { return Ok(()) };
                    last = made;
                }
                if Instant::now() >= deadline {
                    // Only with millions of chains: one million takes a minute or two.
                    warn!(audit.shard = shard, "not all heads were read in time; the next run begins again");
                    return Ok(());
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        if unreadable > 0 {
            self.count(Metric::AuditHeadsUnreadable, unreadable, now);
        }
        if self.state(&last, gathered.rest(), now, true).await?.is_some() {
            self.count(Metric::AuditHeadsSigned, 1, now);
        }
        Ok(())
    }

    #[expect(clippy::print_stdout, reason = "CloudWatch reads metrics from the log's own lines")]
    fn count(&self, metric: Metric, value: u64, now: OffsetDateTime) {
        println!("{}", metric.line(value, &self.stack, now));
    }

    /// Copies to the bucket what is stored and not noted as copied. A copy is noted after it was made, so a run may put it
    /// again, which changes nothing: its name contains the statement's SHA-256.
    ///
    /// # Errors
    /// If a statement could not be read or copied. The next run begins with it.
    pub(crate) async fn copy_heads(&self, deadline: Instant) -> Result<(), RotateError> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let mut after = Some(self.ledger.copied_statement().await?);
        while let Some(last) = after {
            let page = self.ledger.statements(last, PAGE).await?;
            for jws in page.statements {
                if Instant::now() >= deadline {
                    warn!("not all statements were copied to the bucket in time; the next run continues");
                    return Ok(());
                }
                let Latest { number, sha256, .. } = Latest::read(&jws)?;
                let name = format!("{}/{number:012}-{sha256}.jws", folder(&jws)?);
                if let Err(why) = bucket.put(&name, &jws).await {
                    error!(audit.statement = number, error = %why, "not copied to the bucket; the next run tries again");
                    return Err(why.into());
                }
                info!(audit.statement = number, audit.sha256 = %sha256, "copied to the bucket");
                self.ledger.note_copied(number).await?;
            }
            after = page.next;
        }
        Ok(())
    }

    /// Signs and stores the statement after `last`. `None` if another run has stored one meanwhile.
    async fn state(
        &self,
        last: &Latest,
        heads: Vec<StatedHead>,
        now: OffsetDateTime,
        complete: bool,
    ) -> Result<Option<Latest>, RotateError> {
        let chains = heads.len();
        let statement = Statement::after(last, heads, now, complete);
        let jws = self.notary.sign(&statement.payload()?).await?;
        let made = Latest::read(&jws)?;
        match self.ledger.put_statement(made.number, jws.clone()).await {
            Ok(()) => {
                info!(audit.statement = made.number, audit.sha256 = %made.sha256, audit.chains = chains, "heads stated");
                Ok(Some(made))
            }
            // The answer to the first attempt may have been lost: then it is ours that is there.
            Err(LedgerError::Conflict)
                if self.ledger.statements(last.number, 1).await?.statements == [jws.as_str()] =>
            {
                Ok(Some(made))
            }
            Err(LedgerError::Conflict) => {
                warn!(audit.statement = made.number, "another run was faster");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}
