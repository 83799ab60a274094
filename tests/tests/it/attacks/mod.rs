//! What people with fewer rights try on the running stack. Each attack was possible once.

mod devices;
mod guessing;
pub mod persons;
mod revocation;
mod tokens;
