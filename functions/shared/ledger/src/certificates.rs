//! Certificates with their sealed keys.

mod remove;
mod store;

use std::collections::HashMap;

use rootcast_core::deployment::renewal::Life;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::CertificateDn;
use rootcast_core::inventory::id::{CertificateId, policy_dn};
use rootcast_core::inventory::sealed::{SealContext, Sealed};
use rootcast_pki::certificate::{Certificate, as_bytes};
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::Serial;
use rootcast_pki::signer::IssuingId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::remove::RemoveRefused;
pub use self::store::{ClientRequest, StoreRefused};
pub(crate) use self::store::{Holder, name_key};
use crate::issuing::SERIAL;
use crate::item::{Item, from_item, id_key, text};
use crate::{Ledger, LedgerError, Revocation, UseRecord};

/// An imported certificate, or one that our root signed for a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRecord {
    pub id: CertificateId,
    /// The shard of the id: the partition in the lists.
    pub shard: u8,
    /// Incremented by each write.
    pub revision: u64,
    /// Parts separated by backslashes.
    pub folder: String,
    /// Unique within its folder.
    pub name: String,
    #[serde(with = "as_bytes")]
    pub leaf: Certificate,
    /// The leaf's issuer first. Not stored if `issuing` says which one that is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Certificate>,
    /// Of a device's own certificate: the issuing authority that signed it, whose record has the chain. `None` also in records
    /// from before this was kept, which have the chain themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuing: Option<IssuingId>,
    /// Nothing was proven of the chain when it was imported: its end was neither sent nor known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
    /// The private key's PKCS #8 DER, sealed. `None`: the key never left its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Sealed>,
    /// The device that this is the own certificate of; `None`: imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// SHA-256 of the leaf's SubjectPublicKeyInfo.
    pub spki: Fingerprint,
    /// For display: `RSA 2048`, `EC P-256`.
    pub key_algorithm: String,
    /// The leaf's, for display: `SHA256withRSA`.
    pub signature_algorithm: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// DNS names and IP addresses of the SubjectAltName.
    pub names: Vec<String>,
    #[serde(with = "time::serde::timestamp")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
    /// As received: `all`, `0` or 36 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise_project_id: Option<String>,
    /// Devices that have the certificate, or are to get it. It cannot be deleted until this is 0.
    #[serde(default)]
    pub uses: u64,
    /// The lowest number of days before expiry for which an event was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noticed: Option<u16>,
    /// When a device's own certificate is renewed by itself; `None`: never. An index has only certificates with this.
    #[serde(default, with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<OffsetDateTime>,
    /// When that ends which the device was proven to show when this was signed: it shows that until this is installed.
    /// `None`: nothing of ours.
    #[serde(default, with = "time::serde::timestamp::option", skip_serializing_if = "Option::is_none")]
    pub shown_until: Option<OffsetDateTime>,
    /// Set if the leaf was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
    /// The principal that imported or requested it.
    pub imported_by: String,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub updated: OffsetDateTime,
}

/// Placeholder for a device's own certificate until the first one is issued. It reserves the name, and counts the use
/// by the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingCertificate {
    pub id: CertificateId,
    /// Incremented by each write.
    pub revision: u64,
    pub folder: String,
    pub name: String,
    pub device: DeviceId,
    pub uses: u64,
    /// The principal that requested it.
    pub imported_by: String,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
}

/// The record behind a certificate id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateOrPending {
    Certificate(Box<CertificateRecord>),
    Pending(PendingCertificate),
}

/// Index of certificates by the thumbprint of the leaf.
const BY_THUMBPRINT: &str = "by-thumbprint";

/// The attributes of that index.
#[derive(Deserialize)]
struct Indexed {
    id: String,
}

/// What has a certificate with some thumbprint.
#[derive(Debug, Default)]
pub struct ByThumbprint {
    /// Those that hold it: several if it is stored more than once. One that an issuing authority signed is not among them.
    pub certificates: Vec<CertificateId>,
    /// The one under which one of our authorities signed it, whatever became of the certificate's record.
    pub serial: Option<Serial>,
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

    /// The device that this is the own certificate of.
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

    /// Venafi's DN.
    pub fn dn(&self) -> String {
        let (folder, name) = self.place();
        policy_dn(folder, name)
    }
}

impl CertificateRecord {
    /// Venafi's DN.
    pub fn dn(&self) -> String {
        policy_dn(&self.folder, &self.name)
    }

    /// Stored with the record; only indexes read them. What an issuing authority signed is found by its serial number's record.
    pub(crate) fn index_attributes(&self) -> Item {
        if self.issuing.is_some() {
            return Item::new();
        }
        Item::from([("thumbprint".to_owned(), text(self.leaf.thumbprint()))])
    }

    pub const fn life(&self) -> Life {
        Life { not_before: self.not_before, not_after: self.not_after }
    }

    /// Whether its device was proven to show this leaf, and not only an earlier one.
    pub fn is_shown(&self, binding: &UseRecord) -> bool {
        binding.shown == Some(self.leaf.fingerprint())
    }

    /// The validity of what its device shows.
    pub fn shown_life(&self, binding: &UseRecord) -> Life {
        match self.shown_until {
            Some(end) if !self.is_shown(binding) => self.life().ending(end),
            _ => self.life(),
        }
    }

