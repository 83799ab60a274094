//! Which device an address belongs to: a claim, in the devices' table under the address. One device under two ids would
//! be visited twice, and a proof of the one would be no proof of the other.
//!
//! A claim costs two write units when a device is enrolled or deleted, and four when it moves. A device that was enrolled
//! before there were claims has none until its address is edited.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{Delete, TransactWriteItem};
use rootcast_core::device::DeviceId;
use serde::{Deserialize, Serialize};

use super::DeviceRecord;
use crate::commit::{Condition, put};
use crate::item::{Item, from_item, id_key, text};
use crate::{Ledger, LedgerError};

/// No id of a device contains a tilde.
const PREFIX: &str = "~address#";
/// What a claim has and a device has not, as a filter.
pub(crate) const NO_CLAIM: &str = "attribute_not_exists(claimant)";

#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    id: String,
    claimant: DeviceId,
}

/// A claim's id. With different trust slots, an address may be of several devices.
fn claimed_by(device: &DeviceRecord) -> String {
    let slot = device.slot.as_ref().map(|slot| format!("#{slot}")).unwrap_or_default();
    format!("{PREFIX}{}{slot}", device.address.canonical())
}

pub(crate) fn is_claim(item: &Item) -> bool {
    item.get("id").and_then(|id| id.as_s().ok()).is_some_and(|id| id.starts_with(PREFIX))
}

impl Ledger {
    /// Other devices that have the address of one of these: by the latter's id.
    pub async fn claimants(
        &self,
        devices: impl IntoIterator<Item = &DeviceRecord>,
    ) -> Result<HashMap<DeviceId, DeviceId>, LedgerError> {
        let wanted: Vec<(String, &DeviceId)> =
            devices.into_iter().map(|device| (claimed_by(device), &device.id)).collect();
        let held = self.claims(wanted.iter().map(|(claim, _)| claim.as_str())).await?;
        let others = wanted.into_iter().filter_map(|(claim, id)| Some((id.clone(), held.get(&claim)?.clone())));
        Ok(others.filter(|(id, holder)| id != holder).collect())
    }

    async fn claims(&self, ids: impl Iterator<Item = &str>) -> Result<HashMap<String, DeviceId>, LedgerError> {
        let found = self.batch_get_of(self.devices()?, ids.map(id_key).collect(), "BatchGetItem claims").await?;
        let claims = found.into_iter().map(|item| from_item::<Claim>("claim", item));
        claims.map(|claim| claim.map(|claim| (claim.id, claim.claimant))).collect()
    }

    /// Refused if another device has the address; a repetition is not.
    pub(super) fn put_claim(&self, device: &DeviceRecord) -> Result<TransactWriteItem, LedgerError> {
        let claim = Claim { id: claimed_by(device), claimant: device.id.clone() };
        let condition = Condition {
            expression: "attribute_not_exists(id) OR claimant = :own".to_owned(),
            names: None,
            values: Some(HashMap::from([(":own".to_owned(), text(device.id.as_str()))])),
        };
        put(self.devices()?, "claim", &claim, Item::new(), Some(condition))
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
        let held = self.claims([&old].into_iter().chain(&new).map(String::as_str)).await?;
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
            .table_name(self.devices()?)
            .set_key(Some(id_key(claim)))
            .condition_expression("claimant = :own")
            .expression_attribute_values(":own", text(own.as_str()))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "claim", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}
