//! Counters that only grow, and their recovery after records were lost or set back: a table restored to yesterday's
//! state, or a stack recreated under its name. What survives the tables (KMS keys, devices, queues) shows how far the
//! counters had got.

use thiserror::Error;

/// More bundles than one generation ever publishes, including its withdrawal and distrust. If only keys are left,
/// bundle versions start above this many per generation.
const BUNDLES_A_GENERATION: u64 = 16;

/// Job ids to skip if there are messages that were not read. Reading a message of a queue in use would count as a
/// delivery.
pub const UNREAD_JOBS: u64 = 1000;

/// A tag can be written by others: one that claims more generations than this without a record is not believed.
const LOST_GENERATIONS: u32 = 1000;

/// Whether the tag of a key may tell the truth. `recorded`: the last generation on record.
pub const fn is_plausible(generation: u32, recorded: u32) -> bool {
    generation <= recorded.saturating_add(LOST_GENERATIONS)
}

/// The last number given out by each counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    pub generation: u32,
    pub job: u64,
    pub bundle: u64,
}

impl Counters {
    /// Whether any counter of `self` is lower than in `other`.
    pub const fn is_behind(&self, other: &Self) -> bool {
        self.generation < other.generation || self.job < other.job || self.bundle < other.bundle
    }

    fn at_least(self, other: Self) -> Self {
        Self {
            generation: self.generation.max(other.generation),
            job: self.job.max(other.job),
            bundle: self.bundle.max(other.bundle),
        }
    }
}

/// What survived the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Highest generation with a KMS key of this stack, from any installation.
    pub key_generation: Option<u32>,
    /// Highest generation with a record.
    pub root_generation: Option<u32>,
    /// Highest bundle version brought to a device.
    pub device_bundle: u64,
    /// Approved devices exist, but the fleet's list is empty.
    pub unlisted: bool,
    /// Highest job in the lists of jobs, or in a message that was read.
    pub job: Option<u64>,
    /// There are messages that were not read.
    pub unread_messages: bool,
}

/// The values that the counters must have: at least the recorded ones, and at least those seen.
///
/// `recorded`: `None` if there is no record of the authority.
pub fn raised(recorded: Option<Counters>, seen: &Evidence) -> Counters {
    let recorded = recorded.unwrap_or_default();
    let shown = Counters {
        generation: seen.root_generation.unwrap_or(0),
        job: seen.job.unwrap_or(0),
        bundle: seen.device_bundle,
    };
    // A generation with a record has its bundles on record as well.
    let key = seen.key_generation.filter(|generation| *generation > recorded.generation);
    let mut after = recorded.at_least(shown).at_least(key.map(founded_above).unwrap_or_default());
    if seen.unread_messages {
        after.job = after.job.saturating_add(UNREAD_JOBS);
    }
    after
}

/// A number outlived its record: continuing would give it out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Behind {
    #[error("there is a key of root generation {key}, and the last on record is {recorded}")]
    Keys { key: u32, recorded: u32 },
    #[error("bundle {device} was brought to a device, and the last on record is {recorded}")]
    Devices { device: u64, recorded: u64 },
    #[error("there are approved devices, and none is in the list that jobs go by")]
    Fleet,
}

/// The counters from which the next root continues: the recorded ones; without a record (`None`), those after the keys
/// of an earlier stack of this name.
///
/// # Errors
/// If the records contradict the evidence. Until the counters are [`raised`], no number may be given out.
pub fn admitted(recorded: Option<Counters>, seen: &Evidence) -> Result<Counters, Behind> {
    let known = recorded.unwrap_or_default();
    if seen.device_bundle > known.bundle {
        return Err(Behind::Devices { device: seen.device_bundle, recorded: known.bundle });
    }
    if seen.unlisted {
        return Err(Behind::Fleet);
    }
    match (recorded, seen.key_generation) {
        (None, key) => Ok(founded_above(key.unwrap_or(0))),
        (Some(recorded), Some(key)) if key > recorded.generation => {
            Err(Behind::Keys { key, recorded: recorded.generation })
        }
        (Some(recorded), _) => Ok(recorded),
    }
}

