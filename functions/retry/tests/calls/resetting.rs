//! `POST Certificates/Reset` and `Certificates/Renew`.

use aws_smithy_mocks::RuleMode;

use crate::*;

/// A running use has no task record.
fn no_task() -> Rule {
    mock!(Client::batch_get_item).then_output(|| BatchGetItemOutput::builder().build())
}

fn reset(restart: bool) -> Request<Body> {
    post("Reset", json!({ "CertificateDN": DN, "Restart": restart, "WorkToDoTimeout": 0 }))
}

fn done(restarted: bool) -> (u16, Value) {
    (200, json!({ "ProcessingResetCompleted": true, "RestartCompleted": restarted }))
}

#[tokio::test]
async fn a_reset_gives_up_all_unproven_uses() {
    let wake = woken("reset");
    let found = uses(vec![
        binding("bmc-1", 7, 1, Some(true)),
        binding("bmc-2", 8, 3, Some(false)),
        binding("bmc-3", 7, 1, None),
    ]);
    let failed = mock!(Client::transact_write_items)
        .match_requests(|request| {
            let writes: Vec<String> = request.transact_items().iter().map(told).collect();
            writes == [format!("put {CERTIFICATE} use#bmc-1")]
        })
        .then_output(|| TransactWriteItemsOutput::builder().build());
    let under_way = mock!(Client::transact_write_items)
        .match_requests(|request| {
            let writes: Vec<String> = request.transact_items().iter().map(told).collect();
            writes
                == [
                    format!("put {CERTIFICATE} use#bmc-2"),
                    "put 8#15 task#install#bmc-2".to_owned(),
                    "put 8#15 trouble#install#bmc-2".to_owned(),
                    "update 8#counters counters#install#15".to_owned(),
                ]
        })
        .then_output(|| TransactWriteItemsOutput::builder().build());
    let chained = mock!(Client::transact_write_items)
        .match_requests(|request| request.transact_items().iter().map(told).all(|write| write.contains(" audit")))
        .then_output(|| TransactWriteItemsOutput::builder().build());
    let rules = [&token(), &name(), &held(record()), &found, &chain(), &chained, &no_task(), &failed, &under_way];
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, &rules);
    assert_eq!(call_with(reset(false), client, &wake).await, done(false));
    // Before the first transaction and after the last.
    assert_eq!((failed.num_calls(), under_way.num_calls(), chained.num_calls()), (1, 1, 2));
    // The other job had already settled its device.
    assert_eq!(wake.num_calls(), 1);
}

#[tokio::test]
async fn no_reset_is_required_where_nothing_runs_or_failed() {
    let text = "Reset is not completed. No reset is required for the certificate.";
    for bindings in [vec![], vec![binding("bmc-1", 7, 1, None)]] {
        assert_eq!(
            call(reset(true), &[&name(), &held(record()), &uses(bindings)], &woken("reset")).await,
            refused(text)
        );
    }
}

#[tokio::test]
async fn a_conflict_reads_the_use_again() {
    let failed = || vec![binding("bmc-1", 7, 1, Some(true))];
    let again = uses_then(vec![UseRecord { revision: 2, ..binding("bmc-1", 7, 2, Some(true)) }]);
    let taken = written(&["put scs0000000000001 use#bmc-1"]);
    let rules = [
        &name(),
        &held(record()),
        &uses(failed()),
        &chain(),
        &recorded(),
        &lost(),
        &again,
        &taken,
        &chain(),
        &recorded(),
    ];
    assert_eq!(call(reset(false), &rules, &woken("reset")).await, done(false));

    let text = "Reset is not completed. No reset is required for the certificate.";
    for meanwhile in [binding("bmc-1", 7, 1, None), binding("bmc-1", 8, 1, Some(false))] {
        let rules = [
            &name(),
            &held(record()),
            &uses(failed()),
            &chain(),
            &recorded(),
            &lost(),
            &uses_then(vec![meanwhile]),
            &chain(),
            &recorded(),
        ];
        assert_eq!(call(reset(false), &rules, &woken("reset")).await, refused(text));
    }
}

