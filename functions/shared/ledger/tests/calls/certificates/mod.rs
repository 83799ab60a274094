//! Certificates in the ledger, with the SDK's own mock layer: no emulator cancels conflicting transactions, or splits
//! pages where DynamoDB does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod listing;
mod remove;
mod store;
mod stored;

use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput};
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, TransactWriteItem};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::inventory::sealed::Sealed;
use rootcast_ledger::{CertificateRecord, Ledger, Tables};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-06-01 00:00 UTC);

fn ledger(rules: &[&Rule]) -> Ledger {
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::Sequential, rules);
    let table = |name: &str| Some(name.to_owned());
    let names =
        Tables { certificates: table("certificates"), jobs: table("jobs"), audit: table("audit"), ..Tables::default() };
    Ledger::new(client, names)
}

fn record() -> CertificateRecord {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let leaf = Certificate::from_der(made.cert.der().to_vec()).unwrap();
    let id: rootcast_core::inventory::id::CertificateId = "scs0000000000001".parse().unwrap();
    CertificateRecord {
        id,
        shard: id.shard(),
        revision: 1,
        folder: "Servers".to_owned(),
        name: "Web-1".to_owned(),
        spki: Fingerprint::of(leaf.spki_der()),
        leaf,
        chain: Vec::new(),
        issuing: None,
        key: Some(Sealed { data_key: vec![1], nonce: vec![2], ciphertext: vec![3] }),
        device: None,
        key_algorithm: "EC P-256".to_owned(),
        signature_algorithm: "SHA256withECDSA".to_owned(),
        common_name: None,
        names: vec!["a.test".to_owned()],
        not_before: NOW,
        not_after: NOW,
        enterprise_project_id: None,
        uses: 0,
        unproven: false,
        noticed: None,
        renew_at: None,
        shown_until: None,
        revoked: None,
        imported_by: "ops".to_owned(),
        created: NOW,
        updated: NOW,
    }
}

fn act(action: Action) -> Act {
    let by = Actor { principal: "ops".to_owned(), request_id: Some("r-1".to_owned()) };
    Act::new(Subject::Certificate(record().id), action, &by, NOW)
}

/// Accepts a transaction that satisfies `holds`.
fn accepted(holds: impl Fn(&[TransactWriteItem]) -> bool + Send + Sync + 'static) -> Rule {
    mock!(aws_sdk_dynamodb::Client::transact_write_items)
        .match_requests(move |request| holds(request.transact_items()))
        .then_output(|| TransactWriteItemsOutput::builder().build())
}

/// Cancels with a reason per write, `None` for those that were fine. For a failed condition, `holder` is the item.
fn cancelled(codes: &'static [&'static str], holder: Option<&'static str>) -> Rule {
    mock!(aws_sdk_dynamodb::Client::transact_write_items).then_error(move || {
        let reason = |code: &&str| {
            let item = holder.filter(|_| *code == FAILED);
            let item = item.map(|id| [("certificate".to_owned(), text(id))].into_iter().collect());
            CancellationReason::builder().code(*code).set_item(item).build()
        };
        let reasons = codes.iter().map(reason).collect();
        let exception = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build();
        TransactWriteItemsError::TransactionCanceledException(exception)
    })
}

const FAILED: &str = "ConditionalCheckFailed";
const COLLIDED: &str = "TransactionConflict";

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
