//! The names of a stored certificate, and the encryption of its private key.

pub mod dn;
pub mod guid;
pub mod id;
pub mod name;
pub mod sealed;
