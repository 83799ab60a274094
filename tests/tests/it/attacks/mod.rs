//! Attacks on the running stack. Each was possible once.

mod guessing;
mod tokens;
