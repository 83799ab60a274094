//! Refusals with the texts of Venafi's pages: the five texts of "POST Certificates/Retry", of which the first and the
//! fourth apply to every call, and the text of "POST Certificates/Reset". All have status 400.

use std::fmt;

use rootcast_core::access::permission::Right;
use rootcast_core::device::DeviceId;
use rootcast_ledger::LedgerError;
use thiserror::Error;

use super::VenafiError;

/// DNs are repeated as they were sent.
#[derive(Debug, Error)]
pub enum Documented {
    /// The certificate does not exist, or the caller may not see it, or may only read it. All get the same answer, so
    /// that it does not reveal which certificates exist. Of the five texts, only this one is true in every case.
    /// `call`: the path after `Certificates/`.
    #[error("Access error. Certificates/{call} requires {needs} permissions for certificate [{named}].")]
    NoAccess { call: &'static str, needs: Right, named: String },
    /// The applications whose work was not added. The work of all others was.
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

/// The numbers of Venafi's "Certificates WorkToDo result codes" that can occur here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultCode {
    DatabaseError = 100,
    TransactionCollision = 103,
    IdentifierDoesNotExist = 300,
}

/// Most lines in a text. A last line has the number of the omitted ones.
const MOST_TOLD: usize = 20;

/// One line for each refused application. For a single one, the text is exactly Venafi's.
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

/// The cause is for the log only.
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
    fn each_device_has_a_line_up_to_a_limit() {
        let text = |count: usize| lines((0..count).map(|number| refused(&format!("bmc-{number}")).to_string()));
        assert_eq!(
            text(20).lines().filter(|line| line.starts_with("Failed to add work for application [")).count(),
            20
        );
        assert_eq!(text(20).lines().count(), 20);
        assert_eq!(text(23).lines().last(), Some("The same goes for 3 more applications."));
    }
}
