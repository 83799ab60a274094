//! Certificates with their sealed keys.

mod remove;
mod store;

use rootcast_core::certificate::Certificate;
use rootcast_core::certificate_dn::CertificateDn;
use rootcast_core::certificate_id::{CertificateId, policy_dn};
use rootcast_core::fingerprint::Fingerprint;
use rootcast_core::sealed::{SealContext, Sealed};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::remove::RemoveRefused;
pub use self::store::{ClientRequest, StoreRefused};
use self::store::{Holder, name_key};
use crate::item::from_item;
use crate::{Ledger, LedgerError};

/// A certificate that was made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRecord {
    pub id: CertificateId,
    /// The id's own; the lists' partition.
    pub shelf: u8,
    /// Grows with each write.
    pub revision: u64,
    /// Parts between backslashes.
    pub folder: String,
    /// Unique within its folder.
    pub name: String,
    pub leaf: Certificate,
    /// The leaf's issuer first.
    pub chain: Vec<Certificate>,
    /// The private key's PKCS #8 DER.
    pub key: Sealed,
    /// SHA-256 of the leaf's SubjectPublicKeyInfo.
    pub spki: Fingerprint,
    /// As it is shown: `RSA 2048`, `EC P-256`.
    pub key_algorithm: String,
    /// The leaf's, as it is shown: `SHA256withRSA`.
    pub signature_algorithm: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// DNS names and IP addresses of the SubjectAltName.
    pub names: Vec<String>,
    #[serde(with = "time::serde::timestamp")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
    /// As it was sent: `all`, `0` or 36 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise_project_id: Option<String>,
    /// Devices to which it was brought, or is being brought: while there is one, it is not deleted.
    #[serde(default)]
    pub uses: u64,
    /// The least of the days before expiry for which an event was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noticed: Option<u16>,
    /// The principal that sent it.
    pub imported_by: String,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub updated: OffsetDateTime,
}

impl CertificateRecord {
    /// Venafi's name for it.
    pub fn dn(&self) -> String {
        policy_dn(&self.folder, &self.name)
    }

    pub fn seal_context(&self) -> SealContext {
        SealContext::PrivateKey { certificate: self.id, spki: self.spki }
    }
}

impl Ledger {
    pub async fn certificate(&self, id: CertificateId) -> Result<Option<CertificateRecord>, LedgerError> {
        self.certificate_record("certificate", &id.to_string()).await
    }

    /// Which certificate has this name, in whatever letter case. One call.
    pub async fn certificate_by_dn(&self, dn: &CertificateDn) -> Result<Option<CertificateId>, LedgerError> {
        let answer = self
            .client
            .get_item()
            .table_name(self.certificates()?)
            .set_key(Some(name_key(&dn.folder.to_string(), &dn.name.to_string())))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::aws("GetItem name"))?;
        answer.item.map(|item| from_item("name", item).map(|holder: Holder| holder.certificate)).transpose()
    }
}
