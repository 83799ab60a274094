//! What a certificate's record has of its leaf and its chain.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::primitives::Blob;
use rootcast_ledger::{IssuingRecord, IssuingState};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::permitted::PermittedNames;
use rootcast_pki::root::{IssuingSpec, Serial};
use rootcast_pki::signer::IssuingId;

use super::*;

type Item = HashMap<String, AttributeValue>;

const ID: IssuingId = IssuingId { generation: 2, number: 1 };

fn found(id: &'static str, item: Item) -> Rule {
    mock!(aws_sdk_dynamodb::Client::get_item)
        .match_requests(move |request| request.key().unwrap()["id"] == text(id))
        .then_output(move || GetItemOutput::builder().set_item(Some(item.clone())).build())
}

fn issuing(certificate: Certificate) -> IssuingRecord {
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
    IssuingRecord {
        revision: 3,
        state: IssuingState::Superseded,
        spec,
        key: None,
        key_made: None,
        tbs: None,
        certificate: Some(certificate),
        path: vec![record().leaf],
        revoked: None,
        pass: None,
        created: NOW,
    }
}

#[tokio::test]
async fn a_devices_certificate_has_the_chain_of_its_authority() {
    let authority = issuing(record().leaf);
    let own = CertificateRecord { issuing: Some(ID), key: None, device: Some("bmc-1".parse().unwrap()), ..record() };
    let item: Item = serde_dynamo::to_item(&own).unwrap();
    assert!(!item.contains_key("chain"));
    let rules = || {
        let signer = found("issuing#0000000002#0000000001", serde_dynamo::to_item(&authority).unwrap());
        [found("scs0000000000001", item.clone()), signer]
    };
    let [certificate, signer] = rules();
    let read = ledger(&[&certificate, &signer]).certificate(own.id).await.unwrap().unwrap();
    assert_eq!(read.chain, authority.chain().cloned().collect::<Vec<_>>());
    assert_eq!(read, CertificateRecord { chain: read.chain.clone(), ..own.clone() });
    let [certificate, _] = rules();
    assert_eq!(ledger(&[&certificate]).certificate_alone(own.id).await.unwrap(), Some(own));
}

#[tokio::test]
async fn a_record_of_an_earlier_release_is_read() {
    let before = CertificateRecord { chain: vec![record().leaf], device: Some("bmc-1".parse().unwrap()), ..record() };
    let mut item: Item = serde_dynamo::to_item(&before).unwrap();
    assert_eq!(item["leaf"], AttributeValue::B(Blob::new(before.leaf.der())));
    item.insert("leaf".to_owned(), text(&String::from(before.leaf.clone())));
    item.insert("thumbprint".to_owned(), text(&before.leaf.thumbprint()));
    let read = ledger(&[&found("scs0000000000001", item)]).certificate(before.id).await.unwrap();
    assert_eq!(read, Some(before));
}
