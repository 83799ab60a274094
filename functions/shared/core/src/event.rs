//! Events about certificates, jobs, authorities and devices, for EventBridge.

use serde::Serialize;
use time::OffsetDateTime;

use crate::deployment::lifecycle::Stage;
use crate::device::DeviceId;
use crate::inventory::id::CertificateId;
use crate::job::task::ErrorClass;
use crate::job::{JobId, JobState, Phase};
use crate::rollover::generation::GenerationState;

/// The `source` of every event, for EventBridge rules.
pub const SOURCE: &str = "rootcast";

/// Serialised as the event's `detail`. Delivered at least once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Event {
    Imported {
        certificate_id: CertificateId,
        dn: String,
        #[serde(with = "time::serde::rfc3339")]
        not_after: OffsetDateTime,
        imported_by: String,
    },
    Expiring {
        certificate_id: CertificateId,
        dn: String,
        #[serde(with = "time::serde::rfc3339")]
        not_after: OffsetDateTime,
        /// At most this many days are left: 30, 15, 7 or 1.
        days: u16,
        /// Devices that have the certificate, or are to get it.
        devices: u64,
    },
    Deployed {
        certificate_id: CertificateId,
        device: DeviceId,
        job_id: JobId,
    },
    Failed {
        certificate_id: CertificateId,
        device: DeviceId,
        job_id: JobId,
        stage: Stage,
        class: ErrorClass,
        message: String,
    },
    /// A job was created, entered a phase, was paused or resumed, or ended.
    JobChanged {
        job_id: JobId,
        kind: JobKind,
        state: JobState,
        /// Of a rollover, or a job about the trust anchors of others.
        #[serde(skip_serializing_if = "Option::is_none")]
        phase: Option<Phase>,
        /// Once it has ended.
        #[serde(skip_serializing_if = "Option::is_none")]
        outcome: Option<String>,
        /// Why it is in this state, in a sentence.
        reason: String,
        /// The root that a rollover brings.
        #[serde(skip_serializing_if = "Option::is_none")]
        generation: Option<u32>,
        /// The certificate that a deployment brings; absent: each device gets one of its own.
        #[serde(skip_serializing_if = "Option::is_none")]
        certificate_id: Option<CertificateId>,
        /// Who changed it; absent: the conductor, by its plan.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    RootChanged {
        generation: u32,
        state: GenerationState,
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    IssuingChanged {
        id: String,
        /// Its root's.
        generation: u32,
        state: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    ApprovalChanged {
        device: DeviceId,
        approval: Approval,
        endpoint_revision: u64,
        by: String,
    },
    /// Somebody outside of the stack signed with a signing key, opened it to others, or put it out of use.
    KeyChanged {
        /// Of the root, or of the root of the issuing authority.
        generation: u32,
        /// The issuing authority whose key it is; absent: the root.
        #[serde(skip_serializing_if = "Option::is_none")]
        issuing: Option<String>,
        change: &'static str,
        /// ARN.
        key: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum JobKind {
    Rollover,
    /// Of the trust anchors of others.
    Anchors,
    Preflight,
    Deployment,
}

/// What became of a device's approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Approval {
    /// Of its present identity.
    Approved,
    /// Its identity was changed: no job touches it.
    Lost,
    /// The device was deleted.
    Deleted,
}

impl Event {
    /// EventBridge's `detail-type`.
    pub const fn detail_type(&self) -> &'static str {
        match self {
            Self::Imported { .. } => "Certificate Imported",
            Self::Expiring { .. } => "Certificate Expiring",
            Self::Deployed { .. } => "Certificate Deployed",
            Self::Failed { .. } => "Certificate Deployment Failed",
            Self::JobChanged { .. } => "Job State Change",
            Self::RootChanged { .. } => "Root State Change",
            Self::IssuingChanged { .. } => "Issuing Authority State Change",
            Self::ApprovalChanged { .. } => "Device Approval Change",
            Self::KeyChanged { .. } => "Signing Key State Change",
        }
    }
}

/// Days before expiry at which an event is sent, in descending order.
const NOTICES: [u16; 4] = [30, 15, 7, 1];

/// The first notice about a certificate is due this long before it expires.
pub const FIRST_NOTICE: time::Duration = time::Duration::days(NOTICES[0] as i64);

/// The notice due now. If several were missed, only the latest one is given. `noticed`: the previous notice.
pub fn notice_due(not_after: OffsetDateTime, noticed: Option<u16>, now: OffsetDateTime) -> Option<u16> {
    let left = not_after - now;
    let due = NOTICES.into_iter().rfind(|days| left <= time::Duration::days(i64::from(*days)))?;
    (left >= time::Duration::ZERO && noticed.is_none_or(|before| before > due)).then_some(due)
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    const END: OffsetDateTime = datetime!(2027-03-01 12:00 UTC);

    /// The notices given by checks at these distances from the expiry.
    fn said(looks: impl IntoIterator<Item = Duration>) -> Vec<u16> {
        let mut noticed = None;
        let mut said = Vec::new();
        for left in looks {
            if let Some(days) = notice_due(END, noticed, END - left) {
                noticed = Some(days);
                said.push(days);
            }
        }
        said
    }

    #[test]
    fn each_notice_is_given_once_and_in_time() {
        assert_eq!(said((0..24 * 60).rev().map(Duration::hours)), [30, 15, 7, 1]);
        assert_eq!(said([Duration::days(30) + Duration::SECOND]), Vec::<u16>::new());
        assert_eq!(said([Duration::days(30)]), [30]);
        assert_eq!(said([Duration::ZERO, Duration::ZERO]), [1]);
    }

    #[test]
    fn missed_notices_are_skipped() {
        assert_eq!(said([Duration::days(10), Duration::days(9)]), [15]);
        assert_eq!(said([Duration::hours(3)]), [1]);
    }

    #[test]
    fn no_notice_is_given_after_expiry() {
        assert_eq!(said([-Duration::SECOND]), Vec::<u16>::new());
    }

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
    fn the_detail_has_the_documented_form() {
        let failed = Event::Failed {
            certificate_id: "scs0000000000007".parse().unwrap(),
            device: "bmc-1".parse().unwrap(),
            job_id: JobId(9),
            stage: Stage::CheckConfiguration,
            class: ErrorClass::NotStored,
            message: "It shows another certificate.".to_owned(),
        };
        assert_eq!(
            serde_json::to_value(&failed).unwrap(),
            serde_json::json!({"certificateId": "scs0000000000007", "device": "bmc-1", "jobId": 9, "stage": 900,
                "class": "notStored", "message": "It shows another certificate."})
        );
        let expiring = Event::Expiring {
            certificate_id: "scs0000000000007".parse().unwrap(),
            dn: r"\VED\Policy\Certificates\web".to_owned(),
            not_after: END,
            days: 7,
            devices: 2,
        };
        assert_eq!(
            serde_json::to_value(&expiring).unwrap(),
            serde_json::json!({"certificateId": "scs0000000000007", "dn": r"\VED\Policy\Certificates\web",
                "notAfter": "2027-03-01T12:00:00Z", "days": 7, "devices": 2})
        );
    }
}
