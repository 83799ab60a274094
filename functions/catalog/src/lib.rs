//! Everything that is read or edited without a private key: devices, jobs, roots, the bundle, the policy of the next
//! root and of issuance, and imported certificates.
//!
//! In scope: the HTTP API except `PUT /signingCertificate`, import, export, Venafi's API (`retry`), logins and
//! principals (`access`). This function reads what other functions made, edits device records, deletes certificates,
//! and steers jobs; the conductor carries out what follows.
//!
//! Out of scope: making roots (`regenerate`), private keys (`import`), running jobs (`conduct`), working on devices
//! (`worker`).
//!
//! Each file is one group of routes. Paths match in any letter case; ids are case-sensitive.

mod app;
mod approval;
mod audit;
mod bundle;
mod credential;
mod crl;
mod deployments;
mod devices;
mod elsewhere;
mod enrol;
mod extract;
mod fleet;
mod inventory;
mod issuance_policy;
mod issuing;
mod jobs;
mod lxca;
mod openapi;
mod own;
mod page;
mod parameters;
mod policy;
mod probe;
mod refused;
mod retry;
mod revocation;
mod rollouts;
mod roots;
mod scm;
mod signed;
mod stamp;
mod steer;
mod tasks;
mod trusted;
mod waive;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request};
use axum::response::{IntoResponse, Response};
use lambda_http::tower::ServiceExt;
use rootcast_dialects::lenovo::{LenovoError, report};
use rootcast_gate::{Guarded, Kind, Refusal, authenticate, fold_case, is_under, recorded, routes};
use rootcast_pki::crl::CrlId;

pub use crate::app::{App, Parts};

/// The routes without a token, besides revocation lists: a device that trusts any live root can verify the first, and
/// by its own means the second. What the routes are is no secret.
const PUBLIC: [&str; 3] = [routes::BUNDLE.path, routes::CACERTS.path, routes::OPENAPI.path];

/// What is here is public, so that it is no secret what is not. In lower case.
const PUBLIC_FOLDERS: [&str; 2] = ["/.well-known", "/crl"];

/// Two APIs, each with its own router, so that no request passes through the other API's layers.
pub fn router(app: App) -> Router {
    let (huawei, lenovo) = (scm::router(app.clone()), xclarity(app));
    Router::new().fallback(move |request: Request| {
        let chosen = if is_under(scm::ROOT, request.uri().path()) { &huawei } else { &lenovo };
        let chosen = chosen.clone();
        async move {
            match elsewhere::redirect(request.uri()) {
                Some(redirect) => Ok(redirect),
                None => chosen.oneshot(request).await,
            }
        }
    })
}

