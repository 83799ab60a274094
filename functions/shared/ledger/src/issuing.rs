//! Issuance of certificates by our own authorities for devices: the reservation before the signature, and the result after
//! it.
//!
//! `serial#{hex}` in the certificates table is the record of a serial number. It is written before the signature is
//! requested, so each of our certificates is on record, and no number is used twice.

use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use rootcast_core::audit::Act;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::CertificateDn;
use rootcast_core::inventory::id::CertificateId;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::root::Serial;
use rootcast_pki::signer::SignerId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::commit::{Condition, put, put_of};
use crate::issuing_authorities::issuing_id;
use crate::item::{Item, from_item, id_key, number, text};
use crate::{CertificateOrPending, CertificateRecord, FormerRecord, IssuingRecord, IssuingState, Ledger, LedgerError};

/// What a serial number was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SerialRecord {
    pub certificate: CertificateId,
    pub device: DeviceId,
    /// Who signs or signed.
    #[serde(flatten)]
    pub signer: SignerId,
    /// SHA-256 of the signed certificate; `None`: reserved, and as far as known never used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<Fingerprint>,
    /// SHA-1 of the signed certificate, for an index. `None` also in records from before that index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbprint: Option<String>,
    /// The distinguished name in the signed certificate. `None` also in records from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub at: OffsetDateTime,
}

impl SerialRecord {
    /// The name of the certificate, whatever became of its record.
    pub fn dn(&self) -> String {
        CertificateDn::of_device(&self.device).to_string()
    }
}

/// A position in the list of everything that was signed, newest first: one generation after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPlace {
    generation: u32,
    /// The last row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<(Serial, i64)>,
}

impl SignedPlace {
    /// `None`: no root was ever made.
    pub const fn newest(last_generation: u32) -> Option<Self> {
        if last_generation == 0 { None } else { Some(Self { generation: last_generation, after: None }) }
    }

    /// The generation of the next row.
    pub const fn generation(&self) -> u32 {
        self.generation
    }
}

#[derive(Debug)]
pub struct SignedPage {
    pub rows: Vec<(Serial, SerialRecord)>,
    /// Where the next page starts; `None`: this was the last one.
    pub next: Option<SignedPlace>,
}

/// Index of serial numbers by generation and time. Nothing else has both attributes.
const SIGNED: &str = "signed";

pub(crate) const SERIAL: &str = "serial#";

fn serial_key(serial: Serial) -> Item {
    id_key(format!("{SERIAL}{serial}"))
}

fn serial_of(item: &Item) -> Result<Serial, LedgerError> {
    let id = item.get("id").and_then(|id| id.as_s().ok()).map(String::as_str).unwrap_or_default();
    let text = id.strip_prefix(SERIAL).unwrap_or_default().to_owned();
    text.try_into().map_err(|source| LedgerError::Corrupt { what: "serial", source: Box::new(source) })
}

impl Ledger {
    /// `None`: no root of ours signed a certificate with this number.
    pub async fn serial(&self, serial: Serial) -> Result<Option<SerialRecord>, LedgerError> {
        self.certificate_item(serial_key(serial)).await?.map(|item| from_item("serial", item)).transpose()
    }

    /// At most `limit` serial numbers of one generation: what was ever signed or reserved, newest first. One call. The
    /// index is eventually consistent.
    pub async fn signed(&self, place: SignedPlace, limit: u32) -> Result<SignedPage, LedgerError> {
        let SignedPlace { generation, after } = place;
        let start = after.map(|(serial, at)| {
            let mut key = serial_key(serial);
            key.extend([("generation".to_owned(), number(generation)), ("at".to_owned(), number(at))]);
            key
        });
        let query = self.client.query().table_name(self.certificates()?).index_name(SIGNED);
        let query = query.key_condition_expression("#generation = :generation").scan_index_forward(false);
        let query = query.expression_attribute_names("#generation", "generation");
        let query = query.expression_attribute_values(":generation", number(generation));
        let query = query.limit(i32::try_from(limit).unwrap_or(i32::MAX)).set_exclusive_start_key(start);
        let answer = query.send().await.map_err(LedgerError::aws("Query signed"))?;
        let row = |item: Item| Ok((serial_of(&item)?, from_item::<SerialRecord>("serial", item)?));
        let more = answer.last_evaluated_key.is_some();
        let rows: Vec<_> = answer.items.unwrap_or_default().into_iter().map(row).collect::<Result<_, LedgerError>>()?;
        let next = match rows.last().filter(|_| more) {
            Some((serial, last)) => Some(SignedPlace { generation, after: Some((*serial, last.at.unix_timestamp())) }),
            None => SignedPlace::newest(generation.saturating_sub(1)),
        };
        Ok(SignedPage { rows, next })
    }

