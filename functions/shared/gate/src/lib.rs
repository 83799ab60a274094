//! The gate of the APIs: who calls, what a body may be, and how an answer or a refusal looks.
//!
//! In scope: every way to prove who calls, and the one [`Principal`] that each of them ends in; the one table of [`routes`] and
//! what each needs, Venafi's scopes, Lenovo's response envelope, the one table from errors to HTTP, and the limits on request
//! bodies.
//!
//! Out of scope: what a request does. A function of the native and XClarity-style APIs checks the caller with
//! [`authenticate`] before it looks at anything else, and answers with an [`Envelope`] or an [`ApiError`]. One of the
//! SCM API does so with [`ScmGate::admit`], and refuses with an [`ScmError`]. One of the API under `/vedsdk` does so with
//! [`authenticate_venafi`], and refuses with a [`VenafiError`]. Each leaves the [`Principal`] among the request's extensions, and
//! builds its router with [`Guarded`]; what a handler finds by the request it asks the [`Principal`] about.

mod bearer;
mod body;
mod caller;
mod envelope;
mod error;
mod guarded;
mod header;
mod password;
mod path;
pub mod routes;
mod scm;
mod session;
mod source;
mod venafi;

pub use bearer::{Forbidden, OutOfScope, Presented, Principal, presented};
pub use body::{BODY_LIMIT, BULK_BODY_LIMIT, media_type, parse_json, read};
pub use caller::authenticate;
pub use envelope::{Envelope, Message, Recovery, ResultKind};
pub use error::{ApiError, Kind, RequestId, report};
pub use guarded::Guarded;
pub use password::{Claim, NotProven, Proven, prove};
pub use path::fold_case;
pub use scm::{ScmError, ScmGate, scm_report};
pub use session::{CSRF_COOKIE, InSession, SESSION_COOKIE, in_session, secret};
pub use source::source;
pub use venafi::{VenafiError, authenticate_venafi, venafi_report};
