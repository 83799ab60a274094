//! `POST /devices`: one device, many, or JSON lines. Each row has its own result, and a repeated row changes nothing.

use std::collections::{HashMap, HashSet};

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, stream};
use http::StatusCode;
use rootcast_core::access::permission::{Operation, Right};
use rootcast_core::audit::Actor;
use rootcast_core::device::address::DeviceAddress;
use rootcast_core::device::labels::Labels;
use rootcast_core::device::{DeviceId, Driver, Incarnation, Pin, Profile, Slot, place};
use rootcast_core::inventory::dn::application_dn;
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message, ResultKind};
use rootcast_dialects::native::{Enrolled, Enrolment};
use rootcast_gate::{BULK_BODY_LIMIT, Kind, Principal, Refusal, RequestId, media_type, parse_json, read};
use rootcast_ledger::{DeviceRecord, Unapproved};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::subject::DeviceSubject;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tracing::info;

use crate::app::{App, Parts};
use crate::credential::{Login, SentCredential};
use crate::devices::holder;
use crate::inventory::Rules;
use crate::{issuance_policy, parameters};

/// Rows per request. A transaction of 13 devices takes about 20 ms; ids that were enrolled before take two, and a read
/// of their audit chains between them. So all of them take at most some 20 s of the function's 29.
const MOST_ROWS: usize = 5_000;

/// Concurrent calls to KMS, each of some 10 ms: 5 000 take 2 s.
const SEALED_AT_ONCE: usize = 32;

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

pub(crate) async fn enrol(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, LenovoError> {
    let parts = app.parts().await?;
    let form = media_type(request.headers(), &[JSON, LINES])?;
    let body = read(request.into_body(), BULK_BODY_LIMIT).await?;
    let (rows, single) = rows(form, &body)?;
    let rules = Rules::from(parts);
    let mut seen = Seen::default();
    // Parsed in order, so that of two rows with one id or address the second is always refused.
    let parsed: Vec<Result<RequestedDevice, Outcome>> = rows
        .into_iter()
        .map(|row| parse(row?, &rules, &mut seen)?.may_be_created_by(&caller, (parts.clock)()))
        .collect();
    let parsed = with_credential(parts, permitted(parts, parsed).await?).await;
    let sealed = sealed(parts, parsed).await?;
    let results = store(parts, sealed, &caller, &caller.acting(&id)).await?;
    let created = results.iter().filter(|done| done.row.result == Enrolment::Created).count();
    info!(caller = caller.name, devices.sent = results.len(), devices.created = created, "devices enrolled");
    Ok(answer(results, single))
}

/// A device as the caller sent it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    id: Option<String>,
    name: Option<String>,
    labels: Option<Labels>,
    address: DeviceAddress,
    driver: Option<Driver>,
    profile: Option<Profile>,
    slot: Option<Slot>,
    subject: Option<DeviceSubject>,
    #[serde(rename = "keyAlgorithm")]
    key_algorithm: Option<KeyAlgorithm>,
    credential: SentCredential,
    pins: Option<Vec<Pin>>,
}

/// A device to be stored.
#[derive(Debug)]
struct RequestedDevice {
    record: DeviceRecord,
    /// Whether the row has pins. Without them it leaves the approval alone.
    says_pins: bool,
    /// To be sealed for the device.
    login: Option<Login>,
}

#[derive(Debug)]
struct Outcome {
    row: Enrolled,
    /// The error's kind if this is the only row.
    kind: Kind,
}

impl Outcome {
    fn done(id: String, result: Enrolment) -> Self {
        Self { row: Enrolled { id, result, message: None }, kind: Kind::Invalid }
    }

    fn refused(id: impl Into<String>, message: impl Into<String>) -> Self {
        let row = Enrolled { id: id.into(), result: Enrolment::Refused, message: Some(message.into()) };
        Self { row, kind: Kind::Invalid }
    }
}

type Rows = Vec<Result<Value, Outcome>>;

