//! Rootcast's decisions, and nothing else: no AWS, no Lambda, no I/O, no clock.
//!
//! | module | decides |
//! |---|---|
//! | [`rollover`] | how a fleet moves from one root to the next, and when the new root signs |
//! | [`preflight`] | whether the fleet is ready for that, how long it takes, and what it costs |
//! | [`deployment`] | how a certificate gets to its devices, stage by stage |
//! | [`job`] | what both kinds of jobs share: the record, its tasks, their messages and tries |
//! | [`key_change`] | what AWS says of a signing key |
//! | [`device`] | what a device is, and which addresses may be reached |
//! | [`inventory`] | the names of a stored certificate |
//! | [`superseding`] | when a certificate that was renewed is revoked |
//! | [`usage`] | what a job used at AWS, and what that costs |
//! | [`access`] | who may call, and do what |
//! | [`anchors`] | which trust anchors of others the devices hold |
//! | [`asked`] | what an event of EventBridge asks for |
//! | [`audit`] | who did what, in tamper-evident chains |
//!
//! Time, randomness and signatures are passed in. The form of certificates, requests and bundles is in `rootcast-pki`;
//! storage in `rootcast-ledger`; signing in `rootcast-vault`; the device protocols in `rootcast-drivers`.

pub mod access;
pub mod anchors;
pub mod asked;
pub mod audit;
pub mod deployment;
pub mod device;
pub mod event;
pub mod installation;
pub mod inventory;
pub mod job;
pub mod key_change;
pub mod metric;
pub mod preflight;
pub mod rollover;
pub mod superseding;
pub mod usage;
