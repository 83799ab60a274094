//! `/v3/scm`: stored certificates in the form of Huawei Cloud's Certificate Manager (SCM v3).
//!
//! Source: the models of PyPI `huaweicloudsdkscm` 3.1.219, which works here unchanged. Import and export need the key
//! and belong to the function `import`.
//!
//! The caller is authenticated before the path is folded to lower case: the signature covers the path as sent.

mod delete;
mod deploy;
mod deployed;
mod list;
mod show;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request};
use axum::response::Response;
use rootcast_dialects::huawei::{HuaweiError, report};
use rootcast_gate::{Guarded, Kind, Refusal, fold_case, recorded, routes};

use crate::app::App;

/// Every path under this one, in any letter case, belongs to this API.
pub(crate) const ROOT: &str = "/v3/scm";
/// In bytes. The largest body here names 20 devices.
const BODY_LIMIT: usize = 16 << 10;

pub(crate) fn router(app: App) -> Router {
    let routes = Guarded::<_, HuaweiError>::default()
        .on(routes::SCM_LIST, list::list)
        .on(routes::SCM_SHOW, show::show)
        .on(routes::SCM_DELETE, delete::delete)
        .on(routes::SCM_DEPLOY, deploy::deploy)
        .on(routes::SCM_DEPLOYED, deployed::list)
        .into_router()
        .fallback(async || HuaweiError::from(Refusal::nothing_here()))
        .method_not_allowed_fallback(no_such_method)
        .with_state(app.clone());
    Router::new()
        .fallback_service(routes)
        .layer(map_request(fold_case))
        .layer(from_fn_with_state(app, protect))
        .layer(from_fn(report))
}

/// As in the rest of the API, only authenticated callers learn whether a path exists.
async fn protect(State(app): State<App>, request: Request, next: Next) -> Result<Response, HuaweiError> {
    let parts = app.parts().await?;
    let mut request = parts.gate.admit(request, BODY_LIMIT, (parts.clock)()).await?;
    request.extensions_mut().insert(parts.second.clone());
    Ok(recorded(&parts.ledger, next.run(request).await, (parts.clock)()).await)
}

async fn no_such_method() -> HuaweiError {
    HuaweiError::new(
        Kind::MethodNotAllowed,
        "The resource does not have this method: use one that the header Allow names. POST certificates/import and \
         certificates/{id}/export are taken in lower case only.",
    )
}

#[cfg(test)]
#[path = "scm/tests.rs"]
mod tests;
