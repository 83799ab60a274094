//! The gate of the APIs: who calls, what each route needs, what a body may be, and why a request is refused.
//!
//! In scope: every way to prove who calls, and the one [`Principal`] that each of them ends in; the one table of [`routes`] and
//! what each needs, Venafi's scopes, the limits on request bodies, and the one table from errors to a [`Refusal`].
//!
//! Out of scope: what a request does, and how its answer or its refusal looks: that is the dialects' (`rootcast-dialects`).
//! A function of the native and XClarity-style APIs checks the caller with [`authenticate`] before it looks at anything else,
//! one of the SCM API with [`ScmGate::admit`], one of the API under `/vedsdk` with [`authenticate_venafi`]. Each leaves the
//! [`Principal`] among the request's extensions, and builds its router with [`Guarded`]; what a handler finds by the request it
//! asks the [`Principal`] about.

mod bearer;
mod body;
mod caller;
mod guarded;
mod header;
mod password;
mod path;
mod refusal;
mod request_id;
pub mod routes;
mod scm;
mod session;
mod source;

pub use bearer::{Forbidden, OutOfScope, Presented, Principal, authenticate_venafi, presented};
pub use body::{BODY_LIMIT, BULK_BODY_LIMIT, json, media_type, parse_json, read};
pub use caller::authenticate;
pub use guarded::Guarded;
pub use password::{Claim, NotProven, Proven, prove};
pub use path::{fold_case, is_under};
pub use refusal::{Kind, Refusal};
pub use request_id::{RequestId, request_id};
pub use scm::ScmGate;
pub use session::{CSRF_COOKIE, InSession, SESSION_COOKIE, in_session, secret};
pub use source::source;
