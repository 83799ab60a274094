//! What the devices show of bundles that were brought to them, read without their credentials' names or addresses.

use aws_sdk_dynamodb::types::{AttributeValue, Select};
use rootcast_core::device::DeviceId;

use crate::devices::device_id;
use crate::item::id_key;
use crate::{Ledger, LedgerError};

/// Some devices, in no order that means anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Goals {
    pub devices: u64,
    /// The highest bundle version that was brought to one of them; 0 where none was.
    pub highest: u64,
    /// Ask again after it for the rest.
    pub next: Option<DeviceId>,
}

impl Ledger {
    /// At most `limit` devices after `after`.
    pub async fn goals(&self, after: Option<&DeviceId>, limit: u32) -> Result<Goals, LedgerError> {
        let answer = self
            .client
            .scan()
            .table_name(self.devices()?)
            .select(Select::SpecificAttributes)
            .projection_expression("id, goal")
            .set_exclusive_start_key(after.map(|id| id_key(id.as_str())))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::aws("Scan devices"))?;
        let items = answer.items.unwrap_or_default();
        let goal = |value: &AttributeValue| value.as_n().ok()?.parse().ok();
        Ok(Goals {
            devices: items.len() as u64,
            highest: items.iter().filter_map(|item| goal(item.get("goal")?)).max().unwrap_or(0),
            next: answer.last_evaluated_key.map(|key| device_id(&key)).transpose()?,
        })
    }
}
