//! Why a call is refused, in the words of Venafi's pages: the five texts of "POST Certificates/Retry", of which the first
//! and the fourth go for every call, and that of "POST Certificates/Reset". All of them with status 400.

use std::fmt;

use rootcast_core::access::permission::Right;
use rootcast_core::device::DeviceId;
use rootcast_ledger::LedgerError;
use thiserror::Error;

use super::VenafiError;

/// DNs are told as they were sent.
#[derive(Debug, Error)]
pub enum Documented {
    /// The certificate is not there, may not be seen, or may only be read: one answer, so that nobody learns from it what
    /// there is. Of the five texts this one alone is true of each of these reasons. `call`: behind `Certificates/`.
    #[error("Access error. Certificates/{call} requires {needs} permissions for certificate [{named}].")]
    NoAccess { call: &'static str, needs: Right, named: String },
    /// Those whose work was not added; that of all others was.
    #[error("{}", lines(.0.iter().map(ToString::to_string)))]
    Applications(Vec<Refused>),
    /// No work was added.
    #[error(
        "Failed to add work for certificate [{dn}]. Retry for this cert and any associate applications will not \
         occur. {failure}"
    )]
    Certificate { dn: String, failure: Failure },
    #[error("Invalid CertificateDN format. The Certificate DN contained null or white spaces for [{0}].")]
    InvalidDn(String),
    #[error("Retry canceled. No retry is required for the certificate. [{0}]")]
    NotRequired(String),
    #[error("Reset is not completed. No reset is required for the certificate.")]
    NothingToReset,
}

/// A device whose work was not added.
#[derive(Debug, Error)]
#[error("Failed to add work for application [{device}]. Retry for this application will not occur. {failure}")]
pub struct Refused {
    pub device: DeviceId,
    pub failure: Failure,
}

#[derive(Debug, Clone, Error)]
#[error("Failure details: [{details}] Result Code: [{code}]")]
pub struct Failure {
    pub details: String,
    pub code: ResultCode,
}

/// Venafi's "Certificates WorkToDo result codes", written as their numbers: those that can happen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultCode {
    DatabaseError = 100,
    TransactionCollision = 103,
    IdentifierDoesNotExist = 300,
}

/// So many are told; how many more there are, after them.
const MOST_TOLD: usize = 20;

/// One line each. Where one application is refused, the text is Venafi's and nothing else.
pub fn lines(refused: impl ExactSizeIterator<Item = String>) -> String {
    let more = refused.len().saturating_sub(MOST_TOLD);
    let mut lines: Vec<String> = refused.take(MOST_TOLD).collect();
    if more > 0 {
        lines.push(format!("The same goes for {more} more applications."));
    }
    lines.join("\n")
}

impl Failure {
    pub fn new(code: ResultCode, details: impl Into<String>) -> Self {
        Self { details: details.into(), code }
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (*self as u16).fmt(f)
    }
}

/// What exactly lies behind it is for the log.
impl From<&LedgerError> for Failure {
    fn from(error: &LedgerError) -> Self {
        match error {
            LedgerError::Conflict | LedgerError::Transient { .. } => Self::new(
                ResultCode::TransactionCollision,
                "Other work changes the same records: send the request again in a moment.",
            ),
            LedgerError::TooLarge { what, .. } => Self::new(
                ResultCode::DatabaseError,
                format!("The record of the {what} would be larger than it can be kept."),
            ),
            _ => Self::new(
                ResultCode::DatabaseError,
                "The records could not be read or written: send the request again.",
            ),
        }
    }
}

impl From<Documented> for VenafiError {
    fn from(refusal: Documented) -> Self {
        Self::invalid(refusal.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;

    fn refused(device: &str) -> Refused {
        let failure = Failure::new(ResultCode::IdentifierDoesNotExist, "Job 7 is gone.");
        Refused { device: device.parse().unwrap(), failure }
    }

    #[test]
    fn the_texts_are_venafis_word_for_word() {
        let dn = || r"\VED\Policy\Servers\web".to_owned();
        let failure = Failure::from(&LedgerError::Conflict);
        let cases = [
            (
                Documented::NoAccess { call: "Retry", needs: Right::Write, named: dn() },
                r"Access error. Certificates/Retry requires write permissions for certificate [\VED\Policy\Servers\web].",
            ),
            (
                Documented::Applications(vec![refused("bmc-1")]),
                "Failed to add work for application [bmc-1]. Retry for this application will not occur. Failure details: [Job 7 is gone.] Result Code: [300]",
            ),
            (
                Documented::Certificate { dn: dn(), failure },
                r"Failed to add work for certificate [\VED\Policy\Servers\web]. Retry for this cert and any associate applications will not occur. Failure details: [Other work changes the same records: send the request again in a moment.] Result Code: [103]",
            ),
            (
                Documented::InvalidDn(dn()),
                r"Invalid CertificateDN format. The Certificate DN contained null or white spaces for [\VED\Policy\Servers\web].",
            ),
            (
                Documented::NotRequired("Nothing failed.".to_owned()),
                "Retry canceled. No retry is required for the certificate. [Nothing failed.]",
            ),
            (Documented::NothingToReset, "Reset is not completed. No reset is required for the certificate."),
        ];
        for (refusal, text) in cases {
            let error = VenafiError::from(refusal);
            assert_eq!((error.status().as_u16(), error.text()), (400, text));
        }
    }

    #[test]
    fn several_devices_have_a_line_each_up_to_a_bound() {
        let text = |count: usize| lines((0..count).map(|number| refused(&format!("bmc-{number}")).to_string()));
        assert_eq!(
            text(20).lines().filter(|line| line.starts_with("Failed to add work for application [")).count(),
            20
        );
        assert_eq!(text(20).lines().count(), 20);
        assert_eq!(text(23).lines().last(), Some("The same goes for 3 more applications."));
    }
}
