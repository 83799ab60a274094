//! How long something that failed waits before it is tried again.

/// In seconds: a device that was down is not left alone for hours, and SQS delays a message by no more.
const LONGEST: u32 = 900;

/// Doubles with each try (from 1), of which the upper half is random: devices that failed together do not come back
/// together. All in seconds.
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
        fn waits_between_half_and_the_whole_and_never_for_ever(base in 1u32..2000, tries in 0u32..100, random: u32) {
            let waited = seconds(base, tries, random);
            prop_assert!((1..=LONGEST).contains(&waited));
            let full = base.saturating_mul(2u32.saturating_pow(tries.saturating_sub(1))).min(LONGEST);
            prop_assert!(waited <= full && waited >= full / 2);
        }
    }

    #[test]
    fn doubles() {
        let shortest: Vec<u32> = (1..=6).map(|tries| seconds(30, tries, 0)).collect();
        assert_eq!(shortest, [15, 30, 60, 120, 240, 450]);
    }
}
