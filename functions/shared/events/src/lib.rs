#![doc = include_str!("../README.md")]

use std::collections::BTreeSet;
use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use rootcast_core::event::{Event, SOURCE};
use rootcast_core::metric::Metric;
use rootcast_ledger::Outlet;
use time::OffsetDateTime;
use tokio::time::timeout;
use tracing::warn;

/// EventBridge's limit of events per call.
const BATCH: usize = 10;
/// A call may accept only some of its events; the others are resent up to this number of attempts. The SDK retries
/// calls that fail as a whole.
const ATTEMPTS: usize = 3;

/// Callers wait for the events of what they changed, and for no longer than this.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
pub struct Events {
    client: Client,
    bus: String,
}

impl Events {
    /// `bus`: the name of an event bus.
    pub fn new(client: Client, bus: impl Into<String>) -> Self {
        Self { client, bus: bus.into() }
    }

    /// For a ledger's changes. `stack`: the dimension of the metric of what was not taken.
    pub fn of_changes(self, stack: impl Into<String>, clock: fn() -> OffsetDateTime) -> OfChanges {
        OfChanges { events: self, stack: stack.into(), clock }
    }

    /// Sends the events. Returns the indices of those that were not accepted, and logs them.
    pub async fn publish(&self, events: &[Event]) -> Vec<usize> {
        let mut open = (0..events.len()).collect();
        self.send(events, &mut open).await;
        open.into_iter().collect()
    }

    /// Leaves in `open` the indices of what was not accepted, also if it is stopped between two calls to AWS.
    async fn send(&self, events: &[Event], open: &mut BTreeSet<usize>) {
        for first in (0..events.len()).step_by(BATCH) {
            self.send_batch(events, first, open).await;
        }
    }

    async fn send_batch(&self, events: &[Event], first: usize, open: &mut BTreeSet<usize>) {
        let mut why = String::new();
        for _ in 0..ATTEMPTS {
            let batch: Vec<usize> = open.range(first..first + BATCH).copied().collect();
            if batch.is_empty() {
                return;
            }
            let entries = batch.iter().filter_map(|index| events.get(*index)).map(|event| self.entry(event)).collect();
            let answer = match self.client.put_events().set_entries(Some(entries)).send().await {
                Ok(answer) => answer,
                Err(error) => {
                    warn!(error = &error as &dyn Error, "{} events could not be sent", batch.len());
                    return;
                }
            };
            let results = answer.entries.unwrap_or_default();
            why = results.iter().find_map(|result| result.error_code.clone()).unwrap_or_default();
            for (index, _) in batch.iter().zip(results).filter(|(_, result)| result.error_code.is_none()) {
                open.remove(index);
            }
        }
        let refused = open.range(first..first + BATCH).count();
        if refused > 0 {
            warn!(error = why, "{refused} events were not taken");
        }
    }

    fn entry(&self, event: &Event) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.bus)
            .source(SOURCE)
            .detail_type(event.detail_type())
            .detail(serde_json::to_string(event).unwrap_or_default())
            .build()
    }
}

/// Sends what changes in a ledger.
#[derive(Debug)]
pub struct OfChanges {
    events: Events,
    stack: String,
    clock: fn() -> OffsetDateTime,
}

impl Outlet for OfChanges {
    fn put<'a>(&'a self, events: &'a [Event]) -> Pin<Box<dyn Future<Output = Vec<usize>> + Send + 'a>> {
        Box::pin(async move {
            let mut open = (0..events.len()).collect();
            // Of the call that is given up, those that were taken after all come twice.
            if timeout(PATIENCE, self.events.send(events, &mut open)).await.is_err() {
                warn!("{} events were not taken in time", open.len());
            }
            if !open.is_empty() {
                self.lost(open.len() as u64);
            }
            open.into_iter().collect()
        })
    }