/// Lenovo's API, and our own.
fn xclarity(app: App) -> Router {
    let routes = Guarded::<_, LenovoError>::default()
        .on(routes::BUNDLE, bundle::signed)
        .on(routes::CACERTS, bundle::cacerts)
        .on(routes::OPENAPI, openapi::show)
        .on(routes::CRL, crl::show)
        .on(routes::ROOT, roots::active)
        .on(routes::ROOT_DETAILS, roots::details)
        .on(routes::ROOT_JOBS, lxca::jobs)
        .on(routes::ROOT_JOB, lxca::job)
        .on(routes::POLICY, policy::show)
        .on(routes::CHOOSE_POLICY, policy::choose)
        .on(routes::ISSUANCE_POLICY, issuance_policy::show)
        .on(routes::SET_ISSUANCE_POLICY, issuance_policy::replace)
        .on(routes::ROLLOUTS, rollouts::list)
        .on(routes::ROLLOUT, rollouts::show)
        .on(routes::STORE_ROLLOUT, rollouts::put)
        .on(routes::DELETE_ROLLOUT, rollouts::delete)
        .on(routes::TRUSTED_LIST, trusted::list)
        .on(routes::TRUSTED_DETAILS, trusted::list)
        .on(routes::TRUSTED, trusted::show)
        .on(routes::TRUSTED_DETAIL, trusted::show)
        .on(routes::ISSUING, issuing::list)
        .on(routes::ABOUT, lxca::about)
        .on(routes::NODES, lxca::none)
        .on(routes::CHASSIS, lxca::none)
        .on(routes::SWITCHES, lxca::none)
        .on(routes::FANS, lxca::none)
        .on(routes::FAN_MUXES, lxca::none)
        .on(routes::POWER_SUPPLIES, lxca::none)
        .on(routes::CMMS, lxca::none)
        .on(routes::USERS, lxca::none)
        .on(routes::STORED_CREDENTIALS, lxca::none)
        .on(routes::CANCEL_TASKS, lxca::cancel)
        .on(routes::TASK_LIST, lxca::newest)
        .on(routes::TASKS, lxca::tasks)
        .on(routes::CERTIFICATE_AUDIT, audit::of_certificate)
        .on(routes::SIGNED, signed::list)
        .on(routes::REVOKE_SIGNED, revocation::revoke_signed)
        .on(routes::DEVICES, devices::list)
        .on(routes::ENROL, enrol::enrol)
        .on(routes::DEVICE, devices::show)
        .on(routes::EDIT_DEVICE, devices::edit)
        .on(routes::APPROVE_DEVICE, approval::approve)
        .on(routes::DELETE_DEVICE, devices::delete)
        .on(routes::OWN_CERTIFICATE, own::show)
        .on(routes::RENEW_OWN, own::renew)
        .on(routes::SIGN_REQUEST, own::sign)
        .on(routes::PROBE, probe::probe)
        .on(routes::FINGERPRINT, devices::fingerprint)
        .on(routes::JOB_LIST, jobs::list)
        .on(routes::JOB, jobs::show)
        .on(routes::PAUSE, steer::pause)
        .on(routes::RESUME, steer::resume)
        .on(routes::CONTINUE_JOB, steer::go_on)
        .on(routes::ABORT_JOB, steer::abort)
        .on(routes::ROLL_BACK, steer::roll_back)
        .on(routes::RETRY_JOB, retry::retry)
        .on(routes::WAIVE, waive::waive)
        .on(routes::JOB_AUDIT, audit::of_job)
        .on(routes::ROOT_AUDIT, audit::of_root)
        .on(routes::DEVICE_AUDIT, audit::of_device)
        .on(routes::POLICY_AUDIT, audit::of_policy)
        .on(routes::PRINCIPAL_AUDIT, audit::of_principal)
        .on(routes::DENIAL_AUDIT, audit::of_denials)
        .on(routes::REQUEST_AUDIT, audit::of_request)
        .on(routes::AUDIT_HEADS, audit::heads)
        .on(routes::JOB_TASKS, tasks::list)
        .into_router()
        .fallback(async || LenovoError::from(Refusal::nothing_here()))
        .method_not_allowed_fallback(no_such_method)
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
async fn protect(State(app): State<App>, request: Request, next: Next) -> Result<Response, LenovoError> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path();
    if let Ok(list) = path.parse::<CrlId>() {
        parts.extensions.insert(list);
    } else if PUBLIC_FOLDERS.iter().any(|folder| is_under(folder, path)) && !PUBLIC.contains(&path) {
        return Err(Refusal::nothing_here().into());
    } else if !PUBLIC.contains(&path) {
        let app = app.parts().await?;
        let principal = authenticate(&app.ledger, &parts, (app.clock)()).await?;
        parts.extensions.insert(principal);
        parts.extensions.insert(app.second.clone());
        let response = next.run(Request::from_parts(parts, body)).await;
        app.ledger.tell().await;
        return Ok(recorded(&app.ledger, response, (app.clock)()).await);
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// Axum adds the header Allow.
async fn no_such_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    LenovoError::new(
        Kind::MethodNotAllowed,
        "The resource does not have this method.",
        "Use a method that the header Allow names. PUT /signingCertificate is taken in this spelling and in lower case only.",
    )
    .into_response()
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
