//! Roots, and the devices' own certificates.

use rootcast_core::deployment::lifecycle::Stage;
use rootcast_core::inventory::id::CertificateId;
use rootcast_core::job::JobId;
use rootcast_core::rollover::generation::GenerationState;
use serde::{Deserialize, Serialize};

use super::Past;

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
    /// The current or failed step, by Venafi's stage numbers; `null` since the activation.
    pub stage: Option<Stage>,
    pub in_error: bool,
    /// A sentence.
    pub status: String,
    pub history: Vec<Past>,
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