/// The rows of a body, and whether it is a single device rather than a list.
fn rows(form: &str, body: &[u8]) -> Result<(Rows, bool), LenovoError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Many {
        devices: Vec<Value>,
    }
    let (rows, single): (Rows, bool) = if form == LINES {
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let read = |line| serde_json::from_slice(line).map_err(|why| Outcome::refused("", format!("not JSON: {why}.")));
        (lines.map(read).collect(), false)
    } else {
        match parse_json::<Value>(body)? {
            Value::Array(many) => (many.into_iter().map(Ok).collect(), false),
            Value::Object(fields) if fields.contains_key("devices") => {
                let many: Many = parse_json(body)?;
                (many.devices.into_iter().map(Ok).collect(), false)
            }
            one => (vec![Ok(one)], true),
        }
    };
    match rows.len() {
        0 => Err(LenovoError::invalid("The body has no device.", "Send at least one.")),
        1..=MOST_ROWS => Ok((rows, single)),
        many => Err(LenovoError::invalid(
            format!("The body has {many} devices; one request takes {MOST_ROWS}."),
            "Send them in several requests.",
        )),
    }
}

/// What the rows so far are about.
#[derive(Default)]
struct Seen {
    ids: HashSet<DeviceId>,
    /// By [`place`].
    places: HashMap<String, DeviceId>,
}

fn parse(row: Value, rules: &Rules<'_>, seen: &mut Seen) -> Result<RequestedDevice, Outcome> {
    let shown = row.get("id").and_then(Value::as_str).unwrap_or_default().chars().take(64).collect::<String>();
    let refused = |why: String| Outcome::refused(shown.as_str(), why);
    let sent: Sent = serde_json::from_value(row).map_err(|why| refused(format!("{why}.")))?;
    rules.address(&sent.address).map_err(refused)?;
    sent.name.as_deref().map_or(Ok(()), Rules::name).map_err(refused)?;
    let pins = Rules::pins(sent.pins.as_deref().unwrap_or_default()).map_err(refused)?;
    let id = match &sent.id {
        Some(id) => DeviceId::to_enrol(id).map_err(|why| refused(format!("id: {why}.")))?,
        None => {
            id_of(&sent.address).ok_or_else(|| refused("no id can be made of the address: give one.".to_owned()))?
        }
    };
    sent.credential.check(&id, rules).map_err(refused)?;
    if !seen.ids.insert(id.clone()) {
        return Err(Outcome::refused(id.to_string(), "an earlier row of the same request has this id."));
    }
    let profile = sent.profile.unwrap_or(Profile::Dmtf);
    if let Some(earlier) = seen.places.insert(place(&sent.address, profile, sent.slot.as_ref()), id.clone()) {
        let why = format!("an earlier row of the same request has this address, as {earlier}: a device has one id.");
        return Err(Outcome::refused(id.to_string(), why));
    }
    let driver = sent.driver.unwrap_or(Driver::Redfish);
    let (parameter, login) = match sent.credential {
        SentCredential::Parameter(name) => (name, None),
        SentCredential::Login(login) => (String::new(), Some(login)),
    };
    let record = DeviceRecord::new(id, incarnation()?, sent.address, driver, profile, parameter);
    let mut record = DeviceRecord { name: sent.name, slot: sent.slot, subject: sent.subject, ..record };
    record.pins = pins;
    record.labels = sent.labels.unwrap_or_default();
    record.key_algorithm = sent.key_algorithm;
    Ok(RequestedDevice { record, says_pins: sent.pins.is_some(), login })
}

/// The incarnation of a newly enrolled device.
fn incarnation() -> Result<Incarnation, Outcome> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|_| Outcome::refused("", "no random number could be drawn: send it again."))?;
    Ok(Incarnation::from_random(random))
}

/// The same id for the same address, so that a row without an id may be repeated.
fn id_of(address: &DeviceAddress) -> Option<DeviceId> {
    let text = address.to_string();
    let authority = text.strip_prefix("https://")?;
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' }
    };
    let id: String = authority.chars().filter(|c| !matches!(c, '[' | ']')).map(plain).collect();
    DeviceId::to_enrol(&id.to_ascii_lowercase()).ok()
}

