//! Which device an address belongs to: a claim, in the jobs table under the address. One device under two ids would be
//! visited twice, and a proof of the one would be no proof of the other.
//!
//! A claim costs two write units when a device is enrolled or deleted, and four when it moves. It counts only while its
//! device is there and has the address: one that a restore left behind is removed by whoever meets it. A device that was
//! enrolled before there were claims has none until its address is edited, or [`Ledger::restore_fleet`] makes it.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use rootcast_core::device::{DeviceId, Incarnation, place};
use serde::{Deserialize, Serialize};

use super::DeviceRecord;
use crate::commit::{Condition, put};
use crate::item::{Item, from_item, job_key, number, text};
use crate::{Ledger, LedgerError};

const PREFIX: &str = "address#";

#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    #[serde(skip_serializing)]
    pk: String,
    claimant: DeviceId,
    /// Of its device when it was made.
    incarnation: Incarnation,
    revision: u64,
}

fn claimed_by(device: &DeviceRecord) -> String {
    format!("{PREFIX}{}", place(&device.address, device.profile, device.slot.as_ref()))
}

fn key(claim: &str) -> Item {
    job_key(claim, "claim")
}

impl Ledger {
    /// Other devices that have the address of one of these: by the latter's id.
    pub async fn claimants(
        &self,
        devices: impl IntoIterator<Item = &DeviceRecord>,
    ) -> Result<HashMap<DeviceId, DeviceId>, LedgerError> {
        let wanted: Vec<(String, &DeviceId)> =
            devices.into_iter().map(|device| (claimed_by(device), &device.id)).collect();
        let held = self.holders(wanted.iter().map(|(claim, id)| (claim.as_str(), *id))).await?;
        let others = wanted.into_iter().filter_map(|(claim, id)| Some((id.clone(), held.get(&claim)?.clone())));
        Ok(others.filter(|(id, holder)| id != holder).collect())
    }

    /// Who holds these claims, each wanted by a device. A claim of another device that is gone, or has another address by
    /// now, is removed. One call a hundred, and one for the devices if others hold any.
    async fn holders<'a>(
        &self,
        wanted: impl Iterator<Item = (&'a str, &'a DeviceId)>,
    ) -> Result<HashMap<String, DeviceId>, LedgerError> {
        let wanted: HashMap<&str, &DeviceId> = wanted.collect();
        let found = self.batch_get(wanted.keys().map(|claim| key(claim)).collect(), "BatchGetItem claims").await?;
        let claims = found.into_iter().map(|item| from_item::<Claim>("claim", item));
        let claims = claims.collect::<Result<Vec<_>, LedgerError>>()?;
        let is_of_another = |claim: &&Claim| wanted.get(claim.pk.as_str()).is_some_and(|own| **own != claim.claimant);
        let devices = self.devices_by_id(claims.iter().filter(is_of_another).map(|claim| &claim.claimant)).await?;
        let mut held = HashMap::new();
        for claim in claims {
            let counts = || devices.get(&claim.claimant).is_some_and(|device| claimed_by(device) == claim.pk);
            if is_of_another(&&claim) && !counts() {
                self.remove_stale(&claim).await?;
            } else {
                held.insert(claim.pk, claim.claimant);
            }
        }
        Ok(held)
    }

    /// As it was read: a claim that its device has made anew meanwhile is another one.
    async fn remove_stale(&self, claim: &Claim) -> Result<(), LedgerError> {
        let delete = self.client.delete_item().table_name(self.jobs()?).set_key(Some(key(&claim.pk)));
        let delete = delete
            .condition_expression("claimant = :claimant AND incarnation = :incarnation AND #revision = :revision")
            .expression_attribute_names("#revision", "revision")
            .expression_attribute_values(":claimant", text(claim.claimant.as_str()))
            .expression_attribute_values(":incarnation", text(claim.incarnation.to_string()))
            .expression_attribute_values(":revision", number(claim.revision));
        match delete.send().await {
            // The caller's own write finds out what there is now.
            Err(error) if error.as_service_error().is_some_and(|why| why.is_conditional_check_failed_exception()) => {
                Ok(())
            }
            deleted => deleted.map(|_| ()).map_err(LedgerError::aws("DeleteItem claim")),
        }
    }

    /// Refused if another device has the address; a repetition is not.
    pub(crate) fn put_claim(&self, device: &DeviceRecord) -> Result<TransactWriteItem, LedgerError> {
        let DeviceRecord { id, incarnation, revision, .. } = device;
        let claim =
            Claim { pk: claimed_by(device), claimant: id.clone(), incarnation: *incarnation, revision: *revision };
        let condition = Condition {
            expression: "attribute_not_exists(pk) OR claimant = :own".to_owned(),
            names: None,
            values: Some(HashMap::from([(":own".to_owned(), text(device.id.as_str()))])),
        };
        put(self.jobs()?, "claim", &claim, key(&claim.pk), Some(condition))
    }

    /// Those of these devices whose address nobody has claimed; of two with the same address, one.
    pub(crate) async fn unclaimed<'a>(
        &self,
        devices: &'a [DeviceRecord],
    ) -> Result<Vec<&'a DeviceRecord>, LedgerError> {
        let of_claim: HashMap<String, &DeviceRecord> =
            devices.iter().map(|device| (claimed_by(device), device)).collect();
        let held = self.holders(of_claim.iter().map(|(claim, device)| (claim.as_str(), &device.id))).await?;
        Ok(of_claim.into_iter().filter(|(claim, _)| !held.contains_key(claim)).map(|(_, device)| device).collect())
    }

    /// What an edit, or a deletion, does to the device's claim: nothing, if its address stays.
    ///
    /// # Errors
    /// [`LedgerError::Claimed`].
    pub(super) async fn move_claim(
        &self,
        before: &DeviceRecord,
        after: Option<&DeviceRecord>,
    ) -> Result<Vec<TransactWriteItem>, LedgerError> {
        let (old, new) = (claimed_by(before), after.map(claimed_by));
        if new.as_ref() == Some(&old) {
            return Ok(Vec::new());
        }
        let held = self.holders([&old].into_iter().chain(&new).map(|claim| (claim.as_str(), &before.id))).await?;
        let mut writes = Vec::new();
        if held.get(&old) == Some(&before.id) {
            writes.push(self.drop_claim(&old, &before.id)?);
        }
        if let (Some(after), Some(new)) = (after, new) {
            if let Some(by) = held.get(&new).filter(|by| **by != before.id) {
                return Err(LedgerError::Claimed { by: by.clone() });
            }
            writes.push(self.put_claim(after)?);
        }
        Ok(writes)
    }

    fn drop_claim(&self, claim: &str, own: &DeviceId) -> Result<TransactWriteItem, LedgerError> {
        let delete = Delete::builder()
            .table_name(self.jobs()?)
            .set_key(Some(key(claim)))
            .condition_expression("claimant = :own")
            .expression_attribute_values(":own", text(own.as_str()))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "claim", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}
