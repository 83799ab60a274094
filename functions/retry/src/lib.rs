#![doc = include_str!("../README.md")]

mod applications;
mod associate;
mod begin;
mod config;
mod event;
mod list;
mod named;
mod push;
mod renew;
mod reset;
mod retrieve;
mod retry;
mod revoke;
mod show;
mod wait;
mod work;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use lambda_http::RequestExt;
use rootcast_dialects::venafi::{VenafiError, report};
use rootcast_gate::{Guarded, Kind, authenticate_venafi, fold_case, recorded, routes};
use rootcast_ledger::Ledger;
use rootcast_operations::Operations;
use rootcast_queue::Queue;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::Instant;

pub use event::carry_out;

/// The function's limit, which is below the 30 s after which API Gateway gives up
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>).
const LIMIT: Duration = Duration::from_secs(29);
/// Left for the answer, and for a call to AWS that is under way.
const MARGIN: Duration = Duration::from_secs(2);
/// The release whose Web SDK documentation this API follows.
const VERSION: &str = "25.1.0.0";

/// The function's clients and configuration.
pub struct App {
    pub ledger: Ledger,
    pub queue: Queue,
    /// URL of the conductor's queue.
    pub control_queue: String,
    /// URL of the issuer's queue, which makes revocation lists.
    pub issue_queue: String,
    pub clock: fn() -> OffsetDateTime,
}

impl App {
    fn operations(&self) -> Operations<'_> {
        Operations {
            ledger: &self.ledger,
            queue: &self.queue,
            control_queue: &self.control_queue,
            clock: self.clock,
            deadline: None,
        }
    }
}

/// When the request must be answered.
#[derive(Debug, Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    /// Lambda's deadline less a margin.
    fn of(request: &Request, now: OffsetDateTime) -> Self {
        let ends = request.lambda_context_ref().map(lambda_http::Context::deadline);
        let left = ends.map_or(LIMIT, |ends| ends.duration_since(SystemTime::from(now)).unwrap_or_default());
        Self(Instant::now() + left.min(LIMIT).saturating_sub(MARGIN))
    }
}

pub fn router(app: Arc<App>) -> Router {
    let routes = Guarded::<_, VenafiError>::default()
        .on(routes::LIST, list::list)
        .on(routes::LIST_SLASH, list::list)
        .on(routes::SHOW, show::show)
        .on(routes::ASSOCIATE, associate::associate)
        .on(routes::DISSOCIATE, associate::dissociate)
        .on(routes::PUSH, push::push)
        .on(routes::RENEW, renew::renew)
        .on(routes::RESET, reset::reset)
        .on(routes::DOWNLOAD, retrieve::download)
        .on(routes::RETRIEVE, retrieve::retrieve)
        .on(routes::RETRY, retry::retry)
        .on(routes::REVOKE, revoke::revoke_certificate)
        .on(routes::DN_TO_GUID, show::guid)
        .on(routes::VERSION, version)
        .into_router()
        .fallback(async || {
            VenafiError::new(Kind::NotFound, "This call of the Web SDK is not offered here: see the README.")
        })
        .method_not_allowed_fallback(async |method: Method| match method {
            // Axum adds the header Allow.
            Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
            _ => VenafiError::new(
                Kind::MethodNotAllowed,
                "This call of the Web SDK is not offered here: see the README, or use a method that the header Allow names.",
            )
            .into_response(),
        })
        .with_state(app.clone());
    // These layers wrap the router: inside it, the route would be chosen already, and the answer would reveal its
    // methods.
    Router::new()
        .fallback_service(routes)
        .layer(from_fn_with_state(app, protect))
        .layer(from_fn(report))
        .layer(map_request(fold_case))
}

/// Runs before anything else: only callers with a token learn whether a path exists.
async fn protect(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Result<Response, VenafiError> {
    let now = (app.clock)();
    let deadline = Deadline::of(&request, now);
    let principal = authenticate_venafi(&app.ledger, request.headers(), now).await?;
    request.extensions_mut().insert(principal);
    request.extensions_mut().insert(deadline);
    let response = next.run(request).await;
    app.ledger.tell().await;
    Ok(recorded(&app.ledger, response, (app.clock)()).await)
}

/// The answer of a call that has nothing else to return.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Done {
    success: bool,
}

impl Done {
    const JSON: Json<Self> = Json(Self { success: true });
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: &'static str,
}

async fn version() -> Json<Version> {
    Json(Version { version: VERSION })
}
