//! Writes, and those of them that the device finishes by itself (DSP0266, "Asynchronous operations").

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::Method;
use rootcast_core::task::{ErrorClass, Failure};
use serde_json::Value;
use tokio::time::sleep;

use super::connection::Answer;
use super::fault;
use super::link::Link;
use super::session::Session;
use crate::trust::Progress;

/// A task monitor to ask again in a later attempt. Its text form is what a queue message carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// Checked anew before each use.
    uri: String,
    /// Attempts that have asked so far.
    rounds: u32,
}

/// Why an attempt ends before its goal is proven.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(Failure),
    Running { monitor: Monitor, after: Duration },
}

/// Short tasks are waited for, since a new attempt costs a log-in and a message: at most 10 s of the worker's time.
const POLLS: u32 = 5;
const POLL_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Until the next attempt, where the device does not say.
const USUAL_DELAY: Duration = Duration::from_secs(15);
/// The longest delay of an SQS message.
const LONGEST_DELAY: Duration = Duration::from_secs(900);

/// After so many attempts a task is taken for dead. By the usual delay that is about eight minutes.
const ROUNDS: u32 = 32;

/// How an attempt ended, for its caller.
pub(super) fn progress<T>(outcome: Result<T, Stop>) -> Result<Progress<T>, Failure> {
    match outcome {
        Ok(done) => Ok(Progress::Done(done)),
        Err(Stop::Running { monitor, after }) => Ok(Progress::Running { monitor, after }),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

/// Writes, and waits for the end if it is near. Says nothing about what is stored now.
pub(super) async fn write(
    session: &mut Session<'_>,
    method: Method,
    link: &Link,
    body: Option<&Value>,
) -> Result<(), Stop> {
    let answer = session.ask(method, link, body).await?;
    finish(session, answer).await.map(|_| ())
}

/// What a write's answer means, and the end of what it began if that is near: its body, where it has one.
pub(super) async fn finish(session: &mut Session<'_>, answer: Answer) -> Result<Value, Stop> {
    match (answer.status.as_u16(), answer.location()) {
        (202, Some(location)) => {
            let uri = location.to_owned();
            follow(session, Monitor { uri, rounds: 1 }, answer.retry_after()).await?.map_err(Stop::Failed)
        }
        (200..=299, _) => Ok(answer.body),
        _ => Err(answer.failure().into()),
    }
}

/// The end of a write of an earlier attempt: it came to its end, well or not, or goes on.
pub(super) async fn resume(session: &mut Session<'_>, monitor: &Monitor) -> Result<Result<Value, Failure>, Stop> {
    if monitor.rounds >= ROUNDS {
        let message = format!("{}: the device's task does not end.", monitor.uri);
        return Ok(Err(Failure::new(ErrorClass::Timeout, message)));
    }
    let monitor = Monitor { uri: monitor.uri.clone(), rounds: monitor.rounds + 1 };
    follow(session, monitor, Some(Duration::ZERO)).await
}

async fn follow(
    session: &mut Session<'_>,
    monitor: Monitor,
    first_pause: Option<Duration>,
) -> Result<Result<Value, Failure>, Stop> {
    let link = session.connection.link(&monitor.uri)?;
    let mut pause = first_pause;
    for _ in 0..POLLS {
        let wait = pause.unwrap_or(POLL_PAUSE);
        if wait > LONGEST_PAUSE || wait >= session.connection.left() {
            break;
        }
        sleep(wait).await;
        let answer = session.get(&link).await?;
        match state(&answer) {
            State::Running => pause = Some(answer.retry_after().unwrap_or(POLL_PAUSE).max(POLL_PAUSE)),
            State::Ended => return Ok(Ok(answer.body)),
            State::Failed(failure) => return Ok(Err(failure)),
        }
    }
    let after = pause.filter(|pause| *pause > LONGEST_PAUSE).unwrap_or(USUAL_DELAY).min(LONGEST_DELAY);
    Err(Stop::Running { monitor, after })
}

enum State {
    Running,
    Ended,
    Failed(Failure),
}

/// A monitor answers 202 until it answers as the write would have; some devices link to the task instead, whose state
/// is in its body. A monitor that is gone has ended: the trust slot will tell how.
fn state(answer: &Answer) -> State {
    let task = |key| answer.body.get(key).and_then(Value::as_str);
    match (answer.status.as_u16(), task("TaskState")) {
        (404 | 410, _) => State::Ended,
        (200..=299, Some("Completed")) if task("TaskStatus") != Some("Critical") => State::Ended,
        (200..=299, Some("Completed" | "Exception" | "Killed" | "Cancelled")) => {
            let words = fault::words(&answer.body);
            let class = fault::by_words(ErrorClass::ServerError, &words);
            State::Failed(Failure::new(class, format!("The device's task failed: {words}")))
        }
        (202, _) | (200..=299, Some(_)) => State::Running,
        (200..=299, None) => State::Ended,
        _ => State::Failed(answer.failure()),
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl fmt::Display for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.rounds, self.uri)
    }
}

impl FromStr for Monitor {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let parts = text.split_once(' ').and_then(|(rounds, uri)| Some((rounds.parse().ok()?, uri)));
        match parts {
            Some((rounds, uri)) => Ok(Self { uri: uri.to_owned(), rounds }),
            None => Err(Failure::new(ErrorClass::Rejected, "The message's task monitor cannot be read.")),
        }
    }
}
