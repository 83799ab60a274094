//! Metrics in CloudWatch's embedded metric format: a log line that CloudWatch counts. Needs neither a call nor a
//! permission.
//!
//! Source: AWS, "Specification: Embedded metric format".

use serde_json::json;
use time::OffsetDateTime;

/// Metrics of the namespace `Rootcast`. template.yaml has alarms on those about jobs and devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// A gauge: said each minute as long as the rollover or preflight is paused.
    JobsPaused,
    /// A job ended without a root that every device holds.
    JobsFailed,
    /// Roots' keys that have been awake for long.
    RootKeysAwake,
    /// A gauge: retired roots whose key KMS is about to delete.
    RootKeysPendingDeletion,
    /// Changes of signing keys, and signatures with them, by somebody outside of the stack.
    SigningKeysChanged,
    /// A device showed another certificate than the approved one.
    PinMismatches,
    /// A gauge: what is left of the signed bundle's life, of the days that `BundleDays` gives it.
    BundleLifeLeft,
    /// A gauge: days until the certificate of the root that signs ends.
    RootDaysLeft,
    /// A gauge: hours until the first revocation list ends, before those that are due are signed anew.
    CrlHoursLeft,
    /// Events that EventBridge did not take.
    EventsLost,
    /// Operations that an authenticated caller had no right to.
    OperationsDenied,
    /// Wrong passwords.
    LoginFailures,
    /// Wrong passwords that delay the next attempt.
    LoginLocks,
    /// Right passwords that ended a delay.
    LoginUnlocks,
    /// All heads of the audit chains that had changed are in signed statements.
    AuditHeadsSigned,
    /// Items among the heads of the audit chains that are none, and so are in no statement.
    AuditHeadsUnreadable,
    /// Devices whose certificate could not be renewed by itself. It is tried again.
    RenewalsFailed,
    /// Certificates whose devices show one that will end soon, and that are still to be renewed by themselves.
    RenewalsLate,
}

impl Metric {
    const fn name(self) -> &'static str {
        match self {
            Self::JobsPaused => "JobsPaused",
            Self::JobsFailed => "JobsFailed",
            Self::RootKeysAwake => "RootKeysAwake",
            Self::RootKeysPendingDeletion => "RootKeysPendingDeletion",
            Self::SigningKeysChanged => "SigningKeysChanged",
            Self::PinMismatches => "PinMismatches",
            Self::BundleLifeLeft => "BundleLifeLeft",
            Self::RootDaysLeft => "RootDaysLeft",
            Self::CrlHoursLeft => "CrlHoursLeft",
            Self::EventsLost => "EventsLost",
            Self::OperationsDenied => "OperationsDenied",
            Self::LoginFailures => "LoginFailures",
            Self::LoginLocks => "LoginLocks",
            Self::LoginUnlocks => "LoginUnlocks",
            Self::AuditHeadsSigned => "AuditHeadsSigned",
            Self::AuditHeadsUnreadable => "AuditHeadsUnreadable",
            Self::RenewalsFailed => "RenewalsFailed",
            Self::RenewalsLate => "RenewalsLate",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::BundleLifeLeft => "Percent",
            _ => "Count",
        }
    }

    /// The log line, without line break. `stack` is the metric's dimension.
    pub fn line(self, value: u64, stack: &str, now: OffsetDateTime) -> String {
        json!({
            "_aws": {
                "Timestamp": now.unix_timestamp_nanos() / 1_000_000,
                "CloudWatchMetrics": [{
                    "Namespace": "Rootcast",
                    "Dimensions": [["Stack"]],
                    "Metrics": [{ "Name": self.name(), "Unit": self.unit() }],
                }],
            },
            "Stack": stack,
            self.name(): value,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_namespace_dimension_and_value() {
        let line = Metric::JobsPaused.line(1, "rootcast", OffsetDateTime::UNIX_EPOCH);
        assert_eq!(
            line.parse::<serde_json::Value>().ok(),
            Some(json!({
                "_aws": {
                    "Timestamp": 0,
                    "CloudWatchMetrics": [{
                        "Namespace": "Rootcast",
                        "Dimensions": [["Stack"]],
                        "Metrics": [{ "Name": "JobsPaused", "Unit": "Count" }],
                    }],
                },
                "Stack": "rootcast",
                "JobsPaused": 1,
            }))
        );
    }
}
