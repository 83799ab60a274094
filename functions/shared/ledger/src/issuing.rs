//! Certificates that our own roots sign for devices: what was reserved before the signature, and what follows it.
//!
//! `serial#{hex}` in the certificates table is a serial number's own record. It is there before the signature is asked
//! for, so there is no certificate of ours that is not on record, and a number is never used twice.

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

/// What a serial number was given to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SerialRecord {
    pub certificate: CertificateId,
    pub device: DeviceId,
    /// The root that signs, or signed.
    pub generation: u32,
    /// SHA-256 of the signed certificate; `None`: it was reserved, and never used as far as anybody knows.
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
    /// `None`: no root of ours signed a certificate of this number.
    pub async fn serial(&self, serial: Serial) -> Result<Option<SerialRecord>, LedgerError> {
        self.certificate_item(serial_key(serial)).await?.map(|item| from_item("serial", item)).transpose()
    }

    /// The intent to sign, in one transaction: `binding` with what is to be signed and its stage, and the serial number.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where the use is not as it was read, or the number was given before.
    pub async fn reserve(&self, binding: &UseRecord, serial: Serial, record: &SerialRecord) -> Result<(), LedgerError> {
        let absent = Some(Condition::absent("id"));
        let writes =
            vec![self.put_use(binding)?, put(self.certificates()?, "serial", record, serial_key(serial), absent)?];
        self.transact(writes).await
    }

    /// The certificate is signed, in one transaction: its record takes the place of what was `there`, as it was read;
    /// the serial number says which certificate it became; and `binding` goes on. `act`: for the certificate's audit chain.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where any of it is not as it was read. Somebody else issued it meanwhile, or it was
    /// deleted.
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
        self.transact_audited(writes, act).await
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
