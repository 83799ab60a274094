//! The schema's version on record.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_smithy_mocks::{mock, mock_client};
use rootcast_ledger::{Authority, Ledger, LedgerError, SCHEMA, Tables};

async fn read(schema: u32) -> Result<Authority, LedgerError> {
    let authority = Authority { revision: 7, schema, ..Authority::default() };
    let there = mock!(Client::get_item).then_output(move || {
        GetItemOutput::builder().set_item(Some(serde_dynamo::to_item(&authority).unwrap())).build()
    });
    let tables = Tables { certificates: Some("certificates".to_owned()), ..Tables::default() };
    Ledger::new(mock_client!(aws_sdk_dynamodb, [&there]), tables).authority().await
}

#[tokio::test]
async fn records_of_a_newer_schema_are_refused() {
    for known in [0, SCHEMA] {
        assert_eq!(read(known).await.unwrap().revision, 7);
    }
    let refused = read(SCHEMA + 1).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Newer { .. }) && !refused.is_passing());
    assert!(refused.to_string().ends_with("deploy the version that wrote them, or a later one"), "{refused}");
}
