#![doc = include_str!("../README.md")]

mod config;
mod event;
mod issuing;
mod keep;
mod key_change;
mod preflight;
mod rotation;
mod trusted;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use rootcast_authority::{
    AuthorityError, CertificateAuthority, CompromiseRequest, InItsPlace, Made, RootRequest, Settings,
};
use rootcast_core::access::permission::Operation;
use rootcast_core::audit::Actor;
use rootcast_core::job::{Activation, JobId};
use rootcast_core::rollover::restore::Behind;
use rootcast_dialects::lenovo::{
    Compromised, Envelope, KEY_COMPROMISE, LenovoError, Message, ResultKind, RootQuery, report,
};
use rootcast_gate::{Guarded, Kind, Principal, Raw, RequestId, SecondPerson, authenticate, recorded, routes};
use rootcast_ledger::{Ledger, LedgerError};
use rootcast_queue::Queue;
use serde_json::json;
use time::OffsetDateTime;

pub use event::{carry_out, is_event};
pub use rotation::look;

/// The function's clients and configuration.
pub struct App {
    pub ledger: Ledger,
    pub authority: CertificateAuthority,
    pub queue: Queue,
    pub control_queue: String,
    pub settings: Settings,
    /// That visit devices at the same time.
    pub workers: u32,
    pub second: SecondPerson,
    pub clock: fn() -> OffsetDateTime,
}

/// API Gateway routes both spellings here, because clients differ.
pub fn router(app: Arc<App>) -> Router {
    Guarded::<_, LenovoError>::default()
        .on(routes::REGENERATE, regenerate)
        .on(routes::REGENERATE_LOWER, regenerate)
        .on(routes::ROTATE_ISSUING, issuing::rotate)
        .on(routes::REVOKE_ISSUING, issuing::revoke)
        .on(routes::KEEP_ROOT, keep::keep)
        .on(routes::PREFLIGHT, preflight::begin)
        .on(routes::TRUST, trusted::add)
        .on(routes::TRUST_LOWER, trusted::add)
        .on(routes::DISTRUST, trusted::remove)
        .on(routes::DISTRUST_LOWER, trusted::remove)
        .into_router()
        .layer(from_fn_with_state(app.clone(), protect))
        .layer(from_fn(report))
        .with_state(app)
}

/// Runs before anything else: only callers with a token learn whether a path exists.
async fn protect(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, LenovoError> {
    let _running = app.ledger.meter().run(0);
    let (mut parts, body) = request.into_parts();
    let caller = authenticate(&app.ledger, &parts, (app.clock)()).await?;
    parts.extensions.insert(caller);
    parts.extensions.insert(app.second.clone());
    let response = next.run(Request::from_parts(parts, body)).await;
    app.ledger.tell().await;
    Ok(recorded(&app.ledger, response, (app.clock)()).await)
}

async fn regenerate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    Raw(query, _): Raw<RootQuery>,
) -> Result<Response, LenovoError> {
    let query = app.query(&query).await?;
    if query.activation == Activation::Immediate || query.compromised.is_some() {
        caller.may(Operation::Activate)?;
    }
    match app.requested(query, &caller.acting(&id)).await {
        Ok(Requested { job, warning }) => Ok(accepted(job, warning)),
        Err(AuthorityError::Busy(job)) => Ok(busy(job)),
        Err(AuthorityError::Compromised(generation)) => Err(compromised(generation)),
        Err(AuthorityError::NoRoot) => Err(LenovoError::conflict(
            "No root signs yet, so none can be compromised.",
            "Ask for one with PUT /signingCertificate, without a reason.",
        )),
        Err(AuthorityError::NoGeneration(generation)) => Err(LenovoError::not_found(
            format!("There is no root generation {generation}."),
            "GET /signingCertificate/details shows every generation.",
        )),
        Err(AuthorityError::NotReplaced(why)) => Err(LenovoError::conflict(
            format!("Nothing is replaced: {why}."),
            "GET /signingCertificate/details shows every generation. A root that is being made is finished, or abandoned, by a repetition of its own PUT.",
        )),
        Err(why @ AuthorityError::ManyRoots(_)) => Err(LenovoError::conflict(
            format!("No root can be added: {why}."),
            "Remove trusted certificates that no device needs, or retire roots that no certificate in use was signed by, then send the request again.",
        )),
        Err(AuthorityError::Behind(why)) => Err(behind(why)),
        Err(error) => Err(refused(error)),
    }
}

