//! Issuance of certificates by our own roots for devices: the reservation before the signature, and the result after
//! it.
//!
//! `serial#{hex}` in the certificates table is the record of a serial number. It is written before the signature is
//! requested, so each of our certificates is on record, and no number is used twice.

use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use rootcast_core::audit::Act;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::id::CertificateId;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::Serial;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::commit::{Condition, put};
use crate::item::{Item, from_item, id_key, text};
use crate::{CertificateOrPending, CertificateRecord, Ledger, LedgerError, UseRecord};

/// What a serial number was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SerialRecord {
    pub certificate: CertificateId,
    pub device: DeviceId,
    /// The root that signs or signed.
    pub generation: u32,
    /// SHA-256 of the signed certificate; `None`: reserved, and as far as known never used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<Fingerprint>,
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

fn serial_key(serial: Serial) -> Item {
    id_key(format!("serial#{serial}"))
}

impl Ledger {
    /// `None`: no root of ours signed a certificate with this number.
    pub async fn serial(&self, serial: Serial) -> Result<Option<SerialRecord>, LedgerError> {
        self.certificate_item(serial_key(serial)).await?.map(|item| from_item("serial", item)).transpose()
    }

    /// Records the intent to sign, in one transaction: the serial number, and `binding` with its stage and what is to
    /// be signed.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the use has changed since it was read, or the number is taken.
    pub async fn reserve(&self, binding: &UseRecord, serial: Serial, record: &SerialRecord) -> Result<(), LedgerError> {
        let absent = Some(Condition::absent("id"));
        let writes =
            vec![self.put_use(binding)?, put(self.certificates()?, "serial", record, serial_key(serial), absent)?];
        self.transact(writes).await
    }

    /// Records the signed certificate, in one transaction: its record replaces `there`, as it was read; the serial
    /// number gets the certificate's fingerprint; and `binding` goes to its next stage. `act`: for the certificate's
    /// audit chain.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if any of these has changed since it was read: the certificate was issued
    /// concurrently, or deleted.
    pub async fn issue(
        &self,
        record: &CertificateRecord,
        there: &CertificateOrPending,
        serial: Serial,
        binding: &UseRecord,
        act: &Act,
    ) -> Result<(), LedgerError> {
        let read = match there {
            CertificateOrPending::Certificate(before) => before.revision,
            CertificateOrPending::Pending(place) => place.revision,
        };
        let record = CertificateRecord { revision: read + 1, ..record.clone() };
        let condition = Some(Condition::as_read(read, "id"));
        let mut writes = vec![
            put(self.certificates()?, "certificate", &record, record.index_attributes(), condition)?,
            self.count_leaf(&record, false)?,
            self.sign_serial(serial, record.leaf.fingerprint())?,
            self.put_use(binding)?,
        ];
        if let CertificateOrPending::Certificate(before) = there {
            writes.push(self.uncount_leaf(before).await?);
        }
        self.transact_audited(writes, std::slice::from_ref(act)).await
    }

    fn sign_serial(&self, serial: Serial, leaf: Fingerprint) -> Result<TransactWriteItem, LedgerError> {
        let update = Update::builder()
            .table_name(self.certificates()?)
            .set_key(Some(serial_key(serial)))
            .update_expression("SET leaf = :leaf")
            .condition_expression("attribute_exists(id) AND attribute_not_exists(leaf)")
            .expression_attribute_values(":leaf", text(leaf))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "serial", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}
