//! `POST Certificates/Retry`, and behaviour common to all paths.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::ResourceNotFoundException;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use axum::body::Body;
use axum::http::Request;
use lambda_http::RequestExt;
use rootcast_core::deployment::{Deployment, DeploymentOutcome};
use rootcast_core::job::{Reopen, Selection};
use serde_json::json;

use crate::*;

fn failed(id: u64, devices: &[&str]) -> Deployment {
    deployment(id, devices, Some(DeploymentOutcome::DeployedWithFailures))
}

fn chosen(devices: &[&str]) -> Reopen {
    let devices = devices.iter().map(|device| device.parse().unwrap()).collect();
    Reopen::from(vec![Selection { devices, ..Selection::everything(NOW) }])
}

fn job(deployment: Deployment) -> Rule {
    let id = deployment.id.to_string();
    mock!(Client::get_item).match_requests(move |request| key(request) == id).then_output(move || {
        let item = serde_dynamo::to_item(&deployment).unwrap();
        GetItemOutput::builder().set_item(Some(item)).item("kind", text("deployment")).build()
    })
}

/// Accepts a write of the deployment that reopens these devices, on the revision that was read.
fn resumed(id: u64, devices: &'static [&'static str]) -> Rule {
    mock!(Client::transact_write_items)
        .match_requests(move |request| {
            let [meta, running, entry, head] = request.transact_items() else { return false };
            assert_eq!((told(entry), told(head)), (format!("put {id} audit#000000000001"), format!("put {id} audit")));
            let (meta, running) = (meta.put().unwrap(), running.put().unwrap().item());
            let read = meta.expression_attribute_values().unwrap()[":read"] == AttributeValue::N("5".to_owned());
            let item = meta.item();
            read && item["pk"] == text(id.to_string())
                && serde_dynamo::from_attribute_value::<_, Reopen>(item["reopen"].clone()).unwrap() == chosen(devices)
                && !item.contains_key("outcome")
                && (&running["pk"], &running["sk"]) == (&text("running"), &text(format!("{id:012}")))
        })
        .then_output(|| TransactWriteItemsOutput::builder().build())
}

fn retry_of(dn: &str) -> Request<Body> {
    waiting_retry_of(dn, 0)
}

fn waiting_retry_of(dn: &str, timeout: u64) -> Request<Body> {
    let body = json!({"CertificateDN": dn, "WorkToDoTimeout": timeout});
    request("POST", "/vedsdk/Certificates/Retry", body.to_string())
}

