//! Certificates and what goes with them: roots, links, device certificates, requests, revocation lists, the signed
//! bundle, and what is checked of a certificate that was made elsewhere.
//!
//! In scope: what is signed, byte by byte, and what is accepted. Time, serials and signatures are handed in: no AWS, no
//! I/O, no clock.
//!
//! Out of scope: who signs (`rootcast-vault`), and what is decided of a device or a job (`rootcast-core`).

#[macro_use]
mod text;

pub mod algorithm;
pub mod bundle;
pub mod certificate;
pub mod crl;
pub mod fingerprint;
pub mod import;
pub mod name;
pub mod pkcs7;
pub mod request;
pub mod root;
pub mod subject;
