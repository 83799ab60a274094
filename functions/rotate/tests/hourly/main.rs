//! The hourly run, on the SDK's own mock layer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bucket;
mod heads;
mod notices;
mod renewals;

use std::cell::Cell;

use time::OffsetDateTime;

thread_local! {
    /// In seconds. Each test has its own thread.
    static NOW: Cell<i64> = const { Cell::new(1_000_000) };
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW.get()).unwrap()
}

fn later(seconds: i64) {
    NOW.set(NOW.get() + seconds);
}
