#![doc = include_str!("../README.md")]

mod access;
mod api;
mod assets;
mod audit;
mod caller;
mod certificates;
mod device;
mod failures;
mod fleet;
mod form;
mod frame;
mod holds;
mod jobs;
mod lambda;
mod oidc;
mod parts;
mod progress;
mod rights;
mod roots;
mod session;
mod sessions;
mod steer;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::middleware::{Next, from_fn, map_request, map_response};
use axum::response::Response;
use lambda_http::Error;
use rootcast_dialects::lenovo::{LenovoError, report};
use rootcast_gate::{Guarded, fold_case, routes};
use time::OffsetDateTime;

pub use crate::lambda::Lambda;
pub use crate::oidc::Oidc;

/// Nothing from elsewhere, nothing inline, and no page of others around ours.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The API's functions, by their names on AWS, and how they are called.
pub struct App {
    pub lambda: Lambda,
    pub functions: Functions,
    /// `None`: people sign in with a password.
    pub oidc: Option<Oidc>,
    pub clock: fn() -> OffsetDateTime,
}

/// Those that pages ask. Venafi's calls have no page.
pub struct Functions {
    pub regenerate: String,
    pub catalog: String,
    pub import: String,
    pub access: String,
}

impl App {
    /// From `REGENERATE_FUNCTION`, `CATALOG_FUNCTION`, `IMPORT_FUNCTION`, `ACCESS_FUNCTION` and `URL_SUFFIX`; for a sign-in at an
    /// OpenID provider, `OIDC_ISSUER` and `OIDC_CLIENT_ID`.
    pub async fn from_env() -> Result<Self, Error> {
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        Ok(Self {
            lambda: Lambda::of(&config, &variable("URL_SUFFIX")?)?,
            functions: Functions {
                regenerate: variable("REGENERATE_FUNCTION")?,
                catalog: variable("CATALOG_FUNCTION")?,
                import: variable("IMPORT_FUNCTION")?,
                access: variable("ACCESS_FUNCTION")?,
            },
            oidc: match variable("OIDC_CLIENT_ID") {
                Ok(client) => Some(Oidc { issuer: variable("OIDC_ISSUER")?, client }),
                Err(_) => None,
            },
            clock: OffsetDateTime::now_utc,
        })
    }
}

fn variable(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| format!("the environment variable {name} is missing").into())
}

pub fn router(app: Arc<App>) -> Router {
    let pages = Guarded::<_, LenovoError>::default()
        .on(routes::PAGE_JOBS, jobs::list)
        .on(routes::PAGE_ASSET, assets::show)
        .on(routes::PAGE_SIGN_IN, session::ask)
        .on(routes::PAGE_BEGIN, session::begin)
        .on(routes::PAGE_OIDC, oidc::begin)
        .on(routes::PAGE_OIDC_BACK, oidc::back)
        .on(routes::PAGE_END, session::end)
        .on(routes::PAGE_JOB, jobs::show)
        .on(routes::PAGE_STEER, steer::steer)
        .on(routes::PAGE_DEVICES, fleet::list)
        .on(routes::PAGE_DEVICE, device::show)
        .on(routes::PAGE_CHANGE_DEVICE, device::change)
        .on(routes::PAGE_ROOTS, roots::show)
        .on(routes::PAGE_CHANGE_ROOTS, roots::change)
        .on(routes::PAGE_COMPROMISE, roots::ask)
        .on(routes::PAGE_CERTIFICATES, certificates::list)
        .on(routes::PAGE_IMPORT, certificates::import)
        .on(routes::PAGE_AUDIT, audit::show)
        .on(routes::PAGE_ACCESS, access::show)
        .on(routes::PAGE_END_SESSION, sessions::end)
        .on(routes::PAGE_DECIDE, access::decide)
        .into_router()
        .fallback(frame::nothing_here)
        .method_not_allowed_fallback(frame::nothing_here)
        .layer(from_fn(report))
        .with_state(app);
    // These layers wrap the router: inside it, the route would be chosen already.
    let pages = Router::new().fallback_service(pages).layer(from_fn(as_whole));
    pages.layer(map_response(guarded)).layer(map_request(fold_case))
}

/// A refresh takes a part of a page: where there is another page instead, the browser goes to it.
async fn as_whole(request: Request, next: Next) -> Response {
    let is_part = request.headers().contains_key("hx-request");
    let mut response = next.run(request).await;
    if is_part && let Some(to) = response.headers_mut().remove(LOCATION) {
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().insert("hx-redirect", to);
    }
    response
}

/// For every answer: pages are of one session, and are shown by no other page.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // Our own forms say where they come from.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
