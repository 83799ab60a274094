//! The function at its interface: requests, and the calls to AWS that they cause.

mod requests;
mod sessions;
