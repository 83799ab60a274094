//! Labels of a device, such as `site=fra`, and what selects devices by them. A label grants no right and is no part of the
//! device's identity: it says only when, and in which order, jobs come to the device.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most labels of a device. With the longest, they fit into its entry in the fleet's list.
pub const MOST_LABELS: usize = 16;
const LONGEST_KEY: usize = 32;
const LONGEST_VALUE: usize = 63;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidLabel {
    #[error("a label's key has 1 to {LONGEST_KEY} of a–z, 0–9, dot, underscore, slash and hyphen, a letter first")]
    Key,
    #[error("a label's value has 1 to {LONGEST_VALUE} of A–Z, a–z, 0–9, dot, underscore and hyphen")]
    Value,
    #[error("a device has at most {MOST_LABELS} labels")]
    Many,
    #[error("labels are selected by KEY=VALUE, several with a comma in between, each key once")]
    Selector,
}

fn check(key: &str, value: &str) -> Result<(), InvalidLabel> {
    let in_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '/' | '-');
    let in_value = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if key.len() > LONGEST_KEY || !key.starts_with(|c: char| c.is_ascii_lowercase()) || !key.chars().all(in_key) {
        return Err(InvalidLabel::Key);
    }
    if !(1..=LONGEST_VALUE).contains(&value.len()) || !value.chars().all(in_value) {
        return Err(InvalidLabel::Value);
    }
    Ok(())
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    pub const NONE: Self = Self(BTreeMap::new());

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The labels after a change: `None` removes a key.
    pub fn changed(&self, changes: &BTreeMap<String, Option<String>>) -> Result<Self, InvalidLabel> {
        let mut labels = self.0.clone();
        for (key, value) in changes {
            match value {
                Some(value) => _ = labels.insert(key.clone(), value.clone()),
                None => _ = labels.remove(key),
            }
        }
        labels.try_into()
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = InvalidLabel;

    fn try_from(labels: BTreeMap<String, String>) -> Result<Self, InvalidLabel> {
        labels.iter().try_for_each(|(key, value)| check(key, value))?;
        if labels.len() > MOST_LABELS { Err(InvalidLabel::Many) } else { Ok(Self(labels)) }
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(Labels(labels): Labels) -> Self {
        labels
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_pairs(&self.0, f)
    }
}

/// Selects the devices that have all of these labels. Written `site=fra,row=7`; empty, it selects every device.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(BTreeMap<String, String>);

impl Selector {
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    pub fn selects(&self, Labels(labels): &Labels) -> bool {
        self.0.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl FromStr for Selector {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let mut pairs = BTreeMap::new();
        for pair in text.split(',').filter(|_| !text.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or(InvalidLabel::Selector)?;
            check(key, value)?;
            if pairs.insert(key.to_owned(), value.to_owned()).is_some() || pairs.len() > MOST_LABELS {
                return Err(InvalidLabel::Selector);
            }
        }
        Ok(Self(pairs))
    }
}

impl TryFrom<String> for Selector {
    type Error = InvalidLabel;

    fn try_from(text: String) -> Result<Self, InvalidLabel> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        write_text(&selector.0)
    }
}

/// For people; what is stored for every device is empty.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() { f.write_str("every device") } else { write_pairs(&self.0, f) }
    }
}

fn write_text(pairs: &BTreeMap<String, String>) -> String {
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn write_pairs(pairs: &BTreeMap<String, String>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&write_text(pairs))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn labels(text: &str) -> Labels {
        Labels::try_from(text.parse::<Selector>().unwrap().0).unwrap()
    }

    fn selects(selector: &str, text: &str) -> bool {
        selector.parse::<Selector>().unwrap().selects(&labels(text))
    }

    #[test]
    fn a_selector_wants_all_of_its_labels() {
        assert!(selects("site=fra", "row=7,site=fra") && selects("row=7,site=fra", "row=7,site=fra"));
        assert!(!selects("site=fra,row=7", "site=fra") && !selects("site=fra", "site=FRA") && !selects("site=fra", ""));
        assert!(selects("", "") && selects("", "site=fra"));
    }

    #[test]
    fn invalid_labels_and_selectors_are_refused() {
        let long = "x".repeat(64);
        for text in ["site", "=fra", "site=", "Site=fra", "7=a", "a b=c", "site=fra,", ",", "a=1,a=2", "a=b=c"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
        assert!(format!("a={long}").parse::<Selector>().is_err() && format!("{long}=a").parse::<Selector>().is_err());
        let many = (0..=MOST_LABELS).map(|number| (format!("k{number}"), "v".to_owned()));
        assert_eq!(Labels::try_from(many.collect::<BTreeMap<_, _>>()), Err(InvalidLabel::Many));
        assert!(serde_json::from_str::<Labels>(r#"{"site":"a\nb"}"#).is_err());
    }

    #[test]
    fn a_change_sets_and_removes_labels() {
        let changes = [("site".to_owned(), None), ("row".to_owned(), Some("8".to_owned()))].into();
        assert_eq!(labels("row=7,site=fra").changed(&changes), Ok(labels("row=8")));
        assert_eq!(labels("").changed(&[("A".to_owned(), Some("b".to_owned()))].into()), Err(InvalidLabel::Key));
    }

    proptest! {
        #[test]
        fn any_text_is_a_selector_or_refused(text in "[a-c=,A.]{0,12}") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(String::from(selector.clone()).parse::<Selector>(), Ok(selector));
            }
        }
    }
}
