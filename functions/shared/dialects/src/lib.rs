//! The APIs that we speak, a room for each: what a request says, and how an answer or a refusal looks.
//!
//! In scope: the models of [`huawei`] (SCM v3), [`lenovo`] (XClarity Administrator, whose envelope our own API has too) and
//! [`venafi`] (Web SDK), each after its vendor's pages and clients; and each one's error, which puts the neutral
//! [`Refusal`](rootcast_gate::Refusal) into that API's words.
//!
//! A call's own few fields stand with its handler; here is what several need, what is checked, and what has the vendor's words.
//!
//! Out of scope: what is done, and whether. Nothing here is decided, read or written: who may call is `rootcast-gate`'s to say,
//! and what happens the functions'.

mod answer;
pub mod huawei;
pub mod lenovo;
pub mod venafi;
