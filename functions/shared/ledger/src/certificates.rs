//! Certificates with their sealed keys.

mod remove;
mod store;

use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::CertificateDn;
use rootcast_core::inventory::id::{CertificateId, policy_dn};
use rootcast_core::inventory::sealed::{SealContext, Sealed};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::remove::RemoveRefused;
pub use self::store::{ClientRequest, StoreRefused};
use self::store::{Holder, name_key};
use crate::item::{Item, from_item, id_key, text};
use crate::{Ledger, LedgerError, Revocation};

/// A certificate that was made elsewhere, or that a root of ours signed for a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRecord {
    pub id: CertificateId,
    /// The id's own; the lists' partition.
    pub shard: u8,
    /// Grows with each write.
    pub revision: u64,
    /// Parts between backslashes.
    pub folder: String,
    /// Unique within its folder.
    pub name: String,
    pub leaf: Certificate,
    /// The leaf's issuer first.
    pub chain: Vec<Certificate>,
    /// The private key's PKCS #8 DER. `None`: it never left its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Sealed>,
    /// Whose own it is; `None`: it was made elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
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
    /// The leaf ended before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
    /// The principal that sent it, or had it made.
    pub imported_by: String,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub updated: OffsetDateTime,
}

/// The place of a device's own certificate until it is issued for the first time: its name is taken, and its use of the
/// device is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingCertificate {
    pub id: CertificateId,
    /// Grows with each write.
    pub revision: u64,
    pub folder: String,
    pub name: String,
    pub device: DeviceId,
    pub uses: u64,
    /// The principal that had it made.
    pub imported_by: String,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
}

/// What has a certificate's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateOrPending {
    Certificate(Box<CertificateRecord>),
    Pending(PendingCertificate),
}

/// The index of certificates by the thumbprint of their leaf.
const BY_THUMBPRINT: &str = "by-thumbprint";

/// What that index has.
#[derive(Deserialize)]
struct Indexed {
    id: CertificateId,
}

impl CertificateOrPending {
    pub(crate) fn from_item(item: Item) -> Result<Self, LedgerError> {
        if item.contains_key("leaf") {
            return from_item("certificate", item).map(Box::new).map(Self::Certificate);
        }
        from_item("certificate's place", item).map(Self::Pending)
    }

    pub const fn id(&self) -> CertificateId {
        match self {
            Self::Certificate(record) => record.id,
            Self::Pending(place) => place.id,
        }
    }

    /// Folder and name.
    pub fn place(&self) -> (&str, &str) {
        match self {
            Self::Certificate(record) => (&record.folder, &record.name),
            Self::Pending(pending) => (&pending.folder, &pending.name),
        }
    }

    /// Whose own it is.
    pub fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::Certificate(record) => record.device.as_ref(),
            Self::Pending(place) => Some(&place.device),
        }
    }

    pub fn revoked(&self) -> Option<&Revocation> {
        match self {
            Self::Certificate(record) => record.revoked.as_ref(),
            Self::Pending(_) => None,
        }
    }

    /// Venafi's name for it.
    pub fn dn(&self) -> String {
        let (folder, name) = self.place();
        policy_dn(folder, name)
    }
}

impl CertificateRecord {
    /// Venafi's name for it.
    pub fn dn(&self) -> String {
        policy_dn(&self.folder, &self.name)
    }

    /// Written with the record, and read by an index alone.
    pub(crate) fn index_attributes(&self) -> Item {
        Item::from([("thumbprint".to_owned(), text(self.leaf.thumbprint()))])
    }

    pub fn seal_context(&self) -> SealContext {
        SealContext::PrivateKey { certificate: self.id, spki: self.spki }
    }
}

impl Ledger {
    /// `None` as well where it was not issued yet.
    pub async fn certificate(&self, id: CertificateId) -> Result<Option<CertificateRecord>, LedgerError> {
        Ok(match self.certificate_or_pending(id).await? {
            Some(CertificateOrPending::Certificate(record)) => Some(*record),
            Some(CertificateOrPending::Pending(_)) | None => None,
        })
    }

    pub async fn certificate_or_pending(&self, id: CertificateId) -> Result<Option<CertificateOrPending>, LedgerError> {
        self.certificate_item(id_key(id)).await?.map(CertificateOrPending::from_item).transpose()
    }

    /// Those of some ids that there are, in no order.
    pub async fn certificates_or_pending(
        &self,
        ids: impl IntoIterator<Item = CertificateId>,
    ) -> Result<Vec<CertificateOrPending>, LedgerError> {
        let keys = ids.into_iter().map(id_key).collect();
        let found = self.batch_get_of(self.certificates()?, keys, "BatchGetItem certificates").await?;
        found.into_iter().map(CertificateOrPending::from_item).collect()
    }

    /// Certificates whose leaf has this [thumbprint](Certificate::thumbprint): one, but for copies. The index follows
    /// within moments.
    pub async fn certificates_by_thumbprint(&self, thumbprint: &str) -> Result<Vec<CertificateId>, LedgerError> {
        let query = self.client.query().table_name(self.certificates()?).index_name(BY_THUMBPRINT);
        let query = query.key_condition_expression("thumbprint = :thumbprint");
        let query = query.expression_attribute_values(":thumbprint", text(thumbprint));
        let mut pages = query.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(item) = pages.next().await {
            let Indexed { id } = from_item("certificate", item.map_err(LedgerError::aws("Query by-thumbprint"))?)?;
            found.push(id);
        }
        Ok(found)
    }

    /// Which certificate has this name, in whatever letter case. One call.
    pub async fn certificate_by_dn(&self, dn: &CertificateDn) -> Result<Option<CertificateId>, LedgerError> {
        let item = self.certificate_item(name_key(&dn.folder.to_string(), &dn.name.to_string())).await?;
        item.map(|item| from_item("name", item).map(|holder: Holder| holder.certificate)).transpose()
    }
}