#[tokio::test]
async fn a_restart_covers_only_the_reset_devices() {
    let wake = woken("created");
    let found = uses(vec![binding("bmc-1", 5, 1, Some(true)), binding("bmc-2", 5, 1, None)]);
    let given_up = written(&["put scs0000000000001 use#bmc-1"]);
    let begun = written(&[
        "put 7 meta",
        "put jobs 000000000007",
        "put running 000000000007",
        "update scs0000000000001",
        "put scs0000000000001 use#bmc-1",
        "update bmc-1",
    ]);
    let idle = uses_then(vec![binding("bmc-1", 5, 2, None)]);
    let there = devices(vec![device("bmc-1", &[CERTIFICATE])]);
    let rules = [
        &name(),
        &held(record()),
        &found,
        &chain(),
        &recorded(),
        &given_up,
        &chain(),
        &recorded(),
        &held(record()),
        &there,
        &idle,
        &next_job(),
        &chain(),
        &begun,
    ];
    assert_eq!(call(reset(true), &rules, &wake).await, done(true));
    assert_eq!((begun.num_calls(), wake.num_calls()), (1, 1));
}

#[tokio::test]
async fn an_impossible_restart_says_that_the_reset_is_done() {
    let expired = CertificateRecord { not_after: NOW, ..record() };
    let given_up = written(&["put scs0000000000001 use#bmc-1"]);
    let found = uses(vec![binding("bmc-1", 5, 1, Some(true))]);
    let rules =
        [&name(), &held(&expired), &found, &chain(), &recorded(), &given_up, &chain(), &recorded(), &held(&expired)];
    let text = "Reset is completed, but the work does not begin again.\nThe certificate expired on 1970-01-01.";
    assert_eq!(call(reset(true), &rules, &woken("reset")).await, refused(text));
}

#[tokio::test]
async fn a_devices_own_certificate_is_renewed_at_its_device() {
    let wake = woken("created");
    let (own, own_name) = (own(), || {
        mock!(Client::get_item)
            .match_requests(|request| key(request) == r"name#devices\bmc-1\certificate")
            .then_output(|| GetItemOutput::builder().item("certificate", text(CERTIFICATE)).build())
    });
    let there = mock!(Client::get_item).match_requests(|request| key(request) == "bmc-1").then_output(|| {
        GetItemOutput::builder().set_item(Some(serde_dynamo::to_item(device("bmc-1", &[])).unwrap())).build()
    });
    let begun = written(&[
        "put 7 meta",
        "put jobs 000000000007",
        "put running 000000000007",
        "update scs0000000000001",
        "put scs0000000000001 use#bmc-1",
        "update bmc-1",
    ]);
    let rules = [&name(), &held(&own), &own_name(), &held(&own), &there, &next_job(), &chain(), &begun];
    let renew = post("Renew", json!({ "CertificateDN": DN, "Reenable": false }));
    let said = json!({ "CertificateDN": DN, "Requested": true, "Success": true });
    assert_eq!(call(renew, &rules, &wake).await, (200, said));
    assert_eq!((begun.num_calls(), wake.num_calls()), (1, 1));
}

#[tokio::test]
async fn what_was_imported_is_neither_renewed_nor_requested() {
    let imported = call(post("Renew", json!({ "CertificateDN": DN })), &[&name(), &held(record())], &woken("")).await;
    assert_eq!(imported.0, 400);
    assert!(imported.1["Error"].as_str().unwrap().contains("/v3/scm/certificates/import"), "{imported:?}");
    for (field, value) in [("PKCS10", json!("-----BEGIN CERTIFICATE REQUEST-----")), ("IncludePrivateKey", json!(true))]
    {
        let (status, said) = call(post("Renew", json!({ "CertificateDN": DN, field: value })), &[], &woken("")).await;
        assert_eq!(status, 400);
        assert!(said["Error"].as_str().unwrap().contains(field), "{said}");
    }
}
