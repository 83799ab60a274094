//! Counts what a function uses: each attempt at a call to AWS, in an interceptor of every client, and how long it runs.
//!
//! A process has one invocation at a time. Whoever writes a job's record or counters takes what was counted since the last
//! such write, and adds it to what it writes anyway. What is counted after the last write of a process is not recorded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use rootcast_core::job::JobId;
use rootcast_core::usage::Usage;
use tokio::time::Instant;

/// Lambda receives and deletes so many messages by a request.
const BATCH: usize = 10;
/// For each batch: Lambda receives it, and deletes it.
const REQUESTS_OF_BATCH: u64 = 2;
/// Jobs that a process remembers. A conductor has few.
const MOST_LEFT: usize = 1000;

/// A client of this SDK whose calls are counted.
#[macro_export]
macro_rules! client {
    ($sdk:ident, $config:expr, $meter:expr) => {
        $sdk::Client::from_conf($sdk::config::Builder::from($config).interceptor($meter.clone()).build())
    };
}

/// Of a process; clones count together. The default counts nothing.
#[derive(Debug, Clone, Default)]
pub struct Meter(Option<Arc<Mutex<Counted>>>);

#[derive(Debug)]
struct Counted {
    used: Usage,
    /// What was counted for a job after its last write.
    left: BTreeMap<JobId, Usage>,
    /// In MB.
    memory: u64,
    /// Up to when the present invocation's time is counted.
    since: Option<Instant>,
}

impl Counted {
    fn count_time(&mut self) {
        let Some(since) = self.since else { return };
        let now = Instant::now();
        let millis = u64::try_from((now - since).as_millis()).unwrap_or(0);
        self.used.megabyte_millis += self.memory * millis;
        self.since = Some(now);
    }
}

impl Meter {
    /// `memory`: the function's, in MB, which Lambda says in `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`.
    pub fn new(memory: u64) -> Self {
        let counted = Counted { used: Usage::default(), left: BTreeMap::new(), memory, since: None };
        Self(Some(Arc::new(Mutex::new(counted))))
    }

    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    fn counted(&self) -> Option<MutexGuard<'_, Counted>> {
        Some(self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts an invocation, and its time until the answer is dropped. `messages`: so many Lambda took for it
    /// from a queue.
    #[must_use]
    pub fn run(&self, messages: usize) -> Running {
        if let Some(mut counted) = self.counted() {
            counted.used.invocations += 1;
            counted.used.queue_requests += REQUESTS_OF_BATCH * messages.div_ceil(BATCH) as u64;
            counted.since = Some(Instant::now());
        }
        Running(self.clone())
    }

    pub fn add(&self, used: Usage) {
        if let Some(mut counted) = self.counted() {
            counted.used += used;
        }
    }

    /// What was counted since it was last taken. If the write fails, [`Self::add`] gives it back.
    pub fn take(&self) -> Usage {
        self.counted().map_or(Usage::default(), |mut counted| {
            counted.count_time();
            std::mem::take(&mut counted.used)
        })
    }

    /// From now on the job is worked at.
    pub fn resume(&self, job: JobId) {
        if let Some(mut counted) = self.counted() {
            let left = counted.left.remove(&job).unwrap_or_default();
            counted.used += left;
        }
    }

    /// From now on another job may be worked at.
    pub fn leave(&self, job: JobId) {
        let used = self.take();
        let Some(mut counted) = self.counted() else { return };
        if counted.left.len() >= MOST_LEFT {
            counted.left.clear();
        }
        *counted.left.entry(job).or_default() += used;
    }
}

/// An invocation under way.
#[derive(Debug)]
pub struct Running(Meter);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut counted) = self.0.counted() {
            counted.count_time();
            counted.since = None;
        }
    }
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Some(called), Some(mut counted)) = (config.load::<Metadata>(), self.counted()) {
            counted.used.count_call(called.service(), called.name());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_time_of_invocations_counts() {
        let meter = Meter::new(256);
        let running = meter.run(3);
        sleep(Duration::from_secs(2)).await;
        let used = meter.take();
        assert_eq!((used.megabyte_millis, used.invocations, used.queue_requests), (512_000, 1, 2));
        sleep(Duration::from_secs(1)).await;
        drop(running);
        sleep(Duration::from_secs(60)).await;
        let running = meter.run(0);
        drop(running);
        assert_eq!(meter.take(), Usage { megabyte_millis: 256_000, invocations: 1, ..Usage::default() });
    }

    #[tokio::test]
    async fn what_is_left_of_a_job_waits_for_it() {
        let (meter, one) = (Meter::new(256), Usage { database_calls: 1, ..Usage::default() });
        meter.resume(JobId(1));
        meter.add(one);
        meter.leave(JobId(1));
        meter.resume(JobId(2));
        assert_eq!(meter.take(), Usage::default());
        meter.resume(JobId(1));
        assert_eq!((meter.take(), meter.take()), (one, Usage::default()));
    }

    #[tokio::test]
    async fn the_default_counts_nothing() {
        let meter = Meter::default();
        meter.add(Usage { database_calls: 1, ..Usage::default() });
        let _running = meter.run(1);
        assert!(!meter.is_on() && meter.take().is_nothing());
    }
}
