//! The query of `PUT /signingCertificate`.

use std::str::FromStr;

use rootcast_core::job::{Activation, Phase};
use rootcast_core::rollover::rollout::Rollout;
use rootcast_core::rollover::template::{RolloutName, Template};
use rootcast_gate::{Parameter, Reads, Value, names};

use super::LenovoError;

/// In characters.
const LONGEST_REASON: usize = 256;

/// Others are refused.
const PARAMETERS: [Parameter; 15] = [
    Parameter::new("activation", Value::OneOf(&["proven", "immediate"])),
    Parameter::new("reason", Value::Text),
    Parameter::new("canary", Value::Number),
    Parameter::new("growth", Value::Number),
    Parameter::new("largestWave", Value::Number),
    Parameter::new("wavePause", Value::Number),
    Parameter::new("errorBudget", Value::Number),
    Parameter::new("errorBudgetMinimum", Value::Number),
    Parameter::new("proofAge", Value::Number),
    Parameter::new("holdDown", Value::Number),
    Parameter::new("sample", Value::Number),
    Parameter::new("until", Value::Text),
    Parameter::new("generation", Value::Number),
    Parameter::new("rollout", Value::Text),
    // The vendor's. Ignored: the answer always has the job's path.
    Parameter::new("returnJobInfo", Value::Text),
];

/// The `reason` that somebody else may have the root's key (RFC 5280 §5.3.1).
pub const KEY_COMPROMISE: &str = "keyCompromise";

/// The parameters of the query; each has a default.
#[derive(Debug, Default)]
pub struct RootQuery {
    pub activation: Activation,
    pub rollout: Rollout,
    /// In seconds; `None`: the installation's.
    pub hold_down: Option<u32>,
    /// `None`: the installation's.
    pub until: Option<Phase>,
    /// Why the operator wants a new root.
    pub reason: Option<String>,
    /// `reason=keyCompromise`.
    pub compromised: Option<Compromised>,
}

/// Somebody else may have a root's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compromised {
    /// Of the root; `None`: the one that signs.
    pub generation: Option<u32>,
}

impl Reads for RootQuery {
    fn parameters() -> Vec<Parameter> {
        PARAMETERS.to_vec()
    }
}

impl RootQuery {
    /// # Errors
    /// 400, with the parameter and its valid values.
    pub fn parse(query: &str) -> Result<Self, LenovoError> {
        Self::over(&Template::default(), query)
    }

    /// The query's own parameters take precedence over the stored rollout's. The query names that rollout, if any.
    pub fn over(template: &Template, query: &str) -> Result<Self, LenovoError> {
        let mut asked = Self {
            rollout: template.rollout(),
            hold_down: template.hold_down,
            until: template.until,
            ..Self::default()
        };
        let (mut generation, mut not_then) = (None, None);
        let rollout = &mut asked.rollout;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if PARAMETERS.iter().all(|known| known.name != name) {
                return Err(LenovoError::invalid(
                    format!("There is no query parameter {name:.64}."),
                    format!("The parameters are {}.", names(&PARAMETERS)),
                ));
            }
            if matches!(&*name, "activation" | "holdDown" | "sample" | "until") {
                not_then = Some(name.to_string());
            }
            match &*name {
                "generation" => generation = Some(number(&name, &value)?),
                "activation" => asked.activation = activation(&value)?,
                "reason" => asked.reason = reason(&value)?,
                "canary" => rollout.canary = number(&name, &value)?,
                "growth" => rollout.growth = number(&name, &value)?,
                "largestWave" => rollout.largest_wave = number(&name, &value)?,
                "wavePause" => rollout.wave_pause = number(&name, &value)?,
                "errorBudget" => rollout.error_budget = number(&name, &value)?,
                "errorBudgetMinimum" => rollout.error_budget_minimum = number(&name, &value)?,
                "holdDown" => asked.hold_down = Some(number(&name, &value)?),
                "sample" => rollout.sample = number(&name, &value)?,
                "until" => asked.until = Some(until(&value)?),
                "rollout" => rollout.name = Some(named(&value)?),
                "proofAge" => rollout.proof_age = number(&name, &value)?,
                _ => {}
            }
        }
        if asked.reason.as_deref() == Some(KEY_COMPROMISE) {
            if let Some(name) = not_then {
                return Err(LenovoError::invalid(
                    format!(
                        "{name} is not for reason={KEY_COMPROMISE}: the new root signs at once, and the old ones leave the devices."
                    ),
                    "Leave it out.",
                ));
            }
            asked.compromised = Some(Compromised { generation });
        } else if generation.is_some() {
            return Err(LenovoError::invalid(
                format!("generation names a compromised root, and is only for reason={KEY_COMPROMISE}."),
                "Leave it out: the next root has the next generation.",
            ));
        }
        rollout.hold_down = asked.hold_down.unwrap_or(0);
        asked.rollout = asked.rollout.checked().map_err(|error| {
            LenovoError::invalid(format!("The rollout cannot be carried out: {error}."), "Correct this parameter.")
        })?;
        Ok(asked)
    }
}

fn activation(value: &str) -> Result<Activation, LenovoError> {
    match value {
        "proven" => Ok(Activation::Proven),
        "immediate" => Ok(Activation::Immediate),
        _ => Err(LenovoError::invalid(
            "activation is neither proven nor immediate.",
            "Leave it out: the new root then signs once every device has proven that it holds it.",
        )),
    }
}

