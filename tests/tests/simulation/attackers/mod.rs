//! Attackers: a caller of each role tries to obtain what the role does not give, by every sequence of calls that the
//! table of routes allows. The real functions answer, and act on what was asked.
//!
//! - [`roles`]: who attacks, and with which credential.
//! - [`scene`]: the world that they find.
//! - [`calls`]: the calls, generated from the table of routes.
//! - [`goals`]: what they must not obtain, judged by what the world shows and not by the answers alone.
//! - [`search`]: all sequences of at most two calls, and a sample of those of three.
//! - [`checks`]: the goals can be seen, and the calls have an effect.
//!
//! `ROOTCAST_ATTACKS=n` tries a third call in `n` states per role instead of a few; `ROOTCAST_SEED` chooses others.

mod calls;
mod checks;
mod goals;
mod roles;
mod scene;
mod search;
