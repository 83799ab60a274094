//! Roots, and the devices' own certificates.

use rootcast_core::anchors::{AnchorId, AnchorState};
use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::JobId;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::IssuingState;
use rootcast_pki::crl::Reason;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::Serial;
use serde::{Deserialize, Serialize};

use super::{Past, Visits};

/// `GET /signingCertificate/details`. Source:
/// <https://pubs.lenovo.com/lxca_scripting/rest_api_signingcertificate_details_get>; the attributes after `notAfter`
/// are our own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Root {
    /// PEM.
    pub certificate: String,
    pub issuer_dn: String,
    pub subject_dn: String,
    pub serial_number: String,
    pub signature_algorithm: String,
    pub not_before: String,
    pub not_after: String,
    pub generation: u32,
    pub state: GenerationState,
    /// The authorities below it that sign devices' certificates, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuing_authorities: Vec<IssuingAuthority>,
    /// Its key, signed by the root before; PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_with_old: Option<String>,
    /// The key of the root before, signed by this one; PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_with_new: Option<String>,
    /// What comes next for it, and when, in a sentence.
    #[serde(default)]
    pub comes_next: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compromised: Option<CompromisedRoot>,
    /// Of a retired root: when KMS deletes its key. Absent if the key is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_deletion: Option<String>,
    /// Valid certificates below a root that left the devices, as far as they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_certificates: Option<u64>,
    /// The current or failed step, by Venafi's stage numbers; `null` since the activation.
    pub stage: Option<Stage>,
    pub in_error: bool,
    /// A sentence.
    pub status: String,
    pub history: Vec<Past>,
}

/// Somebody else may have the root's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompromisedRoot {
    pub at: String,
    /// The principal that said so.
    pub by: String,
    /// Certificates below it that are revoked for that.
    pub certificates_revoked: u64,
    /// Whether all of them are.
    pub is_done: bool,
}

/// `GET /trustedCertificates`. Source: <https://pubs.lenovo.com/lxca_scripting/rest_api_trustedcertificates_get>; the
/// attributes after `subjectDn` are our own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trusted {
    /// PEM.
    pub certificate: String,
    /// A decimal number.
    #[serde(with = "as_string")]
    pub id: AnchorId,
    pub issuer_dn: String,
    pub not_after: String,
    pub not_before: String,
    pub serial_number: String,
    pub signature_algorithm: String,
    pub subject_dn: String,
    /// SHA-256 of the DER.
    pub fingerprint: Fingerprint,
    pub state: AnchorState,
    /// A sentence.
    pub status: String,
    /// Of the job that adds or removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_path: Option<String>,
    pub added: String,
}

/// The vendor's ids are strings.
mod as_string {
    use rootcast_core::anchors::AnchorId;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(id: &AnchorId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AnchorId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// An issuing authority in the row of its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuingAuthority {
    /// Like `2.1`: the generation of its root, and its number below that root.
    pub id: String,
    pub state: IssuingState,
    pub subject_dn: String,
    pub serial_number: String,
    pub not_before: String,
    pub not_after: String,
    /// PEM.
    pub certificate: String,
}

/// `GET /issuingAuthorities`: an issuing authority below one of our roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issuing {
    /// Like 2.1: the first one below root generation 2.
    pub id: String,
    pub generation: u32,
    pub state: IssuingState,
    /// What follows, in a sentence.
    pub status: String,
    /// PEM; absent while it is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What follows its certificate in a chain; PEM.
    #[serde(default)]
    pub chain: Vec<String>,
    pub serial_number: Serial,
    pub not_before: String,
    pub not_after: String,
    pub created: String,
    /// When the next one is made. `None`: this one does not sign, or ends with its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<RevokedIssuing>,
}

/// How far a compromise is dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevokedIssuing {
    pub at: String,
    pub reason: Reason,
    pub by: String,
    /// Certificates of devices that were revoked, and renewals that were asked for.
    pub certificates_revoked: u64,
    pub renewals: u64,
    /// Devices that could not have one because a job works on them, or because they are not approved.
    #[serde(default)]
    pub devices_busy: u64,
    #[serde(default)]
    pub devices_unapproved: u64,
    pub is_done: bool,
}

/// `GET /devices/{id}/certificate`: a device's own certificate and its processing state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnCertificate {
    pub id: CertificateId,
    pub dn: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Issued>,
    /// The current or failed step, by Venafi's stage numbers; `null` if there is nothing to do.
    pub stage: Option<Stage>,
    pub in_error: bool,
    /// A sentence.
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Of work under way: failed visits to the device so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<Visits>,
    pub history: Vec<Past>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// Starts with the leaf's issuer; PEM.
    pub chain: Vec<String>,
    pub subject_dn: String,
    pub names: Vec<String>,
    pub serial_number: String,
    pub not_before: String,
    pub not_after: String,
}

/// `GET /certificates/signed`: a certificate that one of our authorities signed, whatever became of its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signed {
    pub serial: Serial,
    pub state: SignedState,
    pub dn: String,
    /// `None` if nothing was signed, or by an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub device: DeviceId,
    pub certificate: CertificateId,
    /// The root that signed it, or of the issuing authority that did.
    pub generation: u32,
    /// `2` for a root, `2.1` for an issuing authority below it.
    pub signer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Fingerprint>,
    /// SHA-1; `None` as for the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbprint: Option<String>,
    pub signed: String,
    pub not_after: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SignedState {
    /// The number is taken; as far as known, nothing was signed with it.
    Reserved,
    Valid,
    Expired,
    Revoked,
}

/// `POST /certificates/revocation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    pub serial: Serial,
    pub dn: String,
    pub certificate: CertificateId,
    /// False if it was revoked before, for this reason or a stronger one.
    pub requested: bool,
    pub reason: Reason,
    pub revoked: String,
    /// The path of the list that names it.
    pub list: String,
    /// Serial numbers of what its renewals replaced, revoked with it: only where it was named by its certificate's id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formers: Vec<Serial>,
}
