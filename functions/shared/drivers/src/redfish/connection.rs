//! HTTP to one device: pinned, bounded in size and time, one request at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use rootcast_core::device::Pin;
use rootcast_core::job::task::{ErrorClass, Failure};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;
use zeroize::Zeroizing;

use super::link::Link;
use super::{clock, fault};
use crate::wire::{Line, Peer, Wire};

/// Limit per request. Real hardware is reported to take up to 30 s to write a certificate.
const REQUEST_LIMIT: Duration = Duration::from_secs(45);

/// Reserved before the deadline for logging out, and for restoring the content after a failed replacement.
const RESERVE: Duration = Duration::from_secs(5);

/// Pauses between retries of an idempotent request. A BMC may restart its web server after each change of its
/// certificates (OpenBMC does).
const SETTLING: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// `X-Auth-Token` (DSP0266, "Redfish session login authentication").
pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

pub(super) struct Connection {
    wire: Arc<dyn Wire>,
    line: Box<dyn Line>,
    origin: Url,
    peer: Peer,
    /// `Authorization` or `X-Auth-Token`, after the log-in.
    identity: Option<(HeaderName, HeaderValue)>,
    /// No request continues beyond this time.
    limit: Instant,
    deadline: Instant,
    written: bool,
    /// The device's clock, from its last answer.
    clock: Option<OffsetDateTime>,
    /// Requests so far.
    asked: u32,
}

/// A request's body. Wiped when dropped, since it may hold a password or a private key.
pub(super) type Body = Zeroizing<Vec<u8>>;

impl Connection {
    /// Does not connect yet.
    pub(super) fn new(wire: &Arc<dyn Wire>, peer: Peer, deadline: Instant) -> Result<Self, Failure> {
        let origin = Url::parse(&peer.address.to_string())
            .map_err(|why| Failure::new(ErrorClass::Connect, format!("{}: {why}.", peer.address)))?;
        let line = wire.open(peer.clone())?;
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = deadline.checked_sub(RESERVE.min(left / 4)).unwrap_or(deadline);
        Ok(Self {
            wire: Arc::clone(wire),
            line,
            origin,
            peer,
            identity: None,
            limit,
            deadline,
            written: false,
            clock: None,
            asked: 0,
        })
    }

    /// Recognises the device by other pins from now on, on a new connection.
    pub(super) fn repin(&mut self, pins: Vec<Pin>) -> Result<(), Failure> {
        self.line = self.wire.open(Peer { pins, ..self.peer.clone() })?;
        Ok(())
    }

    pub(super) fn link(&self, text: &str) -> Result<Link, Failure> {
        Link::parse(text, &self.origin)
    }

    pub(super) fn identify(&mut self, identity: Option<(HeaderName, HeaderValue)>) {
        self.identity = identity;
    }

    /// What identifies the device now.
    pub(super) fn pins(&self) -> &[Pin] {
        &self.peer.pins
    }

    /// Allows the next requests to use the reserve.
    pub(super) fn use_reserve(&mut self) {
        self.limit = self.deadline;
    }

    /// The time limit, excluding the reserve.
    pub(super) const fn limit(&self) -> Instant {
        self.limit
    }

    /// Time left before the reserve begins.
    pub(super) fn left(&self) -> Duration {
        self.limit.saturating_duration_since(Instant::now())
    }

    /// The device's time, if it sends it.
    pub(super) const fn clock(&self) -> Option<OffsetDateTime> {
        self.clock
    }

    pub(super) const fn asked(&self) -> u32 {
        self.asked
    }

    /// Any status but a redirect counts as an answer. After a write, idempotent requests are retried over a restart of the
    /// web server. Some devices know a resource only with a slash at its end, and redirect there: that is followed once.
    ///
    /// # Errors
    /// Any other redirect: nothing is sent there.
    pub(super) async fn ask(&mut self, method: Method, link: &Link, body: Option<&Body>) -> Result<Answer, Failure> {
        let answer = self.noted(method.clone(), link, body).await?;
        let Some(location) = answer.redirects_to() else { return Ok(answer) };
        let Some(link) = link.respelt(location, &self.origin) else { return Err(answer.redirected(location)) };
        let answer = self.noted(method, &link, body).await?;
        match answer.redirects_to() {
            Some(location) => Err(answer.redirected(location)),
            None => Ok(answer),
        }
    }

