//! Times in the vendor's format: `2014-02-05T15:54:13Z`.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const SECONDS: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// RFC 3339 in UTC, to the second.
pub(crate) fn stamp(at: OffsetDateTime) -> String {
    at.to_utc().format(&SECONDS).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use time::macros::datetime;

    #[test]
    fn formats_the_vendors_published_example() {
        assert_eq!(super::stamp(datetime!(2014-02-05 16:54:13.9 +1)), "2014-02-05T15:54:13Z");
    }
}
