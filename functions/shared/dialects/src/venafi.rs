//! Venafi Trust Protection Platform's Web SDK: `/vedsdk`, and its tokens under `/vedauth`.

mod body;
mod certificate;
mod error;
mod filter;
mod oauth;
mod refused;

pub use body::{Body, Flag};
pub use certificate::{CertificateView, Listed};
pub use error::{VenafiError, report};
pub use filter::{Filter, ListRequest};
pub use oauth::{Code, OAuthError};
pub use refused::{Documented, Failure, Refused, ResultCode, lines};
