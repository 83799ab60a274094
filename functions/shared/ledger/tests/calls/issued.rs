//! What is read and demanded before an issued certificate is stored, with the SDK's own mock layer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use rootcast_core::inventory::id::CertificateId;
use rootcast_ledger::{
    CertificateOrPending, IssuingRecord, IssuingState, Ledger, LedgerError, PendingCertificate, Tables,
};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::permitted::PermittedNames;
use rootcast_pki::root::{IssuingSpec, Serial};
use rootcast_pki::signer::{IssuingId, SignerId};
use time::OffsetDateTime;

type Item = HashMap<String, AttributeValue>;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const ID: IssuingId = IssuingId { generation: 2, number: 1 };

fn ledger(rule: &Rule) -> Ledger {
    let tables = Tables {
        certificates: Some("certificates".to_owned()),
        jobs: None,
        devices: None,
        access: None,
        audit: None,
        heads: None,
    };
    Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, &[rule]), tables)
}

fn certificate() -> CertificateId {
    "scs0000000000001".parse().unwrap()
}

fn pending() -> PendingCertificate {
    PendingCertificate {
        id: certificate(),
        revision: 1,
        folder: r"\VED\Policy\Devices\bmc-1".to_owned(),
        name: "certificate".to_owned(),
        device: "bmc-1".parse().unwrap(),
        uses: 1,
        imported_by: "ops".to_owned(),
        created: NOW,
    }
}

fn signer(state: IssuingState) -> Item {
    let spec = IssuingSpec {
        id: ID,
        root_name: "Example Root CA".to_owned(),
        subject: "O=Example Corp,C=DE".parse().unwrap(),
        algorithm: KeyAlgorithm::EcdsaP384,
        serial: Serial::from_random([7; 16]),
        not_before: NOW,
        not_after: NOW,
        permitted: PermittedNames::default(),
        crl: "https://pki.example.com/crl/2/authorities.crl".to_owned(),
    };
    let record = IssuingRecord {
        revision: 3,
        state,
        spec,
        key: None,
        key_made: None,
        tbs: None,
        certificate: None,
        path: Vec::new(),
        revoked: None,
        pass: None,
        created: NOW,
    };
    let mut item: Item = serde_dynamo::to_item(record).unwrap();
    item.insert("id".to_owned(), AttributeValue::S("issuing#0000000002#0000000001".to_owned()));
    item
}

/// What is read, and in how many calls.
async fn read(items: &[Item], signer: SignerId) -> (Result<CertificateOrPending, LedgerError>, usize) {
    let items = items.to_vec();
    let batch = mock!(Client::batch_get_item).then_compute_output(move |request| {
        let wanted = &request.request_items().unwrap()["certificates"];
        assert_eq!(wanted.consistent_read(), Some(true));
        let asked = |item: &&Item| wanted.keys().iter().any(|key| key["id"] == item["id"]);
        BatchGetItemOutput::builder().responses("certificates", items.iter().filter(asked).cloned().collect()).build()
    });
    (ledger(&batch).to_be_issued(certificate(), signer).await, batch.num_calls())
}

#[tokio::test]
async fn what_a_revoked_authority_signed_is_not_stored() {
    let there: Item = serde_dynamo::to_item(pending()).unwrap();
    for state in [IssuingState::Signing, IssuingState::Superseded] {
        let (found, calls) = read(&[there.clone(), signer(state)], ID.into()).await;
        assert_eq!((found.unwrap(), calls), (CertificateOrPending::Pending(pending()), 1), "{state:?}");
    }
    for items in [vec![there.clone(), signer(IssuingState::Revoked)], vec![there], vec![signer(IssuingState::Signing)]]
    {
        let (refused, _) = read(&items, ID.into()).await;
        assert!(matches!(refused, Err(LedgerError::Conflict)), "{refused:?}");
    }
}

#[tokio::test]
async fn what_a_root_signed_needs_no_other_record() {
    let there: Item = serde_dynamo::to_item(pending()).unwrap();
    let get =
        mock!(Client::get_item).then_output(move || GetItemOutput::builder().set_item(Some(there.clone())).build());
    let found = ledger(&get).to_be_issued(certificate(), SignerId::root(2)).await.unwrap();
    assert_eq!((found, get.num_calls()), (CertificateOrPending::Pending(pending()), 1));
}