    #[expect(clippy::print_stdout, reason = "CloudWatch reads metrics from the log's own lines")]
    fn lost(&self, events: u64) {
        println!("{}", Metric::EventsLost.line(events, &self.stack, (self.clock)()));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use aws_sdk_eventbridge::operation::put_events::{PutEventsError, PutEventsOutput};
    use aws_sdk_eventbridge::types::PutEventsResultEntry;
    use aws_sdk_eventbridge::types::error::InternalException;
    use aws_smithy_mocks::{RuleMode, mock, mock_client};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_types::body::SdkBody;
    use rootcast_core::job::JobId;

    use super::*;

    fn events(count: usize) -> Vec<Event> {
        let event = |index| Event::Deployed {
            certificate_id: "scs0000000000001".parse().unwrap(),
            device: format!("bmc-{index}").parse().unwrap(),
            job_id: JobId(1),
        };
        (0..count).map(event).collect()
    }

    fn taken() -> PutEventsResultEntry {
        PutEventsResultEntry::builder().event_id("1").build()
    }

    fn refused() -> PutEventsResultEntry {
        PutEventsResultEntry::builder().error_code("ThrottlingException").build()
    }

    #[tokio::test]
    async fn a_call_has_ten_events_each_with_its_source() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let rule = mock!(Client::put_events)
            .match_requests(|request| {
                CALLS.fetch_add(1, Ordering::Relaxed);
                request.entries().iter().all(|entry| {
                    entry.source() == Some("rootcast")
                        && entry.event_bus_name() == Some("bus")
                        && entry.detail_type() == Some("Certificate Deployed")
                        && entry.detail().is_some_and(|detail| detail.contains("\"jobId\":1"))
                })
            })
            .then_output(|| PutEventsOutput::builder().set_entries(Some(vec![taken(); 10])).build());
        let client = mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, [&rule]);
        assert!(Events::new(client, "bus").publish(&events(23)).await.is_empty());
        assert_eq!(CALLS.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn only_rejected_events_are_resent() {
        let answer = |entries: Vec<_>| move || PutEventsOutput::builder().set_entries(Some(entries.clone())).build();
        let first = mock!(Client::put_events)
            .match_requests(|request| request.entries().len() == 3)
            .then_output(answer(vec![taken(), refused(), taken()]));
        let second = mock!(Client::put_events)
            .match_requests(|request| {
                request.entries().len() == 1 && request.entries()[0].detail().unwrap().contains("bmc-1")
            })
            .then_output(answer(vec![taken()]));
        let client = mock_client!(aws_sdk_eventbridge, RuleMode::Sequential, [&first, &second]);
        assert!(Events::new(client, "bus").publish(&events(3)).await.is_empty());
    }

    /// Takes the first ten events, and never answers again.
    #[derive(Debug)]
    struct Once(AtomicBool);

    impl HttpConnector for Once {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            if self.0.swap(true, Ordering::Relaxed) {
                return HttpConnectorFuture::new(std::future::pending());
            }
            let taken = [r#"{"EventId":"1"}"#; 10].join(",");
            let body = SdkBody::from(format!(r#"{{"FailedEntryCount":0,"Entries":[{taken}]}}"#));
            HttpConnectorFuture::ready(Ok(HttpResponse::new(200.try_into().unwrap(), body)))
        }
    }

    #[tokio::test]
    async fn what_was_taken_before_the_time_was_over_is_not_sent_again() {
        let once = SharedHttpConnector::new(Once(AtomicBool::new(false)));
        let http = http_client_fn(move |_, _| once.clone());
        let config = aws_sdk_eventbridge::Config::builder().with_test_defaults_v2().http_client(http).build();
        let changes = Events::new(Client::from_conf(config), "bus").of_changes("stack", || OffsetDateTime::UNIX_EPOCH);
        assert_eq!(changes.put(&events(13)).await, [10, 11, 12]);
    }

    #[tokio::test]
    async fn events_that_are_always_rejected_are_returned() {
        let rule = mock!(Client::put_events)
            .then_output(|| PutEventsOutput::builder().set_entries(Some(vec![refused()])).build());
        let client = mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, [&rule]);
        assert_eq!(Events::new(client, "bus").publish(&events(1)).await, [0]);
        let broken = mock!(Client::put_events)
            .then_error(|| PutEventsError::InternalException(InternalException::builder().build()));
        let client = mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, [&broken]);
        assert_eq!(Events::new(client, "bus").publish(&events(2)).await, [0, 1]);
    }
}
