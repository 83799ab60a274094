//! Devices that are deleted, with what they leave to be revoked.

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::CertificateDn;
use time::OffsetDateTime;

use super::claims::leaving_as_read;
use super::{ATTEMPTS, DeviceRecord, Editor, told};
use crate::fleet::FleetChange;
use crate::item::{id_key, number};
use crate::{EndedRecord, Ledger, LedgerError};

impl Ledger {
    /// Deletes a device with its uses, and decrements the counts of its certificates. A running rollover records the
    /// departure. Returns what has to be revoked of the device's own certificate, which is recorded in the same
    /// transaction.
    ///
    /// # Errors
    /// [`LedgerError::Visited`]; [`LedgerError::Conflict`] if the device keeps changing; [`LedgerError::Awaited`];
    /// [`LedgerError::Certified`].
    pub async fn delete_device(
        &self,
        id: &DeviceId,
        editor: Editor<'_>,
        now: OffsetDateTime,
    ) -> Result<Option<EndedRecord>, LedgerError> {
        for _ in 0..ATTEMPTS {
            let Some(device) = self.device(id).await? else { return Ok(None) };
            device.refuse_while_visited(now)?;
            let mut act = told::deleted(&device, editor, now);
            let mut writes = vec![self.delete_as_read(&device, now)?];
            writes.extend(self.move_claim(&device, None, now).await?.writes);
            if device.approved_version().is_some() {
                let authority = self.authority().await?;
                writes.extend(self.change_fleet([FleetChange::between(Some(&device), None, &device.id)], None)?);
                writes.push(authority.demand_as_read(self.certificates()?)?);
                if let (Some(departure), Some(job)) =
                    (self.leaving(&device, None, &authority, editor, now).await?, authority.running)
                {
                    writes.push(departure);
                    act = act.with("left", job);
                }
            }
            for binding in &self.uses_of_devices([&device]).await? {
                writes.push(self.drop_use(binding)?);
                writes.push(self.count_uses(binding.certificate, -1)?);
            }
            // Read after the uses: a certificate that is issued meanwhile changes the use, and then nothing is written.
            let ended = self.own_ending(id, editor, now).await?;
            writes.extend(ended.as_ref().map(|ended| self.put_ended(ended)).transpose()?);
            match self.transact_audited(writes, &[act]).await {
                Err(LedgerError::Conflict) => {}
                deleted => {
                    deleted?;
                    self.device_written(Some(&device), None, editor.name);
                    return Ok(ended);
                }
            }
        }
        Err(LedgerError::Conflict)
    }

    /// What has to be revoked of a device's own certificate. Three calls, or one if it never had one.
    async fn own_ending(
        &self,
        id: &DeviceId,
        editor: Editor<'_>,
        now: OffsetDateTime,
    ) -> Result<Option<EndedRecord>, LedgerError> {
        let Some(certificate) = self.certificate_by_dn(&CertificateDn::of_device(id)).await? else { return Ok(None) };
        let held = self.certificate_alone(certificate).await?.filter(|record| record.device.as_ref() == Some(id));
        let ended = match held {
            Some(record) => self.ending(&record, editor.name, now).await?,
            None => None,
        };
        match ended {
            Some(_) if !editor.may_revoke => Err(LedgerError::Certified { device: id.clone() }),
            ended => Ok(ended),
        }
    }

    fn delete_as_read(&self, device: &DeviceRecord, now: OffsetDateTime) -> Result<TransactWriteItem, LedgerError> {
        let (leaves, since) = leaving_as_read(device);
        let values =
            [(":read", Some(number(device.revision))), (":now", Some(number(now.unix_timestamp()))), (":since", since)];
        let values = values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let delete = Delete::builder()
            .table_name(self.devices()?)
            .set_key(Some(id_key(device.id.as_str())))
            .condition_expression(format!("#revision = :read AND {leaves}"))
            .expression_attribute_names("#revision", "revision")
            .expression_attribute_names("#until", "until")
            .set_expression_attribute_values(Some(values.collect()))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "device", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}
