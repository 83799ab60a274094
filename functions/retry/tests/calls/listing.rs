//! `GET Certificates/`, and `HEAD`.

use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::types::Select;
use rootcast_core::inventory::id::CertificateId;

use crate::*;

fn list(query: &str) -> Request<Body> {
    request("GET", &format!("/vedsdk/certificates/{query}"), "")
}

fn asks(request: &QueryInput, index: &str, shard: Option<u8>) -> bool {
    let asked = request.expression_attribute_values().and_then(|values| values.get(":shard"));
    let at = |shard: u8| asked == Some(&AttributeValue::N(shard.to_string()));
    request.index_name() == Some(index) && shard.is_none_or(at)
}

/// These uses are in shard 1 of the index; all other shards are empty.
fn unfinished(bindings: Vec<UseRecord>) -> [Rule; 2] {
    let some = mock!(Client::query)
        .match_requests(|request| asks(request, "unfinished", Some(1)))
        .then_output(move || QueryOutput::builder().set_items(Some(items(&bindings))).build());
    let none = mock!(Client::query)
        .match_requests(|request| asks(request, "unfinished", None))
        .then_output(|| QueryOutput::builder().build());
    [some, none]
}

fn numbered(number: u64) -> CertificateRecord {
    let id: CertificateId = format!("scs{number:013}").parse().unwrap();
    CertificateRecord { id, shard: id.shard(), name: format!("web-{number}"), ..record() }
}

/// Three certificates in shard 1 of the index: a count query and a page query.
fn shards() -> [Rule; 3] {
    let counted = mock!(Client::query)
        .match_requests(|request| asks(request, "by-update", Some(1)) && request.select() == Some(&Select::Count))
        .then_output(|| QueryOutput::builder().count(3).build());
    let some = mock!(Client::query).match_requests(|request| asks(request, "by-update", Some(1))).then_output(|| {
        let rows = [1, 17, 33].map(|number| serde_dynamo::to_item(numbered(number)).unwrap());
        QueryOutput::builder().set_items(Some(rows.into())).build()
    });
    let none = mock!(Client::query)
        .match_requests(|request| asks(request, "by-update", None))
        .then_output(|| QueryOutput::builder().build());
    [counted, some, none]
}

/// Returns the known records among the requested ids.
fn records(known: Vec<CertificateRecord>) -> Rule {
    mock!(Client::batch_get_item).then_compute_output(move |request| {
        let keys = request.request_items().unwrap()["certificates"].keys();
        let is_asked = |record: &&CertificateRecord| keys.iter().any(|key| key["id"] == text(record.id.to_string()));
        let found = known.iter().filter(is_asked).map(|record| serde_dynamo::to_item(record).unwrap()).collect();
        BatchGetItemOutput::builder().responses("certificates", found).build()
    })
}

async fn listed(request: Request<Body>, rules: &[&Rule]) -> (u16, String, Value) {
    let token = token();
    // A stack from before there were counts.
    let uncounted = mock!(Client::get_item)
        .match_requests(|request| key(request) == "listed#all")
        .then_output(|| GetItemOutput::builder().build());
    let rules: Vec<&Rule> = [&token, &uncounted].into_iter().chain(rules.iter().copied()).collect();
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, &rules);
    let answer = answer(request, client, &woken("")).await;
    let count = answer.headers().get("x-record-count").map(|count| count.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 100_000).await.unwrap();
    (status, count.unwrap_or_default(), serde_json::from_slice(&body).unwrap_or_default())
}