/// Refuses the rows whose subject the issuance policy does not permit.
async fn permitted(
    parts: &Parts,
    parsed: Vec<Result<RequestedDevice, Outcome>>,
) -> Result<Vec<Result<RequestedDevice, Outcome>>, LenovoError> {
    if parsed.iter().flatten().all(|wanted| wanted.record.subject.is_none()) {
        return Ok(parsed);
    }
    let policy = parts.ledger.issuance_policy().await?.policy;
    let check = |wanted: RequestedDevice| match issuance_policy::permits(&policy, &wanted.record) {
        Ok(()) => Ok(wanted),
        Err(why) => Err(Outcome::refused(wanted.record.id.as_str(), why)),
    };
    Ok(parsed.into_iter().map(|row| row.and_then(check)).collect())
}

/// Refuses the rows whose credential is a parameter that does not exist.
async fn with_credential(
    parts: &Parts,
    parsed: Vec<Result<RequestedDevice, Outcome>>,
) -> Vec<Result<RequestedDevice, Outcome>> {
    let named = parsed.iter().flatten().filter_map(RequestedDevice::parameter).map(str::to_owned);
    let missing = parameters::missing(&parts.ssm, named).await;
    let check = |wanted: RequestedDevice| match wanted.parameter().filter(|name| missing.contains(*name)) {
        Some(name) => Err(Outcome::refused(wanted.record.id.as_str(), parameters::none_such(name))),
        None => Ok(wanted),
    };
    parsed.into_iter().map(|row| row.and_then(check)).collect()
}

/// Seals the credentials of the valid rows: a call to KMS each.
async fn sealed(
    parts: &Parts,
    parsed: Vec<Result<RequestedDevice, Outcome>>,
) -> Result<Vec<Result<RequestedDevice, Outcome>>, LenovoError> {
    let seal = async |row: Result<RequestedDevice, Outcome>| {
        let Ok(mut wanted) = row else { return Ok(row) };
        if let Some(login) = wanted.login.take() {
            wanted.record.take_sealed(login.seal(&parts.sealer, &wanted.record).await?);
        }
        Ok(Ok(wanted))
    };
    stream::iter(parsed).map(seal).buffered(SEALED_AT_ONCE).try_collect().await
}

/// Stores the valid rows, and returns a result for each row, in order.
async fn store(
    parts: &Parts,
    parsed: Vec<Result<RequestedDevice, Outcome>>,
    caller: &Principal,
    by: &Actor,
) -> Result<Vec<Outcome>, LenovoError> {
    let records: Vec<DeviceRecord> = parsed.iter().flatten().map(|wanted| wanted.record.clone()).collect();
    let enrolled = parts.ledger.enrol(&records, by, (parts.clock)()).await?;
    let there = records.iter().zip(&enrolled).filter(|(_, enrolled)| !**enrolled).map(|(record, _)| &record.id);
    let there = parts.ledger.devices_by_id(there).await?;
    let refused =
        records.iter().zip(&enrolled).filter(|(record, enrolled)| !**enrolled && !there.contains_key(&record.id));
    let claimants = parts.ledger.claimants(refused.map(|(record, _)| record)).await?;
    let mut enrolled = enrolled.into_iter();
    let outcome = |row: Result<RequestedDevice, Outcome>| match row {
        Ok(wanted) if enrolled.next().unwrap_or(false) => {
            let waits = "it is pending until somebody with the permission approve-device approves it.";
            let message = wanted.record.unapproved.is_some().then(|| waits.to_owned());
            let row = Enrolled { id: wanted.record.id.to_string(), result: Enrolment::Created, message };
            Outcome { row, kind: Kind::Invalid }
        }
        Ok(wanted) => match claimants.get(&wanted.record.id) {
            Some(by) => wanted.elsewhere(&holder(caller, by)),
            None => wanted.compared(there.get(&wanted.record.id)),
        },
        Err(refused) => refused,
    };
    Ok(parsed.into_iter().map(outcome).collect())
}

