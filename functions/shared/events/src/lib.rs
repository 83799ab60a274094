#![doc = include_str!("../README.md")]

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
        let mut lost = Vec::new();
        for (batch, first) in events.chunks(BATCH).zip((0..).step_by(BATCH)) {
            let refused = self.publish_batch(batch).await;
            lost.extend(refused.into_iter().map(|index| first + index));
        }
        lost
    }

    async fn publish_batch(&self, batch: &[Event]) -> Vec<usize> {
        let mut open: Vec<usize> = (0..batch.len()).collect();
        let mut why = String::new();
        for _ in 0..ATTEMPTS {
            let entries = open.iter().filter_map(|index| batch.get(*index)).map(|event| self.entry(event)).collect();
            let answer = match self.client.put_events().set_entries(Some(entries)).send().await {
                Ok(answer) => answer,
                Err(error) => {
                    warn!(error = &error as &dyn Error, "{} events could not be sent", open.len());
                    return open;
                }
            };
            let results = answer.entries.unwrap_or_default();
            let refused = |result: &aws_sdk_eventbridge::types::PutEventsResultEntry| result.error_code.is_some();
            why = results.iter().find_map(|result| result.error_code.clone()).unwrap_or_default();
            open =
                open.into_iter().zip(results).filter(|(_, result)| refused(result)).map(|(index, _)| index).collect();
            if open.is_empty() {
                return open;
            }
        }
        warn!(error = why, "{} events were not taken", open.len());
        open
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
    #[expect(clippy::print_stdout, reason = "CloudWatch reads metrics from the log's own lines")]
    fn put<'a>(&'a self, events: &'a [Event]) -> Pin<Box<dyn Future<Output = Vec<usize>> + Send + 'a>> {
        Box::pin(async move {
            let sent = timeout(PATIENCE, self.events.publish(events)).await;
            // Those that were taken after all come twice.
            let lost = sent.unwrap_or_else(|_| (0..events.len()).collect());
            if !lost.is_empty() {
                println!("{}", Metric::EventsLost.line(lost.len() as u64, &self.stack, (self.clock)()));
            }
            lost
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_sdk_eventbridge::operation::put_events::{PutEventsError, PutEventsOutput};
    use aws_sdk_eventbridge::types::PutEventsResultEntry;
    use aws_sdk_eventbridge::types::error::InternalException;
    use aws_smithy_mocks::{RuleMode, mock, mock_client};
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
