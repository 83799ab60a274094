//! What still needs the older roots.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// What the last look found below the older roots that is valid and not revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InUse {
    /// The first look that found something.
    #[serde(with = "time::serde::timestamp::option", default, skip_serializing_if = "Option::is_none")]
    pub since: Option<OffsetDateTime>,
    /// Where the present look goes on, in the words of who looks; `None`: at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub found: u64,
    /// Some of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl InUse {
    const MOST_NAMES: usize = 100;
    const MOST_SAID: usize = 10;

    pub fn add(&mut self, name: String) {
        self.found += 1;
        if self.names.len() < Self::MOST_NAMES {
            self.names.push(name);
        }
    }
}

/// How many, and the first of them.
impl fmt::Display for InUse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.names.iter().take(Self::MOST_SAID).map(String::as_str).collect::<Vec<_>>();
        let more = if self.found > said.len() as u64 { ", …" } else { "" };
        write!(out, "{}: {}{more}", self.found, said.join(", "))
    }
}
