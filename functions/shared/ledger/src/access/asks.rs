//! Requests that wait for a second person, and what was decided on them.
//!
//! A decision is an item of its own: only the function that checks who decides may write one, and those that carry
//! requests out may not. Each write is in one transaction with its entry in the request's audit chain.
//!
//! `request#by#NAME` has the open requests of a principal, which are limited: an attribute for each, named after its id, is
//! when it expires. A decision removes the attribute.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use rootcast_core::access::principal::PrincipalName;
use rootcast_core::access::second::{Ask, AskId, Decision, MOST_OPEN};
use rootcast_core::audit::Act;
use rootcast_pki::fingerprint::Fingerprint;
use time::OffsetDateTime;

use super::from_prefixed;
use crate::commit::{Condition, put};
use crate::item::{Item, id_key, number, text};
use crate::{Ledger, LedgerError};

const ASK: &str = "request#";
const DECISION: &str = "decision#";

/// The requests of a principal that nobody has decided on, as they were read.
#[derive(Debug, Clone, Default)]
pub struct OpenAsks {
    open: usize,
    expired: Vec<AskId>,
    /// Counts the requests that were made.
    made: u64,
}

impl OpenAsks {
    fn of(item: &Item, now: OffsetDateTime) -> Self {
        let number = |value: &AttributeValue| value.as_n().ok()?.parse::<i64>().ok();
        let asks = item.iter().filter_map(|(name, value)| Some((name.parse().ok()?, number(value)?)));
        let (open, expired): (Vec<_>, Vec<_>) = asks.partition(|(_, expires)| *expires > now.unix_timestamp());
        let made = item.get("made").and_then(number).and_then(|made| made.try_into().ok()).unwrap_or(0);
        let expired = expired.into_iter().map(|(ask, _)| ask).collect();
        Self { open: open.len(), expired, made }
    }

    /// Whether there may not be another one.
    pub fn is_full(&self) -> bool {
        self.open >= MOST_OPEN
    }
}

/// One page of requests.
#[derive(Debug, Clone, Default)]
pub struct AsksPage {
    /// By their places.
    pub asks: BTreeMap<String, Ask>,
    /// Where the next page starts.
    pub next: Option<String>,
}

impl Ledger {
    /// The request for the call of this digest, whatever has become of it. One call.
    pub async fn ask_for(&self, digest: &Fingerprint) -> Result<Option<Ask>, LedgerError> {
        self.access_record("request", "GetItem request", ask_key(&AskId::place_of(digest))).await
    }

    /// One call.
    pub async fn ask(&self, id: &AskId) -> Result<Option<Ask>, LedgerError> {
        let found: Option<Ask> = self.access_record("request", "GetItem request", ask_key(id.place())).await?;
        Ok(found.filter(|found| found.ask == *id))
    }

    /// One call.
    pub async fn decision(&self, id: &AskId) -> Result<Option<Decision>, LedgerError> {
        self.access_record("decision", "GetItem decision", decision_key(id)).await
    }

    /// One call.
    pub async fn open_asks(&self, by: &PrincipalName, now: OffsetDateTime) -> Result<OpenAsks, LedgerError> {
        let get = self.client.get_item().table_name(self.access()?).set_key(Some(id_key(open_key(by))));
        let answer = get.consistent_read(true).send().await.map_err(LedgerError::aws("GetItem requests"))?;
        Ok(answer.item.map(|item| OpenAsks::of(&item, now)).unwrap_or_default())
    }

    /// Stores a request in the place of `before`, the one that was read for the same call, and adds it to the open ones.
    /// One call.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if there is another one now, or its principal has made another request since `open` was
    /// read.
    pub async fn put_ask(
        &self,
        ask: &Ask,
        before: Option<&Ask>,
        open: &OpenAsks,
        act: &Act,
    ) -> Result<(), LedgerError> {
        let as_read = before.map_or_else(|| Condition::absent("id"), unchanged);
        let key = id_key(ask_key(ask.ask.place()));
        let links = self.first_link(act)?;
        let mut writes = vec![put(self.access()?, "request", ask, key, Some(as_read))?, self.opened(ask, open)?];
        writes.extend(links.writes());
        self.transact(writes).await?;
        links.tell();
        Ok(())
    }

    /// Uses up the confirmation of a request, before it is carried out. Two calls.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if it was used already, or there is another request for the same call.
    pub async fn begin_ask(&self, ask: &Ask, at: OffsetDateTime, act: &Act) -> Result<(), LedgerError> {
        let mut still = unchanged(ask);
        still.expression.push_str(" AND attribute_not_exists(stopped)");
        let write = self.update(ask, "SET carried_out = :at", Some(at), still)?;
        self.transact_audited(vec![write], std::slice::from_ref(act)).await
    }

    /// Gives the confirmation of a request back that could not be carried out. `ask`: as it is since
    /// [`Self::begin_ask`]. Two calls.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if there is another request for the same call.
    pub async fn give_back_ask(&self, ask: &Ask, act: &Act) -> Result<(), LedgerError> {
        let write = self.update(ask, "REMOVE carried_out", None, unchanged(ask))?;
        self.transact_audited(vec![write], std::slice::from_ref(act)).await
    }

