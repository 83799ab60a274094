//! How far a pass has been sent through the fleet: in each shard to a place of its own, so that each wave takes devices of all
//! shards.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::JobId;
use super::cursor::{shard, step};
use crate::device::{DeviceId, InvalidDevice, SHARDS};

/// How far one shard is taken, in the order of ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Taken {
    #[default]
    Nothing,
    UpTo(DeviceId),
    All,
}

impl Taken {
    fn holds(&self, device: &DeviceId) -> bool {
        match self {
            Self::Nothing => false,
            Self::UpTo(last) => device <= last,
            Self::All => true,
        }
    }

    /// Where the shard goes on.
    pub const fn last(&self) -> Option<&DeviceId> {
        match self {
            Self::UpTo(last) => Some(last),
            Self::Nothing | Self::All => None,
        }
    }

    /// Whether it lies at `bound` or behind it.
    fn reaches(&self, bound: &Self) -> bool {
        match (self, bound) {
            (_, Self::Nothing) | (Self::All, _) => true,
            (Self::UpTo(last), Self::UpTo(bound)) => last >= bound,
            (Self::UpTo(_) | Self::Nothing, _) => false,
        }
    }
}

/// Of all shards, by the job's own [step](shard).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct Front([Taken; SHARDS as usize]);

impl Front {
    /// Behind the whole fleet.
    pub const END: Self = Self([const { Taken::All }; SHARDS as usize]);

    pub fn is_at_end(&self) -> bool {
        self.0.iter().all(|taken| *taken == Taken::All)
    }

    pub fn at(&self, step: u8) -> &Taken {
        self.0.get(usize::from(step)).unwrap_or(&Taken::All)
    }

    pub fn set(&mut self, step: u8, to: Taken) {
        if let Some(taken) = self.0.get_mut(usize::from(step)) {
            *taken = to;
        }
    }

    /// The shards that are not taken up to `bound`, each by its step.
    pub fn open(&self, bound: Option<&Self>) -> Vec<u8> {
        let bound = |step| bound.map_or(&Taken::All, |bound| bound.at(step));
        (0..SHARDS).filter(|step| !self.at(*step).reaches(bound(*step))).collect()
    }

    /// Whether a device lies before this position, that is, was taken.
    pub fn is_past(&self, job: JobId, device: &DeviceId) -> bool {
        self.at(step(job, device.shard())).holds(device)
    }

    /// The share of shards that are taken as a whole.
    pub fn share(&self) -> f64 {
        let all = self.0.iter().filter(|taken| **taken == Taken::All).count();
        all as f64 / f64::from(SHARDS)
    }

    pub fn shard(job: JobId, at: u8) -> u8 {
        shard(job, at)
    }
}

/// An earlier release took one shard after the other: `step` of them, and of the next one up to `after`. A front that can be
/// told so still is.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<DeviceId>,
    /// By step: an id, or one of two words that are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    taken: Vec<String>,
}

const NOTHING: &str = "";
const ALL: &str = "*";

impl From<Front> for Stored {
    fn from(front: Front) -> Self {
        let whole = front.0.iter().take_while(|taken| **taken == Taken::All).count();
        let rest = front.0.get(whole..).unwrap_or_default();
        let after = rest.first().and_then(Taken::last).cloned();
        if rest.iter().skip(usize::from(after.is_some())).all(|taken| *taken == Taken::Nothing) {
            return Self { step: u8::try_from(whole).ok(), after, taken: Vec::new() };
        }
        let word = |taken| match taken {
            Taken::Nothing => NOTHING.to_owned(),
            Taken::UpTo(last) => last.to_string(),
            Taken::All => ALL.to_owned(),
        };
        Self { step: None, after: None, taken: front.0.into_iter().map(word).collect() }
    }
}

/// A position that is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidFront {
    #[error("a position has {SHARDS} places, one in each shard")]
    Places,
    #[error(transparent)]
    Device(#[from] InvalidDevice),
}

impl TryFrom<Stored> for Front {
    type Error = InvalidFront;

    fn try_from(stored: Stored) -> Result<Self, InvalidFront> {
        let Stored { step, after, taken } = stored;
        if let Some(whole) = step {
            let place = |step: u8| match &after {
                _ if step < whole => Taken::All,
                Some(last) if step == whole => Taken::UpTo(last.clone()),
                _ => Taken::Nothing,
            };
            let mut steps = 0..SHARDS;
            return Ok(Self(std::array::from_fn(|_| steps.next().map_or(Taken::All, place))));
        }
        let place = |word: String| match word.as_str() {
            NOTHING => Ok(Taken::Nothing),
            ALL => Ok(Taken::All),
            id => id.parse().map(Taken::UpTo),
        };
        let places = taken.into_iter().map(place).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(places.try_into().map_err(|_| InvalidFront::Places)?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use proptest::prelude::*;
    use serde_json::{from_value, json, to_value};

    use super::*;
    use crate::job::Cursor;

    fn device(number: u32) -> DeviceId {
        format!("bmc-{number}").parse().unwrap()
    }

    fn taken() -> impl Strategy<Value = Taken> {
        prop_oneof![Just(Taken::Nothing), Just(Taken::All), (0u32..50).prop_map(|number| Taken::UpTo(device(number)))]
    }

    proptest! {
        #[test]
        fn a_front_is_read_as_it_was_written(places in prop::collection::vec(taken(), 16)) {
            let front = Front(places.try_into().unwrap());
            prop_assert_eq!(from_value::<Front>(to_value(&front).unwrap()).unwrap(), front);
        }

        #[test]
        fn a_position_of_an_earlier_release_means_the_same(step in 0u8..=16, after in prop::option::of(0u32..50), number in 0u32..50) {
            let after = after.filter(|_| step < 16).map(device);
            let cursor = Cursor { step, after };
            let stored = to_value(&cursor).unwrap();
            let front: Front = from_value(stored.clone()).unwrap();
            for job in [JobId(0), JobId(7)] {
                prop_assert_eq!(front.is_past(job, &device(number)), cursor.is_past(job, &device(number)));
            }
            prop_assert_eq!(front.is_at_end(), cursor.is_at_end());
            prop_assert_eq!(to_value(front).unwrap(), stored, "and is written as it was");
        }

        #[test]
        fn what_is_open_lies_before_the_bound(front in prop::collection::vec(taken(), 16), bound in prop::collection::vec(taken(), 16)) {
            let (front, bound) = (Front(front.try_into().unwrap()), Front(bound.try_into().unwrap()));
            let open = front.open(Some(&bound));
            for device in (0..50).map(device) {
                let is_left = bound.is_past(JobId(3), &device) && !front.is_past(JobId(3), &device);
                prop_assert!(!is_left || open.contains(&step(JobId(3), device.shard())));
            }
            prop_assert!(bound.open(Some(&bound)).is_empty() && Front::END.open(None).is_empty());
        }
    }

    #[test]
    fn a_front_with_other_places_is_refused() {
        for stored in [json!({ "taken": ["a"] }), json!({ "taken": vec!["a b"; 16] }), json!({})] {
            assert!(from_value::<Front>(stored).is_err());
        }
    }
}
