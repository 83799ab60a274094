//! Back-off between tries.

/// In seconds, and SQS's longest message delay. A device that was down does not wait for hours.
pub const LONGEST: u32 = 900;

/// The wait before the next try, in seconds. Doubles with each try (counted from 1); up to half of it is random, so
/// that devices that failed together do not return together.
pub fn seconds(base: u32, tries: u32, random: u32) -> u32 {
    let full = base.saturating_mul(2u32.saturating_pow(tries.saturating_sub(1))).clamp(1, LONGEST);
    let half = full / 2;
    full - half + random % (half + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_half_to_the_full_back_off_and_is_bounded(base in 1u32..2000, tries in 0u32..100, random: u32) {
            let waited = seconds(base, tries, random);
            prop_assert!((1..=LONGEST).contains(&waited));
            let full = base.saturating_mul(2u32.saturating_pow(tries.saturating_sub(1))).min(LONGEST);
            prop_assert!(waited <= full && waited >= full / 2);
        }
    }

    #[test]
    fn doubles_with_each_try() {
        let shortest: Vec<u32> = (1..=6).map(|tries| seconds(30, tries, 0)).collect();
        assert_eq!(shortest, [15, 30, 60, 120, 240, 450]);
    }
}
