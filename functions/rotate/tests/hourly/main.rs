//! The hourly run, on the SDK's own mock layer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bucket;
mod heads;
mod notices;
mod renewals;

use std::cell::Cell;
use std::collections::HashMap;

use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_mocks::{Rule, mock};

use time::OffsetDateTime;

thread_local! {
    /// In seconds. Each test has its own thread.
    static NOW: Cell<i64> = const { Cell::new(1_000_000) };
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW.get()).unwrap()
}

/// Every certificate is counted.
fn counted() -> Rule {
    let mock = mock!(aws_sdk_dynamodb::Client::get_item)
        .match_requests(|request| request.key().unwrap()["id"] == AttributeValue::S("listed#all".to_owned()));
    mock.then_output(|| {
        let number = || AttributeValue::N("0".to_owned());
        let base = HashMap::from([("of_devices".to_owned(), number()), ("others".to_owned(), number())]);
        let named = AttributeValue::Bool(true);
        GetItemOutput::builder().item("isNamed", named).item("counted", AttributeValue::M(base)).build()
    })
}

fn later(seconds: i64) {
    NOW.set(NOW.get() + seconds);
}
