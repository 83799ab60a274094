//! Writes, including asynchronous operations (DSP0266, "Asynchronous operations").

use std::fmt;
use std::time::Duration;

use http::Method;
use rootcast_core::device::Profile;
use rootcast_core::job::task::{ErrorClass, Failure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Redfish;
use super::connection::Answer;
use super::fault;
use super::link::Link;
use super::session::Session;
use crate::credential::Credential;
use crate::trust::{Endpoint, Progress};

/// The task monitor of an asynchronous operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// Checked before each use.
    uri: String,
}

/// The result of an asynchronous operation.
#[derive(Debug, Clone)]
pub struct Ended(Result<Value, Failure>);

/// A query of a monitor.
#[derive(Debug, Clone, Copy)]
pub struct Enquiry<'a> {
    pub endpoint: &'a Endpoint,
    pub profile: Profile,
    pub credential: &'a Credential,
    pub monitor: &'a Monitor,
    /// As in [`super::Assignment`].
    pub deadline: Instant,
}

/// Why an attempt ends before its goal is proven.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(Failure),
    Running { monitor: Monitor, after: Duration },
}

/// Waits for short tasks, since a new attempt costs a log-in and a message: at most 10 s of the worker's time.
const POLLS: u32 = 5;
const POLL_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Time until the next attempt, if the device does not give one.
const USUAL_DELAY: Duration = Duration::from_secs(15);
/// The longest delay of an SQS message.
const LONGEST_DELAY: Duration = Duration::from_secs(900);

impl Ended {
    /// The result of a task that is still running after its time limit.
    pub fn given_up(monitor: &Monitor) -> Self {
        Self(Err(monitor.endless()))
    }

    /// Whether the operation succeeded; only relevant if its effect is missing.
    pub(super) fn outcome(earlier: Option<&Self>) -> Result<(), Failure> {
        earlier.map_or(Ok(()), |ended| ended.0.as_ref().map(|_| ()).map_err(Clone::clone))
    }

    /// The final answer to a write of an earlier attempt.
    pub(super) fn body(&self) -> Result<&Value, Failure> {
        self.0.as_ref().map_err(Clone::clone)
    }
}

impl Monitor {
    pub fn endless(&self) -> Failure {
        Failure::new(ErrorClass::Timeout, format!("{}: the device's task does not end.", self.uri))
    }
}

impl Redfish {
    /// Logs in, queries the monitor, logs out. A monitor that no longer exists counts as ended.
    ///
    /// # Errors
    /// The query failed, so the state of the operation is unknown.
    pub async fn ask(&self, enquiry: &Enquiry<'_>) -> Result<Progress<Ended>, Failure> {
        let mut session = self.session(enquiry.endpoint, enquiry.credential, enquiry.deadline).await?;
        let outcome = look(&mut session, enquiry).await;
        session.close().await;
        progress(outcome)
    }
}

async fn look(session: &mut Session<'_>, enquiry: &Enquiry<'_>) -> Result<Ended, Stop> {
    match enquiry.profile {
        Profile::Openbmc | Profile::LenovoXcc => session.open_by_standard().await?,
        _ => _ = session.open_by_root().await?,
    }
    follow(session, enquiry.monitor.clone(), Some(Duration::ZERO)).await.map(Ended)
}