    /// Records the serial number of a reservation, which [`Ledger::save_use`] has recorded. Each by itself, which costs half of
    /// one transaction: whoever finds a reservation without its number calls this again. One call; two if it was recorded
    /// before.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the number is taken.
    pub async fn note_serial(&self, serial: Serial, record: &SerialRecord) -> Result<(), LedgerError> {
        let absent = Some(Condition::absent("id"));
        let put = put_of(self.certificates()?, "serial", record, serial_key(serial), absent)?;
        match self.put_alone(put, "PutItem serial").await {
            Err(LedgerError::Conflict) => {
                let is_its =
                    |known: &SerialRecord| (known.certificate, known.signer) == (record.certificate, record.signer);
                self.serial(serial).await?.filter(is_its).map(|_| ()).ok_or(LedgerError::Conflict)
            }
            noted => noted,
        }
    }

    /// The record that an issued certificate replaces. Read together with the record of its signer, so that nothing is
    /// stored of an issuing authority that was revoked while it signed. One call. A check in the transaction that
    /// stores the certificate would be as good and cost more: two write units, and concurrent transactions that check
    /// the same item get into each other's way. What is stored in the moment after this read is revoked like what was
    /// stored before it: the conductor's last round begins when whoever read this is dead.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if the certificate was deleted, or its signer revoked.
    pub async fn to_be_issued(
        &self,
        certificate: CertificateId,
        signer: SignerId,
    ) -> Result<CertificateOrPending, LedgerError> {
        let Some(issuing) = signer.issuing() else {
            return self.certificate_or_pending(certificate).await?.ok_or(LedgerError::Conflict);
        };
        let issuing = issuing_id(issuing);
        let keys = vec![id_key(certificate), id_key(issuing.as_str())];
        let found = self.batch_get_of(self.certificates()?, keys, "BatchGetItem certificate and signer").await?;
        let is_signer = |item: &Item| item.get("id").and_then(|id| id.as_s().ok()) == Some(&issuing);
        let (signers, certificates): (Vec<_>, Vec<_>) = found.into_iter().partition(is_signer);
        let signer = signers.into_iter().next().ok_or(LedgerError::Conflict)?;
        if from_item::<IssuingRecord>("issuing authority", signer)?.state == IssuingState::Revoked {
            return Err(LedgerError::Conflict);
        }
        CertificateOrPending::from_item(certificates.into_iter().next().ok_or(LedgerError::Conflict)?)
    }

    /// Records the signed certificate, in one transaction: its record replaces `there`, as it was read; the serial
    /// number gets the certificate's fingerprint; and what it replaces is kept for its revocation. `act`: for the
    /// certificate's audit chain. The binding goes on afterwards, by itself, which costs half: whoever finds it behind sees
    /// from the serial number in the certificate's record that it was signed.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if any of these has changed since it was read: the certificate was issued
    /// concurrently, or deleted.
    pub async fn issue(
        &self,
        record: &CertificateRecord,
        there: &CertificateOrPending,
        serial: Serial,
        act: &Act,
    ) -> Result<(), LedgerError> {
        let read = match there {
            CertificateOrPending::Certificate(before) => before.revision,
            CertificateOrPending::Pending(place) => place.revision,
        };
        let mut record = CertificateRecord { revision: read + 1, ..record.clone() };
        if record.issuing.is_some() {
            record.chain.clear();
        }
        let condition = Some(Condition::as_read(read, "id"));
        let mut writes = vec![
            put(self.certificates()?, "certificate", &record, record.index_attributes(), condition)?,
            self.sign_serial(serial, &record.leaf)?,
        ];
        if let CertificateOrPending::Certificate(before) = there {
            writes.extend(self.uncount_leaf(before).await?);
            if let Some(former) = FormerRecord::of(before, record.leaf.fingerprint(), record.updated) {
                writes.push(self.put_former(&former)?);
            }
        }
        if matches!(there, CertificateOrPending::Pending(_)) {
            writes.push(self.count_listed(record.id, &record.folder, 1, record.updated)?);
        }
        self.transact_audited(writes, std::slice::from_ref(act)).await
    }

    fn sign_serial(&self, serial: Serial, leaf: &Certificate) -> Result<TransactWriteItem, LedgerError> {
        let update = Update::builder()
            .table_name(self.certificates()?)
            .set_key(Some(serial_key(serial)))
            .update_expression("SET leaf = :leaf, thumbprint = :thumbprint, #subject = :subject")
            .condition_expression("attribute_exists(id) AND attribute_not_exists(leaf)")
            .expression_attribute_values(":leaf", text(leaf.fingerprint()))
            .expression_attribute_values(":thumbprint", text(leaf.thumbprint()))
            .expression_attribute_names("#subject", "subject")
            .expression_attribute_values(":subject", text(leaf.subject_dn()))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "serial", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}
