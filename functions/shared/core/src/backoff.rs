//! How long a failed message waits.

/// A quarter of an hour: a device that was down is not left alone for hours.
const LONGEST: u32 = 900;

/// Doubles with each receive (from 1), of which the upper half is random: devices that failed together do not come back
/// together. All in seconds.
pub fn seconds(base: u32, receives: u32, random: u32) -> u32 {
    let full = base.saturating_mul(2u32.saturating_pow(receives.saturating_sub(1))).clamp(1, LONGEST);
    let half = full / 2;
    full - half + random % (half + 1)
}

/// Not a secret; zero where the operating system gives none.
pub fn random() -> u32 {
    getrandom::u32().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_between_half_and_the_whole_and_never_for_ever(base in 1u32..2000, receives in 0u32..100, random: u32) {
            let waited = seconds(base, receives, random);
            prop_assert!((1..=LONGEST).contains(&waited));
            let full = base.saturating_mul(2u32.saturating_pow(receives.saturating_sub(1))).min(LONGEST);
            prop_assert!(waited <= full && waited >= full / 2);
        }
    }

    #[test]
    fn doubles() {
        let shortest: Vec<u32> = (1..=6).map(|receives| seconds(30, receives, 0)).collect();
        assert_eq!(shortest, [15, 30, 60, 120, 240, 450]);
    }
}
