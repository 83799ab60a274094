//! Partially accepted batches, with the SDK's mock layer, since no emulator refuses single messages.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::{BatchResultErrorEntry, SendMessageBatchResultEntry};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use rootcast_core::job::message::Task;
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_core::job::{JobId, Pass};
use rootcast_queue::{Queue, QueueError};

const URL: &str = "https://sqs.eu-central-1.amazonaws.com/111122223333/task";

/// Accepts a batch of this size, except for the entries with these ids.
fn batch(entries: usize, refused: &'static [&'static str]) -> Rule {
    mock!(aws_sdk_sqs::Client::send_message_batch)
        .match_requests(move |request| request.entries().len() == entries)
        .then_output(move || {
            let taken = SendMessageBatchResultEntry::builder().id("x").message_id("m").md5_of_message_body("d");
            let mut answer =
                SendMessageBatchOutput::builder().successful(taken.build().unwrap()).set_failed(Some(Vec::new()));
            for id in refused {
                let entry = BatchResultErrorEntry::builder().id(*id).code("InternalError").sender_fault(false);
                answer = answer.failed(entry.build().unwrap());
            }
            answer.build().unwrap()
        })
}

fn queue(rules: &[&Rule]) -> Queue {
    Queue::new(mock_client!(aws_sdk_sqs, RuleMode::MatchAny, rules))
}

fn tasks(count: u32) -> Vec<Task> {
    let task = |number| Task::new(JobId(7), Pass::Distribute, format!("bmc-{number}").parse().unwrap(), 1);
    (0..count).map(task).collect()
}

#[tokio::test]
async fn twenty_five_tasks_need_three_calls() {
    let (full, rest) = (batch(10, &[]), batch(5, &[]));
    queue(&[&full, &rest]).send_tasks(URL, &tasks(25)).await.unwrap();
    assert_eq!((full.num_calls(), rest.num_calls()), (2, 1));
}

#[tokio::test]
async fn only_the_refused_messages_of_a_batch_are_sent_again() {
    let (first, second) = (batch(4, &["1", "3"]), batch(2, &[]));
    queue(&[&first, &second]).send_tasks(URL, &tasks(4)).await.unwrap();
    assert_eq!((first.num_calls(), second.num_calls()), (1, 1));
}

#[tokio::test]
async fn messages_that_are_refused_each_time_are_an_error() {
    let never = batch(1, &["0"]);
    let error = queue(&[&never]).send_tasks(URL, &tasks(1)).await.unwrap_err();
    assert!(matches!(error, QueueError::Refused(1)), "{error:?}");
    assert_eq!(never.num_calls(), 3);
}

/// SQS's limit per call is 256 KiB in its older regions and 1 MiB in the others.
#[tokio::test]
async fn ten_of_the_largest_tasks_fit_into_one_call() {
    let unrecorded = Some(Failure::new(ErrorClass::Rejected, "\u{20ac}".repeat(Failure::MESSAGE_LIMIT)));
    let largest = |number: u32| Task {
        job: JobId(u64::MAX),
        device: format!("{number:064}").parse().unwrap(),
        attempt: u32::MAX,
        unrecorded: unrecorded.clone(),
        ..tasks(1).remove(0)
    };
    let fits = mock!(aws_sdk_sqs::Client::send_message_batch)
        .match_requests(|request| {
            let bytes: usize = request.entries().iter().map(|entry| entry.message_body().len()).sum();
            assert!(request.entries().len() == 10 && bytes < 256 << 10, "{bytes}");
            true
        })
        .then_output(|| {
            let none = SendMessageBatchOutput::builder().set_successful(Some(Vec::new()));
            none.set_failed(Some(Vec::new())).build().unwrap()
        });
    queue(&[&fits]).send_tasks(URL, &(0..10).map(largest).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(fits.num_calls(), 1);
}
