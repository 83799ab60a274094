//! What Rootcast decides, and nothing else: no AWS, no Lambda, no I/O, no clock.
//!
//! In scope: root generations and their certificates, bundles, the rollover plan, device addresses and pins, and the
//! classes of what goes wrong. Time, randomness and signatures are handed in.
//!
//! Out of scope: where any of it is stored (`rootcast-ledger`), who signs (`rootcast-vault`), how a device is spoken
//! to (`rootcast-drivers`).

#[macro_use]
mod text;

pub mod address;
pub mod algorithm;
pub mod audit;
pub mod backoff;
pub mod bundle;
pub mod certificate;
pub mod certificate_dn;
pub mod certificate_guid;
pub mod certificate_id;
pub mod crl;
pub mod deployment;
pub mod device;
pub mod device_subject;
pub mod event;
pub mod fingerprint;
pub mod generation;
pub mod identity;
pub mod import;
pub mod installation;
pub mod job;
pub mod lifecycle;
pub mod lockout;
pub mod message;
pub mod metric;
pub mod name;
pub mod password;
pub mod permission;
pub mod pkcs7;
pub mod plan;
pub mod principal;
pub mod request;
pub mod restore;
pub mod rollout;
pub mod root;
pub mod scope;
pub mod sealed;
pub mod storing;
pub mod survey;
pub mod task;
pub mod token;
pub mod transition;
pub mod visit;
