//! Whose an address is, also of devices that were enrolled before that was on record.

use aws_sdk_dynamodb::operation::delete_item::{DeleteItemError, DeleteItemOutput};
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use rootcast_core::job::visit::{TaskAttempt, Working};

use super::*;

const CLAIM: &str = "address#https://10.0.0.7";

/// The claims that exist, with their devices.
pub(super) fn claims(held: &'static [(&'static str, &'static str)]) -> Rule {
    let item = |(claim, id): &(&str, &str)| {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let device: HashMap<String, AttributeValue> = serde_dynamo::to_item(device(id, &[])).unwrap();
        let mut item = HashMap::from([("pk".to_owned(), text(claim)), ("sk".to_owned(), text("claim"))]);
        item.insert("claimant".to_owned(), text(id));
        item.extend(["incarnation", "revision"].map(|name| (name.to_owned(), device[name].clone())));
        item
    };
    mock!(Client::batch_get_item)
        .match_requests(|request| {
            let keys = request.request_items().unwrap().get("jobs").map(|asked| asked.keys());
            keys.is_some_and(|keys| keys[0]["sk"].as_s().unwrap() == "claim")
        })
        .then_output(move || BatchGetItemOutput::builder().responses("jobs", held.iter().map(item).collect()).build())
}

/// Of the devices that hold claims of others' addresses, those that are there.
fn there(devices: &'static [(&'static str, &'static str)]) -> Rule {
    let item = |(id, address): &(&str, &str)| {
        let device = DeviceRecord { address: address.parse().unwrap(), ..device(id, &[]) };
        serde_dynamo::to_item(device).unwrap()
    };
    mock!(Client::batch_get_item)
        .match_requests(|request| request.request_items().unwrap().contains_key("devices"))
        .then_output(move || {
            BatchGetItemOutput::builder().responses("devices", devices.iter().map(item).collect()).build()
        })
}

