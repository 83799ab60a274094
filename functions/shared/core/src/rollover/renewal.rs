//! When the published bundle is signed again, although nothing in it has changed.

use time::{Duration, OffsetDateTime};

/// Clocks of two functions may differ.
const SLACK: Duration = Duration::DAY;

/// When half of its life is left. A bundle is also due if it never expires, or expires later than the present setting
/// permits.
pub fn is_due(expires: Option<OffsetDateTime>, life: Duration, now: OffsetDateTime) -> bool {
    expires.is_none_or(|at| now >= at - life / 2 || at > now + life + SLACK)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_bundle_is_signed_again_at_half_its_life() {
        let now = datetime!(2026-06-01 12:00 UTC);
        let life = Duration::days(30);
        let expires_in = |days| Some(now + Duration::days(days));
        for (expires, due) in [
            (None, true),
            (expires_in(-1), true),
            (expires_in(15), true),
            (Some(now + Duration::days(15) + Duration::SECOND), false),
            (expires_in(30), false),
            (expires_in(31), false),
            (expires_in(365), true),
        ] {
            assert_eq!(is_due(expires, life, now), due, "{expires:?}");
        }
    }
}
