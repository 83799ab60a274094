//! What a function holds in memory while it runs, without what the world around it holds: read off the allocator between
//! any two of its waits. Tasks that the function spawns are not counted.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

/// Bytes that are allocated now; unset, nothing is counted.
static ALLOCATED: OnceLock<fn() -> usize> = OnceLock::new();

thread_local! {
    /// Of those, what the world holds.
    static ASIDE: Cell<i64> = const { Cell::new(0) };
}

#[allow(dead_code, reason = "only the benchmark weighs")]
pub fn count_by(allocated: fn() -> usize) {
    ALLOCATED.set(allocated).unwrap();
}

fn allocated() -> i64 {
    ALLOCATED.get().map_or(0, |allocated| i64::try_from(allocated()).unwrap())
}

/// The world's own work in the middle of a function's.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    let before = allocated();
    let done = work();
    ASIDE.set(ASIDE.get() + allocated() - before);
    done
}

/// So many bytes that the world allocated are now the function's.
pub fn given(bytes: usize) {
    ASIDE.set(ASIDE.get() - i64::try_from(bytes).unwrap());
}

/// A function at work.
pub struct Weighed<F> {
    work: Pin<Box<F>>,
    held: i64,
    most: i64,
}

impl<F> Weighed<F> {
    pub fn new(work: F) -> Self {
        Self { work: Box::pin(work), held: 0, most: 0 }
    }
}

impl<F: Future> Future for Weighed<F> {
    /// With the most bytes that it held.
    type Output = (F::Output, u64);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let before = allocated() - ASIDE.get();
        let polled = self.work.as_mut().poll(context);
        self.held += allocated() - ASIDE.get() - before;
        self.most = self.most.max(self.held);
        polled.map(|done| (done, u64::try_from(self.most).unwrap_or(0)))
    }
}