/// Converts the end of an attempt for its caller.
pub(super) fn progress<T>(outcome: Result<T, Stop>) -> Result<Progress<T>, Failure> {
    match outcome {
        Ok(done) => Ok(Progress::Done(done)),
        Err(Stop::Running { monitor, after }) => Ok(Progress::Running { monitor, after }),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

/// Writes, and waits for the end of a short operation. Does not verify what is stored.
pub(super) async fn write(
    session: &mut Session<'_>,
    method: Method,
    link: &Link,
    body: Option<&Value>,
) -> Result<(), Stop> {
    session.wrote = true;
    let answer = session.ask(method, link, body).await?;
    finish(session, answer).await.map(|_| ())
}

/// Evaluates the answer to a write and waits for the end of a short operation; returns its body, if any.
pub(super) async fn finish(session: &mut Session<'_>, answer: Answer) -> Result<Value, Stop> {
    let monitor = answer.location().or_else(|| named(&answer.body)).map(Monitor::from);
    match (answer.status.as_u16(), monitor) {
        (202, Some(monitor)) => follow(session, monitor, answer.retry_after()).await?.map_err(Stop::Failed),
        (200..=299, _) => Ok(answer.body),
        _ => Err(answer.failure().into()),
    }
}

/// The task or job that a 202 without `Location` has in its body.
fn named(body: &Value) -> Option<&str> {
    ["TaskState", "JobState"].iter().find_map(|state| body.get(state))?;
    body.get("@odata.id").and_then(Value::as_str)
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
            State::Unknown(failure) => return Err(failure.into()),
            State::Running => pause = Some(answer.retry_after().unwrap_or(POLL_PAUSE).max(POLL_PAUSE)),
            State::Ended => return Ok(Ok(answer.body)),
            State::Failed(failure) => return Ok(Err(failure)),
        }
    }
    let after = pause.filter(|pause| *pause > LONGEST_PAUSE).unwrap_or(USUAL_DELAY).min(LONGEST_DELAY);
    // Without the host: a device that moves meanwhile, or whose name changes, is asked at its new address.
    Err(Stop::Running { monitor: Monitor::from(link.as_str()), after })
}

/// The property of HPE's `HttpsCert` that has the request, once there is one.
pub(super) const LATER: &str = "CertificateSigningRequest";

enum State {
    Running,
    Ended,
    Failed(Failure),
    /// The state is unknown: the device is busy, or refuses access.
    Unknown(Failure),
}

/// A monitor answers 202 until the operation has ended, then with the answer to the write. Some devices link to the
/// task instead, whose body has the state, or to a job (DSP8010 `Job`, Dell's `DellJob`). A monitor that no longer exists
/// has ended: the trust slot will show the result.
fn state(answer: &Answer) -> State {
    let text = |key: &&str| answer.body.get(*key).and_then(Value::as_str);
    let state = ["TaskState", "JobState"].iter().find_map(text);
    let is_critical = ["TaskStatus", "JobStatus"].iter().filter_map(text).any(|status| status == "Critical");
    let is_partial = answer.body.get("PercentComplete").and_then(Value::as_f64).is_some_and(|percent| percent < 100.0);
    // HPE's resource for the web server has a request when its key is made.
    let is_empty = answer.body.get(LATER).is_some_and(|request| request.as_str().is_none_or(str::is_empty));
    match (answer.status.as_u16(), state.map(ending)) {
        (404 | 410, _) => State::Ended,
        (401 | 403 | 408 | 429 | 503, _) => State::Unknown(answer.failure()),
        (200..=299, Some(Some(true))) if !is_critical => State::Ended,
        (200..=299, Some(Some(_))) => {
            let words = fault::words(&answer.body);
            let class = fault::by_words(ErrorClass::ServerError, &words);
            State::Failed(Failure::new(class, format!("The device's task failed: {words}")))
        }
        (202, _) | (200..=299, Some(None)) => State::Running,
        (200..=299, None) if is_partial || is_empty => State::Running,
        (200..=299, None) => State::Ended,
        _ => State::Failed(answer.failure()),
    }
}

/// Whether a state is an end, and a good one. Vendors write them differently (`CompletedWithErrors`, `Completed with
/// Errors`).
fn ending(state: &str) -> Option<bool> {
    let letters: String = state.chars().filter(char::is_ascii_alphabetic).collect();
    match letters.to_ascii_lowercase().as_str() {
        "completed" | "rebootcompleted" => Some(true),
        "exception" | "killed" | "cancelled" | "completedwitherrors" | "failed" | "rebootfailed" | "invalid" => {
            Some(false)
        }
        _ => None,
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl fmt::Display for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl From<&str> for Monitor {
    fn from(uri: &str) -> Self {
        Self { uri: uri.to_owned() }
    }
}
