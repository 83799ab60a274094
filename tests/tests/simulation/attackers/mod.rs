//! Attackers: a caller of each role tries to obtain what the role does not give, by every sequence of calls that the
//! table of routes allows. The real functions answer, and act on what was asked.
//!
//! - [`roles`]: who attacks, and with which credential.
//! - [`scene`]: the world that they find.
//! - [`calls`]: the calls, generated from the table of routes.
//! - [`goals`]: what they must not obtain, judged by what the world shows and not by the answers alone.
//! - [`search`]: every call, and a sample of the sequences of two and three calls.
//! - [`checks`]: the goals can be seen, and the calls have an effect.
//!
//! `ROOTCAST_ATTACKS=n` goes on from `n` states per attacker and number of calls instead of a few, and tries every two
//! calls of an operator; `ROOTCAST_SEED` chooses others.

mod calls;
mod checks;
mod goals;
mod roles;
mod scene;
mod search;
