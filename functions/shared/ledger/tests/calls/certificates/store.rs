use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::types::TransactWriteItem;
use aws_smithy_mocks::{Rule, mock};
use rootcast_core::audit::Action;
use rootcast_ledger::{ClientRequest, LedgerError, StoreRefused};
use rootcast_pki::fingerprint::Fingerprint;
use time::{Duration, OffsetDateTime};

use super::{COLLIDED, FAILED, NOW, accepted, act, cancelled, ledger, number, record, text};

fn request() -> ClientRequest {
    ClientRequest { token: Fingerprint::of(b"token"), body: Fingerprint::of(b"body") }
}

/// The item of an earlier request with the same token.
fn kept(body: &'static [u8], expires: OffsetDateTime) -> Rule {
    mock!(aws_sdk_dynamodb::Client::get_item).then_output(move || {
        GetItemOutput::builder()
            .item("certificate", text("scs0000000000009"))
            .item("body", text(&Fingerprint::of(body).to_string()))
            .item("expires", number(expires.unix_timestamp()))
            .build()
    })
}

fn keys(writes: &[TransactWriteItem]) -> Vec<String> {
    let key = |write: &TransactWriteItem| match (write.put(), write.update()) {
        (Some(put), _) => {
            let key = put.item().get("id").or_else(|| put.item().get("sk"));
            key.unwrap().as_s().unwrap().clone()
        }
        (_, Some(update)) => update.key()["id"].as_s().unwrap().clone(),
        _ => panic!("{write:?}"),
    };
    writes.iter().map(key).collect()
}

#[tokio::test]
async fn record_name_leaf_and_request_are_written_together() {
    let (record, request) = (record(), request());
    let expected = [
        record.id.to_string(),
        r"name#servers\web-1".to_owned(),
        format!("leaf#{}", record.leaf.fingerprint()),
        format!("request#{}", request.token),
        "audit#000000000001".to_owned(),
        "audit".to_owned(),
        format!("listed#{:02}", record.id.number() % 64),
    ];
    let rule = accepted(move |writes| {
        let conditions: Vec<_> = writes.iter().filter_map(|write| write.put()?.condition_expression()).collect();
        let is_expiring = writes[3].put().unwrap().item()["expires"] == number((NOW + Duration::DAY).unix_timestamp());
        let leaf = writes[2].update().unwrap();
        keys(writes) == expected
            && conditions.iter().all(|condition| condition.starts_with("attribute_not_exists("))
            && conditions.len() == 5
            && leaf.condition_expression().is_none()
            && is_expiring
    });
    assert_eq!(
        ledger(&[&rule]).store_certificate(&record, false, Some(&request), &act(Action::Import)).await.unwrap(),
        record.id
    );
}

#[tokio::test]
async fn a_second_leaf_is_refused_naming_the_first() {
    let rule = accepted(|writes| {
        writes.len() == 6 && writes[2].update().unwrap().condition_expression() == Some("attribute_not_exists(id)")
    });
    ledger(&[&rule]).store_certificate(&record(), true, None, &act(Action::Import)).await.unwrap();

    let refused = cancelled(&["None", "None", FAILED], Some("scs0000000000009"));
    let refusal = ledger(&[&refused]).store_certificate(&record(), true, None, &act(Action::Import)).await.unwrap_err();
    assert!(
        matches!(refusal, StoreRefused::Duplicate(Some(first)) if first.to_string() == "scs0000000000009"),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn a_taken_name_is_refused_naming_its_certificate() {
    let refused = cancelled(&["None", FAILED, FAILED], Some("scs0000000000009"));
    let refusal = ledger(&[&refused]).store_certificate(&record(), true, None, &act(Action::Import)).await.unwrap_err();
    assert!(
        matches!(refusal, StoreRefused::NameTaken(Some(holder)) if holder.to_string() == "scs0000000000009"),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn a_taken_id_is_reported_to_the_caller() {
    // Taken by a certificate, or by the audit chain of a deleted one.
    for codes in [&[FAILED, "None", "None", "None", "None"], &["None", "None", "None", FAILED, FAILED]] {
        let refused = cancelled(codes, None);
        let refusal = ledger(&[&refused]).store_certificate(&record(), false, None, &act(Action::Import)).await;
        assert!(matches!(refusal, Err(StoreRefused::IdTaken)), "{refusal:?}");
    }
}

#[tokio::test]
async fn concurrent_identical_requests_get_the_same_id() {
    let refused = cancelled(&["None", FAILED, "None", FAILED], None);
    let kept = kept(b"body", NOW + Duration::DAY);
    let stored = ledger(&[&refused, &kept])
        .store_certificate(&record(), true, Some(&request()), &act(Action::Import))
        .await
        .unwrap();
    assert_eq!(stored.to_string(), "scs0000000000009");
}

#[tokio::test]
async fn a_token_is_remembered_for_a_day_with_its_request() {
    let sent_before = async |rule: Rule| ledger(&[&rule]).stored_before(&request(), NOW).await;
    let found = sent_before(kept(b"body", NOW + Duration::SECOND)).await.unwrap();
    assert_eq!(found.unwrap().to_string(), "scs0000000000009");
    assert_eq!(sent_before(kept(b"body", NOW)).await.unwrap(), None);
    let other = sent_before(kept(b"other", NOW + Duration::SECOND)).await.unwrap_err();
    assert!(matches!(other, StoreRefused::TokenTaken), "{other:?}");
}

#[tokio::test]
async fn endless_conflicts_are_a_transient_error() {
    let refusal = ledger(&[&cancelled(&["None", "None", COLLIDED], None)])
        .store_certificate(&record(), false, None, &act(Action::Import))
        .await
        .unwrap_err();
    assert!(matches!(refusal, StoreRefused::Ledger(LedgerError::Transient { .. })), "{refusal:?}");
}