    pub fn seal_context(&self) -> SealContext {
        SealContext::PrivateKey { certificate: self.id, spki: self.spki }
    }
}

fn issued(held: Option<CertificateOrPending>) -> Option<CertificateRecord> {
    match held? {
        CertificateOrPending::Certificate(record) => Some(*record),
        CertificateOrPending::Pending(_) => None,
    }
}

impl Ledger {
    /// `None` also if the certificate was not issued yet. Two calls for a device's own.
    pub async fn certificate(&self, id: CertificateId) -> Result<Option<CertificateRecord>, LedgerError> {
        Ok(issued(self.certificate_or_pending(id).await?))
    }

    /// Like [`Ledger::certificate`], for who does not need the chain, which may be missing. One call.
    pub async fn certificate_alone(&self, id: CertificateId) -> Result<Option<CertificateRecord>, LedgerError> {
        Ok(issued(self.certificate_item(id_key(id)).await?.map(CertificateOrPending::from_item).transpose()?))
    }

    pub async fn certificate_or_pending(&self, id: CertificateId) -> Result<Option<CertificateOrPending>, LedgerError> {
        let mut held = self.certificate_item(id_key(id)).await?.map(CertificateOrPending::from_item).transpose()?;
        if let Some(CertificateOrPending::Certificate(record)) = &mut held
            && let Some(issuing) = record.issuing.filter(|_| record.chain.is_empty())
            && let Some(issuing) = self.issuing(issuing).await?
        {
            record.chain = issuing.chain().cloned().collect();
        }
        Ok(held)
    }

    /// The existing ones among these ids, in no order. Chains may be missing.
    pub async fn certificates_or_pending(
        &self,
        ids: impl IntoIterator<Item = CertificateId>,
    ) -> Result<Vec<CertificateOrPending>, LedgerError> {
        let keys = ids.into_iter().map(id_key).collect();
        let found = self.batch_get_of(self.certificates()?, keys, "BatchGetItem certificates").await?;
        found.into_iter().map(CertificateOrPending::from_item).collect()
    }

    /// The certificates of ours that these devices have, or had last. Two calls a hundred devices.
    pub async fn own_certificates(
        &self,
        devices: impl IntoIterator<Item = &DeviceId>,
    ) -> Result<HashMap<DeviceId, CertificateRecord>, LedgerError> {
        let name = |device: &DeviceId| {
            let dn = CertificateDn::of_device(device);
            name_key(&dn.folder.to_string(), &dn.name.to_string())
        };
        let names = devices.into_iter().map(name).collect();
        let names = self.batch_get_of(self.certificates()?, names, "BatchGetItem names").await?;
        let holder = |item| from_item("name", item).map(|holder: Holder| holder.certificate);
        let ids = names.into_iter().map(holder).collect::<Result<Vec<_>, _>>()?;
        let held = self.certificates_or_pending(ids).await?.into_iter();
        let own = held.filter_map(|held| match held {
            CertificateOrPending::Certificate(held) => Some((held.device.clone()?, *held)),
            CertificateOrPending::Pending(_) => None,
        });
        Ok(own.collect())
    }

    /// What has this [thumbprint](Certificate::thumbprint). The index is eventually consistent.
    pub async fn by_thumbprint(&self, thumbprint: &str) -> Result<ByThumbprint, LedgerError> {
        let query = self.client.query().table_name(self.certificates()?).index_name(BY_THUMBPRINT);
        let query = query.key_condition_expression("thumbprint = :thumbprint");
        let query = query.expression_attribute_values(":thumbprint", text(thumbprint));
        let mut pages = query.into_paginator().items().send();
        let mut found = ByThumbprint::default();
        let corrupt = |source| LedgerError::Corrupt { what: "thumbprint", source };
        while let Some(item) = pages.next().await {
            let Indexed { id } = from_item("certificate", item.map_err(LedgerError::aws("Query by-thumbprint"))?)?;
            match id.strip_prefix(SERIAL) {
                Some(serial) => {
                    found.serial = Some(serial.to_owned().try_into().map_err(|why| corrupt(Box::new(why) as _))?);
                }
                None => found.certificates.push(id.parse().map_err(|why| corrupt(Box::new(why) as _))?),
            }
        }
        Ok(found)
    }

    /// The certificates that have this thumbprint; one that a renewal replaced may be among them. One call, or two.
    pub async fn certificates_with(&self, thumbprint: &str) -> Result<Vec<CertificateId>, LedgerError> {
        let ByThumbprint { mut certificates, serial } = self.by_thumbprint(thumbprint).await?;
        if let Some(serial) = serial {
            certificates.extend(self.serial(serial).await?.map(|signed| signed.certificate));
        }
        Ok(certificates)
    }

    /// The certificate with this DN, compared without case. One call.
    pub async fn certificate_by_dn(&self, dn: &CertificateDn) -> Result<Option<CertificateId>, LedgerError> {
        let item = self.certificate_item(name_key(&dn.folder.to_string(), &dn.name.to_string())).await?;
        item.map(|item| from_item("name", item).map(|holder: Holder| holder.certificate)).transpose()
    }
}
