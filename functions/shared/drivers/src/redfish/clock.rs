//! Devices whose clock is behind, or ahead: a certificate that is not valid for the device is refused, or accepted and not
//! stored, with vendor-specific messages.

use http::HeaderValue;
use rootcast_core::job::task::{ErrorClass, Failure};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// Messages of devices. The first is OpenSSL's, which most devices pass on; the others are in vendors' message
/// registries and manuals. Lower-case letters only, as [`says_so`] compares them.
const WORDS: [&str; 8] = [
    "notyetvalid",
    "notvalidyet",
    "notvalidbefore",
    "notbeforedate",
    "startdateisinthefuture",
    "startdateinthefuture",
    "validfromdateisinthefuture",
    "validityperiodhasnotstarted",
];

/// Whether the device's message says that the certificate is not valid yet.
pub(super) fn says_so(words: &str) -> bool {
    let letters: String =
        words.chars().filter(char::is_ascii_alphabetic).map(|letter| letter.to_ascii_lowercase()).collect();
    WORDS.iter().any(|known| letters.contains(known))
}

/// Parses the device's `Date` (RFC 9110 §6.6.1).
pub(super) fn read(date: &HeaderValue) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(date.to_str().ok()?, &Rfc2822).ok()
}

/// Reclassifies a failure to store a certificate with this validity. If the device's clock is outside, the device will
/// refuse or drop the certificate again, whatever its message is.
pub(super) fn judged(
    failure: Failure,
    clock: Option<OffsetDateTime>,
    (from, until): (OffsetDateTime, OffsetDateTime),
) -> Failure {
    let refused = matches!(failure.class, ErrorClass::Rejected | ErrorClass::ServerError | ErrorClass::NotStored);
    let Some(clock) = clock.filter(|_| refused) else { return failure };
    let (class, valid, limit) = match clock {
        early if early < from => (ErrorClass::NotYetValid, "from", from),
        late if late > until => (ErrorClass::ClockAhead, "until", until),
        _ => return failure,
    };
    let written = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    let message = format!(
        "The device's clock says {}, and the certificate is valid {valid} {}. {}",
        written(clock),
        written(limit),
        failure.message
    );
    Failure { stage: failure.stage, ..Failure::new(class, message) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn vendors_messages_are_recognised() {
        for words in [
            "X509 error: certificate is not yet valid",
            "error 9 at 0 depth lookup: certificate is not yet valid",
            "iDRAC.2.8.CertificateNotYetValid",
            "The certificate has expired or is not yet valid.",
            "The uploaded certificate is not valid yet.",
            "Certificate start date is in the future.",
            "The certificate's validity period has not started.",
        ] {
            assert!(says_so(words), "{words}");
        }
        for words in ["", "The certificate has expired.", "Not today.", "The key is not valid.", "Invalid certificate"]
        {
            assert!(!says_so(words), "{words}");
        }
    }

    #[test]
    fn devices_dates_are_parsed() {
        let read = |text: &'static str| read(&HeaderValue::from_static(text));
        assert_eq!(read("Thu, 01 Jan 1970 00:02:03 GMT"), Some(datetime!(1970-01-01 00:02:03 UTC)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(datetime!(1994-11-06 08:49:37 UTC)));
        assert_eq!(read("yesterday"), None);
    }

    #[test]
    fn only_a_refusal_outside_the_validity_is_a_clock_failure() {
        let validity = (datetime!(2026-01-01 00:00 UTC), datetime!(2027-01-01 00:00 UTC));
        let early = Some(datetime!(2025-12-31 23:59:59 UTC));
        let late = Some(datetime!(2027-01-01 00:00:01 UTC));
        let class = |class, clock| judged(Failure::new(class, "No."), clock, validity).class;
        for refused in [ErrorClass::Rejected, ErrorClass::ServerError, ErrorClass::NotStored] {
            assert_eq!(class(refused, early), ErrorClass::NotYetValid);
            assert_eq!(class(refused, late), ErrorClass::ClockAhead);
            for inside in [None, Some(validity.0), Some(validity.1)] {
                assert_eq!(class(refused, inside), refused);
            }
        }
        for other in [ErrorClass::Unauthorized, ErrorClass::Timeout, ErrorClass::StoreFull, ErrorClass::Throttled] {
            assert_eq!((class(other, early), class(other, late)), (other, other));
        }
    }
}
