//! Login attempts: reservations and failures.
//!
//! A reservation has an id, and an update that adds or removes it is conditional on the id. So an update that is applied
//! a second time, because its response was lost and the SDK retried, changes nothing. Concurrent reservations do not
//! collide: each is conditional on the number of others, and on the failures.
//!
//! Names are stored as their SHA-256, because a user may have typed the password in place of the name.

use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use rootcast_core::access::lockout::{Attempts, Counted, Verdict};
use rootcast_pki::fingerprint::Fingerprint;
use thiserror::Error;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::item::{id_key, number};
use crate::{Ledger, LedgerError};

/// How long an attempt waits for a place. The functions have 29 s, and other calls and the password's hash take some.
const PATIENCE: Duration = Duration::from_secs(18);
/// The first pause before another look. It doubles up to 32 times as much: a burst of 200 looks 250 times a second.
const PAUSE: Duration = Duration::from_millis(25);
/// Tries to record a result despite concurrent writers. After that, the reservation stays and counts as a failure.
const LOOKS: u32 = 12;

/// No attempt is allowed for this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many failed attempts: the next one may be in {0}")]
pub struct Locked(pub time::Duration);

#[derive(Debug, Error)]
pub enum NotCounted {
    #[error(transparent)]
    Locked(#[from] Locked),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The place of an attempt. Without a [result](Ledger::settle_attempt), it counts as a failure after half a minute.
#[derive(Debug)]
pub struct Reservation<'a> {
    of: Counted<'a>,
    id: String,
    read: Attempts,
}

impl Reservation<'_> {
    /// Whether the name's right password came from this source before.
    pub fn is_known(&self, now: OffsetDateTime) -> bool {
        self.read.is_known(now)
    }
}

/// The result of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempted {
    Right,
    Wrong,
    /// The password was not verified: the attempt counts nowhere.
    Not,
}

/// What a result did to further attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    None,
    /// The failure delays the next attempt.
    Locked(time::Duration),
    /// The success ended a delay.
    Unlocked,
}

impl Ledger {
    /// Reserves a place for an attempt, before the password is verified; waits for one while others are being verified.
    /// `id`: of this attempt, and of no other. `begun`: when it was `now`; an attempt with several counts has one patience.
    ///
    /// # Errors
    /// [`NotCounted::Locked`] after too many failures. The attempt must not be made.
    pub async fn reserve_attempt<'a>(
        &self,
        of: Counted<'a>,
        id: &str,
        now: OffsetDateTime,
        begun: Instant,
    ) -> Result<Reservation<'a>, NotCounted> {
        for look in 0.. {
            let now = now + begun.elapsed();
            let row: Option<Attempts> = self.attempts(of).await?;
            let read = row.clone().unwrap_or_default();
            // The response to the first update was lost.
            if read.in_flight.contains_key(id) {
                return Ok(Reservation { of, id: id.to_owned(), read });
            }
            let lost = read.lost(now);
            let written = match read.verdict(of, now) {
                _ if !lost.is_empty() => self.give_back(of, &read, &read.failed(of, lost.len(), now), &lost).await,
                Verdict::Locked(pause) => return Err(Locked(pause).into()),
                Verdict::Busy => Err(LedgerError::Conflict),
                Verdict::Free { places } => match self.take_place(of, row.as_ref(), id, places, now).await {
                    Ok(()) => return Ok(Reservation { of, id: id.to_owned(), read }),
                    refused => refused,
                },
            };
            match written {
                Err(LedgerError::Conflict) if begun.elapsed() < PATIENCE => tokio::time::sleep(pause(id, look)).await,
                Err(LedgerError::Conflict) => break,
                done => done?,
            }
        }
        Err(Locked(time::Duration::SECOND).into())
    }

    /// Records an attempt's result, and gives its place back.
    pub async fn settle_attempt(
        &self,
        reservation: Reservation<'_>,
        attempted: Attempted,
        now: OffsetDateTime,
    ) -> Result<Effect, LedgerError> {
        let Reservation { of, id, mut read } = reservation;
        for look in 0..LOOKS {
            let next = match attempted {
                Attempted::Right => read.succeeded(of, now),
                Attempted::Wrong => read.failed(of, 1, now),
                Attempted::Not => read.clone(),
            };
            match self.give_back(of, &read, &next, &[&id]).await {
                Err(LedgerError::Conflict) => {}
                done => {
                    done?;
                    return Ok(match (attempted, read.pause(of), next.pause(of)) {
                        (Attempted::Wrong, _, Some(pause)) => Effect::Locked(pause),
                        (Attempted::Right, Some(_), None) => Effect::Unlocked,
                        _ => Effect::None,
                    });
                }
            }
            tokio::time::sleep(pause(&id, look)).await;
            read = self.attempts(of).await?.unwrap_or_default();
            if !read.in_flight.contains_key(&id) {
                return Ok(Effect::None);
            }
        }
        Err(LedgerError::Conflict)
    }

    async fn attempts(&self, of: Counted<'_>) -> Result<Option<Attempts>, LedgerError> {
        self.access_record("attempts", "GetItem attempts", attempts_id(of)).await
    }

    async fn take_place(
        &self,
        of: Counted<'_>,
        read: Option<&Attempts>,
        id: &str,
        places: i64,
        now: OffsetDateTime,
    ) -> Result<(), LedgerError> {
        let until = number(Attempts::kept_until(now));
        let update = self.update_attempts(of)?;
        let update = match read {
            None => fields(update, &Attempts::default())
                .update_expression(format!("SET {FIELDS}, in_flight = :first"))
                .condition_expression("attribute_not_exists(id)")
                .expression_attribute_values(":first", AttributeValue::M([(id.to_owned(), until.clone())].into()))
                .expression_attribute_values(":expires", until),
            Some(read) => as_read(update, read)
                .update_expression("SET in_flight.#id = :until, expires = :expires")
                .condition_expression(format!("{AS_READ} AND size(in_flight) < :places"))
                .expression_attribute_names("#id", id)
                .expression_attribute_values(":until", until)
                .expression_attribute_values(":expires", number(read.expires().max(Attempts::kept_until(now))))
                .expression_attribute_values(":places", number(places)),
        };
        sent(update).await
    }

    /// Removes reservations that still exist, and records what they changed since `read`.
    async fn give_back(
        &self,
        of: Counted<'_>,
        read: &Attempts,
        next: &Attempts,
        ids: &[&str],
    ) -> Result<(), LedgerError> {
        let mut update = self.update_attempts(of)?;
        let (mut removed, mut conditions) = (Vec::new(), Vec::new());
        for (number, id) in ids.iter().enumerate() {
            update = update.expression_attribute_names(format!("#id{number}"), *id);
            removed.push(format!("in_flight.#id{number}"));
            conditions.push(format!("attribute_exists(in_flight.#id{number})"));
        }
        let mut expression = format!("REMOVE {}", removed.join(", "));
        if next != read {
            update = as_read(fields(update, next), read);
            expression = format!("SET {FIELDS} {expression}");
            conditions.push(AS_READ.to_owned());
        }
        sent(update.update_expression(expression).condition_expression(conditions.join(" AND "))).await
    }

    fn update_attempts(&self, of: Counted<'_>) -> Result<UpdateItemFluentBuilder, LedgerError> {
        Ok(self.client.update_item().table_name(self.access()?).set_key(Some(id_key(attempts_id(of)))))
    }
}