fn names(page: &Value) -> Vec<&str> {
    page["Certificates"].as_array().unwrap().iter().map(|each| each["Name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_page_has_certificates_total_and_range() {
    let [idle, none] = unfinished(vec![]);
    let [counted, some, empty] = shards();
    let records = records([1, 17, 33].map(numbered).into());
    let rules = [&idle, &none, &counted, &some, &empty, &records];
    for query in ["", "?Limit=100&Offset=0"] {
        let (status, count, page) = listed(list(query), &rules).await;
        assert_eq!((status, count.as_str()), (200, "3"), "{page}");
        assert_eq!(names(&page), ["web-1", "web-17", "web-33"]);
        assert_eq!((&page["TotalCount"], &page["DataRange"]), (&json!(3), &json!("Certificates 1 - 3")));
    }
    let (_, _, page) = listed(list("?Limit=1&Offset=1"), &rules).await;
    assert_eq!((names(&page), &page["DataRange"]), (vec!["web-17"], &json!("Certificates 2 - 2")));
    let (_, count, page) = listed(list("?Offset=9"), &rules).await;
    assert_eq!((count.as_str(), names(&page), &page["DataRange"]), ("3", vec![], &json!("Certificates 0 - 0")));

    let (_, _, page) = listed(list("?Name=WEB-17,web-33&ParentDn=%5Cved%5Cpolicy%5Cservers"), &rules).await;
    assert_eq!(names(&page), ["web-17", "web-33"]);
    let one = &page["Certificates"][0];
    assert_eq!(one["DN"], r"\VED\Policy\Servers\web-17");
    assert_eq!(
        one["_links"],
        json!([{ "Details": "/vedsdk/certificates/%7b726f6f74-6361-8000-8000-000000000011%7d" }])
    );
    assert_eq!(
        (&one["X509"]["KeyAlgorithm"], &one["X509"]["KeySize"], &one["X509"]["SANS"]),
        (&json!("ECC"), &json!(256), &json!({ "DNS": ["a.test"], "IP": ["10.0.0.7"] }))
    );
}

#[tokio::test]
async fn a_head_returns_the_count_and_reads_no_record() {
    let [idle, none] = unfinished(vec![]);
    let [counted, some, empty] = shards();
    let records = records(vec![]);
    let head = request("HEAD", "/vedsdk/certificates/?limit=1", "");
    let (status, count, body) = listed(head, &[&idle, &none, &counted, &some, &empty, &records]).await;
    assert_eq!((status, count.as_str(), body), (200, "3", json!(null)));
    assert_eq!((counted.num_calls(), records.num_calls()), (1, 1), "the stored counts");
}

#[tokio::test]
async fn stage_and_error_filters_read_only_unfinished_uses() {
    let of = |number: u64, device: &str, in_error| UseRecord {
        certificate: numbered(number).id,
        ..binding(device, 7, 1, Some(in_error))
    };
    let bindings = vec![of(1, "bmc-1", false), of(1, "bmc-2", true), of(17, "bmc-3", false)];
    let records = records([1, 17, 33].map(numbered).into());
    for (query, expected) in [
        ("?InError=1", vec!["web-1"]),
        ("?Stage=800", vec!["web-1", "web-17"]),
        ("?Stage=800&InError=0", vec!["web-17"]),
        ("?StageGreater=700&StageLess=900&Name=web-17", vec!["web-17"]),
        ("?Stage=400,900", vec![]),
    ] {
        let [some, none] = unfinished(bindings.clone());
        let (_, count, page) = listed(list(query), &[&some, &none, &records]).await;
        assert_eq!((names(&page), count), (expected.clone(), expected.len().to_string()), "{query}");
    }
    // Every other certificate is not in error.
    let [some, none] = unfinished(bindings);
    let [counted, rows, empty] = shards();
    let (_, count, page) = listed(list("?InError=False"), &[&some, &none, &counted, &rows, &empty, &records]).await;
    assert_eq!((names(&page), count.as_str()), (vec!["web-17", "web-33"], "2"));
}

#[tokio::test]
async fn pending_certificates_are_listed_last() {
    let mut issuing = binding("bmc-1", 7, 1, Some(false));
    issuing.lifecycle.work = Work::Issue;
    issuing.certificate = "scs0000000000099".parse().unwrap();
    let [counted, rows, empty] = shards();
    let known = mock!(Client::batch_get_item).then_compute_output(move |request| {
        let keys = request.request_items().unwrap()["certificates"].keys();
        let ids = keys.iter().map(|key| key["id"].as_s().unwrap().as_str()).filter(|id| id.starts_with("scs"));
        let found = ids.map(|id| match id {
            "scs0000000000099" => {
                serde_dynamo::to_item(PendingCertificate { id: "scs0000000000099".parse().unwrap(), ..place() })
            }
            other => serde_dynamo::to_item(numbered(other[3..].parse().unwrap())),
        });
        BatchGetItemOutput::builder().responses("certificates", found.map(Result::unwrap).collect()).build()
    });
    for (query, expected) in [
        ("", vec!["web-1", "web-17", "web-33", "certificate"]),
        ("?Limit=2&Offset=2", vec!["web-33", "certificate"]),
        ("?Limit=2&Offset=3", vec!["certificate"]),
    ] {
        let [some, none] = unfinished(vec![issuing.clone()]);
        let (_, count, page) = listed(list(query), &[&some, &none, &counted, &rows, &empty, &known]).await;
        assert_eq!((names(&page), count.as_str()), (expected, "4"), "{query}");
        let last = page["Certificates"].as_array().unwrap().last().unwrap();
        assert_eq!(last.get("X509"), None, "{last}");
    }
}

#[tokio::test]
async fn a_thumbprint_leads_to_its_certificate() {
    let record = numbered(17);
    let print = record.leaf.thumbprint();
    let wanted = print.clone();
    let indexed = mock!(Client::query)
        .match_requests(move |request| {
            let asked = &request.expression_attribute_values().unwrap()[":thumbprint"];
            request.index_name() == Some("by-thumbprint") && *asked == text(wanted.clone())
        })
        .then_output(|| QueryOutput::builder().items([("id".to_owned(), text("scs0000000000017"))].into()).build());
    let records = records(vec![record]);
    let (_, count, page) = listed(list(&format!("?Thumbprint={}", print.to_lowercase())), &[&indexed, &records]).await;
    assert_eq!((names(&page), count.as_str()), (vec!["web-17"], "1"));
    assert_eq!(page["Certificates"][0]["X509"]["Thumbprint"], print);
}

#[tokio::test]
async fn an_unknown_filter_is_refused() {
    let (status, _, said) = listed(list("?KeySize=2048"), &[]).await;
    assert_eq!(status, 400);
    assert!(said["Error"].as_str().unwrap().starts_with("There is no parameter KeySize"), "{said}");
}
