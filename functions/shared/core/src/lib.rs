//! What Rootcast decides, and nothing else: no AWS, no Lambda, no I/O, no clock.
//!
//! | room | decides |
//! |---|---|
//! | [`rollover`] | how a fleet moves from one root to the next, and when the new root signs |
//! | [`deployment`] | how a certificate gets to its devices, stage by stage |
//! | [`job`] | what both have in common: the record, its tasks, their messages and tries |
//! | [`device`] | what a device is, and which addresses may be spoken to |
//! | [`inventory`] | by which names a stored certificate is known |
//! | [`access`] | who may call, and do what |
//! | [`audit`] | what was done by whom, in chains in which a change shows |
//!
//! Time, randomness and signatures are handed in. What certificates, requests and bundles look like is
//! `rootcast-pki`'s; where anything is stored, `rootcast-ledger`'s; who signs, `rootcast-vault`'s; how a device is
//! spoken to, `rootcast-drivers`'.

pub mod access;
pub mod audit;
pub mod deployment;
pub mod device;
pub mod event;
pub mod installation;
pub mod inventory;
pub mod job;
pub mod metric;
pub mod rollover;
