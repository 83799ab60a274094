//! Rollouts under a name, so that nobody types one at night.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::rollout::{InvalidRollout, Rollout};
use super::windows::Window;
use crate::device::labels::Selector;
use crate::job::Phase;

/// All of them are one record.
pub const MOST_ROLLOUTS: usize = 32;

/// The name of a stored rollout.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RolloutName(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a rollout's name has 1 to 63 of a–z, 0–9, dot, underscore and hyphen, a letter or digit first")]
pub struct NotAName;

impl FromStr for RolloutName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_allowed = |c: char| is_plain(c) || matches!(c, '.' | '_' | '-');
        let is_name = (1..=63).contains(&text.len()) && text.starts_with(is_plain) && text.chars().all(is_allowed);
        is_name.then(|| Self(text.to_owned())).ok_or(NotAName)
    }
}

impl TryFrom<String> for RolloutName {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        text.parse()
    }
}

impl From<RolloutName> for String {
    fn from(RolloutName(name): RolloutName) -> Self {
        name
    }
}

impl fmt::Display for RolloutName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stored rollout. What it leaves out is as by default when a job starts with it; the job keeps a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Template {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest_wave: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave_pause: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_budget: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_budget_minimum: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof_age: Option<u32>,
    /// Left out: the installation's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_down: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<u8>,
    /// The last phase; left out: the installation's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Phase>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<Selector>,
}

impl Template {
    pub fn checked(self) -> Result<Self, InvalidRollout> {
        if self.until.is_some_and(|until| !Phase::STOPS.contains(&until)) {
            return Err(InvalidRollout::Until);
        }
        self.rollout().checked().map(|_| self)
    }

    pub fn rollout(&self) -> Rollout {
        let default = Rollout::default();
        Rollout {
            name: None,
            canary: self.canary.unwrap_or(default.canary),
            growth: self.growth.unwrap_or(default.growth),
            largest_wave: self.largest_wave.unwrap_or(default.largest_wave),
            wave_pause: self.wave_pause.unwrap_or(default.wave_pause),
            error_budget: self.error_budget.unwrap_or(default.error_budget),
            error_budget_minimum: self.error_budget_minimum.unwrap_or(default.error_budget_minimum),
            proof_age: self.proof_age.unwrap_or(default.proof_age),
            hold_down: self.hold_down.unwrap_or(default.hold_down),
            sample: self.sample.unwrap_or(default.sample),
            windows: self.windows.clone(),
            order: self.order.clone(),
        }
    }
}

/// All stored rollouts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollouts {
    #[serde(default)]
    pub rollouts: BTreeMap<RolloutName, Template>,
    /// 0 before the first write.
    #[serde(default)]
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there are {MOST_ROLLOUTS} rollouts already")]
pub struct ManyRollouts;

impl Rollouts {
    pub fn with(&self, name: RolloutName, template: Template) -> Result<Self, ManyRollouts> {
        let mut rollouts = self.rollouts.clone();
        rollouts.insert(name, template);
        if rollouts.len() > MOST_ROLLOUTS { Err(ManyRollouts) } else { Ok(Self { rollouts, revision: self.revision }) }
    }

    pub fn without(&self, name: &RolloutName) -> Self {
        let mut rollouts = self.rollouts.clone();
        rollouts.remove(name);
        Self { rollouts, revision: self.revision }
    }

    /// What a job starts with.
    pub fn get(&self, name: &RolloutName) -> Option<&Template> {
        self.rollouts.get(name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn read(json: Value) -> Result<Template, String> {
        let template: Template = from_value(json).map_err(|error| error.to_string())?;
        template.checked().map_err(|error| error.to_string())
    }

    #[test]
    fn a_template_is_shown_as_it_is_sent() {
        let sent = json!({
            "canary": 2, "holdDown": 3600, "until": "reissue", "order": ["site=fra"],
            "windows": [{ "where": "site=fra", "days": ["sat"], "from": "22:00", "to": "04:00", "zone": "Europe/Berlin" }],
        });
        let template = read(sent.clone()).unwrap();
        assert_eq!(serde_json::to_value(&template).unwrap(), sent);
        let rollout = template.rollout();
        assert_eq!((rollout.canary, rollout.growth, rollout.hold_down), (2, 10, 3600));
        assert_eq!((rollout.windows, rollout.order), (template.windows, template.order));
        assert_eq!(read(json!({})).unwrap().rollout(), Rollout::default());
    }

    #[test]
    fn an_invalid_template_is_refused_by_name() {
        for (sent, why) in [
            (json!({ "canary": 0 }), "canary"),
            (json!({ "colour": 1 }), "colour"),
            (json!({ "until": "ended" }), "until"),
            (json!({ "windows": [{ "from": "08:00", "to": "08:00", "zone": "UTC" }] }), "windows"),
            (json!({ "windows": [{ "from": "08:00", "to": "09:00", "zone": "Moon" }] }), "IANA"),
            (json!({ "order": ["site=fra", "site=fra"] }), "order"),
            (json!({ "order": [""] }), "order"),
            (json!({ "order": ["site"] }), "KEY=VALUE"),
        ] {
            let refused = read(sent.clone()).unwrap_err();
            assert!(refused.contains(why), "{sent}: {refused}");
        }
        let many: Vec<String> = (0..9).map(|number| format!("row={number}")).collect();
        assert!(read(json!({ "order": many })).is_err());
        let window = json!({ "from": "08:00", "to": "09:00", "zone": "UTC" });
        assert!(read(json!({ "windows": vec![window; 17] })).is_err());
    }

    #[test]
    fn names_and_their_number_are_bounded() {
        for name in ["", "A", "-a", "a b", "../a", &"x".repeat(64)] {
            assert!(name.parse::<RolloutName>().is_err(), "{name}");
        }
        let mut all = Rollouts::default();
        for number in 0..MOST_ROLLOUTS {
            all = all.with(format!("r{number}").parse().unwrap(), Template::default()).unwrap();
        }
        assert_eq!(all.with("more".parse().unwrap(), Template::default()), Err(ManyRollouts));
        assert!(all.with("r0".parse().unwrap(), Template::default()).is_ok(), "it is replaced");
        assert_eq!(all.without(&"r0".parse().unwrap()).get(&"r0".parse().unwrap()), None);
    }
}
