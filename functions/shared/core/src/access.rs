//! Who may call, how they prove it, and what they may do.

pub mod identity;
pub mod issuance;
pub mod lockout;
pub mod password;
pub mod permission;
pub mod principal;
pub mod scope;
pub mod second;
pub mod token;