async fn sent(update: UpdateItemFluentBuilder) -> Result<(), LedgerError> {
    update.send().await.map(|_| ()).map_err(|error| match error.as_service_error() {
        Some(service) if service.is_conditional_check_failed_exception() => LedgerError::Conflict,
        _ => LedgerError::aws("UpdateItem attempts")(error),
    })
}

/// Everything but the reservations.
const FIELDS: &str = "forgotten = :forgotten, counted = :counted, known_until = :known_until, \
                      clears_from = :clears_from, expires = :expires";
/// These change with every result that is recorded.
const AS_READ: &str = "forgotten = :forgotten_read AND known_until = :known_read AND clears_from = :clears_read";

fn fields(update: UpdateItemFluentBuilder, attempts: &Attempts) -> UpdateItemFluentBuilder {
    let Attempts { forgotten, counted, known_until, clears_from, .. } = attempts;
    update
        .expression_attribute_values(":forgotten", number(forgotten))
        .expression_attribute_values(":counted", number(counted))
        .expression_attribute_values(":known_until", number(known_until))
        .expression_attribute_values(":clears_from", number(clears_from))
        .expression_attribute_values(":expires", number(attempts.expires()))
}

fn as_read(update: UpdateItemFluentBuilder, read: &Attempts) -> UpdateItemFluentBuilder {
    update
        .expression_attribute_values(":forgotten_read", number(read.forgotten))
        .expression_attribute_values(":known_read", number(read.known_until))
        .expression_attribute_values(":clears_read", number(read.clears_from))
}

/// Doubles with each look, and differs by attempt, so that those who wait do not all look at once.
fn pause(id: &str, look: u32) -> Duration {
    let longest = PAUSE * (1 << look.min(5));
    let share = u32::from(*Fingerprint::of(format!("{id}{look}").as_bytes()).as_bytes().first().unwrap_or(&0));
    longest / 2 + longest * share / 255
}

fn attempts_id(of: Counted<'_>) -> String {
    let hashed = |name: &str| Fingerprint::of(name.as_bytes());
    match of {
        Counted::Pair { name, source } => format!("attempts#pair#{}#{source}", hashed(name)),
        Counted::Source(source) => format!("attempts#from#{source}"),
        Counted::Name(name) => format!("attempts#as#{}", hashed(name)),
    }
}
