//! One message, one device: lease it, bring its trust store or its certificate to the state that the job requires,
//! prove it by reading back, record it. For a certificate that we issue, the worker does the part at the device: it has
//! the device make the key and the CSR, and installs the certificate. In between, it passes the task to the issuer.
//! For a preflight it reads the device, and writes nothing to it.
//!
//! Ten tasks run at a time: what Lambda delivers, and more of the queue as places get free. Results that come together are
//! recorded together, with their job's counters.
//! A message that comes twice, late, or for a paused job changes nothing.

mod attempt;
mod batch;
mod check;
mod config;
mod credentials;
mod goals;
mod install;
mod record;
mod request;
mod shift;
mod trust;
mod visit;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::LambdaEvent;
use rootcast_core::job::message::Task;
use rootcast_core::job::{JobId, JobRecord, Pass};
use rootcast_core::rollover::windows::Schedule;
use rootcast_drivers::Redfish;
use rootcast_events::Events;
use rootcast_ledger::{Authority, BatchRecords, BundleRecord, Ledger, LedgerError};
use rootcast_queue::{Delivery, Queue};
use rootcast_seal::Sealer;
use time::OffsetDateTime;
use tokio::time::Instant;

use shift::Shift;

/// Reserved for recording the last results.
const MARGIN: Duration = Duration::from_secs(3);

/// The function's clients and configuration.
pub struct App {
    pub ledger: Ledger,
    pub queue: Queue,
    pub ssm: aws_sdk_ssm::Client,
    /// Decrypts private keys.
    pub sealer: Sealer,
    pub events: Events,
    pub redfish: Redfish,
    /// Where the devices' own credentials lie: the prefix and the device's id.
    pub credential_prefix: String,
    pub control_queue: String,
    pub task_queue: String,
    pub issue_queue: String,
    /// Time limit for the work on one device.
    pub device_timeout: Duration,
    /// The first wait before a retry, in seconds.
    pub retry_base: u32,
    /// After this many tries, the task is recorded as failed.
    pub max_tries: u32,
    /// The dimension of metrics.
    pub stack: String,
    pub clock: fn() -> OffsetDateTime,
    /// Randomises retries.
    pub random: fn() -> u32,
    /// Cache: bundles never change, and a process sees one or two.
    pub bundles: Mutex<HashMap<u64, Arc<BundleRecord>>>,
}

/// Never fails as a whole: the response names each message that is not done.
pub async fn handle(app: &Arc<App>, event: LambdaEvent<SqsEvent>) -> SqsBatchResponse {
    let _running = app.ledger.meter().run(event.payload.records.len());
    let remaining =
        event.context.deadline().duration_since(SystemTime::from((app.clock)())).unwrap_or(app.device_timeout);
    let until = Instant::now() + remaining.saturating_sub(MARGIN);
    let (deliveries, unreadable) = Delivery::read_all(event.payload);
    let mut answer = SqsBatchResponse::default();
    for id in unreadable {
        // It ends in the dead-letter queue, where an operator can inspect it.
        answer.add_failure(id);
    }
    // Boxed: deeply nested futures overflow the compiler's recursion limit.
    for id in Box::pin(Shift::new(app, event.context.request_id, until).work(deliveries)).await {
        answer.add_failure(id);
    }
    answer
}

impl App {
    /// Of the batch's rollovers: which windows are open. What a person begins by hand has none.
    pub(crate) fn schedules(&self, records: &BatchRecords) -> HashMap<JobId, Arc<Schedule>> {
        let now = (self.clock)();
        let schedule = |(id, job): (&JobId, &JobRecord)| match job {
            JobRecord::Rollover(job) => Some((*id, Arc::new(job.rollout.schedule(now)))),
            JobRecord::Deployment(_) => None,
        };
        records.jobs().iter().filter_map(schedule).collect()
    }

    /// The authority is read only for tasks of devices that join the fleet.
    pub(crate) async fn records(
        &self,
        deliveries: &[Delivery<Task>],
    ) -> Result<(BatchRecords, Authority), LedgerError> {
        let records = self.ledger.batch_records(deliveries).await?;
        let joins = deliveries.iter().any(|delivery| delivery.body.pass == Pass::Join);
        Ok((records, if joins { self.ledger.authority().await? } else { Authority::default() }))
    }
}
