//! What a refused request leaves for the audit.
#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use axum::Extension;
use axum::body::Body;
use http::StatusCode;
use lambda_http::tower::ServiceExt;
use rootcast_core::access::permission::{Grants, Operation, Right, Role};

use super::*;
use crate::refusal::Refusal;
use crate::routes;

const SECRET: &str = r"\VED\Policy\Secret\x";

struct Told(Refusal);

impl<T> From<T> for Told
where
    Refusal: From<T>,
{
    fn from(why: T) -> Self {
        Self(why.into())
    }
}

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        (self.0.status(), self.0.text().to_owned()).into_response()
    }
}

/// The denial of a request to this row, whose handler is `answer`.
async fn denial(route: Route, grants: Grants, answer: fn(&Principal) -> StatusCode) -> Option<(String, String)> {
    let handler = async move |Extension(caller): Extension<Principal>| answer(&caller);
    let router = Guarded::<(), Told>::default().on(route, handler).into_router();
    let caller = Principal::unknown("mallory", grants);
    let mut request = Request::builder().method(route.method.as_str()).uri(route.path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(RequestId("r-1".to_owned()));
    let response = router.oneshot(request).await.unwrap();
    let denial = response.extensions().get::<Denial>().cloned()?;
    assert_eq!((denial.caller.as_str(), denial.request_id.as_deref()), ("mallory", Some("r-1")));
    Some((denial.route, denial.missing))
}

fn only(grant: &str) -> Grants {
    let mut grants = Grants::default();
    grants.add(grant.parse().unwrap());
    grants
}

#[tokio::test]
async fn a_denial_by_the_route_names_what_is_missing() {
    let ok = |_: &Principal| StatusCode::OK;
    let told = |route: &str, missing: &str| Some((route.to_owned(), missing.to_owned()));
    assert_eq!(
        denial(routes::ABORT_JOB, Role::Operator.into(), ok).await,
        told("POST /jobs/{job}/abort", "permission abort")
    );
    assert_eq!(denial(routes::JOB_LIST, Grants::default(), ok).await, told("GET /jobs", "the right to see it"));
    assert_eq!(denial(routes::JOB_LIST, Role::Reader.into(), ok).await, None);
}

#[tokio::test]
async fn a_denial_by_the_handler_is_seen_too() {
    let grants = || only(r"\VED\Policy\Else=manage");
    let unseen = |caller: &Principal| match caller.sees(SECRET) {
        true => StatusCode::OK,
        false => StatusCode::NOT_FOUND,
    };
    let missing = |found: Option<(String, String)>| found.map(|(_, missing)| missing);
    assert_eq!(
        missing(denial(routes::SCM_SHOW, grants(), unseen).await).as_deref(),
        Some(r"right read on \VED\Policy\Secret\x")
    );
    let listed = |caller: &Principal| if caller.sees(SECRET) { StatusCode::CREATED } else { StatusCode::OK };
    assert_eq!(missing(denial(routes::SCM_LIST, grants(), listed).await), None, "a list leaves it out");
    let refused = |caller: &Principal| match caller.may(Operation::Activate) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::FORBIDDEN,
    };
    let found = denial(routes::PAUSE, Role::Operator.into(), refused).await;
    assert_eq!(missing(found).as_deref(), Some("permission activate"));
    // Venafi's calls have a status of their own for a missing right.
    let texts = |caller: &Principal| match caller.require(Right::Write, SECRET) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::BAD_REQUEST,
    };
    let found = denial(routes::PUSH, grants(), texts).await;
    assert_eq!(missing(found).as_deref(), Some(r"right write on \VED\Policy\Secret\x"));
}
