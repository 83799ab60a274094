//! The conductor's triggers: its queue and the schedule.

mod schedule;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, SystemTime};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Diagnostic, LambdaEvent};
use rootcast_core::job::JobId;
use rootcast_core::job::message::{Control, Issuing, Renew, RootLists};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use crate::{App, ConductError};

/// The queue's batch, or the schedule's input.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Wake {
    Queue(SqsEvent),
    Schedule {
        #[serde(rename = "wake")]
        _running: Running,
    },
}

/// The schedule's input: wakes all running jobs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Running {
    Running,
}

impl From<ConductError> for Diagnostic {
    fn from(error: ConductError) -> Self {
        let error_type = match error {
            ConductError::Misconfigured(_) => "Misconfigured",
            ConductError::Ledger(_) => "LedgerError",
            ConductError::Authority(_) => "AuthorityError",
            ConductError::Queue(_) => "QueueError",
        };
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

/// A message of the queue.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Message {
    Job(Control),
    Issuing(Issuing),
    Lists(RootLists),
    Renew(Renew),
}

/// # Errors
/// If a scheduled call failed. Messages of the queue fail individually.
pub async fn handle(app: &App, event: LambdaEvent<Wake>) -> Result<SqsBatchResponse, ConductError> {
    let messages = match &event.payload {
        Wake::Queue(event) => event.records.len(),
        _ => 0,
    };
    let _running = app.ledger.meter().run(messages);
    let done = Box::pin(work(app, event)).await;
    // Of what is no job's: its steps told of their own.
    app.ledger.tell().await;
    done
}

async fn work(app: &App, event: LambdaEvent<Wake>) -> Result<SqsBatchResponse, ConductError> {
    let deadline = deadline(event.context.deadline(), (app.clock)());
    let owner = event.context.request_id;
    let mut answer = SqsBatchResponse::default();
    match event.payload {
        Wake::Schedule { .. } => {
            app.look_after(&owner, deadline).await?;
        }
        Wake::Queue(batch) => {
            // Several messages about one job, or about the lists of one root, need only one look.
            let mut jobs: BTreeMap<JobId, Vec<String>> = BTreeMap::new();
            let (mut issuing, mut roots) = (Vec::new(), BTreeMap::<u32, Vec<String>>::new());
            let mut renewals = Vec::new();
            for record in batch.records {
                let id = record.message_id.unwrap_or_default();
                match serde_json::from_str::<Message>(&record.body.unwrap_or_default()) {
                    Ok(Message::Issuing(Issuing { issuing: why })) => {
                        debug!("woken for the issuing authorities: {why}");
                        issuing.push(id);
                    }
                    Ok(Message::Job(control)) => jobs.entry(control.job).or_default().push(id),
                    Ok(Message::Lists(RootLists { lists_of_root })) => roots.entry(lists_of_root).or_default().push(id),
                    Ok(Message::Renew(Renew { renew })) => renewals.push((renew, id)),
                    // An unreadable message is dropped: a retry would not help, and it carries no state that could be
                    // lost.
                    Err(error) => {
                        warn!(message.id = id, error = &error as &dyn Error, "a control message cannot be read")
                    }
                }
            }
            let half = || Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
            // Whoever verifies a certificate waits for a list; and it takes a second.
            for (root, messages) in roots {
                if let Err(error) = app.authority.publish_lists(root, half(), (app.clock)()).await {
                    error!(
                        root.generation = root,
                        error = &error as &dyn Error,
                        "the root's revocation lists could not be made and are tried again"
                    );
                    messages.into_iter().for_each(|message| answer.add_failure(message));
                }
            }
            // What a compromised one signed may be work for hours: jobs get the other half.
            if !issuing.is_empty() && app.issuing_woken(half()).await.is_err() {
                issuing.into_iter().for_each(|message| answer.add_failure(message));
            }
            for (job, messages) in jobs {
                if app.take_up(job, &owner, deadline).await.is_err() {
                    for message in messages {
                        answer.add_failure(message);
                    }
                }
            }
            for (certificates, message) in renewals {
                if let Err(error) = app.renew(&certificates, deadline).await {
                    error!(error = &error as &dyn Error, "certificates could not be renewed and are tried again");
                    answer.add_failure(message);
                }
            }
        }
    }
    Ok(answer)
}

/// Lambda gives the deadline in wall-clock time.
fn deadline(at: SystemTime, now: OffsetDateTime) -> Instant {
    Instant::now() + at.duration_since(SystemTime::from(now)).unwrap_or(Duration::ZERO)
}
