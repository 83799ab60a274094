//! `/v3/scm`: stored certificates as Huawei Cloud's Certificate Manager (SCM v3) shows them.
//!
//! Source: the models of PyPI `huaweicloudsdkscm` 3.1.219, which works here unchanged. Import and export, which need
//! the key, are the function `import`'s.
//!
//! The caller is checked before the path is folded to lower case: a signature is made over the path as it was sent.

mod delete;
mod deploy;
mod deployed;
mod dto;
mod list;
mod show;

use axum::Router;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request};
use axum::response::{IntoResponse, Response};
use lambda_http::tower::ServiceExt;
use rootcast_core::inventory::id::CertificateId;
use rootcast_gate::{Guarded, ScmError, fold_case, routes, scm_report};

use crate::app::App;

/// In bytes. The largest body here names 20 devices.
const BODY_LIMIT: usize = 16 << 10;

/// Middleware for the whole API: what is under `/v3/scm` in any spelling goes to `routes`, with its bytes untouched.
pub(crate) async fn divert(State(routes): State<Router>, request: Request, next: Next) -> Response {
    let mut parts = request.uri().path().split('/').skip(1);
    let mut is = |name: &str| parts.next().is_some_and(|part| part.eq_ignore_ascii_case(name));
    if is("v3") && is("scm") { routes.oneshot(request).await.into_response() } else { next.run(request).await }
}

pub(crate) fn router(app: App) -> Router {
    let routes = Guarded::<_, ScmError>::default()
        .on(routes::SCM_LIST, list::list)
        .on(routes::SCM_SHOW, show::show)
        .on(routes::SCM_DELETE, delete::delete)
        .on(routes::SCM_DEPLOY, deploy::deploy)
        .on(routes::SCM_DEPLOYED, deployed::list)
        .into_router()
        .fallback(async || ScmError::nothing_here())
        .method_not_allowed_fallback(no_such_method)
        .with_state(app.clone());
    Router::new()
        .fallback_service(routes)
        .layer(map_request(fold_case))
        .layer(from_fn_with_state(app, protect))
        .layer(from_fn(scm_report))
}

/// As for the rest of the API: whether a path exists is told to known callers only.
async fn protect(State(app): State<App>, request: Request, next: Next) -> Result<Response, ScmError> {
    let parts = app.parts().await?;
    let request = parts.gate.admit(request, BODY_LIMIT, (parts.clock)()).await?;
    Ok(next.run(request).await)
}

async fn no_such_method() -> ScmError {
    ScmError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "SCM.0405",
        "The resource does not have this method: use one that the header Allow names. POST certificates/import and \
         certificates/{id}/export are taken in lower case only.",
    )
}

/// The certificate that the path names.
pub(crate) struct Named(pub(crate) CertificateId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ScmError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ScmError> {
        let named = Path::<String>::from_request_parts(parts, state).await.ok();
        named.and_then(|Path(id)| id.parse().ok()).map(Self).ok_or_else(no_such_certificate)
    }
}

/// Also for text that cannot be an id: it names nothing.
pub(crate) fn no_such_certificate() -> ScmError {
    ScmError::new(
        StatusCode::NOT_FOUND,
        "SCM.0404",
        "There is no certificate of that id. GET /v3/scm/certificates lists those that there are.",
    )
}

#[cfg(test)]
#[path = "scm/tests.rs"]
mod tests;
