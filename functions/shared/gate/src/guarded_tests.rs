#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use axum::extract::Extension;
use http::StatusCode;
use lambda_http::tower::ServiceExt;
use rootcast_core::access::permission::Role;
use rootcast_ledger::{Ledger, Tables};
use time::OffsetDateTime;

use super::*;
use crate::routes;

struct Refused(Refusal);

impl<T> From<T> for Refused
where
    Refusal: From<T>,
{
    fn from(why: T) -> Self {
        Self(why.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = self.0.status().into_response();
        if let Some(operation) = self.0.awaits() {
            response.extensions_mut().insert(Awaits(operation));
        }
        response
    }
}

/// The answer to an administrator without a principal, and the number of calls to AWS.
async fn answered(route: Route, list: Option<&str>, body: &'static str) -> (StatusCode, usize) {
    let (answer, calls) = response(route, list, body).await;
    (answer.status(), calls)
}

async fn response(route: Route, list: Option<&str>, body: &'static str) -> (Response, usize) {
    let read = mock!(Client::get_item).then_output(|| GetItemOutput::builder().build());
    let client = mock_client!(aws_sdk_dynamodb, [&read]);
    let ledger = Ledger::new(client, Tables { access: Some("access".to_owned()), ..Tables::default() });
    let second = list.map(|list| SecondPerson::new(ledger, list.parse().unwrap(), || OffsetDateTime::UNIX_EPOCH));
    let handler = async move |Extension(caller): Extension<Principal>, got: String| {
        assert_eq!(got, body);
        caller.may(Operation::Activate).map_err(Refused::from)
    };
    let router = Guarded::<(), Refused>::default().on(route, handler).into_router();
    let mut request = Request::builder().method(route.method.as_str()).uri(route.path).body(Body::from(body)).unwrap();
    request.extensions_mut().insert(Principal::unknown("root", Role::Administrator.into()));
    if let Some(second) = second {
        request.extensions_mut().insert(second);
    }
    (router.oneshot(request).await.unwrap(), read.num_calls())
}

#[tokio::test]
async fn without_a_list_everybody_carries_out_what_he_may() {
    assert_eq!(answered(routes::CANCEL_TASKS, Some(""), "body").await, (StatusCode::OK, 0));
}

#[tokio::test]
async fn a_router_that_was_given_no_list_carries_out_no_operation() {
    let (status, calls) = answered(routes::CANCEL_TASKS, None, "body").await;
    assert_eq!((status, calls), (StatusCode::ACCEPTED, 0));
    assert_eq!(answered(routes::PRINCIPALS, None, "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn only_what_is_in_the_list_needs_a_second_person() {
    let other = Some("administer-access,export-key");
    assert_eq!(answered(routes::CANCEL_TASKS, other, "body").await, (StatusCode::OK, 0));
    // By the route, by the handler, and to look at something.
    let refused = (StatusCode::FORBIDDEN, 0);
    assert_eq!(answered(routes::CANCEL_TASKS, Some("administer-access,abort"), "body").await, refused);
    assert_eq!(answered(routes::CANCEL_TASKS, Some("administer-access,activate"), "body").await, refused);
    assert_eq!(answered(routes::PRINCIPALS, Some("administer-access,activate"), "").await, (StatusCode::OK, 0));
}

#[tokio::test]
async fn whoever_is_refused_for_having_no_principal_is_on_record() {
    let (answer, _) = response(routes::CANCEL_TASKS, Some("administer-access,abort"), "body").await;
    let denial = answer.extensions().get::<Denial>().unwrap();
    assert_eq!((denial.caller.as_str(), denial.route.as_str()), ("root", "PUT /tasks"));
    assert!(denial.missing.contains("whose token this is"), "{}", denial.missing);
}

#[test]
fn a_decider_has_to_read_what_the_call_is_about() {
    let about = |route: Route, path: &str| route.about(path);
    assert_eq!(about(routes::ABORT_JOB, "/jobs/7/abort"), r"\VED\Policy\Jobs");
    assert_eq!(about(routes::APPROVE_DEVICE, "/devices/bmc-1/approval"), r"\VED\Policy\Devices\bmc-1");
    for (route, path) in [
        (routes::APPROVE_DEVICE, "/devices/%2e/approval"),
        (routes::ENROL, "/devices"),
        (routes::SCM_EXPORT, "/v3/scm/certificates/scs1/export"),
        (routes::WAIVE, "/jobs/7/waive"),
    ] {
        assert_eq!(about(route, path), r"\VED\Policy", "{path}");
    }
}

/// What is confirmed is the rollout as it was stored when the call was made.
#[tokio::test]
async fn a_stored_rollout_is_part_of_the_call_that_names_it() {
    let of_rollout = |canary: &'static str| {
        let template = AttributeValue::M([("canary".to_owned(), AttributeValue::N(canary.to_owned()))].into());
        AttributeValue::M([("weekend".to_owned(), template)].into())
    };
    let read =
        mock!(Client::get_item).then_output(move || GetItemOutput::builder().item("rollouts", of_rollout("2")).build());
    let tables = Tables { certificates: Some("certificates".to_owned()), ..Tables::default() };
    let ledger = Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, [&read]), tables);
    let second = SecondPerson::new(ledger, "".parse().unwrap(), || OffsetDateTime::UNIX_EPOCH);
    let shown = async |route: Route, query: Option<&str>, body: &[u8]| {
        let body = ShownBody::of(body, shown(&route));
        second.with_rollout(route, query, body).await.unwrap().rollout
    };
    let stored = Some(r#"{"canary":2}"#.to_owned());
    assert_eq!(shown(routes::REGENERATE, Some("until=reissue&rollout=weekend"), b"").await, stored);
    assert_eq!(shown(routes::CHOOSE_POLICY, None, br#"{"rollout":"weekend"}"#).await, stored);
    assert_eq!(
        shown(routes::TRUST, Some("rollout=other"), b"").await,
        Some("null".to_owned()),
        "it may be stored later"
    );
    assert_eq!(read.num_calls(), 3);
    assert_eq!(shown(routes::REGENERATE, Some("canary=2"), b"").await, None);
    assert_eq!((shown(routes::WAIVE, Some("rollout=weekend"), b"").await, read.num_calls()), (None, 3));
}

#[test]
fn an_immediate_root_is_confirmed_as_a_whole() {
    let further = |query| routes::REGENERATE.further(Some(query));
    assert_eq!(further("reason=x&activation=immediate"), Some(Operation::Activate));
    assert_eq!((further("activation=proven"), routes::REGENERATE.further(None)), (None, None));
    assert_eq!(routes::WAIVE.further(Some("activation=immediate")), None);
}
