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
    static LEAPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// Milliseconds.
    static SKEW: Cell<[i64; FUNCTIONS]> = const { Cell::new([0; FUNCTIONS]) };
}

/// Begins a world on this thread.
pub fn begin(skew: [i64; FUNCTIONS]) {
    ORIGIN.set(Some(Instant::now()));
    LEAPT.set(Duration::ZERO);
    SKEW.set(skew);
}

/// From now on every clock shows a later time, without anything having happened meanwhile.
pub fn leap(over: Duration) {
    LEAPT.set(LEAPT.get() + over);
}

/// Back to this age of the world.
pub fn restore(age: Duration) {
    ORIGIN.set(Instant::now().checked_sub(age));
    LEAPT.set(Duration::ZERO);
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
    BEGIN + age + LEAPT.get()
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
