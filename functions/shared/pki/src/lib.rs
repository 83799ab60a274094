//! Certificates and related objects: roots, links, device certificates, requests, revocation lists, the signed bundle,
//! and the checks of imported certificates.
//!
//! In scope: what is signed, byte by byte, and what is accepted. Time, serials and signatures are passed in: no AWS, no
//! I/O, no clock.
//!
//! Out of scope: signing (`rootcast-vault`), and decisions about devices and jobs (`rootcast-core`).

#[macro_use]
mod text;

pub mod algorithm;
pub mod anchor;
pub mod bundle;
pub mod certificate;
pub mod crl;
pub mod export;
pub mod fingerprint;
pub mod hierarchy;
pub mod import;
pub mod name;
pub mod notary;
pub mod permitted;
pub mod pkcs7;
pub mod request;
pub mod root;
pub mod signer;
pub mod subject;
