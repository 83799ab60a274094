//! When an old root may sign its last revocation list.

use time::{Duration, OffsetDateTime};

/// The longest life of a list that is never signed again: no client is asked to rely on one for longer.
pub const LAST_LIST: Duration = Duration::days(365);

/// A last list has to outlive whatever its signer certified and did not revoke (RFC 5280 §5.1.2.5). `ends`: of those.
/// Returns until when it is valid.
///
/// # Errors
/// The time from which on it can be signed, if something lasts too long. Until then, the list goes on being renewed.
pub fn last_list(
    ends: impl IntoIterator<Item = OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<OffsetDateTime, OffsetDateTime> {
    match ends.into_iter().max() {
        Some(last) if last > now + LAST_LIST => Err(last - LAST_LIST),
        _ => Ok(now + LAST_LIST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    #[test]
    fn a_last_list_outlives_what_is_not_revoked() {
        let year = Duration::days(365);
        assert_eq!(last_list([], NOW), Ok(NOW + year));
        assert_eq!(last_list([NOW + year, NOW], NOW), Ok(NOW + year));
        let longer = [NOW + Duration::DAY, NOW + year + Duration::DAY];
        assert_eq!(last_list(longer, NOW), Err(NOW + Duration::DAY));
        assert_eq!(last_list(longer, NOW + Duration::DAY), Ok(NOW + Duration::DAY + year), "then");
    }
}
