//! The gate of the APIs: authenticates callers, checks the requirements of routes, limits bodies, and defines refusals.
//!
//! In scope: every kind of credential, each of which yields a [`Principal`]; the table of [`routes`] with the rights
//! and Venafi scopes that they require; the [`request`] that an event holds, and the limits on its body; the sealed
//! [`Cursors`] of lists; the calls that need a [`SecondPerson`]; what an event asks for,
//! done [`once`]; the table from errors to a [`Refusal`].
//!
//! Out of scope: what a request does, and the format of answers and refusals, which the dialects define
//! (`rootcast-dialects`). A function of the native and XClarity-style APIs first checks the caller with
//! [`authenticate`], one of the SCM API with [`ScmGate::admit`], one of the API under `/vedsdk` with
//! [`authenticate_venafi`]. Each puts the [`Principal`] into the request's extensions, with the [`SecondPerson`], and
//! builds its router with [`Guarded`]. A handler checks the objects that a request names against the [`Principal`].

mod asked;
mod bearer;
mod body;
mod caller;
mod cursors;
mod denials;
mod event;
mod guarded;
mod header;
mod password;
mod path;
mod principal;
mod query;
mod refusal;
mod request_id;
pub mod routes;
mod scm;
mod second;
mod session;
mod source;

pub use asked::{Unmet, once};
pub use bearer::{Presented, authenticate_venafi, presented};
pub use body::{BODY_LIMIT, BULK_BODY_LIMIT, json, media_type, parse_json, read};
pub use caller::authenticate;
pub use cursors::Cursors;
pub use denials::{Missed, recorded};
pub use event::{NotARequest, request};
pub use guarded::Guarded;
pub use password::{Claim, NotProven, Proven, prove};
pub use path::{fold_case, is_under};
pub use principal::{Forbidden, OutOfScope, Principal};
pub use query::{Parameter, Parameters, Raw, Reads, Value, fields, names};
pub use refusal::{Kind, Refusal};
pub use request_id::{RequestId, request_id};
pub use scm::ScmGate;
pub use second::{Awaits, SecondPerson, said};
pub use session::{CSRF_COOKIE, InSession, SESSION_COOKIE, in_session, secret, session_holder};
pub use source::source;
