//! The only source of randomness in a world: the seed determines everything that happens in it.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and the same on every platform.
pub struct Random(Mutex<u64>);

thread_local! {
    /// The random source of this thread's world: functions get their randomness as a plain `fn`.
    static OF_THIS_THREAD: RefCell<Option<Arc<Random>>> = const { RefCell::new(None) };
}

impl Random {
    pub fn new(seed: u64) -> Arc<Self> {
        let random = Arc::new(Self(Mutex::new(seed)));
        OF_THIS_THREAD.set(Some(Arc::clone(&random)));
        // For the SDK's pauses between two attempts.
        fastrand::seed(seed);
        random
    }

    pub fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`; 0 if `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    pub fn chance(&self, probability: f64) -> bool {
        // Draw nothing at probability 0: without faults, nothing is computed.
        probability > 0.0 && ((self.next() >> 11) as f64 / (1u64 << 53) as f64) < probability
    }

    pub fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.below(of.len() as u64)).unwrap())
    }
}

/// Randomness for the worker and the issuer.
pub fn random() -> u32 {
    OF_THIS_THREAD.with_borrow(|random| random.as_ref().map_or(0, |random| random.next() as u32))
}
