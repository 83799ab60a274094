//! What a job used at AWS, counted where it was used, and what that costs.
//!
//! The prices are in one file, `prices.json`: AWS's list prices in us-east-1, without free tier, logs and network. An
//! installation elsewhere has its own in the parameter `Prices`, in the same form.

use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Each has an attribute of this name in the records.
macro_rules! usage {
    ($($(#[$about:meta])* $field:ident $name:literal,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Usage {
            $($(#[$about])* #[serde(rename = $name, skip_serializing_if = "is_none")] pub $field: u64,)*
        }

        impl Usage {
            pub const NONE: Self = Self { $($field: 0),* };

            fn map(self, change: impl Fn(u64) -> u64) -> Self {
                Self { $($field: change(self.$field)),* }
            }

            /// What is not zero, by its name in records.
            pub fn parts(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($name, self.$field)),*].into_iter().filter(|(_, count)| *count > 0)
            }
        }

        impl Add for Usage {
            type Output = Self;

            fn add(self, more: Self) -> Self {
                Self { $($field: self.$field + more.$field),* }
            }
        }
    };
}

usage! {
    /// Calls, each attempt by itself.
    database_calls "usedDatabase",
    /// Requests, those with which Lambda takes messages from a queue and deletes them too.
    queue_requests "usedQueue",
    /// Signatures among them.
    key_requests "usedKeys",
    signatures "usedSignatures",
    parameter_calls "usedParameters",
    event_requests "usedEvents",
    write_units "usedWrites",
    /// DynamoDB counts halves.
    half_read_units "usedHalfReads",
    invocations "usedInvocations",
    /// Of functions: their memory in MB, times how long they ran.
    megabyte_millis "usedMegabyteMillis",
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        *self = *self + more;
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Self::add)
    }
}

impl Usage {
    /// An attempt at a call. `service`, `operation`: as the SDK names them.
    pub fn count_call(&mut self, service: &str, operation: &str) {
        match service {
            "DynamoDB" => self.database_calls += 1,
            "SQS" => self.queue_requests += 1,
            "KMS" => {
                self.key_requests += 1;
                self.signatures += u64::from(operation == "Sign");
            }
            "SSM" => self.parameter_calls += 1,
            "EventBridge" => self.event_requests += 1,
            _ => {}
        }
    }

    /// So many parts of all.
    #[must_use]
    pub fn share(&self, parts: u64, all: u64) -> Self {
        self.map(|count| count.saturating_mul(parts).checked_div(all).unwrap_or(0))
    }

    pub const fn calls(&self) -> u64 {
        self.database_calls + self.queue_requests + self.key_requests + self.parameter_calls + self.event_requests
    }

    pub const fn is_nothing(&self) -> bool {
        self.calls() == 0 && self.invocations == 0 && self.megabyte_millis == 0
    }

    pub const fn read_units(&self) -> f64 {
        self.half_read_units as f64 / 2.0
    }

    pub const fn gigabyte_seconds(&self) -> f64 {
        self.megabyte_millis as f64 / 1024.0 / 1000.0
    }
}

/// In dollars, for a million of each.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prices {
    pub region: String,
    /// As of when, and from where.
    pub date: String,
    pub source: String,
    pub million_write_units: f64,
    pub million_read_units: f64,
    pub million_queue_requests: f64,
    pub million_invocations: f64,
    pub million_gigabyte_seconds: f64,
    pub million_signatures: f64,
    /// Of other requests to KMS.
    pub million_key_requests: f64,
    pub million_event_requests: f64,
}

/// A thousand-millionth of a dollar. One of a million devices costs some thousands.
pub type Nanodollars = u64;

const LISTED: &str = include_str!("prices.json");

impl Default for Prices {
    fn default() -> Self {
        // The file is part of the program, and a test reads it.
        LISTED.parse().unwrap_or(Self {
            region: String::new(),
            date: String::new(),
            source: String::new(),
            million_write_units: 0.0,
            million_read_units: 0.0,
            million_queue_requests: 0.0,
            million_invocations: 0.0,
            million_gigabyte_seconds: 0.0,
            million_signatures: 0.0,
            million_key_requests: 0.0,
            million_event_requests: 0.0,
        })
    }
}

/// An empty text: the list prices.
impl FromStr for Prices {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() { Ok(Self::default()) } else { serde_json::from_str(text) }
    }
}

impl Prices {
    pub fn of(&self, used: &Usage) -> Nanodollars {
        let others = used.key_requests.saturating_sub(used.signatures) as f64;
        let dollars_a_million = self.million_write_units * used.write_units as f64
            + self.million_read_units * used.read_units()
            + self.million_queue_requests * used.queue_requests as f64
            + self.million_invocations * used.invocations as f64
            + self.million_gigabyte_seconds * used.gigabyte_seconds()
            + self.million_signatures * used.signatures as f64
            + self.million_key_requests * others
            + self.million_event_requests * used.event_requests as f64;
        (dollars_a_million * 1000.0).round() as Nanodollars
    }
}

/// With four decimals, rounded up: a device's share is some millionths.
pub fn dollars(amount: Nanodollars) -> String {
    let rounded = amount.div_ceil(100_000);
    format!("{}.{:04}", rounded / 10_000, rounded % 10_000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_prices_is_read() {
        let listed: Prices = serde_json::from_str(LISTED).unwrap();
        assert_eq!(listed.region, "us-east-1");
        assert_eq!(listed, Prices::default());
        assert_eq!("".parse::<Prices>().unwrap(), Prices::default());
        assert!("{}".parse::<Prices>().is_err());
    }

    #[test]
    fn each_part_has_its_price() {
        let million = |change: fn(&mut Usage)| {
            let mut used = Usage::default();
            change(&mut used);
            dollars(Prices::default().of(&used))
        };
        assert_eq!(million(|used| used.write_units = 1_000_000), "0.6250");
        assert_eq!(million(|used| used.half_read_units = 2_000_000), "0.1250");
        assert_eq!(million(|used| (used.key_requests, used.signatures) = (2_000_000, 1_000_000)), "18.0000");
        assert_eq!(million(|used| used.megabyte_millis = 1024 * 1000 * 1_000_000), "13.3334");
        assert_eq!(million(|used| used.database_calls = 1_000_000), "0.0000", "by units");
    }

    #[test]
    fn calls_count_to_their_service() {
        let mut used = Usage::default();
        for (service, operation) in [("DynamoDB", "Query"), ("KMS", "Sign"), ("KMS", "Decrypt"), ("SQS", "SendMessage")]
        {
            used.count_call(service, operation);
        }
        let parts: Vec<_> = (used + used).parts().collect();
        assert_eq!(parts, [("usedDatabase", 2), ("usedQueue", 2), ("usedKeys", 4), ("usedSignatures", 2)]);
    }

    #[test]
    fn dollars_are_rounded_up_to_a_hundredth_of_a_cent() {
        assert_eq!([0, 1, 4_850_000_000].map(dollars), ["0.0000", "0.0001", "4.8500"]);
    }
}