impl RequestedDevice {
    /// The name of the parameter with its credential, if that is not sealed.
    fn parameter(&self) -> Option<&str> {
        self.login.is_none().then_some(self.record.credential.as_str())
    }

    /// The device is approved with its pins if the caller may approve devices. Otherwise an approver has to look at it.
    fn may_be_created_by(mut self, caller: &Principal, now: OffsetDateTime) -> Result<Self, Outcome> {
        let id = &self.record.id;
        caller.require(Right::Create, &application_dn(id)).map_err(|denied| {
            let why = Refusal::from(denied);
            Outcome { kind: why.kind(), ..Outcome::refused(id.as_str(), why.text()) }
        })?;
        if caller.may(Operation::ApproveDevice).is_err() {
            self.record.unapproved = Some(Unapproved { by: caller.name.clone(), at: now, formerly: None });
        }
        Ok(self)
    }

    /// `holder`: who has its address.
    fn elsewhere(&self, holder: &str) -> Outcome {
        let why = format!(
            "{holder} has the address {} already, and a device has one id: edit or delete that one, or correct the address.",
            self.record.address
        );
        Outcome { kind: Kind::Conflict, ..Outcome::refused(self.record.id.as_str(), why) }
    }

    /// Compares the row with the device that has its id, or had it a moment ago.
    fn compared(&self, there: Option<&DeviceRecord>) -> Outcome {
        let id = self.record.id.to_string();
        match there {
            Some(there) if self.is_met_by(there) => Outcome::done(id, Enrolment::Unchanged),
            Some(_) => Outcome {
                kind: Kind::Conflict,
                ..Outcome::refused(
                    id.clone(),
                    format!(
                        "a different device has this id: change it with PATCH /devices/{id}, or choose another id."
                    ),
                )
            },
            None => Outcome::refused(id, "the device was deleted at the same moment: send the row again."),
        }
    }

    fn is_met_by(&self, there: &DeviceRecord) -> bool {
        let DeviceRecord { name, labels, address, driver, profile, slot, .. } = &self.record;
        let DeviceRecord { subject, key_algorithm, credential, pins, .. } = &self.record;
        // Two sealed credentials cannot be compared: the one that is there stays.
        let same_credential =
            *credential == there.credential || (self.record.sealed.is_some() && there.sealed.is_some());
        (name, labels, address, driver, profile, slot, subject, key_algorithm)
            == (
                &there.name,
                &there.labels,
                &there.address,
                &there.driver,
                &there.profile,
                &there.slot,
                &there.subject,
                &there.key_algorithm,
            )
            && same_credential
            && (!self.says_pins || *pins == there.pins)
    }
}

/// 200 if every row succeeded; 207 if some were refused; for a single refused device, the status of its refusal.
fn answer(results: Vec<Outcome>, single: bool) -> Response {
    let refused = results.iter().filter(|done| done.row.result == Enrolment::Refused).count();
    if let ([only], 1, true) = (results.as_slice(), refused, single) {
        let text = format!("The device was refused: {}", only.row.message.as_deref().unwrap_or_default());
        let recovery = "Correct it and send it again.";
        return LenovoError::new(only.kind, text, recovery)
            .with_response(json!({ "devices": [only.row] }))
            .into_response();
    }
    let total = results.len();
    let rows: Vec<Enrolled> = results.into_iter().map(|done| done.row).collect();
    let answer = Envelope::success(json!({ "devices": rows }));
    if refused == 0 {
        let message = Message::done(
            format!("{total} devices are enrolled."),
            "A device without pins, or enrolled without the permission approve-device, is pending: jobs pass over it until it is approved.",
        );
        return answer.saying(message).into_response();
    }
    let message = Message::partly(
        format!("{refused} of {total} devices were refused."),
        "Correct the refused rows and send them again; rows that are stored already stay as they are.",
    );
    let verdict = if refused == total { ResultKind::Failed } else { ResultKind::Warning };
    (StatusCode::MULTI_STATUS, answer.judged(verdict).saying(message)).into_response()
}

#[cfg(test)]
#[path = "enrol_tests.rs"]
mod tests;