    async fn noted(&mut self, method: Method, link: &Link, body: Option<&Body>) -> Result<Answer, Failure> {
        self.asked += 1;
        let answer = self.repeatedly(method, link, body).await?;
        self.clock = answer.headers.get(DATE).and_then(clock::read);
        Ok(answer)
    }

    async fn repeatedly(&mut self, method: Method, link: &Link, body: Option<&Body>) -> Result<Answer, Failure> {
        let reads = method == Method::GET;
        let repeatable = self.written && (reads || method == Method::DELETE);
        // Logging in does not change the device.
        self.written |= !reads && self.identity.is_some();
        let waits: &[Duration] = if repeatable { &SETTLING } else { &[] };
        for wait in waits {
            match self.once(&method, link, body).await {
                Err(failure) if failure.class == ErrorClass::Connect && *wait < self.left() => sleep(*wait).await,
                outcome => return outcome,
            }
        }
        self.once(&method, link, body).await
    }

    async fn once(&self, method: &Method, link: &Link, body: Option<&Body>) -> Result<Answer, Failure> {
        let asked = format!("{method} {link}");
        let until = self.limit.min(Instant::now() + REQUEST_LIMIT);
        match timeout_at(until, self.exchange(method, link, body, &asked)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::new(ErrorClass::Timeout, format!("{}: {asked}: no answer in time.", self.name()))),
        }
    }

    async fn exchange(
        &self,
        method: &Method,
        link: &Link,
        body: Option<&Body>,
        asked: &str,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{link}", self.name()))
            .header("OData-Version", HeaderValue::from_static("4.0"));
        if let Some((name, value)) = &self.identity {
            request = request.header(name, value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Bytes::from_owner(body.clone())
            }
            None => Bytes::new(),
        };
        let request = request
            .body(body)
            .map_err(|why| Failure::new(ErrorClass::Unsupported, format!("{link} is not a path: {why}.")))?;
        let (head, body) = self.line.exchange(request).await?.into_parts();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Answer { asked: asked.to_owned(), status: head.status, headers: head.headers, body })
    }

    fn name(&self) -> &str {
        self.origin.as_str().trim_end_matches('/')
    }
}

/// What a device answered.
pub(super) struct Answer {
    asked: String,
    pub(super) status: StatusCode,
    headers: HeaderMap,
    /// `Null` if the body is not JSON.
    pub(super) body: Value,
}

impl Answer {
    /// The body of a successful answer.
    pub(super) fn json(self) -> Result<Value, Failure> {
        match self.body {
            _ if !self.status.is_success() => Err(self.failure()),
            Value::Object(_) => Ok(self.body),
            _ => {
                let message = format!("{}: the answer is not a Redfish resource.", self.asked);
                Err(Failure::new(ErrorClass::Unsupported, message))
            }
        }
    }

    pub(super) fn failure(&self) -> Failure {
        let wait = self.retry_after().and_then(|wait| u32::try_from(wait.as_secs()).ok());
        fault::failure(&self.asked, self.status, &self.body).not_before(wait)
    }

    fn redirects_to(&self) -> Option<&str> {
        let redirects = matches!(self.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        redirects.then(|| self.location().unwrap_or_default())
    }

    fn redirected(&self, location: &str) -> Failure {
        let shown: String = location.chars().take(120).collect();
        let message = format!(
            "{}: {}: the device redirects to {shown:?}, where nothing is sent. Enrol the device with the address and the trust slot that it redirects to.",
            self.asked, self.status
        );
        Failure::new(ErrorClass::Unsupported, message)
    }

    pub(super) fn location(&self) -> Option<&str> {
        self.headers.get(LOCATION)?.to_str().ok()
    }

    /// In seconds. Management controllers do not use the date format (RFC 9110 §10.2.3).
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
    }

    pub(super) fn token(&self) -> Option<HeaderValue> {
        self.headers.get(TOKEN).cloned().map(secret)
    }
}

/// `Basic` (RFC 7617).
pub(super) fn basic(credentials: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((AUTHORIZATION, secret(HeaderValue::from_str(credentials).ok()?)))
}

fn secret(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}