    /// The request is then no longer among the open ones. Two calls.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if there is a decision already.
    pub async fn put_decision(&self, ask: &Ask, decision: &Decision, act: &Act) -> Result<(), LedgerError> {
        let key = id_key(decision_key(&ask.ask));
        let decision = put(self.access()?, "decision", decision, key, Some(Condition::absent("id")))?;
        let closed =
            Update::builder().update_expression("REMOVE #ask").expression_attribute_names("#ask", ask.ask.as_str());
        let closed = self.update_open(&ask.by, closed)?;
        self.transact_audited(vec![decision, closed], std::slice::from_ref(act)).await
    }

    /// Rejects a request that is confirmed and not carried out: a call that has read the confirmation cannot use it any
    /// more. Two calls.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if it is carried out, or no longer confirmed.
    pub async fn stop_ask(&self, ask: &Ask, decision: &Decision, act: &Act) -> Result<(), LedgerError> {
        let confirmed = Condition {
            expression: "verdict = :confirmed".to_owned(),
            names: None,
            values: Some(HashMap::from([(":confirmed".to_owned(), text("confirmed"))])),
        };
        let key = id_key(decision_key(&ask.ask));
        let decision_write = put(self.access()?, "decision", decision, key, Some(confirmed))?;
        let stop = self.update(ask, "SET stopped = :at", Some(decision.at), unchanged(ask))?;
        self.transact_audited(vec![decision_write, stop], std::slice::from_ref(act)).await
    }

    /// One page of requests, in no order. A page may be empty without being the last. One call.
    pub async fn asks_page(&self, after: Option<&str>) -> Result<AsksPage, LedgerError> {
        let scan = self.client.scan().table_name(self.access()?).consistent_read(true);
        let scan = scan.filter_expression("begins_with(id, :prefix) AND attribute_exists(ask)");
        let scan = scan.expression_attribute_values(":prefix", text(ASK));
        let scan = scan.set_exclusive_start_key(after.map(id_key));
        let answer = scan.send().await.map_err(LedgerError::aws("Scan requests"))?;
        let next = answer.last_evaluated_key.as_ref().and_then(|key| key.get("id")?.as_s().ok()).cloned();
        let items = answer.items.unwrap_or_default().into_iter();
        let asks = items.map(|item| from_prefixed("request", ASK, item)).collect::<Result<_, _>>()?;
        Ok(AsksPage { asks, next })
    }

    /// Adds the request to its principal's open ones, and removes those that have expired.
    fn opened(&self, ask: &Ask, read: &OpenAsks) -> Result<TransactWriteItem, LedgerError> {
        let mut update = Update::builder()
            .expression_attribute_names("#ask", ask.ask.as_str())
            .expression_attribute_values(":made", number(read.made + 1))
            // DynamoDB deletes the item when the latest of them expires.
            .expression_attribute_values(":expires", number(ask.expires.unix_timestamp()));
        let mut expression = "SET made = :made, expires = :expires, #ask = :expires".to_owned();
        for (number, expired) in read.expired.iter().enumerate() {
            expression.push_str(if number == 0 { " REMOVE " } else { ", " });
            expression.push_str(&format!("#expired{number}"));
            update = update.expression_attribute_names(format!("#expired{number}"), expired.as_str());
        }
        update = if read.made == 0 {
            update.condition_expression("attribute_not_exists(made)")
        } else {
            update.condition_expression("made = :read").expression_attribute_values(":read", number(read.made))
        };
        self.update_open(&ask.by, update.update_expression(expression))
    }

    fn update_open(&self, by: &PrincipalName, update: UpdateBuilder) -> Result<TransactWriteItem, LedgerError> {
        let update = update.table_name(self.access()?).set_key(Some(id_key(open_key(by)))).build();
        let update = update.map_err(|source| LedgerError::Unwritable { what: "requests", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn update(
        &self,
        ask: &Ask,
        to: &str,
        at: Option<OffsetDateTime>,
        Condition { expression, names, values }: Condition,
    ) -> Result<TransactWriteItem, LedgerError> {
        let mut update = Update::builder()
            .table_name(self.access()?)
            .set_key(Some(id_key(ask_key(ask.ask.place()))))
            .update_expression(to)
            .condition_expression(expression)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values);
        if let Some(at) = at {
            update = update.expression_attribute_values(":at", number(at.unix_timestamp()));
        }
        let update =
            update.build().map_err(|source| LedgerError::Unwritable { what: "request", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// The request is still there, carried out or not as it was read.
fn unchanged(read: &Ask) -> Condition {
    let mut values = HashMap::from([(":ask".to_owned(), text(read.ask.as_str()))]);
    let expression = match read.carried_out {
        Some(at) => {
            values.insert(":read".to_owned(), number(at.unix_timestamp()));
            "ask = :ask AND carried_out = :read"
        }
        None => "ask = :ask AND attribute_not_exists(carried_out)",
    };
    Condition { expression: expression.to_owned(), names: None, values: Some(values) }
}

fn ask_key(place: &str) -> String {
    format!("{ASK}{place}")
}

/// No request has this place: a place is hexadecimal.
fn open_key(by: &PrincipalName) -> String {
    format!("{ASK}by#{by}")
}

fn decision_key(id: &AskId) -> String {
    format!("{DECISION}{id}")
}