fn until(value: &str) -> Result<Phase, LenovoError> {
    value.parse().map_err(|error| {
        LenovoError::invalid(
            format!("until is not valid: {error}."),
            "Leave it out, or name the last phase of the job.",
        )
    })
}

fn named(value: &str) -> Result<RolloutName, LenovoError> {
    value.parse().map_err(|error| {
        LenovoError::invalid(format!("rollout is not valid: {error}."), "GET /rollouts lists those that are stored.")
    })
}

fn reason(value: &str) -> Result<Option<String>, LenovoError> {
    if value.chars().count() > LONGEST_REASON || value.chars().any(char::is_control) {
        return Err(LenovoError::invalid(
            format!("reason has more than {LONGEST_REASON} characters, or control characters."),
            "Say it more briefly, on one line.",
        ));
    }
    Ok((!value.is_empty()).then(|| value.to_owned()))
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, LenovoError> {
    value.parse().map_err(|_| {
        LenovoError::invalid(format!("{name} is not a whole number in its range."), "Give it in decimal digits.")
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;
    use crate::answer::Dialect;

    #[test]
    fn an_empty_query_takes_the_defaults() {
        let asked = RootQuery::parse("").unwrap();
        assert_eq!((asked.activation, asked.rollout), (Activation::Proven, Rollout::default()));
    }

    #[test]
    fn each_parameter_is_read() {
        let query = "activation=immediate&reason=key%20age&canary=2&growth=3&largestWave=50&wavePause=60&errorBudget=7&errorBudgetMinimum=9&proofAge=600&holdDown=90&sample=8&until=reissue&returnJobInfo=true";
        let asked = RootQuery::parse(query).unwrap();
        assert_eq!(asked.activation, Activation::Immediate);
        assert_eq!(asked.reason.as_deref(), Some("key age"));
        let expected = Rollout {
            canary: 2,
            growth: 3,
            largest_wave: 50,
            wave_pause: 60,
            error_budget: 7,
            error_budget_minimum: 9,
            proof_age: 600,
            hold_down: 90,
            sample: 8,
            ..Rollout::default()
        };
        assert_eq!(asked.rollout, expected);
        assert_eq!((asked.hold_down, asked.until), (Some(90), Some(Phase::Reissue)));
    }

    #[test]
    fn parameters_take_precedence_over_the_named_rollout() {
        let template = Template { canary: Some(2), growth: Some(3), hold_down: Some(60), ..Template::default() };
        let query = "rollout=weekend&canary=7";
        assert_eq!(RootQuery::parse(query).unwrap().rollout.name, "weekend".parse().ok());
        let asked = RootQuery::over(&template, query).unwrap();
        assert_eq!((asked.rollout.canary, asked.rollout.growth, asked.hold_down), (7, 3, Some(60)));
        assert_eq!((asked.rollout.hold_down, asked.rollout.name), (60, "weekend".parse().ok()));
    }

    #[test]
    fn one_reason_says_that_a_root_is_compromised() {
        let compromised = |query: &str| RootQuery::parse(query).unwrap().compromised;
        assert_eq!(compromised("reason=keyCompromise&canary=1"), Some(Compromised { generation: None }));
        assert_eq!(compromised("generation=3&reason=keyCompromise"), Some(Compromised { generation: Some(3) }));
        for other in ["", "reason=keycompromise", "reason=key%20compromise"] {
            assert_eq!(compromised(other), None, "{other}");
        }
    }

    #[test]
    fn no_parameter_is_in_the_list_and_not_read() {
        for Parameter { name, .. } in PARAMETERS.iter().filter(|each| each.name != "returnJobInfo") {
            let error = RootQuery::parse(&format!("{name}=%00")).unwrap_err();
            assert!(error.text().starts_with(name), "{name}: {}", error.text());
        }
        let unknown = RootQuery::parse("colour=blue").unwrap_err();
        let known = unknown.refusal().recovery();
        assert!(known.contains("errorBudget, errorBudgetMinimum"), "{known}");
    }

    #[test]
    fn an_invalid_parameter_is_refused_by_name() {
        for (query, named) in [
            ("canary=0", "canary"),
            ("canary=-1", "canary"),
            ("growth=0", "growth"),
            ("errorBudget=101", "errorBudget"),
            ("proofAge=1", "proofAge"),
            ("holdDown=2592001", "holdDown"),
            ("sample=101", "sample"),
            ("until=ended", "until"),
            ("errorBudget=300", "errorBudget"),
            ("largestWave=1", "largestWave"),
            ("activation=now", "activation"),
            ("colour=blue", "colour"),
            ("generation=1", "generation"),
            ("reason=keyCompromise&generation=x", "generation"),
            ("reason=keyCompromise&holdDown=1", "holdDown"),
            ("until=retire&reason=keyCompromise", "until"),
            ("reason=keyCompromise&activation=immediate", "activation"),
            ("reason=a%00b", "reason"),
            ("rollout=A", "rollout"),
        ] {
            let error = RootQuery::parse(query).unwrap_err();
            assert_eq!(error.status(), 400, "{query}");
            assert!(error.text().contains(named), "{query}: {}", error.text());
        }
    }
}