/// The deletion of a claim, as it was read.
fn removed(claim: &'static str) -> impl Fn(&aws_sdk_dynamodb::operation::delete_item::DeleteItemInput) -> bool {
    move |request| {
        let whole = "claimant = :claimant AND incarnation = :incarnation AND #revision = :revision AND attribute_not_exists(working)";
        request.key().unwrap()["pk"].as_s().unwrap() == claim && request.condition_expression() == Some(whole)
    }
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

#[tokio::test]
async fn an_edit_of_the_address_makes_and_moves_its_claim() {
    let new = "https://10.0.0.8";
    let (none, made) = (claims(&[]), moves(&["put address#https://10.0.0.8 claim"]));
    moved(new, &[&none, &chain(), &made]).await.unwrap();
    let own = claims(&[(CLAIM, "bmc-1")]);
    let both = moves(&["delete address#https://10.0.0.7 claim", "put address#https://10.0.0.8 claim"]);
    moved(new, &[&own, &chain(), &both]).await.unwrap();
    let (others, other) = (claims(&[(CLAIM, "bmc-2")]), there(&[("bmc-2", "https://10.0.0.7")]));
    let made = moves(&["put address#https://10.0.0.8 claim"]);
    moved(new, &[&others, &other, &chain(), &made]).await.unwrap();
    let none = moves(&[]);
    moved("https://10.0.0.7:443", &[&chain(), &none]).await.unwrap();
}

#[tokio::test]
async fn an_edit_to_an_address_of_another_device_is_refused() {
    let (taken, by) = (claims(&[("address#https://10.0.0.8", "bmc-2")]), there(&[("bmc-2", "https://10.0.0.8")]));
    let error = moved("https://10.0.0.8", &[&taken, &by]).await.unwrap_err();
    assert!(matches!(&error, LedgerError::Claimed { by } if by.as_str() == "bmc-2"), "{error:?}");
    let own = claims(&[("address#https://10.0.0.8", "bmc-1")]);
    let again = moves(&["put address#https://10.0.0.8 claim"]);
    moved("https://10.0.0.8", &[&own, &chain(), &again]).await.unwrap();
}

/// As a restore leaves it: its device is gone, or has another address.
#[tokio::test]
async fn a_claim_without_its_device_holds_nothing() {
    let lost = || DeleteItemError::ConditionalCheckFailedException(ConditionalCheckFailedException::builder().build());
    let devices: [&'static [(&str, &str)]; 2] = [&[], &[("bmc-2", "https://10.0.0.9")]];
    for devices in devices {
        let of_this = removed("address#https://10.0.0.8");
        let rule = mock!(Client::delete_item).match_requests(of_this);
        // Another call may have removed it, or its device has made it anew: the condition of the write decides.
        let done = if devices.is_empty() {
            rule.then_output(|| DeleteItemOutput::builder().build())
        } else {
            rule.then_error(lost)
        };
        let (stale, by) = (claims(&[("address#https://10.0.0.8", "bmc-2")]), there(devices));
        let made = moves(&["put address#https://10.0.0.8 claim"]);
        moved("https://10.0.0.8", &[&stale, &by, &done, &chain(), &made]).await.unwrap();
        assert_eq!((done.num_calls(), made.num_calls()), (1, 1));
    }
}

/// Whoever has the address next waits for it; the device too, if it is the same one.
#[tokio::test]
async fn what_a_device_works_on_stays_at_its_address_and_goes_along() {
    let task = TaskAttempt { job: JobId(7), pass: Pass::Distribute, attempt: 1 };
    let working = Working { monitor: "/redfish/v1/Tasks/1".to_owned(), task, since: NOW };
    let before = DeviceRecord { working: Some(working.clone()), ..pending("https://10.0.0.7") };
    let (own, chain) = (claims(&[(CLAIM, "bmc-1")]), chain());
    let both = moves(&["put address#https://10.0.0.7 claim", "put address#https://10.0.0.8 claim"]);
    let after = DeviceRecord { address: "https://10.0.0.8".parse().unwrap(), ..before.clone() };
    let moved = ledger(&[&own, &chain, &both]).edit_device(&before, after, OPS, NOW).await.unwrap();
    assert_eq!(moved.working, Some(working));
}

/// What the device begins while a worker is there belongs to the address at which it is.
#[tokio::test]
async fn an_edit_moves_no_device_at_which_a_worker_is() {
    let lease = |seconds| Some(Lease { owner: "worker".to_owned(), until: NOW + time::Duration::seconds(seconds) });
    let edited = async |lease, address: &str, rules: &[&Rule]| {
        let before = DeviceRecord { lease, ..pending("https://10.0.0.7") };
        let after = DeviceRecord { address: address.parse().unwrap(), ..before.clone() };
        ledger(rules).edit_device(&before, after, OPS, NOW).await
    };
    let none = claims(&[]);
    let error = edited(lease(60), "https://10.0.0.8", &[&none]).await.unwrap_err();
    assert!(
        matches!(&error, LedgerError::Visited { until, .. } if *until == NOW + time::Duration::MINUTE),
        "{error:?}"
    );
    edited(lease(60), "https://10.0.0.7:443", &[&chain(), &moves(&[])]).await.unwrap();
    let (none, chain) = (claims(&[]), chain());
    let free = mock!(Client::transact_write_items)
        .match_requests(|request| {
            let device = request.transact_items()[0].update().unwrap();
            let condition = device.condition_expression().unwrap();
            condition.ends_with("AND (attribute_not_exists(lease) OR lease.#until <= :now)")
        })
        .then_output(|| TransactWriteItemsOutput::builder().build());
    edited(lease(0), "https://10.0.0.8", &[&none, &chain, &free]).await.unwrap();
}

#[tokio::test]
async fn a_deletion_takes_no_claim_of_another_device() {
    let other = there(&[("bmc-2", "https://10.0.0.7")]);
    for (held, by, more) in
        [(claims(&[]), None, 0), (claims(&[(CLAIM, "bmc-2")]), Some(&other), 0), (claims(&[(CLAIM, "bmc-1")]), None, 1)]
    {
        let (gone, no_uses) = (read(&pending("https://10.0.0.7")), no_own());
        let written = mock!(Client::transact_write_items)
            .match_requests(move |request| request.transact_items().len() == 3 + more)
            .then_output(|| TransactWriteItemsOutput::builder().build());
        let chain = chain();
        let rules: Vec<&Rule> = [&gone, &held].into_iter().chain(by).chain([&no_uses, &chain, &written]).collect();
        assert_eq!(ledger(&rules).delete_device(&"bmc-1".parse().unwrap(), OPS, NOW).await.unwrap(), None);
        assert_eq!(written.num_calls(), 1);
    }
}