/// The first counters of an installation whose predecessor left only keys, up to this generation.
pub const fn founded_above(generation: u32) -> Counters {
    Counters { generation, job: 0, bundle: generation as u64 * BUNDLES_A_GENERATION }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECORDED: Counters = Counters { generation: 4, job: 7, bundle: 9 };

    #[test]
    fn each_kind_of_evidence_raises_its_own_counter() {
        let nothing = Evidence::default();
        assert_eq!(raised(Some(RECORDED), &nothing), RECORDED);
        let roots = Evidence { root_generation: Some(6), ..nothing };
        assert_eq!(raised(Some(RECORDED), &roots), Counters { generation: 6, ..RECORDED });
        let devices = Evidence { device_bundle: 12, ..nothing };
        assert_eq!(raised(Some(RECORDED), &devices), Counters { bundle: 12, ..RECORDED });
        let jobs = Evidence { job: Some(8), ..nothing };
        assert_eq!(raised(Some(RECORDED), &jobs), Counters { job: 8, ..RECORDED });
        let unread = Evidence { unread_messages: true, ..nothing };
        assert_eq!(raised(Some(RECORDED), &unread), Counters { job: 1007, ..RECORDED });
    }

    #[test]
    fn a_key_above_the_records_raises_bundles_too() {
        let known = Evidence { key_generation: Some(4), ..Evidence::default() };
        assert_eq!(raised(Some(RECORDED), &known), RECORDED);
        let later = Evidence { key_generation: Some(5), ..Evidence::default() };
        assert_eq!(raised(Some(RECORDED), &later), Counters { generation: 5, job: 7, bundle: 80 });
        assert_eq!(raised(None, &later), founded_above(5));
    }

    #[test]
    fn a_tag_far_above_the_records_is_not_believed() {
        assert!(
            is_plausible(0, 0) && is_plausible(1000, 0) && is_plausible(1004, 4) && is_plausible(u32::MAX, u32::MAX)
        );
        assert!(!is_plausible(1001, 0) && !is_plausible(1005, 4) && !is_plausible(u32::MAX, 4));
    }

    #[test]
    fn roots_require_records_that_are_not_behind() {
        let seen = |key_generation, device_bundle| Evidence { key_generation, device_bundle, ..Evidence::default() };
        assert_eq!(admitted(None, &seen(None, 0)), Ok(Counters::default()), "the first installation");
        assert_eq!(admitted(None, &seen(Some(3), 0)), Ok(founded_above(3)), "a stack made again");
        assert_eq!(admitted(Some(RECORDED), &seen(Some(4), 9)), Ok(RECORDED));
        assert_eq!(admitted(Some(RECORDED), &seen(None, 0)), Ok(RECORDED), "keys of retired roots are gone");
        let (key, device) = (Behind::Keys { key: 5, recorded: 4 }, Behind::Devices { device: 10, recorded: 9 });
        assert_eq!(admitted(Some(RECORDED), &seen(Some(5), 9)), Err(key));
        assert_eq!(admitted(Some(RECORDED), &seen(Some(4), 10)), Err(device));
        assert_eq!(admitted(None, &seen(None, 1)), Err(Behind::Devices { device: 1, recorded: 0 }));
    }

    proptest! {
        #[test]
        fn no_seen_number_is_given_out_again(
            recorded in proptest::option::of((0..100_u32, 0..1000_u64, 0..1000_u64)),
            key_generation in proptest::option::of(0..100_u32),
            root_generation in proptest::option::of(0..100_u32),
            device_bundle in 0..1000_u64,
            job in proptest::option::of(0..1000_u64),
            unread_messages: bool,
        ) {
            let recorded = recorded.map(|(generation, job, bundle)| Counters { generation, job, bundle });
            let seen = Evidence { key_generation, root_generation, device_bundle, job, unread_messages, ..Evidence::default() };
            let after = raised(recorded, &seen);
            prop_assert!(!after.is_behind(&recorded.unwrap_or_default()));
            prop_assert!(after.generation >= key_generation.unwrap_or(0).max(root_generation.unwrap_or(0)));
            prop_assert!(after.bundle >= device_bundle && after.job >= job.unwrap_or(0));
            prop_assert!(admitted(Some(after), &seen).is_ok(), "what restore raised lets a root be made");
            // A second run finds nothing to do if no unread message is left.
            let again = Evidence { unread_messages: false, ..seen };
            prop_assert_eq!(raised(Some(after), &again), after);
        }
    }
}
