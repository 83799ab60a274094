//! What calls of DynamoDB consumed: every request asks for it, and every answer says it.
//!
//! A write that was refused is paid too, and its answer does not say how much: it is not counted.

use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::delete_item::{DeleteItemInput, DeleteItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::scan::{ScanInput, ScanOutput};
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsInput, TransactWriteItemsOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use aws_sdk_dynamodb::types::{ConsumedCapacity, ReturnConsumedCapacity};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextMut, Input, Output,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use rootcast_core::job::JobId;
use rootcast_core::usage::Usage;
use rootcast_meter::Meter;

use crate::Ledger;

/// Asks, and counts.
#[derive(Debug)]
struct Consumed(Meter);

/// The job's record as this process wrote it last: callers go on with the one that they have.
pub(crate) type Written = Option<(JobId, u64, Usage)>;

impl Ledger {
    /// Counts what is used from now on, and records it with jobs and their counters.
    #[must_use]
    pub fn metered(self, meter: &Meter) -> Self {
        let config = self.client.config().to_builder().interceptor(meter.clone()).interceptor(Consumed(meter.clone()));
        Self { client: aws_sdk_dynamodb::Client::from_conf(config.build()), meter: meter.clone(), ..self }
    }

    pub const fn meter(&self) -> &Meter {
        &self.meter
    }
}

impl Intercept for Consumed {
    fn name(&self) -> &'static str {
        "Consumed"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        ask(context.input_mut());
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Ok(output) = context.output_or_error() {
            self.0.add(used(output));
        }
        Ok(())
    }
}

/// Each operation that the ledger calls has types of its own.
macro_rules! operations {
    (one: [$($one_in:ident $one_out:ident $one_of:ident,)*], many: [$($in:ident $out:ident $of:ident,)*]) => {
        fn ask(input: &mut Input) {
            $(if let Some(input) = input.downcast_mut::<$one_in>() {
                input.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
            })*
            $(if let Some(input) = input.downcast_mut::<$in>() {
                input.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
            })*
        }

        fn used(output: &Output) -> Usage {
            $(if let Some(output) = output.downcast_ref::<$one_out>() {
                return $one_of(output.consumed_capacity().map_or(&[], std::slice::from_ref));
            })*
            $(if let Some(output) = output.downcast_ref::<$out>() {
                return $of(output.consumed_capacity());
            })*
            Usage::default()
        }
    };
}

operations! {
    one: [
        PutItemInput PutItemOutput written,
        UpdateItemInput UpdateItemOutput written,
        DeleteItemInput DeleteItemOutput written,
        GetItemInput GetItemOutput read,
        QueryInput QueryOutput read,
        ScanInput ScanOutput read,
    ],
    many: [
        TransactWriteItemsInput TransactWriteItemsOutput written,
        BatchGetItemInput BatchGetItemOutput read,
    ]
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "units are halves, and not many")]
fn halves(consumed: &[ConsumedCapacity]) -> u64 {
    (2.0 * consumed.iter().filter_map(ConsumedCapacity::capacity_units).sum::<f64>()).round() as u64
}

fn written(consumed: &[ConsumedCapacity]) -> Usage {
    Usage { write_units: halves(consumed) / 2, ..Usage::default() }
}

fn read(consumed: &[ConsumedCapacity]) -> Usage {
    Usage { half_read_units: halves(consumed), ..Usage::default() }
}
