//! By which names a stored certificate is known, and how its private key is kept.

pub mod dn;
pub mod guid;
pub mod id;
pub mod name;
pub mod sealed;