#[tokio::test]
async fn without_a_token_every_path_gets_401() {
    for path in ["/vedsdk/Certificates/Retry", "/vedsdk/SystemStatus/Version", "/vedsdk/nowhere"] {
        let stranger = Request::post(path).body(Body::empty()).unwrap();
        let (status, body) = call(stranger, &[], &woken("retry")).await;
        assert_eq!((status, body.as_object().unwrap().len()), (401, 1), "{path}");
        assert!(body["Error"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn the_version_is_found_in_any_letter_case() {
    for path in ["/vedsdk/SystemStatus/Version", "/vedsdk/systemstatus/version?x=Y", "/VEDSDK/SYSTEMSTATUS/VERSION"] {
        let answer = call(request("GET", path, ""), &[], &woken("retry")).await;
        assert_eq!(answer, (200, json!({"Version": "25.1.0.0"})), "{path}");
    }
}

#[tokio::test]
async fn invalid_requests_are_refused_in_venafis_form() {
    let retry = "/vedsdk/certificates/retry";
    for (method, path, body, status) in [
        ("GET", "/vedsdk/nowhere", "", 404),
        ("GET", retry, "", 405),
        ("POST", retry, "", 400),
        ("POST", retry, "[]", 400),
        ("POST", retry, r#"{"CertificateDN":7}"#, 400),
        ("POST", retry, r#"{"CertificateDN":"\\VED\\Policy\\a\\web","WorkToDoTimeout":121}"#, 400),
        ("POST", retry, r#"{"CertificateDN":"\\VED\\Policy\\a\\web","WorkToDoTimeout":-1}"#, 400),
        ("POST", retry, r#"{"CertificateDN":"\\VED\\Policy\\a\\web","WorkToDoTimeout":1e99}"#, 400),
    ] {
        let (answered, told) = call(request(method, path, body), &[], &woken("retry")).await;
        assert_eq!(answered, status, "{body}: {told}");
        assert!(told["Error"].as_str().is_some_and(|text| !text.is_empty()), "{told}");
    }
}

#[tokio::test]
async fn a_name_with_null_or_white_space_is_refused() {
    for (body, told) in [("{}", ""), (r#"{"CertificateDN":null}"#, ""), (r#"{"CertificateDN":"a b"}"#, "a b")] {
        let answer = call(request("POST", "/vedsdk/certificates/retry", body), &[], &woken("retry")).await;
        let text = "Invalid CertificateDN format. The Certificate DN contained null or white spaces for";
        assert_eq!(answer, refused(&format!("{text} [{told}].")));
    }
}

#[tokio::test]
async fn missing_and_hidden_certificates_get_the_same_answer() {
    let text = "Access error. Certificates/Retry requires write permissions for certificate";
    for dn in [DN, r"\VED\Policy\Other\web"] {
        assert_eq!(call(retry_of(dn), &[&no_name()], &woken("retry")).await, refused(&format!("{text} [{dn}].")));
    }
    for dn in [r"\VED\Discovery\a\web", r"\VED\Policy\web", r"\VED\Policy\Ser#vers\web"] {
        assert_eq!(call(retry_of(dn), &[], &woken("retry")).await, refused(&format!("{text} [{dn}].")));
    }
}

#[tokio::test]
async fn where_nothing_failed_the_retry_is_cancelled() {
    let fine = uses(vec![binding("bmc-1", 7, 1, None), binding("bmc-2", 8, 1, Some(false))]);
    let text = "Retry canceled. No retry is required for the certificate. \
                [No application is in error; 1 of 2 are under way.]";
    assert_eq!(call(retry_of(DN), &[&name(), &fine], &woken("retry")).await, refused(text));
}

#[tokio::test]
async fn failed_uses_are_queued_once_in_any_letter_case() {
    let wake = woken("retry");
    let found = uses(vec![
        binding("bmc-1", 7, 1, Some(true)),
        binding("bmc-2", 7, 3, Some(true)),
        binding("bmc-3", 7, 1, None),
    ]);
    let rules =
        [&name(), &found, &job(failed(7, &["bmc-1", "bmc-2", "bmc-3"])), &chain(), &resumed(7, &["bmc-1", "bmc-2"])];
    assert_eq!(call(retry_of(r"\ved\POLICY\SERVERS\Web"), &rules, &wake).await, success());
    assert_eq!((rules[4].num_calls(), wake.num_calls()), (1, 1));
}

#[tokio::test]
async fn concurrent_retries_queue_a_device_once() {
    let wake = woken("retry");
    let found = || uses(vec![binding("bmc-1", 7, 1, Some(true))]);
    let queued = Deployment { reopen: chosen(&["bmc-1"]), ..deployment(7, &["bmc-1"], None) };
    let rules = [&name(), &found(), &job(failed(7, &["bmc-1"])), &chain(), &lost(), &job(queued)];
    assert_eq!(call(retry_of(DN), &rules, &wake).await, success());

    let done = uses_then(vec![binding("bmc-1", 7, 2, None)]);
    let ended = job(deployment(7, &["bmc-1"], Some(DeploymentOutcome::Deployed)));
    let rules = [&name(), &found(), &ended, &done];
    assert_eq!(call(retry_of(DN), &rules, &wake).await, success());
    assert_eq!(wake.num_calls(), 0);
}

#[tokio::test]
async fn failed_devices_are_retried_while_the_deployment_runs() {
    let wake = woken("retry");
    let found = uses(vec![binding("bmc-1", 7, 1, Some(true)), binding("bmc-2", 7, 1, Some(false))]);
    let running = job(deployment(7, &["bmc-1", "bmc-2"], None));
    let rules = [&name(), &found, &running, &chain(), &resumed(7, &["bmc-1"])];
    assert_eq!(call(retry_of(DN), &rules, &wake).await, success());
    assert_eq!((rules[4].num_calls(), wake.num_calls()), (1, 1));
}

#[tokio::test]
async fn a_refused_device_does_not_block_others() {
    let wake = woken("retry");
    let found = uses(vec![
        binding("bmc-1", 7, 1, Some(true)),
        binding("bmc-2", 7, 1, Some(false)),
        binding("bmc-3", 8, 1, Some(true)),
        binding("bmc-4", 9, 1, Some(true)),
    ]);
    let gone = mock!(Client::get_item)
        .match_requests(|request| key(request) == "8")
        .then_output(|| GetItemOutput::builder().build());
    let good = resumed(9, &["bmc-4"]);
    let mut retried = deployment(7, &["bmc-1", "bmc-2"], None);
    for device in ["a", "b", "c", "d"] {
        let devices = [device.parse().unwrap()].into();
        retried = retried.retry(Selection { devices, ..Selection::everything(NOW) }, NOW).unwrap();
    }
    let (busy, ended) = (job(retried), job(failed(9, &["bmc-4"])));
    let rules = [&token(), &name(), &found, &busy, &gone, &ended, &chain(), &good];
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, &rules);
    let text = "Failed to add work for application [bmc-1]. Retry for this application will not occur. Failure \
                details: [The deployment 7 cannot be resumed: earlier retries are still being worked on: send this one again in \
                a moment.] Result Code: [103]\n\
                Failed to add work for application [bmc-3]. Retry for this application will not occur. Failure details: \
                [The deployment 8 no longer exists: deploy the certificate to the device again.] Result Code: [300]";
    assert_eq!(call_with(retry_of(DN), client, &wake).await, refused(text));
    assert_eq!((good.num_calls(), wake.num_calls()), (1, 1));
}

#[tokio::test]
async fn where_the_uses_cannot_be_read_no_work_is_added() {
    let broken = mock!(Client::query)
        .then_error(|| QueryError::ResourceNotFoundException(ResourceNotFoundException::builder().build()));
    let text = r"Failed to add work for certificate [\VED\Policy\Servers\web]. Retry for this cert and any associate applications will not occur. Failure details: [The records could not be read or written: send the request again.] Result Code: [100]";
    assert_eq!(call(retry_of(DN), &[&name(), &broken], &woken("retry")).await, refused(text));
}

#[tokio::test]
async fn waiting_ends_with_the_devices_next_result() {
    let open = || uses_then(vec![binding("bmc-1", 7, 2, Some(false))]);
    let (unopened, again) =
        (uses_then(vec![binding("bmc-1", 7, 1, Some(true))]), uses_then(vec![binding("bmc-1", 7, 2, Some(true))]));
    let found = uses(vec![binding("bmc-1", 7, 1, Some(true))]);
    let rules =
        [&name(), &found, &job(failed(7, &["bmc-1"])), &chain(), &resumed(7, &["bmc-1"]), &unopened, &open(), &again];
    let begun = Instant::now();
    assert_eq!(call(waiting_retry_of(DN, 60), &rules, &woken("retry")).await, success());
    assert_eq!(rules[7].num_calls(), 1);
    assert!((Duration::from_millis(1750)..Duration::from_secs(20)).contains(&begun.elapsed()));
}

#[tokio::test]
async fn waiting_ends_before_the_invocation() {
    let found = uses(vec![binding("bmc-1", 7, 1, Some(true))]);
    let rules = [&name(), &found, &job(failed(7, &["bmc-1"])), &chain(), &resumed(7, &["bmc-1"])];
    let mut context = lambda_http::Context::default();
    let ends = std::time::SystemTime::from(NOW) + Duration::from_millis(2500);
    context.deadline = u64::try_from(ends.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let begun = Instant::now();
    let answer = call(waiting_retry_of(DN, 120).with_lambda_context(context), &rules, &woken("retry")).await;
    assert_eq!(answer, success());
    assert!(begun.elapsed() < Duration::from_secs(2));
}
