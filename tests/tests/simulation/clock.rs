//! Virtual time: it stands still while any task can run, and jumps to the next timer when all tasks sleep. Each
//! function's clock is skewed a little.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::macros::datetime;
use tokio::time::Instant;

/// When every world begins.
const BEGIN: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);

/// Functions with a separate clock.
pub const FUNCTIONS: usize = 7;

thread_local! {
    static ORIGIN: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Milliseconds.
    static SKEW: Cell<[i64; FUNCTIONS]> = const { Cell::new([0; FUNCTIONS]) };
}

/// Begins a world on this thread.
pub fn begin(skew: [i64; FUNCTIONS]) {
    ORIGIN.set(Some(Instant::now()));
    SKEW.set(skew);
}

pub fn age() -> Duration {
    ORIGIN.get().map(|origin| origin.elapsed()).unwrap_or_default()
}

/// The world's time.
pub fn now() -> OffsetDateTime {
    at(age())
}

/// The time at this age of the world.
pub fn at(age: Duration) -> OffsetDateTime {
    BEGIN + age
}

/// A function's time.
pub fn of<const FUNCTION: usize>() -> OffsetDateTime {
    now() + time::Duration::milliseconds(SKEW.get()[FUNCTION])
}

/// Lambda's format for the end of an invocation.
pub fn milliseconds(at: OffsetDateTime) -> u64 {
    let since = SystemTime::from(at).duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap()
}
