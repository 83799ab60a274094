//! Tests of the import from outside: a corpus of good and bad material with expected results, properties that hold for
//! any input, and the fuzzer's seeds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod corpus;
mod differential;
mod ends;
#[path = "../../fuzz/fuzz_targets/input.rs"]
mod input;
mod limits;
mod properties;
mod purposes;
mod random;
mod seeds;
mod table;
mod words;