impl App {
    /// The query's parameters, and those of the stored rollout that it names.
    async fn query(&self, query: &str) -> Result<RootQuery, LenovoError> {
        let asked = RootQuery::parse(query)?;
        let Some(name) = &asked.rollout.name else { return Ok(asked) };
        let rollouts = self.ledger.rollouts().await?;
        let template = rollouts.get(name).ok_or_else(|| {
            LenovoError::invalid(format!("There is no rollout {name}."), "GET /rollouts lists those that are stored.")
        })?;
        RootQuery::over(template, query)
    }

    /// Makes the next root, for a call or an event.
    async fn requested(&self, query: RootQuery, by: &Actor) -> Result<Requested, AuthorityError> {
        let RootQuery { activation, rollout, hold_down, until, reason, compromised } = query;
        let Some(Compromised { generation }) = compromised else {
            let request = RootRequest { activation, rollout, hold_down, until, requested_for: reason };
            let made = self.authority.make_root(&self.settings, &request, by, (self.clock)()).await?;
            self.wake(made.job).await;
            return Ok(Requested { job: made.job, warning: None });
        };
        let request = CompromiseRequest { generation, rollout, requested_for: reason };
        let made = self.authority.replace_compromised(&self.settings, &request, by, (self.clock)()).await;
        // Also after an interruption: the conductor revokes what was signed below it, and keeps its key disabled.
        self.wake(None).await;
        let InItsPlace { made: Made { job, .. }, is_disabled } = made?;
        if job.is_some() {
            self.wake(job).await;
        }
        Ok(Requested { job, warning: (!is_disabled).then(not_disabled) })
    }

    /// Wakes the conductor for a root that was made.
    async fn wake(&self, job: Option<JobId>) {
        match job {
            Some(job) => self.queue.wake_conductor(&self.control_queue, job, "created").await,
            None => self.queue.wake_for_issuing(&self.control_queue, "a root was activated").await,
        }
    }
}

/// What was made.
struct Requested {
    /// `None` without devices.
    job: Option<JobId>,
    warning: Option<Message>,
}

fn not_disabled() -> Message {
    Message::warning(
        "KMS has not disabled the compromised key.",
        "It can go on signing. The function's log says why; it is tried again for some minutes.",
        "Disable the key in KMS with an administrator's credentials: GET /signingCertificate/details names its root.",
    )
}

fn accepted(job: Option<JobId>, warning: Option<Message>) -> Response {
    let path = job.map(JobId::path).unwrap_or_default();
    let envelope = Envelope::success(json!({ "jobPath": path })).saying(Message::regenerated());
    let envelope = match warning {
        Some(warning) => envelope.judged(ResultKind::Warning).saying(warning),
        None => envelope,
    };
    with_location(envelope.into_response(), job)
}

fn busy(job: Option<JobId>) -> Response {
    let (text, recovery) = match job {
        Some(job) => (
            format!("Job {job} is still changing the devices' trust anchors."),
            format!("Wait until job {job} has ended, or resume or abort it: {}.", job.path()),
        ),
        None => (
            "Another request is making a root right now, or was interrupted less than a minute ago.".to_owned(),
            "Send the request again in a minute: it finishes one that was interrupted, as when an issuing authority was made at the same time. If a root was made meanwhile, it makes another."
                .to_owned(),
        ),
    };
    let response = json!({ "jobPath": job.map(JobId::path).unwrap_or_default() });
    with_location(LenovoError::new(Kind::Conflict, text, recovery).with_response(response).into_response(), job)
}

/// Until it is replaced, nothing else is.
fn compromised(generation: u32) -> LenovoError {
    LenovoError::conflict(
        format!("Root generation {generation} is compromised, and its replacement was interrupted."),
        format!("Finish that first: PUT /signingCertificate?reason={KEY_COMPROMISE}."),
    )
}

/// Continuing would assign a generation, a job's number or a bundle's version a second time.
fn behind(why: Behind) -> LenovoError {
    LenovoError::new(
        Kind::Conflict,
        format!("The tables are older than the keys or the devices: {why}."),
        "Run `rootcast restore --stack NAME` with AWS credentials, which raises the counters, then send the request again.",
    )
}

fn with_location(mut response: Response, job: Option<JobId>) -> Response {
    if let Some(location) = job.and_then(|job| job.path().parse().ok()) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// The work begun so far is recorded, and the next call finishes it.
fn refused(error: AuthorityError) -> LenovoError {
    if let AuthorityError::Ledger(error @ LedgerError::Newer { .. }) = error {
        return error.into();
    }
    let passing = match &error {
        AuthorityError::Ledger(error) => {
            matches!(error, LedgerError::Conflict | LedgerError::Transient { .. } | LedgerError::Aws { .. })
        }
        error => error.is_passing(),
    };
    if passing { LenovoError::unavailable(error) } else { LenovoError::internal(error) }
}
