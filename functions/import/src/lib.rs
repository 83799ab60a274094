#![doc = include_str!("../README.md")]

mod config;
mod export;
mod import;
mod roots;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use rootcast_dialects::huawei::{HuaweiError, report};
use rootcast_events::Events;
use rootcast_gate::{Guarded, ScmGate, SecondPerson, recorded, routes};
use rootcast_ledger::Ledger;
use rootcast_seal::Sealer;
use time::OffsetDateTime;

pub use crate::roots::{Roots, public_roots};

/// In bytes: certificates of 64 KiB and a key of 16 KiB, with every line break and base64 character escaped.
const BODY_LIMIT: usize = 256 << 10;

/// The function's clients and configuration.
pub struct App {
    pub ledger: Ledger,
    pub gate: ScmGate,
    /// Seals private keys.
    pub sealer: Sealer,
    pub events: Events,
    pub roots: Roots,
    pub second: SecondPerson,
    pub clock: fn() -> OffsetDateTime,
}

/// API Gateway routes these two paths here, in exactly this spelling.
pub fn router(app: Arc<App>) -> Router {
    Guarded::<_, HuaweiError>::default()
        .on(routes::SCM_IMPORT, import::import)
        .on(routes::SCM_EXPORT, export::export)
        .into_router()
        .with_state(app.clone())
        .layer(from_fn_with_state(app, protect))
        .layer(from_fn(report))
}

async fn protect(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, HuaweiError> {
    let mut request = app.gate.admit(request, BODY_LIMIT, (app.clock)()).await?;
    request.extensions_mut().insert(app.second.clone());
    Ok(recorded(&app.ledger, next.run(request).await, (app.clock)()).await)
}

/// Random bytes from the operating system.
fn random<const N: usize>() -> Result<[u8; N], HuaweiError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(HuaweiError::internal)?;
    Ok(bytes)
}
