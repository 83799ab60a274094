//! The gate of the native and XClarity-style APIs: who calls, what a body may be, and how an answer is wrapped.
//!
//! In scope: the bearer token, Lenovo's response envelope, the one table from errors to HTTP, and the limits on request
//! bodies.
//!
//! Out of scope: what a request does. A function checks the caller with [`authenticate`] before it looks at anything
//! else, and answers with an [`Envelope`] or an [`ApiError`].

mod bearer;
mod body;
mod envelope;
mod error;

pub use bearer::{Principal, authenticate};
pub use body::{BODY_LIMIT, BULK_BODY_LIMIT, media_type, parse_json, read};
pub use envelope::{Envelope, Message, Recovery, Verdict};
pub use error::{ApiError, Kind, report};
