//! The certificate authority: the state after `PUT /signingCertificate` under any faults, and its certificates as
//! read by other implementations.

mod algorithms;
mod crash;
mod faults;
mod issuing;
#[path = "../../../../functions/shared/pki/tests/it/keys.rs"]
#[allow(dead_code, reason = "core's own tests use more of it")]
pub(crate) mod keys;
mod links;
mod lost_keys;
#[path = "../../../../functions/shared/pki/tests/it/openssl.rs"]
#[allow(dead_code, reason = "core's own tests use more of it")]
pub(crate) mod openssl;
mod race;
mod readers;
mod refusals;
pub(crate) mod regenerator;
mod requester;
mod restored;
mod size;
mod webpki;
mod whole;
pub(crate) mod wire;
