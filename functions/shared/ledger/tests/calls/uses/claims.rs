//! Whose an address is, for devices that were enrolled before that was on record.

use aws_sdk_dynamodb::operation::scan::ScanOutput;

use super::*;

const CLAIM: &str = "~address#https://10.0.0.7";

/// The claims that exist, with their devices.
pub(super) fn claims(held: &'static [(&'static str, &'static str)]) -> Rule {
    let item = |(claim, device): &(&str, &str)| {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        HashMap::from([("id".to_owned(), text(claim)), ("claimant".to_owned(), text(device))])
    };
    mock!(Client::batch_get_item)
        .match_requests(|request| request.request_items().unwrap().contains_key("devices"))
        .then_output(move || {
            BatchGetItemOutput::builder().responses("devices", held.iter().map(item).collect()).build()
        })
}

fn pending(address: &str) -> DeviceRecord {
    DeviceRecord { address: address.parse().unwrap(), pins: Vec::new(), ..device("bmc-1", &[]) }
}

async fn moved(to: &str, rules: &[&Rule]) -> Result<DeviceRecord, LedgerError> {
    ledger(rules).edit_device(&pending("https://10.0.0.7"), pending(to), OPS, NOW).await
}

/// The writes of a move beside the device's and its audit's.
fn moves(expected: &'static [&'static str]) -> Rule {
    mock!(Client::transact_write_items)
        .match_requests(move |request| {
            let writes: Vec<String> = request.transact_items().iter().map(told).collect();
            assert!(writes[0].starts_with("update bmc-1 "), "{writes:?}");
            assert_eq!(writes[1..writes.len() - 2], *expected);
            true
        })
        .then_output(|| TransactWriteItemsOutput::builder().build())
}

/// DynamoDB filters after it has counted: a page is asked for until it is full, and goes on after its last device.
#[tokio::test]
async fn a_page_of_devices_passes_over_claims() {
    let page = |limit: i32,
                from: Option<&'static str>,
                ids: &'static [&'static str],
                scanned: i32,
                last: Option<&'static str>| {
        let key = |id: &str| HashMap::from([("id".to_owned(), AttributeValue::S(id.to_owned()))]);
        mock!(Client::scan)
            .match_requests(move |asked| {
                let begins = asked.exclusive_start_key().map(|key| key["id"].as_s().unwrap().as_str());
                asked.limit() == Some(limit)
                    && begins == from
                    && asked.filter_expression() == Some("attribute_not_exists(claimant)")
            })
            .then_output(move || {
                let items = ids.iter().map(|id| serde_dynamo::to_item(device(id, &[])).unwrap()).collect::<Vec<_>>();
                let count = i32::try_from(items.len()).unwrap();
                ScanOutput::builder()
                    .set_items(Some(items))
                    .count(count)
                    .scanned_count(scanned)
                    .set_last_evaluated_key(last.map(key))
                    .build()
            })
    };
    let after = |id: &str| Some(id.parse::<DeviceId>().unwrap());
    let first = page(3, None, &["a"], 3, Some(CLAIM));
    let second = page(4, Some(CLAIM), &["b", "c", "d"], 4, Some("d"));
    let read = ledger(&[&first, &second]).devices_after(None, 3).await.unwrap();
    assert_eq!(read.items.iter().map(|device| device.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(read.next, after("c"));
    let rest = page(3, Some("c"), &["d"], 3, None);
    let read = ledger(&[&rest]).devices_after(after("c").as_ref(), 3).await.unwrap();
    assert_eq!((read.items.len(), read.next), (1, None));
    let none = page(1, None, &[], 1, Some(CLAIM));
    let some = page(2, Some(CLAIM), &["a"], 2, Some("~address#https://10.0.0.9"));
    let read = ledger(&[&none, &some]).devices_after(None, 1).await.unwrap();
    assert_eq!((read.items.len(), read.next), (1, after("a")));
}

#[tokio::test]
async fn an_edit_of_the_address_makes_and_moves_its_claim() {
    let new = "https://10.0.0.8";
    let (none, made) = (claims(&[]), moves(&["put ~address#https://10.0.0.8"]));
    moved(new, &[&none, &chain(), &made]).await.unwrap();
    let (own, both) =
        (claims(&[(CLAIM, "bmc-1")]), moves(&["delete ~address#https://10.0.0.7", "put ~address#https://10.0.0.8"]));
    moved(new, &[&own, &chain(), &both]).await.unwrap();
    let (others, made) = (claims(&[(CLAIM, "bmc-2")]), moves(&["put ~address#https://10.0.0.8"]));
    moved(new, &[&others, &chain(), &made]).await.unwrap();
    let none = moves(&[]);
    moved("https://10.0.0.7:443", &[&chain(), &none]).await.unwrap();
}

#[tokio::test]
async fn an_edit_to_an_address_of_another_device_is_refused() {
    let taken = claims(&[("~address#https://10.0.0.8", "bmc-2")]);
    let error = moved("https://10.0.0.8", &[&taken]).await.unwrap_err();
    assert!(matches!(&error, LedgerError::Claimed { by } if by.as_str() == "bmc-2"), "{error:?}");
    let own = claims(&[("~address#https://10.0.0.8", "bmc-1")]);
    let again = moves(&["put ~address#https://10.0.0.8"]);
    moved("https://10.0.0.8", &[&own, &chain(), &again]).await.unwrap();
}

#[tokio::test]
async fn a_deletion_takes_no_claim_of_another_device() {
    for (held, more) in [(claims(&[]), 0), (claims(&[(CLAIM, "bmc-2")]), 0), (claims(&[(CLAIM, "bmc-1")]), 1)] {
        let (there, no_uses) = (read(&pending("https://10.0.0.7")), no_own());
        let written = mock!(Client::transact_write_items)
            .match_requests(move |request| request.transact_items().len() == 3 + more)
            .then_output(|| TransactWriteItemsOutput::builder().build());
        let rules = [&there, &held, &no_uses, &chain(), &written];
        assert_eq!(ledger(&rules).delete_device(&"bmc-1".parse().unwrap(), OPS, NOW).await.unwrap(), None);
        assert_eq!(written.num_calls(), 1);
    }
}
